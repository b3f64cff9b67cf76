//! The streams of one connection: a dense table, a small index from identifier to place, and a short memory of the
//! ones that are gone.

use std::collections::VecDeque;

use super::stream::{State, Stream, StreamKey, Transition};

/// Resets that are remembered one by one, so that what was under way can be told from what breaks a rule.
const RESETS_MAX: usize = 64;

/// Places of the smallest index.
const SLOTS_MIN: usize = 8;

const NO_SLOT: u32 = u32::MAX;

/// The streams of one connection that are not released.
#[derive(Debug)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: u32,
    used: u32,
    /// Those that count as concurrent: used, and not ended from both ends.
    live: u32,
    /// Open addressing with linear probing: place + 1 by identifier, 0 where empty. At most half full. A peer that makes
    /// its identifiers collide on purpose gets runs as long as the number of its streams, which is bounded.
    index: Vec<u32>,
    resets: VecDeque<Reset>,
    /// The highest identifier that had to be dropped from `resets`.
    forgotten: u32,
    /// Which of the peer's last 128 identifiers were used: bit n is `last_opened - 2n`.
    opened: u128,
    last_opened: u32,
}

/// A stream that was released after a reset.
#[derive(Debug, Clone, Copy)]
struct Reset {
    id: u32,
    by_peer: bool,
    /// What the peer was allowed to have under way.
    window: i32,
}

/// What is known of a stream that has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Never used, and skipped by the peer: closed (RFC 9113 5.1.1).
    Skipped,
    /// Closed by END_STREAM from both ends.
    Ended,
    ResetByUs,
    ResetByPeer,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams {
            slots: Vec::new(),
            free: NO_SLOT,
            used: 0,
            live: 0,
            index: Vec::new(),
            resets: VecDeque::new(),
            forgotten: 0,
            opened: 0,
            last_opened: 0,
        }
    }

    #[inline]
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    #[inline]
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// The place of a stream, by its identifier.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<StreamKey> {
        let mask = self.index.len().wrapping_sub(1);
        let mut at = home(id) & mask;
        // The index is at most half full, so there is an empty place to stop at.
        loop {
            let slot = self.index.get(at)?.checked_sub(1)?;
            if self.slots.get(slot as usize)?.id == id {
                return Some(StreamKey { slot, id });
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    pub(super) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.slots.get(key.slot as usize).filter(|stream| stream.id == key.id)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots.get_mut(key.slot as usize).filter(|stream| stream.id == key.id)
    }

    /// The stream at a place, whichever it is: for walks over all of them.
    pub(super) fn at(&self, slot: u32) -> Option<(StreamKey, &Stream)> {
        let stream = self.slots.get(slot as usize)?;
        Some((StreamKey { slot, id: stream.id }, stream))
    }

    /// All streams.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().filter(|stream| stream.id != 0)
    }

    /// Changes what the peer may send on each stream, gone ones too: it has our initial window from now on.
    pub(super) fn shift_receive_windows(&mut self, difference: i64) {
        let resets = self.resets.iter_mut().map(|reset| &mut reset.window);
        let streams = self.slots.iter_mut().map(|stream| &mut stream.receive_window);
        for window in streams.chain(resets) {
            // A window lies within 31 bits before and after, but for the -1 of one that was overrun.
            *window =
                (i64::from(*window) + difference).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        }
    }

    /// Adds a stream; its identifier is not in the table yet.
    pub(super) fn insert(&mut self, stream: Stream) -> StreamKey {
        let slot = match self.slots.get_mut(self.free as usize) {
            Some(place) => {
                let slot = std::mem::replace(&mut self.free, place.next_free);
                *place = stream;
                slot
            }
            None => {
                self.slots.push(stream);
                self.slots.len() as u32 - 1
            }
        };
        self.used += 1;
        if !stream.state.is_closed() {
            self.live += 1;
        }
        if self.slots.len() * 2 > self.index.len() {
            self.rebuild_index();
        } else {
            self.link(stream.id, slot);
        }
        StreamKey { slot, id: stream.id }
    }

    /// Moves a stream on, and counts it out where it has ended from both ends.
    #[inline]
    pub(super) fn transition(&mut self, key: StreamKey, transition: Transition) {
        let Some(stream) = self.get_mut(key) else { return };
        let before = stream.state;
        stream.state = before.after(transition);
        if stream.state == State::Ended && before != State::Ended {
            self.live = self.live.saturating_sub(1);
        }
    }

    /// Takes a stream out of the table and remembers how it went.
    pub(super) fn remove(&mut self, key: StreamKey) -> Option<Stream> {
        let free = self.free;
        let place = self.get_mut(key)?;
        let stream = *place;
        place.id = 0;
        place.next_free = free;
        self.free = key.slot;
        self.used = self.used.saturating_sub(1);
        if stream.state != State::Ended {
            self.live = self.live.saturating_sub(1);
        }
        self.unlink(key.id, key.slot);
        match stream.state {
            State::ResetByUs => self.remember_reset(key.id, false, stream.receive_window),
            State::ResetByPeer => self.remember_reset(key.id, true, 0),
            _ => {}
        }
        Some(stream)
    }

    /// Notes that the peer has used an identifier, higher than all before.
    #[inline]
    pub(super) fn note_opened(&mut self, id: u32) {
        let steps = id.saturating_sub(self.last_opened) / 2;
        self.opened = self.opened.checked_shl(steps).unwrap_or(0) | 1;
        self.last_opened = id;
    }

    /// Notes a reset of a stream that has no place.
    pub(super) fn remember_reset(&mut self, id: u32, by_peer: bool, window: i32) {
        if self.resets.len() >= RESETS_MAX
            && let Some(oldest) = self.resets.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.id);
        }
        self.resets.push_back(Reset { id, by_peer, window });
    }

    /// What is known of a stream that is not idle and has no place. A server asks `peer_opened`, a client knows that it
    /// has used every identifier.
    pub(super) fn gone(&self, id: u32, peer_opened: bool) -> Gone {
        if let Some(reset) = self.resets.iter().rev().find(|reset| reset.id == id) {
            return if reset.by_peer { Gone::ResetByPeer } else { Gone::ResetByUs };
        }
        if peer_opened && !self.was_opened(id) {
            return Gone::Skipped;
        }
        // Among those that are not remembered any more, some were reset by us: none of them is held to rules.
        if id <= self.forgotten { Gone::ResetByUs } else { Gone::Ended }
    }

    /// Takes DATA for a stream that we reset from what the peer was allowed; false: it goes on beyond that. None: it is
    /// forgotten what it was.
    pub(super) fn take_reset_window(&mut self, id: u32, bytes: u32) -> Option<bool> {
        let reset = self.resets.iter_mut().rev().find(|reset| reset.id == id)?;
        // Nothing fits into any window, also into one that our settings made negative.
        let fits = i64::from(bytes) <= i64::from(reset.window).max(0);
        reset.window = i64::from(reset.window).saturating_sub(i64::from(bytes)).max(-1) as i32;
        Some(fits)
    }

    /// Gives back memory, if no stream is open.
    pub(super) fn release_memory(&mut self) {
        if self.used == 0 {
            self.slots = Vec::new();
            self.index = Vec::new();
            self.free = NO_SLOT;
        }
    }

    /// Whether the peer has used an identifier; those out of memory count as used.
    fn was_opened(&self, id: u32) -> bool {
        let steps = self.last_opened.saturating_sub(id) / 2;
        steps >= u128::BITS || self.opened >> steps & 1 == 1
    }

    fn rebuild_index(&mut self) {
        let size = (self.slots.len() * 4).next_power_of_two().max(2 * SLOTS_MIN);
        self.index.clear();
        self.index.resize(size, 0);
        for slot in 0..self.slots.len() as u32 {
            if let Some((key, _)) = self.at(slot)
                && key.id != 0
            {
                self.link(key.id, slot);
            }
        }
    }

    fn link(&mut self, id: u32, slot: u32) {
        let mask = self.index.len().wrapping_sub(1);
        let mut at = home(id) & mask;
        while let Some(entry) = self.index.get_mut(at) {
            if *entry == 0 {
                *entry = slot + 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Empties an entry and moves those behind it up, so that a search never meets a gap (Knuth 6.4, algorithm R).
    fn unlink(&mut self, id: u32, slot: u32) {
        let mask = self.index.len().wrapping_sub(1);
        let mut hole = home(id) & mask;
        while let Some(entry) = self.index.get(hole) {
            match *entry {
                0 => return,
                entry if entry == slot + 1 => break,
                _ => hole = (hole + 1) & mask,
            }
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.index.get(at).copied().unwrap_or(0);
            let Some(other) = entry.checked_sub(1).and_then(|slot| self.slots.get(slot as usize)) else {
                break;
            };
            // An entry may move up to the hole unless its home lies behind the hole, cyclically.
            let home = home(other.id) & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                if let Some(place) = self.index.get_mut(hole) {
                    *place = entry;
                }
                hole = at;
            }
        }
        if let Some(place) = self.index.get_mut(hole) {
            *place = 0;
        }
    }
}

/// Where an identifier is looked for first. Identifiers that follow each other must not lie side by side: a removal looks
/// through the whole run that it is in.
#[inline]
fn home(id: u32) -> usize {
    (id >> 1).wrapping_mul(0x9e37_79b1) as usize
}

#[cfg(test)]
mod tests;
