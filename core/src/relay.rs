//! Moving bodies: which bytes belong to a body, and waiting for a slow reader.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use ringway_protocols::http1::{BodyDecoder, BodyError, BodyStep, TrailerLimits};

use crate::config::ListenerLimits;
use crate::io::{self as rt, Chunk, Stream, Timer};

/// The longest run of received bytes that can be forwarded as it is.
pub struct Run {
    /// Data with its framing.
    pub bytes: Chunk,
    /// Bytes of data among them.
    pub data_bytes: u64,
}

/// Splits off what of `chunk` belongs to the body, framing included.
pub fn take_run(decoder: &mut BodyDecoder, chunk: &mut Chunk) -> Result<Run, BodyError> {
    let (mut length, mut data_bytes) = (0, 0);
    loop {
        match decoder.next(chunk.get(length..).unwrap_or_default())? {
            BodyStep::Framing(n) => length += n,
            BodyStep::Data(n) => {
                length += n;
                data_bytes += n as u64;
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
            BodyStep::Framing(n) => chunk.advance(n),
            BodyStep::Data(n) => return Ok(Some(chunk.split_to(n))),
            BodyStep::Done | BodyStep::NeedMore => return Ok(None),
        }
    }
}

/// Trailers are fields like those of the head and share its limits.
pub fn trailer_limits(limits: &ListenerLimits) -> TrailerLimits {
    TrailerLimits { bytes_max: limits.header_bytes_max, fields_max: limits.header_count_max }
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
    stream: &Stream,
    timer: &Timer,
    bytes_max: usize,
    timeout: Duration,
    deadline: Option<Instant>,
) -> Result<(), Stalled> {
    if stream.unsent() <= bytes_max {
        return Ok(());
    }
    let mut left = outstanding(stream);
    loop {
        let at = rt::now() + timeout;
        timer.arm(deadline.map_or(at, |deadline| deadline.min(at)));
        let room = poll_fn(|cx| {
            if let Poll::Ready(result) = stream.poll_room(cx, bytes_max) {
                return Poll::Ready(Some(result));
            }
            timer.poll_expired(cx).map(|()| None)
        })
        .await;
        match room {
            Some(result) => return result.map_err(Stalled::Closed),
            None if deadline.is_some_and(|deadline| rt::now() >= deadline) => return Err(Stalled::Deadline),
            None => {
                let now_left = outstanding(stream);
                if now_left >= left {
                    return Err(Stalled::NoProgress);
                }
                left = now_left;
            }
        }
    }
}

/// Bytes that the other end has not acknowledged: in our queue and in the kernel's.
fn outstanding(stream: &Stream) -> u64 {
    stream.unsent() as u64 + stream.outq().map_or(0, u64::from)
}
