//! Executes submission entries: what the io_uring driver asks for.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::events::{Cqe, Event};
use super::kernel::Kernel;
use super::socket::{Id, Pending, Sending};
use crate::io::socket::SockAddr;

/// Result flags of a completion.
const HAS_BUFFER: u32 = 1;
const HAS_MORE: u32 = 1 << 1;
const BUFFER_SHIFT: u32 = 16;

/// In `ioprio` of a receive.
const RECV_MULTISHOT: u16 = 1 << 1;

/// Flags of a cancellation.
const CANCEL_FD: u32 = 1 << 1;
const CANCEL_ANY: u32 = 1 << 2;

const MILLISECOND: u64 = 1_000_000;
/// Entries may be executed before the turn ends, as when the submission queue was full.
const EARLY_SUBMITS: u32 = 10;

mod opcode {
    pub(super) const POLL_ADD: u8 = 6;
    pub(super) const SENDMSG: u8 = 9;
    pub(super) const ACCEPT: u8 = 13;
    pub(super) const ASYNC_CANCEL: u8 = 14;
    pub(super) const CONNECT: u8 = 16;
    pub(super) const CLOSE: u8 = 19;
    pub(super) const READ: u8 = 22;
    pub(super) const SEND: u8 = 26;
    pub(super) const RECV: u8 = 27;
}

/// The fields of a `struct io_uring_sqe` that we use.
struct Sqe {
    opcode: u8,
    ioprio: u16,
    fd: RawFd,
    off: u64,
    addr: u64,
    len: u32,
    flags: u32,
    user_data: u64,
}

impl Sqe {
    fn read(bytes: &[u8; 64]) -> Sqe {
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        let half = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        Sqe {
            opcode: bytes[0],
            ioprio: u16::from_ne_bytes([bytes[2], bytes[3]]),
            fd: half(4) as i32,
            off: word(8),
            addr: word(16),
            len: half(24),
            flags: half(28),
            user_data: word(32),
        }
    }
}

/// The provided-buffer ring, as the kernel sees it.
pub(super) struct Buffers {
    entries: *mut BufRingEntry,
    mask: u16,
    head: u16,
}

impl Buffers {
    /// The next buffer: its id, address and length.
    fn take(&mut self) -> Option<(u16, *mut u8, usize)> {
        // SAFETY: the driver keeps the entries mapped for as long as the ring lives (see `BufferRing`), and the tail
        // lies in the first one.
        let tail = unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()).load(Ordering::Acquire)
        };
        if tail == self.head {
            return None;
        }
        // SAFETY: as above; the masked index is within the ring, and entries before the tail are written.
        let entry = unsafe { &*self.entries.add(usize::from(self.head & self.mask)) };
        self.head = self.head.wrapping_add(1);
        Some((entry.bid(), entry.addr() as *mut u8, entry.len() as usize))
    }
}

impl Kernel {
    /// Queues an entry. What it points to stays valid until its last completion: the caller's promise to a kernel.
    pub(in crate::io) fn push(&mut self, sqe: [u8; 64]) {
        self.submitted.push_back(sqe);
        if self.rng.chance(EARLY_SUBMITS) {
            self.submit();
        }
    }

    /// `io_uring_enter`.
    pub(in crate::io) fn enter(&mut self, timeout: Option<std::time::Duration>) {
        self.submit();
        self.wait(timeout);
    }

    pub(in crate::io) fn reap(&mut self) -> Option<Cqe> {
        self.cq.pop_front()
    }

    /// `IORING_REGISTER_PBUF_RING`.
    pub(in crate::io) fn register_buffers(&mut self, entries: u64, len: u16) {
        self.buffers = Some(Buffers { entries: entries as *mut BufRingEntry, mask: len - 1, head: 0 });
    }

    fn submit(&mut self) {
        while let Some(sqe) = self.submitted.pop_front() {
            self.execute(&Sqe::read(&sqe));
        }
    }

    fn execute(&mut self, sqe: &Sqe) {
        match sqe.opcode {
            opcode::READ => return self.reads.push(sqe.user_data),
            opcode::ASYNC_CANCEL => return self.cancel(sqe),
            opcode::CLOSE => {
                self.close(sqe.fd);
                // SAFETY: the submitter owned the descriptor and has forgotten it.
                unsafe { libc::close(sqe.fd) };
                return;
            }
            _ => {}
        }
        let Some(id) = self.id_of(sqe.fd) else { return self.complete(sqe.user_data, -libc::EBADF, 0) };
        let serial = self.next_serial();
        let user_data = sqe.user_data;
        match sqe.opcode {
            opcode::RECV => {
                let multishot = sqe.ioprio & RECV_MULTISHOT != 0;
                self.start(id, |s| s.recv = Some(Pending { user_data, serial, what: multishot }));
            }
            opcode::SEND | opcode::SENDMSG => self.start_send(id, sqe, serial),
            opcode::CONNECT => self.start_connect(id, sqe, serial),
            opcode::ACCEPT => self.start(id, |s| s.accept = Some(Pending { user_data, serial, what: () })),
            opcode::POLL_ADD => {
                self.start(id, |s| s.poll = Some(Pending { user_data, serial, what: sqe.flags }));
            }
            other => panic!("the simulated kernel does not know the operation {other}"),
        }
    }

    fn start(&mut self, id: Id, change: impl FnOnce(&mut super::socket::Socket)) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            change(socket);
        }
        self.advance(id);
    }

    fn start_send(&mut self, id: Id, sqe: &Sqe, serial: u64) {
        let mut pieces: Vec<(*const u8, usize)> = Vec::new();
        if sqe.opcode == opcode::SEND {
            pieces.push((sqe.addr as *const u8, sqe.len as usize));
        } else {
            // SAFETY: the submitter keeps header and iovecs valid until the completion.
            let iovecs = unsafe {
                let header = &*(sqe.addr as *const libc::msghdr);
                std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen)
            };
            pieces
                .extend(iovecs.iter().map(|iovec| (iovec.iov_base.cast_const().cast::<u8>(), iovec.iov_len)));
        }
        let total: usize = pieces.iter().map(|(_, len)| len).sum();
        let short = self.fault(self.config.faults.short_sends);
        let limit = if short { 1 + self.rng.below(total as u64) as usize } else { total };
        let what = Sending { pieces, done: 0, limit: limit.min(total) };
        self.start(id, |s| s.send = Some(Pending { user_data: sqe.user_data, serial, what }));
    }

    fn start_connect(&mut self, id: Id, sqe: &Sqe, serial: u64) {
        // SAFETY: the submitter keeps the name valid until the completion; its length is the entry's offset.
        let address = unsafe { SockAddr::copy(sqe.addr as *const u8, sqe.off as usize) }.address();
        let Some(address) = address else { return self.complete(sqe.user_data, -libc::EINVAL, 0) };
        let refused = self.fault(self.config.faults.refused_connects);
        let silent = !refused && self.fault(self.config.faults.silent_connects);
        let slow = self.fault(self.config.faults.stalls);
        let wait = self.rng.between(20_000, if slow { 20_000 * MILLISECOND } else { 2 * MILLISECOND });
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.connect = Some(Pending { user_data: sqe.user_data, serial, what: address });
        }
        if !silent {
            self.schedule(self.now + wait, Event::Connect { id, serial, refused });
        }
    }

    /// A connect is answered.
    pub(super) fn connected(&mut self, id: Id, serial: u64, refused: bool) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let Some(connect) = socket.connect.take_if(|connect| connect.serial == serial) else { return };
        let listener = if refused { None } else { self.listener_at(&connect.what) };
        match listener {
            Some(listener) => {
                self.complete(connect.user_data, 0, 0);
                self.establish(id, listener);
            }
            None => self.complete(connect.user_data, -libc::ECONNREFUSED, 0),
        }
        self.close_if_unused(id);
    }

    fn cancel(&mut self, sqe: &Sqe) {
        let by_fd = (sqe.flags & CANCEL_FD != 0).then(|| self.id_of(sqe.fd));
        let any = sqe.flags & CANCEL_ANY != 0;
        if any {
            for user_data in std::mem::take(&mut self.reads) {
                self.complete(user_data, -libc::ECANCELED, 0);
            }
        }
        let ids: Vec<Id> = match by_fd {
            Some(id) => id.into_iter().collect(),
            None => self.sockets.keys().copied().collect(),
        };
        let mut found = false;
        for id in ids {
            for (user_data, serial) in self.pending(id) {
                if any || by_fd.is_some() || user_data == sqe.addr {
                    found = true;
                    // An operation that is just running is not found by its word; the caller has to ask again.
                    if !any && by_fd.is_none() && self.fault(self.config.faults.late_cancels / 2) {
                        self.complete(sqe.user_data, -libc::ENOENT, 0);
                    } else {
                        self.cancel_soon(id, serial);
                    }
                }
            }
        }
        if !found {
            self.complete(sqe.user_data, -libc::ENOENT, 0);
        }
    }

    fn cancel_soon(&mut self, id: Id, serial: u64) {
        if self.fault(self.config.faults.late_cancels) {
            let late = self.rng.below(5 * MILLISECOND);
            self.schedule(self.now + late, Event::Cancel { id, serial });
        } else {
            self.cancel_now(id, serial);
        }
    }

    /// Words and serial numbers of a socket's operations.
    fn pending(&self, id: Id) -> Vec<(u64, u64)> {
        let Some(s) = self.sockets.get(&id) else { return Vec::new() };
        [
            s.recv.as_ref().map(|op| (op.user_data, op.serial)),
            s.send.as_ref().map(|op| (op.user_data, op.serial)),
            s.connect.as_ref().map(|op| (op.user_data, op.serial)),
            s.accept.as_ref().map(|op| (op.user_data, op.serial)),
            s.poll.as_ref().map(|op| (op.user_data, op.serial)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// A cancellation reaches its operation, unless that has completed meanwhile.
    pub(super) fn cancel_now(&mut self, id: Id, serial: u64) {
        let Some(s) = self.sockets.get_mut(&id) else { return };
        let mut cancelled = None;
        if let Some(op) = s.recv.take_if(|op| op.serial == serial) {
            cancelled = Some((op.user_data, 0));
        } else if let Some(op) = s.send.take_if(|op| op.serial == serial) {
            cancelled = Some((op.user_data, op.what.done));
        } else if let Some(op) = s.connect.take_if(|op| op.serial == serial) {
            cancelled = Some((op.user_data, 0));
        } else if let Some(op) = s.accept.take_if(|op| op.serial == serial) {
            cancelled = Some((op.user_data, 0));
        } else if let Some(op) = s.poll.take_if(|op| op.serial == serial) {
            cancelled = Some((op.user_data, 0));
        }
        if let Some((user_data, done)) = cancelled {
            // A send that was under way says how far it came.
            self.complete(user_data, if done > 0 { done as i32 } else { -libc::ECANCELED }, 0);
            self.advance(id);
        }
    }

    pub(super) fn advance_accept(&mut self, id: Id) {
        loop {
            let Some(socket) = self.sockets.get_mut(&id) else { return };
            let Some(user_data) = socket.accept.as_ref().map(|op| op.user_data) else { return };
            let Some(server) = socket.backlog.as_mut().and_then(|backlog| backlog.pop_front()) else {
                return;
            };
            if self.fault(self.config.faults.failed_accepts) {
                let errno = *self.rng.pick(&[libc::ECONNABORTED, libc::EMFILE]);
                if errno == libc::EMFILE {
                    if let Some(backlog) =
                        self.sockets.get_mut(&id).and_then(|socket| socket.backlog.as_mut())
                    {
                        backlog.push_front(server);
                    }
                } else {
                    self.abandon(server);
                }
                self.end_accept(id);
                self.complete(user_data, -errno, 0);
                return;
            }
            let Some(accepted) = self.sockets.get_mut(&server) else { continue };
            match accepted.name() {
                Ok(fd) => {
                    self.set_fd(fd, server);
                    self.loosen(server);
                    let ends = self.fault(self.config.faults.ended_multishots);
                    if ends {
                        self.end_accept(id);
                    }
                    self.complete(user_data, fd, if ends { 0 } else { HAS_MORE });
                }
                Err(error) => panic!("the simulation is out of descriptors: {error}"),
            }
        }
    }

    fn end_accept(&mut self, id: Id) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.accept = None;
        }
    }

    /// Moves what has arrived into provided buffers.
    pub(super) fn advance_recv(&mut self, id: Id) {
        let mut read = false;
        while let Some(socket) = self.sockets.get_mut(&id) {
            let Some((user_data, multishot)) = socket.recv.as_ref().map(|op| (op.user_data, op.what)) else {
                break;
            };
            if socket.rx.is_empty() {
                let result = match (socket.error, socket.fin || socket.rx_shut) {
                    (0, false) => break,
                    (0, true) => 0,
                    (errno, _) => -errno,
                };
                socket.recv = None;
                self.complete(user_data, result, 0);
                break;
            }
            let refused = self.fault(self.config.faults.no_buffers);
            let buffer = if refused { None } else { self.buffers.as_mut().and_then(Buffers::take) };
            let Some((bid, address, capacity)) = buffer else {
                self.end_recv(id);
                self.complete(user_data, -libc::ENOBUFS, 0);
                break;
            };
            let split = self.fault(self.config.faults.splits);
            let ends = !multishot || self.fault(self.config.faults.ended_multishots);
            let Some(socket) = self.sockets.get_mut(&id) else { break };
            let mut len = socket.rx.len().min(capacity);
            if split {
                len = 1 + self.rng.below(len as u64) as usize;
            }
            let bytes: Vec<u8> = socket.rx.drain(..len).collect();
            // SAFETY: the driver offered `capacity` writable bytes at this address and does not touch them before the
            // completion below.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address, len) };
            if ends {
                socket.recv = None;
            }
            let more = if ends { 0 } else { HAS_MORE };
            self.complete(user_data, len as i32, HAS_BUFFER | more | u32::from(bid) << BUFFER_SHIFT);
            read = true;
        }
        if read {
            self.window_opened(id);
        }
    }

    fn end_recv(&mut self, id: Id) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.recv = None;
        }
    }

    /// Takes bytes of the send under way, as far as there is room.
    pub(super) fn advance_send(&mut self, id: Id) {
        loop {
            let Some(socket) = self.sockets.get_mut(&id) else { return };
            let Some(op) = socket.send.as_mut() else { return };
            let user_data = op.user_data;
            let broken = match (socket.error, socket.peer.is_none() || socket.fin_wanted) {
                (0, false) => 0,
                (0, true) => libc::EPIPE,
                (errno, _) => errno,
            };
            if broken != 0 || op.what.done == op.what.limit {
                let result = if op.what.done > 0 { op.what.done as i32 } else { -broken };
                socket.send = None;
                self.complete(user_data, result, 0);
                return self.transmit(id);
            }
            let room = socket.tx_max.saturating_sub(socket.tx.len()).min(op.what.limit - op.what.done);
            if room == 0 {
                return;
            }
            let (address, len) = op.what.piece();
            let len = len.min(room);
            // SAFETY: the submitter keeps the pieces valid until the completion, which was not posted yet.
            socket.tx.extend(unsafe { std::slice::from_raw_parts(address, len) });
            op.what.done += len;
            self.transmit(id);
        }
    }

    pub(super) fn advance_poll(&mut self, id: Id) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let Some(poll) = &socket.poll else { return };
        let mut found = 0;
        if socket.is_readable() {
            found |= libc::POLLIN as u32;
        }
        if socket.is_writable() {
            found |= libc::POLLOUT as u32;
        }
        if socket.error != 0 {
            found |= (libc::POLLERR | libc::POLLHUP) as u32;
        }
        let found = found & (poll.what | (libc::POLLERR | libc::POLLHUP) as u32);
        if found != 0 {
            let user_data = poll.user_data;
            socket.poll = None;
            self.complete(user_data, found as i32, 0);
        }
    }
}

impl Sending {
    /// The bytes that come next.
    fn piece(&self) -> (*const u8, usize) {
        let mut skip = self.done;
        for (address, len) in &self.pieces {
            if skip < *len {
                return (address.wrapping_add(skip), len - skip);
            }
            skip -= len;
        }
        (std::ptr::NonNull::dangling().as_ptr(), 0)
    }
}
