//! RFC 9113 sections 6.5 to 6.8 and 7: frames of the connection, and error codes.

use ringway_tests::http2::{Frame, kind};
use ringway_tests::{Io, each_driver};

use super::*;

each_driver! {
    settings_frames,
    defined_settings,
    settings_are_acknowledged,
    push_is_refused,
    pings,
    pings_are_answered_with_their_payload,
    goaways,
}

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// Section 6.5.
fn settings_frames(io: Io) {
    Stage::new(io).run([
        case("empty", [settings(&[]), get(1)], Expect::Answer(200)),
        case("ACK with a payload", [frame(kind::SETTINGS, flag::ACK, 0, [0])], FRAME_SIZE),
        case("ACK with a setting", [frame(kind::SETTINGS, flag::ACK, 0, [0; 6])], FRAME_SIZE),
        case("on a stream", [frame(kind::SETTINGS, 0, 1, [0, 3, 0, 0, 0, 100])], PROTOCOL),
        case("on a stream that is open", [hang(1), frame(kind::SETTINGS, 0, 1, [])], PROTOCOL),
        case("of three bytes", [frame(kind::SETTINGS, 0, 0, [0, 3, 0])], FRAME_SIZE),
        case("of seven bytes", [frame(kind::SETTINGS, 0, 0, [0; 7])], FRAME_SIZE),
    ]);
}

/// Section 6.5.2.
fn defined_settings(io: Io) {
    let one = |name: u16, value: u32| [settings(&[(name, value)]), get(1)];
    Stage::new(io).run([
        case("ENABLE_PUSH 0", one(ENABLE_PUSH, 0), Expect::Answer(200)),
        case("ENABLE_PUSH 2", one(ENABLE_PUSH, 2), PROTOCOL),
        case("ENABLE_PUSH of all ones", one(ENABLE_PUSH, u32::MAX), PROTOCOL),
        case("INITIAL_WINDOW_SIZE at its most", one(INITIAL_WINDOW_SIZE, 0x7fff_ffff), Expect::Answer(200)),
        case("INITIAL_WINDOW_SIZE above it", one(INITIAL_WINDOW_SIZE, 0x8000_0000), FLOW_CONTROL),
        case("MAX_FRAME_SIZE at its least", one(MAX_FRAME_SIZE, 1 << 14), Expect::Answer(200)),
        case("MAX_FRAME_SIZE below it", one(MAX_FRAME_SIZE, (1 << 14) - 1), PROTOCOL),
        case("MAX_FRAME_SIZE at its most", one(MAX_FRAME_SIZE, (1 << 24) - 1), Expect::Answer(200)),
        case("MAX_FRAME_SIZE above it", one(MAX_FRAME_SIZE, 1 << 24), PROTOCOL),
        case("HEADER_TABLE_SIZE 0", one(HEADER_TABLE_SIZE, 0), Expect::Answer(200)),
        case("HEADER_TABLE_SIZE of all ones", one(HEADER_TABLE_SIZE, u32::MAX), Expect::Answer(200)),
        case("MAX_CONCURRENT_STREAMS 0", one(MAX_CONCURRENT_STREAMS, 0), Expect::Answer(200)),
        case("MAX_HEADER_LIST_SIZE of all ones", one(MAX_HEADER_LIST_SIZE, u32::MAX), Expect::Answer(200)),
        case("an unknown one", one(0xf0f0, 7), Expect::Answer(200)),
        case(
            "the same one twice, the last counts",
            [settings(&[(INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 100)]), get(1)],
            Expect::Answer(200),
        ),
        case(
            "a bad one that a good one follows",
            [settings(&[(MAX_FRAME_SIZE, 1), (MAX_FRAME_SIZE, 1 << 14)])],
            PROTOCOL,
        ),
    ]);
}

/// Section 6.5.3.
fn settings_are_acknowledged(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.connect();
    client.client().send(
        [settings(&[]), settings(&[(MAX_FRAME_SIZE, 1 << 15)]), frame(kind::PING, 0, 0, [7; 8])].concat(),
    );
    let mut acknowledged = 0;
    loop {
        let frame = client.frame().expect("a frame");
        match frame.kind {
            kind::SETTINGS if frame.has(flag::ACK) => acknowledged += 1,
            kind::PING if frame.has(flag::ACK) => break,
            _ => {}
        }
    }
    assert_eq!(acknowledged, 2);
}

/// Sections 6.6 and 8.4.
fn push_is_refused(io: Io) {
    let promise = [&2_u32.to_be_bytes()[..], &ringway_tests::hpack::request("GET", "/")].concat();
    Stage::new(io).run([
        case(
            "PUSH_PROMISE on an open stream",
            [hang(1), frame(kind::PUSH_PROMISE, HEAD, 1, &promise)],
            PROTOCOL,
        ),
        case("PUSH_PROMISE on stream 0", [frame(kind::PUSH_PROMISE, HEAD, 0, &promise)], PROTOCOL),
        case("PUSH_PROMISE on an idle stream", [frame(kind::PUSH_PROMISE, HEAD, 3, &promise)], PROTOCOL),
    ]);
}

/// Section 6.7.
fn pings(io: Io) {
    Stage::new(io).run([
        case("an answer that nobody asked for", [frame(kind::PING, flag::ACK, 0, [9; 8])], Expect::Nothing),
        case("on a stream", [frame(kind::PING, 0, 1, [0; 8])], PROTOCOL),
        case("of no bytes", [frame(kind::PING, 0, 0, [])], FRAME_SIZE),
        case("of six bytes", [frame(kind::PING, 0, 0, [0; 6])], FRAME_SIZE),
        case("of nine bytes", [frame(kind::PING, 0, 0, [0; 9])], FRAME_SIZE),
    ]);
}

fn pings_are_answered_with_their_payload(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.connect();
    let payloads = [*b"ringway!", [0; 8], [0xff; 8]];
    client.client().send(payloads.map(|payload| Frame::ping(payload).encode()).concat());
    for payload in payloads {
        let answer = client.until(kind::PING);
        assert_eq!((answer.flags, answer.id, &answer.payload[..]), (flag::ACK, 0, &payload[..]));
    }
}

/// Sections 6.8 and 7.
fn goaways(io: Io) {
    let goaway = |id: u32, code: u32, more: &[u8]| {
        frame(kind::GOAWAY, 0, id, [&0_u32.to_be_bytes()[..], &code.to_be_bytes(), more].concat())
    };
    let stage = Stage::new(io);
    stage.run([
        case("on a stream", [goaway(1, 0, b"")], PROTOCOL),
        case("of four bytes", [frame(kind::GOAWAY, 0, 0, [0; 4])], FRAME_SIZE),
    ]);
    // What was asked for before is answered, whatever the code and the words; the peer may close then.
    for (code, words) in [(0, &b""[..]), (0xff, b"why"), (0, &[0; 1000])] {
        let mut client = stage.connect();
        client.client().send([get(1), goaway(0, code, words)].concat());
        assert_eq!(client.response(1).status, 200, "{code} {}", words.len());
    }
}
