//! `Listener`: accepts connections, whatever happens to single ones.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::error::ended;
use super::runtime::Runtime;
use super::{Address, Timer, now, socket};

/// Accepted connections that wait to be taken; the kernel's backlog holds the others.
pub(super) const ACCEPTED_MAX: usize = 128;

/// Pause after the process or the system ran out of descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Connections refused in one go when no descriptor is left.
const REFUSED_MAX: usize = 16;

pub(crate) struct ListenerSlot {
    pub(super) fd: RawFd,
    /// Accepted and not yet taken.
    accepted: VecDeque<OwnedFd>,
    waker: Option<Waker>,
    pub(super) armed: bool,
    pub(super) cancelled: bool,
    /// epoll: the socket is registered.
    pub(super) registered: bool,
    /// The `Listener` is gone.
    pub(super) closed: bool,
    /// An errno that accept reported: descriptors ran out, or the socket is unusable.
    error: i32,
    /// Given up to make room for one refusal.
    reserve: Option<OwnedFd>,
}

/// A listening socket of one worker.
pub struct Listener {
    key: u32,
    runtime: u16,
    timer: Timer,
    not_send: PhantomData<*const ()>,
}

impl Listener {
    /// Adopts a listening socket; see [`super::bind`].
    ///
    /// # Errors
    /// Those of fcntl(2).
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Listener> {
        Runtime::with(|rt| {
            rt.driver.prepare_fd(fd.as_raw_fd())?;
            let key = rt.listeners.borrow_mut().insert(ListenerSlot {
                fd: fd.into_raw_fd(),
                accepted: VecDeque::new(),
                waker: None,
                armed: false,
                cancelled: false,
                registered: false,
                closed: false,
                error: 0,
                reserve: socket::reserve_descriptor().ok(),
            });
            Ok(Listener { key, runtime: rt.id, timer: Timer::new(), not_send: PhantomData })
        })
    }

    /// The next connection, and its peer's address when it is TCP. Connections that failed before they were accepted are
    /// counted and passed over. When no descriptor is left, waiting connections are refused (so that clients are not
    /// left hanging), and after a pause accepting goes on. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Only when the socket itself is unusable.
    pub async fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// See [`Listener::accept`].
    pub fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<(OwnedFd, Option<SocketAddr>)>> {
        loop {
            let Some(step) = self.step(cx) else { return Poll::Ready(Err(ended())) };
            match step {
                Step::Accepted(fd) => match socket::peer_address(fd.as_raw_fd()) {
                    Ok(Address::Tcp(peer)) => return Poll::Ready(Ok((fd, Some(peer)))),
                    Ok(Address::Unix(_)) => return Poll::Ready(Ok((fd, None))),
                    // It was reset before we looked.
                    Err(_) => Runtime::with(|rt| rt.counters.accept_errors.add(1)),
                },
                Step::Failed(errno) => return Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
                Step::OutOfDescriptors => {
                    if Runtime::with(|rt| self.refuse(rt)) {
                        self.timer.arm(now() + BACK_OFF);
                    }
                }
                Step::Wait => {
                    if self.timer.poll_expired(cx).is_ready() {
                        self.timer.disarm();
                        self.arm();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<Address> {
        let fd = self.with(|rt| rt.listeners.borrow().get(self.key).map(|slot| slot.fd)).flatten();
        socket::local_address(fd.ok_or_else(ended)?)
    }

    fn step(&self, cx: &Context<'_>) -> Option<Step> {
        self.with(|rt| {
            let mut listeners = rt.listeners.borrow_mut();
            let slot = listeners.get_mut(self.key)?;
            let accepted = slot.accepted.pop_front();
            let errno = if accepted.is_none() { std::mem::take(&mut slot.error) } else { 0 };
            let idle =
                !slot.armed && errno == 0 && slot.error == 0 && slot.accepted.len() <= ACCEPTED_MAX / 2;
            if accepted.is_none() && errno == 0 {
                // Before accepting starts: it may wake us at once.
                slot.waker = Some(cx.waker().clone());
            }
            drop(listeners);
            if idle && !self.timer.is_armed() {
                rt.driver.arm_accept(rt, self.key);
            }
            Some(match (accepted, errno) {
                (Some(fd), _) => Step::Accepted(fd),
                (None, 0) => Step::Wait,
                (None, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Step::OutOfDescriptors,
                (None, errno) => Step::Failed(errno),
            })
        })
        .flatten()
    }

    fn arm(&self) {
        self.with(|rt| {
            if rt.listeners.borrow().get(self.key).is_some_and(|slot| !slot.armed) {
                rt.driver.arm_accept(rt, self.key);
            }
        });
    }

    /// Accepts and closes what waits in the backlog, with the reserve descriptor's place, for as long as there is no other.
    /// False when there is one by now: accepting goes on at once.
    fn refuse(&self, rt: &Runtime) -> bool {
        let mut listeners = rt.listeners.borrow_mut();
        let Some(slot) = listeners.get_mut(self.key) else { return true };
        for _ in 0..REFUSED_MAX {
            match accept_waiting(slot.fd, rt.driver.socket_flags()) {
                Ok(Some(accepted)) => {
                    slot.accepted.push_back(accepted);
                    return false;
                }
                Ok(None) => break,
                Err(_) => {}
            }
            drop(slot.reserve.take());
            let accepted = accept_waiting(slot.fd, 0);
            if let Ok(Some(_)) = &accepted {
                rt.counters.accept_refused.add(1);
            }
            // Closed before the reserve takes its place again.
            let refused = matches!(accepted, Ok(Some(_)));
            drop(accepted);
            slot.reserve = socket::reserve_descriptor().ok();
            if !refused {
                break;
            }
        }
        true
    }

    fn with<R>(&self, f: impl FnOnce(&Runtime) -> R) -> Option<R> {
        Runtime::try_with(|rt| (rt.id == self.runtime).then(|| f(rt))).flatten()
    }
}

/// The next connection of the backlog, without waiting.
fn accept_waiting(listener: RawFd, flags: i32) -> io::Result<Option<OwnedFd>> {
    let mut poll = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd; a timeout of 0 does not wait. The socket may be a blocking one, hence the question.
    if unsafe { libc::poll(&raw mut poll, 1, 0) } != 1 {
        return Ok(None);
    }
    // SAFETY: null asks for no address.
    let fd = socket::cvt(unsafe {
        libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC | flags)
    })?;
    // SAFETY: accept made this descriptor just now.
    Ok(Some(unsafe { own(fd) }))
}

enum Step {
    Accepted(OwnedFd),
    Wait,
    OutOfDescriptors,
    Failed(i32),
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.with(|rt| {
            let waker = rt.listeners.borrow_mut().get_mut(self.key).and_then(|slot| {
                slot.closed = true;
                slot.waker.take()
            });
            if rt.driver.close_listener(rt, self.key) {
                let slot = rt.listeners.borrow_mut().remove(self.key);
                drop(slot);
            }
            drop(waker);
        });
    }
}

impl ListenerSlot {
    /// Room for more accepted connections.
    pub(super) fn has_room(&self) -> bool {
        self.accepted.len() < ACCEPTED_MAX
    }
}

/// A driver accepted a connection.
pub(super) fn on_accepted(rt: &Runtime, key: u32, fd: OwnedFd) {
    let waker = rt.listeners.borrow_mut().get_mut(key).and_then(|slot| {
        if slot.closed {
            return None;
        }
        slot.accepted.push_back(fd);
        slot.waker.take()
    });
    waker.into_iter().for_each(Waker::wake);
}

/// Accept failed. True when the driver should simply go on accepting.
pub(super) fn on_accept_error(rt: &Runtime, key: u32, errno: i32) -> bool {
    match errno {
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {}
        libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT => {}
        // Asked for because too many waited to be taken. They may all have been taken by now, with nobody left to ask.
        libc::ECANCELED => return true,
        // ECONNABORTED and the network's errors that accept(2) says to treat like it: one connection was lost.
        _ => {
            rt.counters.accept_errors.add(1);
            return true;
        }
    }
    rt.counters.accept_errors.add(1);
    let waker = rt.listeners.borrow_mut().get_mut(key).and_then(|slot| {
        slot.error = errno;
        slot.waker.take()
    });
    waker.into_iter().for_each(Waker::wake);
    false
}

/// Makes a descriptor that the kernel just gave us ours.
///
/// # Safety
/// `fd` is a fresh descriptor that nobody else owns.
pub(super) unsafe fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Drop for ListenerSlot {
    fn drop(&mut self) {
        if self.fd >= 0 {
            socket::close(self.fd);
        }
    }
}
