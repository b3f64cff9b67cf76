//! Connections that are passed on as they are: `protocol: tcp`, and `tls.passthrough` of listeners that speak HTTP.
//!
//! A connection leads to the cluster of its listener or, where the listener has server names, to the one of the name in its
//! TLS ClientHello, which is read and passed on untouched; where TLS is ended here, that name is known already. It is one
//! exchange to the access log and the statistics.
//!
//! **Invariant:** a connection holds no generation of the configuration while it carries bytes, so that long ones do not
//! stand in the way of reloads.

mod peek;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ringway_policies::balance::hash;
use ringway_protocols::message::Method;

use crate::config::{FOREVER, TcpConfig};
use crate::downstream::{Downstream, linger};
use crate::error::Reason;
use crate::exchange::Failure;
use crate::exchange::forwarding::write_proxy_header;
use crate::io::{self as rt, Address, Chunk, Part};
use crate::outcome::{Outcome, Phases};
use crate::stats::Labels;
use crate::transport::Transport;
use crate::tunnel::{self, Account, End, Ended};
use crate::upstream::{Asked, Dial, Endpoint, Origin, PickKey, Place, Source, Upstream};
use crate::worker::{View, Worker};

/// The alert `unrecognized_name` (RFC 6066 3), for a client whose server name leads nowhere.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
/// How long the client gets to take it.
const ALERT_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves a connection until both sides have ended, one has failed, or nothing passed for too long.
pub async fn serve(worker: Rc<Worker>, conn: Downstream) {
    let started = rt::now();
    let view = worker.view();
    let Some((listener, config)) = conn.listener(&view) else { return };
    // Where the listener has TLS and the connection has not, that is not ended here.
    let passed_on = config.tls.is_some() && conn.stream.tls().is_none();
    let Some(tcp) = (if passed_on { &config.passthrough } else { &config.tcp }) else { return };
    let idle_timeout = tcp.idle_timeout;
    let reads_hello = passed_on || !tcp.names.is_empty();
    let hello_by = reads_hello.then(|| started + config.limits.header_timeout);
    let (stream, _timer, unread, owner) = conn.dismantle();
    let connection = Connection {
        worker: &worker,
        labels: Arc::clone(&view.generation.labels),
        listener,
        client: owner.client(),
        down: &stream,
        started,
        unread: RefCell::new(unread),
        server_name: RefCell::default(),
        cluster: Cell::new(None),
        endpoint: RefCell::default(),
        phases: Cell::new((started, None)),
        upward: Cell::new(0),
        downward: Cell::new(0),
    };
    let counted = Counted::new(&worker);
    let led = Box::pin(connection.lead(&view, tcp, hello_by)).await;
    drop(view);
    let end = match led {
        Ok(upstream) => connection.carry(upstream, idle_timeout).await,
        Err(reason) => Err(reason),
    };
    connection.finish(end.err());
    counted.done();
    match end {
        Ok(()) => {}
        Err(Reason::ServerNameUnknown) if stream.tls().is_none() => {
            // The client is still waiting for an answer in the words of TLS.
            if stream.send(Part::Static(UNRECOGNIZED_NAME)).is_ok() {
                Box::pin(linger(&stream, ALERT_TIMEOUT)).await;
            }
        }
        // An end in good order would be taken for the origin's.
        Err(_) => stream.reset_on_close(),
    }
}

/// A connection on its way.
struct Connection<'a> {
    worker: &'a Rc<Worker>,
    /// Of the configuration that it began under.
    labels: Arc<Labels>,
    listener: usize,
    client: Option<SocketAddr>,
    down: &'a Transport,
    started: Instant,
    unread: RefCell<Option<Chunk>>,
    server_name: RefCell<Option<String>>,
    cluster: Cell<Option<usize>>,
    endpoint: RefCell<Option<(usize, Rc<Endpoint>)>>,
    /// When it was known where to lead it, and when an endpoint was reached.
    phases: Cell<(Instant, Option<Instant>)>,
    upward: Cell<u64>,
    downward: Cell<u64>,
}

impl Connection<'_> {
    /// Finds the cluster and connects to one of its endpoints. `hello_by`: until when a ClientHello has to be there, where it
    /// is read.
    async fn lead(
        &self,
        view: &View,
        tcp: &TcpConfig,
        hello_by: Option<Instant>,
    ) -> Result<Upstream, Reason> {
        let index = if let Some(facts) = self.down.tls() {
            let name = facts.server_name.as_deref();
            self.server_name.replace(name.map(str::to_owned));
            name.and_then(|name| tcp.names.find(name)).or(tcp.cluster)
        } else if let Some(hello_by) = hello_by {
            let unread = self.unread.take();
            let (hello, received) = peek::client_hello(self.down, unread, hello_by).await?;
            self.unread.replace(Some(received));
            let named = hello.server_name.as_deref().and_then(|name| tcp.names.find(name));
            self.server_name.replace(hello.server_name);
            named.or(tcp.cluster)
        } else {
            tcp.cluster
        };
        self.phases.set((rt::now(), None));
        let index = index.ok_or(Reason::ServerNameUnknown)?;
        self.cluster.set(Some(index));
        let cluster = view.clusters.get(index).ok_or(Reason::NoEndpoint)?;
        let place = Place { revision: view.config().revision, cluster: index };
        // As for CONNECT: a connection of its own to the endpoint itself, whatever the cluster speaks.
        let local = match self.down.local_addr() {
            Ok(Address::Tcp(local)) => Some(local),
            _ => None,
        };
        let mut greeting = Vec::new();
        write_proxy_header(&mut greeting, &cluster.config, self.client.zip(local));
        let greeting = (!greeting.is_empty()).then_some(greeting.as_slice());
        let mut key = PickKey::NONE;
        if cluster.config.spread.balance.is_hash() {
            // Whatever the key is: a connection has nothing else.
            key.hash = self.client.and_then(|client| NonZeroU64::new(hash::of_ip(client.ip())));
        }
        let asked = Asked { key: &key, ..Asked::plain(Method::Connect, greeting) };
        let first = cluster.pick_first(self.worker, &asked);
        let dial = Dial { worker: self.worker, place, deadline: rt::now() + FOREVER, asked };
        let mut checkout = Box::pin(cluster.checkout(dial, Source::Fresh, first));
        let origin = poll_fn(|cx| {
            if let Poll::Ready(result) = checkout.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            self.down.poll_reset(cx).map(|_| Err(Reason::ClientClosed))
        });
        let Origin::Http1(upstream) = origin.await? else { return Err(Reason::Internal) };
        *self.endpoint.borrow_mut() = Some((upstream.index, Rc::clone(&upstream.endpoint)));
        self.phases.set((self.phases.get().0, Some(rt::now())));
        Ok(upstream)
    }

    /// Carries bytes both ways.
    async fn carry(&self, upstream: Upstream, idle_timeout: Duration) -> Result<(), Reason> {
        let (down, up) = (End::Connection(self.down), End::Connection(&upstream.stream));
        match tunnel::relay(self, down, up, None, idle_timeout).await {
            Ok(Ended::InOrder) => Ok(()),
            Ok(Ended::ByOrigin) => Err(Reason::UpstreamReset),
            Ok(Ended::ByClient) => Err(Reason::ClientClosed),
            Err(Failure { reason, .. }) => Err(reason),
        }
    }

    fn finish(&self, reason: Option<Reason>) {
        let stats = &self.worker.stats;
        stats.connections.bytes_in.add(self.upward.get());
        stats.connections.bytes_out.add(self.downward.get());
        stats.pool.bytes_in.add(self.downward.get());
        stats.pool.bytes_out.add(self.upward.get());
        let name = self.server_name.borrow();
        let name = name.as_deref().unwrap_or_default();
        let endpoint = self.endpoint.borrow();
        let (led, connected) = self.phases.get();
        let outcome = Outcome {
            listener: self.listener,
            route: None,
            cluster: self.cluster.get(),
            worker: self.worker.id,
            endpoint: endpoint.as_ref().map_or("", |(_, endpoint)| &endpoint.name),
            endpoint_index: endpoint.as_ref().map(|(index, _)| *index),
            client: self.client.map(|client| client.ip()),
            method: b"",
            target: name.as_bytes(),
            host: name.as_bytes(),
            protocol: "TCP",
            user_agent: b"",
            referer: b"",
            request_id: b"",
            status: reason.map_or(200, Reason::status),
            reason,
            request_body_bytes: self.upward.get(),
            response_body_bytes: self.downward.get(),
            attempts: u32::from(connected.is_some()),
            upstream_reused: false,
            grpc: None,
            tls: self.down.tls().map(|facts| &**facts),
            phases: Phases {
                clock: self.worker.clock(),
                started: self.started,
                head_received: led,
                connected,
                first_byte: None,
                ended: rt::now(),
            },
        };
        self.worker.finish(&self.labels, &outcome);
    }
}

impl Account for Connection<'_> {
    fn worker(&self) -> &Worker {
        self.worker
    }

    fn take_unread(&self) -> Option<Chunk> {
        self.unread.take()
    }

    fn count_upward(&self, bytes: usize) {
        self.upward.set(self.upward.get() + bytes as u64);
    }

    fn count_downward(&self, bytes: usize) {
        self.downward.set(self.downward.get() + bytes as u64);
    }
}

/// Counts a connection as begun, and as lost if its task ends before it does.
struct Counted<'a> {
    worker: &'a Worker,
    done: bool,
}

impl<'a> Counted<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.stats.on_exchange_started();
        Counted { worker, done: false }
    }

    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.worker.stats.on_exchange_lost();
        }
    }
}
