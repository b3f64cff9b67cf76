//! `Chunk`: received bytes, shared by reference, given back to the buffer pool when the last reference drops.
//!
//! **Invariant:** a chunk is only ever read. The pool writes into a buffer only while no chunk refers to it
//! (the kernel holds it); [`Chunk::append`] and [`Chunk::get_mut`] let it be written to while exactly one chunk refers to it
//! and is borrowed mutably.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::ptr::NonNull;

use super::pool::{self, Meta};

/// A range of a receive buffer (or of heap bytes). Cloning and slicing share the bytes; the count is not atomic.
pub struct Chunk {
    /// `None` for the empty chunk, which holds nothing.
    meta: Option<NonNull<Meta>>,
    start: u32,
    len: u32,
    /// The count is not atomic: a chunk stays on its thread.
    not_send: PhantomData<*const ()>,
}

impl Chunk {
    /// The chunk without bytes: end of stream.
    pub const fn empty() -> Chunk {
        Chunk { meta: None, start: 0, len: 0, not_send: PhantomData }
    }

    /// Takes over one reference that `meta` counts already.
    ///
    /// # Safety
    /// `meta` is alive, one of its counted references belongs to the caller, and its first `len` bytes are initialised.
    pub(super) unsafe fn from_meta(meta: NonNull<Meta>, len: u32) -> Chunk {
        Chunk { meta: Some(meta), start: 0, len, not_send: PhantomData }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of `range`, sharing this chunk's buffer.
    ///
    /// # Panics
    /// When the range is not within the chunk: a programmer's error, like slicing.
    pub fn slice(&self, range: Range<usize>) -> Chunk {
        assert!(range.start <= range.end && range.end <= self.len(), "slice {range:?} of {} bytes", self.len);
        if range.is_empty() {
            return Chunk::empty();
        }
        let mut part = self.clone();
        part.start += range.start as u32;
        part.len = (range.end - range.start) as u32;
        part
    }

    /// Splits the first `n` bytes off; the rest stays here.
    pub fn split_to(&mut self, n: usize) -> Chunk {
        if n == self.len() {
            return std::mem::take(self);
        }
        let head = self.slice(0..n);
        self.advance(n);
        head
    }

    /// Forgets the first `n` bytes.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "advance by {n} of {} bytes", self.len);
        if n == self.len() {
            *self = Chunk::empty();
            return;
        }
        self.start += n as u32;
        self.len -= n as u32;
    }

    /// The bytes on the heap, so that the receive buffer can go back early.
    pub fn copy_out(&self) -> Vec<u8> {
        let mut bytes = super::take_vec();
        bytes.extend_from_slice(self);
        bytes
    }

    /// Bytes of memory that this chunk keeps from being used again.
    pub fn capacity(&self) -> usize {
        // SAFETY: a chunk with a meta holds a reference, so the meta is alive.
        self.meta.map_or(0, |meta| unsafe { meta.as_ref() }.capacity as usize)
    }

    /// The bytes, to be changed where they are, when no other chunk refers to their buffer.
    pub fn get_mut(&mut self) -> Option<&mut [u8]> {
        let meta = self.meta?;
        // SAFETY: as in `capacity`.
        let shared = unsafe { meta.as_ref() };
        if shared.refs.get() != 1 {
            return None;
        }
        // SAFETY: the range is initialised (see `deref`); the count is one and we are borrowed mutably for as long as the
        // slice lives, so nobody else reads or writes this buffer.
        Some(unsafe {
            std::slice::from_raw_parts_mut(shared.base.as_ptr().add(self.start as usize), self.len as usize)
        })
    }

    /// Which buffer it refers to.
    #[cfg(test)]
    pub(super) fn buffer(&self) -> usize {
        self.meta.map_or(0, |meta| meta.as_ptr().addr())
    }

    /// Records which stream holds this chunk, for the decision whom to reset when memory runs out.
    pub(super) fn set_holder(&self, stream: u32) {
        if let Some(meta) = &self.meta {
            // SAFETY: as in `capacity`.
            unsafe { meta.as_ref() }.holder.set(stream);
        }
    }

    /// Appends `bytes` in place when this chunk is its buffer's only reference and there is room behind it.
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(meta) = self.meta else { return false };
        // SAFETY: as in `capacity`.
        let shared = unsafe { meta.as_ref() };
        let end = self.start as usize + self.len();
        if shared.refs.get() != 1 || end + bytes.len() > shared.capacity as usize {
            return false;
        }
        // SAFETY: the count is one and we are borrowed mutably, so nobody else reads or writes this buffer; the
        // target range lies within its capacity; `bytes` cannot overlap, because a second chunk would be needed for that.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), shared.base.as_ptr().add(end), bytes.len());
        }
        self.len += bytes.len() as u32;
        true
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self.meta {
            // SAFETY: the meta is alive while we hold a reference; start + len is within the initialised part of the
            // buffer (kept by every constructor and by slice/advance), and nobody writes to it meanwhile.
            Some(meta) => unsafe {
                std::slice::from_raw_parts(
                    meta.as_ref().base.as_ptr().add(self.start as usize),
                    self.len as usize,
                )
            },
            None => &[],
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Chunk::empty()
    }
}

impl Clone for Chunk {
    #[inline]
    fn clone(&self) -> Self {
        if let Some(meta) = &self.meta {
            // SAFETY: we hold a reference, so the meta is alive.
            let refs = unsafe { &meta.as_ref().refs };
            refs.set(refs.get().checked_add(1).expect("fewer than 2^32 references to one buffer"));
        }
        Chunk { meta: self.meta, start: self.start, len: self.len, not_send: PhantomData }
    }
}

impl Drop for Chunk {
    #[inline]
    fn drop(&mut self) {
        if let Some(meta) = self.meta {
            // SAFETY: we hold one reference and give it up here, once.
            unsafe { pool::release(meta) };
        }
    }
}

impl From<Vec<u8>> for Chunk {
    /// Heap bytes as a chunk.
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            return Chunk::empty();
        }
        let len = u32::try_from(bytes.len()).expect("a chunk is smaller than 4 GiB");
        let meta = pool::heap_meta(bytes);
        // SAFETY: `heap_meta` returns one counted reference to `len` initialised bytes.
        unsafe { Chunk::from_meta(meta, len) }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk(\"{}\")", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::Chunk;

    #[test]
    fn slices_share_and_keep_the_bytes() {
        let mut chunk = Chunk::from(b"hello world".to_vec());
        let world = chunk.slice(6..11);
        let hello = chunk.split_to(5);
        chunk.advance(1);
        assert_eq!((&*hello, &*world, &*chunk), (&b"hello"[..], &b"world"[..], &b"world"[..]));
        drop(chunk);
        drop(hello);
        assert_eq!(&*world, b"world");
        assert!(world.slice(5..5).is_empty());
    }

    #[test]
    fn only_the_only_reference_may_change_the_bytes() {
        let mut chunk = Chunk::from(b"abc".to_vec());
        chunk.get_mut().unwrap()[0] = b'x';
        let mut tail = chunk.slice(1..3);
        assert!(chunk.get_mut().is_none() && tail.get_mut().is_none(), "shared");
        drop(chunk);
        tail.get_mut().unwrap().copy_from_slice(b"yz");
        assert_eq!(&*tail, b"yz");
        assert!(Chunk::empty().get_mut().is_none());
    }

    #[test]
    fn append_needs_the_only_reference_and_room() {
        let mut bytes = Vec::with_capacity(8);
        bytes.extend_from_slice(b"abc");
        let mut chunk = Chunk::from(bytes);
        assert!(chunk.append(b"de"));
        assert_eq!(&*chunk, b"abcde");
        let other = chunk.clone();
        assert!(!chunk.append(b"f"), "shared");
        drop(other);
        assert!(!chunk.append(b"too long"), "no room");
        assert_eq!(&*chunk, b"abcde");
    }
}
