//! The kernel interface of the tester and of the bare relay: one ring, one provided-buffer ring, and the few
//! operations that they need.
//!
//! **Invariant:** memory handed to the kernel is either `'static`, or the buffer ring's own mapping, which is
//! unmapped only after the ring itself is closed (field order of [`Ring`]), or a buffer in `Ring::sends`, which stays
//! there until its send has completed. That is what makes each `push` sound.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

/// What a completion belongs to: a kind of operation, a slot, and the slot's generation, which tells a late
/// completion of a closed connection from one of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: u8,
    pub index: u32,
    /// 24 bits.
    pub generation: u32,
}

impl Token {
    /// The same slot with another operation.
    pub fn with_kind(self, kind: u8) -> Token {
        Token { kind, ..self }
    }

    fn pack(self) -> u64 {
        (u64::from(self.kind) << 56) | (u64::from(self.generation & 0xff_ffff) << 32) | u64::from(self.index)
    }

    fn unpack(value: u64) -> Token {
        Token { kind: (value >> 56) as u8, index: value as u32, generation: (value >> 32) as u32 & 0xff_ffff }
    }
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub token: Token,
    /// Bytes, a descriptor, or a negated errno.
    pub result: i32,
    flags: u32,
}

impl Completion {
    /// Whether a multishot operation stays armed.
    pub fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that holds the received bytes. It must be given back with [`Ring::recycle`].
    pub fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// How large a ring is made.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    pub entries: u32,
    pub completions: u32,
    /// A power of two, at most 32768.
    pub buffers: u16,
    pub buffer_bytes: u32,
}

/// A ring with its provided buffers. One thread makes it and uses it.
pub struct Ring {
    io: IoUring,
    min_wait_usec: u32,
    /// Buffers of [`Ring::send_owned`] that the kernel reads from, by the index of their token.
    sends: Vec<Option<Vec<u8>>>,
    // After `io`: the kernel lets go of the buffers when the ring is closed.
    buffers: BufferRing,
}

const BUFFER_GROUP: u16 = 0;

impl Ring {
    pub fn new(config: RingConfig) -> io::Result<Ring> {
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(config.completions)
            .build(config.entries)?;
        let buffers = BufferRing::new(config.buffers, config.buffer_bytes)?;
        // SAFETY: the address is the page-aligned mapping of `buffers`, which has room for the entries and
        // outlives `io` (declared after it, so dropped after it).
        unsafe {
            io.submitter().register_buf_ring_with_flags(
                buffers.base as u64,
                config.buffers,
                BUFFER_GROUP,
                0,
            )?
        };
        Ok(Ring { io, min_wait_usec: 0, sends: Vec::new(), buffers })
    }

    /// Without a timeout, a turn waits so long for its completions; then one is enough. 0: no limit.
    pub fn set_min_wait(&mut self, usec: u32) {
        self.min_wait_usec = usec;
    }

    /// Submits what is queued, waits for `want` completions or until `timeout`, and moves all completions that
    /// are ready into `batch`.
    pub fn turn(
        &mut self,
        want: usize,
        timeout: Option<Duration>,
        batch: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.buffers.publish();
        let entered = match timeout {
            None if self.min_wait_usec == 0 => self.io.submit_and_wait(want),
            None => {
                let args = SubmitArgs::new().min_wait_usec(self.min_wait_usec);
                self.io.submitter().submit_with_args(want, &args)
            }
            Some(timeout) => {
                let span = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
                self.io.submitter().submit_with_args(want, &SubmitArgs::new().timespec(&span))
            }
        };
        match entered {
            Ok(_) => {}
            // The wait ended by its timeout or a signal; a full completion queue is emptied below.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) => {}
            Err(error) => return Err(error),
        }
        batch.clear();
        batch.extend(self.io.completion().map(|entry| Completion {
            token: Token::unpack(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }));
        Ok(())
    }

    /// The bytes of a provided buffer.
    pub fn bytes(&self, buffer: u16, len: usize) -> &[u8] {
        self.buffers.bytes(buffer, len)
    }

    /// The bytes of a provided buffer, to work on in place.
    pub fn bytes_mut(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        self.buffers.bytes_mut(buffer, len)
    }

    /// Gives a provided buffer back to the kernel, at the next turn.
    pub fn recycle(&mut self, buffer: u16) {
        self.buffers.recycle(buffer);
    }

    /// Accepts connections until told to stop.
    pub fn accept_multi(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.push(opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC).build(), token)
    }

    /// Receives into provided buffers again and again.
    pub fn recv_multi(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.push(opcode::RecvMulti::new(Fd(fd), BUFFER_GROUP).build(), token)
    }

    /// Receives once into a provided buffer.
    pub fn recv_once(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        let entry = opcode::Recv::new(Fd(fd), std::ptr::null_mut(), 0).buf_group(BUFFER_GROUP).build();
        self.push(entry.flags(squeue::Flags::BUFFER_SELECT), token)
    }

    /// Receives up to `len` bytes and throws them away in the kernel (tcp(7), MSG_TRUNC), so that counting a large
    /// body costs no copy. At most [`DISCARD_MAX`] at a time.
    pub fn discard(&mut self, fd: RawFd, len: usize, token: Token) -> io::Result<()> {
        let len = len.min(DISCARD_MAX) as u32;
        // Not MSG_WAITALL as well: the kernel counts progress by the iterator, which MSG_TRUNC does not advance.
        let entry = opcode::Recv::new(Fd(fd), self.buffers.scratch, len).flags(libc::MSG_TRUNC).build();
        self.push(entry, token)
    }

    /// Sends all of `bytes`; one completion when the kernel has taken them.
    pub fn send_static(&mut self, fd: RawFd, bytes: &'static [u8], token: Token) -> io::Result<()> {
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        self.push(opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32).flags(flags).build(), token)
    }

    /// Sends all of `bytes`, which the ring keeps until [`Ring::sent`]: one send at a time for each index of a token.
    pub fn send_owned(&mut self, fd: RawFd, bytes: Vec<u8>, token: Token) -> io::Result<()> {
        let index = token.index as usize;
        if self.sends.len() <= index {
            self.sends.resize_with(index + 1, || None);
        }
        assert!(self.sends[index].is_none(), "one send at a time for each index");
        let (pointer, len) = (bytes.as_ptr(), bytes.len() as u32);
        self.sends[index] = Some(bytes);
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        self.push(opcode::Send::new(Fd(fd), pointer, len).flags(flags).build(), token)
    }

    /// Takes back the buffer of a completed [`Ring::send_owned`].
    pub fn sent(&mut self, token: Token) -> Vec<u8> {
        self.sends.get_mut(token.index as usize).and_then(Option::take).unwrap_or_default()
    }

    /// Sends a part of a provided buffer, which must be recycled only after the completion.
    pub fn send_buffer(
        &mut self,
        fd: RawFd,
        buffer: u16,
        start: u32,
        len: u32,
        token: Token,
    ) -> io::Result<()> {
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let bytes = &self.buffers.bytes(buffer, (start + len) as usize)[start as usize..];
        let (pointer, len) = (bytes.as_ptr(), bytes.len() as u32);
        self.push(opcode::Send::new(Fd(fd), pointer, len).flags(flags).build(), token)
    }

    /// Connects a socket to a leaked address.
    pub fn connect(
        &mut self,
        fd: RawFd,
        address: &'static crate::socket::RawAddress,
        token: Token,
    ) -> io::Result<()> {
        self.push(opcode::Connect::new(Fd(fd), address.as_ptr(), address.len()).build(), token)
    }

    /// Cancels every operation on a descriptor; each of them still completes.
    pub fn cancel_all(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        let what = io_uring::types::CancelBuilder::fd(Fd(fd)).all();
        self.push(opcode::AsyncCancel2::new(what).build(), token)
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) -> io::Result<()> {
        let entry = entry.user_data(token.pack());
        loop {
            // SAFETY: by the module's invariant all memory that an entry points to outlives the operation, and
            // descriptors are plain numbers that the kernel checks.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.io.submit()?;
        }
    }
}

impl Drop for Ring {
    /// A closed ring ends its operations a moment later: what they may still read is given up.
    fn drop(&mut self) {
        self.sends.drain(..).flatten().for_each(std::mem::forget);
    }
}

/// Most bytes that one [`Ring::discard`] takes.
pub const DISCARD_MAX: usize = 1 << 20;

/// Buffers in one mapping: the ring entries first, then the buffers, then a scratch area for discarded bytes.
struct BufferRing {
    base: *mut BufRingEntry,
    buffers: *mut u8,
    scratch: *mut u8,
    mapping_bytes: usize,
    count: u16,
    buffer_bytes: u32,
    tail: u16,
    published: u16,
}

impl BufferRing {
    fn new(count: u16, buffer_bytes: u32) -> io::Result<BufferRing> {
        assert!(count.is_power_of_two() && count <= 1 << 15, "the kernel wants a power of two up to 32768");
        let entries_bytes = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(4096);
        let buffers_bytes = usize::from(count) * buffer_bytes as usize;
        let mapping_bytes = entries_bytes + buffers_bytes + DISCARD_MAX;
        // SAFETY: a fresh anonymous mapping, no address asked for.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapping_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = mapping.cast::<u8>();
        // SAFETY: both offsets lie inside the mapping.
        let (buffers, scratch) =
            unsafe { (base.add(entries_bytes), base.add(entries_bytes + buffers_bytes)) };
        let base = mapping.cast::<BufRingEntry>();
        let mut ring =
            BufferRing { base, buffers, scratch, mapping_bytes, count, buffer_bytes, tail: 0, published: 0 };
        for buffer in 0..count {
            ring.recycle(buffer);
        }
        ring.publish();
        Ok(ring)
    }

    fn bytes(&self, buffer: u16, len: usize) -> &[u8] {
        assert!(
            buffer < self.count && len <= self.buffer_bytes as usize,
            "the kernel names buffers of this ring"
        );
        // SAFETY: in bounds by the assertion; the kernel writes a buffer only while it owns it, that is until it
        // reports it in a completion and again after `publish` of its recycling.
        unsafe {
            std::slice::from_raw_parts(
                self.buffers.add(usize::from(buffer) * self.buffer_bytes as usize),
                len,
            )
        }
    }

    fn bytes_mut(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        assert!(
            buffer < self.count && len <= self.buffer_bytes as usize,
            "the kernel names buffers of this ring"
        );
        // SAFETY: in bounds by the assertion; `self` is borrowed mutably, so nobody else looks at the buffer, and the
        // kernel leaves it alone until `publish` of its recycling.
        unsafe {
            let start = self.buffers.add(usize::from(buffer) * self.buffer_bytes as usize);
            std::slice::from_raw_parts_mut(start, len)
        }
    }

    fn recycle(&mut self, buffer: u16) {
        assert!(buffer < self.count, "the kernel names buffers of this ring");
        let slot = usize::from(self.tail & (self.count - 1));
        // SAFETY: slot < count, buffer < count. The kernel does not read the slot before `publish`, since at most
        // `count` buffers are outstanding.
        unsafe {
            let address = self.buffers.add(usize::from(buffer) * self.buffer_bytes as usize);
            let entry = &mut *self.base.add(slot);
            entry.set_addr(address as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        if self.tail == self.published {
            return;
        }
        // SAFETY: `tail` points into the first entry of the mapping, is aligned, and is shared with the kernel as
        // an atomic 16-bit value.
        unsafe {
            let tail = BufRingEntry::tail(self.base).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
        self.published = self.tail;
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; the ring that used it is closed (field order of `Ring`).
        unsafe { libc::munmap(self.base.cast(), self.mapping_bytes) };
    }
}
