//! The state of one stream, common to the drivers: what it received, what it still has to send, who waits for it.
//!
//! A driver moves bytes and reports to the functions below; they do the accounting and wake.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{io, mem, ptr};

use super::error::{MEMORY_RESET, errno_error};
use super::parts::{Part, Parts};
use super::runtime::Runtime;
use super::{Chunk, socket};

/// Pieces that one send operation gathers.
pub(super) const IOVECS_MAX: usize = 16;

/// Bytes that one send operation covers, so that its completion is progress and not the end of a large body.
pub(super) const SEND_BYTES_MAX: usize = 256 * 1024;

/// Send states kept for reuse by one worker.
const SEND_STATES_MAX: usize = 256;

/// Chunks up to this size are copied behind a waiting one rather than holding a buffer each.
const APPEND_BYTES_MAX: usize = 2048;

/// Time for buffers to come back before a stream is reset for them, and then before another one is.
pub(super) const RELIEF_INTERVAL: Duration = Duration::from_millis(5);

/// One bit each of [`Slot::flags`].
pub(super) mod flag {
    /// A `Stream` refers to the slot.
    pub(crate) const HANDLE: u32 = 1;
    /// A receive is outstanding (io_uring), or the socket may have bytes to read (epoll).
    pub(crate) const RECV_ARMED: u32 = 1 << 1;
    /// The outstanding receive was asked to end.
    pub(crate) const RECV_CANCELLED: u32 = 1 << 2;
    /// The receive waits until a buffer is free.
    pub(crate) const RECV_STARVED: u32 = 1 << 3;
    /// The peer sent all it will send.
    pub(crate) const EOF: u32 = 1 << 4;
    /// A send is with the kernel (io_uring), or waits until the socket has room (epoll).
    pub(crate) const SEND_BUSY: u32 = 1 << 5;
    /// The slot is listed in the driver as having something to send.
    pub(crate) const SEND_LISTED: u32 = 1 << 6;
    /// The write side is to be shut down after the last byte.
    pub(crate) const SHUT_WANTED: u32 = 1 << 7;
    /// The write side is shut down.
    pub(crate) const SHUT: u32 = 1 << 8;
    /// A connect is outstanding.
    pub(crate) const CONNECTING: u32 = 1 << 9;
    /// The stream holds all that it may; the receive is armed again once that was delivered.
    pub(crate) const PAUSED: u32 = 1 << 10;
    /// A readiness poll is outstanding (splice).
    pub(crate) const POLLING: u32 = 1 << 11;
    /// epoll: the socket is registered.
    pub(crate) const REGISTERED: u32 = 1 << 12;
    /// epoll: readable as far as known.
    pub(crate) const READABLE: u32 = 1 << 13;
    /// epoll: writable as far as known.
    pub(crate) const WRITABLE: u32 = 1 << 14;
    /// epoll: the peer's FIN or an error was reported with the readiness.
    pub(crate) const HANGUP: u32 = 1 << 15;
    /// The socket is non-blocking for the time of a splice: ring operations on it cannot wait.
    pub(crate) const SPLICING: u32 = 1 << 16;
    /// io_uring: what comes in is more than what goes out, so one buffer at a time is asked for.
    pub(crate) const BULK: u32 = 1 << 17;
    /// io_uring: the outstanding receive goes on delivering beyond the bound, and no buffers are offered until it ended.
    pub(crate) const OVERRUN: u32 = 1 << 18;
}

pub(crate) struct Slot {
    pub(super) fd: RawFd,
    pub(super) flags: u32,
    /// errno of the failed receive side, or 0.
    pub(super) recv_error: i32,
    /// errno of the failed send side or connect, or 0.
    pub(super) send_error: i32,
    /// Memory of what is received but undelivered, in bytes.
    held: u32,
    /// Operations whose last completion is still to come (io_uring).
    pub(super) pending: u32,
    /// The first undelivered chunk.
    first: Chunk,
    /// Those behind it.
    #[expect(clippy::box_collection, reason = "8 bytes in each of many idle streams instead of 32")]
    rest: Option<Box<VecDeque<Chunk>>>,
    pub(super) recv_waker: Option<Waker>,
    reset_waker: Option<Waker>,
    /// Present while something is being sent or waited for.
    pub(super) send: Option<Box<SendState>>,
    /// What few streams need.
    pub(super) rare: Option<Box<Rare>>,
}

/// The sending side, while it is busy.
pub(crate) struct SendState {
    /// Not yet accepted by the kernel; the first one from byte `offset` on.
    pub(super) parts: VecDeque<Part>,
    pub(super) offset: usize,
    pub(super) unsent: usize,
    /// Who waits until at most `room` bytes are unsent.
    waker: Option<Waker>,
    room: usize,
    pub(super) iovecs: [libc::iovec; IOVECS_MAX],
    pub(super) header: libc::msghdr,
}

#[derive(Default)]
pub(crate) struct Rare {
    /// Kept for an outstanding connect.
    pub(super) address: Option<Box<socket::SockAddr>>,
    /// The task that waits for readiness, and what the poll said.
    pub(super) poll_waker: Option<Waker>,
    pub(super) poll_result: Option<i32>,
    /// epoll: what is waited for.
    pub(super) poll_events: u32,
    /// Guests: what the stream's foreign tasks are told.
    #[cfg(any(feature = "monoio", feature = "glommio"))]
    pub(super) gate: Option<std::rc::Rc<super::guest::Gate>>,
}

impl SendState {
    fn new() -> Box<SendState> {
        Box::new(SendState {
            parts: VecDeque::new(),
            offset: 0,
            unsent: 0,
            waker: None,
            room: 0,
            iovecs: [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; IOVECS_MAX],
            // SAFETY: all-zero is a valid msghdr: null pointers and zero lengths.
            header: unsafe { mem::zeroed() },
        })
    }

    fn push(&mut self, key: u32, part: Part) {
        if part.is_empty() {
            return;
        }
        if let Part::Chunk(chunk) = &part {
            chunk.set_holder(key);
        }
        self.unsent += part.len();
        self.parts.push_back(part);
    }

    /// Fills the iovecs from the front of the queue: how many, and how many bytes they cover.
    pub(super) fn gather(&mut self) -> (usize, usize) {
        let (mut count, mut bytes, mut offset) = (0, 0, self.offset);
        for part in &self.parts {
            if count == IOVECS_MAX || bytes == SEND_BYTES_MAX {
                break;
            }
            let piece = &part[offset..];
            let len = piece.len().min(SEND_BYTES_MAX - bytes);
            self.iovecs[count] = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: len };
            (count, bytes, offset) = (count + 1, bytes + len, 0);
        }
        (count, bytes)
    }

    /// Forgets the first `n` bytes.
    fn consume(&mut self, mut n: usize) {
        self.unsent -= n;
        while n > 0 {
            let Some(part) = self.parts.front() else { break };
            let left = part.len() - self.offset;
            if n < left {
                self.offset += n;
                return;
            }
            n -= left;
            self.offset = 0;
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(Part::Bytes(bytes)) = self.parts.pop_front() {
            super::give_vec(bytes);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        while !self.parts.is_empty() {
            self.pop();
        }
        (self.offset, self.unsent) = (0, 0);
    }
}

impl Slot {
    pub(super) fn new(fd: RawFd) -> Slot {
        Slot {
            fd,
            flags: flag::HANDLE,
            recv_error: 0,
            send_error: 0,
            held: 0,
            pending: 0,
            first: Chunk::empty(),
            rest: None,
            recv_waker: None,
            reset_waker: None,
            send: None,
            rare: None,
        }
    }

    #[inline]
    pub(super) fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    #[inline]
    pub(super) fn set(&mut self, flags: u32) {
        self.flags |= flags;
    }

    #[inline]
    pub(super) fn clear(&mut self, flags: u32) {
        self.flags &= !flags;
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Nothing was received that is not delivered, and the receive side is well.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && !self.has(flag::EOF) && self.recv_error == 0
    }

    pub(super) fn unsent(&self) -> usize {
        self.send.as_ref().map_or(0, |send| send.unsent)
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        if self.first.is_empty() {
            self.held += chunk.capacity() as u32;
            self.first = chunk;
            return;
        }
        let rest = self.rest.get_or_insert_default();
        let last = rest.back_mut().unwrap_or(&mut self.first);
        if chunk.len() <= APPEND_BYTES_MAX && last.append(&chunk) {
            return;
        }
        self.held += chunk.capacity() as u32;
        rest.push_back(chunk);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Chunk> {
        if self.first.is_empty() {
            return None;
        }
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front()).unwrap_or_default();
        if next.is_empty() {
            self.rest = None;
        }
        let chunk = mem::replace(&mut self.first, next);
        self.held -= chunk.capacity() as u32;
        Some(chunk)
    }

    /// Puts bytes back in front of what is undelivered.
    pub(super) fn push_front(&mut self, chunk: Chunk) {
        self.held += chunk.capacity() as u32;
        let second = mem::replace(&mut self.first, chunk);
        if !second.is_empty() {
            self.rest.get_or_insert_default().push_front(second);
        }
    }

    /// Memory of what is received but undelivered, in bytes.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    pub(super) fn is_full(&self, bytes_max: u32) -> bool {
        self.held >= bytes_max
    }

    /// Whether a paused receive should run again: half of what it may hold was delivered.
    pub(super) fn is_drained(&self, bytes_max: u32) -> bool {
        self.held <= bytes_max / 2
    }

    pub(super) fn wait_recv(&mut self, cx: &Context<'_>) {
        if !self.recv_waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.recv_waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn poll_reset(&mut self, cx: &Context<'_>) -> Poll<io::Error> {
        if self.recv_error != 0 {
            return Poll::Ready(errno_error(self.recv_error));
        }
        if !self.reset_waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.reset_waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn poll_room(&mut self, cx: &Context<'_>, bytes_max: usize) -> Poll<io::Result<()>> {
        if self.send_error != 0 {
            return Poll::Ready(Err(errno_error(self.send_error)));
        }
        let Some(send) = &mut self.send else { return Poll::Ready(Ok(())) };
        if send.unsent <= bytes_max {
            return Poll::Ready(Ok(()));
        }
        send.room = bytes_max;
        if !send.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            send.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Queues parts. False when there was nothing in them.
    pub(super) fn enqueue(&mut self, rt: &Runtime, key: u32, parts: Parts) -> bool {
        let send = self.sending(rt);
        parts.list.into_iter().flatten().for_each(|part| send.push(key, part));
        send.unsent > 0
    }

    /// Like [`Slot::enqueue`], for a list of any length, which is emptied.
    pub(super) fn enqueue_all(&mut self, rt: &Runtime, key: u32, parts: &mut VecDeque<Part>) -> bool {
        let send = self.sending(rt);
        parts.drain(..).for_each(|part| send.push(key, part));
        send.unsent > 0
    }

    fn sending(&mut self, rt: &Runtime) -> &mut SendState {
        self.send.get_or_insert_with(|| rt.send_states.borrow_mut().pop().unwrap_or_else(SendState::new))
    }

    /// The kernel accepted `n` bytes. Returns who waited for that.
    pub(super) fn on_sent(&mut self, rt: &Runtime, n: usize) -> Option<Waker> {
        let send = self.send.as_mut()?;
        send.consume(n);
        if send.unsent > 0 {
            return if send.unsent <= send.room { send.waker.take() } else { None };
        }
        let waker = send.waker.take();
        self.recycle_send(rt);
        waker
    }

    pub(super) fn on_send_error(&mut self, rt: &Runtime, errno: i32) -> Option<Waker> {
        if self.send_error == 0 {
            self.send_error = errno;
        }
        let waker = self.send.as_mut().and_then(|send| {
            send.clear();
            send.waker.take()
        });
        self.recycle_send(rt);
        waker
    }

    fn recycle_send(&mut self, rt: &Runtime) {
        if let Some(send) = self.send.take() {
            let mut states = rt.send_states.borrow_mut();
            if states.len() < SEND_STATES_MAX {
                states.push(send);
            }
        }
    }

    /// The receive side failed. Returns who is to be told.
    pub(super) fn on_recv_error(&mut self, errno: i32) -> [Option<Waker>; 2] {
        if self.recv_error == 0 {
            self.recv_error = errno;
        }
        [self.recv_waker.take(), self.reset_waker.take()]
    }

    /// Takes everything out that must not be dropped under a borrow.
    pub(super) fn take_contents(&mut self) -> Contents {
        self.held = 0;
        Contents {
            _chunks: (mem::take(&mut self.first), self.rest.take()),
            _wakers: [
                self.recv_waker.take(),
                self.reset_waker.take(),
                self.send.as_mut().and_then(|send| send.waker.take()),
                self.rare.as_mut().and_then(|rare| rare.poll_waker.take()),
            ],
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.fd >= 0 {
            socket::close(self.fd);
        }
    }
}

/// See [`Slot::take_contents`].
pub(super) struct Contents {
    #[expect(clippy::box_collection, reason = "as in the slot")]
    _chunks: (Chunk, Option<Box<VecDeque<Chunk>>>),
    _wakers: [Option<Waker>; 4],
}

/// Buffers ran out and receives wait for one. When none has come back for a while, resets the largest holder. True when
/// there may be a free buffer now.
pub(super) fn relieve_memory(rt: &Runtime) -> bool {
    let now = rt.clock.now();
    let since = rt.starved_since.get().unwrap_or(now);
    rt.starved_since.set(Some(since));
    if now.duration_since(since) < RELIEF_INTERVAL {
        return false;
    }
    rt.starved_since.set(Some(now));
    reset_largest_holder(rt) && rt.pool.has_free()
}

/// Resets the stream that holds the most buffers, because there are no more. True when one was found.
fn reset_largest_holder(rt: &Runtime) -> bool {
    // In order of keys, so that a simulated run can be repeated.
    let mut held: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
    rt.pool.holders(|stream| *held.entry(stream).or_default() += 1);
    let largest = held
        .into_iter()
        .filter(|(key, _)| rt.slots.borrow().get(*key).is_some_and(|slot| slot.send_error != MEMORY_RESET))
        .max_by_key(|(_, buffers)| *buffers);
    let Some((key, _)) = largest else { return false };
    rt.counters.memory_resets.add(1);
    let mut wakers = Vec::new();
    let contents = {
        let mut slots = rt.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key) else { return false };
        socket::linger_zero(slot.fd);
        slot.recv_error = MEMORY_RESET;
        slot.send_error = MEMORY_RESET;
        wakers.extend(slot.on_recv_error(MEMORY_RESET).into_iter().flatten());
        // A send that the kernel is working on keeps its parts until it ends; shutting down ends it.
        if !slot.has(flag::SEND_BUSY) {
            wakers.extend(slot.on_send_error(rt, MEMORY_RESET));
        } else if let Some(send) = &mut slot.send {
            wakers.extend(send.waker.take());
        }
        socket::shutdown(slot.fd, libc::SHUT_RDWR);
        slot.take_contents()
    };
    wakers.into_iter().for_each(Waker::wake);
    drop(contents);
    true
}
