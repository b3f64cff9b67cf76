//! What is going to happen in the simulated kernel, in the order of virtual time.

use std::cmp::Reverse;
use std::time::Duration;

use super::kernel::Kernel;
use super::socket::Id;
use crate::io::uring::is_accept;

/// Turns of the loop at one moment of virtual time after which the loop is taken to spin.
const TURNS_MAX: u32 = 100_000;
/// Events that one turn handles without waiting.
const EVENTS_OF_TURN: u64 = 32;

/// Bytes of a segment that a trace shows.
const SHOWN_BYTES: usize = 60;

pub(super) const MICROSECOND: u64 = 1_000;
pub(super) const MILLISECOND: u64 = 1_000_000;

/// A completion as the driver sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::io) struct Cqe {
    pub(in crate::io) user_data: u64,
    pub(in crate::io) result: i32,
    pub(in crate::io) flags: u32,
}

#[derive(Debug)]
pub(super) enum Event {
    /// A completion becomes visible.
    Visible(Cqe),
    /// A cancellation reaches its operation.
    Cancel {
        id: Id,
        serial: u64,
    },
    /// Bytes arrive.
    Deliver {
        from: Id,
        to: Id,
        bytes: Bytes,
    },
    Fin {
        to: Id,
    },
    Reset {
        to: Id,
    },
    /// A connect is answered, if anybody listens.
    Connect {
        id: Id,
        serial: u64,
        refused: bool,
    },
}

/// Bytes on the wire, shown by their first ones.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES)];
        write!(f, "{} \"{}\"", self.0.len(), shown.escape_ascii())
    }
}

pub(super) struct Scheduled {
    at: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

impl Kernel {
    pub(super) fn schedule(&mut self, at: u64, event: Event) {
        let serial = self.next_serial();
        self.events.push(Reverse(Scheduled { at, serial, event }));
    }

    /// Posts a completion, at once or late.
    pub(super) fn complete(&mut self, user_data: u64, result: i32, flags: u32) {
        let late = if self.fault(self.config.faults.late_completions) {
            let max = *self.rng.pick(&[20 * MICROSECOND, MILLISECOND, 20 * MILLISECOND]);
            self.rng.below(max)
        } else {
            0
        };
        let last = self.visible_at.get(&user_data).copied().unwrap_or(0);
        let at = (self.now + late).max(last);
        self.visible_at.insert(user_data, at);
        self.completions += 1;
        self.schedule(at, Event::Visible(Cqe { user_data, result, flags }));
    }

    /// Lets things happen until a completion is visible, up to `timeout`.
    pub(in crate::io) fn wait(&mut self, timeout: Option<Duration>) {
        self.find_dropped();
        let start = self.now;
        let deadline = timeout.map(|timeout| start.saturating_add(timeout.as_nanos() as u64));
        if deadline == Some(start) {
            let events = 1 + self.rng.below(EVENTS_OF_TURN);
            for _ in 0..events {
                if !self.run_due() {
                    break;
                }
            }
            self.turns += 1;
            assert!(self.turns < TURNS_MAX, "the loop spins: virtual time stands still at {:?}", self.now);
            return;
        }
        loop {
            while self.run_due() {}
            if !self.cq.is_empty() {
                return;
            }
            let next = self.events.peek().map(|event| event.0.at);
            let until = match (next, deadline) {
                (Some(next), Some(deadline)) => next.min(deadline),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) if self.ended => return,
                (None, None) => {
                    self.ended = true;
                    panic!("nothing can happen any more: somebody waits for ever");
                }
            };
            self.turns = 0;
            self.now = self.now.max(until);
            if deadline == Some(self.now) {
                while self.run_due() {}
                return;
            }
        }
    }

    /// Handles one event whose time has come.
    fn run_due(&mut self) -> bool {
        if self.events.peek().is_none_or(|event| event.0.at > self.now) {
            return false;
        }
        let Some(Reverse(scheduled)) = self.events.pop() else { return false };
        if self.config.verbose {
            eprintln!("{:>12?} {:?}", Duration::from_nanos(self.now), scheduled.event);
        }
        match scheduled.event {
            Event::Visible(cqe) => {
                self.trace = digest(self.trace, &[self.now, cqe.user_data, self.traced(&cqe)]);
                self.cq.push_back(cqe);
            }
            Event::Cancel { id, serial } => self.cancel_now(id, serial),
            Event::Deliver { from, to, bytes } => self.deliver(from, to, bytes),
            Event::Fin { to } => {
                if let Some(socket) = self.sockets.get_mut(&to) {
                    socket.fin = true;
                    self.advance(to);
                }
            }
            Event::Reset { to } => self.reset(to, libc::ECONNRESET),
            Event::Connect { id, serial, refused } => self.connected(id, serial, refused),
        }
        true
    }

    /// The result without what differs from run to run: the numbers of accepted descriptors.
    fn traced(&self, cqe: &Cqe) -> u64 {
        // Only of an accept: elsewhere a count of bytes may happen to be the number of a descriptor.
        let descriptor = is_accept(cqe.user_data) && self.fds.contains_key(&cqe.result);
        if descriptor { 0 } else { cqe.result as u64 }
    }
}

fn digest(before: u64, words: &[u64]) -> u64 {
    words.iter().fold(before, |sum, word| (sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95))
}
