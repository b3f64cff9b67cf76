//! GOAWAY, drains and the end of the identifiers (RFC 9113 5.1.1, 6.8, 8.7).

use super::*;
use ErrorCode::*;

#[test]
fn a_drain_in_two_steps_loses_no_request() {
    let mut peer = Peer::server();
    peer.request(1);
    peer.sent();
    peer.machine.drain_begin();
    peer.machine.drain_begin();
    let sent = peer.sent();
    assert_eq!(sent[0], Sent::goaway(STREAM_ID_MAX, NoError));
    assert_eq!((sent[1].kind, sent[1].payload.as_slice(), sent.len()), (kind::PING, &DRAIN_PING[..], 2));
    assert!(peer.machine.is_draining());
    // What was under way is taken, and the answer to the PING is behind it.
    let key = peer.request(3);
    assert_eq!(peer.ok(&frame(kind::PING, flag::ACK, 0, &DRAIN_PING)), [Event::Pong(DRAIN_PING)]);
    peer.machine.drain_finish();
    assert_eq!(peer.sent(), [Sent::goaway(3, NoError)]);
    peer.machine.drain_finish();
    assert_eq!(peer.sent(), [], "said once");
    // What comes later is dropped, and the one before it goes on.
    let late =
        [get(5, false), data(5, b"x", false), trailers(5, true), reset(5, Cancel), window_update(5, 1)];
    assert_eq!(peer.ok(&late.concat()), []);
    assert_eq!(peer.ok(&data(3, b"x", true)).len(), 1);
    peer.respond(key, true);
    assert_eq!(peer.machine.last_peer_stream(), 3);
}

#[test]
fn the_tables_stay_in_step_over_heads_that_are_dropped() {
    let mut peer = Peer::server();
    peer.request(1);
    peer.machine.goaway(NoError);
    // Enters a field into the dynamic table on a stream that is dropped (RFC 7541 6.2.1), and on one that is reset.
    let mut with_entry = block(&GET);
    with_entry.extend_from_slice(b"\x40\x03x-a\x01b");
    assert_eq!(peer.ok(&headers(3, &with_entry, true)), []);
    // The trailers of the open stream refer to it: index 62.
    let events = peer.ok(&headers(1, &[0x80 | 62], true));
    assert!(matches!(events.as_slice(), [Event::Trailers { .. }]), "{events:?}");
    let mut lines = Vec::new();
    peer.machine.take_trailers(&mut lines);
    assert_eq!(lines, b"x-a: b\r\n");
}

#[test]
fn streams_after_the_last_one_come_back_unprocessed() {
    let mut peer = Peer::client();
    let keys: Vec<_> = (0..4).map(|_| peer.send_get(false)).collect();
    let unsent = peer.machine.open(Method::Get).expect("a stream");
    let events = peer.ok(&goaway(3, NoError));
    let refused = |key| Event::Reset { key, code: RefusedStream, by_peer: true, processed: false };
    assert_eq!(
        events,
        [Event::GoAway { code: NoError, last: 3 }, refused(keys[2]), refused(keys[3]), refused(unsent)]
    );
    assert!(!peer.machine.can_open() && peer.machine.is_draining());
    assert!(peer.machine.open(Method::Get).is_none());
    // The others go on.
    assert_eq!(peer.ok(&response(1, "200", true)).len(), 1);
    assert_eq!(peer.ok(&response(3, "200", true)).len(), 1);
    // A lower one later, never a higher one.
    let stopped = Event::Reset { key: keys[1], code: RefusedStream, by_peer: true, processed: true };
    assert_eq!(peer.ok(&goaway(1, NoError)), [Event::GoAway { code: NoError, last: 1 }, stopped]);
    peer.dies(&goaway(3, NoError), ProtocolError);
}

#[test]
fn goaway_of_a_client_only_says_so() {
    let mut peer = Peer::server();
    peer.request(1);
    let events = peer.ok(&goaway(0, ErrorCode::Unknown(0xdead)));
    assert_eq!(events, [Event::GoAway { code: ErrorCode::Unknown(0xdead), last: 0 }]);
    peer.ok(&goaway(STREAM_ID_MAX, NoError));
    assert_eq!(peer.ok(&data(1, b"x", true)).len(), 1);
}

#[test]
fn a_refused_stream_is_safe_to_send_again_unless_there_is_a_response() {
    for (with_response, code, processed) in [
        (false, RefusedStream, false),
        (true, RefusedStream, true),
        (false, Cancel, true),
        (false, InternalError, true),
    ] {
        let mut peer = Peer::client();
        let key = peer.send_get(true);
        if with_response {
            peer.ok(&response(1, "200", false));
        }
        assert_eq!(peer.ok(&reset(1, code)), [Event::Reset { key, code, by_peer: true, processed }]);
        peer.sent();
        // RFC 9113 5.4.2: no RST_STREAM in answer to RST_STREAM.
        peer.machine.reset(key, Cancel);
        peer.machine.release(key);
        assert_eq!(peer.sent(), []);
    }
}

#[test]
fn a_client_keeps_to_the_peers_limit_of_streams() {
    let mut peer = Peer::client();
    peer.ok(&settings(&[(crate::http2::setting::MAX_CONCURRENT_STREAMS, 2)]));
    let first = peer.send_get(true);
    peer.send_get(true);
    assert!(!peer.machine.can_open());
    // Ended from both ends: room again, even before the release.
    peer.ok(&response(first.id(), "200", true));
    assert!(peer.machine.can_open());
    peer.send_get(true);
    peer.ok(&settings(&[(crate::http2::setting::MAX_CONCURRENT_STREAMS, 0)]));
    assert!(peer.machine.open(Method::Get).is_none());
}

#[test]
fn a_client_drains_when_its_identifiers_are_used_up() {
    let mut peer = Peer::client();
    peer.machine.next_id = STREAM_ID_MAX - 2;
    peer.machine.last_sent_id = STREAM_ID_MAX - 4;
    assert_eq!(peer.send_get(true).id(), STREAM_ID_MAX - 2);
    let last = peer.send_get(true);
    assert_eq!(last.id(), STREAM_ID_MAX);
    assert!(peer.machine.open(Method::Get).is_none());
    assert!(peer.machine.is_draining());
    assert_eq!(peer.ok(&response(STREAM_ID_MAX, "200", true)), [Event::Response { key: last, end: true }]);
}

#[test]
fn a_server_drains_before_the_identifiers_are_used_up() {
    let mut peer = Peer::server();
    peer.request(STREAM_ID_MAX - 2000);
    assert!(!peer.machine.is_draining());
    peer.request(STREAM_ID_MAX - 1998);
    assert!(peer.machine.is_draining());
    assert_eq!(peer.sent()[0], Sent::goaway(STREAM_ID_MAX, NoError));
    peer.request(STREAM_ID_MAX);
    peer.machine.drain_finish();
    assert_eq!(peer.machine.last_peer_stream(), STREAM_ID_MAX);
}

#[test]
fn an_error_is_said_with_the_last_stream() {
    let mut peer = Peer::server();
    peer.request(1);
    peer.request(7);
    peer.sent();
    let error = peer.dies(&get(2, true), ProtocolError);
    peer.machine.goaway(error.code);
    assert_eq!(peer.sent(), [Sent::goaway(7, ProtocolError)]);
}

#[test]
fn a_client_says_goaway_once() {
    let mut peer = Peer::client();
    peer.send_get(true);
    peer.sent();
    peer.machine.drain_begin();
    peer.machine.drain_finish();
    assert_eq!(peer.sent(), [Sent::goaway(0, NoError)], "no stream of the server's was taken");
    assert!(!peer.machine.can_open());
    assert_eq!(peer.ok(&response(1, "200", true)).len(), 1);
}
