//! SETTINGS, PING and frame sizes (RFC 9113 3.4, 4.2, 6.5, 6.7; RFC 8441 3).

use super::*;
use crate::http2::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, WINDOW_BYTES_MAX, setting};
use ErrorCode::*;

#[test]
fn a_server_greets_with_its_settings_and_window() {
    let mut peer = Peer::fresh(Role::Server, &config());
    let expected = settings(&[
        (setting::MAX_CONCURRENT_STREAMS, 100),
        (setting::INITIAL_WINDOW_SIZE, 64 << 10),
        (setting::MAX_HEADER_LIST_SIZE, 32 << 10),
        (setting::ENABLE_CONNECT_PROTOCOL, 1),
    ]);
    let mut expected = frames(&expected);
    expected.push(Sent::window_update(0, (1 << 20) - 65_535));
    assert_eq!(peer.sent(), expected);
}

#[test]
fn a_client_greets_with_the_preface_and_refuses_push() {
    let mut peer = Peer::fresh(Role::Client, &config());
    assert!(peer.machine.output().starts_with(PREFACE));
    let expected = settings(&[
        (setting::ENABLE_PUSH, 0),
        (setting::INITIAL_WINDOW_SIZE, 64 << 10),
        (setting::MAX_HEADER_LIST_SIZE, 32 << 10),
    ]);
    assert_eq!(peer.sent().first(), frames(&expected).first());
}

#[test]
fn settings_out_of_the_rfcs_range_are_brought_into_it() {
    let mut wild = config();
    wild.frame_bytes_max = u32::MAX;
    wild.stream_window = u32::MAX;
    wild.connection_window = 0;
    wild.streams_max = 0;
    let mut peer = Peer::fresh(Role::Server, &wild);
    let expected = settings(&[
        (setting::MAX_CONCURRENT_STREAMS, 1),
        (setting::INITIAL_WINDOW_SIZE, WINDOW_BYTES_MAX),
        (setting::MAX_FRAME_SIZE, FRAME_BYTES_MAX),
        (setting::MAX_HEADER_LIST_SIZE, 32 << 10),
        (setting::ENABLE_CONNECT_PROTOCOL, 1),
    ]);
    assert_eq!(peer.sent(), frames(&expected), "and no WINDOW_UPDATE: a window cannot start smaller");
}

#[test]
fn what_is_not_the_preface_ends_the_connection() {
    for (at, _) in PREFACE.iter().enumerate() {
        let mut bytes = *PREFACE;
        bytes[at] ^= 1;
        Peer::fresh(Role::Server, &config()).dies(&bytes, ProtocolError);
    }
}

#[test]
fn the_first_frame_has_to_be_settings() {
    for first in [
        frame(kind::PING, 0, 0, &[0; 8]),
        get(1, true),
        frame(kind::SETTINGS, flag::ACK, 0, &[]),
        window_update(0, 1),
        frame(0xee, 0, 0, &[]),
    ] {
        let mut server = Peer::fresh(Role::Server, &config());
        server.ok(PREFACE);
        server.dies(&first, ProtocolError);
        Peer::fresh(Role::Client, &config()).dies(&first, ProtocolError);
    }
}

#[test]
fn settings_are_acknowledged_and_told() {
    let mut peer = Peer::server();
    let entries = [
        (setting::HEADER_TABLE_SIZE, 0),
        (setting::ENABLE_PUSH, 1),
        (setting::MAX_CONCURRENT_STREAMS, 7),
        (setting::INITIAL_WINDOW_SIZE, 70_000),
        (setting::MAX_FRAME_SIZE, 20_000),
        (setting::MAX_HEADER_LIST_SIZE, 9_000),
        (setting::ENABLE_CONNECT_PROTOCOL, 1),
        (setting::NO_RFC7540_PRIORITIES, 1),
        // Unknown ones mean nothing (RFC 9113 6.5.2).
        (0xabcd, u32::MAX),
    ];
    assert_eq!(peer.ok(&settings(&entries)), [Event::SettingsChanged, Event::AllWritable]);
    assert_eq!(peer.sent(), [Sent { kind: kind::SETTINGS, flags: flag::ACK, id: 0, payload: Vec::new() }]);
    let expected = PeerSettings {
        header_table_bytes: 0,
        streams_max: Some(7),
        stream_window: 70_000,
        frame_bytes_max: 20_000,
        header_list_bytes_max: Some(9_000),
        connect_protocol: true,
    };
    assert_eq!(*peer.machine.peer_settings(), expected);
}

#[test]
fn settings_of_values_that_are_not_allowed() {
    type Case = (Role, &'static [(u16, u32)], ErrorCode);
    let cases: [Case; 13] = [
        (Role::Server, &[(setting::ENABLE_PUSH, 2)], ProtocolError),
        (Role::Client, &[(setting::ENABLE_PUSH, 1)], ProtocolError),
        (Role::Client, &[(setting::ENABLE_PUSH, 2)], ProtocolError),
        (Role::Server, &[(setting::INITIAL_WINDOW_SIZE, 1 << 31)], FlowControlError),
        (Role::Client, &[(setting::INITIAL_WINDOW_SIZE, u32::MAX)], FlowControlError),
        // Even where a later entry would mend it: they are taken in order.
        (
            Role::Server,
            &[(setting::INITIAL_WINDOW_SIZE, 1 << 31), (setting::INITIAL_WINDOW_SIZE, 1)],
            FlowControlError,
        ),
        (Role::Server, &[(setting::MAX_FRAME_SIZE, FRAME_BYTES_MIN - 1)], ProtocolError),
        (Role::Server, &[(setting::MAX_FRAME_SIZE, FRAME_BYTES_MAX + 1)], ProtocolError),
        (Role::Server, &[(setting::MAX_FRAME_SIZE, 0)], ProtocolError),
        (Role::Client, &[(setting::ENABLE_CONNECT_PROTOCOL, 2)], ProtocolError),
        (Role::Client, &[(setting::NO_RFC7540_PRIORITIES, 2)], ProtocolError),
        (
            Role::Client,
            &[(setting::ENABLE_CONNECT_PROTOCOL, 1), (setting::ENABLE_CONNECT_PROTOCOL, 0)],
            ProtocolError,
        ),
        (Role::Server, &[(0x99, 1), (setting::ENABLE_PUSH, u32::MAX)], ProtocolError),
    ];
    for (role, entries, code) in cases {
        let mut peer = if role == Role::Server { Peer::server() } else { Peer::client() };
        peer.dies(&settings(entries), code);
    }
    for entries in [
        [(setting::MAX_FRAME_SIZE, FRAME_BYTES_MIN), (setting::INITIAL_WINDOW_SIZE, WINDOW_BYTES_MAX)],
        [(setting::MAX_FRAME_SIZE, FRAME_BYTES_MAX), (setting::ENABLE_PUSH, 0)],
    ] {
        Peer::client().ok(&settings(&entries));
        Peer::server().ok(&settings(&entries));
    }
}

#[test]
fn frames_of_the_wrong_length() {
    let cases: [(u8, u8, u32, usize, ErrorCode); 16] = [
        (kind::SETTINGS, 0, 0, 1, FrameSizeError),
        (kind::SETTINGS, 0, 0, 5, FrameSizeError),
        (kind::SETTINGS, 0, 0, 7, FrameSizeError),
        (kind::SETTINGS, flag::ACK, 0, 6, FrameSizeError),
        (kind::SETTINGS, flag::ACK, 0, 1, FrameSizeError),
        (kind::PING, 0, 0, 7, FrameSizeError),
        (kind::PING, 0, 0, 9, FrameSizeError),
        (kind::PING, flag::ACK, 0, 0, FrameSizeError),
        (kind::GOAWAY, 0, 0, 7, FrameSizeError),
        (kind::RST_STREAM, 0, 1, 3, FrameSizeError),
        (kind::RST_STREAM, 0, 1, 5, FrameSizeError),
        (kind::WINDOW_UPDATE, 0, 0, 3, FrameSizeError),
        (kind::WINDOW_UPDATE, 0, 1, 5, FrameSizeError),
        (kind::DATA, 0, 1, FRAME_BYTES_MIN as usize + 1, FrameSizeError),
        (kind::HEADERS, flag::END_HEADERS, 1, FRAME_BYTES_MIN as usize + 1, FrameSizeError),
        (0xee, 0, 1, FRAME_BYTES_MIN as usize + 1, FrameSizeError),
    ];
    for (kind, flags, id, length, code) in cases {
        let mut peer = Peer::server();
        peer.request(1);
        let bytes = frame(kind, flags, id, &vec![0; length]);
        // The header is enough to know: nothing is waited for.
        peer.dies(&bytes[..FRAME_HEADER_BYTES], code);
    }
}

#[test]
fn priority_update_needs_a_stream() {
    Peer::server().dies(&frame(kind::PRIORITY_UPDATE, 0, 0, &[0; 3]), FrameSizeError);
    Peer::server().dies(&frame(kind::PRIORITY_UPDATE, 0, 0, &[0; 4]), ProtocolError);
}

#[test]
fn frames_on_the_wrong_stream() {
    let cases: [(u8, u32, usize); 10] = [
        (kind::SETTINGS, 1, 0),
        (kind::PING, 1, 8),
        (kind::GOAWAY, 1, 8),
        (kind::PRIORITY_UPDATE, 1, 4),
        (kind::DATA, 0, 1),
        (kind::HEADERS, 0, 1),
        (kind::PRIORITY, 0, 5),
        (kind::RST_STREAM, 0, 4),
        (kind::CONTINUATION, 0, 1),
        (kind::PUSH_PROMISE, 0, 4),
    ];
    for (kind, id, length) in cases {
        for mut peer in [Peer::server(), Peer::client()] {
            peer.dies(&frame(kind, 0, id, &vec![1; length]), ProtocolError);
        }
    }
}

#[test]
fn what_nobody_knows_is_ignored() {
    let mut peer = Peer::server();
    // Unknown types on any stream, undefined flags, the reserved bit (RFC 9113 4.1, 5.5).
    for input in [frame(0xff, 0xff, 0, b"x"), frame(0x0b, 0, 77, &[0; 1000]), frame(0x20, 0, 2, &[])] {
        assert_eq!(peer.ok(&input), []);
    }
    let mut reserved = frame(kind::PING, 0xfe, 0, &[7; 8]);
    reserved[5] |= 0x80;
    assert_eq!(peer.ok(&reserved), []);
    assert_eq!(
        peer.sent(),
        [Sent { kind: kind::PING, flags: flag::ACK, id: 0, payload: vec![7; 8] }],
        "the PING is answered"
    );
    let priority_update = frame(kind::PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1");
    assert_eq!(peer.ok(&priority_update), []);
    Peer::client().dies(&priority_update, ProtocolError);
}

#[test]
fn pings_are_answered_and_answers_told() {
    let mut peer = Peer::server();
    assert_eq!(peer.ok(&frame(kind::PING, 0, 0, b"payload.")), []);
    let answer = Sent { kind: kind::PING, flags: flag::ACK, id: 0, payload: b"payload.".to_vec() };
    assert_eq!(peer.sent(), [answer]);

    peer.machine.ping(*b"keepaliv");
    let sent = peer.sent();
    assert_eq!(sent[0].payload, b"keepaliv");
    assert_eq!(peer.ok(&frame(kind::PING, flag::ACK, 0, &sent[0].payload)), [Event::Pong(*b"keepaliv")]);
}

#[test]
fn our_settings_are_acknowledged_once() {
    let mut peer = Peer::fresh(Role::Client, &config());
    peer.ok(&settings(&[]));
    assert!(peer.machine.settings_received() && !peer.machine.settings_acked());
    let ack = frame(kind::SETTINGS, flag::ACK, 0, &[]);
    peer.ok(&ack);
    assert!(peer.machine.settings_acked());
    peer.dies(&ack, ProtocolError);
}

#[test]
fn the_peers_frame_size_bounds_ours() {
    let mut peer = Peer::server();
    peer.ok(&settings(&[(setting::INITIAL_WINDOW_SIZE, 60_000)]));
    let Some(Event::Request { key, .. }) = peer.ok(&get(1, true)).pop() else { panic!("a request") };
    assert_eq!(peer.machine.send_capacity(key), FRAME_BYTES_MIN as usize);
    peer.ok(&settings(&[(setting::MAX_FRAME_SIZE, 50_000)]));
    assert_eq!(peer.machine.send_capacity(key), 50_000);

    // A head beyond it goes on in CONTINUATION.
    peer.ok(&settings(&[(setting::MAX_FRAME_SIZE, FRAME_BYTES_MIN)]));
    peer.sent();
    let (bytes, head) = response_head(200);
    let line = format!("x: {}\r\n", "v".repeat(40_000));
    let edits = ResponseEdits { append: line.as_bytes(), ..ResponseEdits::default() };
    peer.machine.send_response(key, &bytes, &head, &edits, true).expect("an open stream");
    let sent = peer.sent();
    let shapes: Vec<_> = sent.iter().map(|frame| (frame.kind, frame.flags, frame.payload.len())).collect();
    let total: usize = sent.iter().map(|frame| frame.payload.len()).sum();
    assert_eq!(
        shapes,
        [
            (kind::HEADERS, flag::END_STREAM, 16_384),
            (kind::CONTINUATION, 0, 16_384),
            (kind::CONTINUATION, flag::END_HEADERS, total - 2 * 16_384)
        ]
    );
    // And another machine reads it.
    let mut client = Peer::client_with(&ConnectionConfig {
        head_limits: HeadLimits { bytes_max: 64 << 10, ..config().head_limits },
        ..config()
    });
    let key = client.send_get(true);
    let bytes: Vec<u8> = sent.iter().flat_map(|f| frame(f.kind, f.flags, f.id, &f.payload)).collect();
    assert_eq!(client.ok(&bytes), [Event::Response { key, end: true }]);
}

#[test]
fn an_upgrade_from_http1_has_its_request_on_stream_1() {
    let mut peer = Peer::fresh(Role::Server, &config());
    let payload = &settings(&[(setting::INITIAL_WINDOW_SIZE, 10)])[FRAME_HEADER_BYTES..];
    let key = peer.machine.upgrade(payload).expect("a fresh connection");
    assert_eq!((key.id(), peer.machine.send_capacity(key)), (1, 10));
    assert!(peer.machine.upgrade(&[]).is_err(), "once");
    peer.ok(PREFACE);
    peer.ok(&settings(&[]));
    peer.ok(&get(3, true));
    peer.resets(&data(1, b"x", false), 1, StreamClosed);

    assert!(Peer::fresh(Role::Server, &config()).machine.upgrade(&[0; 5]).is_err());
    assert!(Peer::fresh(Role::Client, &config()).machine.upgrade(&[]).is_err());
}
