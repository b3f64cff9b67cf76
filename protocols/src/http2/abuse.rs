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
    /// RST_STREAM received (CVE-2023-44487, rapid reset).
    pub resets: u32,
    /// RST_STREAM that the peer made us send by breaking a rule (CVE-2025-8671, MadeYouReset).
    pub own_resets: u32,
    /// CONTINUATION frames in one header block, whatever the time (CVE-2024-27316 and its family).
    pub continuations: u32,
    /// DATA, HEADERS and CONTINUATION without content and without an end (CVE-2019-9518, CVE-2019-9516).
    pub empty_frames: u32,
    /// SETTINGS, PING and GOAWAY (CVE-2019-9512, CVE-2019-9515).
    pub control_frames: u32,
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    pub priorities: u32,
    /// WINDOW_UPDATE; four more for each DATA frame that was sent (CVE-2019-9511).
    pub window_updates: u32,
    /// Requests that were refused: too many at once, too large a head, or after GOAWAY.
    pub refused_streams: u32,
    /// Frames of types that nobody knows (RFC 9113 5.5).
    pub unknown_frames: u32,
    /// Frames for streams that have ended (CVE-2023-35945 and what is like it).
    pub closed_frames: u32,
}

impl Default for AbuseLimits {
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
