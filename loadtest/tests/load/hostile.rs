//! Servers that break their protocol in every way: each way is counted under one name, for every request, and nothing hangs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use ringway_protocols::websocket::accept_of;

use crate::harness::{count, load, server};

/// What a server does with a connection, when the request with this stream has come (0 where there are no streams).
type Fault = fn(&mut TcpStream, u32);

/// Requests of each case.
const REQUESTS: u64 = 6;

/// Every request of a run ends as `name` says, and so does the run.
fn check(scheme: &str, flags: &[&str], name: &str, what: &str, address: SocketAddr) {
    // What does not wait for it must not meet it, however busy the machine is.
    let timeout = if name == "timeout" { "200ms" } else { "60s" };
    let (count_of, url) = (REQUESTS.to_string(), format!("{scheme}://{address}/a.B/C"));
    let own = ["-c", "2", "-t", "1", "-n", &count_of, "--timeout", timeout, &url];
    let (code, document, text) = load(&[flags, &own].concat());
    let context = format!("{scheme}, {what}: {text}");
    assert_eq!(code, Some(3), "{context}");
    assert_eq!(count(&document, &format!("/errors/{name}")), REQUESTS, "{context}");
    assert_eq!(count(&document, "/summary/errors"), REQUESTS, "{context}");
}

/// Ends a connection with RST at once.
fn reset(stream: &TcpStream) {
    // Connecting to nobody dissolves a connection (connect(2)), which TCP does by RST.
    rustix::net::connect_unspec(stream).expect("a connection that is dissolved");
}

fn say(stream: &mut TcpStream, bytes: &[u8]) {
    // Whoever has given up on us does not read it.
    let _ = stream.write_all(bytes);
}

/// Says something again and again, until nobody listens any more.
fn say_forever(stream: &mut TcpStream, bytes: &[u8]) {
    let many = bytes.repeat(1 + 8192 / bytes.len());
    while stream.write_all(&many).is_ok() {}
}

/// Reads until the peer goes.
fn wait_for_end(stream: &mut TcpStream) {
    while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
}

const HTTP1: &[(&str, &str, Fault)] = &[
    ("reset", "reset instead of an answer", |stream, _| reset(stream)),
    ("reset", "reset within a body", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel");
        reset(stream);
    }),
    ("early_close", "closed instead of an answer", |_, _| {}),
    ("early_close", "closed within a head", |stream, _| say(stream, b"HTTP/1.1 200 OK\r\nConte")),
    ("early_close", "less than Content-Length", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel");
    }),
    ("early_close", "chunks without their last", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    }),
    ("malformed", "another protocol", |stream, _| say(stream, b"220 mail.test ESMTP\r\n")),
    ("malformed", "a status that is none", |stream, _| say(stream, b"HTTP/1.1 2000 OK\r\n\r\n")),
    ("malformed", "a length that is none", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n");
    }),
    ("malformed", "two lengths", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
    }),
    ("malformed", "a chunk that is no number", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
    }),
    ("malformed", "an upgrade that nobody asked for", |stream, _| {
        say(stream, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    }),
    ("malformed", "a head without an end", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\n");
        say_forever(stream, b"x-filler: filler\r\n");
    }),
    ("malformed", "a chunk's extension without an end", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;");
        say_forever(stream, b"filler");
    }),
    ("timeout", "interim answers without an end", |stream, _| {
        say_forever(stream, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    }),
    ("timeout", "a body without an end", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        say_forever(stream, b"3\r\nabc\r\n");
    }),
    ("timeout", "half a head, and silence", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-");
        wait_for_end(stream);
    }),
    ("timeout", "half a body, and silence", |stream, _| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel");
        wait_for_end(stream);
    }),
];

#[test]
fn each_way_of_http1_to_break_has_one_name() {
    for &(name, what, fault) in HTTP1 {
        let (address, _) = server(move |stream, count| {
            crate::harness::each_request(stream, count, |stream, _| {
                fault(stream, 0);
                false
            });
        });
        check("http", &[], name, what, address);
    }
}

/// A frame of HTTP/2 (RFC 9113 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, indexed (RFC 7541 A).
const STATUS_200: &[u8] = &[0x88];

/// Answers a request after the settings of both sides; the fault is told the stream. The connection ends with it, or stays and
/// answers others alike.
fn http2(stream: &mut TcpStream, fault: Fault, stays: bool) {
    const PREFACE_BYTES: usize = 24;
    say(stream, &frame(SETTINGS, 0, 0, &[]));
    let (mut bytes, mut at) = (Vec::new(), PREFACE_BYTES);
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
        while let Some(&[a, b, c, kind, _, d, e, f, g]) =
            bytes.get(at..at + 9).and_then(|head| head.first_chunk())
        {
            let payload = u32::from_be_bytes([0, a, b, c]) as usize;
            if bytes.len() < at + 9 + payload {
                break;
            }
            at += 9 + payload;
            if kind != HEADERS {
                continue;
            }
            fault(stream, u32::from_be_bytes([d, e, f, g]));
            if !stays {
                // To close with something unread would be a reset.
                let _ = stream.shutdown(Shutdown::Write);
                return wait_for_end(stream);
            }
        }
    }
}

const HTTP2: &[(&str, &str, Fault)] = &[
    ("reset", "reset instead of an answer", |stream, _| reset(stream)),
    ("early_close", "closed instead of an answer", |_, _| {}),
    ("early_close", "closed within a frame", |stream, _| say(stream, &[0, 0, 9, HEADERS])),
    ("early_close", "closed within a body", |stream, id| {
        say(stream, &frame(HEADERS, END_HEADERS, id, STATUS_200));
        say(stream, &frame(DATA, 0, id, b"abc"));
    }),
    ("http2", "another protocol", |stream, _| say(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")),
    ("http2", "DATA on no stream", |stream, _| say(stream, &frame(DATA, 0, 0, b"abc"))),
    ("http2", "DATA on a stream that is not open", |stream, _| say(stream, &frame(DATA, 0, 999, b"abc"))),
    ("http2", "an answer on a stream of the server's", |stream, _| {
        say(stream, &frame(HEADERS, END_HEADERS, 2, STATUS_200));
    }),
    ("http2", "CONTINUATION of nothing", |stream, id| {
        say(stream, &frame(CONTINUATION, END_HEADERS, id, b""))
    }),
    ("http2", "a frame larger than allowed", |stream, id| say(stream, &frame(DATA, 0, id, &[0; 20_000]))),
    ("http2", "a push that was not allowed", |stream, id| {
        say(stream, &frame(PUSH_PROMISE, END_HEADERS, id, &[0, 0, 0, 2, 0x88]));
    }),
    ("http2", "fields that cannot be decoded", |stream, id| {
        say(stream, &frame(HEADERS, END_HEADERS | END_STREAM, id, &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]));
    }),
    ("http2", "a window that overflows", |stream, _| {
        say(stream, &frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2));
    }),
    ("http2", "settings of a wrong length", |stream, _| say(stream, &frame(SETTINGS, 0, 0, &[0; 5]))),
    ("refused", "GOAWAY before the request", |stream, _| say(stream, &frame(GOAWAY, 0, 0, &[0; 8]))),
    ("timeout", "silence", |stream, _| wait_for_end(stream)),
    ("timeout", "half an answer, and silence", |stream, id| {
        say(stream, &frame(HEADERS, END_HEADERS, id, STATUS_200));
        wait_for_end(stream);
    }),
    ("timeout", "empty DATA without an end", |stream, id| {
        say(stream, &frame(HEADERS, END_HEADERS, id, STATUS_200));
        say_forever(stream, &frame(DATA, 0, id, b""));
    }),
];

/// What is wrong with one stream only.
const STREAMS: &[(&str, &str, Fault)] = &[
    ("malformed", "an answer without a status", |stream, id| {
        // `x: y`, not indexed.
        say(stream, &frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x00, 0x01, b'x', 0x01, b'y']));
    }),
    ("malformed", "less than Content-Length", |stream, id| {
        // `content-length: 9`, by the name of the static table.
        say(stream, &frame(HEADERS, END_HEADERS, id, &[0x88, 0x0f, 0x0d, 0x01, b'9']));
        say(stream, &frame(DATA, END_STREAM, id, b"abc"));
    }),
    ("malformed", "more than Content-Length", |stream, id| {
        say(stream, &frame(HEADERS, END_HEADERS, id, &[0x88, 0x0f, 0x0d, 0x01, b'2']));
        say(stream, &frame(DATA, END_STREAM, id, b"abc"));
    }),
    ("stream", "the stream reset", |stream, id| {
        say(stream, &frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
    }),
    ("refused", "the stream refused", |stream, id| {
        say(stream, &frame(RST_STREAM, 0, id, &[0, 0, 0, 7]));
    }),
];

#[test]
fn each_way_of_http2_to_break_has_one_name() {
    for (table, stays) in [(HTTP2, false), (STREAMS, true)] {
        for &(name, what, fault) in table {
            let (address, _) = server(move |stream, _| http2(stream, fault, stays));
            check("http", &["--protocol", "h2"], name, what, address);
        }
    }
}

#[test]
fn goaway_to_everybody_who_comes_ends_a_run() {
    // Nothing was acted on; or perhaps it was, and the answer is waited for.
    for (last, name) in [([0; 4], "refused"), ([0x7f, 0xff, 0xff, 0xff], "timeout")] {
        let goaway = frame(GOAWAY, 0, 0, &[&last[..], &[0; 4]].concat());
        let (address, _) = server(move |stream, _| {
            say(stream, &frame(SETTINGS, 0, 0, &[]));
            say(stream, &goaway);
            wait_for_end(stream);
        });
        check("http", &["--protocol", "h2"], name, "GOAWAY at once", address);
    }
}

#[test]
fn frames_to_acknowledge_without_an_end_do_not_keep_a_run_from_its_end() {
    // Nobody reads the acknowledgements: what the tester keeps of them is bounded, and so is the time. What of it ends a
    // connection first depends on the machine.
    let interim = &[0x08, 0x03, b'1', b'0', b'3']; // `:status: 103`, by the name of the static table
    let faults =
        [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_HEADERS, 1, interim)];
    for asked in faults {
        let (address, _) = server(move |stream, _| {
            say(stream, &frame(SETTINGS, 0, 0, &[]));
            // The preface, and the first request with it.
            let _ = stream.read(&mut [0; 4096]);
            say_forever(stream, &asked);
        });
        let url = format!("http://{address}/");
        let flags = ["--protocol", "h2", "-c", "2", "-t", "1", "-n", "6", "--timeout", "200ms", &url];
        let (code, document, text) = load(&flags);
        assert_eq!((code, count(&document, "/summary/errors")), (Some(3), 6), "{text}");
    }
}

/// gRPC's own: the frames are right, what they hold is not.
const GRPC: &[(&str, &str, Fault)] = &[
    ("grpc", "no status at all", |stream, id| {
        say(stream, &frame(HEADERS, END_HEADERS | END_STREAM, id, STATUS_200));
    }),
    ("grpc", "a status that is no number", |stream, id| {
        let mut fields = vec![0x88, 0x00, 11];
        fields.extend_from_slice(b"grpc-status\x02ok");
        say(stream, &frame(HEADERS, END_HEADERS | END_STREAM, id, &fields));
    }),
    ("grpc", "an answer of HTTP instead", |stream, id| {
        // `:status: 404` of the static table.
        say(stream, &frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x8d]));
    }),
    ("malformed", "a message that is cut off", |stream, id| {
        say(stream, &frame(HEADERS, END_HEADERS, id, STATUS_200));
        say(stream, &frame(DATA, 0, id, &[0, 0, 0, 0, 9, b'a']));
        let mut fields = vec![0x00, 11];
        fields.extend_from_slice(b"grpc-status\x010");
        say(stream, &frame(HEADERS, END_HEADERS | END_STREAM, id, &fields));
    }),
];

#[test]
fn each_way_of_grpc_to_break_has_one_name() {
    for &(name, what, fault) in GRPC {
        let (address, _) = server(move |stream, _| http2(stream, fault, true));
        check("grpc", &["--data", "x"], name, what, address);
    }
}

/// Shakes hands rightly, and answers the first message.
fn websocket(stream: &mut TcpStream, fault: Fault) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        let Ok(length @ 1..) = stream.read(&mut buffer) else { return };
        bytes.extend_from_slice(&buffer[..length]);
    }
    let head = String::from_utf8_lossy(&bytes);
    let key =
        head.split_once("Sec-WebSocket-Key: ").and_then(|(_, rest)| rest.lines().next()).expect("a key");
    let accept = accept_of(key.as_bytes());
    say(stream, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    say(stream, &[b"Sec-WebSocket-Accept: ", &accept[..], b"\r\n\r\n"].concat());
    if stream.read(&mut buffer).is_ok_and(|length| length > 0) {
        fault(stream, 0);
        let _ = stream.shutdown(Shutdown::Write);
        wait_for_end(stream);
    }
}

const WEBSOCKET: &[(&str, &str, Fault)] = &[
    ("reset", "reset instead of an answer", |stream, _| reset(stream)),
    ("early_close", "closed instead of an answer", |_, _| {}),
    ("early_close", "closed within a frame", |stream, _| say(stream, &[0x82, 5, b'a'])),
    ("closed", "Close instead of an answer", |stream, _| say(stream, &[0x88, 2, 0x03, 0xf3])),
    ("malformed", "a masked answer", |stream, _| say(stream, &[0x82, 0x81, 0, 0, 0, 0, b'a'])),
    ("malformed", "an extension that was not agreed on", |stream, _| say(stream, &[0xc2, 1, b'a'])),
    ("malformed", "an opcode that is none", |stream, _| say(stream, &[0x83, 1, b'a'])),
    ("malformed", "a length beyond all measure", |stream, _| {
        say(stream, &[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }),
    ("timeout", "silence", |stream, _| wait_for_end(stream)),
    ("timeout", "pings without an end", |stream, _| say_forever(stream, &[0x89, 1, b'p'])),
    ("timeout", "fragments without an end", |stream, _| say_forever(stream, &[0x00, 1, b'f'])),
];

const HANDSHAKES: &[(&str, &str, Fault)] = &[
    ("handshake", "refused", |stream, _| say(stream, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")),
    ("handshake", "the answer to another key", |stream, _| {
        say(stream, b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    }),
    ("handshake", "closed instead", |_, _| {}),
    ("handshake", "reset instead", |stream, _| reset(stream)),
    ("malformed", "a head without an end", |stream, _| say_forever(stream, b"x-filler: filler\r\n")),
    ("timeout", "silence instead", |stream, _| wait_for_end(stream)),
];

#[test]
fn each_way_of_websocket_to_break_has_one_name() {
    for &(name, what, fault) in WEBSOCKET {
        let (address, _) = server(move |stream, _| websocket(stream, fault));
        check("ws", &["--data", "x"], name, what, address);
    }
    for &(name, what, fault) in HANDSHAKES {
        let (address, _) = server(move |stream, count| {
            crate::harness::each_request(stream, count, |stream, _| {
                fault(stream, 0);
                false
            });
        });
        check("ws", &["--data", "x"], name, what, address);
    }
}

#[test]
fn each_way_of_a_tls_handshake_to_break_is_an_error_of_tls() {
    const WAYS: &[(&str, Fault)] = &[
        ("reset", |stream, _| reset(stream)),
        ("closed", |stream, _| {
            let _ = stream.shutdown(Shutdown::Write);
            wait_for_end(stream);
        }),
        ("another protocol", |stream, _| say(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        ("an alert", |stream, _| say(stream, &[21, 3, 3, 0, 2, 2, 40])),
    ];
    for &(what, fault) in WAYS {
        let (address, _) = server(move |stream, _| {
            if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                fault(stream, 0);
            }
        });
        check("https", &["--insecure"], "tls", what, address);
    }
}
