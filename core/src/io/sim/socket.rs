//! A simulated socket, and the descriptor that names it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use crate::io::Address;
use crate::io::socket::cvt;

/// Names a socket for the whole run; descriptors are used again, these are not.
pub(super) type Id = u64;

/// An operation that has not completed.
pub(super) struct Pending<T> {
    pub(super) user_data: u64,
    /// Tells operations with the same word apart.
    pub(super) serial: u64,
    pub(super) what: T,
}

/// A send under way: it refers to the sender's memory.
pub(super) struct Sending {
    pub(super) pieces: Vec<(*const u8, usize)>,
    pub(super) done: usize,
    /// A fault: the operation ends after this many bytes.
    pub(super) limit: usize,
}

pub(super) struct Socket {
    /// The token; -1 once it was closed.
    pub(super) fd: RawFd,
    inode: u64,
    pub(super) local: Option<Address>,
    pub(super) remote: Option<Address>,
    /// The other end, while there is one.
    pub(super) peer: Option<Id>,
    /// Connections that were not accepted yet, of a listening socket.
    pub(super) backlog: Option<VecDeque<Id>>,

    /// Arrived and not read.
    pub(super) rx: VecDeque<u8>,
    pub(super) rx_max: usize,
    /// The peer's FIN has arrived.
    pub(super) fin: bool,
    /// The read side was shut down here.
    pub(super) rx_shut: bool,
    pub(super) error: i32,
    pub(super) received: u64,
    /// A fault: reset after this many received bytes.
    pub(super) cut_after: Option<u64>,

    /// Taken from the sender and not on the wire yet.
    pub(super) tx: VecDeque<u8>,
    pub(super) tx_max: usize,
    /// On the wire.
    pub(super) flying: usize,
    /// When the last segment arrives: those behind it arrive later.
    pub(super) wire_at: u64,
    /// Of this direction, in nanoseconds.
    pub(super) latency: u64,
    pub(super) fin_wanted: bool,
    pub(super) fin_sent: bool,

    pub(super) linger_zero: bool,
    /// No descriptor refers to it; it goes when its operations have ended.
    pub(super) closing: bool,
    /// It is closed, but what was sent is still on its way.
    pub(super) orphan: bool,

    /// Whether it is multishot.
    pub(super) recv: Option<Pending<bool>>,
    pub(super) send: Option<Pending<Sending>>,
    pub(super) connect: Option<Pending<Address>>,
    pub(super) accept: Option<Pending<()>>,
    pub(super) poll: Option<Pending<u32>>,
}

impl Socket {
    pub(super) fn new() -> Socket {
        Socket {
            fd: -1,
            inode: 0,
            local: None,
            remote: None,
            peer: None,
            backlog: None,
            rx: VecDeque::new(),
            rx_max: 0,
            fin: false,
            rx_shut: false,
            error: 0,
            received: 0,
            cut_after: None,
            tx: VecDeque::new(),
            tx_max: 0,
            flying: 0,
            wire_at: 0,
            latency: 0,
            fin_wanted: false,
            fin_sent: false,
            linger_zero: false,
            closing: false,
            orphan: false,
            recv: None,
            send: None,
            connect: None,
            accept: None,
            poll: None,
        }
    }

    /// Gives the socket a descriptor.
    pub(super) fn name(&mut self) -> io::Result<RawFd> {
        // SAFETY: no pointers are passed.
        self.fd = cvt(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
        self.inode = inode(self.fd);
        Ok(self.fd)
    }

    /// Whether the descriptor still is the one it was: each socket of the system has an inode of its own.
    pub(super) fn is_named(&self) -> bool {
        self.fd >= 0 && inode(self.fd) == self.inode
    }

    pub(super) fn operations(&self) -> usize {
        [
            self.recv.is_some(),
            self.send.is_some(),
            self.connect.is_some(),
            self.accept.is_some(),
            self.poll.is_some(),
        ]
        .into_iter()
        .filter(|pending| *pending)
        .count()
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.rx.is_empty() || self.fin || self.rx_shut || self.error != 0
    }

    pub(super) fn is_writable(&self) -> bool {
        self.tx.len() < self.tx_max || self.error != 0
    }
}

/// 0 when the descriptor is closed.
fn inode(fd: RawFd) -> u64 {
    // SAFETY: all-zero is a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: fstat writes one stat.
    if unsafe { libc::fstat(fd, &raw mut stat) } < 0 { 0 } else { stat.st_ino }
}
