//! RFC 9113 5.1: what is an error of the stream, what of the connection, and what is ignored.

use super::*;
use ErrorCode::*;

/// What a frame does to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Taken,
    /// Neither an event nor an answer.
    Ignored,
    Stream(ErrorCode),
    Connection(ErrorCode),
}

/// One frame of each type on stream 1.
fn frames_on(id: u32) -> [(&'static str, Vec<u8>); 8] {
    [
        ("DATA", data(id, b"x", false)),
        ("HEADERS", trailers(id, true)),
        ("PRIORITY", frame(kind::PRIORITY, 0, id, &[0, 0, 0, 0, 1])),
        ("RST_STREAM", reset(id, Cancel)),
        ("WINDOW_UPDATE", window_update(id, 1)),
        ("CONTINUATION", frame(kind::CONTINUATION, flag::END_HEADERS, id, &[])),
        ("PUSH_PROMISE", frame(kind::PUSH_PROMISE, flag::END_HEADERS, id, &[0, 0, 0, 2])),
        ("unknown", frame(0xbb, 0xff, id, b"what")),
    ]
}

#[track_caller]
fn check(state: &str, make: impl Fn() -> Peer, id: u32, expected: [Verdict; 8]) {
    for ((name, bytes), expected) in frames_on(id).into_iter().zip(expected) {
        let mut peer = make();
        peer.machine.output().clear();
        let verdict = match peer.feed(&bytes) {
            Err(error) => Verdict::Connection(error.code),
            Ok(events) => {
                let sent = peer.sent();
                match sent.iter().find(|frame| frame.kind == kind::RST_STREAM) {
                    Some(frame) => {
                        let code = u32::from_be_bytes(frame.payload[..4].try_into().expect("four bytes"));
                        Verdict::Stream(ErrorCode::of(code))
                    }
                    None if events.is_empty() => Verdict::Ignored,
                    None => Verdict::Taken,
                }
            }
        };
        assert_eq!(verdict, expected, "{name} on a stream that is {state}");
    }
}

use Verdict::{Connection as Conn, Ignored, Stream as Strm, Taken};

#[test]
fn server_streams_in_every_state() {
    let idle = Peer::server;
    check(
        "idle",
        idle,
        1,
        [
            Conn(ProtocolError),
            // HEADERS opens it, and as a request these are malformed.
            Strm(ProtocolError),
            Ignored,
            Conn(ProtocolError),
            Conn(ProtocolError),
            Conn(ProtocolError),
            Conn(ProtocolError),
            Ignored,
        ],
    );
    let push = Conn(ProtocolError);
    let continuation = Conn(ProtocolError);
    let open = || {
        let mut peer = Peer::server();
        peer.request(1);
        peer
    };
    check("open", open, 1, [Taken, Taken, Ignored, Taken, Ignored, continuation, push, Ignored]);

    let half_closed_remote = || {
        let mut peer = Peer::server();
        peer.ok(&get(1, true));
        peer
    };
    let closed = Strm(StreamClosed);
    check(
        "half-closed (remote)",
        half_closed_remote,
        1,
        [closed, closed, Ignored, Taken, Ignored, continuation, push, Ignored],
    );

    let half_closed_local = || {
        let mut peer = Peer::server();
        let key = peer.request(1);
        peer.respond(key, true);
        peer
    };
    check(
        "half-closed (local)",
        half_closed_local,
        1,
        [Taken, Taken, Ignored, Taken, Ignored, continuation, push, Ignored],
    );
}

#[test]
fn closed_streams_before_and_after_their_release() {
    let push = Conn(ProtocolError);
    let continuation = Conn(ProtocolError);
    for released in [false, true] {
        let done = move |mut peer: Peer, key: StreamKey| {
            if released {
                peer.machine.release(key);
            }
            peer
        };
        let ended = || {
            let mut peer = Peer::server();
            let Some(Event::Request { key, .. }) = peer.ok(&get(1, true)).pop() else { panic!("a request") };
            peer.respond(key, true);
            done(peer, key)
        };
        let error = Conn(StreamClosed);
        check(
            "ended from both ends",
            ended,
            1,
            [error, error, Ignored, Ignored, Ignored, continuation, push, Ignored],
        );

        let reset_by_us = || {
            let mut peer = Peer::server();
            let key = peer.request(1);
            peer.machine.reset(key, Cancel);
            done(peer, key)
        };
        check(
            "reset by us",
            reset_by_us,
            1,
            [Ignored, Ignored, Ignored, Ignored, Ignored, continuation, push, Ignored],
        );

        let reset_by_peer = || {
            let mut peer = Peer::server();
            let key = peer.request(1);
            peer.ok(&reset(1, Cancel));
            done(peer, key)
        };
        let error = Strm(StreamClosed);
        check(
            "reset by the peer",
            reset_by_peer,
            1,
            [error, error, Ignored, Ignored, Ignored, continuation, push, Ignored],
        );
    }
}

#[test]
fn skipped_identifiers_are_closed() {
    let skipped = || {
        let mut peer = Peer::server();
        peer.request(5);
        peer
    };
    check(
        "skipped",
        skipped,
        3,
        [
            Conn(StreamClosed),
            Conn(ProtocolError),
            Ignored,
            Ignored,
            Ignored,
            Conn(ProtocolError),
            Conn(ProtocolError),
            Ignored,
        ],
    );
}

#[test]
fn client_streams_in_every_state() {
    let idle = || Peer::client();
    let push = Conn(ProtocolError);
    let continuation = Conn(ProtocolError);
    let error = Conn(ProtocolError);
    check("idle", idle, 1, [error, error, Ignored, error, error, error, error, Ignored]);
    check("idle, of the server", idle, 2, [error, error, Ignored, error, error, error, error, Ignored]);

    let before_response = || {
        let mut peer = Peer::client();
        peer.send_get(true);
        peer
    };
    let malformed = Strm(ProtocolError);
    check(
        "waiting for a response",
        before_response,
        1,
        [malformed, malformed, Ignored, Taken, Ignored, continuation, push, Ignored],
    );

    let in_body = || {
        let mut peer = before_response();
        peer.ok(&response(1, "200", false));
        peer
    };
    check("in the body", in_body, 1, [Taken, Taken, Ignored, Taken, Ignored, continuation, push, Ignored]);

    let ended = || {
        let mut peer = before_response();
        peer.ok(&response(1, "200", true));
        peer
    };
    let error = Conn(StreamClosed);
    check("ended", ended, 1, [error, error, Ignored, Ignored, Ignored, continuation, push, Ignored]);
}

#[test]
fn an_opened_stream_that_was_not_sent_is_idle_to_the_peer() {
    let mut peer = Peer::client();
    let key = peer.machine.open(Method::Get).expect("a stream");
    peer.machine.reset(key, Cancel);
    peer.machine.release(key);
    assert_eq!(peer.sent(), [], "an idle stream cannot be reset");
    let next = peer.send_get(true);
    assert_eq!(next.id(), 3);
}

#[test]
fn requests_are_sent_in_the_order_of_their_identifiers() {
    let mut peer = Peer::client();
    let first = peer.machine.open(Method::Get).expect("a stream");
    peer.send_get(true);
    let (bytes, head) = request_head();
    let late = peer.machine.send_request(first, &bytes, &head, &RequestEdits::default(), "http", true);
    assert_eq!(late, Err(StreamGone));
}

#[test]
fn even_identifiers_are_not_a_clients() {
    Peer::server().dies(&get(2, true), ProtocolError);
}

#[test]
fn self_dependency_is_a_stream_error() {
    // On HEADERS, on PRIORITY of an open stream; of an idle one it is the connection's.
    let mut with_priority = vec![0, 0, 0, 1, 15];
    with_priority.extend_from_slice(&block(&GET));
    let flags = flag::END_HEADERS | flag::PRIORITY;
    Peer::server().resets(&frame(kind::HEADERS, flags, 1, &with_priority), 1, ProtocolError);

    let mut peer = Peer::server();
    let key = peer.request(1);
    let on_itself = frame(kind::PRIORITY, 0, 1, &[0x80, 0, 0, 1, 15]);
    let events = peer.ok(&on_itself);
    assert_eq!(events, [Event::Reset { key, code: ProtocolError, by_peer: false, processed: true }]);

    Peer::server().dies(&frame(kind::PRIORITY, 0, 7, &[0, 0, 0, 7, 15]), ProtocolError);
}

#[test]
fn priority_of_the_wrong_length_is_a_stream_error() {
    let mut peer = Peer::server();
    peer.request(1);
    peer.resets(&frame(kind::PRIORITY, 0, 1, &[0; 4]), 1, FrameSizeError);
    Peer::server().dies(&frame(kind::PRIORITY, 0, 1, &[0; 6]), FrameSizeError);
}

#[test]
fn streams_above_the_limit_are_refused_and_their_data_ignored() {
    let mut limits = config();
    limits.streams_max = 2;
    let mut peer = Peer::server_with(&limits);
    let first = peer.request(1);
    peer.request(3);
    peer.resets(&get(5, false), 5, RefusedStream);
    assert_eq!(peer.ok(&data(5, b"ignored", true)), []);
    // A reset by the peer does not make room until its owner lets go.
    peer.ok(&reset(1, Cancel));
    peer.resets(&get(7, true), 7, RefusedStream);
    peer.machine.release(first);
    assert_eq!(peer.ok(&get(9, true)).len(), 1);
}

#[test]
fn a_stream_that_ended_from_both_ends_makes_room_before_its_release() {
    let mut limits = config();
    limits.streams_max = 1;
    let mut peer = Peer::server_with(&limits);
    let mut keys = Vec::new();
    for id in [1, 3] {
        let Some(Event::Request { key, .. }) = peer.ok(&get(id, true)).pop() else { panic!("a request") };
        peer.respond(key, true);
        keys.push(key);
    }
    // But not without bound: twice the limit are held.
    peer.resets(&get(5, true), 5, RefusedStream);
    keys.into_iter().for_each(|key| peer.machine.release(key));
    assert_eq!(peer.machine.streams_open(), 0);
    assert_eq!(peer.ok(&get(7, true)).len(), 1);
}

#[test]
fn places_are_used_again_and_old_keys_mean_nothing() {
    let mut peer = Peer::server();
    let old = peer.request(1);
    peer.machine.release(old);
    let new = peer.request(3);
    assert_eq!(old.slot(), new.slot());
    peer.sent();
    peer.machine.reset(old, Cancel);
    peer.machine.release(old);
    peer.machine.consumed(old, 1 << 20);
    assert_eq!(peer.machine.send_data_header(old, 0, true), Err(StreamGone));
    assert_eq!(peer.machine.send_capacity(old), 0);
    assert_eq!(peer.sent(), []);
    assert_eq!(peer.machine.streams_open(), 1);
}
