//! Tunnels: an upgraded connection (RFC 9110 section 7.8), CONNECT (section 9.3.6), or a connection of plain TCP. Bytes pass both ways until
//! both sides have ended; an end of one side is passed on as such.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use ringway_protocols::http1::ResponseEdits;
use ringway_protocols::message::ResponseHead;

use crate::config::RouteConfig;
use crate::error::Reason;
use crate::exchange::{Client, Exchange, Failure, Next};
use crate::http2::{BodyPiece, ErrorCode, StreamHandle};
use crate::io::{self as rt, Chunk, Part, Timer};
use crate::transport::Transport;
use crate::upstream::{Origin, Upstream};
use crate::worker::Worker;

/// One end of a tunnel: a connection of its own, or a stream of HTTP/2 (RFC 9113 8.5).
#[derive(Clone, Copy)]
pub enum End<'a> {
    Connection(&'a Transport),
    Stream(&'a StreamHandle),
}

impl<'a> From<Client<'a>> for End<'a> {
    fn from(client: Client<'a>) -> Self {
        match client {
            Client::Http1(stream) => End::Connection(stream),
            Client::Http2(stream) => End::Stream(stream),
        }
    }
}

impl<'a> From<&'a Origin> for End<'a> {
    fn from(origin: &'a Origin) -> Self {
        match origin {
            Origin::Http1(upstream) => End::Connection(&upstream.stream),
            Origin::Http2(origin) => End::Stream(&origin.stream),
        }
    }
}

/// Answers CONNECT and relays bytes to the endpoint.
pub async fn connect(
    exchange: &Exchange<'_>,
    client: Client<'_>,
    upstream: Upstream,
    route: &RouteConfig,
) -> Result<Next, Failure> {
    exchange.begin_tunnel(200);
    match client {
        Client::Http1(down) => down
            .send(Part::Static(b"HTTP/1.1 200 Connection Established\r\n\r\n"))
            .map_err(|_| Failure::from(Reason::ClientClosed))?,
        Client::Http2(down) => {
            let head = ResponseHead { status: 200, ..ResponseHead::default() };
            down.send_response(b"", &head, &ResponseEdits::default(), false)
                .map_err(|_| Failure::from(Reason::ClientClosed))?;
        }
    }
    let up = End::Connection(&upstream.stream);
    relay(exchange, client.into(), up, None, route.tunnel_idle_timeout).await?;
    Ok(Next::Gone)
}

/// Whose a tunnel is.
pub trait Account {
    fn worker(&self) -> &Worker;
    /// What the client sent before the tunnel began.
    fn take_unread(&self) -> Option<Chunk>;
    /// Bytes on their way to the origin.
    fn count_upward(&self, bytes: usize);
    /// Bytes on their way to the client.
    fn count_downward(&self, bytes: usize);
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Both sides have said that they are done.
    InOrder,
    /// The client's connection failed.
    ByClient,
    /// The origin's connection failed.
    ByOrigin,
}

/// Relays bytes both ways. `first` is what the origin sent behind its head.
///
/// # Errors
/// [`Reason::TunnelIdle`] when nothing passed for `idle_timeout`. Ends by either side are not errors.
pub async fn relay(
    account: &impl Account,
    down: End<'_>,
    up: End<'_>,
    first: Option<Chunk>,
    idle_timeout: Duration,
) -> Result<Ended, Failure> {
    let _open = Open::new(account.worker());
    let timer = Timer::new();
    let last = Cell::new(rt::now());
    let window = account.worker().window();
    let mut upward = pin!(pump(down, up, account.take_unread(), window, &last, |n| account.count_upward(n)));
    let mut downward = pin!(pump(up, down, first, window, &last, |n| account.count_downward(n)));
    let (mut up_done, mut down_done) = (false, false);
    timer.arm(last.get() + idle_timeout);
    poll_fn(|cx| {
        let pumps = [
            (&mut upward as &mut dyn Pump, &mut up_done, [Ended::ByClient, Ended::ByOrigin]),
            (&mut downward, &mut down_done, [Ended::ByOrigin, Ended::ByClient]),
        ];
        for (pump, done, [by_sender, by_reader]) in pumps {
            if !*done && let Poll::Ready(end) = pump.poll_pump(cx) {
                *done = true;
                let Err(broken) = end else { continue };
                // One side is gone: there is nobody to carry bytes to or from.
                [down, up].into_iter().for_each(|end| end.abandon(ErrorCode::ConnectError));
                return Poll::Ready(Ok(match broken {
                    Broken::Sender => by_sender,
                    Broken::Reader => by_reader,
                }));
            }
        }
        if up_done && down_done {
            return Poll::Ready(Ok(Ended::InOrder));
        }
        while timer.poll_expired(cx).is_ready() {
            let at = last.get() + idle_timeout;
            if rt::now() >= at {
                [down, up].into_iter().for_each(|end| end.abandon(ErrorCode::Cancel));
                return Poll::Ready(Err(Reason::TunnelIdle.into()));
            }
            timer.arm(at);
        }
        Poll::Pending
    })
    .await
}

/// Counts a tunnel for as long as it is open.
struct Open<'a>(&'a Worker);

impl<'a> Open<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.stats.connections.tunnels_open.increment();
        Open(worker)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stats.connections.tunnels_open.decrement();
    }
}

/// Whose connection broke one direction.
enum Broken {
    Sender,
    Reader,
}

/// One direction, by whatever type its future has.
trait Pump {
    fn poll_pump(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Broken>>;
}

impl<F: Future<Output = Result<(), Broken>>> Pump for std::pin::Pin<&mut F> {
    fn poll_pump(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Broken>> {
        self.as_mut().poll(cx)
    }
}

/// Carries bytes one way until the end, and passes the end on.
async fn pump(
    from: End<'_>,
    to: End<'_>,
    first: Option<Chunk>,
    window: usize,
    last: &Cell<Instant>,
    count: impl Fn(usize),
) -> Result<(), Broken> {
    let reader = |_| Broken::Reader;
    if let Some(chunk) = first {
        count(chunk.len());
        to.send(chunk, window, last).await.map_err(reader)?;
    }
    loop {
        let chunk = from.receive().await.map_err(|_| Broken::Sender)?;
        last.set(rt::now());
        if chunk.is_empty() {
            return to.finish().await.map_err(reader);
        }
        let bytes = chunk.len();
        count(bytes);
        to.send(chunk, window, last).await.map_err(reader)?;
        from.consumed(bytes);
    }
}

impl End<'_> {
    /// What came next; empty at the end of this direction.
    async fn receive(self) -> io::Result<Chunk> {
        match self {
            End::Connection(stream) => stream.recv().await,
            End::Stream(stream) => loop {
                match poll_fn(|cx| stream.poll_body(cx)).await.map_err(io::Error::other)? {
                    BodyPiece::Data(chunk, _) if chunk.is_empty() => {}
                    BodyPiece::Data(chunk, _) => return Ok(chunk),
                    // A tunnel has no place for trailers.
                    BodyPiece::Trailers(_) | BodyPiece::End => return Ok(Chunk::empty()),
                }
            },
        }
    }

    /// What was received went on its way: as much more may come.
    fn consumed(self, bytes: usize) {
        match self {
            // A connection is held back by not being read.
            End::Connection(_) => {}
            End::Stream(stream) => stream.consumed(bytes),
        }
    }

    /// Sends, and returns when there is room for more. `last` takes down when something moved.
    async fn send(self, mut chunk: Chunk, window: usize, last: &Cell<Instant>) -> io::Result<()> {
        match self {
            End::Connection(stream) => {
                stream.send(chunk)?;
                poll_fn(|cx| stream.poll_room(cx, window)).await?;
                last.set(rt::now());
            }
            End::Stream(stream) => {
                while !chunk.is_empty() {
                    let wanted = chunk.len();
                    let room =
                        poll_fn(|cx| stream.poll_capacity(cx, wanted)).await.map_err(io::Error::other)?;
                    stream.send_data(chunk.split_to(room.min(wanted)), false).map_err(io::Error::other)?;
                    last.set(rt::now());
                }
            }
        }
        Ok(())
    }

    /// Ends this direction.
    async fn finish(self) -> io::Result<()> {
        match self {
            End::Connection(stream) => {
                stream.sent().await?;
                stream.shutdown_write();
                // With TLS there is something to send that says so.
                stream.sent().await
            }
            End::Stream(stream) => stream.send_data(Chunk::empty(), true).map_err(io::Error::other),
        }
    }

    /// The other end is gone. An end in good order would be taken for its own: both kinds are reset (RFC 9113 8.5).
    fn abandon(self, code: ErrorCode) {
        match self {
            End::Connection(stream) => stream.reset_on_close(),
            End::Stream(stream) => stream.reset(code),
        }
    }
}
