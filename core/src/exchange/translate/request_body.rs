//! The body of a request, of which the beginning is kept so that it can be sent again.

use super::source::Source;
use crate::http2::BodyPiece;
use crate::io::{self as rt, Chunk};

/// What is kept of one body where its route does not say. A request with more is not sent again.
const KEPT_BYTES_MAX: usize = 32 * 1024;

/// The body of a request over all attempts to send it.
pub(in crate::exchange) struct RequestBody<'a> {
    pub(super) source: Source<'a>,
    sent: Vec<u8>,
    end: End,
    /// More was sent than is kept.
    lost: bool,
    kept_bytes_max: usize,
}

/// How what was sent ends.
#[derive(Clone)]
enum End {
    Open,
    Ended,
    Trailers(Vec<u8>),
}

impl<'a> RequestBody<'a> {
    pub(super) fn new(source: Source<'a>, kept_bytes_max: Option<usize>) -> RequestBody<'a> {
        let kept_bytes_max = kept_bytes_max.unwrap_or(KEPT_BYTES_MAX);
        RequestBody { source, sent: rt::take_vec(), end: End::Open, lost: false, kept_bytes_max }
    }

    /// Takes down what is about to be sent. `false`: it cannot be sent again.
    pub(super) fn keep(&mut self, piece: &BodyPiece) -> bool {
        match piece {
            BodyPiece::Data(data, end) => {
                self.lost |= self.sent.len() + data.len() > self.kept_bytes_max;
                if self.lost {
                    rt::give_vec(std::mem::take(&mut self.sent));
                } else {
                    self.sent.extend_from_slice(data);
                }
                if *end {
                    self.end = End::Ended;
                }
            }
            BodyPiece::Trailers(lines) => self.end = End::Trailers(lines.clone()),
            BodyPiece::End => self.end = End::Ended,
        }
        !self.lost
    }

    /// The whole body, where all of it was sent, it was kept, and is not longer than this.
    pub(super) fn is_whole(&self, bytes_max: usize) -> bool {
        !self.lost && !matches!(self.end, End::Open) && self.sent.len() <= bytes_max
    }

    /// What earlier attempts sent.
    pub(super) fn replayed(&self) -> Vec<BodyPiece> {
        let mut pieces = Vec::new();
        if !self.sent.is_empty() {
            pieces.push(BodyPiece::Data(Chunk::from(self.sent.clone()), matches!(self.end, End::Ended)));
        }
        match &self.end {
            End::Open => {}
            End::Ended if pieces.is_empty() => pieces.push(BodyPiece::End),
            End::Ended => {}
            End::Trailers(lines) => pieces.push(BodyPiece::Trailers(lines.clone())),
        }
        pieces
    }
}

impl Drop for RequestBody<'_> {
    fn drop(&mut self) {
        rt::give_vec(std::mem::take(&mut self.sent));
    }
}
