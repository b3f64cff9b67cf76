//! The HTTP/1.1 client: closed loop (each connection asks again as soon as it is answered) or open loop (requests
//! start at a fixed rate, and a latency counts from when its request should have started).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::head;
use crate::report::Errors;
use crate::ring::{Completion, Ring, Token};
use crate::socket::{self, RawAddress};

/// What the client does.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub target: SocketAddr,
    pub connections: u32,
    pub host: String,
    pub path: String,
    /// More field lines, as `Name: value`.
    pub headers: Vec<String>,
    /// Length that every response must have; `None` accepts any.
    pub body_bytes: Option<u64>,
    /// Requests per second in open loop; `None` is closed loop.
    pub rate: Option<f64>,
    /// A connection for each request.
    pub new_connection: bool,
}

/// The client's connections and what they have measured.
pub struct Client {
    config: ClientConfig,
    address: &'static RawAddress,
    request: &'static [u8],
    /// Large bodies are discarded in the kernel with one receive at a time; small ones come by multishot receive.
    large: bool,
    connections: Vec<Connection>,
    /// Connections without a request, longest idle first.
    idle: VecDeque<u32>,
    /// Connections that failed, and when they are dialled again.
    redial: VecDeque<(Instant, u32)>,
    schedule: Option<Schedule>,
    stopping: bool,
    pub in_flight: u32,
    pub totals: Totals,
}

/// What is counted. Taken and reset at the edges of the measured window.
pub struct Totals {
    pub requests: u64,
    pub body_bytes: u64,
    pub connects: u64,
    pub errors: Errors,
    pub latency_ns: Histogram<u64>,
}

/// The arrival times of an open loop: request `k` should start at `start + k × interval`.
struct Schedule {
    start: Instant,
    interval_ns: f64,
    next: u64,
    /// Requests that should start earlier are not recorded (warm-up).
    record_from: Instant,
    /// No request starts at or after it.
    until: Option<Instant>,
}

struct Connection {
    socket: Option<OwnedFd>,
    generation: u32,
    phase: Phase,
    partial: Vec<u8>,
    body_left: u64,
    /// When the request started, or should have.
    started: Instant,
    close_after: bool,
    operations: u32,
}

/// `Closed → Connecting → Idle → Waiting → Body → Idle …`; `Ending` waits for the last operations, and with
/// `new_connection` for the peer's FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Connecting,
    Idle,
    Waiting,
    Body,
    Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Connect,
    Reset,
    EarlyClose,
    Status,
    Malformed,
    Length,
}

const CONNECT: u8 = 0x20;
const SEND: u8 = 0x21;
const RECV: u8 = 0x22;
const DISCARD: u8 = 0x23;
/// Bodies above it are discarded in the kernel.
const LARGE_BYTES: u64 = 8 << 10;
const REDIAL_AFTER: Duration = Duration::from_millis(20);

impl Client {
    pub fn new(config: ClientConfig, ring: &mut Ring) -> io::Result<Client> {
        let connection_field = if config.new_connection { "Connection: close\r\n" } else { "" };
        let more: String = config.headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ringway-load\r\nAccept: */*\r\n{more}{connection_field}\r\n",
            config.path, config.host
        );
        let now = Instant::now();
        let schedule = config.rate.map(|rate| Schedule {
            start: now,
            interval_ns: 1e9 / rate,
            next: 0,
            record_from: now,
            until: None,
        });
        let mut client = Client {
            address: Box::leak(Box::new(RawAddress::new(config.target))),
            request: request.into_bytes().leak(),
            large: config.body_bytes.is_some_and(|bytes| bytes > LARGE_BYTES),
            connections: Vec::new(),
            idle: VecDeque::new(),
            redial: VecDeque::new(),
            schedule,
            stopping: false,
            in_flight: 0,
            totals: Totals::new(),
            config,
        };
        for index in 0..client.config.connections {
            client.connections.push(Connection::new(now));
            if client.config.new_connection {
                client.idle.push_back(index);
            } else {
                client.dial(index, ring)?;
            }
        }
        Ok(client)
    }

    /// Starts what is due. Returns when to be called again at the latest.
    pub fn tick(&mut self, now: Instant, ring: &mut Ring) -> io::Result<Option<Instant>> {
        while let Some(&(at, index)) = self.redial.front() {
            if at > now {
                break;
            }
            self.redial.pop_front();
            self.dial(index, ring)?;
        }
        while !self.stopping {
            let Some(&index) = self.idle.front() else { break };
            let started = match &mut self.schedule {
                None => now,
                Some(schedule) => match schedule.take_due(now) {
                    Some(intended) => intended,
                    None => break,
                },
            };
            self.idle.pop_front();
            self.start(index, started, ring)?;
        }
        let due = self.schedule.as_ref().filter(|_| !self.idle.is_empty()).map(Schedule::next_at);
        Ok([due, self.redial.front().map(|&(at, _)| at)].into_iter().flatten().min())
    }

    /// Begins the measured window: forgets what was counted.
    pub fn begin_window(&mut self, now: Instant) {
        self.totals = Totals::new();
        if let Some(schedule) = &mut self.schedule {
            schedule.record_from = now;
        }
    }

    /// Ends it: an open loop still starts what should have started by now, a closed loop nothing.
    pub fn stop(&mut self, now: Instant) {
        match &mut self.schedule {
            None => self.stopping = true,
            Some(schedule) => schedule.until = Some(now),
        }
    }

    /// Whether every request that was to start has ended.
    pub fn is_drained(&self, now: Instant) -> bool {
        let overdue = self.schedule.as_ref().is_some_and(|schedule| schedule.is_due(now));
        self.in_flight == 0 && !overdue
    }

    /// Handles a completion; `false` when it is not one of the client's.
    pub fn complete(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<bool> {
        let index = completion.token.index;
        match completion.token.kind {
            CONNECT => self.connected(index, completion, ring)?,
            SEND => {
                self.connections[index as usize].operations -= 1;
                if completion.result < 0 {
                    self.fail(index, Failure::Reset);
                }
            }
            RECV => self.received(index, completion, ring)?,
            DISCARD => self.discarded(index, completion, ring)?,
            _ => return Ok(false),
        }
        self.reap(index);
        Ok(true)
    }

    fn dial(&mut self, index: u32, ring: &mut Ring) -> io::Result<()> {
        let socket = socket::tcp(self.config.target)?;
        let connection = &mut self.connections[index as usize];
        ring.connect(socket.as_raw_fd(), self.address, connection.token(CONNECT, index))?;
        connection.operations += 1;
        connection.socket = Some(socket);
        connection.phase = Phase::Connecting;
        self.totals.connects += 1;
        Ok(())
    }

    fn connected(&mut self, index: u32, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        connection.operations -= 1;
        if completion.result < 0 {
            self.fail(index, Failure::Connect);
            return Ok(());
        }
        connection.phase = Phase::Idle;
        if !self.large {
            connection.recv(Receive::Multi, index, ring)?;
        }
        if self.config.new_connection {
            return self.send_request(index, ring);
        }
        self.idle.push_back(index);
        Ok(())
    }

    /// Starts one request on an idle connection, or dials for it.
    fn start(&mut self, index: u32, started: Instant, ring: &mut Ring) -> io::Result<()> {
        self.connections[index as usize].started = started;
        self.in_flight += 1;
        if self.config.new_connection { self.dial(index, ring) } else { self.send_request(index, ring) }
    }

    fn send_request(&mut self, index: u32, ring: &mut Ring) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        let Some(socket) = &connection.socket else { return Ok(()) };
        ring.send_static(socket.as_raw_fd(), self.request, connection.token(SEND, index))?;
        connection.operations += 1;
        if self.large {
            connection.recv(Receive::Once, index, ring)?;
        }
        connection.phase = Phase::Waiting;
        Ok(())
    }

    fn received(&mut self, index: u32, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        let mut step = Step::Nothing;
        if let Some(buffer) = completion.buffer() {
            let bytes = ring.bytes(buffer, completion.result.max(0) as usize);
            step = connection.take(bytes, self.config.body_bytes, &mut self.totals.body_bytes);
            ring.recycle(buffer);
        }
        if !completion.more() {
            connection.operations -= 1;
            let again = completion.result > 0 || completion.result == -libc::ENOBUFS;
            if !again {
                step = if completion.result == 0 { Step::End } else { Step::Fail(Failure::Reset) };
            } else if !self.large && connection.phase != Phase::Ending {
                connection.recv(Receive::Multi, index, ring)?;
            }
        }
        self.apply(index, step, ring)
    }

    fn discarded(&mut self, index: u32, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        connection.operations -= 1;
        let step = match completion.result {
            0 => Step::End,
            ..0 => Step::Fail(Failure::Reset),
            bytes => {
                self.totals.body_bytes += bytes as u64;
                connection.body_left = connection.body_left.saturating_sub(bytes as u64);
                if connection.body_left == 0 { Step::Answered } else { Step::Nothing }
            }
        };
        self.apply(index, step, ring)
    }

    fn apply(&mut self, index: u32, step: Step, ring: &mut Ring) -> io::Result<()> {
        match step {
            Step::Nothing => {
                let connection = &mut self.connections[index as usize];
                if self.large && connection.operations == 0 && connection.phase != Phase::Ending {
                    let how = if connection.phase == Phase::Body { Receive::Discard } else { Receive::Once };
                    connection.recv(how, index, ring)?;
                }
            }
            Step::Answered => self.answered(index, ring)?,
            Step::End => self.ended(index),
            Step::Fail(failure) => self.fail(index, failure),
        }
        Ok(())
    }

    fn answered(&mut self, index: u32, ring: &mut Ring) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        let now = Instant::now();
        self.totals.requests += 1;
        self.in_flight -= 1;
        let recorded =
            self.schedule.as_ref().is_none_or(|schedule| connection.started >= schedule.record_from);
        if recorded {
            let latency = now.saturating_duration_since(connection.started);
            self.totals.latency_ns.saturating_record(latency.as_nanos() as u64);
        }
        if self.config.new_connection || connection.close_after {
            // The peer closes; with a large body no receive is armed that would tell.
            connection.phase = Phase::Ending;
            if self.large {
                connection.recv(Receive::Once, index, ring)?;
            }
            return Ok(());
        }
        connection.phase = Phase::Idle;
        if self.schedule.is_none() && !self.stopping {
            return self.start(index, now, ring);
        }
        self.idle.push_back(index);
        Ok(())
    }

    /// The peer's FIN.
    fn ended(&mut self, index: u32) {
        match self.connections[index as usize].phase {
            Phase::Waiting | Phase::Body => self.fail(index, Failure::EarlyClose),
            Phase::Idle => {
                self.idle.retain(|&other| other != index);
                self.connections[index as usize].phase = Phase::Ending;
            }
            _ => self.connections[index as usize].phase = Phase::Ending,
        }
    }

    fn fail(&mut self, index: u32, failure: Failure) {
        let connection = &mut self.connections[index as usize];
        match connection.phase {
            Phase::Ending | Phase::Closed => return,
            Phase::Idle => self.idle.retain(|&other| other != index),
            Phase::Connecting if !self.config.new_connection => {}
            Phase::Connecting | Phase::Waiting | Phase::Body => self.in_flight -= 1,
        }
        connection.phase = Phase::Ending;
        let errors = &mut self.totals.errors;
        match failure {
            Failure::Connect => errors.connect += 1,
            Failure::Reset => errors.reset += 1,
            Failure::EarlyClose => errors.early_close += 1,
            Failure::Status => errors.status += 1,
            Failure::Malformed => errors.malformed += 1,
            Failure::Length => errors.length += 1,
        }
        if let Some(socket) = &connection.socket {
            // SAFETY: no pointers. Operations in flight complete with an end or an error.
            unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
        }
    }

    /// Closes a connection after its last operation, and plans the next one.
    fn reap(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.phase != Phase::Ending || connection.operations > 0 {
            return;
        }
        let generation = connection.generation.wrapping_add(1);
        *connection = Connection { generation, ..Connection::new(connection.started) };
        if self.config.new_connection {
            self.idle.push_back(index);
        } else {
            self.redial.push_back((Instant::now() + REDIAL_AFTER, index));
        }
    }
}

/// How bytes are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    Multi,
    Once,
    Discard,
}

/// What received bytes mean for their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Answered,
    End,
    Fail(Failure),
}

impl Connection {
    fn new(now: Instant) -> Connection {
        Connection {
            socket: None,
            generation: 0,
            phase: Phase::Closed,
            partial: Vec::new(),
            body_left: 0,
            started: now,
            close_after: false,
            operations: 0,
        }
    }

    fn token(&self, kind: u8, index: u32) -> Token {
        Token { kind, index, generation: self.generation }
    }

    fn recv(&mut self, how: Receive, index: u32, ring: &mut Ring) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let fd = socket.as_raw_fd();
        match how {
            Receive::Multi => ring.recv_multi(fd, self.token(RECV, index))?,
            Receive::Once => ring.recv_once(fd, self.token(RECV, index))?,
            Receive::Discard => ring.discard(fd, self.body_left as usize, self.token(DISCARD, index))?,
        }
        self.operations += 1;
        Ok(())
    }

    /// Takes received bytes: of a head, then of its body.
    fn take(&mut self, bytes: &[u8], expected: Option<u64>, body_bytes: &mut u64) -> Step {
        match self.phase {
            Phase::Body => self.take_body(bytes, body_bytes),
            Phase::Waiting => {
                let joined = if self.partial.is_empty() {
                    None
                } else {
                    self.partial.extend_from_slice(bytes);
                    Some(std::mem::take(&mut self.partial))
                };
                self.take_head(joined.as_deref().unwrap_or(bytes), expected, body_bytes)
            }
            Phase::Ending => Step::Nothing,
            // A byte that nobody asked for.
            _ => Step::Fail(Failure::Malformed),
        }
    }

    fn take_head(&mut self, bytes: &[u8], expected: Option<u64>, body_bytes: &mut u64) -> Step {
        let head = match head::parse_response(bytes) {
            Err(head::Malformed) => return Step::Fail(Failure::Malformed),
            Ok(None) => {
                self.partial = bytes.to_vec();
                return Step::Nothing;
            }
            Ok(Some(head)) => head,
        };
        if head.status != 200 {
            return Step::Fail(Failure::Status);
        }
        let Some(length) = head.content_length else { return Step::Fail(Failure::Length) };
        if expected.is_some_and(|expected| expected != length) {
            return Step::Fail(Failure::Length);
        }
        self.close_after = head.close;
        self.body_left = length;
        self.phase = Phase::Body;
        self.take_body(&bytes[head.bytes..], body_bytes)
    }

    fn take_body(&mut self, bytes: &[u8], body_bytes: &mut u64) -> Step {
        if bytes.len() as u64 > self.body_left {
            return Step::Fail(Failure::Length);
        }
        self.body_left -= bytes.len() as u64;
        *body_bytes += bytes.len() as u64;
        if self.body_left == 0 { Step::Answered } else { Step::Nothing }
    }
}

impl Totals {
    fn new() -> Totals {
        // The bounds are constants that the histogram accepts: 1 µs to 100 s, three significant digits.
        let latency_ns =
            Histogram::new_with_bounds(1_000, 100_000_000_000, 3).expect("constant bounds are valid");
        Totals { requests: 0, body_bytes: 0, connects: 0, errors: Errors::default(), latency_ns }
    }
}

impl Schedule {
    fn next_at(&self) -> Instant {
        self.start + Duration::from_nanos((self.next as f64 * self.interval_ns) as u64)
    }

    fn is_due(&self, now: Instant) -> bool {
        let at = self.next_at();
        at <= now && self.until.is_none_or(|until| at < until)
    }

    /// The intended start of the next request, if that has come.
    fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let at = self.next_at();
        let due = self.is_due(now);
        self.next += u64::from(due);
        due.then_some(at)
    }
}
