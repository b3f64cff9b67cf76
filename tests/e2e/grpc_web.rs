//! gRPC-Web: browsers call origins that speak gRPC.

use ringway_tests::http2::{Frame, Http2Client};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    a_binary_call_over_http1_becomes_grpc,
    a_text_call_over_http1_becomes_grpc,
    a_text_call_over_http2_becomes_grpc,
    an_error_without_messages_stands_in_the_head,
    a_local_reply_has_the_form_of_the_call,
    a_page_of_a_listed_origin_may_call_and_no_other,
}

const PATH: &str = "/pkg.Echo/Say";
const PING: &[u8] = b"\0\0\0\0\x04ping";
/// "ping" as a message, in base64.
const PING_TEXT: &str = "AAAAAARwaW5n";
const TRAILERS: &[u8] = b"\x80\0\0\0\x10grpc-status: 0\r\n";

/// An origin that says back what it was sent, and fails on an empty request.
fn echo() -> Origin {
    Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            assert_eq!(request.field("content-type"), Some("application/grpc+proto"));
            assert_eq!(request.field("te"), Some("trailers"));
            let head = [(":status", "200"), ("content-type", "application/grpc+proto")];
            if request.body.is_empty() {
                conn.headers(request.id, &[head[0], head[1], ("grpc-status", "5")], true);
                continue;
            }
            conn.headers(request.id, &head, false);
            let body = request.body.clone();
            conn.data(request.id, &body, false);
            conn.headers(request.id, &[("grpc-status", "0")], true);
        }
    })
}

fn proxy(io: Io, origin: &Origin) -> Ringway {
    Ringway::to(origin).io(io).cluster("protocol: http2")
}

fn post(form: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: test\r\ncontent-type: application/{form}+proto\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Decodes base64 that is padded after each piece.
fn decode(text: &[u8]) -> Vec<u8> {
    let (mut decoder, mut out) = (ringway_protocols::grpc::Base64Decoder::default(), Vec::new());
    decoder.decode(text, &mut out).expect("base64");
    assert!(decoder.is_complete());
    out
}

fn a_binary_call_over_http1_becomes_grpc(io: Io) {
    let origin = echo();
    let proxy = proxy(io, &origin).start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        let response = client.exchange(post("grpc-web", "", PING));
        assert_eq!(
            (response.status, response.field("content-type")),
            (200, Some("application/grpc-web+proto"))
        );
        assert_eq!(response.body, [PING, TRAILERS].concat());
    }
    assert_eq!(proxy.stats().sum_where("ringway_grpc_calls_total", "status=\"OK\""), 2.0);
}

fn a_text_call_over_http1_becomes_grpc(io: Io) {
    let origin = echo();
    let proxy = proxy(io, &origin).start();
    let mut client = proxy.connect();
    let response = client.exchange(post("grpc-web-text", "", PING_TEXT.as_bytes()));
    assert_eq!(response.field("content-type"), Some("application/grpc-web-text+proto"));
    assert_eq!(decode(&response.body), [PING, TRAILERS].concat());
    // What cannot be decoded is refused, and not passed on in part.
    let refused = proxy.connect().exchange(post("grpc-web-text", "", b"AAAAAARwaW5"));
    assert_eq!(refused.reason_code(), Some("bad_request"));
    assert_eq!(refused.field("grpc-status"), Some("13"));
}

fn a_text_call_over_http2_becomes_grpc(io: Io) {
    let origin = echo();
    let proxy = proxy(io, &origin).start();
    let mut client = Http2Client::connect(proxy.address());
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PATH),
        (":authority", "test"),
        ("content-type", "application/grpc-web-text+proto"),
    ];
    let id = client.open(&fields, false);
    // The pieces split groups of four.
    for piece in PING_TEXT.as_bytes().chunks(5) {
        client.send(&Frame::data(id, piece, false));
    }
    client.send(&Frame::data(id, [], true));
    let response = client.response(id);
    assert_eq!(decode(&response.body), [PING, TRAILERS].concat());
    assert!(response.trailers.is_none());
}

fn an_error_without_messages_stands_in_the_head(io: Io) {
    let origin = echo();
    let proxy = proxy(io, &origin).start();
    let response = proxy.connect().exchange(post("grpc-web", "", b""));
    assert_eq!((response.status, response.field("grpc-status")), (200, Some("5")));
    assert_eq!(response.field("content-type"), Some("application/grpc-web+proto"));
    assert!(response.body.is_empty());
}

fn a_local_reply_has_the_form_of_the_call(io: Io) {
    let origin = echo();
    let address = origin.address();
    drop(origin);
    let proxy = Ringway::to_address(address)
        .io(io)
        .cluster("protocol: http2")
        .route("grpc: {web_origins: [\"*\"]}")
        .start();
    let response = proxy.connect().exchange(post("grpc-web", "origin: https://app.test\r\n", PING));
    assert_eq!((response.status, response.field("grpc-status")), (200, Some("14")));
    assert_eq!(response.field("content-type"), Some("application/grpc-web+proto"));
    assert_eq!(response.reason_code(), Some("connect_failed"));
    assert_eq!(response.field("access-control-allow-origin"), Some("https://app.test"));
}

fn a_page_of_a_listed_origin_may_call_and_no_other(io: Io) {
    let origin = echo();
    let proxy = proxy(io, &origin).route("grpc: {web_origins: [\"https://app.test\"]}").start();
    let preflight = |from: &str| {
        format!(
            "OPTIONS {PATH} HTTP/1.1\r\nhost: test\r\norigin: {from}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: content-type,x-grpc-web\r\n\r\n"
        )
    };
    let mut client = proxy.connect();
    let response = client.exchange(preflight("https://app.test"));
    assert_eq!(
        (response.status, response.field("access-control-allow-origin")),
        (204, Some("https://app.test"))
    );
    assert_eq!(response.field("access-control-allow-methods"), Some("POST"));
    assert_eq!(response.field("access-control-allow-headers"), Some("content-type,x-grpc-web"));
    assert_eq!(origin.connections(), 0);
    for (from, allowed) in [("https://app.test", Some("https://app.test")), ("https://evil.test", None)] {
        let response = client.exchange(post("grpc-web", &format!("origin: {from}\r\n"), PING));
        assert_eq!(response.field("access-control-allow-origin"), allowed);
        assert_eq!(response.field("access-control-expose-headers").is_some(), allowed.is_some());
    }
}
