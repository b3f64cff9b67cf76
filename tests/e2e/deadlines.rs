//! Every wait has a deadline, and each ends with its own status and reason.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringway_tests::wait::pause;
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    a_head_that_takes_too_long_is_408,
    a_head_that_dribbles_is_408_all_the_same,
    an_idle_connection_is_closed_without_a_word,
    a_connection_that_never_spoke_is_closed,
    a_request_body_without_progress_is_408,
    a_request_body_with_slow_progress_is_served,
    a_connect_that_hangs_is_504,
    a_refused_connect_is_502_at_once,
    an_origin_that_does_not_answer_is_504,
    a_response_body_without_progress_is_cut,
    a_response_body_with_slow_progress_is_served,
    an_exchange_that_takes_too_long_is_504,
    an_exchange_that_takes_too_long_after_the_response_began_is_cut,
}

/// The deadline under test. All others are at their defaults, which are much longer.
const SHORT: &str = "300ms";
const SOON: Duration = Duration::from_millis(300);

fn within_reason(since: Instant, what: &str) {
    let time = since.elapsed();
    assert!(time >= SOON.mul_f32(0.6), "{what}: too early, after {time:?}");
    assert!(time < SOON + Duration::from_secs(5), "{what}: too late, after {time:?}");
}

fn a_head_that_takes_too_long_is_408(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("header-timeout", SHORT).start();
    for reused in [false, true] {
        let mut client = proxy.connect();
        if reused {
            client.get("/first");
        }
        let start = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost:");
        let response = client.response();
        assert_eq!((response.status, response.reason_code()), (408, Some("header_timeout")));
        assert!(response.says_close());
        within_reason(start, "header_timeout");
        client.expect_closed();
    }
    assert!(origin.requests().iter().all(|request| request.target == "/first"));
}

fn a_head_that_dribbles_is_408_all_the_same(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("header-timeout", SHORT).start();
    let mut client = proxy.connect();
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\n");
    while start.elapsed() < Duration::from_secs(4) && client.try_send("X: y\r\n") {
        if client.wire().is_closed_now() {
            break;
        }
        pause(Duration::from_millis(30));
    }
    within_reason(start, "header_timeout");
    assert!(client.until_closed().is_empty() || client.wire().received().starts_with(b"HTTP/1.1 408 "));
    origin.assert_saw_nothing();
}

fn an_idle_connection_is_closed_without_a_word(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("idle-timeout", SHORT).start();
    let mut client = proxy.connect();
    client.get("/");
    let start = Instant::now();
    client.expect_closed();
    within_reason(start, "idle_timeout");
}

fn a_connection_that_never_spoke_is_closed(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("idle-timeout", SHORT).set("header-timeout", SHORT).start();
    let mut client = proxy.connect();
    let start = Instant::now();
    let rest = client.until_closed();
    within_reason(start, "the first request");
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&rest));
}

fn a_request_body_without_progress_is_408(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("request-body-timeout", SHORT).start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nsome");
    let start = Instant::now();
    let response = client.response();
    assert_eq!((response.status, response.reason_code()), (408, Some("request_body_timeout")));
    within_reason(start, "request_body_timeout");
    client.expect_closed();
    origin.wait_for_end(0);
}

fn a_request_body_with_slow_progress_is_served(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, &request.body);
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("request-body-timeout", SHORT).start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        pause(SOON / 4);
        client.send("x");
    }
    assert_eq!(client.response().body_text(), "xxxxxxxxxx");
}

fn a_connect_that_hangs_is_504(io: Io) {
    // A listening socket whose queue is full does not answer a SYN.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address: SocketAddr = listener.local_addr().expect("its address");
    rustix::net::listen(&listener, 0).expect("a short queue");
    let fill: Vec<_> =
        (0..8).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50))).collect();
    assert!(fill.iter().any(Result::is_err), "the queue is full");
    let proxy = Ringway::to_address(address).io(io).set("connect-timeout", SHORT).start();
    let start = Instant::now();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (504, Some("connect_timeout")));
    within_reason(start, "connect_timeout");
}

fn a_refused_connect_is_502_at_once(io: Io) {
    let proxy = Ringway::to_address(ringway_tests::peers::free_address()).io(io).start();
    let mut client = proxy.connect();
    for _ in 0..3 {
        let start = Instant::now();
        let response = client.get("/");
        assert_eq!((response.status, response.reason_code()), (502, Some("connect_failed")));
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(!response.says_close(), "the client's connection is as good as before");
    }
}

fn an_origin_that_does_not_answer_is_504(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("response-head-timeout", SHORT).start();
    let start = Instant::now();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (504, Some("response_head_timeout")));
    within_reason(start, "response_head_timeout");
    origin.wait_for_end(0);
}

fn a_response_body_without_progress_is_cut(io: Io) {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
    ] {
        let origin = Origin::start(move |conn| {
            if conn.request().is_some() {
                conn.send(head);
                conn.until_closed();
            }
        });
        let proxy = Ringway::to(&origin).io(io).set("upstream-body-timeout", SHORT).start();
        let mut client = proxy.connect();
        let start = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let rest = client.until_closed();
        within_reason(start, "response_body_timeout");
        assert!(rest.windows(4).any(|part| part == b"some"), "what came was passed on");
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut body must not look complete");
        origin.wait_for_end(0);
    }
}

fn a_response_body_with_slow_progress_is_served(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
            for _ in 0..10 {
                pause(SOON / 4);
                conn.send("y");
            }
        }
    });
    let proxy = Ringway::to(&origin)
        .io(io)
        .set("upstream-body-timeout", SHORT)
        .set("response-head-timeout", SHORT)
        .start();
    assert_eq!(proxy.get("/").body_text(), "yyyyyyyyyy");
}

fn an_exchange_that_takes_too_long_is_504(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("request-timeout", SHORT).start();
    let start = Instant::now();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (504, Some("request_timeout")));
    within_reason(start, "timeout");
}

fn an_exchange_that_takes_too_long_after_the_response_began_is_cut(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while conn.send("1\r\nz\r\n") {
                pause(Duration::from_millis(20));
            }
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("request-timeout", SHORT).start();
    let mut client = proxy.connect();
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let rest = client.until_closed();
    within_reason(start, "timeout");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut body must not look complete");
}
