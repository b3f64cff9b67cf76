//! Requests over HTTP/2 that would be two, or others, in HTTP/1.1 (threat rows 11, 13 to 15, 17, 27, 35, 36 and 45).
//! Nothing of them reaches an origin, of either protocol; the stream is reset and the connection goes on.

use ringway_tests::http2::{Frame, Http2Client, Instead, code, flag, kind};
use ringway_tests::http2_hostile::HostileOrigin;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver, hpack};

use crate::HIDDEN;

each_driver! {
    control_bytes_in_values_reach_no_origin,
    control_bytes_and_separators_in_names_reach_no_origin,
    control_bytes_in_pseudo_headers_reach_no_origin,
    framing_fields_of_http1_reach_no_origin,
    lengths_that_are_not_kept_complete_no_request,
    pseudo_headers_that_disagree_reach_no_origin,
    paths_that_are_none_reach_no_origin,
    trailers_cannot_bring_in_fields_of_framing,
    names_as_long_as_counters_wrap_change_nothing,
    repeated_fields_stay_repeated,
}

type Block = Vec<u8>;

/// Each attack mounted in front of an origin of each protocol.
struct Stages {
    http1: (Origin, Proxy),
    http2: (HostileOrigin, Proxy),
}

impl Stages {
    fn new(io: Io) -> Stages {
        let http1 = Origin::ok();
        let http2 = HostileOrigin::start(|id, _| {
            let head = hpack::literal(":status", "200");
            let head = Frame::new(kind::HEADERS, flag::END_HEADERS, id, head).encode();
            Some([head, Frame::data(id, "ok", true).encode()].concat())
        });
        let to_http1 = Ringway::to(&http1).io(io).start();
        let to_http2 = Ringway::to(&http2.origin).io(io).cluster("protocol: http2").start();
        Stages { http1: (http1, to_http1), http2: (http2, to_http2) }
    }

    /// Panics unless each of these is refused by a reset of its stream, and the origins see only what comes behind.
    fn refuse(&self, attacks: impl IntoIterator<Item = Vec<Frame>>) {
        self.mount(attacks);
        self.saw_only_canaries();
    }

    /// Panics unless each of these is refused by a reset of its stream; what the origins saw is for the caller to judge.
    fn mount(&self, attacks: impl IntoIterator<Item = Vec<Frame>>) {
        let attacks: Vec<Vec<Frame>> = attacks.into_iter().collect();
        assert!(!attacks.is_empty());
        for proxy in [&self.http1.1, &self.http2.1] {
            let mut client = Http2Client::connect(proxy.address());
            client.settled();
            for (number, frames) in attacks.iter().enumerate() {
                // Resets that a client provokes are limited; a new connection begins with none.
                if number % 40 == 39 {
                    client = Http2Client::connect(proxy.address());
                    client.settled();
                }
                let id = client.new_id();
                let bytes =
                    frames.iter().map(|frame| Frame { id, ..frame.clone() }.encode()).collect::<Vec<_>>();
                client.client().send(bytes.concat());
                match client.try_response(id) {
                    Err(Instead::Reset(code::PROTOCOL_ERROR)) => {}
                    Ok(response) if matches!(response.status, 400 | 414 | 431) => {}
                    other => panic!("{frames:?}: {other:?}"),
                }
                let good = client.get("/canary");
                assert_eq!(client.response(good).status, 200, "{frames:?}: the connection goes on");
            }
        }
    }

    fn saw_only_canaries(&self) {
        let origin = &self.http1.0;
        origin.assert_unambiguous();
        for request in origin.requests() {
            assert_eq!(
                (request.method.as_str(), request.target.as_str()),
                ("GET", "/canary"),
                "{request:#?}"
            );
        }
        for connection in 0..origin.connections() {
            let bytes = origin.received(connection);
            assert!(
                bytes.is_empty() || bytes.starts_with(b"GET /canary "),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
        for (_, fields) in self.http2.0.heads() {
            let path = fields.iter().find(|(name, _)| name == b":path").map(|(_, value)| value.as_slice());
            assert_eq!(path, Some(&b"/canary"[..]), "{fields:?}");
        }
        self.http2.0.origin.assert_unambiguous();
    }
}

fn ended(block: Block) -> Vec<Frame> {
    vec![Frame::new(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 0, block)]
}

/// A GET with one more field.
fn with(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<Frame> {
    ended([hpack::request("GET", "/attack"), hpack::literal(name, value)].concat())
}

/// A POST with one more field and this content.
fn post(name: &str, value: &str, content: &[u8]) -> Vec<Frame> {
    let block = [hpack::request("POST", "/attack"), hpack::literal(name, value)].concat();
    vec![Frame::new(kind::HEADERS, flag::END_HEADERS, 0, block), Frame::data(0, content, true)]
}

/// Threat row 27.
fn control_bytes_in_values_reach_no_origin(io: Io) {
    let bytes = (0..0x20).filter(|byte| *byte != b'\t').chain([0x7f]);
    let values = bytes.flat_map(|byte| [vec![b'x', byte, b'y'], vec![byte, b'y'], vec![b'x', byte]]);
    let split = [
        "x\r\nhost: evil",
        "x\ntransfer-encoding: chunked",
        "x\r\n\r\nGET /hidden HTTP/1.1\r\nhost: test",
        "\r\n\r\n",
        "x\0",
    ];
    let values = values.chain(split.map(|value| value.as_bytes().to_vec()));
    Stages::new(io).refuse(values.map(|value| with("x-test", value)));
}

/// Threat rows 11, 27 and 45.
fn control_bytes_and_separators_in_names_reach_no_origin(io: Io) {
    let names = [
        "",
        " ",
        "x y",
        " x",
        "x ",
        "x:",
        ":x",
        "x: y\r\nz",
        "x\r\nhost",
        "x\n",
        "\r",
        "x\0",
        "x\t",
        "x(",
        "x/",
        "x\"",
        "x,",
        "x;",
        "x{",
        "x\u{7f}",
        "x\u{e9}",
        "X",
        "hosT",
        "Transfer-Encoding",
        "Content-Length",
        "x: y\r\n\r\nGET /hidden HTTP/1.1\r\nhost",
    ];
    Stages::new(io).refuse(names.map(|name| with(name, "z")));
}

/// Threat row 27: what becomes the request line and the Host.
fn control_bytes_in_pseudo_headers_reach_no_origin(io: Io) {
    let bad = |value: &str| {
        [" ", "\t", "\r\n", "\n", "\0", "\u{7f}", " HTTP/1.1\r\nx: y\r\n\r\nGET /hidden"]
            .map(|part| format!("{value}{part}"))
    };
    let mut blocks = Vec::new();
    for (index, value) in ["GET", "http", "/attack", "test"].into_iter().enumerate() {
        for bad in bad(value) {
            let mut fields = [("GET"), ("http"), ("/attack"), ("test")].map(str::to_owned);
            fields[index] = bad;
            let names = [":method", ":scheme", ":path", ":authority"];
            blocks.push(hpack::block(names.into_iter().zip(&fields)));
        }
    }
    let methods = ["", "GET /hidden HTTP/1.1\r\n", "G(T", "GET,POST", "G:T"];
    blocks.extend(methods.map(|method| hpack::request(method, "/attack")));
    Stages::new(io).refuse(blocks.into_iter().map(ended));
}

/// Threat row 27, "H2.TE" and "H2.CL".
fn framing_fields_of_http1_reach_no_origin(io: Io) {
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let mut attacks: Vec<Vec<Frame>> = ["chunked", "identity", "gzip, chunked", "", "xchunked", " chunked"]
        .into_iter()
        .map(|coding| post("transfer-encoding", coding, chunked.as_bytes()))
        .collect();
    attacks.extend(
        [
            ("connection", "transfer-encoding"),
            ("connection", "close"),
            ("keep-alive", "1"),
            ("proxy-connection", "x"),
            ("upgrade", "h2c"),
            ("te", "chunked"),
        ]
        .map(|(name, value)| with(name, value)),
    );
    Stages::new(io).refuse(attacks);
}

/// Threat rows 14, 17 and 27.
fn lengths_that_are_not_kept_complete_no_request(io: Io) {
    let trailers =
        Frame::new(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 0, hpack::literal("x", "y"));
    let length =
        |value: &str| [hpack::request("POST", "/attack"), hpack::literal("content-length", value)].concat();
    let head = |value: &str| Frame::new(kind::HEADERS, flag::END_HEADERS, 0, length(value));
    let two = |a: &str, b: &str| {
        let block = [length(a), hpack::literal("content-length", b)].concat();
        vec![Frame::new(kind::HEADERS, flag::END_HEADERS, 0, block), Frame::data(0, "12345", true)]
    };
    let mut attacks = vec![
        vec![head("0"), Frame::data(0, HIDDEN, true)],
        vec![head("4"), Frame::data(0, "12345", true)],
        ended(length("5")),
        two("5", "6"),
        two("5", "4"),
    ];
    attacks.extend(
        ["+5", "-5", "0x5", "5,5", "5 5", "", "five", "18446744073709551621", "5\u{0}"]
            .map(|value| vec![head(value), Frame::data(0, "12345", true)]),
    );
    let stages = Stages::new(io);
    stages.mount(attacks);
    // Too little, seen at the end only: the head may have gone, but never a request that looks complete.
    for proxy in [&stages.http1.1, &stages.http2.1] {
        for end in [Frame::data(0, "", true), trailers.clone()] {
            let mut client = Http2Client::connect(proxy.address());
            client.settled();
            let id = client.new_id();
            for frame in [head("10"), Frame::data(0, "123", false), end] {
                client.send(&Frame { id, ..frame });
            }
            match client.try_response(id) {
                Err(Instead::Reset(code::PROTOCOL_ERROR)) => {}
                // The origin that answers a head at once was quicker.
                Ok(response) if response.status == 200 => {}
                other => panic!("{other:?}"),
            }
            let good = client.get("/canary");
            assert_eq!(client.response(good).status, 200);
        }
    }
    // Heads may have gone before their content was seen; none was sent to its end.
    let requests = stages.http1.0.requests();
    assert!(requests.iter().all(|request| request.target == "/canary"), "{requests:#?}");
    let canary = (b":path".to_vec(), b"/canary".to_vec());
    let complete = stages.http2.0.complete();
    assert!(complete.iter().all(|(_, fields)| fields.contains(&canary)), "{complete:?}");
    stages.http1.0.assert_unambiguous();
}

/// Threat row 15.
fn pseudo_headers_that_disagree_reach_no_origin(io: Io) {
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/attack"), (":authority", "test")];
    let twice = [
        (":path", "/hidden"),
        (":authority", "other"),
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/attack"),
        ("host", "other"),
        ("host", "test, other"),
    ];
    let mut attacks: Vec<Vec<Frame>> =
        twice.map(|more| ended(hpack::block(get.into_iter().chain([more])))).into();
    let authorities = [
        "a,b",
        "user@test",
        "test/",
        "test?x",
        "test#x",
        "a b",
        "test:x",
        "test:99999",
        "[::1",
        "",
        ":80",
        "http://test",
    ];
    attacks.extend(authorities.map(|authority| {
        ended(hpack::block([
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/attack"),
            (":authority", authority),
        ]))
    }));
    attacks.push(ended(hpack::block([("x", "y"), get[0], get[1], get[2], get[3]])));
    Stages::new(io).refuse(attacks);
}

/// Threat rows 13, 31 and 36.
fn paths_that_are_none_reach_no_origin(io: Io) {
    let paths = [
        "",
        "attack",
        "pkg.Svc/M",
        "*",
        "/admin#.png",
        "/a b",
        "/a\u{1}",
        "http://other/attack",
        "//%00",
        "/%00",
        "?x",
        "/a\\..\\b\0",
        "/%zz",
    ];
    Stages::new(io).refuse(paths.map(|path| ended(hpack::request("GET", path))));
}

fn trailers_cannot_bring_in_fields_of_framing(io: Io) {
    let names = [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        (":path", "/hidden"),
        ("X", "y"),
        ("", "y"),
        ("x", "y\r\n\r\nGET /hidden HTTP/1.1\r\nhost: test"),
        ("x\r\n\r\nGET /hidden HTTP/1.1\r\nhost", "test"),
        ("x", "y\0"),
    ];
    let stages = Stages::new(io);
    for proxy in [&stages.http1.1, &stages.http2.1] {
        for (name, value) in names {
            let mut client = Http2Client::connect(proxy.address());
            client.settled();
            let id = client.post("/trailers");
            client.send(&Frame::data(id, "x", false));
            client.send(&Frame::new(
                kind::HEADERS,
                flag::END_HEADERS | flag::END_STREAM,
                id,
                hpack::literal(name, value),
            ));
            match client.try_response(id) {
                Err(Instead::Reset(code::PROTOCOL_ERROR)) => {}
                // The origin that answers a head at once was quicker.
                Ok(response) if response.status == 200 => {}
                other => panic!("{name:?}: {other:?}"),
            }
        }
        assert_eq!(proxy.get("/canary").status, 200);
    }
    let origin = &stages.http1.0;
    origin.assert_unambiguous();
    assert!(origin.requests().iter().all(|request| request.target == "/canary"), "{:#?}", origin.requests());
}

/// Threat row 10: refused, or one request with exactly this field and this body.
fn names_as_long_as_counters_wrap_change_nothing(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for length in [255, 256, 257, 4095, 4096, 8192, 16_000] {
        for (name, value) in [("n".repeat(length), "x".to_owned()), ("x".to_owned(), "v".repeat(length))] {
            let before = origin.requests().len();
            let mut client = Http2Client::connect(proxy.address());
            client.settled();
            let block = [hpack::request("POST", "/attack"), hpack::literal(&name, &value)].concat();
            let id = client.new_id();
            client.send(&Frame::new(kind::HEADERS, flag::END_HEADERS, id, block));
            client.send(&Frame::data(id, HIDDEN, true));
            let status = client.response(id).status;
            let seen = origin.requests();
            assert!(seen.len() <= before + 1);
            if let (200, Some(request)) = (status, seen.last()) {
                assert_eq!((request.target.as_str(), request.body_text().as_str()), ("/attack", HIDDEN));
                assert_eq!(request.field(&name), Some(value.as_str()));
            }
        }
    }
    origin.assert_unambiguous();
}

/// Threat row 35: nothing is folded away but cookie crumbs (RFC 9113 8.2.3), which are one line in HTTP/1.1.
fn repeated_fields_stay_repeated(io: Io) {
    let stages = Stages::new(io);
    let fields = [("x-role", "user"), ("cookie", "a=1"), ("x-role", "admin"), ("cookie", "b=2")];
    let block = [hpack::request("GET", "/canary"), hpack::block(fields)].concat();
    for proxy in [&stages.http1.1, &stages.http2.1] {
        let mut client = Http2Client::connect(proxy.address());
        client.settled();
        let id = client.new_id();
        client.send(&Frame::new(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, block.clone()));
        assert_eq!(client.response(id).status, 200);
    }
    let request = stages.http1.0.only_request();
    assert_eq!(request.fields_named("x-role"), ["user", "admin"]);
    assert_eq!(request.fields_named("cookie"), ["a=1; b=2"]);
    let (_, fields) = stages.http2.0.heads().remove(0);
    let roles: Vec<_> =
        fields.iter().filter(|(name, _)| name == b"x-role").map(|(_, value)| value.as_slice()).collect();
    assert_eq!(roles, [&b"user"[..], b"admin"]);
}
