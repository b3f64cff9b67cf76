//! The connections of a worker: dialling, sending, receiving, closing.
//!
//! `Closed → Dialing → (Securing →) Open → Ending → Closed`. A closed slot is dialled at once, or with `--new-connection` for the
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
use crate::load::tls::Tls;
use crate::load::totals::Failure;
use crate::ring::{Completion, Token};
use crate::socket;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Dialing,
    /// The TLS handshake.
    Securing,
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
    tls: Option<Tls>,
    /// With TLS: `out` as it goes on the wire, behind what TLS and the PROXY protocol say themselves.
    wire: Vec<u8>,
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
    dialled_at: Option<Instant>,
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
            tls: None,
            wire: Vec::new(),
            is_ready: false,
            resting: false,
            dialled_for_each,
            socket: None,
            generation: 0,
            operations: 0,
            sending: false,
            receive: Receive::Undecided,
            dialled_at: None,
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
            Phase::Dialing | Phase::Securing | Phase::Ending => false,
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
        let (tls, wire) = self.begin_tls(target, &mut out);
        let codec = self.new_codec(target, &mut out);
        let connection = &mut self.connections[index as usize];
        connection.out = out;
        connection.tls = tls;
        connection.wire = wire;
        connection.codec = codec;
        self.ring.connect(socket.as_raw_fd(), address, connection.token(CONNECT, index))?;
        connection.operations += 1;
        connection.socket = Some(socket);
        connection.phase = Phase::Dialing;
        connection.dialled_at = Some(Instant::now());
        self.totals.connects += 1;
        Ok(())
    }

    /// The TLS of a new connection, and what goes first on its wire: what `out` holds (PROXY protocol), then ClientHello.
    fn begin_tls(&mut self, target: usize, out: &mut Vec<u8>) -> (Option<Tls>, Vec<u8>) {
        let (Some(config), Some(Some(name))) = (&self.tls, self.names.get(target)) else {
            return (None, Vec::new());
        };
        let mut wire = std::mem::take(out);
        match Tls::client(config, name.clone(), &mut wire) {
            Ok(tls) => (Some(tls), wire),
            Err(error) => {
                // The server sees a connection that says nothing; the request ends by its timeout.
                self.tls_error.get_or_insert_with(|| error.to_string());
                (None, wire)
            }
        }
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
        connection.phase = if connection.tls.is_some() { Phase::Securing } else { Phase::Open };
        // Several answers may come at once, or frames that are no answer: no receive is to be waited with.
        let many = connection.tls.is_some()
            || self.config.streams > 1
            || !matches!(connection.codec, Some(Codec::Http1(_)));
        connection.receive = if many { Receive::Multi } else { Receive::Undecided };
        self.flush(index)?;
        self.receive_more(index)?;
        self.proceed(index)
    }

    /// Sends what is waiting, if nothing is on its way.
    pub(super) fn flush(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        if !matches!(connection.phase, Phase::Open | Phase::Securing) || connection.sending {
            return Ok(());
        }
        let bytes = match &mut connection.tls {
            None => std::mem::take(&mut connection.out),
            Some(tls) => {
                if connection.phase == Phase::Open && !connection.out.is_empty() {
                    // A key that is used up, which is 2^24 records away, ends in the timeout of the request.
                    let _ = tls.seal(&connection.out, &mut connection.wire);
                    connection.out.clear();
                }
                std::mem::take(&mut connection.wire)
            }
        };
        let Some(socket) = connection.socket.as_ref().filter(|_| !bytes.is_empty()) else { return Ok(()) };
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
        let place = if connection.tls.is_some() { &mut connection.wire } else { &mut connection.out };
        if place.is_empty() {
            buffer.clear();
            *place = buffer;
        }
        self.flush(index)
    }

    fn received(&mut self, index: u32, completion: &Completion) -> io::Result<()> {
        let now = Instant::now();
        let mut result = Ok(());
        if let Some(buffer) = completion.buffer() {
            let bytes = self.ring.bytes_mut(buffer, completion.result.max(0) as usize);
            let connection = &mut self.connections[index as usize];
            self.totals.received_bytes += bytes.len() as u64;
            let mut facts = None;
            let mut plain: &[u8] = bytes;
            if let Some(tls) = &mut connection.tls {
                self.plain.clear();
                match tls.receive(bytes, &mut self.plain, &mut connection.wire) {
                    Ok(done) => facts = done,
                    Err(error) => {
                        self.tls_error.get_or_insert_with(|| error.to_string());
                        result = Err(Failure::Tls);
                    }
                }
                plain = &self.plain;
            }
            if let Some(facts) = facts {
                result = self.totals.secured(&facts, self.config.protocol).map_err(|error| {
                    self.tls_error.get_or_insert(error);
                    Failure::Tls
                });
                if connection.phase == Phase::Securing {
                    connection.phase = Phase::Open;
                }
            }
            if let (Some(codec), Phase::Open, Ok(())) = (&mut connection.codec, connection.phase, result)
                && !plain.is_empty()
            {
                result = codec.receive(plain, now, &mut connection.out, &mut self.ended);
            }
            self.ring.recycle(buffer);
        }
        self.settle(index, now);
        if let Err(failure) = result {
            self.fail(index, failure);
        }
        let said_end = self.connections[index as usize].tls.as_ref().is_some_and(Tls::is_closed_by_peer);
        if said_end && completion.result > 0 {
            self.ended(index, now);
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
        if !matches!(connection.phase, Phase::Open | Phase::Securing) {
            return Ok(());
        }
        let Some(fd) = connection.socket.as_ref().map(AsRawFd::as_raw_fd) else { return Ok(()) };
        let left = match &connection.codec {
            Some(Codec::Http1(http1)) if connection.tls.is_none() => http1.body_left(),
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
            if done && closing && connection.actives.is_empty() && !self.stopping {
                // GOAWAY before any request: else a storm of them would be dialled through without an end.
                self.fail(index, Failure::Refused);
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
        let connection = &mut self.connections[index as usize];
        // Without close_notify, what has come may be cut off: it is the end of no body (RFC 8446 6.1).
        let cut_off = connection.tls.as_ref().is_some_and(|tls| !tls.is_closed_by_peer());
        if let Some(codec) = connection.codec.as_mut().filter(|_| !cut_off) {
            codec.end(&mut self.ended);
        }
        self.settle(index, now);
        let connection = &self.connections[index as usize];
        let failure = match &connection.codec {
            _ if connection.phase == Phase::Securing => {
                self.tls_error.get_or_insert_with(|| "the server closed within the handshake".to_owned());
                Failure::Tls
            }
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
        // A connection that ends before it can be asked is what its preparation came to.
        let failure = match (&connection.phase, &connection.codec, failure) {
            (Phase::Securing, _, Failure::Reset | Failure::EarlyClose) => {
                self.tls_error
                    .get_or_insert_with(|| "the server reset the connection within the handshake".into());
                Failure::Tls
            }
            (Phase::Open, Some(Codec::WebSocket(websocket)), Failure::Reset) if !websocket.is_open() => {
                Failure::Handshake
            }
            _ => failure,
        };
        let lost = connection.remove_all();
        // Nobody has asked yet: what is wrong is still to be seen, except that an idle connection may be closed.
        let alone = lost.is_empty()
            && matches!(
                failure,
                Failure::Connect
                    | Failure::Handshake
                    | Failure::Malformed
                    | Failure::Tls
                    | Failure::Timeout
                    | Failure::Refused
            );
        for active in &lost {
            self.lose(active, failure);
        }
        if alone && !self.stopping {
            self.lose_next(failure);
        }
        self.close(index);
    }

    /// A connection that failed before its first request takes the next one with it: a server that nobody can ask ends a
    /// run of so many requests, too.
    fn lose_next(&mut self, failure: Failure) {
        let now = Instant::now();
        let waiting = self.queue.pop_front();
        if waiting.is_none() && self.arrivals.is_none() {
            self.left = self.left.saturating_sub(1);
        }
        self.in_flight += 1;
        self.lose(&Active { intended: waiting.unwrap_or(now), sent: now, kind: 0, running: false }, failure);
    }

    fn close(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        connection.phase = Phase::Ending;
        if std::mem::take(&mut connection.is_ready) {
            self.ready.retain(|&other| other != index);
        }
        if let Some(socket) = &connection.socket {
            if let Some(tls) = connection.tls.as_mut().filter(|_| !connection.sending) {
                tls.close(&mut connection.wire);
                socket::send_now(socket.as_raw_fd(), &connection.wire);
            }
            socket::shutdown(socket.as_raw_fd());
        }
    }

    /// Closes a connection after its last operation, and plans the next one.
    fn reap(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.phase != Phase::Ending || connection.operations > 0 {
            return;
        }
        let unused = connection.actives.is_empty();
        let failed = unused || connection.codec.as_ref().is_none_or(|codec| !codec.is_closing());
        connection.socket = None;
        connection.codec = None;
        connection.tls = None;
        connection.out.clear();
        connection.wire.clear();
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
            let connection = &self.connections[index];
            let preparing = connection.dialled_at.filter(|_| connection.is_preparing());
            if connection.oldest().or(preparing).is_some_and(overdue) {
                self.fail(index as u32, Failure::Timeout);
            } else if self.connections[index].waits_for_end.is_some_and(|at| now >= at) {
                self.close(index as u32);
            }
        }
    }
}

impl Connection {
    /// Whether it cannot be asked yet.
    fn is_preparing(&self) -> bool {
        match (&self.phase, &self.codec) {
            (Phase::Dialing | Phase::Securing, _) => true,
            (Phase::Open, Some(Codec::WebSocket(websocket))) => !websocket.is_open(),
            _ => false,
        }
    }

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
