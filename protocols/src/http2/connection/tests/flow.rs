//! Flow control (RFC 9113 5.2, 6.9).

use super::*;
use crate::http2::flow::PROBE_PING;
use crate::http2::{WINDOW_BYTES_MAX, setting};
use ErrorCode::*;

/// A server that has a request to answer, and its client's stream window.
fn answering(window: u32) -> (Peer, StreamKey) {
    let mut peer = Peer::server();
    peer.ok(&settings(&[(setting::INITIAL_WINDOW_SIZE, window)]));
    let Some(Event::Request { key, .. }) = peer.ok(&get(1, true)).pop() else { panic!("a request") };
    peer.respond(key, false);
    peer.sent();
    (peer, key)
}

#[test]
fn what_may_be_sent_is_the_smallest_of_the_windows_and_the_frame() {
    let (mut peer, key) = answering(100_000);
    // The connection's window is 65,535 until the client says otherwise.
    let mut sent = 0;
    while peer.machine.send_capacity(key) > 0 {
        let capacity = peer.machine.send_capacity(key);
        peer.machine.send_data_header(key, capacity, false).expect("within the capacity");
        sent += capacity;
    }
    assert_eq!(sent, 65_535);
    assert_eq!(peer.ok(&window_update(0, 1 << 20)), [Event::AllWritable]);
    while peer.machine.send_capacity(key) > 0 {
        let capacity = peer.machine.send_capacity(key);
        peer.machine.send_data_header(key, capacity, false).expect("within the capacity");
        sent += capacity;
    }
    assert_eq!(sent, 100_000);
    assert_eq!(peer.ok(&window_update(1, 1)), [Event::Writable { key }]);
    assert_eq!(peer.machine.send_capacity(key), 1);
    // Open already: nothing to tell.
    assert_eq!(peer.ok(&window_update(1, 1)), []);
    assert_eq!(peer.machine.send_capacity(key), 2);
}

#[test]
fn an_end_needs_no_window() {
    let (mut peer, key) = answering(0);
    assert_eq!(peer.machine.send_capacity(key), 0);
    peer.machine.send_data_header(key, 0, true).expect("nothing always fits");
    let sent = peer.sent();
    assert_eq!((sent[0].kind, sent[0].flags), (kind::DATA, flag::END_STREAM));
}

#[test]
fn a_smaller_initial_window_makes_windows_negative() {
    let (mut peer, key) = answering(10_000);
    peer.machine.send_data_header(key, 8_000, false).expect("within the capacity");
    assert_eq!(peer.ok(&settings(&[(setting::INITIAL_WINDOW_SIZE, 1_000)])), [Event::SettingsChanged]);
    // 10,000 - 8,000 - 9,000: closed until 7,000 have come.
    assert_eq!(peer.machine.send_capacity(key), 0);
    assert_eq!(peer.ok(&window_update(1, 7_000)), []);
    assert_eq!(peer.machine.send_capacity(key), 0);
    assert_eq!(peer.ok(&window_update(1, 1)), [Event::Writable { key }]);
    assert_eq!(peer.machine.send_capacity(key), 1);
    let events = peer.ok(&settings(&[(setting::INITIAL_WINDOW_SIZE, 3_000)]));
    assert_eq!(events, [Event::SettingsChanged, Event::AllWritable]);
    assert_eq!(peer.machine.send_capacity(key), 2_001);
}

#[test]
fn windows_at_the_edge_and_beyond_it() {
    let (mut peer, _) = answering(WINDOW_BYTES_MAX);
    peer.resets(&window_update(1, 1), 1, FlowControlError);

    let (mut peer, key) = answering(1);
    peer.ok(&window_update(1, WINDOW_BYTES_MAX - 1));
    assert_eq!(peer.machine.stream_window(key), WINDOW_BYTES_MAX as usize);
    peer.ok(&window_update(0, WINDOW_BYTES_MAX - 65_535));
    assert_eq!(peer.machine.connection_window(), WINDOW_BYTES_MAX as usize);
    peer.dies(&window_update(0, 1), FlowControlError);

    // By settings, it is the connection's error (RFC 9113 6.9.2).
    let (mut peer, _) = answering(1);
    peer.ok(&window_update(1, WINDOW_BYTES_MAX - 1));
    peer.dies(&settings(&[(setting::INITIAL_WINDOW_SIZE, 2)]), FlowControlError);
}

#[test]
fn an_increment_of_nothing_is_an_error() {
    let (mut peer, _) = answering(1);
    peer.resets(&window_update(1, 0), 1, ProtocolError);
    // The reserved bit does not make it more.
    let (mut peer, _) = answering(1);
    peer.resets(&window_update(1, 1 << 31), 1, ProtocolError);
    Peer::server().dies(&window_update(0, 0), ProtocolError);
}

#[test]
fn data_beyond_the_streams_window_ends_the_stream() {
    let mut small = config();
    small.stream_window = 1_000;
    small.stream_window_max = 1_000;
    let mut peer = Peer::server_with(&small);
    peer.request(1);
    assert_eq!(peer.ok(&data(1, &[0; 1_000], false)).len(), 1);
    peer.resets(&data(1, &[0; 1], false), 1, FlowControlError);
    // What is over the line after that ends the connection.
    peer.dies(&data(1, &[0; 1], false), FlowControlError);
}

#[test]
fn data_beyond_the_connections_window_ends_the_connection() {
    // The window is refilled on receipt, so it takes a peer that never saw the update: a frame larger than the window.
    let mut large = config();
    large.frame_bytes_max = 1 << 20;
    large.connection_window = 65_535;
    large.stream_window = 1 << 20;
    let mut peer = Peer::server_with(&large);
    peer.request(1);
    peer.dies(&data(1, &vec![0; 65_536], false)[..FRAME_HEADER_BYTES], FlowControlError);
}

#[test]
fn the_connections_window_is_refilled_on_receipt_even_for_streams_that_are_gone() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    peer.machine.reset(key, Cancel);
    peer.machine.release(key);
    peer.sent();
    // As much as was allowed on the stream, in four frames; then on others, none of which is read.
    let piece = vec![0; 16 << 10];
    for _ in 0..4 {
        assert_eq!(peer.ok(&data(1, &piece, false)), []);
    }
    for id in [3, 5, 7, 9, 11, 13, 15] {
        peer.request(id);
        for _ in 0..4 {
            peer.ok(&data(id, &piece, false));
        }
    }
    assert_eq!(peer.sent(), [Sent::window_update(0, 512 << 10)], "at half of the window");
}

#[test]
fn the_streams_window_opens_as_it_is_consumed_in_halves() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    let piece = vec![0; 16 << 10];
    for _ in 0..4 {
        peer.ok(&data(1, &piece, false));
    }
    peer.machine.consumed(key, 20_000);
    assert_eq!(peer.sent(), []);
    peer.machine.consumed(key, 20_000);
    let sent = peer.sent();
    assert_eq!(sent[0], Sent::window_update(1, 40_000));
    // More than was received is not believed.
    peer.machine.consumed(key, 1 << 30);
    assert_eq!(peer.sent(), [Sent::window_update(1, (64 << 10) - 40_000)]);
    peer.machine.consumed(key, 1 << 30);
    assert_eq!(peer.sent(), []);
}

#[test]
fn a_stream_that_has_ended_gets_no_window() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    peer.ok(&data(1, &vec![0; 16 << 10], false));
    for _ in 0..2 {
        peer.ok(&data(1, &vec![0; 16 << 10], false));
    }
    peer.ok(&data(1, &[0; 1], true));
    peer.machine.consumed(key, 48 << 10);
    assert_eq!(peer.sent(), []);
}

#[test]
fn padding_counts_and_is_given_back() {
    let mut small = config();
    small.stream_window = 512;
    small.stream_window_max = 512;
    let mut peer = Peer::server_with(&small);
    peer.request(1);
    let mut padded = vec![255];
    padded.extend_from_slice(&[0; 255]);
    for _ in 0..20 {
        // 256 bytes each, of which none is content: read by nobody, and yet the window stays open.
        peer.ok(&frame(kind::DATA, flag::PADDED, 1, &padded));
    }
    let opened: u32 = peer
        .sent()
        .iter()
        .filter(|frame| frame.kind == kind::WINDOW_UPDATE && frame.id == 1)
        .map(|frame| u32::from_be_bytes(frame.payload[..4].try_into().expect("four bytes")))
        .sum();
    assert_eq!(opened, 20 * 256);
}

#[test]
fn our_window_counts_from_its_acknowledgement_on() {
    // Until the peer acknowledges, it keeps to 65,535 bytes, whatever we announced.
    for (announced, more) in [(1_000, 0), (200_000, 200_000 - 60_000)] {
        let mut machine = config();
        machine.stream_window = announced;
        machine.stream_window_max = announced;
        let mut peer = Peer::fresh(Role::Server, &machine);
        peer.ok(PREFACE);
        peer.ok(&settings(&[]));
        peer.request(1);
        for _ in 0..4 {
            peer.ok(&data(1, &[0; 15_000], false));
        }
        peer.ok(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
        let mut left = more;
        while left > 0 {
            let piece = left.min(10_000);
            assert_eq!(peer.ok(&data(1, &vec![0; piece], false)).len(), 1, "within {announced}");
            left -= piece;
        }
        peer.resets(&data(1, &[0], false), 1, FlowControlError);
    }
}

#[test]
fn the_window_of_a_stream_that_was_reset_changes_with_the_acknowledgement_too() {
    // A client may send by our settings once it has them, on a stream that we refused before that, too.
    for released in [false, true] {
        let mut machine = config();
        machine.stream_window = 200_000;
        machine.stream_window_max = 200_000;
        let mut peer = Peer::fresh(Role::Server, &machine);
        peer.ok(PREFACE);
        peer.ok(&settings(&[]));
        let key = peer.request(1);
        peer.machine.reset(key, Cancel);
        if released {
            peer.machine.release(key);
        }
        peer.ok(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
        for _ in 0..20 {
            peer.ok(&data(1, &[0; 10_000], false));
        }
        peer.dies(&data(1, &[0], false), FlowControlError);
    }
}

#[test]
fn windows_grow_with_the_bandwidth_delay_product_and_no_further_than_allowed() {
    let mut peer = Peer::server();
    let key = peer.request(1);
    let piece = vec![0; 16 << 10];
    let mut window: usize = 64 << 10;
    let (mut sent, mut full, mut probe) = (0, window, None);
    let mut targets = vec![full];
    // A sender that uses all it has, a reader that keeps up, and a round trip as long as a window takes.
    for _ in 0..2_000 {
        peer.ok(&data(1, &piece, false));
        peer.machine.consumed(key, piece.len());
        window -= piece.len();
        sent += piece.len();
        for frame in peer.sent() {
            if frame.kind == kind::PING && frame.payload == PROBE_PING {
                probe = Some(sent);
            }
            if frame.kind == kind::WINDOW_UPDATE && frame.id == 1 {
                window += u32::from_be_bytes(frame.payload[..4].try_into().expect("four bytes")) as usize;
            }
        }
        if window > full {
            full = window;
            targets.push(full);
        }
        if probe.is_some_and(|at| sent - at >= full) {
            probe = None;
            assert_eq!(peer.ok(&frame(kind::PING, flag::ACK, 0, &PROBE_PING)), [], "the machine's own");
        }
    }
    assert!(targets.len() <= 6 && *targets.last().expect("the first") <= 1 << 20, "{targets:?}");
    // What is on its way does not show in the window, hence not quite the whole.
    assert!(*targets.last().expect("the first") > 900 << 10, "{targets:?}");
}

#[test]
fn streams_that_nobody_reads_do_not_grow() {
    let mut peer = Peer::server();
    let mut held = 0;
    for id in (1..200).step_by(2) {
        peer.request(id);
        for _ in 0..4 {
            peer.ok(&data(id, &vec![0; 16 << 10], false));
            held += 16 << 10;
        }
    }
    assert_eq!(held, 100 * (64 << 10));
    let sent = peer.sent();
    assert!(sent.iter().all(|frame| frame.id == 0), "only the connection's window is opened");
    assert!(sent.iter().all(|frame| frame.kind != kind::PING), "and nothing is probed");
}
