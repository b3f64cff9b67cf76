//! What a stream received and its reader has not taken.

use std::cell::Cell;
use std::collections::VecDeque;

use crate::io::Chunk;

/// Pieces that are kept by reference; more are copied together, so that many small frames do not cost a piece each.
const PIECES_MAX: usize = 8;

thread_local! {
    /// Bytes that the streams of this worker hold copied.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that the stalled streams of this worker hold.
pub(super) fn held() -> usize {
    HELD.get()
}

/// The next part of a body.
#[derive(Debug)]
pub enum BodyPiece {
    /// Data; `true` when the message ends with it.
    Data(Chunk, bool),
    /// Trailers as `name: value\r\n` lines. Nothing follows.
    Trailers(Vec<u8>),
    /// The message ended without more data.
    End,
}

/// The receiving side of one stream. What it holds is bounded by the stream's window.
///
/// Data is passed on by reference while its reader keeps up. What is still here when the connection has had its turn is
/// copied, so that a stalled stream never keeps receive buffers from being used again.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Comes before `pieces`. Counted in [`HELD`].
    copied: Vec<u8>,
    pieces: VecDeque<Chunk>,
    trailers: Option<Vec<u8>>,
    /// The peer has ended the message.
    pub(super) ended: bool,
    /// The reader knows.
    end_taken: bool,
}

impl Inbox {
    pub(super) fn push(&mut self, chunk: Chunk, end: bool) {
        self.ended |= end;
        if chunk.is_empty() {
            return;
        }
        if self.pieces.len() >= PIECES_MAX {
            self.copy_out();
        }
        self.pieces.push_back(chunk);
    }

    pub(super) fn push_trailers(&mut self, lines: Vec<u8>) {
        self.trailers = Some(lines);
        self.ended = true;
    }

    /// The next piece, if there is one.
    pub(super) fn pop(&mut self) -> Option<BodyPiece> {
        let chunk = if self.copied.is_empty() {
            self.pieces.pop_front()
        } else {
            HELD.set(HELD.get() - self.copied.len());
            Some(Chunk::from(std::mem::take(&mut self.copied)))
        };
        if let Some(chunk) = chunk {
            let last = self.ended && self.pieces.is_empty() && self.trailers.is_none();
            self.end_taken |= last;
            return Some(BodyPiece::Data(chunk, last));
        }
        if let Some(lines) = self.trailers.take() {
            self.end_taken = true;
            return Some(BodyPiece::Trailers(lines));
        }
        if self.ended {
            self.end_taken = true;
            return Some(BodyPiece::End);
        }
        None
    }

    /// Whether receive buffers are referred to.
    pub(super) fn holds_buffers(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Bytes that are held copied.
    pub(super) fn copied_bytes(&self) -> usize {
        self.copied.len()
    }

    /// Copies what is held by reference.
    pub(super) fn copy_out(&mut self) {
        if self.copied.capacity() == 0 {
            self.copied = crate::io::take_vec();
        }
        for piece in self.pieces.drain(..) {
            HELD.set(HELD.get() + piece.len());
            self.copied.extend_from_slice(&piece);
        }
    }

    /// Makes it that of a new stream and keeps the capacity of the list.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        HELD.set(HELD.get() - self.copied.len());
        crate::io::give_vec(std::mem::take(&mut self.copied));
        self.trailers = None;
        (self.ended, self.end_taken) = (false, false);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(inbox: &Inbox) -> usize {
        inbox.copied.len() + inbox.pieces.iter().map(Chunk::len).sum::<usize>()
    }

    fn data(piece: Option<BodyPiece>) -> (Vec<u8>, bool) {
        match piece {
            Some(BodyPiece::Data(chunk, end)) => (chunk.to_vec(), end),
            other => panic!("data, not {other:?}"),
        }
    }

    #[test]
    fn pieces_come_in_order_whether_copied_or_not() {
        for copy_after in 0..12 {
            let mut inbox = Inbox::default();
            for index in 0..12u8 {
                inbox.push(Chunk::from(vec![index; 3]), index == 11);
                if index == copy_after {
                    inbox.copy_out();
                    assert!(!inbox.holds_buffers());
                }
            }
            assert_eq!(bytes_of(&inbox), 36);
            let mut all = Vec::new();
            loop {
                let (bytes, end) = data(inbox.pop());
                all.extend(bytes);
                if end {
                    break;
                }
            }
            let expected: Vec<u8> = (0..12u8).flat_map(|index| [index; 3]).collect();
            assert_eq!(all, expected, "copied after {copy_after}");
            assert_eq!(held(), 0);
        }
    }

    #[test]
    fn trailers_follow_the_data_and_end_the_message() {
        let mut inbox = Inbox::default();
        inbox.push(Chunk::from(b"x".to_vec()), false);
        inbox.push_trailers(b"a: b\r\n".to_vec());
        assert_eq!(data(inbox.pop()), (b"x".to_vec(), false));
        assert!(matches!(inbox.pop(), Some(BodyPiece::Trailers(lines)) if lines == b"a: b\r\n"));
        assert!(matches!(inbox.pop(), Some(BodyPiece::End)), "and so it stays");
    }

    #[test]
    fn many_small_frames_are_kept_together() {
        let mut inbox = Inbox::default();
        for _ in 0..10_000 {
            inbox.push(Chunk::from(b"x".to_vec()), false);
            assert!(inbox.pieces.len() <= PIECES_MAX);
        }
        assert_eq!(bytes_of(&inbox), 10_000);
        assert!(held() >= 9_000);
        drop(inbox);
        assert_eq!(held(), 0);
    }
}
