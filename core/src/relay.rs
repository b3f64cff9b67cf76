//! Moving bodies: which bytes belong to a body, and waiting for a slow reader.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ringway_protocols::http1::{BodyDecoder, BodyError, BodyStep, TrailerLimits};

use crate::config::{ClusterConfig, ListenerLimits};
use crate::io::{self as rt, Chunk, SpliceError, Stream, Timer};
use crate::transport::Transport;

/// The longest run of received bytes that can be forwarded as it is.
pub struct Run {
    /// Data with its framing.
    pub bytes: Chunk,
    /// Bytes of data among them.
    pub data_bytes: usize,
}

/// Splits off what of `chunk` belongs to the body, framing included.
pub fn take_run(decoder: &mut BodyDecoder, chunk: &mut Chunk) -> Result<Run, BodyError> {
    let (mut length, mut data_bytes) = (0, 0);
    loop {
        match decoder.next(chunk.get(length..).unwrap_or_default())? {
            BodyStep::Framing(n) | BodyStep::Trailer(n) => length += n,
            BodyStep::Data(n) => {
                length += n;
                data_bytes += n;
            }
            BodyStep::Done | BodyStep::NeedMore => break,
        }
    }
    Ok(Run { bytes: chunk.split_to(length), data_bytes })
}

/// Splits off the next piece of data, and drops the framing before it.
pub fn take_data(decoder: &mut BodyDecoder, chunk: &mut Chunk) -> Result<Option<Chunk>, BodyError> {
    loop {
        match decoder.next(chunk)? {
            BodyStep::Framing(n) | BodyStep::Trailer(n) => chunk.advance(n),
            BodyStep::Data(n) => return Ok(Some(chunk.split_to(n))),
            BodyStep::Done | BodyStep::NeedMore => return Ok(None),
        }
    }
}

/// Trailers are fields like those of the head and share its limits.
pub fn trailer_limits(limits: &ListenerLimits) -> TrailerLimits {
    TrailerLimits { bytes_max: limits.header_bytes_max, fields_max: limits.header_count_max }
}

/// The same for trailers of an origin.
pub fn response_trailer_limits(cluster: &ClusterConfig) -> TrailerLimits {
    TrailerLimits {
        bytes_max: cluster.response_header_bytes_max,
        fields_max: cluster.response_header_count_max,
    }
}

/// How to move a stretch of a body by splice(2).
pub struct SpliceRun<'a> {
    pub from: &'a Stream,
    pub to: &'a Stream,
    pub bytes: u64,
    /// Longest time without progress that is the sender's fault.
    pub from_timeout: Duration,
    /// Longest time without progress that is the reader's fault.
    pub to_timeout: Duration,
    pub deadline: Option<Instant>,
}

/// Why a splice ended before its last byte.
pub enum SpliceStop {
    Failed(SpliceError),
    FromStalled,
    ToStalled,
    Deadline,
}

impl SpliceRun<'_> {
    /// Moves the bytes without taking them into user space. `moved` counts along.
    pub async fn run(&self, timer: &Timer, moved: &Cell<u64>) -> Result<(), SpliceStop> {
        let mut splice = pin!(rt::splice_body(self.from, self.to, self.bytes, moved));
        let interval = self.from_timeout.min(self.to_timeout);
        let mut progress = (moved.get(), self.to.outstanding());
        let mut progressed_at = rt::now();
        loop {
            match watch(timer, interval, self.deadline, |cx| splice.as_mut().poll(cx)).await {
                Watched::Ready(result) => return result.map_err(SpliceStop::Failed),
                Watched::Deadline => return Err(SpliceStop::Deadline),
                Watched::Interval => {}
            }
            let now = rt::now();
            let new = (moved.get(), self.to.outstanding());
            if new.0 > progress.0 || new.1 < progress.1 {
                progressed_at = now;
            }
            progress = new;
            let stalled_for = now - progressed_at;
            // With bytes on their way to the reader it is the reader's turn, else the sender's.
            if new.1 > 0 && stalled_for >= self.to_timeout {
                return Err(SpliceStop::ToStalled);
            }
            if new.1 == 0 && stalled_for >= self.from_timeout {
                return Err(SpliceStop::FromStalled);
            }
        }
    }
}

/// Why there is no room.
pub enum Stalled {
    Closed(io::Error),
    /// The reader took nothing for as long as it was given.
    NoProgress,
    /// The whole exchange ran out of time.
    Deadline,
}

/// Waits until at most `bytes_max` of what was queued on `stream` are left to send.
///
/// A reader that is slow but reads is waited for: at each `timeout` the bytes not yet acknowledged by its kernel
/// are compared with those of the time before.
pub async fn room(
    stream: &Transport,
    timer: &Timer,
    bytes_max: usize,
    timeout: Duration,
    deadline: Option<Instant>,
) -> Result<(), Stalled> {
    if stream.unsent() <= bytes_max {
        return Ok(());
    }
    let mut left = stream.outstanding();
    loop {
        match watch(timer, timeout, deadline, |cx| stream.poll_room(cx, bytes_max)).await {
            Watched::Ready(result) => return result.map_err(Stalled::Closed),
            Watched::Deadline => return Err(Stalled::Deadline),
            Watched::Interval => {
                let now_left = stream.outstanding();
                if now_left >= left {
                    return Err(Stalled::NoProgress);
                }
                left = now_left;
            }
        }
    }
}

/// How one interval of waiting ended.
enum Watched<T> {
    Ready(T),
    /// Time to see whether there was progress.
    Interval,
    Deadline,
}

/// Waits for `poll`, at most one interval and not beyond the deadline.
async fn watch<T>(
    timer: &Timer,
    interval: Duration,
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Watched<T> {
    let at = rt::now() + interval;
    timer.arm(deadline.map_or(at, |deadline| deadline.min(at)));
    poll_fn(|cx| {
        if let Poll::Ready(ready) = poll(cx) {
            return Poll::Ready(Watched::Ready(ready));
        }
        let late = deadline.is_some_and(|deadline| rt::now() >= deadline);
        timer.poll_expired(cx).map(|()| if late { Watched::Deadline } else { Watched::Interval })
    })
    .await
}
