//! The drivers behind the face, told apart at run time: no generics in any signature above.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::RuntimeConfig;
use super::epoll::Epoll;
#[cfg(any(feature = "monoio", feature = "glommio"))]
use super::guest;
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
    /// Experimental: for comparison.
    #[cfg(feature = "monoio")]
    Monoio,
    /// Experimental: for comparison.
    #[cfg(feature = "glommio")]
    Glommio,
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Driver::Uring => "io_uring",
            Driver::Epoll => "epoll",
            #[cfg(feature = "monoio")]
            Driver::Monoio => "monoio",
            #[cfg(feature = "glommio")]
            Driver::Glommio => "glommio",
        })
    }
}

/// A driver: what the face asks of it. Completions come back through the functions of `slot` and `listener`.
pub(crate) enum Backend {
    Uring(Box<Uring>),
    Epoll(Box<Epoll>),
    #[cfg(feature = "monoio")]
    Monoio(guest::Guest<guest::monoio::Monoio>),
    #[cfg(feature = "glommio")]
    Glommio(guest::Guest<guest::glommio::Glommio>),
}

/// Calls the same method on whichever driver it is; a second expression is that of the drivers of others.
macro_rules! each {
    ($self:ident, $driver:ident => $call:expr, guest => $guest:expr) => {
        match $self {
            Backend::Uring($driver) => $call,
            Backend::Epoll($driver) => $call,
            #[cfg(feature = "monoio")]
            Backend::Monoio($driver) => $guest,
            #[cfg(feature = "glommio")]
            Backend::Glommio($driver) => $guest,
        }
    };
    ($self:ident, $driver:ident => $call:expr) => {
        match $self {
            Backend::Uring($driver) => $call,
            Backend::Epoll($driver) => $call,
            #[cfg(feature = "monoio")]
            Backend::Monoio($driver) => $call,
            #[cfg(feature = "glommio")]
            Backend::Glommio($driver) => $call,
        }
    };
}

impl Backend {
    pub(super) fn new(config: &RuntimeConfig, pool: &Rc<Pool>, remote: &Arc<Remote>) -> io::Result<Backend> {
        Ok(match config.driver {
            Driver::Uring => Backend::Uring(Box::new(Uring::new(config, pool, remote)?)),
            Driver::Epoll => Backend::Epoll(Box::new(Epoll::new(remote)?)),
            #[cfg(feature = "monoio")]
            Driver::Monoio => Backend::Monoio(guest::Guest::new(pool, remote)?),
            #[cfg(feature = "glommio")]
            Driver::Glommio => Backend::Glommio(guest::Guest::new(pool, remote)?),
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
        each!(self, driver => driver.turn(rt, timeout), guest => {
            let _ = (driver, rt, timeout);
            unreachable!("the foreign runtime turns the loop: see `guest::run`")
        });
    }

    /// Type flags of socket(2) for new sockets.
    pub(super) fn socket_flags(&self) -> i32 {
        match self {
            Backend::Epoll(_) => libc::SOCK_NONBLOCK,
            _ => 0,
        }
    }

    /// Makes an adopted descriptor blocking or not, as the driver needs it.
    pub(super) fn prepare_fd(&self, fd: RawFd) -> io::Result<()> {
        super::socket::set_nonblocking(fd, matches!(self, Backend::Epoll(_)))
    }

    /// Whether what its listeners accept needs no [`Backend::prepare_fd`].
    pub(super) fn accepts_prepared(&self) -> bool {
        matches!(self, Backend::Uring(_) | Backend::Epoll(_))
    }

    /// Starts connecting; the result goes into the slot.
    pub(super) fn connect(&self, rt: &Runtime, key: u32, to: SockAddr) -> io::Result<()> {
        each!(self, driver => driver.connect(rt, key, to), guest => driver.connect(rt, key, &to))
    }

    /// Starts receiving.
    pub(super) fn arm_recv(&self, rt: &Runtime, key: u32, slot: &mut Slot) {
        each!(self, driver => driver.arm_recv(rt, key, slot), guest => driver.arm_recv(key, slot));
    }

    /// Asks the outstanding receive to end. False when it has ended by now.
    pub(super) fn cancel_recv(&self, key: u32, slot: &mut Slot) -> bool {
        match self {
            Backend::Uring(driver) => driver.cancel_recv(key, slot),
            Backend::Epoll(driver) => driver.cancel_recv(slot),
            #[cfg(any(feature = "monoio", feature = "glommio"))]
            _ => false,
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
            #[cfg(feature = "monoio")]
            Backend::Monoio(driver) => driver.start_send(rt, key, slot),
            #[cfg(feature = "glommio")]
            Backend::Glommio(driver) => driver.start_send(rt, key, slot),
        }
    }

    /// Cancels and closes. True when the slot may be removed at once.
    pub(super) fn close(&self, slot: &mut Slot) -> bool {
        each!(self, driver => driver.close(slot))
    }

    /// Lets go of a descriptor that leaves the runtime.
    pub(super) fn release(&self, slot: &mut Slot) {
        if let Backend::Epoll(driver) = self {
            driver.release(slot);
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
            #[cfg(feature = "monoio")]
            Backend::Monoio(driver) => driver.close_listener(key),
            #[cfg(feature = "glommio")]
            Backend::Glommio(driver) => driver.close_listener(key),
        }
    }

    /// Wakes another executor without a system call of its own. False when this driver cannot.
    pub(super) fn message(&self, to: &Arc<Remote>) -> bool {
        match self {
            Backend::Uring(driver) => driver.message(to),
            _ => false,
        }
    }

    /// Polls a stream once for readiness; the result goes into the slot.
    pub(super) fn poll_ready(&self, key: u32, slot: &mut Slot, events: u32) {
        each!(self, driver => driver.poll_ready(key, slot, events), guest => {
            let _ = (driver, key, events);
            slot.rare().poll_result = Some(-libc::EOPNOTSUPP);
        });
    }

    /// Takes a poll back.
    pub(super) fn cancel_poll(&self, key: u32, slot: &mut Slot) {
        match self {
            Backend::Uring(driver) => driver.cancel_poll(key, slot),
            _ => slot.clear(super::slot::flag::POLLING),
        }
    }

    /// Cancels everything and waits until the kernel refers to no memory of ours.
    pub(super) fn shut_down(&self, rt: &Runtime) {
        each!(self, driver => driver.shut_down(rt));
    }

    /// Whether a stream can give its descriptor up, to another worker or to splice(2).
    pub(super) fn moves_descriptors(&self) -> bool {
        matches!(self, Backend::Uring(_) | Backend::Epoll(_))
    }

    #[cfg(feature = "monoio")]
    pub(super) fn monoio(rt: &Runtime) -> Option<&guest::Guest<guest::monoio::Monoio>> {
        if let Backend::Monoio(guest) = &rt.driver { Some(guest) } else { None }
    }

    #[cfg(feature = "glommio")]
    pub(super) fn glommio(rt: &Runtime) -> Option<&guest::Guest<guest::glommio::Glommio>> {
        if let Backend::Glommio(guest) = &rt.driver { Some(guest) } else { None }
    }
}

/// Whether this worker's streams can give their descriptors up ([`super::Stream::into_fd`], [`super::splice_body`]):
/// the experimental drivers over runtimes of others cannot.
///
/// # Panics
/// Outside of a runtime.
pub fn moves_descriptors() -> bool {
    Runtime::with(|rt| rt.driver.moves_descriptors())
}
