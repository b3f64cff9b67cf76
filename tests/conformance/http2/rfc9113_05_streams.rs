//! RFC 9113 section 5: streams and their states.

use ringway_tests::http2::{Frame, Instead, kind};
use ringway_tests::{Io, each_driver, hpack};

use super::*;

each_driver! {
    idle_streams,
    half_closed_streams,
    streams_that_the_client_reset,
    streams_that_have_ended,
    identifiers,
    concurrency,
    dependencies,
    connection_errors_close,
}

fn reset(id: u32) -> Vec<u8> {
    Frame::reset(id, code::CANCEL).encode()
}

fn continuation(id: u32) -> Vec<u8> {
    frame(kind::CONTINUATION, HEAD, id, hpack::literal("x", "y"))
}

fn priority(id: u32, depends_on: u32) -> Vec<u8> {
    frame(kind::PRIORITY, 0, id, [&depends_on.to_be_bytes()[..], &[15]].concat())
}

fn trailers(id: u32) -> Vec<u8> {
    headers(END | HEAD, id, hpack::literal("x", "y"))
}

/// Section 5.1, "idle".
fn idle_streams(io: Io) {
    Stage::new(io).run([
        case("DATA", [data(END, 1, "x")], PROTOCOL),
        case("RST_STREAM", [reset(1)], PROTOCOL),
        case("WINDOW_UPDATE", [window(1, 100)], PROTOCOL),
        case("CONTINUATION", [continuation(1)], PROTOCOL),
        case("PRIORITY", [priority(1, 0), get(1)], Expect::Answer(200)),
        case("PRIORITY, and HEADERS of a lower identifier", [priority(5, 0), get(1)], Expect::Answer(200)),
    ]);
}

/// Section 5.1, "half-closed (remote)".
fn half_closed_streams(io: Io) {
    Stage::new(io).run([
        case("DATA", [hang(1), data(END, 1, "x")], CLOSED),
        case("HEADERS", [hang(1), trailers(1)], CLOSED),
        case("HEADERS of a request", [hang(1), hang(1)], CLOSED),
        case("CONTINUATION", [hang(1), continuation(1)], PROTOCOL),
        case("WINDOW_UPDATE", [hang(1), window(1, 100)], Expect::Nothing),
        case("PRIORITY", [hang(1), priority(1, 0)], Expect::Nothing),
        case("RST_STREAM", [hang(1), reset(1)], Expect::Nothing),
        case(
            "DATA behind content",
            [headers(HEAD, 1, hpack::request("POST", "/hang")), data(END, 1, "x"), data(0, 1, "y")],
            CLOSED,
        ),
    ]);
}

/// Section 5.1, "closed", by RST_STREAM.
fn streams_that_the_client_reset(io: Io) {
    Stage::new(io).run([
        case("DATA", [post(1), reset(1), data(END, 1, "x")], CLOSED),
        case("HEADERS", [post(1), reset(1), trailers(1)], CLOSED),
        case("CONTINUATION", [post(1), reset(1), continuation(1)], PROTOCOL),
        case("PRIORITY", [post(1), reset(1), priority(1, 0)], Expect::Nothing),
        case("RST_STREAM", [post(1), reset(1), reset(1)], Expect::Nothing),
        case("WINDOW_UPDATE", [post(1), reset(1), window(1, 1)], Expect::Nothing),
    ]);
}

/// Section 5.1, "closed", by END_STREAM of both.
fn streams_that_have_ended(io: Io) {
    Stage::new(io).run([
        after_response("DATA", [get(1)], [data(END, 1, "x")], CLOSED),
        after_response(
            "HEADERS",
            [get(1)],
            [trailers(1)],
            Expect::Either(&[code::STREAM_CLOSED, code::PROTOCOL_ERROR]),
        ),
        after_response("CONTINUATION", [get(1)], [continuation(1)], PROTOCOL),
        after_response("PRIORITY", [get(1)], [priority(1, 0)], Expect::Nothing),
        after_response("WINDOW_UPDATE", [get(1)], [window(1, 1)], Expect::Nothing),
        after_response("RST_STREAM", [get(1)], [reset(1)], Expect::Nothing),
    ]);
}

/// Section 5.1.1.
fn identifiers(io: Io) {
    Stage::new(io).run([
        case("an even one", [get(2)], PROTOCOL),
        case(
            "one lower than the last",
            [hang(5), get(3)],
            Expect::Connection(&[code::PROTOCOL_ERROR, code::STREAM_CLOSED]),
        ),
        after_response(
            "one that was used",
            [get(1)],
            [get(1)],
            Expect::Connection(&[code::PROTOCOL_ERROR, code::STREAM_CLOSED]),
        ),
        case("one far ahead", [hang(0x7fff_fff1)], Expect::Nothing),
        case("WINDOW_UPDATE on one that was skipped", [hang(5), window(3, 1)], Expect::Nothing),
        case("HEADERS on stream 0", [headers(END | HEAD, 0, hpack::request("GET", "/"))], PROTOCOL),
    ]);
}

/// Section 5.1.2: those over the limit are refused so that they may be sent again, and the others are not touched.
fn concurrency(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.connect();
    let open: Vec<u8> = (0..101).flat_map(|number| hang(number * 2 + 1)).collect();
    client.client().send(open);
    match client.try_response(201) {
        Err(Instead::Reset(code::REFUSED_STREAM | code::PROTOCOL_ERROR)) => {}
        other => panic!("{other:?}"),
    }
    // One ends, and once its exchange has ended, too, another has its place: work is bounded, not only streams.
    client.client().send(reset(1));
    stage.proxy.wait_for_stats("a place to be free", |stats| stats.sum("ringway_http2_streams_open") == 99.0);
    client.client().send(get(203));
    assert_eq!(client.response(203).status, 200);
}

/// Section 5.3.1 of RFC 7540. RFC 9113 took priorities back; an endpoint may still object to nonsense.
fn dependencies(io: Io) {
    let own = [&1_u32.to_be_bytes()[..], &[15], &hpack::request("GET", "/")].concat();
    let other = |id: u32| [&id.to_be_bytes()[..], &[255], &hpack::request("GET", "/")].concat();
    let with_priority = END | HEAD | flag::PRIORITY;
    Stage::new(io).run([
        case("HEADERS that depends on itself", [headers(with_priority, 1, own)], MALFORMED),
        case("PRIORITY that depends on itself", [hang(1), priority(1, 1)], MALFORMED),
        case("HEADERS that depends on another", [headers(with_priority, 1, other(7))], Expect::Answer(200)),
        case(
            "HEADERS that depends on another alone",
            [headers(with_priority, 1, other(0x8000_0007))],
            Expect::Answer(200),
        ),
        case(
            "PRIORITY that depends on another alone",
            [priority(1, 0x8000_0003), priority(3, 1), priority(1, 3), get(1)],
            Expect::Answer(200),
        ),
    ]);
}

/// Section 5.4.1.
fn connection_errors_close(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.connect();
    client.client().send([hang(7), frame(kind::PING, 0, 0, [0; 6])].concat());
    // The last stream that was taken is told with the error.
    assert_eq!(client.until_closed(), Some((7, code::FRAME_SIZE_ERROR)));
}
