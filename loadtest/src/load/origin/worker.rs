//! The origin's ring: connections, what waits for its time, and the totals.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::faults::Answer;
use super::{Broken, Codec, Content, OriginConfig, OriginTotals, Then, http2};
use crate::load::codec::Protocol;
use crate::load::random::Random;
use crate::load::tls::Tls;
use crate::process;
use crate::ring::{Completion, Ring, RingConfig, Token};
use crate::socket;

pub(super) struct Worker {
    config: OriginConfig,
    ring: Ring,
    listener: OwnedFd,
    connections: Vec<Connection>,
    free: Vec<u32>,
    later: BinaryHeap<Reverse<(Instant, Due)>>,
    /// Numbers every request, so that what waits for one that has gone meets no other.
    serial: u64,
    random: Random,
    totals: OriginTotals,
    batch: Vec<Completion>,
    asked: Vec<u32>,
    finished: Vec<u32>,
    /// Data of the record at hand; empty between the calls.
    plain: Vec<u8>,
    content: Rc<Content>,
}

/// What happens when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Answer {
        index: u32,
        serial: u64,
        id: u32,
    },
    /// More of a slow body.
    Piece {
        index: u32,
        serial: u64,
        id: u32,
    },
    /// The peer had its time to close.
    Close {
        index: u32,
        generation: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open,
    /// Nothing more is answered; what there is to be sent goes out, then FIN.
    Closing,
    /// FIN is sent; the peer's is waited for.
    HalfClosed,
    /// Waits for the last operation in the kernel.
    Ending,
}

struct Connection {
    phase: Phase,
    socket: Option<OwnedFd>,
    generation: u32,
    operations: u32,
    codec: Option<Codec>,
    out: Vec<u8>,
    tls: Option<Tls>,
    /// With TLS: what goes on the wire.
    wire: Vec<u8>,
    sending: bool,
    /// Requests without their whole answer, by the codec's number.
    pending: HashMap<u32, Pending>,
    /// Requests behind the one at hand, of protocols that answer in turn.
    behind: VecDeque<u32>,
}

#[derive(Clone, Copy)]
struct Pending {
    asked: Instant,
    serial: u64,
    begun: Option<Answer>,
}

const ACCEPT: u8 = 0x40;
const RECV: u8 = 0x41;
const SEND: u8 = 0x42;
const CANCEL: u8 = 0x43;
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// The longest sleep: the stop is seen at a turn.
const TURN_MAX: Duration = Duration::from_millis(20);

impl Worker {
    pub(super) fn new(listener: OwnedFd, config: &OriginConfig) -> io::Result<Worker> {
        process::exact_timers();
        let mut ring =
            Ring::new(RingConfig { entries: 1024, completions: 32_768, buffers: 512, buffer_bytes: 16_384 })?;
        ring.accept_multi(listener.as_raw_fd(), Token { kind: ACCEPT, index: 0, generation: 0 })?;
        let content = match config.protocol {
            Protocol::Grpc => http2::messages(config.body_bytes),
            _ => Content::text(),
        };
        Ok(Worker {
            config: config.clone(),
            ring,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            later: BinaryHeap::new(),
            serial: 0,
            random: Random::new(config.seed),
            totals: OriginTotals::new(),
            batch: Vec::new(),
            asked: Vec::new(),
            finished: Vec::new(),
            plain: Vec::new(),
            content: Rc::new(content),
        })
    }

    pub(super) fn turn(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some(&Reverse((at, due))) = self.later.peek() {
            if at > now {
                break;
            }
            self.later.pop();
            self.wake(due, now)?;
        }
        let until = self.later.peek().map(|Reverse((at, _))| at.saturating_duration_since(Instant::now()));
        let mut batch = std::mem::take(&mut self.batch);
        self.ring.turn(1, Some(until.map_or(TURN_MAX, |until| until.min(TURN_MAX))), &mut batch)?;
        for completion in &batch {
            self.complete(completion)?;
        }
        self.batch = batch;
        Ok(())
    }

    pub(super) fn finish(mut self) -> OriginTotals {
        for connection in &mut self.connections {
            self.totals.lost += connection.pending.drain().count() as u64;
            if let Some(socket) = &connection.socket {
                socket::shutdown(socket.as_raw_fd());
            }
        }
        socket::shutdown(self.listener.as_raw_fd());
        self.totals
    }

    fn complete(&mut self, completion: &Completion) -> io::Result<()> {
        let index = completion.token.index;
        match completion.token.kind {
            ACCEPT => return self.accepted(completion),
            RECV => self.received(index, completion)?,
            SEND => self.sent(index, completion)?,
            CANCEL => self.connection(index).operations -= 1,
            _ => {}
        }
        self.reap(index);
        Ok(())
    }

    fn connection(&mut self, index: u32) -> &mut Connection {
        &mut self.connections[index as usize]
    }

    fn accepted(&mut self, completion: &Completion) -> io::Result<()> {
        if completion.result >= 0 {
            let socket = socket::adopt(completion.result);
            socket::set_nodelay(socket.as_raw_fd());
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(Connection::new());
                self.connections.len() as u32 - 1
            });
            self.totals.connections += 1;
            let connection = &mut self.connections[index as usize];
            let codec = Codec::new(&self.config, &self.content, Instant::now(), &mut connection.out);
            connection.codec = Some(codec);
            connection.tls = match &self.config.tls {
                Some(config) => Some(Tls::server(config).map_err(io::Error::other)?),
                None => None,
            };
            connection.phase = Phase::Open;
            let token = Token { kind: RECV, index, generation: connection.generation };
            self.ring.recv_multi(socket.as_raw_fd(), token)?;
            connection.operations = 1;
            connection.socket = Some(socket);
            self.flush(index)?;
        } else if completion.result == -libc::EMFILE {
            return Err(io::Error::other("too many connections for the open files: raise `ulimit -n`"));
        }
        if !completion.more() {
            self.ring.accept_multi(self.listener.as_raw_fd(), completion.token)?;
        }
        Ok(())
    }

    fn received(&mut self, index: u32, completion: &Completion) -> io::Result<()> {
        let now = Instant::now();
        let mut result = Ok(());
        if let Some(buffer) = completion.buffer() {
            let bytes = self.ring.bytes_mut(buffer, completion.result.max(0) as usize);
            let connection = &mut self.connections[index as usize];
            let mut plain: &[u8] = bytes;
            if let Some(tls) = &mut connection.tls {
                self.plain.clear();
                let was_open = tls.is_open();
                match tls.receive(bytes, &mut self.plain, &mut connection.wire) {
                    Ok(Some(facts)) => {
                        self.totals.handshakes += 1;
                        self.totals.resumed += u64::from(facts.resumed);
                    }
                    Ok(None) => {}
                    Err(_) => {
                        self.totals.handshakes_failed += u64::from(!was_open);
                        result = Err(Broken);
                    }
                }
                plain = &self.plain;
            }
            if let (Some(codec), Phase::Open, Ok(())) = (&mut connection.codec, connection.phase, result)
                && !plain.is_empty()
            {
                result = codec.receive(plain, now, &mut connection.out, &mut self.asked);
            }
            self.ring.recycle(buffer);
        }
        self.take_asked(index, now)?;
        if result.is_err() {
            // A protocol's last words, GOAWAY for instance, still go out.
            self.close_gently(index);
        }
        self.pump(index)?;
        if !completion.more() {
            self.connection(index).operations -= 1;
            let again = completion.result > 0 || completion.result == -libc::ENOBUFS;
            let connection = &mut self.connections[index as usize];
            match &connection.socket {
                Some(socket) if again && connection.phase != Phase::Ending => {
                    self.ring.recv_multi(socket.as_raw_fd(), completion.token)?;
                    connection.operations += 1;
                }
                _ => self.close(index),
            }
        }
        Ok(())
    }

    fn take_asked(&mut self, index: u32, now: Instant) -> io::Result<()> {
        let mut asked = std::mem::take(&mut self.asked);
        for id in asked.drain(..) {
            self.totals.requests += 1;
            self.serial += 1;
            let connection = &mut self.connections[index as usize];
            connection.pending.insert(id, Pending { asked: now, serial: self.serial, begun: None });
            let sequential = connection.codec.as_ref().is_some_and(Codec::is_sequential);
            if sequential && connection.pending.len() > 1 {
                connection.behind.push_back(id);
            } else {
                self.schedule(index, id, now)?;
            }
        }
        self.asked = asked;
        Ok(())
    }

    fn schedule(&mut self, index: u32, id: u32, now: Instant) -> io::Result<()> {
        let Some(delay) = self.config.faults.latency else { return self.answer(index, id) };
        let at = now + delay.sample(&mut self.random);
        let Some(pending) = self.connections[index as usize].pending.get(&id) else { return Ok(()) };
        self.later.push(Reverse((at, Due::Answer { index, serial: pending.serial, id })));
        Ok(())
    }

    fn wake(&mut self, due: Due, now: Instant) -> io::Result<()> {
        match due {
            Due::Answer { index, serial, id } => {
                if self.is_pending(index, serial, id) {
                    self.answer(index, id)?;
                    self.pump(index)?;
                    self.reap(index);
                }
            }
            Due::Piece { index, serial, id } => {
                if self.is_pending(index, serial, id) {
                    self.piece(index, serial, id, now);
                    self.pump(index)?;
                    self.reap(index);
                }
            }
            Due::Close { index, generation } => {
                if self.connection(index).generation == generation {
                    self.close(index);
                    self.reap(index);
                }
            }
        }
        Ok(())
    }

    fn is_pending(&mut self, index: u32, serial: u64, id: u32) -> bool {
        self.connection(index).pending.get(&id).is_some_and(|pending| pending.serial == serial)
    }

    fn answer(&mut self, index: u32, id: u32) -> io::Result<()> {
        let answer = self.config.faults.answer(&mut self.random);
        let connection = &mut self.connections[index as usize];
        let (Some(codec), Some(pending)) = (&mut connection.codec, connection.pending.get_mut(&id)) else {
            return Ok(());
        };
        pending.begun = Some(answer);
        let serial = pending.serial;
        let slow = self.config.faults.body_rate.is_some();
        match codec.answer(id, answer, slow, &mut connection.out) {
            Then::Continue => {
                if slow {
                    self.wait_for_piece(index, serial, id, Instant::now());
                }
            }
            Then::Close => {
                connection.pending.remove(&id);
                self.totals.count(answer);
                self.close_gently(index);
                self.flush(index)?;
            }
            Then::Reset => {
                connection.pending.remove(&id);
                self.totals.count(answer);
                self.reset(index)?;
            }
        }
        Ok(())
    }

    fn piece(&mut self, index: u32, serial: u64, id: u32, now: Instant) {
        let Some((bytes, _)) = self.config.faults.piece() else { return };
        let connection = self.connection(index);
        if connection.codec.as_mut().is_some_and(|codec| codec.allow(id, bytes)) {
            self.wait_for_piece(index, serial, id, now);
        }
    }

    fn wait_for_piece(&mut self, index: u32, serial: u64, id: u32, now: Instant) {
        if let Some((_, wait)) = self.config.faults.piece() {
            self.later.push(Reverse((now + wait, Due::Piece { index, serial, id })));
        }
    }

    /// Sends what may go, and begins the next answers.
    fn pump(&mut self, index: u32) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[index as usize];
            if connection.phase != Phase::Open {
                break;
            }
            let Some(codec) = &mut connection.codec else { break };
            codec.pump(&mut connection.out, &mut self.finished);
            if self.finished.is_empty() {
                break;
            }
            self.take_finished(index)?;
        }
        self.flush(index)
    }

    fn take_finished(&mut self, index: u32) -> io::Result<()> {
        let now = Instant::now();
        let mut finished = std::mem::take(&mut self.finished);
        for id in finished.drain(..) {
            let connection = &mut self.connections[index as usize];
            match connection.pending.remove(&id) {
                Some(Pending { asked, begun: Some(answer), .. }) => {
                    self.totals.count(answer);
                    let took = now.saturating_duration_since(asked).as_nanos() as u64;
                    self.totals.service_ns.saturating_record(took);
                }
                // The peer has given it up before its answer.
                Some(_) => self.totals.lost += 1,
                None => {}
            }
            if connection.codec.as_ref().is_some_and(Codec::is_closing) {
                self.close_gently(index);
            } else if let Some(next) = connection.behind.pop_front() {
                self.schedule(index, next, now)?;
            }
        }
        self.finished = finished;
        Ok(())
    }

    fn flush(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        let Some(socket) = &connection.socket else { return Ok(()) };
        if connection.sending || !matches!(connection.phase, Phase::Open | Phase::Closing) {
            return Ok(());
        }
        let place = match &mut connection.tls {
            None => &mut connection.out,
            Some(tls) => {
                if tls.is_open() {
                    // A key that is used up, 2^24 records from here, leaves the client without an answer.
                    let _ = tls.seal(&connection.out, &mut connection.wire);
                    connection.out.clear();
                    if connection.phase == Phase::Closing {
                        tls.close(&mut connection.wire);
                    }
                }
                &mut connection.wire
            }
        };
        if place.is_empty() {
            if connection.phase == Phase::Closing {
                socket::shutdown_write(socket.as_raw_fd());
                connection.phase = Phase::HalfClosed;
            }
            return Ok(());
        }
        let bytes = std::mem::take(place);
        let token = Token { kind: SEND, index, generation: connection.generation };
        self.ring.send_owned(socket.as_raw_fd(), bytes, token)?;
        connection.operations += 1;
        connection.sending = true;
        Ok(())
    }

    fn sent(&mut self, index: u32, completion: &Completion) -> io::Result<()> {
        let mut buffer = self.ring.sent(completion.token);
        let connection = self.connection(index);
        connection.operations -= 1;
        connection.sending = false;
        if completion.result < 0 {
            self.close(index);
            return Ok(());
        }
        let place = if connection.tls.is_some() { &mut connection.wire } else { &mut connection.out };
        if place.is_empty() {
            buffer.clear();
            *place = buffer;
        }
        if connection.phase == Phase::Open { self.pump(index) } else { self.flush(index) }
    }

    /// Sends what there is, then FIN, and waits for the peer's for a while: closing with something unread would be RST.
    fn close_gently(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.phase == Phase::Open {
            connection.phase = Phase::Closing;
            let due = Due::Close { index, generation: connection.generation };
            self.later.push(Reverse((Instant::now() + CLOSE_WAIT, due)));
        }
    }

    /// RST: the descriptor is closed when the kernel has let go of it.
    fn reset(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        connection.phase = Phase::Ending;
        if let Some(socket) = &connection.socket {
            socket::reset_on_close(socket.as_raw_fd());
            let token = Token { kind: CANCEL, index, generation: connection.generation };
            self.ring.cancel_all(socket.as_raw_fd(), token)?;
            connection.operations += 1;
        }
        Ok(())
    }

    fn close(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if matches!(connection.phase, Phase::Ending | Phase::Closed) {
            return;
        }
        connection.phase = Phase::Ending;
        if let Some(socket) = &connection.socket {
            socket::shutdown(socket.as_raw_fd());
        }
    }

    /// Closes a connection after its last operation.
    fn reap(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.phase != Phase::Ending || connection.operations > 0 {
            return;
        }
        self.totals.lost += connection.pending.drain().count() as u64;
        let generation = connection.generation.wrapping_add(1) & 0xff_ffff;
        *connection = Connection { generation, ..Connection::new() };
        self.free.push(index);
    }
}

impl Connection {
    fn new() -> Connection {
        Connection {
            phase: Phase::Closed,
            socket: None,
            generation: 0,
            operations: 0,
            codec: None,
            out: Vec::new(),
            tls: None,
            wire: Vec::new(),
            sending: false,
            pending: HashMap::new(),
            behind: VecDeque::new(),
        }
    }
}
