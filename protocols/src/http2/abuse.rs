//! What a peer may cost: frames that are legal one by one and an attack in numbers (RFC 9113 10.5).
//!
//! Every limit is a rate per ten seconds, kept as a token bucket that holds ten seconds' worth. The bucket is the
//! generic cell rate algorithm (ITU-T I.371): one number, the time at which it would be full again.

use super::error::ConnectionError;

/// Seconds that the limits count over.
pub const ABUSE_PERIOD_S: u64 = 10;

const PERIOD_NS: u64 = ABUSE_PERIOD_S * 1_000_000_000;

/// How often in ten seconds a peer may do what costs it little and us much. 0 switches a limit off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbuseLimits {
    /// RST_STREAM received (CVE-2023-44487, rapid reset); one more for each request that was sent.
    pub resets: u32,
    /// RST_STREAM that the peer made us send by breaking a rule (CVE-2025-8671, MadeYouReset).
    pub own_resets: u32,
    /// CONTINUATION frames in one header block, whatever the time (CVE-2024-27316 and its family).
    pub continuations: u32,
    /// DATA, HEADERS and CONTINUATION without content and without an end (CVE-2019-9518, CVE-2019-9516).
    pub empty_frames: u32,
    /// SETTINGS, PING and GOAWAY; one more for each DATA frame that was sent, as gRPC clients answer DATA with PING to
    /// measure round trips (CVE-2019-9512, CVE-2019-9515).
    pub control_frames: u32,
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    pub priorities: u32,
    /// WINDOW_UPDATE; four more for each DATA frame that was sent, and one for each head (CVE-2019-9511).
    pub window_updates: u32,
    /// Requests that were refused: too many at once, too large a head, or after GOAWAY.
    pub refused_streams: u32,
    /// Frames of types that nobody knows (RFC 9113 5.5).
    pub unknown_frames: u32,
    /// Frames for streams that have ended, but for content within the window that they had; four more for each stream
    /// that we reset (CVE-2023-35945 and what is like it).
    pub closed_frames: u32,
}

impl Default for AbuseLimits {
    /// Limits for clients.
    fn default() -> AbuseLimits {
        AbuseLimits {
            resets: 400,
            own_resets: 100,
            continuations: 16,
            empty_frames: 100,
            control_frames: 200,
            priorities: 1000,
            window_updates: 2000,
            refused_streams: 200,
            unknown_frames: 1000,
            closed_frames: 2000,
        }
    }
}

impl AbuseLimits {
    /// Limits for the server at the other end of a connection of ours. What it sends it mostly sends because we asked:
    /// an origin that refuses every request, or answers the ones that were given up, is within its rights. Each request
    /// and each reset of ours is a reason for one more.
    pub const fn of_servers() -> AbuseLimits {
        AbuseLimits {
            resets: 2000,
            own_resets: 1000,
            continuations: 16,
            empty_frames: 10_000,
            control_frames: 2000,
            priorities: 1000,
            window_updates: 20_000,
            refused_streams: 200,
            unknown_frames: 1000,
            closed_frames: 2000,
        }
    }
}

/// The limit that a peer went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abuse {
    Resets,
    OwnResets,
    Continuations,
    /// The bytes of one header block.
    HeaderBytes,
    EmptyFrames,
    ControlFrames,
    Priorities,
    WindowUpdates,
    /// Answers that wait because the peer does not read (`queued_control_bytes_max`; CVE-2019-9517).
    QueuedControl,
    RefusedStreams,
    UnknownFrames,
    ClosedFrames,
}

impl Abuse {
    /// What is over the limit, for logs.
    pub const fn rule(self) -> &'static str {
        match self {
            Abuse::Resets => "too many RST_STREAM",
            Abuse::OwnResets => "too many streams that had to be reset",
            Abuse::Continuations => "too many CONTINUATION in one header block",
            Abuse::HeaderBytes => "a header block that is too large",
            Abuse::EmptyFrames => "too many empty frames",
            Abuse::ControlFrames => "too many SETTINGS, PING or GOAWAY",
            Abuse::Priorities => "too many PRIORITY",
            Abuse::WindowUpdates => "too many WINDOW_UPDATE",
            Abuse::QueuedControl => "too many unread answers",
            Abuse::RefusedStreams => "too many refused requests",
            Abuse::UnknownFrames => "too many frames of unknown types",
            Abuse::ClosedFrames => "too many frames for streams that have ended",
        }
    }
}

/// The buckets of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) resets: Bucket,
    pub(super) own_resets: Bucket,
    pub(super) empty_frames: Bucket,
    pub(super) control_frames: Bucket,
    pub(super) priorities: Bucket,
    pub(super) window_updates: Bucket,
    pub(super) refused_streams: Bucket,
    pub(super) unknown_frames: Bucket,
    pub(super) closed_frames: Bucket,
}

impl Meter {
    pub(super) fn new(limits: &AbuseLimits) -> Meter {
        let bucket = |limit, abuse| Bucket::new(limit, abuse);
        Meter {
            resets: bucket(limits.resets, Abuse::Resets),
            own_resets: bucket(limits.own_resets, Abuse::OwnResets),
            empty_frames: bucket(limits.empty_frames, Abuse::EmptyFrames),
            control_frames: bucket(limits.control_frames, Abuse::ControlFrames),
            priorities: bucket(limits.priorities, Abuse::Priorities),
            window_updates: bucket(limits.window_updates, Abuse::WindowUpdates),
            refused_streams: bucket(limits.refused_streams, Abuse::RefusedStreams),
            unknown_frames: bucket(limits.unknown_frames, Abuse::UnknownFrames),
            closed_frames: bucket(limits.closed_frames, Abuse::ClosedFrames),
        }
    }
}

/// One limit. Times are nanoseconds since the connection began.
#[derive(Debug)]
pub(super) struct Bucket {
    /// What one event adds to `full_at_ns`; 0: no limit.
    cost_ns: u64,
    /// When the bucket is full again. An event is refused where this would be more than a period away.
    full_at_ns: u64,
    abuse: Abuse,
}

impl Bucket {
    fn new(limit: u32, abuse: Abuse) -> Bucket {
        Bucket { cost_ns: PERIOD_NS.checked_div(u64::from(limit)).unwrap_or(0), full_at_ns: 0, abuse }
    }

    /// Counts `count` events.
    #[inline]
    pub(super) fn take(&mut self, count: u32, now_ns: u64) -> Result<(), ConnectionError> {
        let full_at_ns =
            self.full_at_ns.max(now_ns).saturating_add(self.cost_ns.saturating_mul(u64::from(count)));
        if full_at_ns > now_ns.saturating_add(PERIOD_NS) {
            return Err(ConnectionError::abuse(self.abuse));
        }
        self.full_at_ns = full_at_ns;
        Ok(())
    }

    /// Gives back `count` events; a full bucket does not overflow.
    #[inline]
    pub(super) fn give_back(&mut self, count: u32) {
        self.full_at_ns = self.full_at_ns.saturating_sub(self.cost_ns.saturating_mul(u64::from(count)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(limit: u32) -> Bucket {
        Bucket::new(limit, Abuse::Resets)
    }

    fn taken(bucket: &mut Bucket, tries: u32, now_ns: u64) -> u32 {
        (0..tries).take_while(|_| bucket.take(1, now_ns).is_ok()).count() as u32
    }

    #[test]
    fn holds_exactly_the_limit_at_once() {
        for limit in [1, 2, 3, 7, 16, 100, 400, 1000, 2000] {
            assert_eq!(taken(&mut bucket(limit), 10_000, 5), limit, "limit {limit}");
        }
    }

    #[test]
    fn refills_over_ten_seconds() {
        let mut bucket = bucket(100);
        assert_eq!(taken(&mut bucket, 1000, 0), 100);
        assert_eq!(taken(&mut bucket, 1000, PERIOD_NS / 2), 50);
        assert_eq!(taken(&mut bucket, 1000, PERIOD_NS / 2), 0);
        // However long it rested, it holds no more than its limit.
        assert_eq!(taken(&mut bucket, 1000, PERIOD_NS * 100), 100);
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(taken(&mut bucket(0), 100_000, 0), 100_000);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let mut bucket = bucket(10);
        assert_eq!(taken(&mut bucket, 5, 0), 5);
        bucket.give_back(1000);
        assert_eq!(taken(&mut bucket, 1000, 0), 10);
        bucket.give_back(3);
        assert_eq!(taken(&mut bucket, 1000, 0), 3);
    }

    #[test]
    fn a_clock_that_stands_still_or_ends_is_survived() {
        let mut bucket = bucket(1);
        assert!(bucket.take(1, u64::MAX).is_ok());
        assert!(bucket.take(u32::MAX, u64::MAX).is_ok(), "saturated, not wrapped");
    }
}
