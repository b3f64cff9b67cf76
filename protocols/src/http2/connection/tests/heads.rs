//! Header blocks (RFC 9113 4.3, 6.2, 6.10, 8.1): padding, priority, CONTINUATION, interim responses, trailers.

use super::*;
use crate::http2::{HeadError, Malformed};
use ErrorCode::*;

fn take(peer: &mut Peer) -> (RequestHead, Vec<u8>) {
    let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
    peer.machine.take_request(&mut head, &mut bytes);
    (head, bytes)
}

#[test]
fn a_request_is_an_http1_head() {
    let mut peer = Peer::server();
    peer.request(1);
    let (head, bytes) = take(&mut peer);
    assert_eq!(bytes, b"GET / HTTP/2.0\r\nhost: a\r\n\r\n");
    assert_eq!(head.authority.of(&bytes), b"a");
}

#[test]
fn padding_and_priority_are_not_part_of_the_block() {
    let request = block(&GET);
    for padding in [0_u8, 1, 255] {
        let mut padded = vec![padding];
        padded.extend_from_slice(&request);
        padded.resize(padded.len() + usize::from(padding), 0);
        let mut peer = Peer::server();
        let flags = flag::END_HEADERS | flag::END_STREAM | flag::PADDED;
        assert_eq!(peer.ok(&frame(kind::HEADERS, flags, 1, &padded)).len(), 1);

        let mut both = vec![padding, 0x80, 0, 0, 0, 255];
        both.extend_from_slice(&request);
        both.resize(both.len() + usize::from(padding), 0);
        assert_eq!(peer.ok(&frame(kind::HEADERS, flags | flag::PRIORITY, 3, &both)).len(), 1);
        assert_eq!(take(&mut peer).1, b"GET / HTTP/2.0\r\nhost: a\r\n\r\n");
    }
}

#[test]
fn headers_that_lack_what_their_flags_say() {
    let flags = flag::END_HEADERS;
    let cases: [(u8, &[u8], ErrorCode); 6] = [
        (flag::PADDED, &[], FrameSizeError),
        (flag::PADDED, &[1], ProtocolError),
        (flag::PADDED, &[255, 0x82], ProtocolError),
        (flag::PRIORITY, &[0, 0, 0, 0], FrameSizeError),
        (flag::PADDED | flag::PRIORITY, &[0, 0, 0, 0, 0], FrameSizeError),
        (flag::PADDED | flag::PRIORITY, &[1, 0, 0, 0, 0, 0], FrameSizeError),
    ];
    for (more, payload, code) in cases {
        Peer::server().dies(&frame(kind::HEADERS, flags | more, 1, payload), code);
    }
}

#[test]
fn a_block_in_continuations_is_one_block() {
    let request = block(&GET);
    for cut in 0..=request.len() {
        let mut peer = Peer::server();
        let mut input = frame(kind::HEADERS, flag::END_STREAM, 1, &request[..cut]);
        input.extend_from_slice(&frame(kind::CONTINUATION, 0, 1, &[]));
        input.extend_from_slice(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &request[cut..]));
        let events = peer.ok(&input);
        assert!(matches!(events.as_slice(), [Event::Request { end: true, .. }]), "{events:?}");
        assert_eq!(take(&mut peer).1, b"GET / HTTP/2.0\r\nhost: a\r\n\r\n");
    }
}

#[test]
fn nothing_may_come_within_a_header_block() {
    let begun = frame(kind::HEADERS, flag::END_STREAM, 3, &block(&GET));
    for within in [
        frame(kind::PRIORITY, 0, 1, &[0; 5]),
        frame(kind::PING, 0, 0, &[0; 8]),
        settings(&[]),
        frame(0xaa, 0, 0, &[]),
        data(1, b"x", false),
        get(3, true),
        get(5, true),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 0, &[]),
    ] {
        let mut peer = Peer::server();
        peer.request(1);
        assert_eq!(peer.ok(&begun), []);
        assert!(peer.machine.is_mid_head());
        peer.dies(&within, ProtocolError);
    }
    // After the end there is nothing to go on with.
    let mut peer = Peer::server();
    peer.request(1);
    assert!(!peer.machine.is_mid_head());
    peer.dies(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]), ProtocolError);
}

#[test]
fn a_head_is_under_way_from_its_first_byte_to_its_last() {
    let mut peer = Peer::server();
    let input = get(1, true);
    for (at, byte) in input.iter().enumerate() {
        let events = peer.ok(std::slice::from_ref(byte));
        let expected = at >= FRAME_HEADER_BYTES - 1 && at + 1 < input.len();
        assert_eq!(peer.machine.is_mid_head(), expected, "behind byte {at}");
        assert_eq!(events.len(), usize::from(at + 1 == input.len()));
    }
}

#[test]
fn a_block_that_cannot_be_decoded_ends_the_connection() {
    for broken in [&[0x80][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[0x40, 0x7f]] {
        Peer::server().dies(&headers(1, broken, true), CompressionError);
        let mut peer = Peer::client();
        peer.send_get(true);
        peer.dies(&headers(1, broken, true), CompressionError);
        // On streams that are gone, too: the table is the connection's.
        let mut peer = Peer::server();
        let key = peer.request(1);
        peer.machine.reset(key, Cancel);
        peer.dies(&headers(1, broken, true), CompressionError);
    }
}

#[test]
fn a_malformed_request_resets_its_stream_and_nobody_sees_it() {
    let mut peer = Peer::server();
    let events = peer.ok(&headers(1, &block(&[(":method", "GET"), (":path", "/")]), false));
    assert_eq!(events, [Event::Malformed { id: 1, rule: Malformed::MissingPseudo }]);
    assert_eq!(peer.sent(), [Sent::reset(1, ProtocolError)]);
    assert_eq!(peer.machine.streams_open(), 0);
    // Its body is ignored.
    assert_eq!(peer.ok(&data(1, b"body", true)), []);
    assert_eq!(peer.ok(&get(3, true)).len(), 1);
}

#[test]
fn a_head_that_is_too_large_is_answered_and_its_body_dropped() {
    let mut small = config();
    small.head_limits.bytes_max = 256;
    let mut peer = Peer::server_with(&small);
    let long = "v".repeat(100);
    let mut fields = GET.to_vec();
    fields.extend([("a", long.as_str()), ("b", &long)]);
    let events = peer.ok(&headers(1, &block(&fields), false));
    let [Event::RefusedHead { key, error: HeadError::TooLarge }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(peer.ok(&data(1, b"body", false)), []);
    assert_eq!(peer.ok(&trailers(1, true)), []);
    peer.sent();
    let (bytes, head) = response_head(431);
    peer.machine.send_response(*key, &bytes, &head, &ResponseEdits::default(), true).expect("open");
    peer.machine.release(*key);
    let sent = peer.sent();
    assert_eq!((sent.len(), sent[0].kind), (1, kind::HEADERS), "both ends are done: no reset");
}

#[test]
fn a_response_that_is_too_large_is_told() {
    let mut small = config();
    small.head_limits.bytes_max = 256;
    let mut peer = Peer::client_with(&small);
    let key = peer.send_get(true);
    let long = "v".repeat(100);
    let events = peer.ok(&headers(1, &block(&[(":status", "200"), ("a", &long), ("b", &long)]), false));
    assert_eq!(events, [Event::RefusedHead { key, error: HeadError::TooLarge }]);
    assert_eq!(peer.ok(&data(1, b"body", true)), []);
}

#[test]
fn interim_responses_come_before_the_response_and_not_without_end() {
    let mut peer = Peer::client();
    let key = peer.send_get(true);
    for status in ["100", "103", "103"] {
        assert_eq!(peer.ok(&response(1, status, false)), [Event::Response { key, end: false }]);
    }
    assert_eq!(peer.ok(&response(1, "200", false)), [Event::Response { key, end: false }]);
    // Behind it, a head without an end is none.
    peer.resets(&response(1, "103", false), 1, ProtocolError);

    for (status, end) in [("103", true), ("101", false)] {
        let mut peer = Peer::client();
        peer.send_get(true);
        peer.resets(&response(1, status, end), 1, ProtocolError);
    }

    let mut peer = Peer::client();
    peer.send_get(true);
    for _ in 0..32 {
        peer.ok(&response(1, "103", false));
    }
    peer.resets(&response(1, "103", false), 1, EnhanceYourCalm);
}

#[test]
fn interim_responses_are_sent_before_the_response() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    let edits = ResponseEdits::default();
    for status in [100, 103] {
        let (bytes, head) = response_head(status);
        peer.machine.send_response(key, &bytes, &head, &edits, false).expect("before the response");
        assert_eq!(peer.machine.send_data_header(key, 0, true), Err(StreamGone), "no body yet");
        assert_eq!(peer.machine.send_response(key, &bytes, &head, &edits, true), Err(StreamGone));
    }
    peer.respond(key, false);
    let (bytes, head) = response_head(200);
    assert_eq!(peer.machine.send_response(key, &bytes, &head, &edits, false), Err(StreamGone), "once");
    peer.machine.send_trailers(key, b"x-sum: 1\r\n").expect("behind the response");
    assert_eq!(peer.machine.send_trailers(key, b"x-sum: 1\r\n"), Err(StreamGone), "the end");
    assert_eq!(peer.machine.send_data_header(key, 0, true), Err(StreamGone));
}

#[test]
fn trailers_end_the_stream_or_are_malformed() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    assert_eq!(peer.ok(&trailers(1, true)), [Event::Trailers { key }]);
    let mut lines = Vec::new();
    peer.machine.take_trailers(&mut lines);
    assert_eq!(lines, b"x-sum: 1\r\n");

    let mut peer = Peer::server();
    peer.request(1);
    peer.resets(&trailers(1, false), 1, ProtocolError);
    let mut peer = Peer::server();
    peer.request(1);
    peer.resets(&headers(1, &block(&[(":status", "200")]), true), 1, ProtocolError);
}

#[test]
fn a_response_may_be_complete_before_its_request() {
    let mut peer = Peer::client();
    let key = peer.send_get(false);
    assert_eq!(peer.ok(&response(1, "413", true)), [Event::Response { key, end: true }]);
    // RFC 9113 8.1: the server says that it wants no more.
    let stop = Event::Reset { key, code: NoError, by_peer: true, processed: true };
    assert_eq!(peer.ok(&reset(1, NoError)), [stop]);
    assert_eq!(peer.machine.send_capacity(key), 0);
    assert_eq!(peer.machine.send_data_header(key, 0, true), Err(StreamGone));
}

#[test]
fn roles_send_their_own_heads() {
    let (bytes, head) = request_head();
    let mut server = Peer::server();
    let key = server.request(1);
    let edits = RequestEdits::default();
    assert_eq!(server.machine.send_request(key, &bytes, &head, &edits, "http", true), Err(StreamGone));
    assert!(server.machine.open(Method::Get).is_none());
    let (bytes, head) = response_head(200);
    let mut client = Peer::client();
    let key = client.send_get(false);
    let edits = ResponseEdits::default();
    assert_eq!(client.machine.send_response(key, &bytes, &head, &edits, true), Err(StreamGone));
}
