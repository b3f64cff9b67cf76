//! The simulated kernel's state: virtual time, the events to come, and the network between its sockets.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::operations::Buffers;
use super::socket::{Id, Socket};
use super::{Report, Rng, SimConfig};
use crate::io::Address;
use crate::io::uring::is_accept;

/// Turns of the loop at one moment of virtual time after which the loop is taken to spin.
const TURNS_MAX: u32 = 100_000;
/// Events that one turn handles without waiting.
const EVENTS_OF_TURN: u64 = 32;

/// Bytes of a segment that a trace shows.
const SHOWN_BYTES: usize = 60;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;

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

/// A completion as the driver sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::io) struct Cqe {
    pub(in crate::io) user_data: u64,
    pub(in crate::io) result: i32,
    pub(in crate::io) flags: u32,
}

#[derive(Debug)]
pub(super) enum Event {
    /// A completion becomes visible.
    Visible(Cqe),
    /// A cancellation reaches its operation.
    Cancel {
        id: Id,
        serial: u64,
    },
    /// Bytes arrive.
    Deliver {
        from: Id,
        to: Id,
        bytes: Bytes,
    },
    Fin {
        to: Id,
    },
    Reset {
        to: Id,
    },
    /// A connect is answered, if anybody listens.
    Connect {
        id: Id,
        serial: u64,
        refused: bool,
    },
}

/// Bytes on the wire, shown by their first ones.
pub(super) struct Bytes(Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES)];
        write!(f, "{} \"{}\"", self.0.len(), shown.escape_ascii())
    }
}

struct Scheduled {
    at: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

pub(in crate::io) struct Kernel {
    pub(super) config: SimConfig,
    pub(super) rng: Rng,
    base: Instant,
    /// Nanoseconds since the start.
    pub(super) now: u64,
    serial: u64,
    events: BinaryHeap<Reverse<Scheduled>>,
    pub(super) sockets: BTreeMap<Id, Socket>,
    fds: HashMap<RawFd, Id>,
    /// Several where workers share an address (SO_REUSEPORT).
    listening: HashMap<Address, Vec<Id>>,
    next_port: u16,
    /// Descriptors that are neither with the runtime nor closed: accepted or released.
    loose: Vec<Id>,
    pub(super) submitted: VecDeque<[u8; 64]>,
    pub(super) cq: VecDeque<Cqe>,
    /// When the last completion of each word becomes visible: they keep their order.
    visible_at: BTreeMap<u64, u64>,
    pub(super) buffers: Option<Buffers>,
    /// Reads of an eventfd: nothing rings it here, so they only end when they are cancelled.
    pub(super) reads: Vec<u64>,
    turns: u32,
    ended: bool,
    trace: u64,
    completions: u64,
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

    pub(super) fn schedule(&mut self, at: u64, event: Event) {
        let serial = self.next_serial();
        self.events.push(Reverse(Scheduled { at, serial, event }));
    }

    /// Posts a completion, at once or late.
    pub(super) fn complete(&mut self, user_data: u64, result: i32, flags: u32) {
        let late = if self.fault(self.config.faults.late_completions) {
            let max = *self.rng.pick(&[20 * MICROSECOND, MILLISECOND, 20 * MILLISECOND]);
            self.rng.below(max)
        } else {
            0
        };
        let last = self.visible_at.get(&user_data).copied().unwrap_or(0);
        let at = (self.now + late).max(last);
        self.visible_at.insert(user_data, at);
        self.completions += 1;
        self.schedule(at, Event::Visible(Cqe { user_data, result, flags }));
    }

    /// Lets things happen until a completion is visible, up to `timeout`.
    pub(in crate::io) fn wait(&mut self, timeout: Option<Duration>) {
        self.find_dropped();
        let start = self.now;
        let deadline = timeout.map(|timeout| start.saturating_add(timeout.as_nanos() as u64));
        if deadline == Some(start) {
            let events = 1 + self.rng.below(EVENTS_OF_TURN);
            for _ in 0..events {
                if !self.run_due() {
                    break;
                }
            }
            self.turns += 1;
            assert!(self.turns < TURNS_MAX, "the loop spins: virtual time stands still at {:?}", self.now);
            return;
        }
        loop {
            while self.run_due() {}
            if !self.cq.is_empty() {
                return;
            }
            let next = self.events.peek().map(|event| event.0.at);
            let until = match (next, deadline) {
                (Some(next), Some(deadline)) => next.min(deadline),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) if self.ended => return,
                (None, None) => {
                    self.ended = true;
                    panic!("nothing can happen any more: somebody waits for ever");
                }
            };
            self.turns = 0;
            self.now = self.now.max(until);
            if deadline == Some(self.now) {
                while self.run_due() {}
                return;
            }
        }
    }

    /// Handles one event whose time has come.
    fn run_due(&mut self) -> bool {
        if self.events.peek().is_none_or(|event| event.0.at > self.now) {
            return false;
        }
        let Some(Reverse(scheduled)) = self.events.pop() else { return false };
        if self.config.verbose {
            eprintln!("{:>12?} {:?}", Duration::from_nanos(self.now), scheduled.event);
        }
        match scheduled.event {
            Event::Visible(cqe) => {
                self.trace = digest(self.trace, &[self.now, cqe.user_data, self.traced(&cqe)]);
                self.cq.push_back(cqe);
            }
            Event::Cancel { id, serial } => self.cancel_now(id, serial),
            Event::Deliver { from, to, bytes } => self.deliver(from, to, bytes),
            Event::Fin { to } => {
                if let Some(socket) = self.sockets.get_mut(&to) {
                    socket.fin = true;
                    self.advance(to);
                }
            }
            Event::Reset { to } => self.reset(to, libc::ECONNRESET),
            Event::Connect { id, serial, refused } => self.connected(id, serial, refused),
        }
        true
    }

    /// The result without what differs from run to run: the numbers of accepted descriptors.
    fn traced(&self, cqe: &Cqe) -> u64 {
        // Only of an accept: elsewhere a count of bytes may happen to be the number of a descriptor.
        let descriptor = is_accept(cqe.user_data) && self.fds.contains_key(&cqe.result);
        if descriptor { 0 } else { cqe.result as u64 }
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

    /// Makes both ends of a connection; the second waits in the listener's backlog.
    pub(super) fn establish(&mut self, client: Id, listener: Id) {
        let server = self.next_serial();
        self.next_port = self.next_port.checked_add(1).unwrap_or(10_000);
        let client_address = Address::Tcp(std::net::SocketAddr::from(([10, 0, 0, 1], self.next_port)));
        let server_address = self.sockets.get(&listener).and_then(|socket| socket.local.clone());
        let mut accepted = Socket::new();
        self.prepare(&mut accepted, client);
        accepted.local = server_address.clone();
        accepted.remote = Some(client_address.clone());
        self.sockets.insert(server, accepted);
        if let Some(mut socket) = self.sockets.remove(&client) {
            self.prepare(&mut socket, server);
            socket.local = Some(client_address);
            socket.remote = server_address;
            self.sockets.insert(client, socket);
        }
        if let Some(backlog) = self.sockets.get_mut(&listener).and_then(|socket| socket.backlog.as_mut()) {
            backlog.push_back(server);
        }
        self.advance(listener);
    }

    /// Gives one end of a connection its buffers and its faults.
    fn prepare(&mut self, socket: &mut Socket, peer: Id) {
        socket.peer = Some(peer);
        let small = self.fault(self.config.faults.small_windows);
        let window = |rng: &mut Rng| {
            if small { rng.between(16, 2_000) } else { rng.between(4_096, 200_000) }
        };
        socket.rx_max = window(&mut self.rng) as usize;
        socket.tx_max = window(&mut self.rng) as usize;
        socket.latency = self.rng.between(5 * MICROSECOND, 300 * MICROSECOND);
        if self.fault(self.config.faults.resets) {
            let max = *self.rng.pick(&[10, 300, 3_000, 100_000]);
            socket.cut_after = Some(self.rng.below(max));
        }
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
    fn find_dropped(&mut self) {
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

    /// A reset arrives. What was received before can still be read.
    pub(super) fn reset(&mut self, id: Id, errno: i32) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.peer = None;
        socket.tx.clear();
        socket.flying = 0;
        if socket.orphan {
            self.sockets.remove(&id);
            return;
        }
        socket.error = errno;
        self.advance(id);
    }

    pub(super) fn shutdown(&mut self, fd: RawFd, how: i32) -> bool {
        let Some(id) = self.id_of(fd) else { return false };
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.fin_wanted |= how != libc::SHUT_RD;
            socket.rx_shut |= how != libc::SHUT_WR;
        }
        self.advance(id);
        true
    }

    fn deliver(&mut self, from: Id, to: Id, Bytes(bytes): Bytes) {
        if let Some(sender) = self.sockets.get_mut(&from) {
            sender.flying = sender.flying.saturating_sub(bytes.len());
        }
        let Some(socket) = self.sockets.get_mut(&to).filter(|socket| !socket.orphan && socket.error == 0)
        else {
            // Nobody is there to read it: the sender learns of it.
            let at = self.now + 50 * MICROSECOND;
            if self.sockets.get(&from).is_some_and(|sender| sender.peer.is_some()) {
                self.schedule(at, Event::Reset { to: from });
            }
            return;
        };
        socket.received += bytes.len() as u64;
        socket.rx.extend(bytes);
        if socket.cut_after.is_some_and(|limit| socket.received > limit) {
            self.reset(to, libc::ECONNRESET);
            self.reset(from, libc::ECONNRESET);
            return;
        }
        self.advance(to);
    }

    /// Does what can be done on a socket: operations, transmission, its end.
    pub(super) fn advance(&mut self, id: Id) {
        self.advance_accept(id);
        self.advance_recv(id);
        self.advance_send(id);
        self.transmit(id);
        self.advance_poll(id);
        self.close_if_unused(id);
    }

    /// Puts bytes on the wire as long as the peer has room.
    pub(super) fn transmit(&mut self, id: Id) {
        loop {
            let Some((peer, flying, waiting)) = self
                .sockets
                .get(&id)
                .and_then(|socket| socket.peer.map(|peer| (peer, socket.flying, socket.tx.len())))
            else {
                return;
            };
            // A peer that is gone takes everything, and answers with a reset.
            let room = match self.sockets.get(&peer) {
                Some(peer) => peer.rx_max.saturating_sub(peer.rx.len() + flying),
                None => usize::MAX,
            };
            let mut len = waiting.min(room);
            if len == 0 {
                break;
            }
            if self.fault(self.config.faults.splits) {
                len = 1 + self.rng.below(len as u64) as usize;
            }
            let at = self.arrival(id);
            let Some(socket) = self.sockets.get_mut(&id) else { return };
            let bytes: Vec<u8> = socket.tx.drain(..len).collect();
            socket.flying += len;
            self.schedule(at, Event::Deliver { from: id, to: peer, bytes: Bytes(bytes) });
        }
        self.finish(id);
    }

    /// Sends the FIN once everything before it is on the wire.
    fn finish(&mut self, id: Id) {
        let at = match self.sockets.get(&id) {
            Some(s) if s.fin_wanted && !s.fin_sent && s.tx.is_empty() && s.send.is_none() => self.arrival(id),
            _ => return,
        };
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.fin_sent = true;
        let peer = socket.peer;
        if let Some(to) = peer {
            self.schedule(at, Event::Fin { to });
        }
    }

    /// When what leaves now arrives: behind what left before.
    fn arrival(&mut self, id: Id) -> u64 {
        let stall = if self.fault(self.config.faults.stalls) {
            let max = *self.rng.pick(&[50, 2_000, 40_000]);
            self.rng.below(max) * MILLISECOND
        } else {
            0
        };
        let now = self.now;
        let jitter = self.rng.below(20 * MICROSECOND);
        let Some(socket) = self.sockets.get_mut(&id) else { return now };
        socket.wire_at = socket.wire_at.max(now + socket.latency + jitter + stall);
        socket.wire_at
    }

    /// A reader made room: the peer may go on sending.
    pub(super) fn window_opened(&mut self, reader: Id) {
        if let Some(peer) = self.sockets.get(&reader).and_then(|socket| socket.peer) {
            self.transmit(peer);
            self.advance_send(peer);
            self.advance_poll(peer);
            self.close_if_unused(peer);
        }
    }
}

/// The clock's zero: only differences to it matter.
fn first_moment() -> Instant {
    Instant::now()
}

fn digest(before: u64, words: &[u64]) -> u64 {
    words.iter().fold(before, |sum, word| (sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95))
}
