//! Floods of a client, each with the reason that it has to be cut for.

use ringway_tests::http2::{Frame, code, flag, kind};
use ringway_tests::{Io, each_driver, hpack};

use crate::{Neighbour, STREAMS_MAX, Stage, flood, id, request};

each_driver! {
    rapid_reset,
    resets_that_the_client_provokes,
    continuations_without_end,
    control_frames,
    empty_frames,
    empty_data_on_a_stream_that_nobody_reads,
    priorities,
    window_updates,
    frames_that_nobody_knows,
    frames_of_streams_that_have_ended,
    more_streams_than_are_allowed,
    answers_that_are_not_read,
    headers_reset_and_data_in_one_segment,
    honest_clients_are_not_cut,
}

type Make = Box<dyn FnMut(u32) -> Vec<u8>>;

struct Attack {
    name: &'static str,
    /// Streams that are open before it begins.
    streams: usize,
    count: u32,
    make: Make,
    /// Any of these, separated by a bar, as the first limit that is reached is the one that counts.
    reasons: &'static str,
    code: u32,
}

fn attack(
    name: &'static str,
    (streams, count): (usize, u32),
    make: impl FnMut(u32) -> Vec<u8> + 'static,
    reasons: &'static str,
) -> Attack {
    Attack { name, streams, count, make: Box::new(make), reasons, code: code::ENHANCE_YOUR_CALM }
}

fn mount(stage: &Stage, attacks: impl IntoIterator<Item = Attack>) {
    for mut attack in attacks {
        let before = stage.ended_for(attack.reasons);
        let neighbour = Neighbour::of(stage);
        let mut client = stage.connect_with_streams(attack.streams);
        let (_, goaway) = flood(&mut client, attack.count, &mut attack.make);
        neighbour.assert_was_served(attack.name);
        assert_eq!(goaway.map(|(_, code)| code), Some(attack.code), "{}", attack.name);
        assert_eq!(stage.ended_for(attack.reasons), before + 1.0, "{} is {}", attack.name, attack.reasons);
        stage.assert_unharmed(attack.name);
    }
}

fn bytes(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    Frame::new(kind, flags, stream, payload.as_ref()).encode()
}

fn reset(stream: u32) -> Vec<u8> {
    Frame::reset(stream, code::CANCEL).encode()
}

/// Threat row 1.
fn rapid_reset(io: Io) {
    let stage = Stage::new(io);
    let before = stage.proxy.stats();
    mount(
        &stage,
        [
            attack(
                "GET and RST_STREAM",
                (0, 20_000),
                |n| [request(id(n), "GET", "/hang", true), reset(id(n))].concat(),
                "http2_rapid_reset|http2_refused_streams",
            ),
            attack(
                "POST and RST_STREAM",
                (0, 20_000),
                |n| [request(id(n), "POST", "/hang", false), reset(id(n))].concat(),
                "http2_rapid_reset|http2_refused_streams",
            ),
        ],
    );
    // 400 in ten seconds is the limit; a few more may come with the bucket's refill.
    let streams =
        stage.proxy.stats().sum("ringway_http2_streams_total") - before.sum("ringway_http2_streams_total");
    assert!(streams <= 2.0 * 450.0, "{streams} streams before the two were cut");
}

/// Threat row 2, "MadeYouReset": each way to make the proxy send RST_STREAM.
fn resets_that_the_client_provokes(io: Io) {
    let get = |n: u32| request(id(n), "GET", "/hang", true);
    // A stream has its place until its exchange has ended, so that a fast client is refused some, too.
    let own = "http2_own_resets|http2_refused_streams";
    let then = move |n: u32, frame: Vec<u8>| [get(n), frame].concat();
    let most = 0x7fff_ffff_u32;
    let stage = Stage::new(io);
    mount(
        &stage,
        [
            attack(
                "WINDOW_UPDATE of nothing",
                (0, 5000),
                move |n| then(n, Frame::window_update(id(n), 0).encode()),
                own,
            ),
            attack(
                "WINDOW_UPDATE of too much",
                (0, 5000),
                move |n| then(n, Frame::window_update(id(n), most).encode()),
                own,
            ),
            attack(
                "PRIORITY on itself",
                (0, 5000),
                move |n| then(n, bytes(kind::PRIORITY, 0, id(n), [&id(n).to_be_bytes()[..], &[0]].concat())),
                own,
            ),
            attack(
                "PRIORITY of four bytes",
                (0, 5000),
                move |n| then(n, bytes(kind::PRIORITY, 0, id(n), [0; 4])),
                own,
            ),
            attack(
                "a length that is not kept",
                (0, 5000),
                |n| {
                    let block =
                        [hpack::request("POST", "/hang"), hpack::literal("content-length", "5")].concat();
                    [
                        bytes(kind::HEADERS, flag::END_HEADERS, id(n), block),
                        Frame::data(id(n), "x", true).encode(),
                    ]
                    .concat()
                },
                own,
            ),
            attack(
                "malformed requests",
                (0, 5000),
                |n| {
                    bytes(
                        kind::HEADERS,
                        5,
                        id(n),
                        [hpack::request("GET", "/hang"), hpack::literal("X", "y")].concat(),
                    )
                },
                own,
            ),
        ],
    );
    // These end the connection at once, which is sooner (RFC 9113 5.1: a stream error or a connection error).
    let data = |n: u32| Frame::data(id(n), "x", true).encode();
    let trailers = |n: u32| bytes(kind::HEADERS, 5, id(n), hpack::literal("x", "y"));
    for (name, second) in
        [("DATA behind the end", &data as &dyn Fn(u32) -> Vec<u8>), ("HEADERS behind the end", &trailers)]
    {
        let neighbour = Neighbour::of(&stage);
        let (_, goaway) = flood(&mut stage.connect(), 5000, &mut |n| [get(n), second(n)].concat());
        neighbour.assert_was_served(name);
        assert!(
            matches!(goaway, Some((_, code::ENHANCE_YOUR_CALM | code::STREAM_CLOSED))),
            "{name}: {goaway:?}"
        );
        stage.assert_unharmed(name);
    }
}

/// Threat row 3.
fn continuations_without_end(io: Io) {
    let begin = |n: u32| {
        if n == 0 {
            bytes(kind::HEADERS, flag::END_STREAM, 1, hpack::request("GET", "/hang"))
        } else {
            Vec::new()
        }
    };
    let more = move |n: u32, part: Vec<u8>| [begin(n), bytes(kind::CONTINUATION, 0, 1, part)].concat();
    let stage = Stage::new(io);
    mount(
        &stage,
        [
            attack(
                "with small fields",
                (0, 10_000),
                move |n| more(n, hpack::literal("x", "y")),
                "http2_continuation_flood",
            ),
            attack("without payload", (0, 10_000), move |n| more(n, Vec::new()), "http2_continuation_flood"),
            attack(
                "with large fields",
                (0, 10_000),
                move |n| more(n, hpack::literal("x", vec![b'v'; 16_000])),
                "http2_header_flood",
            ),
        ],
    );
    assert!(stage.origin.requests().iter().all(|request| request.target != "/hang"));
}

/// Threat row 5.
fn control_frames(io: Io) {
    let control = "http2_control_flood";
    mount(
        &Stage::new(io),
        [
            attack("PING", (0, 100_000), |n| Frame::ping([n as u8; 8]).encode(), control),
            attack(
                "answers to PING that nobody sent",
                (0, 100_000),
                |_| bytes(kind::PING, flag::ACK, 0, [1; 8]),
                control,
            ),
            attack("empty SETTINGS", (0, 100_000), |_| Frame::settings(&[]).encode(), control),
            attack(
                "SETTINGS that move every window",
                (STREAMS_MAX, 100_000),
                |n| Frame::settings(&[(4, n % 2 * 1000 + 1)]).encode(),
                control,
            ),
            attack(
                "SETTINGS that move the table",
                (0, 100_000),
                |n| Frame::settings(&[(1, n % 2 * 4096)]).encode(),
                control,
            ),
            attack(
                "SETTINGS as large as they may be",
                (0, 20_000),
                |_| bytes(kind::SETTINGS, 0, 0, [0, 9, 0, 0, 0, 0].repeat(2700)),
                control,
            ),
            attack("GOAWAY", (0, 100_000), |_| bytes(kind::GOAWAY, 0, 0, [0; 8]), control),
        ],
    );
}

/// Threat row 5: frames that carry nothing.
fn empty_frames(io: Io) {
    let open = |n: u32| if n == 0 { request(1, "POST", "/hang", false) } else { Vec::new() };
    let data = move |n: u32, flags: u8, payload: &'static [u8]| {
        [open(n), bytes(kind::DATA, flags, 1, payload)].concat()
    };
    mount(
        &Stage::new(io),
        [
            attack("DATA", (0, 100_000), move |n| data(n, 0, b""), "http2_empty_frames"),
            attack(
                "DATA of padding only",
                (0, 100_000),
                move |n| data(n, flag::PADDED, &[1, 0]),
                "http2_empty_frames",
            ),
        ],
    );
    // An empty block is a malformed request, and resets have their own limit.
    mount(
        &Stage::new(io),
        [attack("HEADERS", (0, 20_000), |n| bytes(kind::HEADERS, 5, id(n), b""), "http2_own_resets")],
    );
}

/// Threat row 6.
fn empty_data_on_a_stream_that_nobody_reads(io: Io) {
    let stage = Stage::new(io);
    let full = |n: u32| match n {
        0 => request(1, "POST", "/hang", false),
        // Content first, so that the stream has some to hold back.
        1..4 => Frame::data(1, vec![b'x'; 16_000], false).encode(),
        _ => Frame::data(1, "", false).encode(),
    };
    mount(&stage, [attack("empty DATA behind content", (0, 200_000), full, "http2_empty_frames")]);
}

/// Threat row 5.
fn priorities(io: Io) {
    let reason = "http2_priority_flood";
    mount(
        &Stage::new(io),
        [
            attack(
                "of idle streams",
                (0, 100_000),
                |n| bytes(kind::PRIORITY, 0, id(n + 1), [0, 0, 0, 0, 1]),
                reason,
            ),
            attack(
                "of open streams, round and round",
                (10, 100_000),
                |n| {
                    bytes(
                        kind::PRIORITY,
                        0,
                        id(n % 10),
                        [&id((n + 1) % 10).to_be_bytes()[..], &[n as u8]].concat(),
                    )
                },
                reason,
            ),
            attack(
                "PRIORITY_UPDATE",
                (0, 100_000),
                |n| bytes(0x10, 0, 0, [&id(n % 100).to_be_bytes()[..], b"u=1"].concat()),
                reason,
            ),
        ],
    );
}

/// Threat row 5.
fn window_updates(io: Io) {
    let reason = "http2_window_flood";
    mount(
        &Stage::new(io),
        [
            attack("of the connection", (0, 200_000), |_| Frame::window_update(0, 1).encode(), reason),
            attack("of a stream", (1, 200_000), |_| Frame::window_update(1, 1).encode(), reason),
        ],
    );
}

/// RFC 9113 5.5 has them ignored; it does not say how many.
fn frames_that_nobody_knows(io: Io) {
    mount(
        &Stage::new(io),
        [attack(
            "unknown types",
            (0, 200_000),
            |n| bytes(0xf0 + n as u8 % 8, 0, n, b""),
            "http2_unknown_frames",
        )],
    );
}

/// Threat row 7, and what is left of a connection for frames that come too late.
fn frames_of_streams_that_have_ended(io: Io) {
    let stage = Stage::new(io);
    // The first provokes one reset; the proxy has to bear what was under way, but not for ever.
    let late = |n: u32| match n {
        0 => [request(1, "POST", "/hang", false), Frame::window_update(1, 0).encode()].concat(),
        _ => Frame::data(1, "x", false).encode(),
    };
    let neighbour = Neighbour::of(&stage);
    let (_, goaway) = flood(&mut stage.connect(), 100_000, &mut { late });
    neighbour.assert_was_served("DATA of a stream that was reset");
    assert!(
        matches!(goaway, Some((_, code::ENHANCE_YOUR_CALM | code::STREAM_CLOSED | code::FLOW_CONTROL_ERROR))),
        "{goaway:?}"
    );
    stage.assert_unharmed("DATA of a stream that was reset");
}

/// SETTINGS_MAX_CONCURRENT_STREAMS is a limit: those above it are refused, and then all.
fn more_streams_than_are_allowed(io: Io) {
    let stage = Stage::new(io);
    mount(
        &stage,
        [attack(
            "GET",
            (STREAMS_MAX, 20_000),
            |n| request(id(n + 100), "GET", "/hang", true),
            "http2_refused_streams",
        )],
    );
}

/// Threat row 5, internal buffering: the peer must answer and nobody reads the answers. Without the limits of how
/// many there may be, the limit of what may wait for the socket is left.
fn answers_that_are_not_read(io: Io) {
    let without = |ringway: ringway_tests::Ringway| {
        ringway.listener("http2: { abuse: { control_frames: 1000000, own_resets: 1000000 } }")
    };
    let stage = Stage::with(io, without);
    let frames = [("PING", Frame::ping([1; 8])), ("SETTINGS", Frame::settings(&[]))];
    for (name, frame) in frames {
        let before = stage.ended_for("http2_queued_control");
        let neighbour = Neighbour::of(&stage);
        let client = ringway_tests::Client::connect_with_buffer(4096, stage.proxy.address());
        let mut client = ringway_tests::http2::Http2Client::begin(client, &[]);
        client.settled();
        let part = frame.encode().repeat(500);
        // 17 bytes each, past the socket's buffers of both sides and the 64 KiB that may wait.
        let mut sent = 0;
        while sent < 900_000 && client.client().try_send(&part) {
            sent += 500;
        }
        stage.proxy.wait_for_stats(name, |stats| {
            stats.sum_where("ringway_connections_refused_total", "\"http2_queued_control\"") == before + 1.0
        });
        neighbour.assert_was_served(name);
        drop(client);
        stage.assert_unharmed(name);
    }
}

/// Threat row 9: DATA behind the reset of its stream is nobody's.
fn headers_reset_and_data_in_one_segment(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.connect();
    let late = Frame::data(1, "GET /hidden HTTP/1.1\r\nhost: test\r\n\r\n", true).encode();
    client.client().send([request(1, "POST", "/reset", false), reset(1), late].concat());
    // RFC 9113 5.1: STREAM_CLOSED, for the stream or the connection; nothing of it goes on in any case.
    client.client().try_send(request(3, "GET", "/neighbour", true));
    let _ = client.try_response(3);
    drop(client);
    stage.assert_unharmed("HEADERS, RST_STREAM and DATA");
    for connection in 0..stage.origin.connections() {
        let bytes = stage.origin.received(connection);
        assert!(!bytes.windows(7).any(|part| part == b"/hidden"), "{}", String::from_utf8_lossy(&bytes));
    }
}

/// The limits are for attacks: a browser that cancels a page full of requests, and a client that pings now and then.
fn honest_clients_are_not_cut(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.connect();
    for _ in 0..3 {
        let ids: Vec<u32> = (0..90).map(|_| client.get("/hang")).collect();
        for id in ids {
            client.send(&Frame::reset(id, code::CANCEL));
        }
        client.send(&Frame::ping(*b"are you?"));
        // Their places are free once their exchanges have ended.
        stage
            .proxy
            .wait_for_stats("the streams to end", |stats| stats.sum("ringway_http2_streams_open") == 0.0);
        let id = client.get("/neighbour");
        assert_eq!(client.response(id).status, 200);
    }
    assert!(client.goaways.is_empty());
}
