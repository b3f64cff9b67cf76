//! Origins that answer as they like, and such as answer well.

use std::time::Duration;

use ringway_tests::http2::{Frame, code, kind};
use ringway_tests::http2_origin::{Http2Conn, Http2Request};
use ringway_tests::origin::{Conn, Origin};
use ringway_tests::wait::pause;

use crate::chance::Chance;

/// Large enough to be spliced.
const LARGE_BYTES: usize = 600_000;

/// Answers each request with its own body.
pub(crate) fn good_http1() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, &request.body);
        }
    })
}

/// The same over HTTP/2.
pub(crate) fn good_http2() -> Origin {
    Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            conn.reply(request.id, 200, &request.body);
        }
    })
}

pub(crate) fn bad_http1(seed: u64) -> Origin {
    Origin::start(move |conn| {
        let mut chance = Chance::new(seed ^ (conn.index as u64) << 32);
        while http1(conn, &mut chance) {}
    })
}

pub(crate) fn bad_http2(seed: u64) -> Origin {
    Origin::start(move |conn| {
        let mut chance = Chance::new(!seed ^ (conn.index as u64) << 32);
        let settings = chance.of(&[&[][..], &[(3, 1)], &[(4, 100)], &[(1, 0)], &[(3, 0)]]);
        let Some(mut conn) = Http2Conn::accept(conn, settings) else { return };
        while let Some(request) = conn.head() {
            if !http2(&mut conn, &request, &mut chance) {
                break;
            }
        }
        if chance.one_in(2) {
            conn.conn().reset_on_close();
        }
    })
}

/// Serves one request over HTTP/1.1. `false`: the connection ends.
fn http1(conn: &mut Conn, chance: &mut Chance) -> bool {
    let Some(head) = conn.request_head() else { return false };
    if chance.one_in(6) {
        // The body is none of its business.
        match chance.below(4) {
            0 => drop(conn.reply(413, "too large")),
            1 => drop(conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")),
            2 => pause(Duration::from_millis(chance.below(60) as u64)),
            _ => conn.reset_on_close(),
        }
        return false;
    }
    let Some(body) = read_body(conn, &head) else { return false };
    answer_http1(conn, &body, chance)
}

fn answer_http1(conn: &mut Conn, body: &[u8], chance: &mut Chance) -> bool {
    // What ends a connection comes at the end of the list.
    let choice = chance.below(20);
    match choice {
        0..=3 => drop(conn.reply(chance.of(&[200, 204, 304, 404, 500, 503]), "")),
        4 => drop(conn.reply(200, body)),
        5 => drop(conn.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-after: 1\r\n\r\n",
        )),
        6 => {
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
            conn.reply(200, body);
        }
        7 => {
            for byte in "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".as_bytes() {
                conn.send([*byte]);
            }
        }
        8 => drop(conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more than that")),
        9 | 10 => drop(conn.reply(200, vec![b'x'; LARGE_BYTES])),
        11 => drop(conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")),
        12 => drop(conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")),
        13 => drop(conn.send("HTTP/1.1 200 OK\r\n\r\nuntil the end")),
        14 => drop(conn.send(chance.bytes(300))),
        15 => drop(conn.send(chance.of(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 abc OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        ]))),
        16 => {
            let field = format!("x-large: {}\r\n", "x".repeat(90_000));
            conn.send(format!("HTTP/1.1 200 OK\r\n{field}\r\n"));
        }
        17 => drop(conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nbytes",
        )),
        18 => pause(Duration::from_millis(chance.below(60) as u64)),
        _ => conn.reset_on_close(),
    }
    choice <= 10
}

/// The body behind a head, by whichever framing. `None`: it did not come.
fn read_body(conn: &mut Conn, head: &[u8]) -> Option<Vec<u8>> {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
    if field("transfer-encoding:").is_none() {
        let length = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        return if length == 0 { Some(Vec::new()) } else { conn.exactly(length) };
    }
    let mut body = Vec::new();
    loop {
        let size = conn.wire().line().ok()?;
        let size = usize::from_str_radix(std::str::from_utf8(&size).ok()?.trim(), 16).ok()?;
        if size == 0 {
            while conn.wire().line().ok()? != b"\r\n" {}
            return Some(body);
        }
        body.extend(conn.exactly(size + 2)?.get(..size)?);
    }
}

/// Serves one stream. `false`: the connection ends.
fn http2(conn: &mut Http2Conn<'_>, request: &Http2Request, chance: &mut Chance) -> bool {
    let id = request.id;
    match chance.below(20) {
        0..=4 => conn.reply(id, chance.of(&[200, 404, 503]), "early or not"),
        5 => {
            while conn.so_far(id).is_some_and(|request| !request.ended) && conn.frame().is_some() {}
            let body = conn.so_far(id).map(|request| request.body.clone());
            conn.reply(id, 200, body.unwrap_or_default())
        }
        6 => {
            let code = chance.of(&[code::REFUSED_STREAM, code::CANCEL, code::NO_ERROR, code::INTERNAL_ERROR]);
            conn.send(&Frame::reset(id, code))
        }
        7 => {
            conn.headers(id, &[(":status", "200")], false);
            conn.send(&Frame::data(id, *b"half", false));
            conn.send(&Frame::reset(id, code::INTERNAL_ERROR))
        }
        8 => {
            conn.headers(id, &[(":status", "200"), ("content-length", "10")], false);
            conn.send(&Frame::data(id, *b"half", true))
        }
        9 => {
            // The last stream that it has seen to, and why it goes.
            let last = if chance.one_in(2) { id } else { id.saturating_sub(2) };
            conn.send(&Frame::new(kind::GOAWAY, 0, 0, [last.to_be_bytes(), [0; 4]].concat()))
        }
        10 => {
            let (kind, flags) = (chance.below(12) as u8, chance.below(256) as u8);
            conn.send(&Frame::new(kind, flags, chance.below(9) as u32, chance.bytes(64)))
        }
        11 => {
            let fields: &[(&str, &str)] = chance.of(&[
                &[("x-no-status", "1")],
                &[(":status", "200"), ("X-Upper", "x")],
                &[(":status", "200"), ("connection", "close")],
                &[(":status", "20"), ("x", "y")],
                &[(":status", "101")],
            ]);
            conn.headers(id, fields, true)
        }
        12 => {
            pause(Duration::from_millis(chance.below(60) as u64));
            conn.reply(id, 200, "late")
        }
        // No answer at all.
        13 => true,
        14 => conn.reply(id, 200, vec![b'x'; LARGE_BYTES / 4]),
        15 => {
            conn.headers(id, &[(":status", "200")], false);
            conn.data(id, b"abc", false);
            conn.headers(id, &[("x-after", "1")], true)
        }
        16 => {
            (0..5).all(|_| conn.headers(id, &[(":status", "103")], false)) && conn.reply(id, 200, "at last")
        }
        17 => conn.send(&Frame::window_update(0, u32::MAX >> 1)),
        _ => false,
    }
}
