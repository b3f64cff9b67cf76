//! One worker: a thread with its own ring, connections, arrivals and counts.
//!
//! Closed loop: a connection asks again as soon as it may. Open loop: arrivals come by the clock; one that finds no
//! connection waits in a bounded queue, and its latency counts from when it should have started.

mod connection;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringway_protocols::tls::rustls::ClientConfig;
use ringway_protocols::tls::rustls::pki_types::ServerName;

use super::arrivals::Arrivals;
use super::codec::{Codec, CodecConfig, Ended, Protocol};
use super::config::{LoadConfig, Shared};
use super::random::Random;
use super::request::Requests;
use super::totals::{Failure, Totals};
use crate::process;
use crate::ring::{Completion, Ring, RingConfig};
use crate::socket::RawAddress;
use connection::{Active, Connection, Phase};

/// The share of one worker.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub number: u32,
    pub connections: u32,
    pub requests_max: Option<u64>,
    pub queue_max: usize,
    pub start: Instant,
}

/// What a worker hands back.
pub struct Outcome {
    pub totals: Totals,
    /// CPU time of the worker, and the time that it is a part of.
    pub cpu: Duration,
    pub busy_share: f64,
    /// The measured time: shorter than asked for where a bound or an interruption ended it.
    pub measured: Duration,
    /// The first error of a connect.
    pub connect_errno: i32,
    /// The first failure of TLS.
    pub tls_error: Option<String>,
}

/// A worker at work.
pub struct Worker<'a> {
    config: &'a LoadConfig,
    shared: &'a Shared,
    share: Share,
    ring: Ring,
    addresses: Vec<&'static RawAddress>,
    codecs: Vec<CodecConfig>,
    requests: Requests<'a>,
    connections: Vec<Connection>,
    /// Connections that may start a request, longest idle first.
    ready: VecDeque<u32>,
    /// Connections that are dialled later, or rest after an answer.
    later: BinaryHeap<Reverse<(Instant, u32)>>,
    arrivals: Option<Arrivals>,
    /// Arrivals without a connection, and requests to send again; their intended starts.
    queue: VecDeque<Instant>,
    /// Requests that may still start.
    left: u64,
    stopping: bool,
    in_flight: u64,
    record_from: Instant,
    window_end: Option<Instant>,
    scan_at: Instant,
    totals: Totals,
    published: (u64, u64),
    ended: Vec<Ended>,
    connect_errno: i32,
    tls_error: Option<String>,
    tls: Option<Arc<ClientConfig>>,
    /// By target: the name to verify.
    names: Vec<Option<ServerName<'static>>>,
    /// Data of the record at hand; empty between the calls.
    plain: Vec<u8>,
}

/// The longest sleep: phases change at a turn of the loop.
const TURN_MAX: Duration = Duration::from_millis(20);
const SCAN_EVERY: Duration = Duration::from_millis(50);
const REDIAL_AFTER: Duration = Duration::from_millis(20);
/// A start so late, with a connection free, is the tester's own fault.
const LATE_AFTER: Duration = Duration::from_millis(1);

impl<'a> Worker<'a> {
    pub fn new(config: &'a LoadConfig, shared: &'a Shared, share: Share) -> io::Result<Worker<'a>> {
        process::exact_timers();
        let completions = share.connections.saturating_mul(4).clamp(4096, 32768).next_power_of_two();
        let ring = Ring::new(RingConfig { entries: 1024, completions, buffers: 512, buffer_bytes: 8192 })?;
        let seed = config.seed.wrapping_mul(0x9e37).wrapping_add(u64::from(share.number));
        let (targets, protocol) = (&config.targets, config.protocol);
        let random = Random::new(seed);
        let mut requests = Requests::new(
            &config.requests,
            targets,
            &shared.counter,
            protocol,
            config.new_connection,
            random,
        )?;
        let keep_body = config.requests.iter().any(|request| request.expect.body_contains.is_some());
        let streams = config.streams;
        let codecs = targets.iter().map(|target| {
            let (path, handshake_fields) = match protocol {
                Protocol::WebSocket => requests.handshake(target),
                _ => (target.path.clone(), Vec::new()),
            };
            let authority = target.authority.clone();
            CodecConfig { protocol, streams, keep_body, authority, path, handshake_fields, tls: target.tls }
        });
        let codecs = codecs.collect();
        let any_tls = targets.iter().any(|target| target.tls);
        let tls = if any_tls { Some(Arc::new(config.tls.client(protocol)?)) } else { None };
        let names = targets.iter().map(|target| {
            if target.tls { config.tls.server_name(&target.authority).map(Some) } else { Ok(None) }
        });
        let names = names.collect::<io::Result<_>>()?;
        let threads = f64::from(config.threads.max(1));
        let arrivals = config.rate.map(|rate| {
            let phase = f64::from(share.number) / threads;
            let random = Random::new(seed ^ 0x5eed);
            let mut arrivals = Arrivals::new(config.spacing, rate / threads, phase, share.start, random)
                .with_ramps(config.ramp_up, config.ramp_down);
            if let Some(duration) = config.duration {
                arrivals.end_at(share.start + config.warmup + duration);
            }
            arrivals
        });
        let mut worker = Worker {
            config,
            shared,
            share,
            ring,
            addresses: targets.iter().map(super::target::Target::leak_raw).collect::<io::Result<_>>()?,
            codecs,
            requests,
            connections: Vec::new(),
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
            arrivals,
            queue: VecDeque::new(),
            left: share.requests_max.unwrap_or(u64::MAX),
            stopping: false,
            in_flight: 0,
            record_from: share.start + config.warmup,
            window_end: config.duration.map(|duration| share.start + config.warmup + duration),
            scan_at: share.start,
            totals: Totals::new(config.requests.len()),
            published: (0, 0),
            ended: Vec::new(),
            connect_errno: 0,
            tls_error: None,
            tls,
            names,
            plain: Vec::new(),
        };
        worker.make_connections();
        Ok(worker)
    }

    /// Runs to the end of the measured time and of its last answer.
    pub fn run(mut self) -> io::Result<Outcome> {
        let cpu = process::thread_time();
        let began = Instant::now();
        let mut batch = Vec::with_capacity(4096);
        let mut drain_end = None;
        let mut stopped_at = None;
        loop {
            let now = Instant::now();
            if !self.stopping && self.is_over(now) {
                self.stopping = true;
                stopped_at = Some(self.window_end.map_or(now, |end| end.min(now)));
                drain_end = Some(now + self.config.drain);
                // What should have started by now still does.
                if let Some(arrivals) = &mut self.arrivals {
                    arrivals.end_at(stopped_at.unwrap_or(now));
                }
            }
            if self.is_drained() || drain_end.is_some_and(|end| now >= end) {
                break;
            }
            self.turn(now, &mut batch)?;
        }
        self.give_up();
        self.publish();
        let cpu = process::thread_time().saturating_sub(cpu);
        let elapsed = began.elapsed().as_secs_f64().max(1e-9);
        let end = stopped_at.unwrap_or_else(Instant::now);
        Ok(Outcome {
            totals: self.totals,
            cpu,
            busy_share: cpu.as_secs_f64() / elapsed,
            measured: end.saturating_duration_since(self.record_from),
            connect_errno: self.connect_errno,
            tls_error: self.tls_error,
        })
    }

    fn is_over(&self, now: Instant) -> bool {
        let done = self.left == 0 && self.in_flight == 0 && self.queue.is_empty();
        done || self.window_end.is_some_and(|end| now >= end) || self.shared.stop.load(Ordering::Relaxed)
    }

    fn is_drained(&self) -> bool {
        let due =
            self.left > 0 && self.arrivals.as_ref().is_some_and(|arrivals| arrivals.next_at().is_some());
        self.stopping && self.in_flight == 0 && self.queue.is_empty() && !due
    }

    fn turn(&mut self, now: Instant, batch: &mut Vec<Completion>) -> io::Result<()> {
        self.tick(now)?;
        let next = [
            self.arrivals.as_ref().filter(|_| !self.stopping).and_then(Arrivals::next_at),
            self.later.peek().map(|Reverse((at, _))| *at),
        ];
        let next = next.into_iter().flatten().min();
        let wait = next.map_or(TURN_MAX, |at| at.saturating_duration_since(Instant::now()).min(TURN_MAX));
        self.ring.turn(1, Some(wait), batch)?;
        for completion in batch.iter() {
            self.complete(completion)?;
        }
        self.publish();
        Ok(())
    }

    /// Starts what is due.
    fn tick(&mut self, now: Instant) -> io::Result<()> {
        while let Some(&Reverse((at, index))) = self.later.peek() {
            if at > now {
                break;
            }
            self.later.pop();
            self.wake(index)?;
        }
        self.take_arrivals(now);
        self.serve_ready(now)?;
        if now >= self.scan_at {
            self.scan_at = now + SCAN_EVERY;
            self.scan(now);
        }
        Ok(())
    }

    fn take_arrivals(&mut self, now: Instant) {
        let Some(arrivals) = &mut self.arrivals else { return };
        while self.left > 0 {
            let Some(intended) = arrivals.take_due(now) else { break };
            self.left -= 1;
            if self.queue.len() >= self.share.queue_max {
                self.totals.missed += u64::from(intended >= self.record_from);
                continue;
            }
            // A connection waits for it: what is late now is the tester's.
            let free = self.queue.len() < self.ready.len();
            let late = free && now.saturating_duration_since(intended) > LATE_AFTER;
            self.totals.late_starts += u64::from(late);
            self.queue.push_back(intended);
        }
    }

    /// Gives waiting requests to connections that are ready.
    fn serve_ready(&mut self, now: Instant) -> io::Result<()> {
        while let Some(&index) = self.ready.front() {
            let Some(intended) = self.next_request(now) else { return Ok(()) };
            self.start(index, intended, now)?;
            let at = index as usize;
            // A start that failed has already taken the connection out.
            if self.ready.front() == Some(&index) && !self.connections[at].can_start() {
                self.ready.pop_front();
                self.connections[at].is_ready = false;
            }
        }
        Ok(())
    }

    /// The intended start of the next request, if there is one to send.
    fn next_request(&mut self, now: Instant) -> Option<Instant> {
        if let Some(intended) = self.queue.pop_front() {
            return Some(intended);
        }
        if self.arrivals.is_some() || self.stopping || self.left == 0 {
            return None;
        }
        self.left -= 1;
        Some(now)
    }

    fn start(&mut self, index: u32, intended: Instant, now: Instant) -> io::Result<()> {
        let at = index as usize;
        if self.connections[at].phase == Phase::Closed {
            self.dial(index)?;
        }
        let kind = self.requests.pick();
        let connection = &mut self.connections[at];
        let request = self.requests.get(connection.target, kind)?;
        let tag = connection.add(Active { intended, sent: now, kind: kind as u32, running: true });
        self.in_flight += 1;
        let before = connection.out.len();
        let result = match &mut connection.codec {
            Some(codec) => codec.start(tag, request, &mut connection.out),
            None => Err(Failure::Connect),
        };
        self.totals.sent_bytes += (connection.out.len() - before) as u64;
        match result {
            Ok(()) => self.flush(index),
            Err(failure) => {
                self.fail(index, failure);
                Ok(())
            }
        }
    }

    /// Puts a connection among those that may start a request.
    fn offer(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if !connection.is_ready && connection.can_start() {
            connection.is_ready = true;
            self.ready.push_back(index);
        }
    }

    /// Counts what has ended on a connection.
    fn settle(&mut self, index: u32, now: Instant) {
        let mut ended = std::mem::take(&mut self.ended);
        for end in ended.drain(..) {
            let Some(active) = self.connections[index as usize].remove(end.tag) else { continue };
            match end.failure {
                // A stream that was reset has no answer: it must not count as one, nor as a latency.
                Some(failure @ (Failure::Stream | Failure::Refused | Failure::Malformed)) => {
                    self.lose(&active, failure);
                }
                _ => {
                    self.in_flight -= 1;
                    self.count(&active, &end, now);
                }
            }
            let think =
                self.config.requests.get(active.kind as usize).map_or(Duration::ZERO, |kind| kind.think);
            if !think.is_zero() {
                self.connections[index as usize].resting = true;
                self.later.push(Reverse((now + think, index)));
            }
        }
        self.ended = ended;
    }

    fn count(&mut self, active: &Active, end: &Ended, now: Instant) {
        if active.intended < self.record_from {
            self.totals.warmup += 1;
            return;
        }
        let latency = now.saturating_duration_since(active.intended);
        let expected = self.config.requests.get(active.kind as usize).is_some_and(|kind| {
            end.failure == Some(Failure::Grpc) && kind.expect.statuses.contains(&end.status)
        });
        let failure = end.failure.filter(|_| !expected);
        let failure = failure.or_else(|| self.broken_expectation(active, end, latency));
        let totals = &mut self.totals;
        let nanoseconds = latency.as_nanos() as u64;
        totals.requests += 1;
        totals.in_time += u64::from(self.window_end.is_none_or(|window_end| now <= window_end));
        totals.body_bytes += end.body_bytes;
        *totals.statuses.entry(end.status).or_default() += 1;
        totals.latency_ns.saturating_record(nanoseconds);
        let since = now.saturating_duration_since(self.record_from);
        totals.series.record(since, Some(nanoseconds));
        if let Some(kind) = totals.kinds.get_mut(active.kind as usize) {
            kind.requests += 1;
            kind.errors += u64::from(failure.is_some());
            kind.latency_ns.saturating_record(nanoseconds);
        }
        if let Some(failure) = failure {
            totals.fail(failure);
            totals.series.record(since, None);
        }
    }

    fn broken_expectation(&self, active: &Active, end: &Ended, latency: Duration) -> Option<Failure> {
        let expect = &self.config.requests.get(active.kind as usize)?.expect;
        if expect.statuses.is_empty() && end.status >= 400 {
            return Some(Failure::Status);
        }
        if !expect.statuses.is_empty() && !expect.statuses.contains(&end.status) {
            return Some(Failure::Status);
        }
        let contains =
            |text: &String| end.body.windows(text.len().max(1)).any(|window| window == text.as_bytes());
        let wrong_body =
            expect.body_contains.as_ref().is_some_and(|text| !text.is_empty() && !contains(text));
        let slow = expect.latency_max.is_some_and(|max| latency > max);
        (wrong_body || slow).then_some(Failure::Assertion)
    }

    /// Counts requests that ended without an answer.
    fn lose(&mut self, active: &Active, failure: Failure) {
        self.in_flight -= 1;
        if active.intended < self.record_from {
            self.totals.warmup += 1;
            return;
        }
        self.totals.fail(failure);
        let since = Instant::now().saturating_duration_since(self.record_from);
        self.totals.series.record(since, None);
        if let Some(kind) = self.totals.kinds.get_mut(active.kind as usize) {
            kind.errors += 1;
        }
    }

    /// What has not ended by now is unanswered; arrivals that no connection came for are missed.
    fn give_up(&mut self) {
        for index in 0..self.connections.len() {
            for active in self.connections[index].remove_all() {
                self.lose(&active, Failure::Unanswered);
            }
        }
        self.totals.missed +=
            self.queue.drain(..).filter(|&intended| intended >= self.record_from).count() as u64;
    }

    fn publish(&mut self) {
        let now = (self.totals.requests + self.totals.warmup, self.totals.errors_total());
        if now != self.published {
            self.shared.requests.fetch_add(now.0 - self.published.0, Ordering::Relaxed);
            self.shared.errors.fetch_add(now.1 - self.published.1, Ordering::Relaxed);
            self.published = now;
        }
    }

    fn new_codec(&mut self, target: usize, out: &mut Vec<u8>) -> Option<Codec> {
        let seed = self.requests.random.next_u64();
        self.codecs.get(target).map(|config| Codec::new(config, seed, Instant::now(), out))
    }
}
