//! What is encoded, read again by our decoder.

use super::HeadEncoder;
use crate::http1::{
    ConnectionField, HeadLimits, RequestEdits, ResponseEdits, TrailerLimits, parse_request, parse_response,
    reason_phrase,
};
use crate::http2::HeadDecoder;
use crate::message::{FieldKind, KindSet, Method, RequestHead, ResponseHead};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 65_536, fields_max: 100, target_bytes_max: 8192 };

fn request_block(http1: &str, edits: &RequestEdits<'_>) -> Vec<u8> {
    let mut head = RequestHead::default();
    parse_request(http1.as_bytes(), &LIMITS, &mut head).unwrap();
    let mut block = Vec::new();
    HeadEncoder::default().request(&mut block, http1.as_bytes(), &head, edits, "http");
    block
}

fn request(http1: &str, edits: &RequestEdits<'_>) -> String {
    let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
    let block = request_block(http1, edits);
    HeadDecoder::new(4096).request(&block, &LIMITS, false, true, &mut head, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap().strip_suffix("\r\n").unwrap().to_owned()
}

fn response(http1: &str, method: Method, edits: &ResponseEdits<'_>) -> String {
    let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
    parse_response(http1.as_bytes(), &LIMITS, method, &mut head).unwrap();
    let mut block = Vec::new();
    HeadEncoder::default().response(&mut block, http1.as_bytes(), &head, edits);
    HeadDecoder::new(4096).response(&block, &LIMITS, false, method, &mut head, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap().strip_suffix("\r\n").unwrap().to_owned()
}

#[test]
fn http1_requests_become_blocks() {
    for (http1, rendition) in [
        ("GET / HTTP/1.1\r\nHost: A\r\n\r\n", "GET / HTTP/2.0\r\nhost: A\r\n"),
        (
            "POST /a?b HTTP/1.1\r\nX-Y:  Z \r\nHost: a:80\r\nContent-Length: 5\r\nUser-Agent: u\r\n\r\n",
            "POST /a?b HTTP/2.0\r\nhost: a:80\r\nx-y: Z\r\ncontent-length: 5\r\nuser-agent: u\r\n",
        ),
        (
            "PUT / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n",
            "PUT / HTTP/2.0\r\nhost: a\r\ntrailer: x\r\n",
        ),
        (
            "PUT / HTTP/1.1\r\nhost: a\r\nContent-Length: 007\r\n\r\n",
            "PUT / HTTP/2.0\r\nhost: a\r\ncontent-length: 7\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nTE: trailers\r\n\
             Proxy-Connection: close\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nX_Forwarded_For: 1\r\nX-End: 1\r\n\r\n",
            "GET / HTTP/2.0\r\nhost: a\r\nx-end: 1\r\n",
        ),
        ("GET http://a:1/b?c HTTP/1.1\r\nhost: a:1\r\n\r\n", "GET /b?c HTTP/2.0\r\nhost: a:1\r\n"),
        ("GET http://a?c HTTP/1.1\r\nhost: a\r\n\r\n", "GET /?c HTTP/2.0\r\nhost: a\r\n"),
        ("GET http://a HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/2.0\r\nhost: a\r\n"),
        ("OPTIONS http://a HTTP/1.1\r\nhost: a\r\n\r\n", "OPTIONS * HTTP/2.0\r\nhost: a\r\n"),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "OPTIONS * HTTP/2.0\r\nhost: a\r\n"),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", "CONNECT a:443 HTTP/2.0\r\nhost: a:443\r\n"),
        ("get /index.html HTTP/1.0\r\nhost: a\r\n\r\n", "get /index.html HTTP/2.0\r\nhost: a\r\n"),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nX: b\tc\u{e9}\r\nY:\r\n\r\n",
            "GET / HTTP/2.0\r\nhost: a\r\nx: b\tc\u{e9}\r\ny: \r\n",
        ),
    ] {
        assert_eq!(request(http1, &RequestEdits::default()), rendition);
    }
}

#[test]
fn request_edits_are_those_of_http1() {
    let http1 = "GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1\r\nAccept: x\r\n\r\n";
    let none = RequestEdits::default();
    let append = "X-Forwarded-For: 1, 2\r\nVia:1.1 r\r\nx-empty: \r\nConnection: close\r\n".as_bytes();
    for (edits, rendition) in [
        (
            RequestEdits { target: Some(b"/b?c"), ..none },
            "GET /b?c HTTP/2.0\r\nhost: h\r\nx-forwarded-for: 1\r\naccept: x\r\n",
        ),
        (
            RequestEdits { host: Some(b"i:1"), ..none },
            "GET /a HTTP/2.0\r\nhost: i:1\r\nx-forwarded-for: 1\r\naccept: x\r\n",
        ),
        (
            RequestEdits { drop: KindSet::FORWARDING, append, ..none },
            "GET /a HTTP/2.0\r\nhost: h\r\naccept: x\r\nx-forwarded-for: 1, 2\r\nvia: 1.1 r\r\nx-empty: \r\n",
        ),
        (
            RequestEdits { te_trailers: true, drop: KindSet::of(&[FieldKind::Accept]), ..none },
            "GET /a HTTP/2.0\r\nhost: h\r\nx-forwarded-for: 1\r\nte: trailers\r\n",
        ),
        (
            RequestEdits { connection: ConnectionField::Close, ..none },
            "GET /a HTTP/2.0\r\nhost: h\r\nx-forwarded-for: 1\r\naccept: x\r\n",
        ),
    ] {
        assert_eq!(request(http1, &edits), rendition);
    }
}

#[test]
fn an_upgrade_becomes_an_extended_connect() {
    let http1 = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let edits = RequestEdits { connection: ConnectionField::Upgrade(b"websocket"), ..Default::default() };
    let rendition = "GET /chat HTTP/2.0\r\nhost: h\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    assert_eq!(request(http1, &edits), rendition);
    let http1 = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: a\r\nSec-WebSocket-Protocol: p\r\n\r\n";
    assert_eq!(
        response(http1, Method::Connect, &ResponseEdits::default()),
        "HTTP/1.1 200 OK\r\nsec-websocket-protocol: p\r\n"
    );
}

#[test]
fn http1_responses_become_blocks() {
    let drop = KindSet::of(&[FieldKind::Server]);
    let edits = ResponseEdits {
        drop,
        append: b"Server: r\r\n",
        connection: ConnectionField::Close,
        ..ResponseEdits::default()
    };
    for (http1, edits, rendition) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: s\r\n\r\n",
            ResponseEdits::default(),
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: s\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: s\r\n\r\n",
            edits,
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: r\r\n",
        ),
        (
            "HTTP/1.0 404\r\nContent-Length: 05\r\n\r\n",
            ResponseEdits::default(),
            "HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n",
        ),
        (
            "HTTP/1.1 418 x\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
            ResponseEdits::default(),
            "HTTP/1.1 418 \r\nset-cookie: a\r\nset-cookie: b\r\n",
        ),
        (
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n",
            ResponseEdits::default(),
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n",
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            ResponseEdits::default(),
            "HTTP/1.1 204 No Content\r\n",
        ),
    ] {
        assert_eq!(response(http1, Method::Get, &edits), rendition);
    }
    for status in 102..600 {
        let http1 = format!("HTTP/1.1 {status} x\r\n\r\n");
        let rendition = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status));
        assert_eq!(response(&http1, Method::Get, &ResponseEdits::default()), rendition);
    }
}

#[test]
fn trailers_become_blocks() {
    let mut block = Vec::new();
    HeadEncoder::default().trailers(&mut block, b"Grpc-Status: 0\r\ngrpc-message:\r\nTE: gzip\r\nX: a:b\r\n");
    let (mut lines, limits) = (Vec::new(), TrailerLimits { bytes_max: 1000, fields_max: 10 });
    HeadDecoder::new(4096).trailers(&block, &limits, &mut lines).unwrap();
    assert_eq!(lines, b"grpc-status: 0\r\ngrpc-message: \r\nx: a:b\r\n");
}

/// What came in HTTP/2 goes out as the same block, with what is never indexed.
#[test]
fn http2_requests_become_the_same_block_again() {
    let http1 = "POST /p HTTP/1.1\r\nHost: a\r\nX: y\r\nAuthorization: Basic eA==\r\nCookie: a=b\r\n\r\n";
    let mut block = request_block(http1, &RequestEdits::default());
    block.extend_from_slice(b"\x10\x01z\x011");
    let (mut head, mut bytes, mut again) = (RequestHead::default(), Vec::new(), Vec::new());
    HeadDecoder::new(4096).request(&block, &LIMITS, true, false, &mut head, &mut bytes).unwrap();
    HeadEncoder::default().request(&mut again, &bytes, &head, &RequestEdits::default(), "http");
    assert_eq!(again.escape_ascii().to_string(), block.escape_ascii().to_string());
}

#[test]
fn secrets_are_never_indexed() {
    let long = "c".repeat(20);
    for (name, value, never_indexed) in [
        ("authorization", "x", true),
        ("Authorization", "Bearer and so on and on and on", true),
        ("cookie", "short", true),
        ("cookie", long.as_str(), false),
        ("set-cookie", "short", false),
        ("x", "y", false),
    ] {
        let http1 = format!("GET / HTTP/1.1\r\nhost: a\r\n{name}: {value}\r\n\r\n");
        let block = request_block(&http1, &RequestEdits::default());
        let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
        HeadDecoder::new(4096).request(&block, &LIMITS, true, false, &mut head, &mut bytes).unwrap();
        assert_eq!(head.fields[1].never_indexed, never_indexed, "{name}: {value}");
    }
}

/// RFC 7541 4.2: a peer that allows a smaller table is told that we follow, once.
#[test]
fn a_smaller_table_of_the_peer_is_followed_in_the_next_block() {
    let block_after = |sizes: &[u32]| {
        let mut encoder = HeadEncoder::default();
        sizes.iter().for_each(|size| encoder.set_table_bytes_max(*size));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encoder.trailers(&mut first, b"a: b\r\n");
        sizes.iter().for_each(|size| encoder.set_table_bytes_max(*size));
        encoder.trailers(&mut second, b"a: b\r\n");
        (first, second)
    };
    let plain = b"\x00\x01a\x01b".to_vec();
    let shrunk = [b"\x20", plain.as_slice()].concat();
    for (sizes, first) in [
        (&[][..], &plain),
        (&[4096], &plain),
        (&[65_536], &plain),
        (&[0], &shrunk),
        (&[4095], &shrunk),
        (&[0, 4096], &shrunk),
    ] {
        assert_eq!(block_after(sizes), (first.clone(), plain.clone()), "{sizes:?}");
    }
}
