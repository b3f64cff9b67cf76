//! The health protocol of gRPC: endpoints are asked, and the proxy answers for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ringway_tests::http2::{Frame, Http2Client};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::{Io, Origin, Ringway, each_driver, wait};

each_driver! {
    an_endpoint_that_does_not_serve_is_not_used_until_it_does,
    health_is_ignored_where_few_endpoints_are_healthy,
    the_proxy_answers_for_itself_where_it_is_told_to,
}

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// An origin that gives its name to every call, and its health as it is set.
fn origin(name: &'static str, serving: &Arc<AtomicBool>) -> Origin {
    let serving = Arc::clone(serving);
    Origin::start(move |conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            let body = if request.field(":path") == Some(CHECK) {
                assert_eq!(request.body, b"\0\0\0\0\x05\x0a\x03a.B");
                vec![0, 0, 0, 0, 2, 8, if serving.load(Relaxed) { 1 } else { 2 }]
            } else {
                name.as_bytes().to_vec()
            };
            conn.headers(request.id, &[(":status", "200"), ("content-type", "application/grpc")], false);
            conn.data(request.id, &body, false);
            conn.headers(request.id, &[("grpc-status", "0")], true);
        }
    })
}

fn healths() -> [Arc<AtomicBool>; 2] {
    [Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true))]
}

fn start(io: Io, origins: &[&Origin]) -> ringway_tests::Proxy {
    Ringway::to_endpoints(origins.iter().map(|origin| origin.address().to_string()))
        .io(io)
        .workers(2)
        .cluster("protocol: http2")
        .cluster("health: {grpc: a.B, interval: 20ms, timeout: 2s, healthy: 1, unhealthy: 2}")
        .start()
}

/// Which origins answer a few requests.
fn answering(proxy: &ringway_tests::Proxy) -> String {
    let mut client = Http2Client::connect(proxy.address());
    let mut names: Vec<String> = (0..6)
        .map(|_| {
            let id = client.get("/who");
            String::from_utf8(client.response(id).body).expect("text")
        })
        .collect();
    names.sort();
    names.dedup();
    names.concat()
}

fn until(proxy: &ringway_tests::Proxy, expected: &str) {
    wait::eventually(&format!("answers of {expected}"), || (answering(proxy) == expected).then_some(()));
}

fn an_endpoint_that_does_not_serve_is_not_used_until_it_does(io: Io) {
    let serving = healths();
    let (a, b) = (origin("a", &serving[0]), origin("b", &serving[1]));
    let proxy = start(io, &[&a, &b]);
    until(&proxy, "ab");
    serving[0].store(false, Relaxed);
    until(&proxy, "b");
    let unhealthy = || proxy.stats().sum("ringway_upstream_endpoints_unhealthy") == 1.0;
    wait::eventually("the endpoint to be counted", || unhealthy().then_some(()));
    serving[0].store(true, Relaxed);
    until(&proxy, "ab");
}

fn health_is_ignored_where_few_endpoints_are_healthy(io: Io) {
    let serving = healths();
    let (a, b) = (origin("a", &serving[0]), origin("b", &serving[1]));
    let proxy = start(io, &[&a, &b]);
    serving[0].store(false, Relaxed);
    until(&proxy, "b");
    serving[1].store(false, Relaxed);
    // None of two is below the half.
    until(&proxy, "ab");
}

fn the_proxy_answers_for_itself_where_it_is_told_to(io: Io) {
    let serving = healths();
    let a = origin("a", &serving[0]);
    let proxy = Ringway::to(&a).io(io).cluster("protocol: http2").listener("grpc: {health: true}").start();
    let mut client = Http2Client::connect(proxy.address());
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", CHECK),
        (":authority", "test"),
        ("content-type", "application/grpc"),
    ];
    let id = client.open(&fields, false);
    client.send(&Frame::data(id, [0, 0, 0, 0, 0], true));
    let response = client.response(id);
    assert_eq!((response.status, response.body.as_slice()), (200, &[0, 0, 0, 0, 2, 8, 1][..]));
    let trailers = response.trailers.expect("trailers");
    assert_eq!(trailers, [("grpc-status".to_owned(), "0".to_owned())]);
    assert_eq!(a.connections(), 0);
}
