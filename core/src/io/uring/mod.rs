//! The io_uring driver.
//!
//! **Invariant:** a slot of the stream slab stays until the last completion of each of its operations, and owns what
//! they point to (parts, iovecs, addresses). The kernel therefore never sees freed memory, whatever tasks are dropped.

mod buffers;
mod ops;
mod ring;
#[cfg(feature = "sim")]
mod simulated;
pub(super) mod try_out;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use self::buffers::BufferRing;
use self::ops::Op;
#[cfg(not(feature = "sim"))]
use self::ring::Ring;
use self::ring::{BATCH, Completion};
#[cfg(feature = "sim")]
use self::simulated::Ring;
use super::listener::{self, ListenerSlot};
use super::pool::Pool;
use super::runtime::Runtime;
use super::slab::Slab;
use super::slot::{self, Slot, flag};
use super::socket::SockAddr;
use super::stream;
use super::waker::Remote;
use super::{Chunk, RuntimeConfig};

/// How long a shutdown waits for the kernel to let go of our memory; then the memory is leaked.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Whether a completion is one of an accept.
#[cfg(feature = "sim")]
pub(super) fn is_accept(user_data: u64) -> bool {
    matches!(ops::of(user_data), Some((Op::Accept, _)))
}

pub(crate) struct Uring {
    // Declared first: dropped first, so that the kernel has let go of the buffer ring when that is unmapped.
    ring: Ring,
    buffers: BufferRing,
    /// Multishot receives can be given a limit, and so end by themselves.
    recv_limit: bool,
    wait_nr: u32,
    min_wait_usec: u32,
    eventfd: RawFd,
    /// Where the read of the eventfd goes.
    eventfd_value: Box<Cell<u64>>,
    eventfd_armed: Cell<bool>,
    /// Streams with something to send: submitted at the end of the turn, so that it is gathered.
    to_send: RefCell<Vec<u32>>,
    /// Streams whose receive found no buffer.
    starved: RefCell<Vec<u32>>,
    /// Streams whose receive goes on beyond its bound.
    overruns: Cell<u32>,
    /// Operations whose last completion is still to come, those that nobody waits for excluded.
    outstanding: Cell<u32>,
    /// Messages to other rings under way: to fall back on their eventfd if one fails.
    messages: RefCell<Slab<Arc<Remote>>>,
    shutting_down: Cell<bool>,
}

impl Uring {
    pub(super) fn new(config: &RuntimeConfig, pool: &Rc<Pool>, remote: &Arc<Remote>) -> io::Result<Uring> {
        let ring = Ring::new(config.ring_entries)?;
        let buffers = BufferRing::new(&ring, config.buffers.ring_buffers, pool)?;
        remote.set_ring(ring.fd());
        let recv_limit = ring.has_recv_limit();
        let uring = Uring {
            recv_limit,
            ring,
            buffers,
            wait_nr: config.wait_nr,
            min_wait_usec: config.min_wait_usec,
            eventfd: remote.eventfd(),
            eventfd_value: Box::new(Cell::new(0)),
            eventfd_armed: Cell::new(false),
            to_send: RefCell::default(),
            starved: RefCell::default(),
            overruns: Cell::new(0),
            outstanding: Cell::new(0),
            messages: RefCell::new(Slab::new()),
            shutting_down: Cell::new(false),
        };
        uring.arm_eventfd();
        Ok(uring)
    }

    pub(super) fn prepare(&self, rt: &Runtime) {
        self.submit_sends(rt);
        self.offer_buffers(rt);
    }

    pub(super) fn is_starved(&self) -> bool {
        !self.starved.borrow().is_empty()
    }

    pub(super) fn turn(&self, rt: &Runtime, timeout: Option<Duration>) {
        if self.ring.enter_and_wait(timeout, self.wait_nr, self.min_wait_usec) {
            rt.counters.cq_overflows.add(1);
        }
        rt.counters.sq_full.add(self.ring.sq_full());
        let mut batch = [Completion::default(); BATCH];
        loop {
            let n = self.ring.reap(&mut batch);
            rt.counters.completions.add(n as u64);
            for completion in &batch[..n] {
                self.complete(rt, completion);
            }
            if n < BATCH {
                break;
            }
        }
    }

    pub(super) fn connect(&self, rt: &Runtime, key: u32, to: SockAddr) -> io::Result<()> {
        let mut slots = rt.slots.borrow_mut();
        let slot = slots.get_mut(key).ok_or(io::ErrorKind::NotConnected)?;
        slot.set(flag::CONNECTING);
        let fd = slot.fd;
        let address = slot.rare().address.insert(Box::new(to));
        let entry = ops::connect(fd, key, address);
        // SAFETY: the address is boxed in the slot, which stays until the completion.
        unsafe { self.submit(slot, &entry) };
        Ok(())
    }

    pub(super) fn arm_recv(&self, rt: &Runtime, key: u32, slot: &mut Slot) {
        slot.set(flag::RECV_ARMED);
        let entry = if self.recv_limit {
            // What the stream may still hold: a fast sender ends the receive by that, and needs no cancel.
            let room = rt.connection_bytes_max.saturating_sub(slot.held()).max(rt.pool.buffer_bytes());
            ops::recv_up_to(slot.fd, key, room)
        } else if slot.has(flag::BULK) {
            ops::recv_once(slot.fd, key)
        } else {
            ops::recv(slot.fd, key)
        };
        // SAFETY: the entry points to nothing; buffers come from the registered ring.
        unsafe { self.submit(slot, &entry) };
    }

    pub(super) fn cancel_recv(&self, key: u32, slot: &mut Slot) -> bool {
        if slot.has(flag::RECV_ARMED) && !slot.has(flag::RECV_CANCELLED) {
            slot.set(flag::RECV_CANCELLED);
            // SAFETY: the entry points to nothing.
            unsafe { self.ring.push(&ops::cancel(Op::Recv, key)) };
        }
        slot.has(flag::RECV_ARMED)
    }

    pub(super) fn start_send(&self, key: u32, slot: &mut Slot) {
        slot.set(flag::SEND_LISTED);
        self.to_send.borrow_mut().push(key);
    }

    pub(super) fn close(&self, slot: &mut Slot) -> bool {
        let fd = std::mem::replace(&mut slot.fd, -1);
        if fd >= 0 {
            if slot.pending > 0 {
                // SAFETY: the entry points to nothing.
                unsafe { self.ring.push(&ops::cancel_fd(fd)) };
            }
            // By the ring rather than close(2), which would need the cancel to be submitted in mid-turn: 41.8 against 43.1 µs
            // of CPU for a request with a connection each (medians of five interleaved rounds).
            // SAFETY: as above. Entries are executed in order, so the cancel still finds the descriptor.
            unsafe { self.ring.push(&ops::close(fd)) };
        }
        slot.pending == 0 && !slot.has(flag::SEND_LISTED | flag::RECV_STARVED)
    }

    pub(super) fn arm_accept(&self, rt: &Runtime, key: u32) {
        let mut listeners = rt.listeners.borrow_mut();
        let Some(listener) = listeners.get_mut(key).filter(|listener| !listener.armed) else { return };
        (listener.armed, listener.cancelled) = (true, false);
        self.outstanding.set(self.outstanding.get() + 1);
        // SAFETY: the entry points to nothing: a multishot accept reports no addresses.
        unsafe { self.ring.push(&ops::accept(listener.fd, key)) };
    }

    pub(super) fn close_listener(&self, rt: &Runtime, key: u32) -> bool {
        let mut listeners = rt.listeners.borrow_mut();
        let Some(listener) = listeners.get_mut(key) else { return true };
        if !listener.armed {
            return true;
        }
        self.cancel_accept(key, listener);
        false
    }

    pub(super) fn message(&self, to: &Arc<Remote>) -> bool {
        if to.ring() < 0 || self.shutting_down.get() {
            return false;
        }
        let key = self.messages.borrow_mut().insert(to.clone());
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(&ops::message(to.ring(), key)) };
        true
    }

    pub(super) fn poll_ready(&self, key: u32, slot: &mut Slot, events: u32) {
        slot.set(flag::POLLING);
        // SAFETY: the entry points to nothing.
        unsafe { self.submit(slot, &ops::poll(slot.fd, key, events)) };
    }

    pub(super) fn cancel_poll(&self, key: u32, slot: &Slot) {
        if slot.has(flag::POLLING) {
            // SAFETY: the entry points to nothing.
            unsafe { self.ring.push(&ops::cancel(Op::Poll, key)) };
        }
    }

    pub(super) fn shut_down(&self, rt: &Runtime) {
        self.shutting_down.set(true);
        let keys: Vec<u32> = rt.slots.borrow().keys().collect();
        for key in keys {
            let mut slots = rt.slots.borrow_mut();
            if let Some(slot) = slots.get_mut(key) {
                slot.clear(flag::HANDLE | flag::SEND_LISTED | flag::RECV_STARVED);
                if self.close(slot) {
                    let slot = slots.remove(key);
                    drop(slots);
                    slot.into_iter().for_each(|slot| stream::retire(rt, slot));
                }
            }
        }
        self.to_send.take();
        self.starved.take();
        rt.remote.set_ring(-1);
        let started = Instant::now();
        while self.outstanding.get() > 0 {
            // Again in each round: an accept may have been armed again since the last one.
            // SAFETY: the entry points to nothing.
            unsafe { self.ring.push(&ops::cancel_all()) };
            self.prepare(rt);
            self.turn(rt, Some(Duration::from_millis(50)));
            if started.elapsed() > DRAIN_MAX {
                // The kernel still refers to memory of these slots: never free it.
                std::mem::forget(rt.slots.take());
                std::mem::forget(Rc::clone(&rt.pool));
                break;
            }
        }
        // What was queued last (closes) still has to be submitted.
        self.turn(rt, Some(Duration::ZERO));
    }

    /// Submits an operation of a slot and counts it.
    ///
    /// # Safety
    /// What the entry points to is owned by the slot.
    unsafe fn submit(&self, slot: &mut Slot, entry: &io_uring::squeue::Entry) {
        slot.pending += 1;
        self.outstanding.set(self.outstanding.get() + 1);
        // SAFETY: the slot stays until its pending operations have completed.
        unsafe { self.ring.push(entry) };
    }

    fn submit_sends(&self, rt: &Runtime) {
        let mut listed = self.to_send.take();
        for key in listed.drain(..) {
            let mut slots = rt.slots.borrow_mut();
            let Some(slot) = slots.get_mut(key) else { continue };
            slot.clear(flag::SEND_LISTED);
            if !slot.has(flag::HANDLE) {
                if slot.pending == 0 {
                    let slot = slots.remove(key);
                    drop(slots);
                    slot.into_iter().for_each(|slot| stream::retire(rt, slot));
                }
                continue;
            }
            self.submit_send(key, slot);
        }
        // Nothing was listed meanwhile: submitting runs no foreign code.
        self.to_send.replace(listed);
    }

    fn submit_send(&self, key: u32, slot: &mut Slot) {
        let fd = slot.fd;
        let Some(send) = slot.send.as_mut().filter(|send| send.unsent > 0) else { return };
        let (count, _) = send.gather();
        let entry = ops::send(fd, key, send, count);
        slot.set(flag::SEND_BUSY);
        // SAFETY: parts, iovecs and header belong to the slot's boxed send state, which neither moves nor goes before
        // the completion.
        unsafe { self.submit(slot, &entry) };
    }

    /// Tops the buffer ring up and arms the receives that waited for that.
    fn offer_buffers(&self, rt: &Runtime) {
        if self.overruns.get() > 0 {
            return;
        }
        self.buffers.refill();
        if self.starved.borrow().is_empty() {
            return;
        }
        if self.buffers.offered() == 0 && !(slot::relieve_memory(rt) && self.refill_again()) {
            return;
        }
        rt.starved_since.set(None);
        for key in self.starved.take() {
            let mut slots = rt.slots.borrow_mut();
            let Some(slot) = slots.get_mut(key) else { continue };
            if !slot.has(flag::HANDLE) {
                slot.clear(flag::RECV_STARVED);
                if slot.pending == 0 && !slot.has(flag::SEND_LISTED) {
                    let slot = slots.remove(key);
                    drop(slots);
                    slot.into_iter().for_each(|slot| stream::retire(rt, slot));
                }
                continue;
            }
            if slot.has(flag::RECV_STARVED) {
                slot.clear(flag::RECV_STARVED);
                self.rearm(rt, key, slot);
            }
        }
    }

    fn refill_again(&self) -> bool {
        self.buffers.refill();
        self.buffers.offered() > 0
    }

    fn cancel_accept(&self, key: u32, listener: &mut ListenerSlot) {
        if !listener.cancelled {
            listener.cancelled = true;
            // SAFETY: the entry points to nothing.
            unsafe { self.ring.push(&ops::cancel(Op::Accept, key)) };
        }
    }

    fn arm_eventfd(&self) {
        if !self.eventfd_armed.replace(true) {
            self.outstanding.set(self.outstanding.get() + 1);
            // SAFETY: the value is boxed and lives as long as the driver, which is drained before it drops.
            unsafe { self.ring.push(&ops::read_eventfd(self.eventfd, self.eventfd_value.as_ptr())) };
        }
    }

    fn complete(&self, rt: &Runtime, completion: &Completion) {
        let Some((op, key)) = ops::of(completion.user_data) else { return };
        let last = !ring::more(completion.flags);
        match op {
            Op::Recv => self.on_recv(rt, key, completion, last),
            Op::Send => self.on_send(rt, key, completion.result),
            Op::SendReady => self.finish(rt, key, true, |slot| {
                slot.clear(flag::SEND_BUSY);
                if slot.has(flag::HANDLE) {
                    slot.set(flag::SEND_LISTED);
                    self.to_send.borrow_mut().push(key);
                }
                None
            }),
            Op::Accept => self.on_accept(rt, key, completion.result, last),
            Op::Connect => {
                self.finish(rt, key, true, |slot| {
                    slot.clear(flag::CONNECTING);
                    slot.send_error = if completion.result < 0 { -completion.result } else { 0 };
                    slot.rare = None;
                    slot.recv_waker.take()
                });
            }
            Op::Poll => self.finish(rt, key, true, |slot| {
                slot.clear(flag::POLLING);
                let rare = slot.rare();
                rare.poll_result = Some(completion.result);
                rare.poll_waker.take()
            }),
            Op::Eventfd => {
                self.outstanding.set(self.outstanding.get() - 1);
                self.eventfd_armed.set(false);
                if !self.shutting_down.get() {
                    self.arm_eventfd();
                }
            }
            Op::Messaged => {
                let remote = self.messages.borrow_mut().remove(key);
                if let Some(remote) = remote.filter(|_| completion.result < 0) {
                    remote.ring_eventfd();
                }
            }
            Op::CancelRecv => self.cancel_again(rt, key),
            Op::Message | Op::Quiet => {}
        }
    }

    /// Handles a completion of a slot: `apply` changes the slot and says whom to wake. After its last completion a slot
    /// without a stream goes.
    fn finish(&self, rt: &Runtime, key: u32, last: bool, apply: impl FnOnce(&mut Slot) -> Option<Waker>) {
        let mut slots = rt.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key) else { return };
        if last {
            slot.pending -= 1;
            self.outstanding.set(self.outstanding.get() - 1);
        }
        let waker = apply(slot);
        let gone = slot.pending == 0 && !slot.has(flag::HANDLE | flag::SEND_LISTED | flag::RECV_STARVED);
        let removed = if gone { slots.remove(key) } else { None };
        drop(slots);
        if let Some(slot) = removed {
            stream::retire(rt, slot);
        }
        waker.into_iter().for_each(Waker::wake);
    }

    fn on_recv(&self, rt: &Runtime, key: u32, completion: &Completion, last: bool) {
        let len = u32::try_from(completion.result).unwrap_or(0);
        let chunk = match ring::buffer_select(completion.flags) {
            Some(id) => self.buffers.taken(id, len, key),
            None => Chunk::empty(),
        };
        let mut reset = None;
        self.finish(rt, key, last, |slot| {
            if last {
                self.end_overrun(slot);
                slot.clear(flag::RECV_ARMED | flag::RECV_CANCELLED);
            }
            if !slot.has(flag::HANDLE) {
                if !last {
                    // The cancel of the close did not find it, because it was running just then.
                    self.cancel_recv(key, slot);
                    self.begin_overrun(slot);
                }
                return None;
            }
            match completion.result {
                0 => slot.set(flag::EOF),
                1.. => {
                    if last && chunk.len() < chunk.capacity() {
                        slot.clear(flag::BULK);
                    }
                    slot.push(chunk);
                    if slot.is_full(rt.connection_bytes_max) && !slot.has(flag::PAUSED) {
                        slot.set(flag::PAUSED | flag::BULK);
                        rt.counters.recv_pauses.add(1);
                        self.cancel_recv(key, slot);
                    } else if slot.has(flag::PAUSED) {
                        self.begin_overrun(slot);
                    } else if last {
                        self.rearm(rt, key, slot);
                    }
                }
                error if -error == libc::ENOBUFS => {
                    rt.counters.enobufs.add(1);
                    // A paused receive was to end anyway: as if it had been cancelled.
                    if !slot.has(flag::PAUSED) {
                        slot.set(flag::RECV_STARVED);
                        self.starved.borrow_mut().push(key);
                        return None;
                    }
                }
                // The socket is non-blocking while it is spliced: armed again afterwards.
                error if -error == libc::EAGAIN => return None,
                // The end that we asked for. Whoever receives next arms again, and so does one who waits already.
                error if -error == libc::ECANCELED => {}
                error => {
                    let [recv, waiter] = slot.on_recv_error(-error);
                    reset = waiter;
                    return recv;
                }
            }
            slot.recv_waker.take()
        });
        reset.into_iter().for_each(Waker::wake);
    }

    /// A multishot receive that a fast sender keeps busy cannot be cancelled: the kernel finds it neither waiting nor
    /// done. Where it has no limit, it ends for want of buffers, so until then none are offered. Afterwards the stream is
    /// received from one buffer at a time, so this happens once.
    fn begin_overrun(&self, slot: &mut Slot) {
        if !self.recv_limit && slot.has(flag::RECV_ARMED) && !slot.has(flag::OVERRUN) {
            slot.set(flag::OVERRUN);
            self.overruns.set(self.overruns.get() + 1);
        }
    }

    fn end_overrun(&self, slot: &mut Slot) {
        if slot.has(flag::OVERRUN) {
            slot.clear(flag::OVERRUN);
            self.overruns.set(self.overruns.get() - 1);
        }
    }

    /// The cancel of a receive found nothing to cancel; if the receive is there all the same, it was running just then.
    fn cancel_again(&self, rt: &Runtime, key: u32) {
        if let Some(slot) = rt.slots.borrow_mut().get_mut(key)
            && slot.has(flag::RECV_CANCELLED)
            && slot.has(flag::RECV_ARMED)
        {
            slot.clear(flag::RECV_CANCELLED);
            self.cancel_recv(key, slot);
        }
    }

    /// A multishot receive may end at any completion (when the completion queue was full, for one): it goes on.
    fn rearm(&self, rt: &Runtime, key: u32, slot: &mut Slot) {
        if !slot.has(flag::PAUSED | flag::RECV_ARMED | flag::EOF | flag::SPLICING) {
            self.arm_recv(rt, key, slot);
        }
    }

    fn on_send(&self, rt: &Runtime, key: u32, result: i32) {
        self.finish(rt, key, true, |slot| {
            if result == -libc::EAGAIN && slot.has(flag::HANDLE) {
                // The socket is non-blocking while it is spliced: SEND_BUSY stays until there is room.
                // SAFETY: the entry points to nothing.
                unsafe { self.submit(slot, &ops::poll_for_send(slot.fd, key)) };
                return None;
            }
            slot.clear(flag::SEND_BUSY);
            let waker = match u32::try_from(result) {
                Ok(n) if slot.send_error == 0 => slot.on_sent(rt, n as usize),
                Ok(_) => slot.on_send_error(rt, slot.send_error),
                Err(_) => slot.on_send_error(rt, -result),
            };
            if slot.has(flag::HANDLE) {
                if slot.unsent() > 0 {
                    slot.set(flag::SEND_LISTED);
                    self.to_send.borrow_mut().push(key);
                } else if slot.has(flag::SHUT_WANTED) {
                    stream::finish_shutdown(slot);
                }
            }
            waker
        });
    }

    fn on_accept(&self, rt: &Runtime, key: u32, result: i32, last: bool) {
        if result >= 0 {
            // SAFETY: accept made this descriptor, and only this completion tells of it.
            listener::on_accepted(rt, key, unsafe { listener::own(result) });
        }
        let mut again = result >= 0 || listener::on_accept_error(rt, key, -result);
        let mut listeners = rt.listeners.borrow_mut();
        let Some(listener) = listeners.get_mut(key) else { return };
        if last {
            listener.armed = false;
            self.outstanding.set(self.outstanding.get() - 1);
        }
        if listener.closed {
            again = false;
            if last {
                let listener = listeners.remove(key);
                drop(listeners);
                drop(listener);
                return;
            }
        } else if !listener.has_room() {
            again = false;
            if !last {
                self.cancel_accept(key, listener);
            }
        }
        drop(listeners);
        if again && last {
            self.arm_accept(rt, key);
        }
    }
}
