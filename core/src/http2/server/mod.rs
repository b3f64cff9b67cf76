//! The connection of a client: every request becomes an exchange of its own.

mod close;
mod deadlines;
mod runners;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use ringway_protocols::http2::{HeadError, Role};

use super::connection::Connection;
use super::dispatch::Opened;
use super::driver::{Driver, Ended};
use super::handle::StreamHandle;
use super::heads::ReceivedRequest;
use super::settings;
use crate::downstream::{Downstream, Owner};
use crate::io::{self as rt, Chunk, Timer};
use crate::worker::{View, Worker};
use deadlines::Deadlines;

pub use runners::Runners;

/// One request of a client, on its way to an exchange.
pub struct Incoming {
    pub stream: StreamHandle,
    pub request: ReceivedRequest,
    /// The head was refused: to be answered, with nothing of it used.
    pub refused: Option<HeadError>,
    pub view: Rc<View>,
    /// Index of the listener in the configuration of `view`.
    pub listener: usize,
    /// Who speaks: the peer, or whom the PROXY protocol names.
    pub client: Option<SocketAddr>,
    /// When the head was complete, as far as the loop's clock tells.
    pub started: Instant,
}

/// A request of HTTP/1.1 that switched its connection to HTTP/2 (RFC 7540 3.2). It is stream 1.
pub struct Upgraded {
    pub request: ReceivedRequest,
    /// The payload of a SETTINGS frame, from `HTTP2-Settings`.
    pub settings: Vec<u8>,
}

/// Serves a connection that speaks HTTP/2 until it closes. What has come in so far is in `conn.unread`.
pub async fn serve(worker: Rc<Worker>, conn: Downstream, upgraded: Option<Upgraded>) {
    let Some(mut server) = Server::new(&worker, conn) else { return };
    let ended = match server.begin(upgraded) {
        Ok(()) => poll_fn(|cx| server.poll(cx)).await,
        Err(ended) => ended,
    };
    Box::pin(server.close(ended)).await;
}

struct Server {
    driver: Driver,
    service: Service,
    timer: Timer,
    deadlines: Deadlines,
    /// Received before it was known that this is HTTP/2.
    unread: Option<Chunk>,
}

/// What makes requests of streams.
struct Service {
    worker: Rc<Worker>,
    owner: Owner,
    requests: u64,
    /// The listener was removed: requests are told to go elsewhere, which is safe (RFC 9113 8.7).
    removed: bool,
}

impl Server {
    /// `None`: the listener is gone.
    fn new(worker: &Rc<Worker>, conn: Downstream) -> Option<Server> {
        let now = rt::now();
        let view = worker.view();
        let (_, config) = conn.listener(&view)?;
        let machine = settings::machine(config);
        let deadlines = Deadlines::new(config, worker.random(), now);
        let (stream, timer, unread, owner) = conn.dismantle();
        let connection =
            Connection::new(Role::Server, &machine, worker.queue_limits(), &worker.stats, &stream);
        Some(Server {
            driver: Driver { connection, stream },
            service: Service { worker: Rc::clone(worker), owner, requests: 0, removed: false },
            timer,
            deadlines,
            unread,
        })
    }

    fn begin(&mut self, upgraded: Option<Upgraded>) -> Result<(), Ended> {
        let connection = &self.driver.connection;
        if let Some(Upgraded { request, settings }) = upgraded {
            self.service.worker.stats.http2.upgrades.increment();
            let mut state = connection.state.borrow_mut();
            let key = state.machine.upgrade(&settings).map_err(Ended::Broken)?;
            state.begin(key).inbox.ended = true;
            drop(state);
            let stream = StreamHandle::new(connection, key);
            self.service.open(Opened { stream, request, refused: None });
        }
        let Some(chunk) = self.unread.take() else { return Ok(()) };
        connection.receive(&chunk, rt::now(), |opened| self.service.open(opened)).map_err(Ended::Broken)
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Ended> {
        match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(ended) => Poll::Ready(ended),
        }
    }

    /// One turn: reads, looks at the time and at what the process wants, writes.
    fn turn(&mut self, cx: &Context<'_>) -> Result<(), Ended> {
        let again = self.driver.read(cx, |opened| self.service.open(opened))?;
        self.advance()?;
        self.driver.write(cx, again)?;
        self.deadlines.wait(&self.driver, &self.timer, cx);
        Ok(())
    }
}

impl Service {
    /// Starts the exchange of a request.
    fn open(&mut self, opened: Opened) {
        let Opened { stream, request, refused } = opened;
        let view = self.worker.view();
        let Some((listener, _)) = self.owner.listener(&view) else {
            stream.reset(super::ErrorCode::RefusedStream);
            return;
        };
        self.requests += 1;
        let client = self.owner.client();
        let started = rt::now();
        let incoming = Incoming { stream, request, refused, view, listener, client, started };
        self.worker.runners.run(&self.worker, incoming);
    }
}
