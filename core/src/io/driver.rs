//! The drivers behind the face, told apart at run time: no generics in any signature above.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::RuntimeConfig;
use super::epoll::Epoll;
use super::pool::Pool;
use super::runtime::Runtime;
use super::slot::Slot;
use super::socket::SockAddr;
use super::uring::Uring;
use super::waker::Remote;

/// Which kernel interface a runtime uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Uring,
    Epoll,
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Driver::Uring => "io_uring",
            Driver::Epoll => "epoll",
        })
    }
}

/// A driver: what the face asks of it. Completions come back through the functions of `slot` and `listener`.
pub(crate) enum Backend {
    Uring(Box<Uring>),
    Epoll(Box<Epoll>),
}

/// Calls the same method on whichever driver it is.
macro_rules! each {
    ($self:ident, $driver:ident => $call:expr) => {
        match $self {
            Backend::Uring($driver) => $call,
            Backend::Epoll($driver) => $call,
        }
    };
}

impl Backend {
    pub(super) fn new(config: &RuntimeConfig, pool: &Rc<Pool>, remote: &Arc<Remote>) -> io::Result<Backend> {
        Ok(match config.driver {
            Driver::Uring => Backend::Uring(Box::new(Uring::new(config, pool, remote)?)),
            Driver::Epoll => Backend::Epoll(Box::new(Epoll::new(remote)?)),
        })
    }

    /// Submits what is ready to be: before the turn decides how long to wait, because this may wake tasks.
    pub(super) fn prepare(&self, rt: &Runtime) {
        each!(self, driver => driver.prepare(rt));
    }

    /// Receives wait for a free buffer.
    pub(super) fn is_starved(&self) -> bool {
        each!(self, driver => driver.is_starved())
    }

    /// Submits what is queued and handles what has happened, waiting up to `timeout` (`None`: as long as it takes).
    pub(super) fn turn(&self, rt: &Runtime, timeout: Option<Duration>) {
        each!(self, driver => driver.turn(rt, timeout));
    }

    /// Type flags of socket(2) for new sockets.
    pub(super) fn socket_flags(&self) -> i32 {
        match self {
            Backend::Uring(_) => 0,
            Backend::Epoll(_) => libc::SOCK_NONBLOCK,
        }
    }

    /// Makes an adopted descriptor blocking or not, as the driver needs it.
    pub(super) fn prepare_fd(&self, fd: RawFd) -> io::Result<()> {
        super::socket::set_nonblocking(fd, matches!(self, Backend::Epoll(_)))
    }

    /// Starts connecting; the result goes into the slot.
    pub(super) fn connect(&self, rt: &Runtime, key: u32, to: SockAddr) -> io::Result<()> {
        each!(self, driver => driver.connect(rt, key, to))
    }

    /// Starts receiving.
    pub(super) fn arm_recv(&self, rt: &Runtime, key: u32, slot: &mut Slot) {
        each!(self, driver => driver.arm_recv(rt, key, slot));
    }

    /// Asks the outstanding receive to end. False when it has ended by now.
    pub(super) fn cancel_recv(&self, key: u32, slot: &mut Slot) -> bool {
        match self {
            Backend::Uring(driver) => driver.cancel_recv(key, slot),
            Backend::Epoll(driver) => driver.cancel_recv(slot),
        }
    }

    /// Starts sending what is queued: no send is outstanding. Returns who waited for what was sent at once.
    pub(super) fn start_send(&self, rt: &Runtime, key: u32, slot: &mut Slot) -> Option<Waker> {
        match self {
            Backend::Uring(driver) => {
                driver.start_send(key, slot);
                None
            }
            Backend::Epoll(driver) => driver.start_send(rt, key, slot),
        }
    }

    /// Cancels and closes. True when the slot may be removed at once.
    pub(super) fn close(&self, slot: &mut Slot) -> bool {
        match self {
            Backend::Uring(driver) => driver.close(slot),
            Backend::Epoll(driver) => driver.close(slot),
        }
    }

    /// Lets go of a descriptor that leaves the runtime.
    pub(super) fn release(&self, slot: &mut Slot) {
        match self {
            Backend::Uring(_) => {}
            Backend::Epoll(driver) => driver.release(slot),
        }
    }

    /// Starts accepting on a listener.
    pub(super) fn arm_accept(&self, rt: &Runtime, key: u32) {
        each!(self, driver => driver.arm_accept(rt, key));
    }

    /// Stops accepting. True when the listener may be removed at once.
    pub(super) fn close_listener(&self, rt: &Runtime, key: u32) -> bool {
        match self {
            Backend::Uring(driver) => driver.close_listener(rt, key),
            Backend::Epoll(_) => true,
        }
    }

    /// Wakes another executor without a system call of its own. False when this driver cannot.
    pub(super) fn message(&self, to: &Arc<Remote>) -> bool {
        match self {
            Backend::Uring(driver) => driver.message(to),
            Backend::Epoll(_) => false,
        }
    }

    /// Polls a stream once for readiness; the result goes into the slot.
    pub(super) fn poll_ready(&self, key: u32, slot: &mut Slot, events: u32) {
        each!(self, driver => driver.poll_ready(key, slot, events));
    }

    /// Takes a poll back.
    pub(super) fn cancel_poll(&self, key: u32, slot: &mut Slot) {
        match self {
            Backend::Uring(driver) => driver.cancel_poll(key, slot),
            Backend::Epoll(_) => slot.clear(super::slot::flag::POLLING),
        }
    }

    /// Cancels everything and waits until the kernel refers to no memory of ours.
    pub(super) fn shut_down(&self, rt: &Runtime) {
        each!(self, driver => driver.shut_down(rt));
    }
}
