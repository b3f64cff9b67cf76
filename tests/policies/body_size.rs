//! `body_size` from outside.

use ringway_tests::http2::{Frame, Http2Client};
use ringway_tests::{Io, Origin, Ringway, each_driver};

use crate::with_policies;

each_driver! {
    a_request_with_a_long_body_is_refused_before_it_is_read,
    a_request_that_becomes_too_long_is_refused,
    a_request_over_http2_is_held_to_the_same,
    the_listener_is_not_overruled,
    a_response_that_says_it_is_long_is_refused,
    a_response_that_becomes_too_long_is_cut_off,
    bodies_up_to_the_limit_pass,
}

fn limited(origin: &Origin, limit: &str) -> Ringway {
    with_policies(origin, "", "", &format!("[{{ body_size: {{ {limit} }} }}]"))
}

/// An origin that sends bodies back.
fn echo() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, &request.body);
        }
    })
}

fn a_request_with_a_long_body_is_refused_before_it_is_read(io: Io) {
    let origin = Origin::ok();
    let proxy = limited(&origin, "request: 10B").io(io).start();
    let mut client = proxy.connect();
    let evil = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    let response =
        client.exchange(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n{evil}"));
    assert_eq!((response.status, response.reason_code()), (413, Some("body_too_large")));
    assert!(response.says_close());
    client.expect_closed();
    origin.assert_saw_nothing();
}

fn a_request_that_becomes_too_long_is_refused(io: Io) {
    let origin = Origin::start(|conn| while conn.request().is_some() {});
    let proxy = limited(&origin, "request: 10B").io(io).start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n");
    client.send("6\r\n678901\r\n");
    let response = client.response();
    assert_eq!((response.status, response.reason_code()), (413, Some("body_too_large")));
}

fn a_request_over_http2_is_held_to_the_same(io: Io) {
    let origin = Origin::start(|conn| while conn.request().is_some() {});
    let proxy = limited(&origin, "request: 10B").io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    let id = client.post("/");
    client.send(&Frame::data(id, "12345678901", true));
    let response = client.response(id);
    assert_eq!((response.status, response.field("x-ringway-reason")), (413, Some("body_too_large")));
}

fn the_listener_is_not_overruled(io: Io) {
    let origin = echo();
    let proxy = limited(&origin, "request: 20B").io(io).set("body-bytes", "10B").start();
    let ask = |length: usize| {
        let body = "x".repeat(length);
        proxy.exchange(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")).status
    };
    assert_eq!([ask(10), ask(11), ask(21)], [200, 413, 413]);
}

fn a_response_that_says_it_is_long_is_refused(io: Io) {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n12345678901");
    let proxy = limited(&origin, "response: 10B").io(io).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (502, Some("upstream_body_too_large")));
    let mut client = Http2Client::connect(proxy.address());
    let id = client.get("/");
    assert_eq!(client.response(id).status, 502);
}

fn a_response_that_becomes_too_long_is_cut_off(io: Io) {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n6\r\n678901\r\n0\r\n\r\n";
    let endless = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n12345678901";
    for reply in [chunked, endless] {
        let origin = Origin::replying(reply);
        let proxy = limited(&origin, "response: 10B").io(io).start();
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_response("GET") {
            Err(_) => {}
            // What came at once with its head can still be answered in its place.
            Ok(response) => assert_eq!(response.status, 502),
        }
        let mut client = Http2Client::connect(proxy.address());
        let id = client.get("/");
        assert!(client.try_response(id).map_or(true, |response| response.status == 502));
        proxy.wait_for_stats("the reason is counted", |stats| {
            stats.sum_where("ringway_reasons_total", "upstream_body_too_large") == 2.0
        });
    }
}

fn bodies_up_to_the_limit_pass(io: Io) {
    let origin = echo();
    let proxy = limited(&origin, "request: 10B, response: 10B").io(io).start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        let response = client.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234567890");
        assert_eq!((response.status, response.body_text().as_str()), (200, "1234567890"));
        let chunked =
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n1234567890\r\n0\r\n\r\n";
        assert_eq!(client.exchange(chunked).body_text(), "1234567890");
    }
}
