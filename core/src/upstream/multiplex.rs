//! Connections to an endpoint that carry many requests at once (HTTP/2).
//!
//! Each worker has its own. A request takes a stream of the connection with the fewest; another connection is made when
//! streams run out, and where there may be no more connections the request waits for a stream.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use ringway_protocols::message::Method;

use super::pool::{ConnectionMeta, ConnectionPermit};
use super::{Active, Asked, Endpoint, Held};
use crate::config::{ClusterConfig, MultiplexConfig, PoolConfig};
use crate::error::Reason;
use crate::http2::{Client, StreamHandle};
use crate::io::{self as rt, Address};

/// Requests of one worker that may wait for a stream of one endpoint; more are answered at once.
const WAITING_MAX: usize = 4096;

/// A stream in the hands of one exchange.
pub struct OriginStream {
    pub stream: StreamHandle,
    pub endpoint: Rc<Endpoint>,
    /// Index of the endpoint in its cluster.
    pub index: usize,
    /// The connection has carried a request before.
    pub reused: bool,
    /// The request asks for another protocol, and the origin takes such requests (RFC 8441 3).
    pub takes_protocol: bool,
    connection: Rc<Line>,
    held: Held,
    _active: Active,
}

impl OriginStream {
    pub(super) fn hold(mut self, held: Held) -> OriginStream {
        self.held = held;
        self
    }
}

impl Drop for OriginStream {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.idle_since.set(rt::now());
        // The waiting task is polled later, when the stream has been given back.
        self.endpoint.multiplex.wake_one();
    }
}

/// One connection.
struct Line {
    client: Client,
    address: Address,
    created: Instant,
    requests: Cell<u64>,
    streams: Cell<u32>,
    idle_since: Cell<Instant>,
    /// A PING that was not answered, and how many were answered when it was sent.
    pinged: Cell<Option<(Instant, u64)>>,
    _permit: ConnectionPermit,
}

/// The connections of one worker to one endpoint.
#[derive(Default)]
pub struct Multiplex {
    connections: RefCell<Vec<Rc<Line>>>,
    dialing: Cell<u32>,
    /// Rises with each dial that failed, and why the last did.
    failures: Cell<(u64, Option<Reason>)>,
    waiting: RefCell<VecDeque<Waiting>>,
    next_ticket: Cell<u64>,
}

struct Waiting {
    ticket: u64,
    waker: Option<Waker>,
}

/// What a request does that found no stream.
pub enum Wanted {
    /// Make a connection.
    Dial,
    /// Wait for one that is being made, or for a stream to end.
    Wait,
}

impl Multiplex {
    /// A stream of the connection that has the fewest, if any has one to give.
    pub fn open(
        &self,
        endpoint: &Rc<Endpoint>,
        index: usize,
        config: &ClusterConfig,
        asked: Asked<'_>,
    ) -> Option<OriginStream> {
        let now = rt::now();
        let best = {
            let connections = self.connections.borrow();
            let usable = connections.iter().filter(|line| line.takes_request(config, now));
            // What an origin takes beside requests is not known before it said so.
            let usable = usable.filter(|line| !asked.protocol || line.client.is_confirmed());
            Rc::clone(usable.min_by_key(|line| line.streams.get())?)
        };
        // What the connection says of itself may be old: the origin's limit, or its GOAWAY, came meanwhile.
        best.open(endpoint, index, asked)
    }

    /// What to do where [`Multiplex::open`] gave nothing.
    pub fn wanted(&self, config: &MultiplexConfig) -> Wanted {
        let dialing = self.dialing.get();
        let connections = self.connections.borrow().iter().filter(|line| !line.client.is_ending()).count();
        if connections + dialing as usize >= config.connections_max as usize {
            return Wanted::Wait;
        }
        // One connection that is being made will serve many.
        let served = u64::from(dialing) * u64::from(config.streams_max);
        if (self.waiting.borrow().len() as u64) < served { Wanted::Wait } else { Wanted::Dial }
    }

    /// A connection is being made.
    pub fn is_dialing(&self) -> bool {
        self.dialing.get() > 0
    }

    /// Counts a dial for as long as it is under way.
    pub fn dial_begins(self: &Multiplex) -> Dialing<'_> {
        self.dialing.set(self.dialing.get() + 1);
        Dialing(self)
    }

    /// Takes a new connection into use.
    pub fn add(&self, client: Client, address: Address, permit: ConnectionPermit) {
        self.connections.borrow_mut().push(Rc::new(Line::new(client, address, permit)));
    }

    /// A dial failed: those who wait for it are told.
    pub fn dial_failed(&self, reason: Reason) {
        let (failures, _) = self.failures.get();
        self.failures.set((failures + 1, Some(reason)));
    }

    /// Waits for a change that may give a stream: ready as soon as there was one.
    ///
    /// # Errors
    /// The reason of a dial that failed meanwhile; [`Reason::UpstreamLimit`] where too many wait already, or none came
    /// until `deadline`.
    pub async fn wait(&self, deadline: Instant) -> Result<(), Reason> {
        if self.waiting.borrow().len() >= WAITING_MAX {
            return Err(Reason::UpstreamLimit);
        }
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.waiting.borrow_mut().push_back(Waiting { ticket, waker: None });
        let place = Place { multiplex: self, ticket, looked: Cell::new(false) };
        let (failures, _) = self.failures.get();
        let woken = poll_fn(|cx| {
            let mut waiting = place.multiplex.waiting.borrow_mut();
            // Whoever wakes a waiter takes it off the list.
            let Some(own) = waiting.iter_mut().find(|waiting| waiting.ticket == ticket) else {
                place.looked.set(true);
                return Poll::Ready(());
            };
            own.waker = Some(cx.waker().clone());
            Poll::Pending
        });
        if rt::timeout_at(deadline, woken).await.is_err() {
            return Err(Reason::UpstreamLimit);
        }
        match self.failures.get() {
            (now, Some(reason)) if now != failures => Err(reason),
            _ => Ok(()),
        }
    }

    fn wake_one(&self) {
        let next = self.waiting.borrow_mut().pop_front();
        if let Some(waker) = next.and_then(|waiting| waiting.waker) {
            waker.wake();
        }
    }

    fn wake_all(&self) {
        let all = std::mem::take(&mut *self.waiting.borrow_mut());
        all.into_iter().filter_map(|waiting| waiting.waker).for_each(Waker::wake);
    }

    /// Ends connections that are too old or were idle for too long, asks silent ones whether they live, and forgets those that
    /// ended. Returns how many ended.
    pub fn sweep(&self, config: &ClusterConfig, now: Instant) -> usize {
        let mut connections = self.connections.borrow_mut();
        let before = connections.len();
        connections.retain(|line| {
            if !line.client.is_ending() && line.is_spent(&config.pool, now) {
                line.client.end();
            }
            line.keep_alive(&config.multiplex, now);
            !line.client.is_closed()
        });
        let ended = before - connections.len();
        drop(connections);
        if !self.waiting.borrow().is_empty() {
            // The origin may have raised its limit since.
            self.wake_all();
        }
        ended
    }

    /// Ends connections whose address `keep` refuses, as after a change of DNS.
    pub fn retain(&self, keep: impl Fn(&Address) -> bool) {
        for line in self.connections.borrow().iter().filter(|line| !keep(&line.address)) {
            line.client.end();
        }
    }

    /// Connections, and those of them without a stream.
    pub fn counts(&self) -> (usize, usize) {
        let connections = self.connections.borrow();
        (connections.len(), connections.iter().filter(|line| line.streams.get() == 0).count())
    }
}

/// The only stream that a connection will ever have: it closes when that ends.
pub fn stream_of_its_own(
    client: Client,
    meta: ConnectionMeta,
    endpoint: &Rc<Endpoint>,
    index: usize,
    asked: Asked<'_>,
) -> Option<OriginStream> {
    Rc::new(Line::new(client, meta.address, meta.permit)).open(endpoint, index, asked)
}

impl Line {
    fn new(client: Client, address: Address, permit: ConnectionPermit) -> Line {
        let now = rt::now();
        Line {
            client,
            address,
            created: now,
            requests: Cell::new(0),
            streams: Cell::new(0),
            idle_since: Cell::new(now),
            pinged: Cell::new(None),
            _permit: permit,
        }
    }

    fn open(self: Rc<Self>, endpoint: &Rc<Endpoint>, index: usize, asked: Asked<'_>) -> Option<OriginStream> {
        let takes_protocol = asked.protocol && self.client.takes_extended_connect();
        let method = if takes_protocol { Method::Connect } else { asked.method };
        let stream = self.client.open(method)?;
        let requests = self.requests.get();
        self.requests.set(requests + 1);
        self.streams.set(self.streams.get() + 1);
        Some(OriginStream {
            stream,
            endpoint: Rc::clone(endpoint),
            index,
            reused: requests > 0,
            takes_protocol,
            connection: self,
            held: Held::default(),
            _active: Active::new(endpoint),
        })
    }

    fn takes_request(&self, config: &ClusterConfig, now: Instant) -> bool {
        self.streams.get() < config.multiplex.streams_max
            && !self.is_old(&config.pool, now)
            && self.client.can_open()
    }

    /// It may carry no more requests.
    fn is_old(&self, pool: &PoolConfig, now: Instant) -> bool {
        let aged =
            !pool.lifetime_max.is_zero() && now.saturating_duration_since(self.created) >= pool.lifetime_max;
        aged || (pool.requests_max > 0 && self.requests.get() >= pool.requests_max)
    }

    fn is_spent(&self, pool: &PoolConfig, now: Instant) -> bool {
        let idle = self.streams.get() == 0
            && now.saturating_duration_since(self.idle_since.get()) >= pool.idle_timeout;
        idle || self.is_old(pool, now)
    }

    /// Sends a PING where the origin has been silent, and closes where it did not answer one.
    fn keep_alive(&self, config: &MultiplexConfig, now: Instant) {
        if config.ping_interval.is_zero() || self.client.is_closed() {
            return;
        }
        let silent = now.saturating_duration_since(self.client.received_at());
        match self.pinged.get() {
            Some((_, answered)) if self.client.pongs() > answered => self.pinged.set(None),
            Some((at, _)) if now.saturating_duration_since(at) >= config.ping_timeout => self.client.close(),
            Some(_) => {}
            None if silent >= config.ping_interval => {
                self.pinged.set(Some((now, self.client.pongs())));
                self.client.ping();
            }
            None => {}
        }
    }
}

/// A dial under way. Whatever comes of it, those who wait look again.
pub struct Dialing<'a>(&'a Multiplex);

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.dialing.set(self.0.dialing.get() - 1);
        self.0.wake_all();
    }
}

/// A place among those who wait, given up however the wait ends.
struct Place<'a> {
    multiplex: &'a Multiplex,
    ticket: u64,
    /// It knows that it was woken.
    looked: Cell<bool>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.multiplex.waiting.borrow_mut();
        let before = waiting.len();
        waiting.retain(|waiting| waiting.ticket != self.ticket);
        let was_woken = waiting.len() == before;
        drop(waiting);
        // Woken and then dropped before it could look: the next in line gets the chance.
        if was_woken && !self.looked.get() {
            self.multiplex.wake_one();
        }
    }
}
