//! The connections of a worker: dialling, sending, receiving, closing.
//!
//! `Closed → Dialing → Open → Ending → Closed`. A closed slot is dialled at once, or with `--new-connection` for the
//! next request. `Ending` waits for the last operation in the kernel.

use std::cmp::Reverse;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ringway_protocols::proxy_protocol;

use super::{REDIAL_AFTER, Worker};
use crate::load::codec::Codec;
use crate::load::target::Address;
use crate::load::totals::Failure;
use crate::ring::{Completion, Token};
use crate::socket;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Dialing,
    Open,
    Ending,
}

/// How the next bytes are received. The first answer decides: large bodies are thrown away in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    Undecided,
    Multi,
    Discard,
}

/// A request that is on its way.
#[derive(Clone, Copy)]
pub(super) struct Active {
    pub(super) intended: Instant,
    pub(super) sent: Instant,
    pub(super) kind: u32,
    pub(super) running: bool,
}

pub(super) struct Connection {
    pub(super) phase: Phase,
    pub(super) codec: Option<Codec>,
    pub(super) target: usize,
    pub(super) out: Vec<u8>,
    pub(super) is_ready: bool,
    /// Thinks before its next request.
    pub(super) resting: bool,
    /// `--new-connection`.
    dialled_for_each: bool,
    socket: Option<OwnedFd>,
    generation: u32,
    operations: u32,
    sending: bool,
    receive: Receive,
    /// When it is not used any more.
    retire_at: Option<Instant>,
    /// The peer has announced its end: it is not waited for longer.
    waits_for_end: Option<Instant>,
    actives: Vec<Active>,
    free: Vec<u32>,
}

const CONNECT: u8 = 0x30;
const SEND: u8 = 0x31;
const RECV: u8 = 0x32;
const DISCARD: u8 = 0x33;
/// Bodies of which more than this is left are thrown away in the kernel.
const LARGE_BYTES: u64 = 16 << 10;
const CLOSE_WAIT: Duration = Duration::from_millis(500);

impl Connection {
    fn new(target: usize, dialled_for_each: bool) -> Connection {
        Connection {
            phase: Phase::Closed,
            codec: None,
            target,
            out: Vec::new(),
            is_ready: false,
            resting: false,
            dialled_for_each,
            socket: None,
            generation: 0,
            operations: 0,
            sending: false,
            receive: Receive::Undecided,
            retire_at: None,
            waits_for_end: None,
            actives: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn can_start(&self) -> bool {
        match self.phase {
            _ if self.resting => false,
            Phase::Closed => self.dialled_for_each,
            Phase::Open => !self.dialled_for_each && self.codec.as_ref().is_some_and(Codec::can_start),
            Phase::Dialing | Phase::Ending => false,
        }
    }

    pub(super) fn add(&mut self, active: Active) -> u32 {
        match self.free.pop() {
            Some(tag) => {
                self.actives[tag as usize] = active;
                tag
            }
            None => {
                self.actives.push(active);
                self.actives.len() as u32 - 1
            }
        }
    }

    pub(super) fn remove(&mut self, tag: u32) -> Option<Active> {
        let place = self.actives.get_mut(tag as usize).filter(|active| active.running)?;
        let active = *place;
        place.running = false;
        self.free.push(tag);
        Some(active)
    }

    pub(super) fn remove_all(&mut self) -> Vec<Active> {
        self.free.clear();
        let mut actives: Vec<Active> = self.actives.drain(..).filter(|active| active.running).collect();
        actives.sort_by_key(|active| active.sent);
        actives
    }

    fn oldest(&self) -> Option<Instant> {
        self.actives.iter().filter(|active| active.running).map(|active| active.sent).min()
    }

    fn token(&self, kind: u8, index: u32) -> Token {
        Token { kind, index, generation: self.generation & 0xff_ffff }
    }
}

impl Worker<'_> {
    pub(super) fn make_connections(&mut self) {
        let (count, config) = (self.share.connections, self.config);
        let open_loop = self.arrivals.is_some();
        for index in 0..count {
            // Workers begin with different targets, so that few connections still reach all of them.
            let target = (index + self.share.number) as usize % config.targets.len().max(1);
            let mut connection = Connection::new(target, config.new_connection);
            let part = f64::from(index) / f64::from(count.max(1));
            let ramp = |ramp: Duration| if open_loop { Duration::ZERO } else { ramp.mul_f64(part) };
            if let Some(end) = self.window_end.filter(|_| !config.ramp_down.is_zero() && !open_loop) {
                connection.retire_at = Some(end - ramp(config.ramp_down));
            }
            self.connections.push(connection);
            self.later.push(Reverse((self.share.start + ramp(config.ramp_up), index)));
        }
    }

    /// A time has come: to dial, or to stop thinking.
    pub(super) fn wake(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        connection.resting = false;
        if connection.phase == Phase::Closed && !connection.dialled_for_each && !self.stopping {
            self.dial(index)?;
        }
        self.offer(index);
        Ok(())
    }

    pub(super) fn dial(&mut self, index: u32) -> io::Result<()> {
        let target = self.connections[index as usize].target;
        let address = self.addresses[target];
        let socket = socket::stream(address)?;
        let sources = &self.config.sources;
        let turn = self.share.number + index * self.config.threads;
        if let Some(&source) = sources.get(turn as usize % sources.len().max(1)) {
            socket::bind_source(&socket, source)
                .map_err(|error| io::Error::new(error.kind(), format!("--source {source}: {error}")))?;
        }
        let mut out = std::mem::take(&mut self.connections[index as usize].out);
        out.clear();
        if let (Some(version), Some(Address::Socket(to))) =
            (self.config.proxy_protocol, self.config.targets.get(target).map(|target| &target.address))
        {
            write_proxy_header(version, *to, index, &mut out);
        }
        let codec = self.new_codec(target, &mut out);
        let connection = &mut self.connections[index as usize];
        connection.out = out;
        connection.codec = codec;
        self.ring.connect(socket.as_raw_fd(), address, connection.token(CONNECT, index))?;
        connection.operations += 1;
        connection.socket = Some(socket);
        connection.phase = Phase::Dialing;
        self.totals.connects += 1;
        Ok(())
    }

    pub(super) fn complete(&mut self, completion: &Completion) -> io::Result<()> {
        let index = completion.token.index;
        match completion.token.kind {
            CONNECT => self.connected(index, completion)?,
            SEND => self.sent(index, completion)?,
            RECV => self.received(index, completion)?,
            DISCARD => self.discarded(index, completion)?,
            _ => {}
        }
        self.reap(index);
        Ok(())
    }

    fn connected(&mut self, index: u32, completion: &Completion) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        connection.operations -= 1;
        if completion.result < 0 {
            if self.connect_errno == 0 {
                self.connect_errno = -completion.result;
            }
            self.fail(index, Failure::Connect);
            return Ok(());
        }
        connection.phase = Phase::Open;
        // Several answers may come at once, or frames that are no answer: no receive is to be waited with.
        let many = self.config.streams > 1 || !matches!(connection.codec, Some(Codec::Http1(_)));
        connection.receive = if many { Receive::Multi } else { Receive::Undecided };
        self.flush(index)?;
        self.receive_more(index)?;
        self.proceed(index)
    }

    /// Sends what is waiting, if nothing is on its way.
    pub(super) fn flush(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        if connection.phase != Phase::Open || connection.sending || connection.out.is_empty() {
            return Ok(());
        }
        let Some(socket) = &connection.socket else { return Ok(()) };
        let bytes = std::mem::take(&mut connection.out);
        let token = connection.token(SEND, index);
        self.ring.send_owned(socket.as_raw_fd(), bytes, token)?;
        connection.operations += 1;
        connection.sending = true;
        Ok(())
    }

    fn sent(&mut self, index: u32, completion: &Completion) -> io::Result<()> {
        let mut buffer = self.ring.sent(completion.token);
        let connection = &mut self.connections[index as usize];
        connection.operations -= 1;
        connection.sending = false;
        if completion.result < 0 {
            self.fail(index, Failure::Reset);
            return Ok(());
        }
        if connection.out.is_empty() {
            buffer.clear();
            connection.out = buffer;
        }
        self.flush(index)
    }

    fn received(&mut self, index: u32, completion: &Completion) -> io::Result<()> {
        let now = Instant::now();
        let mut result = Ok(());
        if let Some(buffer) = completion.buffer() {
            let bytes = self.ring.bytes(buffer, completion.result.max(0) as usize);
            let connection = &mut self.connections[index as usize];
            self.totals.received_bytes += bytes.len() as u64;
            if let (Some(codec), Phase::Open) = (&mut connection.codec, connection.phase) {
                result = codec.receive(bytes, now, &mut connection.out, &mut self.ended);
            }
            self.ring.recycle(buffer);
        }
        self.settle(index, now);
        if let Err(failure) = result {
            self.fail(index, failure);
        }
        if !completion.more() {
            self.connections[index as usize].operations -= 1;
            match completion.result {
                0 => self.ended(index, now),
                result if result > 0 || result == -libc::ENOBUFS => self.receive_more(index)?,
                _ => self.fail(index, Failure::Reset),
            }
        }
        self.proceed(index)
    }

    fn discarded(&mut self, index: u32, completion: &Completion) -> io::Result<()> {
        let now = Instant::now();
        let connection = &mut self.connections[index as usize];
        connection.operations -= 1;
        match completion.result {
            0 => self.ended(index, now),
            ..0 => self.fail(index, Failure::Reset),
            bytes => {
                self.totals.received_bytes += bytes as u64;
                if let Some(Codec::Http1(http1)) = &mut connection.codec {
                    http1.skipped(bytes as u64, &mut self.ended);
                }
                self.settle(index, now);
                self.receive_more(index)?;
            }
        }
        self.proceed(index)
    }

    /// Arms the next receive, if none is.
    fn receive_more(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        if connection.phase != Phase::Open {
            return Ok(());
        }
        let Some(fd) = connection.socket.as_ref().map(AsRawFd::as_raw_fd) else { return Ok(()) };
        let left = match &connection.codec {
            Some(Codec::Http1(http1)) => http1.body_left(),
            _ => None,
        };
        if connection.receive == Receive::Undecided && left.is_some_and(|left| left > LARGE_BYTES) {
            connection.receive = Receive::Discard;
        } else if connection.receive == Receive::Undecided && self.totals.requests + self.totals.warmup > 0 {
            connection.receive = Receive::Multi;
        }
        match (connection.receive, left) {
            (Receive::Multi, _) => self.ring.recv_multi(fd, connection.token(RECV, index))?,
            (Receive::Discard, Some(left)) if left > 0 => {
                self.ring.discard(fd, left as usize, connection.token(DISCARD, index))?;
            }
            _ => self.ring.recv_once(fd, connection.token(RECV, index))?,
        }
        connection.operations += 1;
        Ok(())
    }

    /// After any event: sends what it has made, and goes on with the next request.
    fn proceed(&mut self, index: u32) -> io::Result<()> {
        self.flush(index)?;
        let connection = &mut self.connections[index as usize];
        let done = connection.actives.len() == connection.free.len();
        if connection.phase == Phase::Open {
            let closing = connection.codec.as_ref().is_none_or(Codec::is_closing);
            let retired = connection.retire_at.is_some_and(|at| Instant::now() >= at);
            let http1 = matches!(connection.codec, Some(Codec::Http1(_)));
            if done && closing && http1 {
                // The peer closes first, so that the port is not kept here for a minute.
                connection.waits_for_end = Some(Instant::now() + CLOSE_WAIT);
                return Ok(());
            }
            if done && (closing || retired || connection.dialled_for_each && connection.codec_idle()) {
                self.close(index);
                return Ok(());
            }
            if closing && http1 {
                self.send_again(index);
                return Ok(());
            }
        }
        let at = index as usize;
        if self.arrivals.is_none() && !self.connections[at].is_ready {
            // Closed loop: without a detour, so that the answer's turn sends the next request.
            while self.connections[at].can_start() && self.connections[at].phase == Phase::Open {
                let now = Instant::now();
                let retired = self.connections[at].retire_at.is_some_and(|at| now >= at);
                let Some(intended) = (if retired { None } else { self.next_request(now) }) else { break };
                self.start(index, intended, now)?;
            }
        }
        self.offer(index);
        Ok(())
    }

    /// Requests behind an answer with `Connection: close` were not acted on (RFC 9112 9.6): they start again elsewhere.
    fn send_again(&mut self, index: u32) {
        for active in self.connections[index as usize].remove_all() {
            self.in_flight -= 1;
            if self.arrivals.is_some() {
                self.queue.push_front(active.intended);
            } else {
                self.left = self.left.saturating_add(1);
            }
        }
        self.close(index);
    }

    /// The peer's FIN.
    fn ended(&mut self, index: u32, now: Instant) {
        if let Some(codec) = &mut self.connections[index as usize].codec {
            codec.end(&mut self.ended);
        }
        self.settle(index, now);
        let failure = match &self.connections[index as usize].codec {
            Some(Codec::WebSocket(websocket)) => websocket.end_failure(),
            _ => Failure::EarlyClose,
        };
        self.fail(index, failure);
    }

    /// Ends a connection; requests on it end with the failure.
    pub(super) fn fail(&mut self, index: u32, failure: Failure) {
        let connection = &mut self.connections[index as usize];
        if matches!(connection.phase, Phase::Ending | Phase::Closed) {
            return;
        }
        let lost = connection.remove_all();
        // Nobody has asked yet: what is wrong is still to be seen, except that an idle connection may be closed.
        let alone =
            lost.is_empty() && matches!(failure, Failure::Connect | Failure::Handshake | Failure::Malformed);
        for active in &lost {
            self.lose(active, failure);
        }
        if alone && !self.stopping {
            self.totals.fail(failure);
        }
        self.close(index);
    }

    fn close(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        connection.phase = Phase::Ending;
        if std::mem::take(&mut connection.is_ready) {
            self.ready.retain(|&other| other != index);
        }
        if let Some(socket) = &connection.socket {
            socket::shutdown(socket.as_raw_fd());
        }
    }

    /// Closes a connection after its last operation, and plans the next one.
    fn reap(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.phase != Phase::Ending || connection.operations > 0 {
            return;
        }
        let failed = connection.codec.as_ref().is_none_or(|codec| !codec.is_closing());
        connection.socket = None;
        connection.codec = None;
        connection.out.clear();
        connection.waits_for_end = None;
        connection.generation = connection.generation.wrapping_add(1);
        connection.phase = Phase::Closed;
        if self.stopping {
            // Arrivals that still wait are served by the connections that are left.
            if self.queue.is_empty() {
                return;
            }
            self.stopping_dial(index);
        } else if self.connections[index as usize].dialled_for_each {
            self.offer(index);
        } else if self.connections[index as usize].retire_at.is_none_or(|at| Instant::now() < at) {
            let wait = if failed { REDIAL_AFTER } else { Duration::ZERO };
            self.later.push(Reverse((Instant::now() + wait, index)));
        }
    }

    fn stopping_dial(&mut self, index: u32) {
        if self.connections[index as usize].dialled_for_each {
            self.offer(index);
        }
    }

    /// Fails requests that have taken too long.
    pub(super) fn scan(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let overdue = |sent: Instant| now.saturating_duration_since(sent) > self.config.timeout;
            if self.connections[index].oldest().is_some_and(overdue) {
                self.fail(index as u32, Failure::Timeout);
            } else if self.connections[index].waits_for_end.is_some_and(|at| now >= at) {
                self.close(index as u32);
            }
        }
    }
}

impl Connection {
    /// Whether the one request of a connection was sent and answered.
    fn codec_idle(&self) -> bool {
        !self.actives.is_empty() && self.actives.len() == self.free.len()
    }
}

/// The header names a client behind the tester: one of 127.0.0.0/8 or the documentation range, by the connection.
fn write_proxy_header(version: u8, to: SocketAddr, index: u32, out: &mut Vec<u8>) {
    let port = 1024 + (index % 60_000) as u16;
    let ip = if to.is_ipv4() { [192, 0, 2, 1].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() };
    let from = SocketAddr::new(ip, port);
    match version {
        1 => proxy_protocol::write_v1(out, from, to),
        _ => proxy_protocol::write_v2(out, from, to),
    }
}
