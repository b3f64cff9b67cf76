//! What a connection still has to send, in order: pieces that were put aside with their frame headers, and the machine's
//! output behind them.

use std::collections::VecDeque;

use crate::io::{self as rt, Chunk, Part};

/// Data of a frame up to this size is copied behind its header. Above, a piece of its own (an iovec and a reference) is
/// the cheaper way.
pub(super) const COPY_BYTES_MAX: usize = 2048;

/// Pieces on their way to the socket.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) parts: VecDeque<Part>,
    bytes: usize,
}

impl Output {
    /// Puts what the machine has written before `chunk`, and `chunk` behind it.
    pub(super) fn push(&mut self, written: &mut Vec<u8>, chunk: Chunk) {
        self.bytes += written.len() + chunk.len();
        if !written.is_empty() {
            self.parts.push_back(Part::Bytes(std::mem::replace(written, rt::take_vec())));
        }
        self.parts.push_back(Part::Chunk(chunk));
    }

    /// Bytes in the pieces.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything, with what the machine has written at the end.
    pub(super) fn take(&mut self, written: &mut Vec<u8>) -> &mut VecDeque<Part> {
        if !written.is_empty() {
            self.parts.push_back(Part::Bytes(std::mem::replace(written, rt::take_vec())));
        }
        self.bytes = 0;
        &mut self.parts
    }

    /// Lets memory go that an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
        }
    }
}
