//! The epoll descriptor and its calls.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::io::socket::cvt;

/// Events taken by one call.
const EVENTS_MAX: usize = 256;

pub(super) struct Poller {
    fd: OwnedFd,
    events: RefCell<Vec<libc::epoll_event>>,
}

/// Readiness of one registered descriptor.
#[derive(Clone, Copy)]
pub(super) struct Event {
    pub(super) token: u64,
    pub(super) events: u32,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        // SAFETY: no pointers are passed.
        let fd = cvt(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let none = libc::epoll_event { events: 0, u64: 0 };
        Ok(Poller { fd, events: RefCell::new(vec![none; EVENTS_MAX]) })
    }

    pub(super) fn add(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: one event that the kernel reads during the call.
        cvt(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) })
            .map(drop)
    }

    pub(super) fn remove(&self, fd: RawFd) {
        // SAFETY: DEL takes no event since Linux 2.6.9. It can only fail for a descriptor that is not registered.
        unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Waits up to `timeout` (`None`: as long as it takes) and hands each event to `handle`.
    pub(super) fn wait(&self, timeout: Option<Duration>, mut handle: impl FnMut(Event)) {
        // Rounded up: waking before a timer is due would only make another turn.
        let ms = timeout
            .map_or(-1, |timeout| i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
        let mut events = self.events.borrow_mut();
        // SAFETY: room for EVENTS_MAX events, which the kernel writes during the call.
        let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), EVENTS_MAX as i32, ms) };
        // An error can only be EINTR: the loop's next turn.
        for event in events.iter().take(usize::try_from(n).unwrap_or(0)) {
            handle(Event { token: event.u64, events: event.events });
        }
    }
}
