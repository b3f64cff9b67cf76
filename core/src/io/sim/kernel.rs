//! The simulated kernel's state: virtual time, the sockets, and the descriptors that name them.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::events::{Cqe, Event, Scheduled};
use super::operations::Buffers;
use super::socket::{Id, Socket};
use super::{Report, Rng, SimConfig};
use crate::io::Address;

thread_local! {
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// Runs `f` on this thread's simulated kernel, if there is one.
pub(in crate::io) fn with<R>(f: impl FnOnce(&mut Kernel) -> R) -> Option<R> {
    KERNEL.with_borrow_mut(|kernel| kernel.as_mut().map(f))
}

/// While it lives, the thread's sockets are simulated.
pub(super) struct Installed(());

impl Installed {
    pub(super) fn new(kernel: Kernel) -> Installed {
        KERNEL.set(Some(kernel));
        Installed(())
    }

    pub(super) fn finish(self) -> Report {
        with(|kernel| kernel.report()).unwrap_or_default()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        KERNEL.set(None);
    }
}

pub(in crate::io) struct Kernel {
    pub(super) config: SimConfig,
    pub(super) rng: Rng,
    base: Instant,
    /// Nanoseconds since the start.
    pub(super) now: u64,
    serial: u64,
    pub(super) events: BinaryHeap<Reverse<Scheduled>>,
    pub(super) sockets: BTreeMap<Id, Socket>,
    pub(super) fds: HashMap<RawFd, Id>,
    /// Several where workers share an address (SO_REUSEPORT).
    listening: HashMap<Address, Vec<Id>>,
    pub(super) next_port: u16,
    /// Descriptors that are neither with the runtime nor closed: accepted or released.
    loose: Vec<Id>,
    pub(super) submitted: VecDeque<[u8; 64]>,
    pub(super) cq: VecDeque<Cqe>,
    /// When the last completion of each word becomes visible: they keep their order.
    pub(super) visible_at: BTreeMap<u64, u64>,
    pub(super) buffers: Option<Buffers>,
    /// Reads of an eventfd: nothing rings it here, so they only end when they are cancelled.
    pub(super) reads: Vec<u64>,
    pub(super) turns: u32,
    pub(super) ended: bool,
    pub(super) trace: u64,
    pub(super) completions: u64,
    faults: u64,
}

impl Kernel {
    pub(super) fn new(config: SimConfig) -> Kernel {
        Kernel {
            rng: Rng::new(config.seed),
            config,
            base: first_moment(),
            now: 0,
            serial: 0,
            events: BinaryHeap::new(),
            sockets: BTreeMap::new(),
            fds: HashMap::new(),
            listening: HashMap::new(),
            next_port: 10_000,
            loose: Vec::new(),
            submitted: VecDeque::new(),
            cq: VecDeque::new(),
            visible_at: BTreeMap::new(),
            buffers: None,
            reads: Vec::new(),
            turns: 0,
            ended: false,
            trace: 0,
            completions: 0,
            faults: 0,
        }
    }

    fn report(&self) -> Report {
        Report {
            trace: self.trace,
            elapsed: Duration::from_nanos(self.now),
            completions: self.completions,
            faults: self.faults,
            open_descriptors: self.sockets.values().filter(|socket| socket.is_named()).count(),
            open_operations: self.sockets.values().map(Socket::operations).sum::<usize>() + self.reads.len(),
        }
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    /// Whether a fault of this probability happens now.
    pub(super) fn fault(&mut self, per_mille: u32) -> bool {
        let happens = self.rng.chance(per_mille);
        self.faults += u64::from(happens);
        happens
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn by_fd(&mut self, fd: RawFd) -> Option<&mut Socket> {
        let id = *self.fds.get(&fd)?;
        self.sockets.get_mut(&id)
    }

    pub(super) fn id_of(&self, fd: RawFd) -> Option<Id> {
        self.fds.get(&fd).copied()
    }

    /// Adds a socket with a descriptor.
    fn add(&mut self, mut socket: Socket) -> io::Result<(Id, OwnedFd)> {
        let fd = socket.name()?;
        let id = self.next_serial();
        self.sockets.insert(id, socket);
        self.set_fd(fd, id);
        // SAFETY: the token was made just now and nobody else owns it.
        Ok((id, unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn set_fd(&mut self, fd: RawFd, id: Id) {
        if let Some(before) = self.fds.insert(fd, id) {
            // The number was free for a new token: whoever held the old one has dropped it.
            self.lose_descriptor(before);
        }
    }

    pub(super) fn stream_socket(&mut self) -> io::Result<OwnedFd> {
        self.add(Socket::new()).map(|(_, fd)| fd)
    }

    pub(super) fn listen(&mut self, address: &Address) -> io::Result<OwnedFd> {
        let mut socket = Socket::new();
        socket.local = Some(address.clone());
        socket.backlog = Some(VecDeque::new());
        let (id, fd) = self.add(socket)?;
        self.listening.entry(address.clone()).or_default().push(id);
        Ok(fd)
    }

    pub(super) fn listener_at(&mut self, address: &Address) -> Option<Id> {
        let sharing = self.listening.get(address).filter(|sharing| !sharing.is_empty())?;
        Some(*self.rng.pick(sharing))
    }

    pub(super) fn adopted(&mut self, fd: RawFd) {
        if let Some(id) = self.id_of(fd) {
            self.loose.retain(|loose| *loose != id);
        }
    }

    pub(super) fn loosen(&mut self, id: Id) {
        self.loose.push(id);
    }

    /// The runtime lets go of a descriptor if nothing waits in its socket.
    pub(super) fn released(&mut self, fd: RawFd) -> Option<bool> {
        let id = self.id_of(fd)?;
        let silent = self.sockets.get(&id).is_some_and(|socket| !socket.is_readable());
        if silent {
            self.loosen(id);
        }
        Some(silent)
    }

    /// Descriptors that were dropped without a word to the runtime.
    pub(super) fn find_dropped(&mut self) {
        let dropped = |id: &Id| !self.sockets.get(id).is_some_and(Socket::is_named);
        let gone: Vec<Id> = self.loose.iter().copied().filter(dropped).collect();
        for id in gone {
            if let Some(fd) = self.sockets.get(&id).map(|socket| socket.fd) {
                self.fds.remove(&fd);
            }
            self.lose_descriptor(id);
        }
    }

    pub(super) fn close(&mut self, fd: RawFd) {
        if let Some(id) = self.fds.remove(&fd) {
            self.lose_descriptor(id);
        }
    }

    fn lose_descriptor(&mut self, id: Id) {
        self.loose.retain(|loose| *loose != id);
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.fd = -1;
            socket.closing = true;
            self.close_if_unused(id);
        }
    }

    /// Closes a socket that no descriptor and no operation refers to.
    pub(super) fn close_if_unused(&mut self, id: Id) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if !socket.closing || socket.orphan || socket.operations() > 0 {
            return;
        }
        if let Some(backlog) = socket.backlog.take() {
            if let Some(sharing) = socket.local.take().and_then(|local| self.listening.get_mut(&local)) {
                sharing.retain(|listener| *listener != id);
            }
            self.sockets.remove(&id);
            for waiting in backlog {
                self.abandon(waiting);
            }
            return;
        }
        if socket.linger_zero || !socket.rx.is_empty() || socket.error != 0 {
            self.abandon(id);
            return;
        }
        socket.orphan = true;
        socket.fin_wanted = true;
        self.advance(id);
    }

    /// Removes a socket; its peer is sent a reset.
    pub(super) fn abandon(&mut self, id: Id) {
        if let Some(socket) = self.sockets.remove(&id) {
            self.send_reset(&socket);
        }
    }

    fn send_reset(&mut self, socket: &Socket) {
        if let Some(peer) = socket.peer {
            let at = (self.now + socket.latency).max(socket.wire_at);
            self.schedule(at, Event::Reset { to: peer });
        }
    }
}

/// The clock's zero: only differences to it matter.
fn first_moment() -> Instant {
    Instant::now()
}
