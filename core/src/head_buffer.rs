//! Collecting the bytes of a head, of a request or of a response.
//!
//! The usual head arrives whole and is used where it lies. One that comes in pieces is copied together, so that
//! a peer that dribbles holds its bytes and not a receive buffer.

use std::ops::Deref;

use crate::http2::ReceivedResponse;
use crate::io::{self as rt, Chunk};

/// The bytes of a complete head: a range of a receive buffer, or a copy.
pub enum HeadBytes {
    Chunk(Chunk),
    Owned(Vec<u8>),
    /// Those of a head that came over HTTP/2.
    Received(ReceivedResponse),
}

impl Deref for HeadBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            HeadBytes::Chunk(chunk) => chunk,
            HeadBytes::Owned(bytes) => bytes,
            HeadBytes::Received(received) => &received.bytes,
        }
    }
}

impl Drop for HeadBytes {
    fn drop(&mut self) {
        if let HeadBytes::Owned(bytes) = self {
            rt::give_vec(std::mem::take(bytes));
        }
    }
}

/// A head on its way.
#[derive(Default)]
pub struct HeadBuffer {
    partial: Option<Vec<u8>>,
}

/// What [`HeadBuffer::feed`] found.
pub enum Fed<E> {
    /// The head, and what follows it.
    Complete(HeadBytes, Option<Chunk>),
    NeedMore,
    /// Not a head, with the bytes that show it.
    Invalid(E, HeadBytes),
}

impl HeadBuffer {
    /// Whether a part of a head has come in.
    pub fn has_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// What has come in so far, for the log of a head that never became complete.
    pub fn into_partial(self) -> HeadBytes {
        HeadBytes::Owned(self.partial.unwrap_or_default())
    }

    /// Adds received bytes. `parse` returns the length of the head that its input starts with, if it is complete.
    pub fn feed<E>(
        &mut self,
        mut chunk: Chunk,
        parse: impl FnOnce(&[u8]) -> Result<Option<usize>, E>,
    ) -> Fed<E> {
        let Some(mut bytes) = self.partial.take() else {
            return match parse(&chunk) {
                Ok(Some(length)) => {
                    let head = chunk.split_to(length.min(chunk.len()));
                    Fed::Complete(HeadBytes::Chunk(head), (!chunk.is_empty()).then_some(chunk))
                }
                Ok(None) => {
                    self.partial = Some(chunk.copy_out());
                    Fed::NeedMore
                }
                Err(error) => Fed::Invalid(error, HeadBytes::Chunk(chunk)),
            };
        };
        bytes.extend_from_slice(&chunk);
        match parse(&bytes) {
            Ok(Some(length)) => {
                // The head was incomplete without this chunk, so what is beyond it lies inside the chunk.
                let beyond = bytes.len().saturating_sub(length).min(chunk.len());
                bytes.truncate(length);
                chunk.advance(chunk.len() - beyond);
                Fed::Complete(HeadBytes::Owned(bytes), (!chunk.is_empty()).then_some(chunk))
            }
            Ok(None) => {
                self.partial = Some(bytes);
                Fed::NeedMore
            }
            Err(error) => Fed::Invalid(error, HeadBytes::Owned(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A "head" that ends with a full stop; `!` is invalid.
    fn parse(bytes: &[u8]) -> Result<Option<usize>, ()> {
        if bytes.contains(&b'!') {
            return Err(());
        }
        Ok(bytes.iter().position(|b| *b == b'.').map(|at| at + 1))
    }

    #[test]
    fn every_split_of_the_input_gives_the_same_head_and_rest() {
        let input = b"head.rest";
        for split in 0..input.len() {
            let mut buffer = HeadBuffer::default();
            let (mut head, mut rest) = (Vec::new(), Vec::new());
            for part in [&input[..split], &input[split..]] {
                if part.is_empty() {
                    continue;
                }
                if !head.is_empty() {
                    rest.extend_from_slice(part);
                    continue;
                }
                match buffer.feed(Chunk::from(part.to_vec()), parse) {
                    Fed::Complete(bytes, more) => {
                        head.extend_from_slice(&bytes);
                        rest.extend_from_slice(more.as_deref().unwrap_or_default());
                    }
                    Fed::NeedMore => {}
                    Fed::Invalid(..) => panic!("valid input"),
                }
            }
            assert_eq!((&*head, &*rest), (&b"head."[..], &b"rest"[..]), "split at {split}");
        }
    }

    #[test]
    fn an_invalid_head_is_returned_with_its_bytes() {
        let mut buffer = HeadBuffer::default();
        assert!(matches!(buffer.feed(Chunk::from(b"ab".to_vec()), parse), Fed::NeedMore));
        match buffer.feed(Chunk::from(b"c!".to_vec()), parse) {
            Fed::Invalid((), bytes) => assert_eq!(&*bytes, b"abc!"),
            _ => panic!("expected the head to be refused"),
        }
    }
}
