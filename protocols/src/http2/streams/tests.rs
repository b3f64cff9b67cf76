//! The table against a map of the standard library, and what it remembers of streams that are gone.

use std::collections::BTreeMap;

use super::*;
use crate::http2::stream::{Expect, LENGTH_UNKNOWN};
use crate::message::Method;

fn stream(id: u32) -> Stream {
    Stream {
        id,
        next_free: 0,
        send_window: 0,
        receive_window: 1000,
        unannounced: 0,
        grown: 0,
        length_left: LENGTH_UNKNOWN,
        state: State::Open,
        expect: Expect::Body,
        method: Method::Get,
        head_sent: false,
        interims: 0,
    }
}

fn find_all(streams: &Streams, keys: &BTreeMap<u32, StreamKey>) {
    for (id, key) in keys {
        assert_eq!(streams.find(*id), Some(*key));
        assert_eq!(streams.get(*key).map(|stream| stream.id), Some(*id));
    }
    assert_eq!(streams.used() as usize, keys.len());
}

/// Identifiers in these steps: side by side, and all at the same place of any index.
#[test]
fn finds_what_is_in_it_and_nothing_else() {
    for step in [2, 4, 6, 32, 1 << 10, 1 << 16] {
        let mut streams = Streams::new();
        let mut keys = BTreeMap::new();
        let mut random = 0x9e37_79b9_u32 ^ step;
        let mut next = 1;
        for _ in 0..4_000 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let removes = random % 100 < 48;
            if removes && !keys.is_empty() {
                let at = random as usize / 100 % keys.len();
                let id = *keys.keys().nth(at).expect("below the length");
                let key = keys.remove(&id).expect("in the map");
                assert_eq!(streams.remove(key).map(|stream| stream.id), Some(id));
                assert!(streams.remove(key).is_none(), "once");
                assert_eq!(streams.find(id), None);
            } else {
                keys.insert(next, streams.insert(stream(next)));
                next += step;
            }
            if random.is_multiple_of(64) {
                find_all(&streams, &keys);
            }
        }
        find_all(&streams, &keys);
        let places = streams.slots.len();
        assert!(streams.index.len() >= 2 * places, "at most half full");
        for key in keys.values() {
            assert!(streams.remove(*key).is_some());
        }
        assert_eq!((streams.used(), streams.live()), (0, 0));
        assert!(streams.index.iter().all(|entry| *entry == 0), "nothing is left behind");
        streams.release_memory();
        assert_eq!(streams.find(1), None);
        streams.insert(stream(next));
        assert!(streams.find(next).is_some());
    }
}

#[test]
fn an_end_from_both_ends_is_counted_out_once() {
    let mut streams = Streams::new();
    let key = streams.insert(stream(1));
    assert_eq!(streams.live(), 1);
    streams.transition(key, Transition::EndSent);
    assert_eq!(streams.live(), 1);
    streams.transition(key, Transition::EndReceived);
    streams.transition(key, Transition::EndReceived);
    assert_eq!((streams.live(), streams.used()), (0, 1));
    streams.remove(key);
    assert_eq!((streams.live(), streams.used()), (0, 0));
}

#[test]
fn tells_skipped_ended_and_reset_streams_apart() {
    let mut streams = Streams::new();
    for id in [1, 3, 9, 11] {
        streams.note_opened(id);
        let key = streams.insert(stream(id));
        match id {
            3 => streams.transition(key, Transition::ResetSent),
            9 => streams.transition(key, Transition::ResetReceived),
            _ => {
                streams.transition(key, Transition::EndSent);
                streams.transition(key, Transition::EndReceived);
            }
        }
        streams.remove(key);
    }
    let expected = [
        (1, Gone::Ended),
        (3, Gone::ResetByUs),
        (5, Gone::Skipped),
        (7, Gone::Skipped),
        (9, Gone::ResetByPeer),
        (11, Gone::Ended),
    ];
    for (id, gone) in expected {
        assert_eq!(streams.gone(id, true), gone, "stream {id}");
    }
    // A client uses every identifier in turn.
    assert_eq!(streams.gone(5, false), Gone::Ended);
}

#[test]
fn what_is_forgotten_is_held_to_no_rule() {
    let mut streams = Streams::new();
    for id in (1..).step_by(2).take(RESETS_MAX + 10) {
        streams.note_opened(id);
        streams.remember_reset(id, true, 0);
    }
    assert!(streams.resets.len() <= RESETS_MAX);
    assert_eq!(streams.gone(19, true), Gone::ResetByUs, "one of the ten that were dropped");
    assert_eq!(streams.gone(21, true), Gone::ResetByPeer);
    assert_eq!(streams.take_reset_window(19, 1 << 20), None);
}

#[test]
fn identifiers_out_of_memory_count_as_used() {
    let mut streams = Streams::new();
    for id in [1, 1001, (1 << 31) - 1] {
        streams.note_opened(id);
    }
    for (id, gone) in [
        ((1 << 31) - 3, Gone::Skipped),
        ((1 << 31) - 1 - 2 * 127, Gone::Skipped),
        ((1 << 31) - 1 - 2 * 128, Gone::Ended),
        (3, Gone::Ended),
    ] {
        assert_eq!(streams.gone(id, true), gone, "stream {id}");
    }
}

#[test]
fn the_window_of_a_reset_stream_is_used_up() {
    let mut streams = Streams::new();
    streams.remember_reset(1, false, 100);
    assert_eq!(streams.take_reset_window(1, 60), Some(true));
    assert_eq!(streams.take_reset_window(1, 40), Some(true));
    assert_eq!(streams.take_reset_window(1, 0), Some(true));
    assert_eq!(streams.take_reset_window(1, 1), Some(false));
    assert_eq!(streams.take_reset_window(1, u32::MAX), Some(false));
}
