//! One exchange: a request and its response. Read [`Exchange::proxy`] from top to bottom.
//!
//! **Invariant:** however an exchange ends, it is accounted for exactly once ([`Exchange::finish`]), and the
//! downstream connection is used again only when the request was read to its end.

mod attempt;
mod call;
mod client;
mod deadline;
mod download;
mod explain;
pub(crate) mod forwarding;
mod observe;
mod pick_key;
mod policies;
mod retry;
mod secure;
mod slots;
mod stream;
mod translate;
mod trial;
mod upload;

pub use client::Client;
pub(crate) use download::OWN_FIELDS;
pub use policies::Policies;
pub(crate) use secure::push_https_location;
pub use stream::run_stream;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use ringway_policies::route::RouteRequest;
use ringway_protocols::message::{BodyLength, FieldKind, Method, RequestHead, ResponseHead, Version};

use crate::config::{ListenerConfig, RouteConfig};
use crate::downstream::Downstream;
use crate::error::Reason;
use crate::grpc::Call;
use crate::http2::ErrorCode;
use crate::io::{self as rt, Chunk, Timer};
use crate::outcome::{Outcome, Phases};
use crate::reply;
use crate::transport::Transport;
use crate::tunnel;
use crate::upstream::{Asked, Cluster, Dial, Origin, Source};
use crate::worker::{View, Worker};
use policies::PolicyState;

/// What becomes of the downstream connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    KeepAlive,
    /// Close once everything is sent.
    Close,
    /// Close, but let the client finish sending what it has under way, or it would not see the response.
    Linger,
    /// There is nothing more to say: closed, reset, or a tunnel that ended.
    Gone,
}

/// Why an exchange failed.
#[derive(Debug, Clone)]
pub struct Failure {
    pub reason: Reason,
    /// The rule that was broken, where there is one to name; else empty.
    pub detail: String,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Failure { reason, detail: String::new() }
    }
}

/// A request as it was received.
pub struct Received<'a> {
    /// Index of the listener in the configuration.
    pub listener: usize,
    pub head: &'a RequestHead,
    pub bytes: &'a [u8],
    pub started: Instant,
}

/// Where an exchange comes from.
struct Arrival<'a> {
    client: Client<'a>,
    timer: &'a Timer,
    /// Who connected, or whom the PROXY protocol names.
    address: Option<SocketAddr>,
    /// The connection closes after this exchange.
    last: bool,
}

/// The way to a connection that is not at hand.
type SlowCheckout<'f> = Pin<Box<dyn Future<Output = Result<Origin, Failure>> + 'f>>;

/// The state of one exchange. The two directions run at the same time in one task, hence the cells.
pub struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    view: &'a Rc<View>,
    listener_index: usize,
    listener: &'a ListenerConfig,
    head: &'a RequestHead,
    bytes: &'a [u8],
    client: Client<'a>,
    timer: &'a Timer,
    /// Who connected, or whom the PROXY protocol names.
    client_address: Option<SocketAddr>,
    /// The client, behind the forwarders that are trusted.
    client_ip: Cell<Option<IpAddr>>,
    /// The forwarding fields of the request are believed.
    trusted: Cell<bool>,
    /// The client is told where its request went, and why.
    explaining: Cell<bool>,
    /// The path in normal form, where that is not how it was received.
    normal_path: RefCell<Option<Vec<u8>>>,
    last_of_connection: bool,
    /// Received from the client and not consumed: the start of the body, or the next request.
    unread: RefCell<Option<Chunk>>,
    /// When the whole exchange has to be over.
    deadline: Cell<Option<Instant>>,
    /// When the response to this try has to begin.
    try_deadline: Cell<Option<Instant>>,
    tries: RefCell<Option<Box<retry::Tries>>>,
    /// The request is to be copied to the mirror of this route, once its body has been sent.
    mirrored: Cell<Option<&'a RouteConfig>>,
    /// To which of its mirrors, a bit for each.
    mirrored_to: Cell<u8>,
    /// The request body has been sent to its end.
    uploaded: Cell<bool>,
    /// Body bytes were taken from the socket, so the request cannot be sent again.
    body_taken: Cell<bool>,
    /// The response has no end of its own, so the end of the connection stands for it.
    ends_with_connection: Cell<bool>,
    /// Bytes of the final response have gone to the client: no other answer can.
    answered: Cell<bool>,
    record: Record,
    /// What is particular to a gRPC call.
    call: Option<Box<Call>>,
    /// Where there are policies to ask.
    policies: RefCell<Option<Box<PolicyState>>>,
}

/// What the access log and the statistics will say.
struct Record {
    started: Instant,
    head_received: Instant,
    connected: Cell<Option<Instant>>,
    first_byte: Cell<Option<Instant>>,
    route: Cell<Option<usize>>,
    /// Which of the route's matches.
    matched: Cell<usize>,
    cluster: Cell<Option<usize>>,
    /// Which target of the route.
    target: Cell<Option<usize>>,
    endpoint: RefCell<Option<(usize, Rc<crate::upstream::Endpoint>)>>,
    reused: Cell<bool>,
    attempts: Cell<u32>,
    status: Cell<u16>,
    reason: Cell<Option<Reason>>,
    request_body_bytes: Cell<u64>,
    wire: Wire,
    response_body_bytes: Cell<u64>,
    request_id: RefCell<RequestId>,
}

/// Bytes on the two connections, heads and framing included.
#[derive(Default)]
struct Wire {
    from_client: Cell<u64>,
    to_client: Cell<u64>,
    from_origin: Cell<u64>,
    to_origin: Cell<u64>,
}

fn add(sum: &Cell<u64>, bytes: usize) {
    sum.set(sum.get() + bytes as u64);
}

/// The identifier of a request: received, or made.
enum RequestId {
    None,
    Received,
    Made([u8; 36]),
}

/// Runs one exchange. `response` is the connection's own, to be used again.
pub async fn run(
    worker: &Rc<Worker>,
    conn: &mut Downstream,
    view: &Rc<View>,
    received: Received<'_>,
    response: &mut ResponseHead,
) -> Next {
    let Some(listener) = view.config().listeners.get(received.listener) else { return Next::Close };
    let requests_max = listener.limits.requests_max;
    let unread = conn.unread.take();
    let from = Arrival {
        client: Client::Http1(&conn.stream),
        timer: &conn.timer,
        address: conn.client(),
        last: requests_max > 0 && conn.requests >= requests_max,
    };
    let exchange = Exchange::new(worker, view, listener, from, &received, unread);
    let counted = Counted::new(worker, exchange.client);
    let next = match exchange.proxy(&conn.stream, response).await {
        Ok(next) => next,
        Err(failure) => exchange.fail(&conn.stream, failure),
    };
    exchange.finish();
    counted.done();
    let unread = exchange.unread.into_inner();
    conn.unread = unread;
    next
}

/// Answers a head that could not be read, and accounts for it.
pub fn refuse_head(
    worker: &Rc<Worker>,
    conn: &Downstream,
    view: &Rc<View>,
    received: Received<'_>,
    failure: Failure,
) -> Next {
    let Some(listener) = view.config().listeners.get(received.listener) else { return Next::Close };
    let from = Arrival {
        client: Client::Http1(&conn.stream),
        timer: &conn.timer,
        address: conn.client(),
        last: true,
    };
    let exchange = Exchange::new(worker, view, listener, from, &received, None);
    let counted = Counted::new(worker, exchange.client);
    let next = exchange.fail(&conn.stream, failure);
    exchange.finish();
    counted.done();
    if next == Next::Gone { Next::Gone } else { Next::Linger }
}

impl<'a> Exchange<'a> {
    fn new(
        worker: &'a Rc<Worker>,
        view: &'a Rc<View>,
        listener: &'a ListenerConfig,
        from: Arrival<'a>,
        received: &Received<'a>,
        unread: Option<Chunk>,
    ) -> Self {
        Exchange {
            worker,
            view,
            listener_index: received.listener,
            listener,
            head: received.head,
            bytes: received.bytes,
            client: from.client,
            timer: from.timer,
            client_address: from.address,
            client_ip: Cell::new(from.address.map(|address| address.ip())),
            trusted: Cell::new(false),
            explaining: Cell::new(false),
            normal_path: RefCell::new(None),
            last_of_connection: from.last,
            unread: RefCell::new(unread),
            deadline: Cell::new(None),
            try_deadline: Cell::new(None),
            tries: RefCell::new(None),
            mirrored: Cell::new(None),
            mirrored_to: Cell::new(0),
            uploaded: Cell::new(received.head.body == BodyLength::Empty),
            body_taken: Cell::new(false),
            ends_with_connection: Cell::new(false),
            answered: Cell::new(false),
            record: Record {
                started: received.started,
                head_received: rt::now(),
                connected: Cell::new(None),
                first_byte: Cell::new(None),
                route: Cell::new(None),
                matched: Cell::new(0),
                cluster: Cell::new(None),
                target: Cell::new(None),
                endpoint: RefCell::new(None),
                reused: Cell::new(false),
                attempts: Cell::new(0),
                status: Cell::new(0),
                reason: Cell::new(None),
                request_body_bytes: Cell::new(0),
                wire: Wire::default(),
                response_body_bytes: Cell::new(0),
                request_id: RefCell::new(RequestId::None),
            },
            call: Call::of(received.head, received.bytes),
            policies: RefCell::new(None),
        }
    }

    fn find_route(&self) -> Result<&'a RouteConfig, Failure> {
        let config = self.view.config();
        let normal_path = self.normal_path.borrow();
        let request = self.route_request(normal_path.as_deref());
        let found = config.route_table.find(&request).ok_or(Reason::NoRoute)?;
        self.record.route.set(Some(found.rule));
        self.record.matched.set(found.item);
        config.routes.get(found.rule).map(|route| &**route).ok_or(Failure::from(Reason::NoRoute))
    }

    /// The request as routes see it.
    fn route_request<'t>(&'t self, normal_path: Option<&'t [u8]>) -> RouteRequest<'t> {
        RouteRequest {
            listener: self.listener_index,
            host: self.head.authority.of(self.bytes),
            path: self.route_path(normal_path),
            head: self.head,
            bytes: self.bytes,
            client: self.client_ip.get(),
            unix_secs: self.unix_secs(),
            random: self.worker.random(),
        }
    }

    /// The path that routes are matched by.
    fn route_path<'t>(&'t self, normal_path: Option<&'t [u8]>) -> &'t [u8] {
        match (normal_path, self.head.method) {
            (Some(normal), _) => normal,
            (None, Method::Connect) => b"/",
            (None, _) => self.head.path_of(self.bytes),
        }
    }

    /// What is refused before anything is sent upstream.
    fn check_allowed(&self, route: &RouteConfig) -> Result<(), Failure> {
        if self.head.method == Method::Connect && !route.connect {
            return Err(Reason::MethodNotAllowed.into());
        }
        // A request for another protocol that is not passed on would be one for this path (RFC 8441 4).
        if self.head.extended_connect && self.wanted_protocol(route).is_none() {
            return Err(Reason::MethodNotAllowed.into());
        }
        let max = self.listener.limits.body_bytes_max;
        match self.head.body {
            BodyLength::Exact(length) if max > 0 && length > max => Err(Reason::BodyTooLarge.into()),
            _ => Ok(()),
        }
    }

    /// A connection to an endpoint; a client that resets meanwhile ends the wait. What few exchanges need is boxed: the state
    /// of the usual one stays small.
    async fn checkout(&self, cluster: &Cluster, source: Source, asked: Asked<'_>) -> Result<Origin, Failure> {
        let slow = match self.checkout_now(cluster, source, asked) {
            Ok(origin) => return Ok(origin),
            Err(slow) => slow,
        };
        slow.await
    }

    /// A connection that is at hand, or the way to one.
    fn checkout_now<'f>(
        &'f self,
        cluster: &'f Cluster,
        source: Source,
        asked: Asked<'f>,
    ) -> Result<Origin, SlowCheckout<'f>> {
        let picked = match source {
            Source::Any => match cluster.take_pooled(self.worker, asked) {
                Ok(origin) => {
                    self.note_upstream(&origin);
                    return Ok(origin);
                }
                Err(picked) => picked,
            },
            Source::Fresh => cluster.pick_first(self.worker, &asked),
        };
        let place = self.place();
        let dial = Dial { worker: self.worker, place, deadline: self.checkout_limit(), asked };
        Err(Box::pin(async move {
            let mut checkout = pin!(cluster.checkout(dial, source, picked));
            let origin = poll_fn(|cx| {
                if let Poll::Ready(result) = checkout.as_mut().poll(cx) {
                    return Poll::Ready(result.map_err(Failure::from));
                }
                self.client.poll_reset(cx).map(|()| Err(Reason::ClientClosed.into()))
            })
            .await?;
            self.note_upstream(&origin);
            Ok(origin)
        }))
    }

    fn note_upstream(&self, origin: &Origin) {
        let record = &self.record;
        record.connected.set(Some(rt::now()));
        record.attempts.set(record.attempts.get() + 1);
        let (reused, index, endpoint) = match origin {
            Origin::Http1(upstream) => (upstream.reused, upstream.index, &upstream.endpoint),
            Origin::Http2(stream) => (stream.reused, stream.index, &stream.endpoint),
        };
        record.reused.set(reused);
        *record.endpoint.borrow_mut() = Some((index, Rc::clone(endpoint)));
    }

    /// The time left for the whole exchange ends at this moment, or the given one comes first.
    fn until(&self, at: Instant) -> Instant {
        self.deadline.get().map_or(at, |deadline| deadline.min(at))
    }

    fn is_past_deadline(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| rt::now() >= deadline)
    }

    /// Whether the client may send another request on its connection, as far as the request decides it.
    fn client_stays(&self) -> bool {
        // What comes behind a CONNECT that was refused may have been meant for the tunnel (RFC 9931).
        let stays = self.head.keep_alive && self.head.method != Method::Connect;
        stays && !self.last_of_connection && !self.worker.is_draining()
    }

    /// Ends a failed exchange on a connection of HTTP/1: with a local reply where one can still be sent, else by cutting
    /// the connection.
    fn fail(&self, down: &Transport, failure: Failure) -> Next {
        self.record.reason.set(Some(failure.reason));
        if failure.reason == Reason::ClientClosed {
            down.reset_on_close();
            self.record.status.set(failure.reason.status());
            return Next::Gone;
        }
        if self.answered.get() {
            // The client must not take what it got for the whole response. A body with a length or with chunks shows that
            // it is cut; one that ends with the connection only does if that is reset.
            if self.ends_with_connection.get() || failure.reason == Reason::ClientSlow {
                down.reset_on_close();
                return Next::Gone;
            }
            return Next::Close;
        }
        self.record.status.set(self.reply_status(failure.reason));
        let whole_request = self.uploaded.get() || self.discard_received_body();
        let keep = whole_request && self.client_stays() && self.head.bytes > 0;
        let out = self.render_reply(failure, keep);
        add(&self.record.wire.to_client, out.len());
        match down.send(out) {
            Ok(()) if keep => Next::KeepAlive,
            Ok(()) if whole_request => Next::Close,
            Ok(()) => Next::Linger,
            Err(_) => Next::Gone,
        }
    }

    /// The status of a local reply. That of a call stands in a field.
    fn reply_status(&self, reason: Reason) -> u16 {
        if self.call.is_some() && reason != Reason::ClientClosed { 200 } else { reason.status() }
    }

    /// A local reply in the form of HTTP/1.1.
    fn render_reply(&self, failure: Failure, keep_alive: bool) -> Vec<u8> {
        let grpc = self.call.as_ref().map(|call| self.render_call_reply(call, &failure));
        self.tell_of_response(self.reply_status(failure.reason), None);
        let mut lines = self.tls_reply_lines(failure.reason);
        if let Some(changes) = self.response_headers() {
            lines.extend_from_slice(changes.lines());
        }
        let reply = reply::LocalReply {
            failure,
            grpc,
            accept: self.head.lookup(FieldKind::Accept).unwrap_or_default().of(self.bytes),
            head_only: self.head.method == Method::Head,
            keep_alive,
            http10: self.head.version == Version::Http10,
            reason_header: self.listener.forwarded.reason_header,
            lines: &lines,
        };
        let mut out = rt::take_vec();
        self.record.response_body_bytes.set(reply.render(&mut out));
        out
    }

    /// A small body that has come in already is read away, so that the connection can be used again.
    fn discard_received_body(&self) -> bool {
        let BodyLength::Exact(length) = self.head.body else { return false };
        if self.body_taken.get() || self.record.attempts.get() > 0 {
            return false;
        }
        let mut unread = self.unread.borrow_mut();
        match unread.as_mut() {
            Some(chunk) if chunk.len() as u64 >= length => {
                chunk.advance(length as usize);
                if chunk.is_empty() {
                    *unread = None;
                }
                // Once: what follows is the next request.
                self.uploaded.set(true);
                true
            }
            _ => false,
        }
    }

    fn count_wire(&self) {
        let (wire, stats) = (&self.record.wire, &self.worker.stats);
        stats.connections.bytes_in.add(self.bytes.len() as u64 + wire.from_client.get());
        stats.connections.bytes_out.add(wire.to_client.get());
        stats.pool.bytes_in.add(wire.from_origin.get());
        stats.pool.bytes_out.add(wire.to_origin.get());
    }

    fn finish(&self) {
        let (record, bytes) = (&self.record, self.bytes);
        let field = |kind| self.head.lookup(kind).unwrap_or_default().of(bytes);
        let endpoint = record.endpoint.borrow();
        let request_id = record.request_id.borrow();
        self.count_wire();
        let outcome = Outcome {
            listener: self.listener_index,
            route: record.route.get(),
            cluster: record.cluster.get(),
            worker: self.worker.id,
            endpoint: endpoint.as_ref().map_or("", |(_, endpoint)| &endpoint.name),
            endpoint_index: endpoint.as_ref().map(|(index, _)| *index),
            client: self.client_ip.get(),
            method: self.head.method_span.of(bytes),
            target: self.head.target.of(bytes),
            host: self.head.authority.of(bytes),
            protocol: match self.head.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
                Version::Http2 => "HTTP/2.0",
            },
            user_agent: field(FieldKind::UserAgent),
            referer: field(FieldKind::Referer),
            request_id: match &*request_id {
                RequestId::None => b"",
                RequestId::Received => field(FieldKind::XRequestId),
                RequestId::Made(id) => id,
            },
            status: record.status.get(),
            reason: record.reason.get(),
            request_body_bytes: record.request_body_bytes.get(),
            response_body_bytes: record.response_body_bytes.get(),
            attempts: record.attempts.get(),
            upstream_reused: record.reused.get(),
            grpc: self.call.as_ref().and_then(|call| call.outcome(self.head, bytes, record.reason.get())),
            tls: self.client.tls().map(|facts| &**facts),
            phases: Phases {
                clock: self.worker.clock(),
                started: record.started,
                head_received: record.head_received,
                connected: record.connected.get(),
                first_byte: record.first_byte.get(),
                ended: rt::now(),
            },
        };
        self.worker.finish(&self.view.generation.labels, &outcome);
        self.end_policies();
    }
}

impl Exchange<'_> {
    /// The response that opens a tunnel has been sent.
    pub(crate) fn begin_tunnel(&self, status: u16) {
        self.record.status.set(status);
        self.answered.set(true);
    }

    pub(crate) fn take_unread(&self) -> Option<Chunk> {
        self.unread.borrow_mut().take()
    }
}

impl tunnel::Account for Exchange<'_> {
    fn worker(&self) -> &Worker {
        self.worker
    }

    fn take_unread(&self) -> Option<Chunk> {
        Exchange::take_unread(self)
    }

    fn count_upward(&self, bytes: usize) {
        add(&self.record.request_body_bytes, bytes);
        add(&self.record.wire.from_client, bytes);
        add(&self.record.wire.to_origin, bytes);
    }

    fn count_downward(&self, bytes: usize) {
        add(&self.record.response_body_bytes, bytes);
        add(&self.record.wire.from_origin, bytes);
        add(&self.record.wire.to_client, bytes);
    }
}

/// What an error of a socket means for the exchange.
fn failure_of(error: &io::Error, otherwise: Reason) -> Failure {
    if rt::is_memory_reset(error) { Reason::MemoryLimit.into() } else { otherwise.into() }
}

/// Counts an exchange as started, and as lost if its task ends before it does.
struct Counted<'a> {
    worker: &'a Worker,
    client: Client<'a>,
    done: bool,
}

impl<'a> Counted<'a> {
    fn new(worker: &'a Worker, client: Client<'a>) -> Self {
        worker.stats.on_exchange_started();
        Counted { worker, client, done: false }
    }

    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.done {
            // An orderly end would complete a response that ends with its connection.
            self.client.cut(ErrorCode::InternalError);
            self.worker.stats.on_exchange_lost();
        }
    }
}
