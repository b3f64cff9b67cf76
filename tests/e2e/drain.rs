//! TERM and INT: what runs finishes, what comes is told to go elsewhere; a second one stops at once.

use std::sync::Mutex;
use std::sync::mpsc::{self, SyncSender};
use std::time::{Duration, Instant};

use ringway_tests::process::Signal;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    a_running_exchange_finishes_and_the_process_ends_with_0,
    an_idle_process_ends_at_once,
    the_deadline_cuts_what_does_not_finish,
    a_second_signal_stops_at_once,
    new_connections_are_refused_while_draining,
    idle_connections_are_closed_while_draining,
}

/// An origin that answers `/slow` when told to, and a way to tell it.
fn slow_origin() -> (Origin, SyncSender<()>) {
    let (go, wait) = mpsc::sync_channel::<()>(0);
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |conn| {
        while let Some(request) = conn.request() {
            if request.target == "/slow" {
                let _ = wait.lock().expect("the gate").recv();
            }
            conn.reply(200, "done");
        }
    });
    (origin, go)
}

/// Starts the proxy, and a request to `/slow` that has reached the origin.
fn with_a_slow_request(origin: &Origin, proxy: &Ringway) -> (Proxy, Client) {
    let proxy = proxy.start();
    let mut client = proxy.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.wait_for_requests(1);
    (proxy, client)
}

fn a_running_exchange_finishes_and_the_process_ends_with_0(io: Io) {
    for signal in [Signal::TERM, Signal::INT] {
        let (origin, go) = slow_origin();
        let (mut proxy, mut client) = with_a_slow_request(&origin, &Ringway::to(&origin).io(io).workers(2));
        proxy.signal(signal);
        proxy.wait_for_log("drain");
        assert!(client.stays_silent(Duration::from_millis(100)), "it is not cut");
        go.send(()).expect("the script waits");
        let response = client.response();
        assert_eq!((response.status, response.body_text().as_str()), (200, "done"));
        assert!(response.says_close(), "a kept connection is told to close");
        client.expect_closed();
        assert!(proxy.wait_for_exit().success());
    }
}

fn an_idle_process_ends_at_once(io: Io) {
    let origin = Origin::ok();
    let mut proxy = Ringway::to(&origin).io(io).workers(2).start();
    proxy.get("/");
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_for_exit().success());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

fn the_deadline_cuts_what_does_not_finish(io: Io) {
    let (origin, _go) = slow_origin();
    let (mut proxy, mut client) =
        with_a_slow_request(&origin, &Ringway::to(&origin).io(io).set("drain-timeout", "400ms"));
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    proxy.wait_for_exit();
    let time = start.elapsed();
    assert!(time > Duration::from_millis(300) && time < Duration::from_secs(5), "{time:?}");
    let rest = client.until_closed();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 50"), "{}", String::from_utf8_lossy(&rest));
}

fn a_second_signal_stops_at_once(io: Io) {
    let (origin, _go) = slow_origin();
    let (mut proxy, _client) = with_a_slow_request(&origin, &Ringway::to(&origin).io(io));
    proxy.signal(Signal::TERM);
    proxy.wait_for_log("drain");
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    proxy.wait_for_exit();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

fn new_connections_are_refused_while_draining(io: Io) {
    let (origin, go) = slow_origin();
    let (mut proxy, mut client) = with_a_slow_request(&origin, &Ringway::to(&origin).io(io));
    proxy.signal(Signal::TERM);
    proxy.wait_for_log("drain");
    ringway_tests::wait::eventually("the listener to be gone", || {
        match std::net::TcpStream::connect_timeout(&proxy.address(), Duration::from_secs(1)) {
            Err(_) => Some(()),
            // Accepted by the kernel just before: it is reset or answered with 503, never served.
            Ok(_) => None,
        }
    });
    assert_ne!(proxy.admin_get("/ready").status, 200, "a load balancer is told");
    assert_eq!(proxy.admin_get("/live").status, 200);
    go.send(()).expect("the script waits");
    assert_eq!(client.response().status, 200);
    proxy.wait_for_exit();
}

fn idle_connections_are_closed_while_draining(io: Io) {
    let (origin, go) = slow_origin();
    let mut proxy = Ringway::to(&origin).io(io).start();
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut busy = proxy.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.wait_for_requests(2);
    proxy.signal(Signal::TERM);
    idle.expect_closed();
    go.send(()).expect("the script waits");
    assert_eq!(busy.response().status, 200);
    assert!(proxy.wait_for_exit().success());
}
