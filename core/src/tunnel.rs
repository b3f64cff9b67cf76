//! Tunnels: an upgraded connection (RFC 9110 section 7.8) or CONNECT (section 9.3.6). Bytes pass both ways until
//! both sides have ended; an end of one side is passed on as such.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::config::RouteConfig;
use crate::error::Reason;
use crate::exchange::{Exchange, Failure, Next};
use crate::io::{self as rt, Chunk, Part, Stream, Timer};
use crate::upstream::Upstream;
use crate::worker::Worker;

/// Answers CONNECT and relays bytes to the endpoint.
pub async fn connect(
    exchange: &Exchange<'_>,
    down: &Stream,
    upstream: Upstream,
    route: &RouteConfig,
) -> Result<Next, Failure> {
    exchange.begin_tunnel(200);
    down.send(Part::Static(b"HTTP/1.1 200 Connection Established\r\n\r\n"))
        .map_err(|_| Failure::from(Reason::ClientClosed))?;
    relay(exchange, down, &upstream.stream, None, route.tunnel_idle_timeout).await?;
    Ok(Next::Gone)
}

/// Relays bytes both ways. `first` is what the origin sent behind its head.
///
/// # Errors
/// [`Reason::TunnelIdle`] when nothing passed for `idle_timeout`. Ends by either side are not errors.
pub async fn relay(
    exchange: &Exchange<'_>,
    down: &Stream,
    up: &Stream,
    first: Option<Chunk>,
    idle_timeout: Duration,
) -> Result<(), Failure> {
    let _open = Open::new(exchange.worker());
    let timer = Timer::new();
    let last = Cell::new(rt::now());
    let window = exchange.worker().window();
    let mut upward =
        pin!(pump(down, up, exchange.take_unread(), window, &last, |n| exchange.count_upward(n)));
    let mut downward = pin!(pump(up, down, first, window, &last, |n| exchange.count_downward(n)));
    let (mut up_done, mut down_done) = (false, false);
    timer.arm(last.get() + idle_timeout);
    poll_fn(|cx| {
        for (pump, done) in [(&mut upward as &mut dyn Pump, &mut up_done), (&mut downward, &mut down_done)] {
            if !*done && let Poll::Ready(end) = pump.poll_pump(cx) {
                *done = true;
                if end.is_err() {
                    // One side is gone: there is nobody to carry bytes to or from.
                    return Poll::Ready(Ok(()));
                }
            }
        }
        if up_done && down_done {
            return Poll::Ready(Ok(()));
        }
        while timer.poll_expired(cx).is_ready() {
            let at = last.get() + idle_timeout;
            if rt::now() >= at {
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

/// One direction, by whatever type its future has.
trait Pump {
    fn poll_pump(&mut self, cx: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>>;
}

impl<F: Future<Output = std::io::Result<()>>> Pump for std::pin::Pin<&mut F> {
    fn poll_pump(&mut self, cx: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        self.as_mut().poll(cx)
    }
}

/// Carries bytes one way until the end, and passes the end on.
async fn pump(
    from: &Stream,
    to: &Stream,
    first: Option<Chunk>,
    window: usize,
    last: &Cell<Instant>,
    count: impl Fn(usize),
) -> std::io::Result<()> {
    let mut next = first;
    loop {
        let chunk = match next.take() {
            Some(chunk) => chunk,
            None => from.recv().await?,
        };
        last.set(rt::now());
        if chunk.is_empty() {
            to.sent().await?;
            to.shutdown_write();
            return Ok(());
        }
        count(chunk.len());
        to.send(chunk)?;
        poll_fn(|cx| to.poll_room(cx, window)).await?;
        last.set(rt::now());
    }
}
