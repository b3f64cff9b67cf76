//! The provided-buffer ring: the buffers that multishot receives fill.
//!
//! The kernel takes them in the order in which they were offered, so the whole ring is the hot set. It is topped up
//! once per turn with the pool's most recently freed buffers.

use std::cell::Cell;
use std::io;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::Ring;
use crate::io::Chunk;
use crate::io::pool::Pool;

/// The one buffer group of a worker.
pub(super) const GROUP: u16 = 0;

pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    bytes: usize,
    mask: u16,
    tail: Cell<u16>,
    /// Entries that the kernel may take from.
    offered: Cell<u16>,
    pool: Rc<Pool>,
}

impl BufferRing {
    /// Registers a ring of `len` entries (a power of two); nothing is offered yet.
    pub(super) fn new(ring: &Ring, len: u16, pool: &Rc<Pool>) -> io::Result<BufferRing> {
        let len = len.clamp(8, 1 << 15).next_power_of_two();
        let bytes = usize::from(len) * size_of::<BufRingEntry>();
        // SAFETY: an anonymous private mapping at no particular address has no preconditions; it is zeroed and page-aligned.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let entries = NonNull::new(memory.cast::<BufRingEntry>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let it = BufferRing {
            entries,
            bytes,
            mask: len - 1,
            tail: Cell::new(0),
            offered: Cell::new(0),
            pool: pool.clone(),
        };
        // SAFETY: the entries stay mapped until this value drops, which is after the ring was closed (`Uring` declares
        // the ring before the buffers) or, if the registration fails, at once.
        unsafe { ring.register_buffers(entries.as_ptr() as u64, len, GROUP) }?;
        Ok(it)
    }

    pub(super) fn offered(&self) -> u16 {
        self.offered.get()
    }

    /// Offers free buffers until the ring is full or there are none left.
    pub(super) fn refill(&self) {
        let len = self.mask + 1;
        let (mut tail, mut offered) = (self.tail.get(), self.offered.get());
        if offered == len {
            return;
        }
        while offered < len {
            let Some((index, base)) = self.pool.take() else { break };
            // SAFETY: the masked index is within the ring, and the kernel does not read this entry before the tail
            // below says so. Only addr, len and bid are written: the tail shares its place with entry 0's last field.
            unsafe {
                let entry = &mut *self.entries.as_ptr().add(usize::from(tail & self.mask));
                entry.set_addr(base.as_ptr() as u64);
                entry.set_len(self.pool.buffer_bytes());
                // Indices are below 2^16: the pool's bound.
                entry.set_bid(index as u16);
            }
            tail = tail.wrapping_add(1);
            offered += 1;
        }
        self.tail.set(tail);
        self.offered.set(offered);
        // SAFETY: the tail lies in the first entry, aligned to two bytes; the kernel only reads it. Release: the
        // entries are written before.
        unsafe {
            let tail_at = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail_at).store(tail, Ordering::Release);
        }
    }

    /// The kernel took buffer `id` and wrote `len` bytes into it.
    pub(super) fn taken(&self, id: u16, len: u32, holder: u32) -> Chunk {
        self.offered.set(self.offered.get() - 1);
        if len == 0 {
            self.pool.give(u32::from(id));
            return Chunk::empty();
        }
        // SAFETY: the completion names a buffer that we took and offered, once; it belongs to us again, and the
        // kernel wrote `len` bytes.
        unsafe { self.pool.chunk(u32::from(id), len, holder) }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; the kernel's reference ended with the ring.
        unsafe { libc::munmap(self.entries.as_ptr().cast(), self.bytes) };
    }
}
