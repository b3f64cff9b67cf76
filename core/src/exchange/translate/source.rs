//! Where a body comes from, whatever protocol carries it.

use std::io;
use std::task::{Context, Poll};

use ringway_protocols::http1::{BodyDecoder, BodyError, BodyStep};

use crate::http2::{BodyPiece, StreamError, StreamHandle};
use crate::io::Chunk;
use crate::transport::Transport;

/// The sender of a body.
pub(super) enum Source<'a> {
    Http1(Http1Source<'a>),
    Http2(&'a StreamHandle),
}

/// A body of HTTP/1, of which the framing is taken off.
pub(super) struct Http1Source<'a> {
    stream: &'a Transport,
    decoder: BodyDecoder,
    /// Received and not decoded: of the body, then what follows it.
    rest: Option<Chunk>,
    trailers: Vec<u8>,
    /// Bytes received, framing included.
    received: u64,
}

/// Why there is no more of a body.
#[derive(Debug)]
pub(super) enum SourceError {
    Malformed(BodyError),
    /// The connection ended before the body did.
    Truncated,
    Io(io::Error),
    Stream(StreamError),
}

impl<'a> Source<'a> {
    /// `rest` is what was received behind the head.
    pub(super) fn http1(stream: &'a Transport, decoder: BodyDecoder, rest: Option<Chunk>) -> Source<'a> {
        Source::Http1(Http1Source { stream, decoder, rest, trailers: Vec::new(), received: 0 })
    }

    /// The next part of the body.
    pub(super) fn poll_piece(&mut self, cx: &Context<'_>) -> Poll<Result<BodyPiece, SourceError>> {
        match self {
            Source::Http1(source) => source.poll_piece(cx),
            Source::Http2(stream) => stream.poll_body(cx).map_err(SourceError::Stream),
        }
    }

    /// Data was passed on: its sender may send as much more.
    pub(super) fn consumed(&self, bytes: usize) {
        match self {
            // A connection of HTTP/1 is held back by not being read.
            Source::Http1(_) => {}
            Source::Http2(stream) => stream.consumed(bytes),
        }
    }

    /// What was received behind the end of the body, and bytes received on a connection of HTTP/1 since its head.
    pub(super) fn take_rest(&mut self) -> (Option<Chunk>, u64) {
        match self {
            Source::Http1(source) => (source.rest.take(), source.received),
            Source::Http2(_) => (None, 0),
        }
    }
}

impl Http1Source<'_> {
    fn poll_piece(&mut self, cx: &Context<'_>) -> Poll<Result<BodyPiece, SourceError>> {
        loop {
            if let Some(chunk) = self.rest.take() {
                match self.decode(chunk) {
                    Ok(Some(piece)) => return Poll::Ready(Ok(piece)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(SourceError::Malformed(error))),
                }
            }
            if self.decoder.is_done() {
                return Poll::Ready(Ok(self.end()));
            }
            match std::task::ready!(self.stream.poll_recv(cx)) {
                Ok(chunk) if !chunk.is_empty() => {
                    self.received += chunk.len() as u64;
                    self.rest = Some(chunk);
                }
                Ok(_) => {
                    if self.decoder.eof().is_err() {
                        return Poll::Ready(Err(SourceError::Truncated));
                    }
                }
                Err(error) => return Poll::Ready(Err(SourceError::Io(error))),
            }
        }
    }

    fn end(&mut self) -> BodyPiece {
        if self.trailers.is_empty() {
            BodyPiece::End
        } else {
            BodyPiece::Trailers(std::mem::take(&mut self.trailers))
        }
    }

    /// Takes the next data off `chunk`, and the framing around it; the rest stays for the next call.
    fn decode(&mut self, mut chunk: Chunk) -> Result<Option<BodyPiece>, BodyError> {
        let mut data = None;
        loop {
            match self.decoder.next(&chunk)? {
                BodyStep::Framing(n) => chunk.advance(n),
                BodyStep::Trailer(n) => {
                    self.trailers.extend_from_slice(chunk.get(..n).unwrap_or_default());
                    chunk.advance(n);
                }
                BodyStep::Data(n) => data = Some(chunk.split_to(n)),
                BodyStep::Done | BodyStep::NeedMore => break,
            }
            // More data is the next piece.
            if data.is_some() && self.decoder.contiguous() > 0 {
                break;
            }
        }
        self.rest = (!chunk.is_empty()).then_some(chunk);
        // Where the framing behind the data has come too, the data is known to be the last.
        let end = self.decoder.is_done() && self.trailers.is_empty();
        Ok(data.map(|data| BodyPiece::Data(data, end)))
    }
}
