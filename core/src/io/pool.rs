//! The receive buffers of one worker: equal in size, handed out last-freed first, so that the hot set stays in cache.
//!
//! Memory is mapped in segments and touched only when the kernel first writes to a buffer. A pool outlives its runtime
//! for as long as a chunk refers to it.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::{io, ptr};

use super::Chunk;

/// Index of a heap chunk's meta, which belongs to no pool.
const HEAP: u32 = u32::MAX;

/// No stream holds the buffer.
pub(super) const NOBODY: u32 = u32::MAX;

/// A buffer id is 16 bits wide in a completion of io_uring.
const BUFFERS_MAX: u64 = 1 << 16;

/// Free buffers beyond this many times the hot set give their pages back to the system.
const HOT_SETS: usize = 4;

/// What is known of one buffer.
pub(super) struct Meta {
    pub(super) base: NonNull<u8>,
    /// Null for heap chunks.
    pool: *const Pool,
    pub(super) refs: Cell<u32>,
    index: u32,
    /// The stream that holds this buffer (its slot's key), or [`NOBODY`].
    pub(super) holder: Cell<u32>,
    pub(super) capacity: u32,
}

struct Segment {
    memory: NonNull<u8>,
    bytes: usize,
    metas: Box<[Meta]>,
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: `memory` and `bytes` are what mmap gave; the pool drops after its last chunk.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}

/// The pool of one worker.
pub(crate) struct Pool {
    buffer_bytes: u32,
    buffers_max: u32,
    /// Buffers per segment, a power of two.
    segment_len: u32,
    segments: RefCell<Vec<Segment>>,
    /// Free buffers, the most recently freed last.
    free: RefCell<Vec<u32>>,
    /// So many at the bottom of `free` have no pages.
    trimmed: Cell<usize>,
    /// Buffers from this index on were never handed out.
    fresh: Cell<u32>,
    /// Buffers that a chunk refers to.
    in_use: Cell<u32>,
    in_use_peak: Cell<u32>,
}

impl Pool {
    /// A pool of up to `worker_bytes_max` in buffers of `buffer_bytes`; nothing is mapped yet.
    pub(super) fn new(buffer_bytes: u32, ring_buffers: u16, worker_bytes_max: u64) -> Rc<Pool> {
        let buffer_bytes = buffer_bytes.clamp(512, 1 << 24);
        let segment_len = u32::from(ring_buffers.clamp(8, 1 << 15)).next_power_of_two();
        // At least the ring itself: a smaller ceiling could not receive at all.
        let buffers_max =
            (worker_bytes_max / u64::from(buffer_bytes)).clamp(u64::from(segment_len), BUFFERS_MAX) as u32;
        Rc::new(Pool {
            buffer_bytes,
            buffers_max,
            segment_len,
            segments: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            trimmed: Cell::new(0),
            fresh: Cell::new(0),
            in_use: Cell::new(0),
            in_use_peak: Cell::new(0),
        })
    }

    pub(super) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    pub(super) fn in_use(&self) -> u32 {
        self.in_use.get()
    }

    pub(super) fn in_use_peak(&self) -> u32 {
        self.in_use_peak.get()
    }

    /// A free buffer for the kernel to write into: its index and address. `None` when the ceiling is reached.
    pub(super) fn take(&self) -> Option<(u32, NonNull<u8>)> {
        let mut free = self.free.borrow_mut();
        let index = match free.pop() {
            Some(index) => {
                if free.len() < self.trimmed.get() {
                    self.trimmed.set(free.len());
                }
                index
            }
            None => {
                drop(free);
                self.take_fresh()?
            }
        };
        Some((index, self.meta(index).base))
    }

    /// Whether [`Pool::take`] would find one.
    pub(super) fn has_free(&self) -> bool {
        self.fresh.get() < self.buffers_max || !self.free.borrow().is_empty()
    }

    /// Gives a buffer back that no chunk was made of.
    pub(super) fn give(&self, index: u32) {
        self.free.borrow_mut().push(index);
    }

    /// Makes a chunk of a taken buffer.
    ///
    /// # Safety
    /// `index` came from [`Pool::take`], was not given back since, and its first `len` bytes are written.
    pub(super) unsafe fn chunk(self: &Rc<Self>, index: u32, len: u32, holder: u32) -> Chunk {
        let meta = self.meta(index);
        debug_assert!(meta.refs.get() == 0 && len <= meta.capacity);
        meta.refs.set(1);
        meta.holder.set(holder);
        let in_use = self.in_use.get() + 1;
        self.in_use.set(in_use);
        if in_use > self.in_use_peak.get() {
            self.in_use_peak.set(in_use);
        }
        let meta = NonNull::from(meta);
        // SAFETY: matched by the decrement in `release`; keeps the pool alive while the chunk is.
        unsafe { Rc::increment_strong_count(Rc::as_ptr(self)) };
        // SAFETY: the one reference set above belongs to this chunk; the caller vouches for the bytes.
        unsafe { Chunk::from_meta(meta, len) }
    }

    /// Counts the buffers that each stream holds, through `add(stream)`.
    pub(super) fn holders(&self, mut add: impl FnMut(u32)) {
        for segment in self.segments.borrow().iter() {
            for meta in segment.metas.iter().filter(|meta| meta.refs.get() > 0) {
                if meta.holder.get() != NOBODY {
                    add(meta.holder.get());
                }
            }
        }
    }

    /// Whether [`Pool::trim`] would give pages back.
    pub(super) fn is_bloated(&self) -> bool {
        self.free.borrow().len() > self.trimmed.get() + self.hot()
            && self.buffer_bytes.is_multiple_of(page_bytes())
    }

    /// Gives the pages of the free buffers that were not used for the longest time back to the system: all but a few hot sets.
    pub(super) fn trim(&self) {
        // The system takes whole pages only: those of smaller buffers hold neighbours, which may be in use.
        if !self.buffer_bytes.is_multiple_of(page_bytes()) {
            return;
        }
        let free = self.free.borrow();
        let cold = free.len().saturating_sub(self.hot());
        for &index in free.iter().take(cold).skip(self.trimmed.get()) {
            let base = self.meta(index).base;
            // SAFETY: the range is one buffer of ours that nobody refers to; its content is not needed.
            unsafe { libc::madvise(base.as_ptr().cast(), self.buffer_bytes as usize, libc::MADV_DONTNEED) };
        }
        self.trimmed.set(self.trimmed.get().max(cold));
    }

    /// Free buffers that keep their pages.
    fn hot(&self) -> usize {
        self.segment_len as usize * HOT_SETS
    }

    fn take_fresh(&self) -> Option<u32> {
        let index = self.fresh.get();
        if index >= self.buffers_max {
            return None;
        }
        if index as usize >= self.segments.borrow().len() * self.segment_len as usize {
            // Out of address space or over the cgroup's limit: as if the ceiling were reached.
            let segment = self.map_segment(index).ok()?;
            self.segments.borrow_mut().push(segment);
        }
        self.fresh.set(index + 1);
        Some(index)
    }

    fn map_segment(&self, first: u32) -> io::Result<Segment> {
        let bytes = self.segment_len as usize * self.buffer_bytes as usize;
        // SAFETY: an anonymous private mapping at no particular address has no preconditions.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // Huge pages would make the first byte of a buffer cost 2 MiB. A failure only means more memory.
        // SAFETY: the range was mapped just above.
        unsafe { libc::madvise(memory, bytes, libc::MADV_NOHUGEPAGE) };
        let memory = NonNull::new(memory.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let metas = (0..self.segment_len)
            .map(|i| Meta {
                // SAFETY: buffer i lies within the mapping.
                base: unsafe { memory.add(i as usize * self.buffer_bytes as usize) },
                pool: self,
                refs: Cell::new(0),
                index: first + i,
                holder: Cell::new(NOBODY),
                capacity: self.buffer_bytes,
            })
            .collect();
        Ok(Segment { memory, bytes, metas })
    }

    fn meta(&self, index: u32) -> &Meta {
        let segments = self.segments.borrow();
        // A power of two: no division on the path of each receive.
        let segment = &segments[(index >> self.segment_len.trailing_zeros()) as usize];
        let meta: *const Meta = &segment.metas[(index & (self.segment_len - 1)) as usize];
        // SAFETY: metas are boxed per segment and segments are only ever added, so the address is stable while the pool lives.
        unsafe { &*meta }
    }
}

fn page_bytes() -> u32 {
    // SAFETY: no pointers are passed; the page size is always known.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.try_into().unwrap_or(4096)
}

/// Drops one reference to a buffer; the last one gives it back.
///
/// # Safety
/// The caller owns one counted reference of `meta`, and does not use it afterwards.
pub(super) unsafe fn release(meta: NonNull<Meta>) {
    // SAFETY: a counted reference keeps the meta alive.
    let shared = unsafe { meta.as_ref() };
    let refs = shared.refs.get() - 1;
    shared.refs.set(refs);
    if refs > 0 {
        return;
    }
    if shared.index == HEAP {
        // SAFETY: this was the last reference; the meta came from Box::into_raw in `heap_meta`.
        let meta = unsafe { Box::from_raw(meta.as_ptr()) };
        // SAFETY: base and capacity are those of the vector taken apart in `heap_meta`; length 0 needs no initialised bytes.
        super::give_vec(unsafe { Vec::from_raw_parts(meta.base.as_ptr(), 0, meta.capacity as usize) });
        return;
    }
    let pool = shared.pool;
    shared.holder.set(NOBODY);
    // SAFETY: each chunk in use counts as one strong reference of the pool.
    unsafe {
        (*pool).in_use.set((*pool).in_use.get() - 1);
        (*pool).give(shared.index);
        Rc::decrement_strong_count(pool);
    }
}

/// A counted reference to heap bytes.
pub(super) fn heap_meta(mut bytes: Vec<u8>) -> NonNull<Meta> {
    if u32::try_from(bytes.capacity()).is_err() {
        bytes.shrink_to_fit();
    }
    let mut bytes = std::mem::ManuallyDrop::new(bytes);
    let base = NonNull::new(bytes.as_mut_ptr()).expect("a vector's pointer is never null");
    let capacity = u32::try_from(bytes.capacity()).expect("a chunk is smaller than 4 GiB");
    let meta = Meta {
        base,
        pool: ptr::null(),
        refs: Cell::new(1),
        index: HEAP,
        holder: Cell::new(NOBODY),
        capacity,
    };
    NonNull::from(Box::leak(Box::new(meta)))
}
