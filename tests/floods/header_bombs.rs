//! Small blocks that are large heads (threat row 4): fields are charged for what they cost to hold, one by one.

use ringway_tests::http2::{Frame, Http2Client, Instead, flag, kind};
use ringway_tests::{Io, each_driver, hpack, process};

use crate::{MEMORY_BYTES, Neighbour, Stage};

each_driver! {
    one_byte_references_to_large_fields,
    one_hundred_streams_of_fields_just_below_the_limit,
    more_fields_than_are_allowed,
    heads_that_are_just_too_large_are_answered,
}

fn headers(id: u32, block: &[u8]) -> Vec<u8> {
    // As a client may send it: HEADERS and the CONTINUATION that it needs.
    let mut parts = block.chunks(16_384).peekable();
    let mut frames = Vec::new();
    let mut kind = kind::HEADERS;
    while let Some(part) = parts.next() {
        let end_headers = if parts.peek().is_none() { flag::END_HEADERS } else { 0 };
        let end_stream = if kind == kind::HEADERS { flag::END_STREAM } else { 0 };
        frames.extend(Frame::new(kind, end_headers | end_stream, id, part).encode());
        kind = kind::CONTINUATION;
    }
    frames
}

/// Whether a request was refused: by a status, a reset, or the end.
fn is_refused(client: &mut Http2Client, id: u32) -> bool {
    match client.try_response(id) {
        Ok(response) => response.status == 431,
        Err(Instead::Reset(_) | Instead::GoAway(..) | Instead::Broken(_)) => true,
    }
}

fn one_byte_references_to_large_fields(io: Io) {
    let stage = Stage::new(io);
    let neighbour = Neighbour::of(&stage);
    let large = "v".repeat(4000);
    let crumb = "c".repeat(1000);
    for (name, value) in [("x-large", large.as_str()), ("cookie", &large), ("cookie", &crumb), ("x", "")] {
        for count in [1500, 16_000, 60_000] {
            let mut client = stage.connect();
            let entered = [hpack::request("GET", "/hang"), hpack::incremental(name, value)].concat();
            let block = [entered, hpack::indexed(62).repeat(count)].concat();
            client.client().try_send(headers(1, &block));
            assert!(is_refused(&mut client, 1), "{name} of {} bytes, {count} times", value.len());
            let memory = process::resident_bytes(stage.proxy.pid());
            assert!(
                memory < stage.memory + MEMORY_BYTES,
                "{name} {count}: {} KiB",
                (memory - stage.memory) >> 10
            );
        }
    }
    neighbour.assert_was_served("references to large fields");
    stage.assert_unharmed("references to large fields");
    assert!(stage.origin.requests().iter().all(|request| request.target != "/hang"));
}

/// What passes is held, too: one connection with all its streams, none of which reads, costs what the limits say.
fn one_hundred_streams_of_fields_just_below_the_limit(io: Io) {
    let stage = Stage::new(io);
    let mut client = Http2Client::begin(stage.proxy.connect(), &[(4, 0)]);
    client.settled();
    let neighbour = Neighbour::of(&stage);
    for number in 0..100 {
        // 60 crumbs of 200 bytes from one reference each: 12 KiB of head for 60 bytes on the wire.
        let reference = match number {
            0 => hpack::incremental("cookie", "c".repeat(200)),
            _ => hpack::indexed(62),
        };
        let block = [hpack::request("GET", "/hang"), reference, hpack::indexed(62).repeat(59)].concat();
        client.client().send(headers(number * 2 + 1, &block));
    }
    stage.proxy.wait_for_stats("all to be there", |stats| stats.sum("ringway_http2_streams_open") == 100.0);
    neighbour.assert_was_served("heads just below the limit");
    // The heads themselves (100 of 12 KiB), what the origin's side makes of them, and some.
    let grown = process::resident_bytes(stage.proxy.pid()).saturating_sub(stage.memory);
    assert!(grown < 6 << 20, "{} KiB for a hundred streams", grown >> 10);
    drop(client);
    stage.assert_unharmed("heads just below the limit");
}

fn more_fields_than_are_allowed(io: Io) {
    let stage = Stage::new(io);
    for name in ["x", "cookie"] {
        let mut client = stage.connect();
        let block = [hpack::request("GET", "/hang"), hpack::literal(name, "y").repeat(600)].concat();
        client.client().send(headers(1, &block));
        assert!(is_refused(&mut client, 1), "{name}");
    }
    stage.assert_unharmed("many fields");
    assert!(stage.origin.requests().iter().all(|request| request.target != "/hang"));
}

/// The connection goes on, and its table is that of the client.
fn heads_that_are_just_too_large_are_answered(io: Io) {
    let stage = Stage::with(io, |ringway| ringway.set("headers-bytes", "8KiB"));
    let mut client = stage.connect();
    let entered = [
        hpack::request("GET", "/hang"),
        hpack::incremental("x-kept", "1"),
        hpack::literal("x", vec![b'v'; 9000]),
    ];
    client.client().send(headers(1, &entered.concat()));
    assert_eq!(client.response(1).status, 431);
    let again = [hpack::request("GET", "/neighbour"), hpack::indexed(62)].concat();
    client.client().send(headers(3, &again));
    assert_eq!(client.response(3).status, 200);
    let request = stage.origin.requests().pop().expect("a request");
    assert_eq!(request.field("x-kept"), Some("1"));
}
