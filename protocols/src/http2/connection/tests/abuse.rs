//! Attacks, each cut within its bound: CVE numbers as in the documentation of the threats.

use super::*;
use crate::http2::{Abuse, setting};

/// Feeds `make(n)` until the connection ends: how many were taken, and what for it ended.
#[track_caller]
fn flood(peer: &mut Peer, mut make: impl FnMut(&mut Peer, u32) -> Vec<u8>) -> (u32, Abuse) {
    for n in 0..100_000 {
        let input = make(peer, n);
        // The peer reads what it is sent: an attack on the queue is another one.
        peer.machine.output().clear();
        if let Err(error) = peer.feed(&input) {
            assert_eq!(error.code, ErrorCode::EnhanceYourCalm, "{error}");
            return (n, error.abuse.expect("the limit"));
        }
    }
    panic!("100,000 went through");
}

fn id(n: u32) -> u32 {
    1 + 2 * n
}

/// Releases all streams, as an owner does whose exchanges are cancelled.
fn release_all(peer: &mut Peer) {
    for slot in 0..200 {
        if let Some((key, _)) = peer.machine.streams.at(slot)
            && key.id != 0
        {
            peer.machine.release(key);
        }
    }
}

#[test]
fn rapid_reset() {
    // CVE-2023-44487. However fast the owner is.
    let mut peer = Peer::server();
    let (taken, abuse) = flood(&mut peer, |peer, n| {
        release_all(peer);
        [get(id(n), true), reset(id(n), ErrorCode::Cancel)].concat()
    });
    assert_eq!((taken, abuse), (400, Abuse::Resets));

    // And where the owner is slow, its work stays within the streams that were announced.
    let mut peer = Peer::server();
    let mut requests = 0;
    let mut cut = None;
    for n in 0..1_000 {
        let step = peer.feed(&[get(id(n), true), reset(id(n), ErrorCode::Cancel)].concat());
        match step {
            Ok(events) => {
                requests += events.iter().filter(|event| matches!(event, Event::Request { .. })).count();
            }
            Err(error) => {
                cut = error.abuse;
                break;
            }
        }
        peer.machine.output().clear();
    }
    assert_eq!(requests, 100);
    assert_eq!(cut, Some(Abuse::RefusedStreams));
}

#[test]
fn honest_cancellations_pass() {
    let mut peer = Peer::server();
    for n in 0..5_000 {
        let key = peer.request(id(n));
        peer.ok(&reset(id(n), ErrorCode::Cancel));
        peer.machine.release(key);
        peer.machine.output().clear();
        peer.wait(Duration::from_millis(26));
    }
}

#[test]
fn made_you_reset() {
    // CVE-2025-8671: everything that makes a server reset a stream whose request is under way.
    type Attack = fn(u32) -> Vec<u8>;
    let cases: [(&str, Attack); 6] = [
        ("WINDOW_UPDATE of nothing", |id| window_update(id, 0)),
        ("WINDOW_UPDATE above the maximum", |id| window_update(id, (1 << 31) - 1)),
        ("PRIORITY on itself", |id| frame(kind::PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[1]].concat())),
        ("PRIORITY of the wrong length", |id| frame(kind::PRIORITY, 0, id, &[0; 4])),
        ("HEADERS behind the end", |id| trailers(id, true)),
        ("DATA behind the end", |id| data(id, b"x", true)),
    ];
    for (name, attack) in cases {
        let mut peer = Peer::server();
        let (taken, abuse) = flood(&mut peer, |peer, n| {
            release_all(peer);
            [get(id(n), true), attack(id(n))].concat()
        });
        assert_eq!((taken, abuse), (100, Abuse::OwnResets), "{name}");
    }
}

#[test]
fn malformed_requests() {
    let mut peer = Peer::server();
    let (taken, abuse) = flood(&mut peer, |_, n| headers(id(n), &block(&GET[..2]), true));
    assert_eq!((taken, abuse), (100, Abuse::OwnResets));
}

#[test]
fn continuation_floods() {
    // CVE-2024-27316 and its family, without payload and with it.
    let begin = |peer: &mut Peer| {
        peer.ok(&frame(kind::HEADERS, 0, 1, &block(&GET)));
    };
    let mut peer = Peer::server();
    begin(&mut peer);
    let (taken, abuse) = flood(&mut peer, |_, _| frame(kind::CONTINUATION, 0, 1, &[]));
    assert_eq!((taken, abuse), (16, Abuse::Continuations));

    let mut peer = Peer::server();
    begin(&mut peer);
    let (taken, abuse) = flood(&mut peer, |_, _| frame(kind::CONTINUATION, 0, 1, b"\0\x01a\x01b"));
    assert_eq!((taken, abuse), (16, Abuse::Continuations));

    let mut peer = Peer::server();
    begin(&mut peer);
    let payload = vec![0x82; 16 << 10];
    let (taken, abuse) = flood(&mut peer, |_, _| frame(kind::CONTINUATION, 0, 1, &payload));
    assert_eq!(abuse, Abuse::HeaderBytes);
    assert!((taken as usize) * payload.len() <= 48 << 10, "{taken} frames of 16 KiB");
    assert!(peer.machine.block_bytes.capacity() <= 128 << 10);
}

#[test]
fn blocks_of_references_stay_within_the_limits_of_heads() {
    // "HTTP/2 bomb": one-byte references to a long entry, 16,000 of them in one frame.
    let mut peer = Peer::server();
    let mut attack = block(&GET);
    attack.extend_from_slice(b"\x40\x01a\x7f\x80\x1e");
    attack.extend_from_slice(&[b'x'; 127 + 30 * 128]);
    attack.resize(16 << 10, 0x80 | 62);
    let events = peer.ok(&headers(1, &attack, true));
    assert!(matches!(events.as_slice(), [Event::RefusedHead { .. }]), "{events:?}");
    assert!(peer.machine.bytes.capacity() <= 128 << 10);
    // Each is answered, but not for ever.
    let mut again = block(&GET);
    again.resize(16 << 10, 0x80 | 62);
    let (taken, abuse) = flood(&mut peer, |peer, n| {
        release_all(peer);
        headers(id(n + 1), &again, true)
    });
    assert_eq!((taken, abuse), (199, Abuse::RefusedStreams));
}

#[test]
fn empty_frames() {
    // CVE-2019-9518, RUSTSEC-2026-0258.
    let mut peer = Peer::server();
    peer.request(1);
    let (taken, abuse) = flood(&mut peer, |_, _| data(1, b"", false));
    assert_eq!((taken, abuse), (100, Abuse::EmptyFrames));

    // Padding only is as empty.
    let mut peer = Peer::server();
    peer.request(1);
    let (taken, abuse) = flood(&mut peer, |_, _| frame(kind::DATA, flag::PADDED, 1, &[3, 0, 0, 0]));
    assert_eq!((taken, abuse), (100, Abuse::EmptyFrames));

    let mut peer = Peer::server();
    let (taken, abuse) = flood(&mut peer, |peer, n| {
        release_all(peer);
        let end = frame(kind::CONTINUATION, flag::END_HEADERS, id(n), &block(&GET));
        [frame(kind::HEADERS, 0, id(n), &[]), end].concat()
    });
    assert_eq!((taken, abuse), (100, Abuse::EmptyFrames));
}

#[test]
fn control_floods() {
    // CVE-2019-9512, CVE-2019-9515. The greeting took two of the tokens.
    let frames = [
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(kind::PING, flag::ACK, 0, &[0; 8]),
        settings(&[]),
        settings(&[(setting::INITIAL_WINDOW_SIZE, 1), (setting::INITIAL_WINDOW_SIZE, 2)]),
        goaway(0, ErrorCode::NoError),
    ];
    for attack in frames {
        let mut peer = Peer::server();
        let (taken, abuse) = flood(&mut peer, |_, _| attack.clone());
        assert_eq!((taken, abuse), (198, Abuse::ControlFrames), "{attack:?}");
    }
    // A frame of many settings counts as many.
    let mut peer = Peer::server();
    let many = settings(&vec![(0x99, 0); 2_000]);
    let (taken, abuse) = flood(&mut peer, |_, _| many.clone());
    assert_eq!((taken, abuse), (3, Abuse::ControlFrames));
}

#[test]
fn pings_that_answer_data_are_no_flood() {
    // A client of gRPC-Go that downloads: a PING for each frame that arrives.
    let mut peer = Peer::server();
    let key = peer.request(1);
    peer.respond(key, false);
    peer.ok(&[window_update(0, 1 << 30), window_update(1, 1 << 30)].concat());
    for _ in 0..20_000 {
        peer.machine.send_data_header(key, 100, false).expect("within the capacity");
        peer.ok(&frame(kind::PING, 0, 0, &[2, 4, 16, 16, 9, 14, 7, 7]));
        peer.machine.output().clear();
    }
}

#[test]
fn content_that_was_under_way_is_no_flood() {
    // Many small messages of streams that a deadline ends: each within the window that its stream had.
    let mut peer = Peer::server();
    for n in 0..100 {
        let key = peer.request(id(n));
        peer.machine.reset(key, ErrorCode::Cancel);
        if n % 2 == 0 {
            peer.machine.release(key);
        }
        for _ in 0..500 {
            assert_eq!(peer.ok(&data(id(n), &[0; 100], false)), []);
        }
        peer.machine.output().clear();
    }
    // Nothing, again and again, is one.
    let (taken, abuse) = flood(&mut peer, |_, _| data(id(99), b"", false));
    assert_eq!((taken, abuse), (2000, Abuse::ClosedFrames));
}

#[test]
fn a_window_update_with_each_request_is_no_flood() {
    let mut peer = Peer::server();
    for n in 0..10_000 {
        let Some(Event::Request { key, .. }) = peer.ok(&get(id(n), true)).pop() else { panic!("a request") };
        peer.ok(&window_update(id(n), 1 << 20));
        peer.respond(key, true);
        peer.machine.release(key);
        peer.machine.output().clear();
    }
}

#[test]
fn priority_and_unknown_frames() {
    // CVE-2019-9513.
    let cases = [
        (frame(kind::PRIORITY, 0, 9, &[0, 0, 0, 0, 1]), 1000, Abuse::Priorities),
        (frame(kind::PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 1]), 1000, Abuse::Priorities),
        (frame(0xbe, 0, 9, b"?"), 1000, Abuse::UnknownFrames),
    ];
    for (attack, limit, abuse) in cases {
        let mut peer = Peer::server();
        assert_eq!(flood(&mut peer, |_, _| attack.clone()), (limit, abuse));
    }
}

#[test]
fn window_updates() {
    let mut peer = Peer::server();
    assert_eq!(flood(&mut peer, |_, _| window_update(0, 1)), (2000, Abuse::WindowUpdates));

    // DATA that we send is a reason to send them: a large download never meets the limit.
    let mut peer = Peer::server();
    let key = peer.request(1);
    peer.respond(key, false);
    for _ in 0..50_000 {
        let capacity = peer.machine.send_capacity(key).min(1_000);
        peer.machine.send_data_header(key, capacity, false).expect("within the capacity");
        peer.machine.output().clear();
        peer.ok(&[window_update(0, capacity as u32), window_update(1, capacity as u32)].concat());
    }
}

#[test]
fn refused_requests() {
    let mut one = config();
    one.streams_max = 1;
    let mut peer = Peer::server_with(&one);
    peer.request(1);
    let (taken, abuse) = flood(&mut peer, |_, n| get(id(n + 1), true));
    assert_eq!((taken, abuse), (200, Abuse::RefusedStreams));

    let mut peer = Peer::server();
    peer.machine.goaway(ErrorCode::NoError);
    let (taken, abuse) = flood(&mut peer, |_, n| get(id(n), true));
    assert_eq!((taken, abuse), (200, Abuse::RefusedStreams));
}

#[test]
fn frames_for_streams_that_were_reset() {
    // What was under way is ignored, and what goes on is not.
    for released in [false, true] {
        let mut peer = Peer::server();
        let key = peer.request(1);
        peer.machine.reset(key, ErrorCode::Cancel);
        if released {
            peer.machine.release(key);
        }
        let (taken, abuse) = flood(&mut peer, |_, _| trailers(1, true));
        assert_eq!((taken, abuse), (2000, Abuse::ClosedFrames));
    }
}

#[test]
fn a_peer_that_does_not_read_its_answers() {
    // CVE-2019-9517: at a rate that no other limit minds.
    let mut peer = Peer::server();
    let mut queued = 0;
    let error = loop {
        peer.wait(Duration::from_millis(100));
        match peer.feed(&frame(kind::PING, 0, 0, &[0; 8])) {
            Ok(_) => queued = peer.machine.output().len(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.abuse, Some(Abuse::QueuedControl));
    assert!(queued <= 64 << 10 && queued > 60 << 10, "{queued}");
    // One that reads goes on for ever, whatever else is in the output, and whether all of it is taken or a part.
    for (response, left) in [(false, 0), (true, 0), (true, 5), (false, 5)] {
        let mut peer = Peer::server();
        let key = peer.request(1);
        peer.respond(key, false);
        for _ in 0..20_000 {
            peer.wait(Duration::from_millis(100));
            if response {
                peer.machine.send_data_header(key, 1, false).expect("within the capacity");
                peer.machine.output().push(b'x');
            }
            peer.ok(&[frame(kind::PING, 0, 0, &[0; 8]), window_update(0, 1), window_update(1, 1)].concat());
            let taken = peer.machine.output().len() - left;
            peer.machine.output().drain(..taken);
        }
    }
}

#[test]
fn an_origin_that_refuses_or_answers_too_late_is_no_attacker() {
    let servers = ConnectionConfig { abuse: AbuseLimits::of_servers(), ..config() };
    let mut peer = Peer::client_with(&servers);
    for n in 0..5_000 {
        let key = peer.send_get(true);
        if n % 2 == 0 {
            peer.ok(&reset(key.id(), ErrorCode::RefusedStream));
        } else {
            peer.machine.reset(key, ErrorCode::Cancel);
        }
        peer.machine.release(key);
        if n % 2 == 1 {
            peer.ok(&[response(key.id(), "200", false), data(key.id(), b"late", true)].concat());
        }
        peer.machine.output().clear();
    }
    // Floods that nobody asked for are cut for servers, too.
    for attack in [reset(1, ErrorCode::Cancel), response(3, "200", false)] {
        let mut peer = Peer::client_with(&servers);
        for _ in 0..2 {
            let key = peer.send_get(true);
            peer.machine.reset(key, ErrorCode::Cancel);
        }
        assert_eq!(flood(&mut peer, |_, _| attack.clone()).0, 2000);
    }
    assert_eq!(flood(&mut peer, |_, _| frame(kind::PING, 0, 0, &[0; 8])).1, Abuse::ControlFrames);
    let mut peer = Peer::client_with(&servers);
    let key = peer.send_get(true);
    peer.ok(&frame(kind::HEADERS, 0, key.id(), &block(&[(":status", "200")])));
    let (taken, abuse) = flood(&mut peer, |_, _| frame(kind::CONTINUATION, 0, 1, &[]));
    assert_eq!((taken, abuse), (16, Abuse::Continuations));
}

#[test]
fn limits_can_be_switched_off() {
    let mut off = config();
    off.abuse = AbuseLimits { resets: 0, control_frames: 0, priorities: 0, ..AbuseLimits::default() };
    let mut peer = Peer::server_with(&off);
    for n in 0..3_000 {
        peer.ok(
            &[get(id(n), true), reset(id(n), ErrorCode::Cancel), frame(kind::PING, 0, 0, &[0; 8])].concat()
        );
        release_all(&mut peer);
        peer.machine.output().clear();
    }
}

#[test]
fn memory_of_a_connection_is_bounded_and_given_back() {
    // CVE-2023-35945 is bookkeeping that stays: 20,000 streams that end in every way there is.
    let mut off = config();
    off.abuse = AbuseLimits { resets: 0, own_resets: 0, window_updates: 0, empty_frames: 0, ..off.abuse };
    let mut peer = Peer::server_with(&off);
    for n in 0..20_000 {
        let key = peer.request(id(n));
        match n % 4 {
            0 => drop(peer.ok(&reset(id(n), ErrorCode::Cancel))),
            1 => peer.machine.reset(key, ErrorCode::Cancel),
            2 => drop(peer.ok(&window_update(id(n), 0))),
            _ => {
                peer.respond(key, true);
                peer.ok(&data(id(n), b"", true));
            }
        }
        peer.machine.release(key);
        peer.machine.output().clear();
    }
    assert_eq!(peer.machine.streams_open(), 0);
    assert_eq!(peer.machine.streams.live(), 0);
    assert!(peer.machine.streams.at(1).is_none(), "one place was enough");
    peer.machine.release_memory();
    assert!(peer.machine.output.capacity() <= BUFFER_BYTES_KEPT);
    // What the documentation of the module says.
    assert!(size_of::<crate::http2::stream::Stream>() <= 40);
    assert!(size_of::<Connection>() <= 2048, "{}", size_of::<Connection>());
}
