//! Endpoints that answer badly are ejected and come back; circuit breakers bound what a cluster gets.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc;

use ringway_tests::http2::Http2Client;
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::{Io, Origin, Ringway, each_driver, wait};

use crate::balancing::{answers, named, origins, ringway};

each_driver! {
    an_endpoint_that_fails_in_a_row_is_ejected_and_comes_back,
    an_endpoint_that_cannot_be_reached_is_ejected,
    an_endpoint_that_fails_more_than_the_others_is_ejected,
    statuses_of_calls_in_trailers_count_and_those_that_blame_the_request_do_not,
    both_copies_of_a_hedged_request_count,
    no_more_than_a_share_is_ejected,
    an_ejection_survives_a_reload,
    a_breaker_lets_through_as_many_requests_as_its_limit,
    an_endpoint_that_is_full_is_passed_over,
    requests_wait_for_a_connection_as_far_as_they_may,
}

/// An origin that answers with its name, or with 500.
fn moody(name: &'static str, fails: &Arc<AtomicBool>) -> Origin {
    let fails = Arc::clone(fails);
    Origin::start(move |conn| {
        while conn.request().is_some() {
            let (status, body) = if fails.load(Relaxed) { (500, "failed") } else { (200, name) };
            if !conn.reply(status, body) {
                return;
            }
        }
    })
}

fn flag(set: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(set))
}

fn only(name: &str, count: usize) -> HashMap<String, usize> {
    HashMap::from([(name.to_owned(), count)])
}

fn an_endpoint_that_fails_in_a_row_is_ejected_and_comes_back(io: Io) {
    let fails = flag(true);
    let (a, b) = (moody("a", &fails), named("b"));
    let outlier = "outlier: { consecutive_5xx: 3, eject_for: 300ms, interval: 100ms }";
    let proxy = ringway(&[(&a, ""), (&b, "")], outlier).io(io).workers(2).start();
    let failed = answers(&proxy, 12).remove("500");
    assert_eq!(failed, Some(3), "three failures in a row, and then no more");
    proxy.wait_for_log("is ejected why=consecutive_5xx for_ms=300 times=1");
    // It is tried again, fails again, and stays away for longer; then it is well.
    wait::eventually("another ejection", || {
        answers(&proxy, 4);
        proxy.log().iter().any(|line| line.contains("for_ms=600 times=2")).then_some(())
    });
    assert!(proxy.stats().sum("ringway_upstream_ejections_total") >= 2.0);
    fails.store(false, Relaxed);
    wait::eventually("the endpoint to come back", || answers(&proxy, 8).contains_key("a").then_some(()));
    wait::eventually("nothing to be ejected", || {
        (proxy.stats().sum("ringway_upstream_endpoints_ejected") == 0.0).then_some(())
    });
}

fn an_endpoint_that_cannot_be_reached_is_ejected(io: Io) {
    let b = named("b");
    let gone = named("gone").address();
    let proxy = Ringway::to_endpoints([gone.to_string(), b.address().to_string()])
        .io(io)
        .cluster("outlier: { consecutive_gateway_errors: 2, eject_for: 1h, eject_for_max: 1h }")
        .start();
    // Clients notice nothing: what cannot be reached is left for another one.
    assert_eq!(answers(&proxy, 10), only("b", 10));
    proxy.wait_for_log("is ejected why=consecutive_gateway_errors");
    let failures = proxy.stats().sum("ringway_upstream_connect_failures_total");
    assert_eq!(answers(&proxy, 10), only("b", 10));
    assert_eq!(proxy.stats().sum("ringway_upstream_connect_failures_total"), failures, "not even tried");
}

fn an_endpoint_that_fails_more_than_the_others_is_ejected(io: Io) {
    // Every other answer is a failure: never two in a row.
    let turn = AtomicU32::new(0);
    let a = Origin::start(move |conn| {
        while conn.request().is_some() {
            let fails = turn.fetch_add(1, Relaxed).is_multiple_of(2);
            if !conn.reply(if fails { 500 } else { 200 }, "a") {
                return;
            }
        }
    });
    let b = named("b");
    let outlier =
        "outlier: { success_rate: 30%, requests: 10, interval: 100ms, eject_for: 1h, eject_for_max: 1h }";
    let proxy = ringway(&[(&a, ""), (&b, "")], outlier).io(io).start();
    wait::eventually("the ejection", || {
        answers(&proxy, 40);
        proxy.log().iter().any(|line| line.contains("is ejected why=success_rate")).then_some(())
    });
    assert_eq!(answers(&proxy, 10), only("b", 10));
}

/// An origin of gRPC whose calls end with this status, in trailers or without a body.
fn grpc_origin(status: &'static str, trailers_only: bool) -> Origin {
    Origin::start(move |conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            let head = [(":status", "200"), ("content-type", "application/grpc")];
            let status = ("grpc-status", status);
            if trailers_only {
                conn.headers(request.id, &[head[0], head[1], status], true);
            } else {
                conn.headers(request.id, &head, false);
                conn.data(request.id, &[0, 0, 0, 0, 0], false);
                conn.headers(request.id, &[status], true);
            }
        }
    })
}

fn statuses_of_calls_in_trailers_count_and_those_that_blame_the_request_do_not(io: Io) {
    for (status, trailers_only, counts) in [
        ("14", false, true),
        ("14", true, true),
        ("13", false, true),
        // INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNIMPLEMENTED: a client can have them at will.
        ("3", false, false),
        ("4", false, false),
        ("12", true, false),
    ] {
        let (bad, good) = (grpc_origin(status, trailers_only), grpc_origin("0", false));
        let settings = "protocol: http2\noutlier: { consecutive_5xx: 3, eject_for: 1h, eject_for_max: 1h, eject_at_most: 50% }";
        let proxy = ringway(&[(&bad, ""), (&good, "")], settings).io(io).start();
        let mut client = Http2Client::connect(proxy.address());
        let mut failed = 0;
        for _ in 0..12 {
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/shop.v1.Cart/Get"),
                (":authority", "test"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ];
            let id = client.open(&fields, true);
            let response = client.response(id);
            let mut all = response.trailers.iter().flatten().chain(&response.fields);
            let found = all.find(|(name, _)| name == "grpc-status").expect("a status");
            failed += usize::from(found.1 == status);
        }
        assert_eq!(failed, if counts { 3 } else { 6 }, "status {status} trailers only {trailers_only}");
    }
}

fn both_copies_of_a_hedged_request_count(io: Io) {
    // One fails after the delay, so that each request has two copies, and the other answers after that.
    let (go, wait_for_it) = mpsc::channel::<()>();
    let (go, wait_for_it) = (std::sync::Mutex::new(go), std::sync::Mutex::new(wait_for_it));
    let slow = Origin::start(move |conn| {
        while conn.request().is_some() {
            // Until the second copy has come.
            let _ = wait_for_it.lock().expect("not poisoned").recv();
            conn.reply(503, "failed");
        }
    });
    let spare = Origin::start(move |conn| {
        while conn.request().is_some() {
            let _ = go.lock().expect("not poisoned").send(());
            conn.reply(503, "failed, too");
        }
    });
    let settings = "outlier: { consecutive_5xx: 1, eject_for: 1h, eject_for_max: 1h, eject_at_most: 100% }";
    let yaml = ringway(&[(&slow, ""), (&spare, ", priority: 1")], settings).yaml();
    let yaml = yaml.replace("{ name: r, to: all }", "{ name: r, to: all, hedge: { delay: 20ms } }");
    let proxy = Ringway::to_endpoints([]).config(yaml).io(io).start();
    assert_eq!(proxy.get("/").status, 503);
    proxy.wait_for_stats("both to be ejected", |stats| stats.sum("ringway_upstream_ejections_total") == 2.0);
}

fn no_more_than_a_share_is_ejected(io: Io) {
    let fails = flag(true);
    let (a, b) = (moody("a", &fails), moody("b", &fails));
    let outlier = "outlier: { consecutive_5xx: 1, eject_for: 1h, eject_for_max: 1h, eject_at_most: 50% }";
    let proxy = ringway(&[(&a, ""), (&b, "")], outlier).io(io).workers(2).start();
    assert_eq!(answers(&proxy, 20), only("500", 20));
    assert_eq!(proxy.stats().sum("ringway_upstream_ejections_total"), 1.0);
}

fn an_ejection_survives_a_reload(io: Io) {
    let fails = flag(true);
    let (a, b) = (moody("a", &fails), named("b"));
    let outlier = "outlier: { consecutive_5xx: 1, eject_for: 1h, eject_for_max: 1h }";
    let ringway = ringway(&[(&a, ""), (&b, "")], outlier).io(io).workers(2);
    let proxy = ringway.start();
    wait::eventually("the ejection", || {
        answers(&proxy, 2);
        (proxy.stats().sum("ringway_upstream_ejections_total") == 1.0).then_some(())
    });
    fails.store(false, Relaxed);
    // The cluster changes, and so do its pools; what is known of its endpoints stays.
    proxy.reload(ringway.yaml().replace("consecutive_5xx: 1", "consecutive_5xx: 2"));
    for _ in 0..4 {
        assert_eq!(answers(&proxy, 5), only("b", 5));
    }
}

/// An origin that answers when it is told to, and how many requests it has at most had at the same time.
fn held() -> (Origin, mpsc::Sender<()>, Arc<AtomicU32>) {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let now = Arc::new(AtomicU32::new(0));
    let inside = Arc::clone(&now);
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            inside.fetch_add(1, Relaxed);
            // Nobody releases any more: the test has ended.
            if gate.lock().is_ok_and(|gate| gate.recv().is_err()) {
                return;
            }
            inside.fetch_sub(1, Relaxed);
            if !conn.reply(200, "held") {
                return;
            }
        }
    });
    (origin, release, now)
}

fn a_breaker_lets_through_as_many_requests_as_its_limit(io: Io) {
    let (origin, release, inside) = held();
    let proxy = ringway(&[(&origin, "")], "limits: { requests: 3 }").io(io).workers(2).start();
    let mut busy: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    wait::eventually("three requests at the origin", || (inside.load(Relaxed) == 3).then_some(()));
    // Whichever worker they come to.
    for _ in 0..6 {
        let refused = proxy.get("/");
        assert_eq!((refused.status, refused.reason_code()), (503, Some("breaker_requests")));
    }
    for _ in 0..3 {
        release.send(()).expect("the origin waits");
    }
    for client in &mut busy {
        assert_eq!(client.response().status, 200);
    }
    release.send(()).expect("the origin waits");
    assert_eq!(proxy.get("/").status, 200, "there is room again");
}

fn an_endpoint_that_is_full_is_passed_over(io: Io) {
    let (a, release, inside) = held();
    let [b] = origins();
    let endpoints = [(&a, ""), (&b, ", priority: 1")];
    let proxy = ringway(&endpoints, "limits: { endpoint_requests: 1 }").io(io).workers(2).start();
    let mut busy = proxy.connect();
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    wait::eventually("the request at the origin", || (inside.load(Relaxed) == 1).then_some(()));
    for _ in 0..4 {
        assert_eq!(proxy.get("/").body_text(), "a", "the next priority, which names itself so");
    }
    release.send(()).expect("the origin waits");
    assert_eq!(busy.response().status, 200);
}

fn requests_wait_for_a_connection_as_far_as_they_may(io: Io) {
    let (origin, release, inside) = held();
    let limits = "limits: { connections: 1, pending: 1 }";
    let proxy = ringway(&[(&origin, "")], limits).io(io).start();
    let mut first = proxy.connect();
    first.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait::eventually("the first request at the origin", || (inside.load(Relaxed) == 1).then_some(()));
    let mut others = [proxy.connect(), proxy.connect()];
    for client in &mut others {
        client.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    // One of the two waits, and so the other may not.
    proxy.wait_for_stats("one to be refused", |stats| {
        stats.sum_where("ringway_reasons_total", "reason=\"breaker_pending\"") == 1.0
    });
    for _ in 0..2 {
        release.send(()).expect("the origin waits");
    }
    assert_eq!(first.response().status, 200);
    let mut statuses = others.each_mut().map(|client| client.response().status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    assert_eq!(origin.connections(), 1);
}
