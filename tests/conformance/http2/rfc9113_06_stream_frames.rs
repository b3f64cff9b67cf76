//! RFC 9113 sections 6.1 to 6.4 and 6.10: frames of streams.

use ringway_tests::http2::{Frame, kind};
use ringway_tests::{Io, each_driver, hpack};

use super::*;

each_driver! {
    data_frames,
    headers_frames,
    priority_frames,
    reset_frames,
    continuation_frames,
}

/// Section 6.1.
fn data_frames(io: Io) {
    let padded =
        |padding: u8, rest: &[u8]| frame(kind::DATA, END | flag::PADDED, 1, [&[padding][..], rest].concat());
    Stage::new(io).run([
        case("one", [post(1), data(END, 1, "x")], Expect::Answer(200)),
        case("several", [post(1), data(0, 1, "x"), data(0, 1, "y"), data(END, 1, "z")], Expect::Answer(200)),
        case("an empty end", [post(1), data(0, 1, "x"), data(END, 1, "")], Expect::Answer(200)),
        case("padding", [post(1), padded(6, b"test\0\0\0\0\0\0")], Expect::Answer(200)),
        case("padding and nothing else", [post(1), padded(3, &[0; 3])], Expect::Answer(200)),
        case("padding of no bytes", [post(1), padded(0, b"test")], Expect::Answer(200)),
        case("padding as long as the payload", [post(1), padded(5, b"test")], PROTOCOL),
        case("padding much longer", [post(1), padded(255, b"test")], PROTOCOL),
        case(
            "PADDED without a length",
            [post(1), frame(kind::DATA, END | flag::PADDED, 1, [])],
            Expect::Connection(&[code::PROTOCOL_ERROR, code::FRAME_SIZE_ERROR]),
        ),
        case("on stream 0", [data(END, 0, "x")], PROTOCOL),
        case("on a stream that the client closed", [hang(1), data(END, 1, "x")], CLOSED),
    ]);
}

/// Section 6.2.
fn headers_frames(io: Io) {
    let block = hpack::request("GET", "/");
    let padded = |padding: u8, zeros: usize| [vec![padding], block.clone(), vec![0; zeros]].concat();
    let priority = [&[0, 0, 0, 0, 15][..], &block].concat();
    Stage::new(io).run([
        case("one", [get(1)], Expect::Answer(200)),
        case("padding", [headers(END | HEAD | flag::PADDED, 1, padded(9, 9))], Expect::Answer(200)),
        case("priority", [headers(END | HEAD | flag::PRIORITY, 1, &priority)], Expect::Answer(200)),
        case(
            "padding and priority",
            [headers(END | HEAD | flag::PADDED | flag::PRIORITY, 1, [&[2][..], &priority, &[0, 0]].concat())],
            Expect::Answer(200),
        ),
        case(
            "padding longer than the frame",
            [headers(END | HEAD | flag::PADDED, 1, padded(255, 0))],
            PROTOCOL,
        ),
        case(
            "padding into the priority",
            [headers(END | HEAD | flag::PADDED | flag::PRIORITY, 1, [3, 0, 0, 0, 0, 15])],
            Expect::Connection(&[code::PROTOCOL_ERROR, code::FRAME_SIZE_ERROR]),
        ),
        case(
            "PRIORITY without its five bytes",
            [headers(END | HEAD | flag::PRIORITY, 1, [0, 0, 0])],
            Expect::Connection(&[code::PROTOCOL_ERROR, code::FRAME_SIZE_ERROR]),
        ),
        case("on stream 0", [headers(END | HEAD, 0, &block)], PROTOCOL),
        case(
            "without END_HEADERS, then PRIORITY",
            [headers(END, 1, &block), frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 15])],
            PROTOCOL,
        ),
        case("without END_HEADERS, then another HEADERS", [headers(END, 1, &block), get(3)], PROTOCOL),
        case(
            "trailers",
            [post(1), data(0, 1, "x"), headers(END | HEAD, 1, hpack::literal("x-sum", "1"))],
            Expect::Answer(200),
        ),
    ]);
}

/// Section 6.3.
fn priority_frames(io: Io) {
    Stage::new(io).run([
        case("the lightest", [frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 0]), get(1)], Expect::Answer(200)),
        case("the heaviest", [frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 255]), get(1)], Expect::Answer(200)),
        case("on stream 0", [frame(kind::PRIORITY, 0, 0, [0, 0, 0, 1, 15])], PROTOCOL),
        case(
            "of four bytes",
            [hang(1), frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0])],
            Expect::Either(&[code::FRAME_SIZE_ERROR]),
        ),
        case(
            "of six bytes",
            [hang(1), frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 15, 0])],
            Expect::Either(&[code::FRAME_SIZE_ERROR]),
        ),
        case(
            "of four bytes on an idle stream",
            [frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0])],
            Expect::Either(&[code::FRAME_SIZE_ERROR]),
        ),
    ]);
}

/// Section 6.4.
fn reset_frames(io: Io) {
    Stage::new(io).run([
        case("CANCEL", [hang(1), Frame::reset(1, code::CANCEL).encode()], Expect::Nothing),
        case(
            "a code that nobody knows (section 7)",
            [hang(1), Frame::reset(1, 0xff).encode()],
            Expect::Nothing,
        ),
        case("on stream 0", [Frame::reset(0, code::CANCEL).encode()], PROTOCOL),
        case("on an idle stream", [Frame::reset(1, code::CANCEL).encode()], PROTOCOL),
        case("of three bytes", [hang(1), frame(kind::RST_STREAM, 0, 1, [0, 0, 0])], FRAME_SIZE),
        case("of five bytes", [hang(1), frame(kind::RST_STREAM, 0, 1, [0, 0, 0, 0, 0])], FRAME_SIZE),
    ]);
}

/// Section 6.10.
fn continuation_frames(io: Io) {
    let block = hpack::request("GET", "/");
    let (a, b) = (&block[..7], &block[7..]);
    let more = |flags: u8, id: u32, part: &[u8]| frame(kind::CONTINUATION, flags, id, part);
    let field = hpack::literal("x", "y");
    let byte_by_byte = || {
        let mut frames = vec![headers(END, 1, [])];
        let parts = block.chunks(block.len().div_ceil(10));
        frames.extend(parts.map(|part| more(0, 1, part)));
        frames.push(more(HEAD, 1, &[]));
        frames
    };
    Stage::new(io).run([
        case(
            "several",
            [headers(END, 1, a), more(0, 1, b), more(0, 1, &field), more(HEAD, 1, &field)],
            Expect::Answer(200),
        ),
        case("an empty HEADERS, small parts and an empty end", byte_by_byte(), Expect::Answer(200)),
        case("then DATA", [headers(0, 1, a), more(0, 1, b), data(END, 1, "x")], PROTOCOL),
        case("then SETTINGS", [headers(END, 1, a), more(0, 1, b), settings(&[])], PROTOCOL),
        case("then WINDOW_UPDATE of the same stream", [headers(END, 1, a), window(1, 1)], PROTOCOL),
        case(
            "then RST_STREAM of the same stream",
            [headers(END, 1, a), Frame::reset(1, code::CANCEL).encode()],
            PROTOCOL,
        ),
        case("on stream 0", [headers(END, 1, a), more(HEAD, 0, b)], PROTOCOL),
        case("on another stream", [headers(END, 1, a), more(HEAD, 3, b)], PROTOCOL),
        case("behind END_HEADERS", [hang(1), more(HEAD, 1, &field)], PROTOCOL),
        case(
            "behind a CONTINUATION with END_HEADERS",
            [headers(END, 1, a), more(HEAD, 1, b), more(HEAD, 1, &field)],
            PROTOCOL,
        ),
        case("behind DATA", [post(1), data(0, 1, "x"), more(HEAD, 1, &field)], PROTOCOL),
        case("before everything", [more(HEAD, 1, &block)], PROTOCOL),
    ]);
}
