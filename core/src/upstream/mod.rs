//! Clusters and their endpoints, as one worker sees them.
//!
//! **Invariant:** a connection is in exactly one place: in the pool of one worker, in one exchange, or on its
//! way between two workers. Its permit is counted from the dial to the close, wherever it is.

pub mod borrow;
mod choice;
pub mod connect;
mod dial;
pub mod health;
pub mod multiplex;
mod outlier;
pub mod pool;
mod state;
mod tls;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::config::{ClusterConfig, EndpointConfig, UpstreamProtocol};
use crate::control::Resolved;
use crate::error::{Fault, Reason};
use crate::io::{self as rt, Address};
use crate::shared::Shared;
use crate::transport::Transport;
use crate::worker::Worker;
use borrow::BorrowRequest;
use choice::Choice;
pub use choice::{PickKey, Standing, StandingState};
pub use dial::Dial;
use multiplex::{Multiplex, OriginStream, Wanted};
pub use outlier::Answer;
use pool::{Connection, ConnectionMeta, Pool};
use ringway_policies::balance::ewma::PeakEwma;
use ringway_protocols::message::Method;
use state::RoomPermit;
pub use state::{Breaker, BreakerPermit, ClusterShared, EndpointShared, Held, RetryPermit};

/// Between two looks of a request that waits for a connection.
const WAIT_MIN: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_millis(16);

/// A cluster of one worker.
pub struct Cluster {
    /// Index into the configuration of the generation that holds this cluster; the cluster itself may be older.
    pub config: Arc<ClusterConfig>,
    pub endpoints: Vec<Rc<Endpoint>>,
    pub shared: Arc<ClusterShared>,
    choice: Choice,
}

/// An endpoint of one worker.
pub struct Endpoint {
    /// As written in the configuration; the label of statistics and logs.
    pub name: String,
    pub pool: Pool,
    /// Connections that carry many requests at once.
    pub multiplex: Multiplex,
    /// Which protocol it turned out to speak and when, where the cluster leaves that open.
    spoken: Cell<Option<(Spoken, Instant)>>,
    pub shared: Arc<EndpointShared>,
    addresses: RefCell<Rc<[Address]>>,
    /// Exchanges of this worker under way.
    active: Cell<u32>,
    /// How soon it answered this worker.
    ewma: Cell<PeakEwma>,
    dials: Cell<usize>,
    /// No cluster in use has it any more: connections that come back close.
    retired: Cell<bool>,
    /// It is being asked for its health.
    watched: Cell<bool>,
}

/// The origin's side of one exchange.
pub enum Origin {
    /// A connection of its own.
    Http1(Upstream),
    /// One stream of a connection that others use too.
    Http2(OriginStream),
}

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
}

/// A connection in the hands of one exchange.
pub struct Upstream {
    pub stream: Transport,
    pub endpoint: Rc<Endpoint>,
    /// Index of the endpoint in its cluster.
    pub index: usize,
    pub meta: Box<ConnectionMeta>,
    /// Whether it has carried a request before: then the origin may just have closed it.
    pub reused: bool,
    _held: Held,
    _active: Active,
}

/// Counts an exchange towards its endpoint for as long as it lives.
struct Active(Rc<Endpoint>);

impl Active {
    fn new(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.active.set(endpoint.active.get() + 1);
        Active(Rc::clone(endpoint))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

impl Origin {
    fn hold(self, held: Held) -> Origin {
        match self {
            Origin::Http1(upstream) => Origin::Http1(Upstream { _held: held, ..upstream }),
            Origin::Http2(stream) => Origin::Http2(stream.hold(held)),
        }
    }
}

/// The endpoint that a pick came to, if there is one, with what the request holds.
pub struct Picked {
    request: Result<BreakerPermit, Reason>,
    endpoint: Option<(usize, RoomPermit)>,
}

/// What matters of a request to how an endpoint is reached.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub method: Method,
    /// It asks for another protocol, and may.
    pub protocol: bool,
    /// What a new connection has to begin with (the PROXY protocol). Nobody else may use that connection.
    pub greeting: Option<&'a [u8]>,
    /// What decides among the endpoints.
    pub key: &'a PickKey,
    /// Endpoints that are only picked where there is no other: an earlier attempt failed there.
    pub avoid: &'a [usize],
    /// A question of our own: no limit counts it.
    pub unlimited: bool,
}

impl<'a> Asked<'a> {
    /// A request of which nothing matters but its method.
    pub fn plain(method: Method, greeting: Option<&'a [u8]>) -> Asked<'a> {
        Asked { method, protocol: false, greeting, key: &PickKey::NONE, avoid: &[], unlimited: false }
    }
}

/// What a checkout may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The pool of this worker, one of another worker, or a new connection.
    Any,
    /// Only a new connection: the pooled one turned out to be dead.
    Fresh,
}

impl Cluster {
    /// A cluster in place of `before`: endpoints that are reached as they were there are the same, with their pools.
    pub fn new(config: Arc<ClusterConfig>, worker: usize, shared: &Shared, before: Option<&Cluster>) -> Self {
        let mut known = before.filter(|before| before.config.connects_like(&config)).map(Cluster::by_config);
        let endpoints = config.endpoints.iter().map(|endpoint| {
            let kept = known.as_mut().and_then(|known| known.get_mut(endpoint)?.pop());
            kept.unwrap_or_else(|| Rc::new(Endpoint::new(endpoint, &config.name, worker, shared)))
        });
        let endpoints: Vec<_> = endpoints.collect();
        let choice = Choice::new(worker, &endpoints);
        let shared = shared.cluster(&config.name);
        Cluster { config, endpoints, shared, choice }
    }

    /// Its endpoints by how they are written. What is written twice is there twice.
    fn by_config(&self) -> HashMap<&EndpointConfig, Vec<Rc<Endpoint>>> {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for (config, endpoint) in self.config.endpoints.iter().zip(&self.endpoints) {
            all.entry(config).or_default().push(Rc::clone(endpoint));
        }
        all
    }

    /// Takes the addresses of a name into use. Idle connections to addresses that are gone close.
    pub fn resolved(&self, resolved: &Resolved) {
        for (endpoint, config) in self.endpoints.iter().zip(&self.config.endpoints) {
            if let EndpointConfig::Name { host, port } = config
                && **host == *resolved.host
            {
                let new = resolved.addresses.iter().map(|ip| Address::Tcp(SocketAddr::new(*ip, *port)));
                let new: Rc<[Address]> = new.collect();
                endpoint.pool.retain(|address| new.contains(address));
                endpoint.multiplex.retain(|address| new.contains(address));
                *endpoint.addresses.borrow_mut() = new;
                self.choice.forget_plan();
            }
        }
    }

    /// Closes idle connections that have expired or that the origin closed.
    pub fn sweep(&self, now: Instant) -> usize {
        let of_endpoint = |endpoint: &Rc<Endpoint>| {
            endpoint.pool.sweep(&self.config.pool, now) + endpoint.multiplex.sweep(&self.config, now)
        };
        self.endpoints.iter().map(of_endpoint).sum()
    }

    /// Picks an endpoint and takes a connection to it from this worker's own pool: the usual case, which waits
    /// for nothing. On a miss the pick is returned for [`Cluster::checkout`].
    pub fn take_pooled(&self, worker: &Worker, asked: Asked<'_>) -> Result<Origin, Picked> {
        let Picked { request, endpoint } = self.pick_first(worker, &asked);
        match (request, endpoint) {
            (Ok(request), Some((index, room))) => match self.pooled(index, asked) {
                Some(origin) => {
                    worker.stats.pool.hits.increment();
                    Ok(origin.hold(Held::new(request, room)))
                }
                None => Err(Picked { request: Ok(request), endpoint: Some((index, room)) }),
            },
            (request, endpoint) => Err(Picked { request, endpoint }),
        }
    }

    /// What this worker has at hand to reach an endpoint.
    fn pooled(&self, index: usize, asked: Asked<'_>) -> Option<Origin> {
        let endpoint = self.endpoints.get(index)?;
        if self.spoken(endpoint) == Some(Spoken::Http2) {
            return endpoint.multiplex.open(endpoint, index, &self.config, asked).map(Origin::Http2);
        }
        let connection = endpoint.pool.take(&self.config.pool, rt::now())?;
        Some(Origin::Http1(endpoint.checked_out(index, connection)))
    }

    /// Picks the first endpoint for a request.
    pub fn pick_first(&self, worker: &Worker, asked: &Asked<'_>) -> Picked {
        let request = self.shared.take(Breaker::Requests, &self.config.breakers);
        let endpoint = request.is_ok().then(|| self.pick_with_room(worker, asked, &mut Vec::new())).flatten();
        Picked { request, endpoint }
    }

    /// Picks an endpoint and takes room for a request there; those that are full by then are passed over.
    fn pick_with_room(
        &self,
        worker: &Worker,
        asked: &Asked<'_>,
        tried: &mut Vec<usize>,
    ) -> Option<(usize, RoomPermit)> {
        loop {
            let index = self.pick(worker, asked, tried)?;
            let room =
                self.endpoints.get(index)?.shared.take_room(self.config.breakers.endpoint_requests_max);
            match room {
                Some(room) => return Some((index, room)),
                None => tried.push(index),
            }
        }
    }

    /// A connection for one request: from another worker, or new; to another endpoint when the first refuses.
    ///
    /// # Errors
    /// [`Reason::NoEndpoint`], [`Reason::UpstreamLimit`], [`Reason::ConnectFailed`], [`Reason::ConnectTimeout`], and those
    /// of circuit breakers.
    pub async fn checkout(&self, dial: Dial<'_>, source: Source, first: Picked) -> Result<Origin, Reason> {
        let mut tried: Vec<usize> = Vec::new();
        let request = first.request?;
        let full = self.config.breakers.endpoint_requests_max > 0 && !self.endpoints.is_empty();
        let mut reason = if full { Reason::BreakerRequests } else { Reason::NoEndpoint };
        let mut picked = first.endpoint;
        while let Some((index, room)) = picked {
            let began = rt::now();
            match self.reach_in_turn(&dial, source, index).await {
                Ok(origin) => return Ok(origin.hold(Held::new(request, room))),
                Err(failed) => reason = failed,
            }
            if reason.info().fault == Fault::Upstream
                && let Some(endpoint) = self.endpoints.get(index)
            {
                let taken = rt::now().saturating_duration_since(began);
                self.observe(dial.worker, endpoint, Answer::Nothing, taken);
            }
            drop(room);
            if rt::now() >= dial.deadline {
                break;
            }
            // Nothing was sent, so another endpoint may be tried whatever the method.
            tried.push(index);
            picked = self.pick_with_room(dial.worker, &dial.asked, &mut tried);
        }
        Err(reason)
    }

    /// Gets to an endpoint. Where connections are at their limit, so many requests wait as may.
    async fn reach_in_turn(&self, dial: &Dial<'_>, source: Source, index: usize) -> Result<Origin, Reason> {
        let limits = &self.config.breakers;
        let until = dial.until(&self.config);
        let mut waiting: Option<BreakerPermit> = None;
        let mut pause = WAIT_MIN;
        loop {
            let failed = match self.reach(dial, source, index).await {
                Err(reason @ (Reason::BreakerConnections | Reason::UpstreamLimit))
                    if limits.pending_max > 0 =>
                {
                    reason
                }
                result => return result,
            };
            if waiting.is_none() {
                waiting = Some(self.shared.take(Breaker::Pending, limits)?);
            }
            if rt::now() >= until {
                return Err(failed);
            }
            // A connection may become free at any worker, which does not know who waits.
            rt::sleep_until(until.min(rt::now() + pause)).await;
            pause = (pause * 2).min(WAIT_MAX);
            if source == Source::Any
                && let Some(origin) = self.pooled(index, dial.asked)
            {
                return Ok(origin);
            }
        }
    }

    /// Counts a retry for as long as it is under way; `None` where there are as many as may be.
    pub fn begin_retry(&self) -> Option<RetryPermit> {
        self.shared.take(Breaker::Retries, &self.config.breakers).ok().map(RetryPermit)
    }

    /// Gets to an endpoint by whatever it speaks.
    async fn reach(&self, dial: &Dial<'_>, source: Source, index: usize) -> Result<Origin, Reason> {
        let endpoint = &self.endpoints[index];
        if dial.asked.method == Method::Connect {
            // The tunnel leads to the endpoint itself, whatever it speaks.
            return self.dial_http1(dial, index).await.map(Origin::Http1);
        }
        while self.spoken(endpoint).is_none() {
            if let Some(upstream) = self.probe(dial, index).await? {
                return Ok(Origin::Http1(upstream));
            }
        }
        if self.spoken(endpoint) == Some(Spoken::Http2) {
            match self.stream(dial, index).await {
                // It has spoken HTTP/2 before, and does not any more.
                Err(Reason::UpstreamTlsProtocol) if self.spoken(endpoint) == Some(Spoken::Http1) => {}
                result => return result.map(Origin::Http2),
            }
        }
        // What TLS has agreed on cannot be given to another worker.
        if source == Source::Any
            && self.config.tls.is_none()
            && let Some(upstream) = self.borrow(dial, index).await
        {
            dial.worker.stats.pool.borrowed.increment();
            return Ok(Origin::Http1(upstream));
        }
        dial.worker.stats.pool.misses.increment();
        self.dial_http1(dial, index).await.map(Origin::Http1)
    }

    /// What the endpoint speaks, as far as it is known.
    fn spoken(&self, endpoint: &Endpoint) -> Option<Spoken> {
        match self.config.protocol {
            UpstreamProtocol::Http1 => Some(Spoken::Http1),
            UpstreamProtocol::Http2 => Some(Spoken::Http2),
            UpstreamProtocol::Auto => {
                let (spoken, since) = endpoint.spoken.get()?;
                let again = self.config.multiplex.probe_again;
                // What spoke HTTP/2 once is found out again when it does not any more.
                let lasts = spoken == Spoken::Http2
                    || again.is_zero()
                    || rt::now().saturating_duration_since(since) < again;
                lasts.then_some(spoken)
            }
        }
    }

    /// A stream to an endpoint, on a connection that there is or on a new one.
    async fn stream(&self, dial: &Dial<'_>, index: usize) -> Result<OriginStream, Reason> {
        let endpoint = &self.endpoints[index];
        let multiplex = &endpoint.multiplex;
        if dial.asked.greeting.is_some() {
            return self.own_stream(dial, index).await;
        }
        loop {
            if let Some(stream) = multiplex.open(endpoint, index, &self.config, dial.asked) {
                return Ok(stream);
            }
            match multiplex.wanted(&self.config.multiplex) {
                Wanted::Dial => {
                    dial.worker.stats.pool.misses.increment();
                    self.connect_multiplexed(dial, index).await?;
                }
                Wanted::Wait => multiplex.wait(dial.until(&self.config)).await?,
            }
        }
    }

    /// A stream of a connection that is this request's own.
    async fn own_stream(&self, dial: &Dial<'_>, index: usize) -> Result<OriginStream, Reason> {
        dial.worker.stats.pool.misses.increment();
        let Upstream { stream, meta, endpoint, .. } = self.dial_http2(dial, index).await?;
        let client = self.speak_http2(dial.worker, stream);
        if dial.asked.protocol {
            self.greeted(&client, dial).await;
        }
        multiplex::stream_of_its_own(client, *meta, &endpoint, index, dial.asked).ok_or(Reason::ConnectFailed)
    }

    /// Makes a connection of HTTP/2 and takes it into use.
    async fn connect_multiplexed(&self, dial: &Dial<'_>, index: usize) -> Result<(), Reason> {
        let multiplex = &self.endpoints[index].multiplex;
        let _dialing = multiplex.dial_begins();
        match self.dial_http2(dial, index).await {
            Ok(Upstream { stream, meta, .. }) => {
                let client = self.speak_http2(dial.worker, stream);
                if dial.asked.protocol {
                    // Whether it may be asked for is in the origin's SETTINGS (RFC 8441 3).
                    self.greeted(&client, dial).await;
                }
                let meta = *meta;
                multiplex.add(client, meta.address, meta.permit);
                Ok(())
            }
            Err(reason) => {
                multiplex.dial_failed(reason);
                Err(reason)
            }
        }
    }

    async fn borrow(&self, dial: &Dial<'_>, index: usize) -> Option<Upstream> {
        let endpoint = &self.endpoints[index];
        let request = |ticket| BorrowRequest {
            cluster: dial.place.cluster,
            revision: dial.place.revision,
            endpoint: index,
            borrower: dial.worker.id,
            ticket,
        };
        let connection = borrow::borrow(dial.worker, &endpoint.shared, request).await?;
        Some(endpoint.checked_out(index, connection))
    }
}

/// Where a cluster stands, as another worker has to find it.
#[derive(Clone, Copy)]
pub struct Place {
    /// Of the configuration: indices mean the same only within one.
    pub revision: u64,
    pub cluster: usize,
}

impl Endpoint {
    fn new(config: &EndpointConfig, cluster: &str, worker: usize, shared: &Shared) -> Endpoint {
        let (name, addresses) = describe(config);
        let shared = shared.endpoint(cluster, &name);
        Endpoint {
            pool: Pool::new(worker, Arc::clone(&shared)),
            multiplex: Multiplex::default(),
            spoken: Cell::new(None),
            shared,
            name,
            addresses: RefCell::new(addresses),
            active: Cell::new(0),
            ewma: Cell::default(),
            // Workers start at different places, so that they do not all dial the same endpoint first.
            dials: Cell::new(worker),
            retired: Cell::new(false),
            watched: Cell::new(false),
        }
    }

    /// It is in use no more: what is idle closes now, what is busy after its exchange.
    pub fn retire(&self) {
        self.retired.set(true);
        self.pool.retain(|_| false);
        self.multiplex.retain(|_| false);
    }

    /// Whether somebody has to begin asking for its health. Only the first who asks is told so.
    pub fn begin_watch(&self) -> bool {
        !self.watched.replace(true)
    }

    /// Exchanges of this worker that hold a connection to it.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// What health checks found last.
    pub fn is_healthy(&self) -> bool {
        self.shared.healthy.load(Relaxed)
    }

    /// The hash of its name, by which a cookie finds it again.
    pub fn id(&self) -> u64 {
        ringway_policies::balance::hash::hash(self.name.as_bytes())
    }

    /// What it turned out to speak.
    fn speaks(&self, spoken: Spoken) {
        self.spoken.set(Some((spoken, rt::now())));
    }

    fn has_address(&self) -> bool {
        !self.addresses.borrow().is_empty()
    }

    fn checked_out(self: &Rc<Self>, index: usize, connection: Connection) -> Upstream {
        let Connection { stream, meta } = connection;
        Upstream {
            stream,
            endpoint: Rc::clone(self),
            index,
            meta,
            reused: true,
            _held: Held::default(),
            _active: Active::new(self),
        }
    }

    /// Idle connections over all workers.
    pub fn idle_everywhere(&self) -> u32 {
        self.shared.idle.load(Relaxed)
    }
}

impl Upstream {
    /// Gives the connection back after an exchange that left it clean.
    pub fn release(self, cluster: &Cluster, now: Instant) {
        let Upstream { stream, endpoint, mut meta, .. } = self;
        if endpoint.retired.get() {
            return;
        }
        meta.requests += 1;
        endpoint.pool.put(Connection { stream, meta }, &cluster.config.pool, now);
    }
}

fn describe(endpoint: &EndpointConfig) -> (String, Rc<[Address]>) {
    match endpoint {
        EndpointConfig::Address(address) => (address.to_string(), Rc::from([address.clone()])),
        // Without an answer yet: the control thread resolves names before the first request is taken.
        EndpointConfig::Name { host, port } => (format!("{host}:{port}"), Rc::from([])),
    }
}
