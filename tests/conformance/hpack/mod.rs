//! RFC 7541 through the running proxy: header blocks as their bytes. What cannot be decoded ends the connection with
//! COMPRESSION_ERROR (section 2.2 and RFC 9113 4.3), as the tables are no longer the same.

use ringway_tests::{Io, each_driver, hpack};

use crate::http2::*;

each_driver! {
    indices,
    table_size_updates,
    strings,
    integers,
    representations_are_read,
}

fn ended(block: Vec<u8>) -> [Vec<u8>; 1] {
    [headers(END | HEAD, 1, block)]
}

fn behind_get(bytes: impl AsRef<[u8]>) -> [Vec<u8>; 1] {
    ended([&hpack::request("GET", "/")[..], bytes.as_ref()].concat())
}

/// Sections 2.3.3 and 6.1.
fn indices(io: Io) {
    Stage::new(io).run([
        case("0 (6.1)", behind_get([0x80]), COMPRESSION),
        case("the first of an empty dynamic table", behind_get(hpack::indexed(62)), COMPRESSION),
        case("far beyond the table", behind_get(hpack::indexed(70_000)), COMPRESSION),
        case(
            "a name beyond the table, with indexing",
            behind_get([hpack::integer(0x40, 6, 70), hpack::string("x")].concat()),
            COMPRESSION,
        ),
        case(
            "a name beyond the table, without",
            behind_get([hpack::integer(0, 4, 70), hpack::string("x")].concat()),
            COMPRESSION,
        ),
        case(
            "a name beyond the table, never",
            behind_get([hpack::integer(0x10, 4, 70), hpack::string("x")].concat()),
            COMPRESSION,
        ),
        case(
            "one that was evicted",
            behind_get(
                [
                    hpack::incremental("a", "b"),
                    hpack::incremental("c", "v".repeat(4096 - 33)),
                    hpack::indexed(63),
                ]
                .concat(),
            ),
            COMPRESSION,
        ),
        case(
            "one that an update took away",
            ended(
                [hpack::request("GET", "/"), hpack::incremental("a", vec![b'v'; 4096]), hpack::indexed(62)]
                    .concat(),
            ),
            COMPRESSION,
        ),
    ]);
}

/// Sections 4.2 and 6.3.
fn table_size_updates(io: Io) {
    let get = || hpack::request("GET", "/");
    Stage::new(io).run([
        case("at the beginning", ended([hpack::table_size(0), get()].concat()), Expect::Answer(200)),
        case(
            "two at the beginning",
            ended([hpack::table_size(0), hpack::table_size(4096), get()].concat()),
            Expect::Answer(200),
        ),
        case("at the end", behind_get(hpack::table_size(1)), COMPRESSION),
        case(
            "in the middle",
            behind_get([hpack::table_size(1), hpack::literal("x", "y")].concat()),
            COMPRESSION,
        ),
        case("above what was announced (6.3)", ended([hpack::table_size(4097), get()].concat()), COMPRESSION),
        case("far above", ended([hpack::table_size(1 << 30), get()].concat()), COMPRESSION),
        case("alone in a block", ended(hpack::table_size(100)), MALFORMED),
    ]);
}

/// Section 5.2. The code of `0` is five zero bits and that of `:` `1011100`; EOS is thirty ones.
fn strings(io: Io) {
    let value = |bytes: &[u8]| behind_get([&[0][..], &hpack::string("x"), &hpack::huffman(bytes)].concat());
    Stage::new(io).run([
        case("Huffman, padded with ones", value(&[0x07]), Expect::Answer(200)),
        case("Huffman, empty", value(&[]), Expect::Answer(200)),
        case("padding of zeros", value(&[0x00]), COMPRESSION),
        case("padding of more than seven bits", value(&[0x07, 0xff]), COMPRESSION),
        case("padding of more than seven bits and nothing else", value(&[0xff]), COMPRESSION),
        case("EOS", value(&[0xff, 0xff, 0xff, 0xff]), COMPRESSION),
        case("EOS within", value(&[0x07, 0xff, 0xff, 0xff, 0xfc, 0x07]), COMPRESSION),
        case("longer than the block", behind_get([0, 1, b'x', 0x7f, 0x01, b'y']), COMPRESSION),
        case("without a value", behind_get([0, 1, b'x']), COMPRESSION),
        case("without a name", behind_get([0]), COMPRESSION),
    ]);
}

/// Section 5.1.
fn integers(io: Io) {
    Stage::new(io).run([
        case("an index that never ends", behind_get([&[0xff][..], &[0x80; 20], &[0]].concat()), COMPRESSION),
        case("an index above 64 bits", behind_get([&[0xff][..], &[0xff; 10], &[0x7f]].concat()), COMPRESSION),
        case(
            "an index that wraps 32 bits to 2",
            behind_get([0xff, 0x83, 0xff, 0xff, 0xff, 0x0f]),
            COMPRESSION,
        ),
        case(
            "a length above 32 bits",
            behind_get([0, 1, b'x', 0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            COMPRESSION,
        ),
        case("a length of all ones", behind_get([0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f]), COMPRESSION),
        case("an integer that is cut off", behind_get([0xff, 0x80]), COMPRESSION),
    ]);
}

/// Section 6.
fn representations_are_read(io: Io) {
    let pseudo = || {
        [hpack::indexed(2), hpack::indexed(6), hpack::indexed(4), hpack::incremental(":authority", "test")]
            .concat()
    };
    Stage::new(io).run([
        case("indexed", ended(pseudo()), Expect::Answer(200)),
        case(
            "with indexing, and used",
            ended([pseudo(), hpack::incremental("x", "y"), hpack::indexed(62)].concat()),
            Expect::Answer(200),
        ),
        case(
            "with an indexed name",
            ended([pseudo(), hpack::integer(0x40, 6, 58), hpack::string("agent")].concat()),
            Expect::Answer(200),
        ),
        case("without indexing", ended([pseudo(), hpack::literal("x", "y")].concat()), Expect::Answer(200)),
        case(
            "without indexing, with an indexed name",
            ended([pseudo(), hpack::integer(0, 4, 58), hpack::string("agent")].concat()),
            Expect::Answer(200),
        ),
        case(
            "never indexed",
            ended([pseudo(), hpack::never_indexed("x", "y")].concat()),
            Expect::Answer(200),
        ),
        case(
            "never indexed, with an indexed name",
            ended([pseudo(), hpack::integer(0x10, 4, 58), hpack::string("agent")].concat()),
            Expect::Answer(200),
        ),
        case(
            "larger than the table: it is empty then (4.4)",
            ended([pseudo(), hpack::incremental("x", "v".repeat(5000))].concat()),
            Expect::Answer(200),
        ),
        case(
            "an integer in more bytes than it needs",
            ended(
                [&pseudo()[..], &[0, 1, b'x', 0x7f, 0x80, 0x80, 0x00], "v".repeat(127).as_bytes()].concat(),
            ),
            Expect::Answer(200),
        ),
    ]);
}
