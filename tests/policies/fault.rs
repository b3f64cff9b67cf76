//! `fault` from outside.

use std::time::{Duration, Instant};

use ringway_tests::http2::Http2Client;
use ringway_tests::{Io, Origin, each_driver};

use crate::with_policies;

each_driver! {
    an_abort_answers_in_place_of_the_origin,
    an_abort_over_http2_is_the_same,
    a_delay_holds_the_request_back,
    a_delayed_abort_is_both,
    a_client_that_leaves_ends_the_delay,
    the_deadline_of_the_route_ends_a_delay,
    a_share_of_none_does_nothing,
}

fn an_abort_answers_in_place_of_the_origin(io: Io) {
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", "[{ fault: { abort: { status: 418 } } }]").io(io).start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!((response.status, response.body_text().as_str()), (418, "fault injected\n"));
    }
    origin.assert_saw_nothing();
    proxy.wait_for_stats("the reason to be counted", |stats| {
        stats.sum_where("ringway_reasons_total", "fault_injected") == 2.0
    });
}

fn an_abort_over_http2_is_the_same(io: Io) {
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", "[{ fault: { abort: {} } }]").io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    let id = client.get("/");
    assert_eq!(client.response(id).status, 503);
    origin.assert_saw_nothing();
}

fn a_delay_holds_the_request_back(io: Io) {
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", "[{ fault: { delay: { time: 200ms } } }]").io(io).start();
    let mut client = proxy.connect();
    let started = Instant::now();
    assert_eq!(client.get("/").status, 200);
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(origin.requests().len(), 1);
}

fn a_delayed_abort_is_both(io: Io) {
    let origin = Origin::ok();
    let fault = "[{ fault: { delay: { time: 100ms }, abort: { status: 504 } } }]";
    let proxy = with_policies(&origin, "", "", fault).io(io).start();
    let started = Instant::now();
    assert_eq!(proxy.get("/").status, 504);
    assert!(started.elapsed() >= Duration::from_millis(100));
    origin.assert_saw_nothing();
}

fn a_client_that_leaves_ends_the_delay(io: Io) {
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", "[{ fault: { delay: { time: 1h } } }]").io(io).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    proxy.wait_for_stats("the exchange has begun", |stats| stats.sum("ringway_exchanges_open") > 0.0);
    client.reset();
    proxy.wait_for_stats("the exchange is over", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    origin.assert_saw_nothing();
}

fn the_deadline_of_the_route_ends_a_delay(io: Io) {
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", "[{ fault: { delay: { time: 1h } } }]")
        .io(io)
        .set("request-timeout", "200ms")
        .start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (504, Some("request_timeout")));
    origin.assert_saw_nothing();
}

fn a_share_of_none_does_nothing(io: Io) {
    let origin = Origin::ok();
    let fault = "[{ fault: { delay: { time: 1h, percent: 0% }, abort: { percent: 0% } } }]";
    let proxy = with_policies(&origin, "", "", fault).io(io).start();
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
}
