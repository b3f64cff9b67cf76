//! DATA, padding, and content-length (RFC 9113 6.1, 8.1.1).

use super::*;
use ErrorCode::*;

#[test]
fn data_is_a_range_of_the_input() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    let mut input = data(1, b"hello", false);
    input.extend_from_slice(&data(1, b" world", true));
    let events = peer.ok(&input);
    let Event::Data { range, .. } = &events[0] else { panic!("data") };
    assert_eq!(&input[range.clone()], b"hello");
    // The second call began behind the first frame.
    let second = Event::Data { key, range: 9..15, end: true };
    assert_eq!(events[1], second);
}

#[test]
fn padding_is_not_content() {
    for padding in [0, 1, 255] {
        for content in [&b""[..], b"x", b"content"] {
            let mut peer = Peer::server();
            let key = peer.request(1);
            let mut payload = vec![padding];
            payload.extend_from_slice(content);
            payload.resize(payload.len() + usize::from(padding), 0);
            let bytes = frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &payload);
            let start = FRAME_HEADER_BYTES + 1;
            let expected = Event::Data { key, range: start..start + content.len(), end: true };
            assert_eq!(peer.ok(&bytes), [expected], "{padding} bytes of padding");
        }
    }
}

#[test]
fn padding_longer_than_its_frame() {
    for (length, padding) in [(1, 1), (2, 2), (10, 10), (10, 255)] {
        let mut payload = vec![0; length];
        payload[0] = padding;
        let mut peer = Peer::server();
        peer.request(1);
        peer.dies(&frame(kind::DATA, flag::PADDED, 1, &payload), ProtocolError);
    }
    let mut peer = Peer::server();
    peer.request(1);
    peer.dies(&frame(kind::DATA, flag::PADDED, 1, &[]), FrameSizeError);
}

#[test]
fn an_empty_end_is_told_and_an_empty_frame_is_not() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    assert_eq!(peer.ok(&data(1, b"", false)), []);
    let events = peer.ok(&data(1, b"", true));
    assert!(
        matches!(events.as_slice(), [Event::Data { key: of, range, end: true }] if *of == key && range.is_empty())
    );
}

/// What comes behind a request with this content-length, and whether it is whole.
#[test]
fn content_length_is_held_against_data() {
    let x = |length: usize, end: bool| data(1, &vec![b'x'; length], end);
    let cases: [(u32, Vec<Vec<u8>>, bool); 12] = [
        (5, vec![x(5, true)], true),
        (5, vec![x(2, false), x(3, false), x(0, true)], true),
        (5, vec![x(5, false), trailers(1, true)], true),
        (0, vec![x(0, true)], true),
        (0, vec![trailers(1, true)], true),
        (5, vec![x(4, true)], false),
        (5, vec![x(6, false)], false),
        (5, vec![x(5, false), x(1, true)], false),
        (5, vec![x(0, true)], false),
        // HAProxy, 2026: the end on trailers.
        (10, vec![x(3, false), trailers(1, true)], false),
        (5, vec![trailers(1, true)], false),
        (0, vec![x(1, true)], false),
    ];
    for (length, frames, is_whole) in cases {
        let mut peer = Peer::server();
        let Some(Event::Request { key, end: false }) = peer.ok(&post(1, length, false)).pop() else {
            panic!("a request")
        };
        peer.sent();
        let events: Vec<_> = frames.iter().flat_map(|frame| peer.ok(frame)).collect();
        let reset = Event::Reset { key, code: ProtocolError, by_peer: false, processed: true };
        assert_eq!(!events.contains(&reset), is_whole, "length {length}, {frames:?}");
        assert_eq!(peer.sent().contains(&Sent::reset(1, ProtocolError)), !is_whole);
        let delivered: usize = events
            .iter()
            .map(|event| if let Event::Data { range, .. } = event { range.len() } else { 0 })
            .sum();
        assert!(delivered <= length as usize, "nothing beyond the length is handed out");
        let ended = events
            .iter()
            .any(|event| matches!(event, Event::Data { end: true, .. } | Event::Trailers { .. }));
        assert_eq!(ended, is_whole, "a short body has no end");
    }
}

#[test]
fn content_length_with_an_end_on_headers() {
    let mut peer = Peer::server();
    let events = peer.ok(&post(1, 5, true));
    assert!(matches!(events.as_slice(), [Event::Malformed { id: 1, .. }]), "{events:?}");
    assert!(peer.sent().contains(&Sent::reset(1, ProtocolError)));
    assert!(matches!(peer.ok(&post(3, 0, true)).as_slice(), [Event::Request { end: true, .. }]));
}

#[test]
fn responses_that_cannot_have_content() {
    for (method, status, length, fits) in [
        (Method::Head, "200", "5", true),
        (Method::Get, "304", "5", true),
        (Method::Get, "200", "5", false),
        (Method::Get, "200", "0", true),
    ] {
        let mut peer = Peer::client();
        let key = peer.machine.open(method).expect("a stream");
        let (bytes, head) = request_head();
        let edits = RequestEdits::default();
        peer.machine.send_request(key, &bytes, &head, &edits, "http", true).expect("new");
        peer.sent();
        let block = block(&[(":status", status), ("content-length", length)]);
        let events = peer.ok(&headers(1, &block, true));
        let is_taken = matches!(events.as_slice(), [Event::Response { end: true, .. }]);
        assert_eq!(is_taken, fits, "{method:?} {status}: {events:?}");
    }
    // Content where there can be none.
    for (method, status) in [(Method::Head, "200"), (Method::Get, "204"), (Method::Get, "304")] {
        let mut peer = Peer::client();
        let key = peer.machine.open(method).expect("a stream");
        let (bytes, head) = request_head();
        let edits = RequestEdits::default();
        peer.machine.send_request(key, &bytes, &head, &edits, "http", true).expect("new");
        peer.ok(&response(1, status, false));
        peer.resets(&data(1, b"x", false), 1, ProtocolError);
    }
}

#[test]
fn tunnels_have_no_length() {
    // A plain CONNECT and an extended one: neither has a body, and both have DATA.
    let connect = block(&[(":method", "CONNECT"), (":authority", "a:443")]);
    let mut extended = vec![(":method", "CONNECT"), (":protocol", "websocket")];
    extended.extend_from_slice(&GET[1..]);
    for block_bytes in [connect, block(&extended)] {
        let mut peer = Peer::server();
        let events = peer.ok(&headers(1, &block_bytes, false));
        assert!(matches!(events.as_slice(), [Event::Request { end: false, .. }]), "{events:?}");
        assert_eq!(peer.ok(&data(1, b"up", false)).len(), 1);
        assert_eq!(peer.ok(&data(1, b"", true)).len(), 1);
    }
    let mut peer = Peer::client();
    let key = peer.machine.open(Method::Connect).expect("a stream");
    let (bytes, head) = request_head();
    peer.machine.send_request(key, &bytes, &head, &RequestEdits::default(), "http", false).expect("new");
    peer.ok(&response(1, "200", false));
    assert_eq!(peer.ok(&data(1, b"down", false)).len(), 1);
}

#[test]
fn nothing_is_told_of_a_stream_that_was_reset_within_a_frame() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    let input = data(1, b"0123456789", true);
    assert_eq!(peer.ok(&input[..12]).len(), 1);
    peer.machine.reset(key, Cancel);
    assert_eq!(peer.ok(&input[12..15]), []);
    peer.machine.release(key);
    let other = peer.ok(&[&input[15..], &get(3, true)].concat());
    assert!(matches!(other.as_slice(), [Event::Request { .. }]), "in step behind it: {other:?}");
}

#[test]
fn data_in_the_same_segment_as_a_reset_is_not_told() {
    // Envoy's zombie streams: HEADERS, RST_STREAM and DATA at once.
    let mut peer = Peer::server();
    let input = [get(1, false), reset(1, Cancel), data(1, b"x", true)].concat();
    let events = peer.ok(&input);
    assert!(
        matches!(events.as_slice(), [Event::Request { .. }, Event::Reset { by_peer: true, .. }]),
        "{events:?}"
    );
}
