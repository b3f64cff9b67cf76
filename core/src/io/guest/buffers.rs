//! Memory that operations of a foreign runtime own while they run.

use std::ptr::NonNull;
use std::rc::Rc;

use super::super::slot::{IOVECS_MAX, SEND_BYTES_MAX, SendState};
use super::super::{Chunk, Part};
use super::Shared;

/// Counts among what keeps the runtime from ending.
pub(super) struct Alive(Rc<Shared>);

impl Alive {
    pub(super) fn new(shared: &Rc<Shared>) -> Alive {
        shared.alive.set(shared.alive.get() + 1);
        Alive(shared.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.set(self.0.alive.get() - 1);
    }
}

/// A free receive buffer, given back to the pool when dropped.
pub(in crate::io) struct Buffer {
    index: u32,
    base: NonNull<u8>,
    alive: Alive,
}

impl Buffer {
    /// `None` when there is no free buffer.
    pub(super) fn take(shared: &Rc<Shared>) -> Option<Buffer> {
        let (index, base) = shared.pool.take()?;
        Some(Buffer { index, base, alive: Alive::new(shared) })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(super) fn capacity(&self) -> usize {
        self.alive.0.pool.buffer_bytes() as usize
    }

    /// The first `len` bytes as a chunk.
    ///
    /// # Safety
    /// The kernel wrote `len` bytes, and no operation refers to the buffer any longer.
    pub(super) unsafe fn into_chunk(self, len: u32, holder: u32) -> Chunk {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: read once, from a value that is not dropped: the chunk gives the buffer back.
        let alive = unsafe { std::ptr::read(&raw const this.alive) };
        // SAFETY: taken from this pool, not given back; the caller vouches for the bytes.
        unsafe { alive.0.pool.chunk(this.index, len, holder) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.alive.0.pool.give(self.index);
    }
}

/// What one send covers: its own references to the front of a stream's queue.
pub(in crate::io) struct Batch {
    parts: Vec<Part>,
    pub(super) iovecs: Vec<libc::iovec>,
    bytes: usize,
    _alive: Alive,
}

impl Batch {
    pub(super) fn new(shared: &Rc<Shared>) -> Batch {
        Batch { parts: Vec::new(), iovecs: Vec::new(), bytes: 0, _alive: Alive::new(shared) }
    }

    /// Refers to the front of the queue.
    pub(super) fn fill(&mut self, send: &mut SendState) {
        self.clear();
        let mut offset = send.offset;
        for part in send.parts.iter_mut().take(IOVECS_MAX) {
            if self.bytes == SEND_BYTES_MAX {
                break;
            }
            // Shared from here on: the stream may go before the operation ends.
            if let Part::Bytes(bytes) = part {
                *part = Part::Chunk(Chunk::from(std::mem::take(bytes)));
            }
            let end = part.len().min(offset + SEND_BYTES_MAX - self.bytes);
            self.bytes += end - offset;
            self.parts.push(match part {
                Part::Chunk(chunk) => Part::Chunk(chunk.slice(offset..end)),
                Part::Static(bytes) => Part::Static(&bytes[offset..end]),
                Part::Bytes(_) => unreachable!("turned into a chunk above"),
            });
            offset = 0;
        }
        self.iovecs.extend(
            self.parts
                .iter()
                .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() }),
        );
    }

    pub(super) fn clear(&mut self) {
        self.iovecs.clear();
        self.parts.clear();
        self.bytes = 0;
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    #[cfg(feature = "glommio")]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
