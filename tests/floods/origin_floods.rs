//! Floods of an origin that speaks HTTP/2: the proxy is a client there, and no less exposed. The request fails, the
//! connection goes, and memory stays (threat rows 3, 4, 5, 7 and 45).

use std::sync::atomic::{AtomicU32, Ordering};

use ringway_tests::http2::{Frame, code, flag, kind};
use ringway_tests::http2_hostile::HostileOrigin;
use ringway_tests::{Io, Ringway, each_driver, hpack, process, wait};

use crate::MEMORY_BYTES;

each_driver! {
    floods_instead_of_a_response,
    resets_and_goaways_behind_headers,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    Frame::new(kind, flags, stream, payload.as_ref()).encode()
}

fn ok(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, hpack::literal(":status", "200"))
}

/// What an origin says to the request of a stream, and whether a response may come out of it.
type Flood = (&'static str, fn(u32) -> Vec<u8>);

const FLOODS: [Flood; 12] = [
    ("PING", |_| Frame::ping([1; 8]).encode().repeat(50_000)),
    ("SETTINGS", |_| Frame::settings(&[(4, 1000)]).encode().repeat(50_000)),
    ("CONTINUATION with fields", |id| {
        let begin = frame(kind::HEADERS, 0, id, hpack::literal(":status", "200"));
        [begin, frame(kind::CONTINUATION, 0, id, hpack::literal("x", "y")).repeat(20_000)].concat()
    }),
    ("CONTINUATION without payload", |id| {
        let begin = frame(kind::HEADERS, 0, id, hpack::literal(":status", "200"));
        [begin, frame(kind::CONTINUATION, 0, id, []).repeat(50_000)].concat()
    }),
    ("references to a large field", |id| {
        let block = [
            hpack::literal(":status", "200"),
            hpack::incremental("x-large", vec![b'v'; 4000]),
            hpack::indexed(62).repeat(12_000),
        ];
        frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, block.concat())
    }),
    ("interim responses", |id| {
        frame(kind::HEADERS, flag::END_HEADERS, id, hpack::literal(":status", "103")).repeat(50_000)
    }),
    ("empty DATA", |id| [ok(id), frame(kind::DATA, 0, id, []).repeat(100_000)].concat()),
    ("DATA of padding", |id| [ok(id), frame(kind::DATA, flag::PADDED, id, [1, 0]).repeat(50_000)].concat()),
    ("DATA beyond the windows", |id| [ok(id), frame(kind::DATA, 0, id, [b'x'; 16_384]).repeat(300)].concat()),
    ("WINDOW_UPDATE", |id| Frame::window_update(id, 1).encode().repeat(50_000)),
    ("unknown frames", |id| frame(0xee, 0, id, []).repeat(50_000)),
    ("PRIORITY", |id| frame(kind::PRIORITY, 0, id, [0, 0, 0, 0, 1]).repeat(50_000)),
];

fn floods_instead_of_a_response(io: Io) {
    let turn = std::sync::Arc::new(AtomicU32::new(u32::MAX));
    let chosen = std::sync::Arc::clone(&turn);
    let origin =
        HostileOrigin::start(move |id, _| match FLOODS.get(chosen.load(Ordering::SeqCst) as usize) {
            Some((_, flood)) => Some(flood(id)),
            None => Some([ok(id), Frame::data(id, "ok", true).encode()].concat()),
        });
    let proxy = Ringway::to(&origin.origin)
        .io(io)
        .cluster("protocol: http2")
        .set("response-head-timeout", "2s")
        .start();
    // What is allocated once is not the attack's.
    (0..50).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    let memory = process::resident_bytes(proxy.pid());
    for (index, (name, _)) in FLOODS.iter().enumerate() {
        let before = origin.heads().len();
        turn.store(index as u32, Ordering::SeqCst);
        let mut client = proxy.connect();
        client.send("GET /flood HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        let answer = String::from_utf8_lossy(&client.until_closed()).into_owned();
        // DATA may have had its head before; then the body is cut.
        // Interim responses may come before.
        let mut heads = answer.lines().filter(|line| line.starts_with("HTTP/1.1 "));
        let head = heads.next_back().unwrap_or_default();
        let fails = ["502", "503", "504"].iter().any(|status| head.contains(status));
        let cut = head.contains("200") && !answer.ends_with("0\r\n\r\n");
        assert!(fails || cut, "{name}: {head:?}");
        turn.store(u32::MAX, Ordering::SeqCst);
        assert_eq!(proxy.get("/").status, 200, "{name}: the next request has another connection");
        // Sent again at most, and not for ever.
        assert!(origin.heads().len() - before <= 4, "{name}: {} requests", origin.heads().len() - before);
        let grown = process::resident_bytes(proxy.pid()).saturating_sub(memory);
        assert!(grown < 2 * MEMORY_BYTES, "{name}: {} KiB more", grown >> 10);
    }
    let before = process::cpu_time(proxy.pid());
    wait::pause(std::time::Duration::from_millis(200));
    assert!((process::cpu_time(proxy.pid()) - before).as_millis() <= 60);
    origin.origin.assert_unambiguous();
}

/// Threat row 7 (CVE-2023-35945): the bookkeeping of streams that an origin ends in every order is let go.
fn resets_and_goaways_behind_headers(io: Io) {
    let origin = HostileOrigin::start(|id, _| {
        let reset = Frame::reset(id, code::CANCEL).encode();
        let goaway = frame(kind::GOAWAY, 0, 0, [id.to_be_bytes(), [0; 4]].concat());
        Some(match id % 8 {
            1 => [ok(id), reset].concat(),
            3 => reset,
            5 => [ok(id), reset, goaway].concat(),
            _ => [goaway, reset].concat(),
        })
    });
    let proxy = Ringway::to(&origin.origin).io(io).cluster("protocol: http2").start();
    let round = || {
        for _ in 0..200 {
            let mut client = proxy.connect();
            client.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
            let answer = client.until_closed();
            assert!(!answer.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&answer));
        }
        process::resident_bytes(proxy.pid())
    };
    let first = round();
    let last = (0..4).fold(first, |_, _| round());
    assert!(last < first + (1 << 20), "{} KiB, then {} KiB", first >> 10, last >> 10);
    let stats = proxy.wait_for_stats("all to end", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    assert_eq!(stats.sum("ringway_upstream_http2_streams_open"), 0.0);
}
