//! What a stream sends: a gathered list of byte ranges, owned until the kernel took them.

use std::ops::Deref;

use super::Chunk;
use super::runtime::Runtime;

/// Vectors kept for reuse by one worker.
const VECS_MAX: usize = 128;

/// What a new vector begins with: enough for most of what is written, so that it does not grow step by step.
const VEC_BYTES_MIN: usize = 512;

/// A vector that grew beyond this is freed rather than kept.
const VEC_BYTES_MAX: usize = 16 * 1024;

/// One piece of what is sent.
#[derive(Debug)]
pub enum Part {
    /// Received bytes, passed on by reference.
    Chunk(Chunk),
    /// Bytes written by us; the vector goes back to the worker's pool after sending.
    Bytes(Vec<u8>),
    Static(&'static [u8]),
}

impl Deref for Part {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Part::Chunk(chunk) => chunk,
            Part::Bytes(bytes) => bytes,
            Part::Static(bytes) => bytes,
        }
    }
}

impl From<Chunk> for Part {
    fn from(chunk: Chunk) -> Self {
        Part::Chunk(chunk)
    }
}

impl From<Vec<u8>> for Part {
    fn from(bytes: Vec<u8>) -> Self {
        Part::Bytes(bytes)
    }
}

impl From<&'static [u8]> for Part {
    fn from(bytes: &'static [u8]) -> Self {
        Part::Static(bytes)
    }
}

/// Up to three pieces, sent in order by one call of [`super::Stream::send`].
#[derive(Debug, Default)]
pub struct Parts {
    pub(super) list: [Option<Part>; PARTS_MAX],
}

/// Pieces of one [`Parts`].
pub const PARTS_MAX: usize = 3;

impl Parts {
    /// Adds a piece.
    ///
    /// # Panics
    /// When there are [`PARTS_MAX`] pieces already: the caller's own code decides how many there are.
    #[must_use]
    pub fn and(mut self, part: impl Into<Part>) -> Parts {
        let free = self.list.iter_mut().find(|slot| slot.is_none());
        *free.expect("at most PARTS_MAX pieces in one send") = Some(part.into());
        self
    }

    /// The bytes of each piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.list.iter().flatten().map(|part| &**part)
    }
}

impl<T: Into<Part>> From<T> for Parts {
    fn from(part: T) -> Self {
        Parts { list: [Some(part.into()), None, None] }
    }
}

impl<const N: usize> From<[Part; N]> for Parts {
    fn from(parts: [Part; N]) -> Self {
        parts.into_iter().fold(Parts::default(), Parts::and)
    }
}

/// An empty vector with some capacity: one of the worker's where it has one to spare.
pub fn take_vec() -> Vec<u8> {
    let spare = Runtime::try_with(|rt| rt.vecs.borrow_mut().pop()).flatten();
    spare.unwrap_or_else(|| Vec::with_capacity(VEC_BYTES_MIN))
}

/// Gives a vector back for [`take_vec`]; kept up to a bounded number and size.
pub fn give_vec(mut bytes: Vec<u8>) {
    if bytes.capacity() == 0 || bytes.capacity() > VEC_BYTES_MAX {
        return;
    }
    bytes.clear();
    Runtime::try_with(|rt| {
        let mut vecs = rt.vecs.borrow_mut();
        if vecs.len() < VECS_MAX {
            vecs.push(bytes);
        }
    });
}
