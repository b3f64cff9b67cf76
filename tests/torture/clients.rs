//! Clients that do everything but what they should. None of them expects anything: what they get is for others to judge.

use std::net::SocketAddr;
use std::time::Duration;

use ringway_tests::Client;
use ringway_tests::http2::{Frame, Http2Client, code, flag, kind};
use ringway_tests::wait::pause;

use crate::chance::Chance;

/// How long they listen for something that may not come.
const PATIENCE: Duration = Duration::from_millis(150);
/// Where they ask: at origins that behave, and at those that do not.
const PLACES: [&str; 4] = ["/good1", "/good2", "/bad1", "/bad2"];

/// Heads that no server may take, and some that it may.
const ODD_HEADS: [&str; 14] = [
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET / HTTP/1.1\nHost: test\n\n",
    "GET /good1 HTTP/1.1\r\nHost : test\r\n\r\n",
    "GET /good1 HTTP/1.1\r\nHost: test\r\n folded: x\r\n\r\n",
    "GET /good1 HTTP/9.9\r\nHost: test\r\n\r\n",
    "POST /good1 HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /bad1 HTTP/1.1\r\nHost: test\r\nContent-Length: 3, 4\r\n\r\nabcd",
    "POST /bad2 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
    "CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\nbytes",
    "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET /%2e%2e/good1 HTTP/1.1\r\nHost: test\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}",
];

/// One connection, from its beginning to whatever end.
pub(crate) fn session(to: SocketAddr, chance: &mut Chance) {
    let mut client =
        if chance.one_in(4) { Client::connect_with_buffer(4096, to) } else { Client::connect(to) };
    client.wire().set_patience(PATIENCE);
    if chance.one_in(2) { http1(client, chance) } else { http2(client, chance) }
}

fn http1(mut client: Client, chance: &mut Chance) {
    for _ in 0..=chance.below(4) {
        let request = request(chance);
        let taken = match chance.below(5) {
            // In two pieces.
            0 => {
                let (first, second) = request.split_at(chance.below(request.len() + 1));
                client.try_send(first) && {
                    pause(Duration::from_millis(chance.below(5) as u64));
                    client.try_send(second)
                }
            }
            _ => client.try_send(&request),
        };
        let goes_on = taken
            && match chance.below(6) {
                0 => true,
                1 => client.wire().fill(100).is_ok_and(|bytes| bytes > 0),
                2 => {
                    pause(Duration::from_millis(chance.below(30) as u64));
                    true
                }
                _ => client.try_response("GET").is_ok(),
            };
        if !goes_on {
            break;
        }
    }
    leave(&mut client, chance);
}

/// Something that is, or resembles, a request.
fn request(chance: &mut Chance) -> Vec<u8> {
    let path = format!("{}/{}", chance.of(&PLACES), chance.below(1000));
    let get = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let post = |fields: &str| format!("POST {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes();
    let body = chance.bytes(8192);
    let length = |bytes: usize| post(&format!("Content-Length: {bytes}\r\n"));
    let chunk = [format!("{:x}\r\n", body.len().max(1)).as_bytes(), &body, b"\r\n"].concat();
    match chance.below(14) {
        0..=2 => get.into_bytes(),
        3 | 4 => [length(body.len()), body].concat(),
        // It ends too early, or too late.
        5 => [length(body.len() + 1 + chance.below(100_000)), body].concat(),
        6 => [length(body.len() / 2), body].concat(),
        7 => [post("Transfer-Encoding: chunked\r\n"), chunk, b"0\r\nx-after: 1\r\n\r\n".to_vec()].concat(),
        8 => {
            let bad = chance.of(&["zz\r\n", "5\nabcde\n", "ffffffffffffffffff\r\n", "3\r\nabcdef\r\n", ""]);
            [post("Transfer-Encoding: chunked\r\n"), chunk, bad.as_bytes().to_vec()].concat()
        }
        9 => chance.of(&ODD_HEADS).as_bytes().to_vec(),
        10 => get.into_bytes()[..chance.below(get_len(&path))].to_vec(),
        11 => get.repeat(2 + chance.below(8)).into_bytes(),
        12 => {
            let fields = chance.of(&[
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                "Expect: 100-continue\r\nContent-Length: 10\r\n",
                "Connection: close, x-hop\r\nX-Hop: 1\r\n",
                "Accept-Encoding: gzip\r\nTE: trailers\r\n",
            ]);
            [
                format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes(),
                &body[..body.len().min(64)],
            ]
            .concat()
        }
        _ => {
            let mut damaged = [length(body.len()), body].concat();
            for _ in 0..=chance.below(4) {
                let at = chance.below(damaged.len());
                damaged[at] = chance.below(256) as u8;
            }
            damaged
        }
    }
}

/// Length of the `GET` for this path.
fn get_len(path: &str) -> usize {
    "GET  HTTP/1.1\r\nHost: test\r\n\r\n".len() + path.len()
}

/// SETTINGS that a client may send, and some that it may not.
const SETTINGS: [&[(u16, u32)]; 9] = [
    &[],
    &[(4, 0)],
    &[(4, 1)],
    &[(4, 1000)],
    &[(4, 1 << 20)],
    &[(1, 0)],
    &[(3, 0), (6, 100)],
    &[(4, u32::MAX)],
    &[(5, 1)],
];

fn http2(client: Client, chance: &mut Chance) {
    let mut client = Http2Client::begin(client, chance.of(&SETTINGS));
    let mut open = vec![1];
    for _ in 0..2 + chance.below(12) {
        if !http2_step(&mut client, &mut open, chance) {
            break;
        }
    }
    leave(client.client(), chance);
}

/// One thing that a client does on a connection of HTTP/2. `false`: the connection is of no more use.
fn http2_step(client: &mut Http2Client, open: &mut Vec<u32>, chance: &mut Chance) -> bool {
    let stream = chance.of(open);
    let frame = match chance.below(18) {
        0..=4 => return begin(client, open, chance),
        5 => Frame::data(stream, chance.bytes(4096), chance.one_in(2)),
        6 | 7 => Frame::reset(stream, chance.of(&[code::CANCEL, code::NO_ERROR, code::INTERNAL_ERROR, 99])),
        8 => {
            let increment = chance.of(&[0, 1, 1000, 1 << 20, u32::MAX >> 1]);
            Frame::window_update(if chance.one_in(2) { 0 } else { stream }, increment)
        }
        9 => Frame::ping(*b"torture!"),
        10 => Frame::settings(chance.of(&SETTINGS)),
        11 => Frame::new(kind::GOAWAY, 0, 0, [0; 8]),
        12 => {
            let (kind, flags) = (chance.below(12) as u8, chance.below(256) as u8);
            Frame::new(kind, flags, chance.below(12) as u32, chance.bytes(64))
        }
        13 => {
            // A block that goes on, and then does not.
            let block = client.block(&[(":method", "GET")]);
            Frame::new(kind::HEADERS, 0, client.new_id(), block)
        }
        14 => {
            client.client().finish_writing();
            return true;
        }
        15 => {
            pause(Duration::from_millis(chance.below(30) as u64));
            return true;
        }
        _ => {
            let frames = chance.below(20);
            return (0..frames).all(|_| client.any_frame().is_ok());
        }
    };
    client.try_send(&frame)
}

/// Begins a request, and mostly ends it.
fn begin(client: &mut Http2Client, open: &mut Vec<u32>, chance: &mut Chance) -> bool {
    let path = format!("{}/{}", chance.of(&PLACES), chance.below(1000));
    let length = chance.below(6000).to_string();
    let method = chance.of(&["GET", "GET", "POST", "POST", "PUT", "HEAD", "CONNECT"]);
    let mut fields =
        vec![(":method", method), (":scheme", "http"), (":path", path.as_str()), (":authority", "test")];
    let odd: &[(&str, &str)] = chance.of(&[
        &[],
        &[],
        &[],
        &[],
        &[("content-length", "5")],
        &[("content-length", "5"), ("content-length", "6")],
        &[("X-Upper", "x")],
        &[("connection", "close")],
        &[("transfer-encoding", "chunked")],
        &[(":path", "/twice")],
        &[("te", "trailers"), ("x-late", "\r\nx: y")],
        &[(":protocol", "websocket"), ("sec-websocket-version", "13")],
    ]);
    fields.extend(odd);
    if chance.one_in(4) {
        fields.push(("content-length", &length));
    }
    if chance.one_in(12) {
        fields.remove(chance.below(4));
    }
    let end = method != "POST";
    let (id, block) = (client.new_id(), client.block(&fields));
    open.push(id);
    let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
    if !client.try_send(&Frame::new(kind::HEADERS, flags, id, block)) {
        return false;
    }
    // Not all bodies come, and not all that come are whole.
    if end || chance.one_in(3) {
        return true;
    }
    let body = chance.bytes(8192);
    let sent = client.try_send(&Frame::data(id, body, chance.one_in(2)));
    if !chance.one_in(4) {
        return sent;
    }
    let trailers = client.block(&[("x-after", "1")]);
    client.try_send(&Frame::new(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, trailers))
}

/// Goes: in good order, with a reset, after the other side, or in the middle of what it is being told.
fn leave(client: &mut Client, chance: &mut Chance) {
    match chance.below(4) {
        0 => client.wire().reset_on_close(),
        1 => {
            client.finish_writing();
            let _ = client.wire().rest();
        }
        2 => pause(Duration::from_millis(chance.below(50) as u64)),
        _ => {}
    }
}
