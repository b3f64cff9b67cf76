//! Flow control (RFC 9113 6.9) of what we receive: the connection's window, and how far streams' windows grow.

use std::time::{Duration, Instant};

use super::settings::WINDOW_BYTES_INITIAL;

/// The payload of the PING that measures a round trip.
pub(super) const PROBE_PING: [u8; 8] = *b"rw-probe";

/// The connection's receive window. Refilled on receipt, so that a stream that nobody reads holds up no other.
#[derive(Debug)]
pub(super) struct ConnectionWindow {
    /// What the peer may still send.
    available: u32,
    /// What it may have in flight at most.
    target: u32,
}

impl ConnectionWindow {
    /// A connection starts with the window of the RFC; the first refill makes it `target`.
    pub(super) fn new(target: u32) -> ConnectionWindow {
        ConnectionWindow { available: WINDOW_BYTES_INITIAL, target }
    }

    /// Takes the payload of a DATA frame, padding and all; false: more than the window has.
    #[inline]
    pub(super) fn take(&mut self, bytes: u32) -> bool {
        match self.available.checked_sub(bytes) {
            Some(available) => {
                self.available = available;
                true
            }
            None => false,
        }
    }

    /// The increment to send, once half of the window is used.
    #[inline]
    pub(super) fn refill(&mut self) -> Option<u32> {
        let increment = self.target.saturating_sub(self.available);
        if increment == 0 || self.available > self.target / 2 {
            return None;
        }
        self.available = self.target;
        Some(increment)
    }

    /// The first increment, beyond what every connection starts with.
    pub(super) fn open(&mut self) -> Option<u32> {
        let increment = self.target.saturating_sub(self.available);
        self.available = self.available.max(self.target);
        (increment > 0).then_some(increment)
    }

    pub(super) fn grow(&mut self, target: u32) {
        self.target = self.target.max(target);
    }
}

/// Finds the bandwidth-delay product, and with it the window that streams should have.
///
/// The method is gRPC's (<https://grpc.io/blog/grpc-go-perf-improvements/>): a PING next to DATA, and the bytes that
/// arrive until its answer are what one round trip carries. Where that is most of the window, the window is what
/// limits the sender, and it doubles. Probes are sent only while a reader keeps up with a sender, and at longer and
/// longer intervals where they find nothing, as peers count PINGs too.
#[derive(Debug)]
pub(super) struct Adaptive {
    /// The window that a stream should have.
    target: u32,
    target_max: u32,
    /// What streams may have beyond the initial window, all together: the bound of what growth can make us hold.
    budget: u32,
    /// Bytes since the probe was sent; none: no probe is under way.
    probe_bytes: Option<u64>,
    next_probe: Instant,
    interval: Duration,
}

const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(100);
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(10);

impl Adaptive {
    pub(super) fn new(stream_window: u32, stream_window_max: u32, budget: u32, now: Instant) -> Adaptive {
        Adaptive {
            target: stream_window,
            target_max: stream_window_max,
            budget,
            probe_bytes: None,
            next_probe: now,
            interval: PROBE_INTERVAL_MIN,
        }
    }

    /// DATA has arrived.
    #[inline]
    pub(super) fn received(&mut self, bytes: u32) {
        if let Some(probe_bytes) = &mut self.probe_bytes {
            *probe_bytes += u64::from(bytes);
        }
    }

    /// A reader has kept up with half a window: whether it is time for a probe, which is then under way.
    pub(super) fn wants_probe(&mut self, now: Instant) -> bool {
        if self.target >= self.target_max || self.probe_bytes.is_some() || now < self.next_probe {
            return false;
        }
        self.probe_bytes = Some(0);
        true
    }

    /// The probe has come back. Returns the new target where it has grown.
    pub(super) fn probed(&mut self, now: Instant) -> Option<u32> {
        let bytes = self.probe_bytes.take()?;
        if bytes < u64::from(self.target) * 2 / 3 {
            self.next_probe = now + self.interval;
            self.interval = (self.interval * 2).min(PROBE_INTERVAL_MAX);
            return None;
        }
        let doubled = bytes.saturating_mul(2).min(u64::from(self.target_max)) as u32;
        self.target = self.target.max(doubled);
        self.next_probe = now;
        self.interval = PROBE_INTERVAL_MIN;
        Some(self.target)
    }

    /// What a stream with this window may add to it; taken from the budget.
    pub(super) fn borrow(&mut self, window: u32) -> u32 {
        let growth = self.target.saturating_sub(window).min(self.budget);
        self.budget -= growth;
        growth
    }

    /// The stream that borrowed is gone.
    #[inline]
    pub(super) fn give_back(&mut self, growth: u32) {
        self.budget = self.budget.saturating_add(growth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "some instant: only differences matter")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_connection_window_is_refilled_from_its_half() {
        let mut window = ConnectionWindow::new(100_000);
        assert_eq!(window.open(), Some(100_000 - WINDOW_BYTES_INITIAL));
        assert!(window.take(49_999));
        assert_eq!(window.refill(), None);
        assert!(window.take(1));
        assert_eq!(window.refill(), Some(50_000));
        assert!(window.take(100_000));
        assert!(!window.take(1), "the window is used up");
        assert_eq!(window.refill(), Some(100_000));
    }

    #[test]
    fn a_window_that_limits_the_sender_doubles_up_to_its_maximum() {
        let now = start();
        let mut adaptive = Adaptive::new(64 << 10, 1 << 20, 1 << 20, now);
        let mut targets = Vec::new();
        while adaptive.wants_probe(now) {
            adaptive.received(adaptive.target);
            targets.push(adaptive.probed(now).expect("a whole window in one round trip"));
        }
        assert_eq!(targets, [128 << 10, 256 << 10, 512 << 10, 1 << 20]);
    }

    #[test]
    fn a_window_that_does_not_limit_is_probed_ever_more_rarely() {
        let mut now = start();
        let mut adaptive = Adaptive::new(64 << 10, 1 << 20, 1 << 20, now);
        let mut probes = 0;
        for _ in 0..60_000 {
            if adaptive.wants_probe(now) {
                adaptive.received(1000);
                assert_eq!(adaptive.probed(now), None);
                probes += 1;
            }
            now += Duration::from_millis(1);
        }
        assert!((8..=14).contains(&probes), "{probes} probes in a minute");
    }

    #[test]
    fn growth_of_all_streams_together_stays_within_the_budget() {
        let now = start();
        let mut adaptive = Adaptive::new(64 << 10, 1 << 20, 1 << 20, now);
        adaptive.target = 1 << 20;
        let grown: u32 = (0..100).map(|_| adaptive.borrow(64 << 10)).sum();
        assert_eq!(grown, 1 << 20);
        adaptive.give_back(1000);
        assert_eq!(adaptive.borrow(64 << 10), 1000);
    }
}
