//! Where a body goes, whatever protocol carries it.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::http2::StreamHandle;
use crate::io::{self as rt, Chunk, Part, Parts, Timer};
use crate::relay::{self, Stalled};
use crate::transport::Transport;

/// The receiver of a body.
#[derive(Clone, Copy)]
pub(super) enum Sink<'a> {
    Http1 {
        stream: &'a Transport,
        framing: Framing,
        /// Bytes that may wait to be sent.
        window: usize,
    },
    Http2(&'a StreamHandle),
}

/// How the end of a body is shown in HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length, or by the end of the connection.
    Plain,
    Chunked,
}

/// Why a body can be sent no further.
#[derive(Debug)]
pub(super) enum SinkError {
    Io(io::Error),
    /// The stream was reset, or its connection lost.
    Stream,
    /// The reader took nothing for as long as it was given.
    NoProgress,
    /// The whole exchange ran out of time.
    Deadline,
}

impl Sink<'_> {
    /// Waits until some of `wanted` bytes may be sent; says how many.
    pub(super) async fn room(
        &self,
        timer: &Timer,
        wanted: usize,
        timeout: Duration,
        deadline: Option<Instant>,
    ) -> Result<usize, SinkError> {
        match self {
            Sink::Http1 { stream, window, .. } => {
                match relay::room(stream, timer, *window, timeout, deadline).await {
                    Ok(()) => Ok(wanted),
                    Err(Stalled::Closed(error)) => Err(SinkError::Io(error)),
                    Err(Stalled::NoProgress) => Err(SinkError::NoProgress),
                    Err(Stalled::Deadline) => Err(SinkError::Deadline),
                }
            }
            Sink::Http2(stream) => {
                let mut armed = false;
                poll_fn(|cx| {
                    if let Poll::Ready(result) = stream.poll_capacity(cx, wanted) {
                        return Poll::Ready(result.map_err(|_| SinkError::Stream));
                    }
                    if !armed {
                        armed = true;
                        let at = rt::now() + timeout;
                        timer.arm(deadline.map_or(at, |deadline| deadline.min(at)));
                    }
                    let late = deadline.is_some_and(|deadline| rt::now() >= deadline);
                    timer
                        .poll_expired(cx)
                        .map(|()| Err(if late { SinkError::Deadline } else { SinkError::NoProgress }))
                })
                .await
            }
        }
    }

    /// Sends data, at most as much as there is room for. Returns how many bytes that was on the wire.
    pub(super) fn send(&self, data: Chunk, end: bool) -> Result<usize, SinkError> {
        let bytes = data.len();
        match self {
            Sink::Http1 { stream, framing: Framing::Plain, .. } => {
                stream.send(data).map_err(SinkError::Io)?;
                Ok(bytes)
            }
            Sink::Http1 { stream, framing: Framing::Chunked, .. } => {
                let mut size = rt::take_vec();
                push_chunk_size(&mut size, bytes);
                let after: &'static [u8] = if end { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                let wire = size.len() + bytes + after.len();
                stream.send(Parts::from(size).and(data).and(Part::Static(after))).map_err(SinkError::Io)?;
                Ok(wire)
            }
            Sink::Http2(stream) => {
                stream.send_data(data, end).map_err(|_| SinkError::Stream)?;
                Ok(bytes)
            }
        }
    }

    /// Ends the body, with trailers as `name: value\r\n` lines where there are some. They are lost where the framing has no
    /// place for them.
    pub(super) fn finish(&self, trailers: &[u8]) -> Result<usize, SinkError> {
        match self {
            Sink::Http1 { framing: Framing::Plain, .. } => Ok(0),
            Sink::Http1 { stream, framing: Framing::Chunked, .. } => {
                let mut last = rt::take_vec();
                last.extend_from_slice(b"0\r\n");
                last.extend_from_slice(trailers);
                last.extend_from_slice(b"\r\n");
                let wire = last.len();
                stream.send(last).map_err(SinkError::Io)?;
                Ok(wire)
            }
            Sink::Http2(stream) => {
                let sent = if trailers.is_empty() {
                    stream.send_data(Chunk::empty(), true)
                } else {
                    stream.send_trailers(trailers)
                };
                sent.map_err(|_| SinkError::Stream)?;
                Ok(trailers.len())
            }
        }
    }
}

/// The line before a chunk (RFC 9112 7.1). By hand: the formatting machinery costs more than all else about a chunk.
fn push_chunk_size(out: &mut Vec<u8>, bytes: usize) {
    let digits = (usize::BITS - bytes.leading_zeros()).div_ceil(4).max(1);
    let digit = |at: u32| (bytes >> (at * 4) & 0xf) as u8;
    out.extend((0..digits).rev().map(digit).map(|digit| digit + if digit < 10 { b'0' } else { b'a' - 10 }));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_chunks_are_hexadecimal_without_leading_zeros() {
        for bytes in [0, 1, 9, 10, 15, 16, 255, 256, 0xa0b0, 65_536, usize::MAX] {
            let mut out = Vec::new();
            push_chunk_size(&mut out, bytes);
            assert_eq!(String::from_utf8(out), Ok(format!("{bytes:x}\r\n")));
        }
    }
}
