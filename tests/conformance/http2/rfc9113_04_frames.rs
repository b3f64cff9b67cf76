//! RFC 9113 sections 4 and 5.5: the frame layer.

use ringway_tests::http2::{flag, kind};
use ringway_tests::{Io, each_driver, hpack};

use super::*;

each_driver! {
    frame_format,
    frame_size,
    header_blocks,
    extensions,
}

/// Section 4.1.
fn frame_format(io: Io) {
    let reserved_bit = |mut bytes: Vec<u8>| {
        bytes[5] |= 0x80;
        bytes
    };
    Stage::new(io).run([
        case(
            "a frame of an unknown type is ignored",
            [frame(0xff, 0xff, 0, "x"), get(1)],
            Expect::Answer(200),
        ),
        case(
            "flags that mean nothing are ignored",
            [frame(kind::PING, 0x16, 0, [0; 8]), get(1)],
            Expect::Answer(200),
        ),
        case(
            "flags of SETTINGS that mean nothing are ignored",
            [frame(kind::SETTINGS, 0xfe, 0, []), get(1)],
            Expect::Answer(200),
        ),
        case(
            "flags of HEADERS that mean nothing are ignored",
            [headers(END | HEAD | 0xd2 & !flag::PADDED, 1, hpack::request("GET", "/"))],
            Expect::Answer(200),
        ),
        case(
            "the reserved bit is ignored",
            [reserved_bit(frame(kind::PING, 0, 0, [0; 8])), reserved_bit(get(1))],
            Expect::Answer(200),
        ),
    ]);
}

/// Section 4.2.
fn frame_size(io: Io) {
    let most = vec![b'x'; 1 << 14];
    let over = vec![b'x'; (1 << 14) + 1];
    let field =
        |length: usize| [hpack::request("GET", "/"), hpack::literal("x", vec![b'v'; length])].concat();
    Stage::new(io).run([
        case("DATA as large as is allowed", [post(1), data(END, 1, &most)], Expect::Answer(200)),
        case("HEADERS nearly as large", [headers(END | HEAD, 1, field(16_000))], Expect::Answer(200)),
        case(
            "DATA that is larger",
            [post(1), data(END, 1, &over)],
            Expect::Either(&[code::FRAME_SIZE_ERROR]),
        ),
        case("HEADERS that is larger", [headers(END | HEAD, 1, field(1 << 14))], FRAME_SIZE),
        case("SETTINGS that is larger", [frame(kind::SETTINGS, 0, 0, vec![0; 16_386])], FRAME_SIZE),
        case("an unknown type that is larger", [frame(0xff, 0, 0, &over)], FRAME_SIZE),
    ]);
}

/// Section 4.3.
fn header_blocks(io: Io) {
    let (first, second) = (&hpack::request("GET", "/")[..10], &hpack::request("GET", "/")[10..]);
    Stage::new(io).run([
        case(
            "a block that is none",
            [headers(END | HEAD, 1, [0x82, 0x84, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
            COMPRESSION,
        ),
        case("a block that ends within a string", [headers(END | HEAD, 1, [0x40, 0x0a, b'x'])], COMPRESSION),
        case(
            "PRIORITY within a block",
            [headers(END, 1, first), frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 15])],
            PROTOCOL,
        ),
        case("HEADERS of another stream within a block", [headers(END, 1, first), get(3)], PROTOCOL),
        case("PING within a block", [headers(END, 1, first), frame(kind::PING, 0, 0, [0; 8])], PROTOCOL),
        case(
            "an unknown frame within a block (5.5)",
            [headers(END, 1, first), frame(0xff, 0, 0, [])],
            PROTOCOL,
        ),
        case(
            "a block in two parts",
            [headers(END, 1, first), frame(kind::CONTINUATION, HEAD, 1, second)],
            Expect::Answer(200),
        ),
    ]);
}

/// Section 5.5.
fn extensions(io: Io) {
    Stage::new(io).run([
        case("an extension on the connection", [frame(0x16, 0, 0, [0; 8]), get(1)], Expect::Answer(200)),
        case(
            "an extension on an open stream",
            [post(1), frame(0xfa, 1, 1, "x"), data(END, 1, "y")],
            Expect::Answer(200),
        ),
        case("an extension on an idle stream", [frame(0xfa, 0, 5, "x"), get(1)], Expect::Answer(200)),
        case("a setting that nobody knows", [settings(&[(0xff, 1), (0, 0)]), get(1)], Expect::Answer(200)),
        case(
            "ORIGIN, ALTSVC and PRIORITY_UPDATE",
            [
                frame(0xc, 0, 0, []),
                frame(0xa, 0, 0, [0, 0]),
                frame(0x10, 0, 0, [0, 0, 0, 1, b'u', b'=', b'1']),
                get(1),
            ],
            Expect::Answer(200),
        ),
    ]);
}
