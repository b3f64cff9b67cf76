//! The epoll driver, for hosts and containers that block io_uring.
//!
//! Each socket is registered once, edge-triggered for both directions; nothing is ever re-armed. A send is tried at once, and
//! a receive is one call per readiness unless it filled its buffer: a request costs what it must and no more.

mod poller;

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use self::poller::{Event, Poller};
use super::listener;
use super::runtime::Runtime;
use super::slot::{self, Slot, flag};
use super::socket::{self, SockAddr, last_errno};
use super::stream;
use super::waker::Remote;

/// Readiness that is not asked about by key.
const EVENTFD: u64 = u64::MAX;
/// Set in the tokens of listeners.
const LISTENER: u64 = 1 << 32;

/// What a stream's socket is registered for.
const STREAM_EVENTS: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;

const IN: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const OUT: u32 = (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const END: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

pub(crate) struct Epoll {
    poller: Poller,
    /// Streams whose receive found no buffer.
    starved: RefCell<Vec<u32>>,
}

impl Epoll {
    pub(super) fn new(remote: &Arc<Remote>) -> io::Result<Epoll> {
        let poller = Poller::new()?;
        // Edge-triggered: each write is an edge, and nobody ever needs to read the counter.
        poller.add(remote.eventfd(), (libc::EPOLLIN | libc::EPOLLET) as u32, EVENTFD)?;
        Ok(Epoll { poller, starved: RefCell::default() })
    }

    pub(super) fn prepare(&self, rt: &Runtime) {
        if self.starved.borrow().is_empty() {
            return;
        }
        if !rt.pool.has_free() && !slot::relieve_memory(rt) {
            return;
        }
        rt.starved_since.set(None);
        for key in self.starved.take() {
            let waker = {
                let mut slots = rt.slots.borrow_mut();
                let Some(slot) = slots.get_mut(key).filter(|slot| slot.has(flag::RECV_STARVED)) else {
                    continue;
                };
                slot.clear(flag::RECV_STARVED);
                slot.set(flag::RECV_ARMED);
                self.receive(rt, key, slot)
            };
            waker.into_iter().flatten().for_each(Waker::wake);
        }
    }

    pub(super) fn is_starved(&self) -> bool {
        !self.starved.borrow().is_empty()
    }

    pub(super) fn turn(&self, rt: &Runtime, timeout: Option<Duration>) {
        self.poller.wait(timeout, |event| {
            rt.counters.completions.add(1);
            match event.token {
                EVENTFD => {}
                token if token & LISTENER != 0 => self.accept(rt, token as u32),
                token => self.ready(rt, token as u32, event),
            }
        });
    }

    pub(super) fn connect(&self, rt: &Runtime, key: u32, to: SockAddr) -> io::Result<()> {
        let mut slots = rt.slots.borrow_mut();
        let slot = slots.get_mut(key).ok_or(io::ErrorKind::NotConnected)?;
        // SAFETY: the name points to `len` initialised bytes.
        if unsafe { libc::connect(slot.fd, to.as_ptr(), to.len) } == 0 {
            return Ok(());
        }
        let errno = last_errno();
        if errno != libc::EINPROGRESS {
            return Err(io::Error::from_raw_os_error(errno));
        }
        slot.set(flag::CONNECTING);
        self.register(key, slot)
    }

    pub(super) fn arm_recv(&self, rt: &Runtime, key: u32, slot: &mut Slot) {
        slot.set(flag::RECV_ARMED);
        if !slot.has(flag::REGISTERED) {
            // Readiness of this moment is reported, too.
            if let Err(error) = self.register(key, slot) {
                slot.recv_error = error.raw_os_error().unwrap_or(libc::EIO);
            }
        } else if slot.has(flag::READABLE) {
            // The caller looks at what arrived: nobody needs to be woken.
            drop(self.receive(rt, key, slot));
        }
    }

    pub(super) fn cancel_recv(&self, slot: &mut Slot) -> bool {
        slot.clear(flag::RECV_ARMED);
        false
    }

    pub(super) fn start_send(&self, rt: &Runtime, key: u32, slot: &mut Slot) -> Option<Waker> {
        let mut waker = None;
        loop {
            let fd = slot.fd;
            let Some(send) = slot.send.as_mut().filter(|send| send.unsent > 0) else { break };
            let (count, _) = send.gather();
            let sent = if let [iovec] = &send.iovecs[..count] {
                // SAFETY: the iovec describes bytes of a part that the send state owns.
                unsafe { libc::send(fd, iovec.iov_base, iovec.iov_len, libc::MSG_NOSIGNAL) }
            } else {
                send.header.msg_iov = send.iovecs.as_mut_ptr();
                send.header.msg_iovlen = count;
                // SAFETY: as above, for `count` iovecs; the header has no name and no control data.
                unsafe { libc::sendmsg(fd, &raw const send.header, libc::MSG_NOSIGNAL) }
            };
            match usize::try_from(sent) {
                // On until nothing is left or the kernel refuses, also when somebody waited for this much room: only a
                // refusal makes the kernel tell of more.
                Ok(sent) => waker = slot.on_sent(rt, sent).or(waker),
                Err(_) => match last_errno() {
                    libc::EINTR => {}
                    libc::EAGAIN => {
                        // The kernel tells of room with an edge, now that it was asked in vain.
                        slot.set(flag::SEND_BUSY);
                        slot.clear(flag::WRITABLE);
                        let registered = self.register(key, slot);
                        return registered.err().and_then(|_| slot.on_send_error(rt, libc::ENOMEM)).or(waker);
                    }
                    errno => {
                        slot.clear(flag::SEND_BUSY);
                        return slot.on_send_error(rt, errno).or(waker);
                    }
                },
            }
        }
        self.after_send(slot);
        waker
    }

    pub(super) fn close(&self, slot: &mut Slot) -> bool {
        let fd = std::mem::replace(&mut slot.fd, -1);
        if fd >= 0 {
            // Takes it out of the epoll set, too: there is no duplicate.
            socket::close(fd);
        }
        true
    }

    pub(super) fn release(&self, slot: &mut Slot) {
        if slot.has(flag::REGISTERED) {
            slot.clear(flag::REGISTERED);
            self.poller.remove(slot.fd);
        }
    }

    pub(super) fn arm_accept(&self, rt: &Runtime, key: u32) {
        let error = {
            let mut listeners = rt.listeners.borrow_mut();
            let Some(listener) = listeners.get_mut(key).filter(|listener| !listener.armed) else { return };
            listener.armed = true;
            if listener.registered {
                Ok(())
            } else {
                listener.registered = true;
                let token = LISTENER | u64::from(key);
                self.poller.add(listener.fd, (libc::EPOLLIN | libc::EPOLLET) as u32, token)
            }
        };
        match error {
            Ok(()) => self.accept(rt, key),
            Err(error) => {
                listener::on_accept_error(rt, key, error.raw_os_error().unwrap_or(libc::EINVAL));
            }
        }
    }

    /// Registers interest in readiness; ready at once when it is known already.
    pub(super) fn poll_ready(&self, key: u32, slot: &mut Slot, events: u32) {
        let known = if events & libc::POLLIN as u32 != 0 { flag::READABLE } else { flag::WRITABLE };
        if !slot.has(flag::REGISTERED)
            && let Err(error) = self.register(key, slot)
        {
            slot.rare().poll_result = Some(-error.raw_os_error().unwrap_or(libc::EIO));
            return;
        }
        if slot.has(known | flag::HANGUP) {
            slot.rare().poll_result = Some(events as i32);
            return;
        }
        slot.rare().poll_events = events;
        slot.set(flag::POLLING);
    }

    pub(super) fn shut_down(&self, _rt: &Runtime) {
        // Nothing is ever under way in the kernel: descriptors close with their slots.
    }

    fn register(&self, key: u32, slot: &mut Slot) -> io::Result<()> {
        if slot.has(flag::REGISTERED) {
            return Ok(());
        }
        self.poller.add(slot.fd, STREAM_EVENTS, u64::from(key))?;
        slot.set(flag::REGISTERED);
        Ok(())
    }

    fn ready(&self, rt: &Runtime, key: u32, event: Event) {
        let mut wakers = [const { None::<Waker> }; 4];
        {
            let mut slots = rt.slots.borrow_mut();
            let Some(slot) = slots.get_mut(key) else { return };
            if slot.has(flag::CONNECTING) {
                if event.events & OUT != 0 {
                    slot.clear(flag::CONNECTING);
                    slot.send_error = socket::take_error(slot.fd);
                    // A peer that speaks first may have done so already, and this edge tells of it only once.
                    for (events, what) in [(IN, flag::READABLE), (OUT, flag::WRITABLE), (END, flag::HANGUP)] {
                        if slot.send_error == 0 && event.events & events != 0 {
                            slot.set(what);
                        }
                    }
                    wakers[0] = slot.recv_waker.take();
                }
            } else {
                self.ready_connected(rt, key, slot, event, &mut wakers);
            }
        }
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn ready_connected(
        &self,
        rt: &Runtime,
        key: u32,
        slot: &mut Slot,
        event: Event,
        wakers: &mut [Option<Waker>; 4],
    ) {
        if event.events & END != 0 {
            slot.set(flag::HANGUP);
        }
        if event.events & OUT != 0 {
            slot.set(flag::WRITABLE);
            if slot.has(flag::SEND_BUSY) {
                slot.clear(flag::SEND_BUSY);
                wakers[0] = self.start_send(rt, key, slot);
            }
        }
        if event.events & IN != 0 {
            slot.set(flag::READABLE);
            if slot.has(flag::RECV_ARMED) {
                [wakers[1], wakers[2]] = self.receive(rt, key, slot);
            } else if event.events & libc::EPOLLERR as u32 != 0 {
                // Nobody receives now, so nobody else would notice the reset.
                let errno = socket::take_error(slot.fd);
                if errno != 0 {
                    [wakers[1], wakers[2]] = slot.on_recv_error(errno);
                }
            }
        }
        if slot.has(flag::POLLING) {
            let rare = slot.rare();
            if event.events & (rare.poll_events | END) != 0 {
                rare.poll_result = Some(event.events as i32);
                wakers[3] = rare.poll_waker.take();
                slot.clear(flag::POLLING);
            }
        }
    }

    /// Receives until the socket is drained, the stream holds all that it may, or buffers ran out. Returns who is to be
    /// told: the receiver, and who waits for a reset.
    fn receive(&self, rt: &Runtime, key: u32, slot: &mut Slot) -> [Option<Waker>; 2] {
        let mut received = false;
        while slot.has(flag::RECV_ARMED) {
            if slot.is_full(rt.connection_bytes_max) {
                slot.clear(flag::RECV_ARMED);
                slot.set(flag::PAUSED);
                rt.counters.recv_pauses.add(1);
                break;
            }
            let Some((index, base)) = rt.pool.take() else {
                rt.counters.enobufs.add(1);
                slot.clear(flag::RECV_ARMED);
                slot.set(flag::RECV_STARVED);
                self.starved.borrow_mut().push(key);
                break;
            };
            let len = rt.pool.buffer_bytes() as usize;
            // SAFETY: a buffer of `len` bytes that the pool gave to us alone.
            let n = unsafe { libc::recv(slot.fd, base.as_ptr().cast(), len, 0) };
            match u32::try_from(n) {
                Ok(0) => {
                    rt.pool.give(index);
                    slot.clear(flag::RECV_ARMED | flag::READABLE);
                    slot.set(flag::EOF);
                    received = true;
                }
                Ok(n) => {
                    // SAFETY: the buffer was taken above, and the kernel wrote `n` bytes.
                    slot.push(unsafe { rt.pool.chunk(index, n, key) });
                    received = true;
                    // A short read drained the socket, unless a FIN or an error waits behind the bytes, of which no
                    // further edge would tell.
                    if (n as usize) < len && !slot.has(flag::HANGUP) {
                        slot.clear(flag::READABLE);
                        break;
                    }
                }
                Err(_) => {
                    rt.pool.give(index);
                    match last_errno() {
                        libc::EINTR => {}
                        libc::EAGAIN => {
                            slot.clear(flag::READABLE);
                            break;
                        }
                        errno => {
                            slot.clear(flag::RECV_ARMED | flag::READABLE);
                            return slot.on_recv_error(errno);
                        }
                    }
                }
            }
        }
        [if received { slot.recv_waker.take() } else { None }, None]
    }

    fn after_send(&self, slot: &mut Slot) {
        if slot.unsent() == 0 && slot.has(flag::SHUT_WANTED) {
            stream::finish_shutdown(slot);
        }
    }

    /// Accepts until the backlog is empty or enough wait to be taken.
    fn accept(&self, rt: &Runtime, key: u32) {
        loop {
            let fd: RawFd = {
                let mut listeners = rt.listeners.borrow_mut();
                let Some(listener) = listeners.get_mut(key).filter(|listener| listener.armed) else { return };
                if !listener.has_room() {
                    listener.armed = false;
                    return;
                }
                listener.fd
            };
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: null asks for no address.
            let accepted = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
            if accepted >= 0 {
                // SAFETY: accept made this descriptor just now.
                listener::on_accepted(rt, key, unsafe { listener::own(accepted) });
                continue;
            }
            let errno = last_errno();
            if errno == libc::EAGAIN {
                return;
            }
            if errno != libc::EINTR && !listener::on_accept_error(rt, key, errno) {
                if let Some(listener) = rt.listeners.borrow_mut().get_mut(key) {
                    listener.armed = false;
                }
                return;
            }
        }
    }
}
