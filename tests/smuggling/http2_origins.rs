//! Responses of an origin that speaks HTTP/2, broken in every way: 502, or a cut once the head has gone out; nothing
//! of them is forwarded as if it were whole (RFC 9113 8.1.1, threat rows 27 and 45).

use ringway_tests::http2::{Frame, Http2Client, Instead, flag, kind};
use ringway_tests::http2_hostile::HostileOrigin;
use ringway_tests::{Io, Ringway, each_driver, hpack};

each_driver! {
    heads_that_are_none_are_502,
    bodies_that_are_not_what_was_said_are_cut,
    frames_that_break_the_connection_are_502,
}

fn frame(kind: u8, flags: u8, id: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    Frame::new(kind, flags, id, payload.as_ref()).encode()
}

/// The whole answer of one request, over both protocols.
struct Answers {
    /// The status line and all behind it; whether the body looks complete.
    http1: (String, bool),
    /// The status, if the response was complete.
    http2: Option<u16>,
}

fn ask(io: Io, answer: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Answers {
    let origin = HostileOrigin::start(move |id, _| Some(answer(id)));
    let proxy = Ringway::to(&origin.origin).io(io).cluster("protocol: http2").start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let text = String::from_utf8_lossy(&client.until_closed()).into_owned();
    let complete = match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains("chunked") => body.ends_with("0\r\n\r\n"),
        Some((head, body)) => {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            length.is_some_and(|length| length.trim().parse() == Ok(body.len()))
        }
        None => false,
    };
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let id = client.get("/");
    let http2 = match client.try_response(id) {
        Ok(response) => Some(response.status),
        Err(Instead::Reset(_)) => None,
        Err(other) => panic!("the client's connection is not to blame: {other:?}"),
    };
    origin.origin.assert_unambiguous();
    Answers { http1: (text, complete), http2 }
}

fn heads_that_are_none_are_502(io: Io) {
    let status = || hpack::literal(":status", "200");
    let with = |name: &str, value: &str| [status(), hpack::literal(name, value)].concat();
    let heads: Vec<(&str, Vec<u8>)> = vec![
        ("no :status", hpack::literal("x", "y")),
        ("nothing", Vec::new()),
        (":status twice", [status(), status()].concat()),
        (":status behind a field", [hpack::literal("x", "y"), status()].concat()),
        (":status of two digits", hpack::literal(":status", "20")),
        (":status of four digits", hpack::literal(":status", "2000")),
        (":status of letters", hpack::literal(":status", "abc")),
        (":status with CR LF", hpack::literal(":status", "200\r\nx: y")),
        (":status 099", hpack::literal(":status", "099")),
        (":status 101", hpack::literal(":status", "101")),
        (":path in a response", with(":path", "/")),
        ("upper case", with("X", "y")),
        ("CR LF in a value", with("x", "y\r\nset-cookie: evil=1")),
        ("LF in a value", with("x", "y\nz: 1")),
        ("NUL in a value", with("x", "y\0")),
        ("CR LF in a name", with("x\r\ny", "z")),
        ("an empty name", with("", "z")),
        ("a blank in a name", with("x y", "z")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("connection", with("connection", "close")),
        ("two lengths", [with("content-length", "2"), hpack::literal("content-length", "3")].concat()),
        ("a length that is none", with("content-length", "+2")),
    ];
    for (name, block) in heads {
        let answers = ask(io, move |id| {
            [frame(kind::HEADERS, flag::END_HEADERS, id, &block), Frame::data(id, "ok", true).encode()]
                .concat()
        });
        assert!(answers.http1.0.starts_with("HTTP/1.1 502 "), "{name}: {}", answers.http1.0);
        assert_eq!(answers.http2, Some(502), "{name}");
    }
}

fn bodies_that_are_not_what_was_said_are_cut(io: Io) {
    type Body = fn(u32) -> Vec<u8>;
    fn start(id: u32, length: &str) -> Vec<u8> {
        let block = [hpack::literal(":status", "200"), hpack::literal("content-length", length)].concat();
        frame(kind::HEADERS, flag::END_HEADERS, id, block)
    }
    let bodies: [(&str, Body); 6] = [
        ("too short", |id| [start(id, "10"), Frame::data(id, "12345", true).encode()].concat()),
        ("too short, with trailers", |id| {
            let trailers = frame(kind::HEADERS, 5, id, hpack::literal("x", "y"));
            [start(id, "10"), Frame::data(id, "12345", false).encode(), trailers].concat()
        }),
        ("too long", |id| [start(id, "2"), Frame::data(id, "12345", true).encode()].concat()),
        ("an end on HEADERS", |id| {
            let block = [hpack::literal(":status", "200"), hpack::literal("content-length", "5")].concat();
            frame(kind::HEADERS, 5, id, block)
        }),
        ("reset in the middle", |id| {
            [start(id, "10"), Frame::data(id, "12345", false).encode(), Frame::reset(id, 2).encode()].concat()
        }),
        ("trailers with CR LF", |id| {
            let head = frame(kind::HEADERS, flag::END_HEADERS, id, hpack::literal(":status", "200"));
            let trailers = frame(kind::HEADERS, 5, id, hpack::literal("x", "y\r\nz: 1"));
            [head, Frame::data(id, "12345", false).encode(), trailers].concat()
        }),
    ];
    for (name, body) in bodies {
        let answers = ask(io, body);
        let (text, complete) = &answers.http1;
        assert!(text.starts_with("HTTP/1.1 502 ") || !complete, "{name}: {text}");
        assert!(matches!(answers.http2, None | Some(502)), "{name}: {:?}", answers.http2);
        assert!(!text.contains("z: 1"), "{name}: {text}");
    }
}

fn frames_that_break_the_connection_are_502(io: Io) {
    let promise = |id: u32| [&(id + 1).to_be_bytes()[..], &hpack::request("GET", "/hidden")].concat();
    type Answer = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;
    let answers: Vec<(&str, Answer)> = vec![
        ("PUSH_PROMISE", Box::new(move |id| frame(kind::PUSH_PROMISE, flag::END_HEADERS, id, promise(id)))),
        ("DATA before HEADERS", Box::new(|id| Frame::data(id, "x", true).encode())),
        ("a block that is none", Box::new(|id| frame(kind::HEADERS, 5, id, [0x80]))),
        ("HEADERS on stream 0", Box::new(|_| frame(kind::HEADERS, 5, 0, hpack::literal(":status", "200")))),
        (
            "HEADERS on a stream of the server",
            Box::new(|_| frame(kind::HEADERS, 5, 2, hpack::literal(":status", "200"))),
        ),
        ("a frame that is too large", Box::new(|id| frame(kind::DATA, 0, id, vec![0; 20_000]))),
        ("HTTP/1.1", Box::new(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())),
        ("GOAWAY and the end", Box::new(|_| frame(kind::GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 1]))),
    ];
    for (name, answer) in answers {
        let answers = ask(io, answer);
        let text = &answers.http1.0;
        assert!(text.starts_with("HTTP/1.1 502 ") || text.starts_with("HTTP/1.1 503 "), "{name}: {text}");
        assert!(matches!(answers.http2, None | Some(502 | 503)), "{name}: {:?}", answers.http2);
    }
}
