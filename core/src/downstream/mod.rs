//! One client connection: waits for requests, reads their heads, and hands each to an exchange.
//!
//! While a connection is idle it is this small future and a few words beside it: no buffer, no head, no
//! exchange. Those live in [`busy`], which is allocated when a request begins and let go when the connection
//! has been quiet for [`WARM`].

mod close;
mod preface;
mod proxy_header;
mod tls;
mod upgrade;

pub use close::linger;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ringway_protocols::http1::{self, HeadLimits, HeadProgress, Parsed, RequestError};
use ringway_protocols::message::{RequestHead, ResponseHead};

use crate::config::{ListenerConfig, ListenerLimits};
use crate::error::Reason;
use crate::exchange::{self, Failure, Next};
use crate::head_buffer::{Fed, HeadBuffer, HeadBytes};
use crate::http2::{self, server::Upgraded};
use crate::io::{self as rt, Chunk, Timer};
use crate::listener::ListenerSlot;
use crate::shared::{ClientPermit, Permit};
use crate::tcp;
use crate::transport::Transport;
use crate::worker::{View, Worker};
use preface::Told;
use proxy_header::{owes_proxy_header, receive_proxy_header};
use tls::Agreed;

/// How long a connection stays in its busy form after a request. A client that sends one request after the
/// other never pays for the change of form; an idle one soon costs little.
const WARM: Duration = Duration::from_millis(50);

/// How long a client gets to take the end of a quiet connection.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A client connection.
pub struct Downstream {
    pub stream: Transport,
    pub timer: Timer,
    /// Received and not yet consumed: pipelined requests, or the start of a body.
    pub unread: Option<Chunk>,
    pub requests: u64,
    owner: Owner,
}

/// Whose a connection is: what stays the same from its first byte to its last, whatever it speaks.
pub struct Owner {
    /// The other end of the socket.
    pub peer: Option<SocketAddr>,
    /// Whom a PROXY protocol header names. Boxed, because few connections have one.
    named: Option<Box<SocketAddr>>,
    open: Open,
    _permit: Permit,
    _client_permit: Option<Box<ClientPermit>>,
}

impl Downstream {
    pub fn new(
        worker: &Rc<Worker>,
        stream: Transport,
        peer: Option<SocketAddr>,
        slot: Rc<ListenerSlot>,
        permit: Permit,
        client_permit: Option<ClientPermit>,
    ) -> Self {
        let owner = Owner {
            peer,
            named: None,
            open: Open::new(worker, slot),
            _permit: permit,
            _client_permit: client_permit.map(Box::new),
        };
        Downstream { stream, timer: Timer::new(), unread: None, requests: 0, owner }
    }

    /// Who speaks: the peer, or whom its PROXY protocol header names.
    pub fn client(&self) -> Option<SocketAddr> {
        self.owner.client()
    }

    /// The listener as the configuration in `view` has it; `None` once it was removed.
    pub fn listener<'a>(&self, view: &'a View) -> Option<(usize, &'a ListenerConfig)> {
        self.owner.listener(view)
    }

    /// Takes it apart, for another protocol than HTTP/1.1.
    pub fn dismantle(self) -> (Transport, Timer, Option<Chunk>, Owner) {
        (self.stream, self.timer, self.unread, self.owner)
    }

    fn limits(&self, worker: &Worker) -> Option<ListenerLimits> {
        self.listener(&worker.view()).map(|(_, config)| config.limits)
    }
}

impl Owner {
    /// Who speaks: the peer, or whom its PROXY protocol header names.
    pub fn client(&self) -> Option<SocketAddr> {
        self.named.as_deref().copied().or(self.peer)
    }

    /// The listener as the configuration in `view` has it; `None` once it was removed.
    pub fn listener<'a>(&self, view: &'a View) -> Option<(usize, &'a ListenerConfig)> {
        let index = self.open.slot.index.get()?;
        view.config().listeners.get(index).map(|config| (index, &**config))
    }

    /// The listener is not in the configuration any more.
    pub fn is_removed(&self) -> bool {
        self.open.slot.index.get().is_none()
    }
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open {
    worker: Rc<Worker>,
    slot: Rc<ListenerSlot>,
}

impl Open {
    fn new(worker: &Rc<Worker>, slot: Rc<ListenerSlot>) -> Self {
        worker.stats.connections.open.increment();
        slot.open.set(slot.open.get() + 1);
        Open { worker: Rc::clone(worker), slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.stats.connections.open.decrement();
        self.slot.open.set(self.slot.open.get() - 1);
    }
}

/// Serves a connection until it closes.
///
/// Not an `async fn`, whose future would hold its arguments twice: this future is what an idle connection costs.
#[expect(clippy::manual_async_fn, reason = "half the size, see above")]
pub fn serve(worker: Rc<Worker>, mut conn: Downstream) -> impl Future<Output = ()> {
    async move {
        if owes_proxy_header(&conn, &worker) && !Box::pin(receive_proxy_header(&worker, &mut conn)).await {
            worker.stats.refused.count(Reason::BadRequest);
            conn.stream.reset_on_close();
            return;
        }
        let mut agreed = Agreed::Http1;
        if tls::is_spoken(&conn, &worker) {
            match Box::pin(tls::accept(&worker, &mut conn)).await {
                Some(protocol) => agreed = protocol,
                None => return,
            }
        }
        let speaks_tcp = |(_, config): (usize, &ListenerConfig)| config.tcp.is_some();
        if agreed == Agreed::Passthrough || conn.listener(&worker.view()).is_some_and(speaks_tcp) {
            return Box::pin(tcp::serve(worker, conn)).await;
        }
        if agreed == Agreed::Http2 {
            return Box::pin(http2::server::serve(worker, conn, None)).await;
        }
        while wait_for_request(&worker, &mut conn).await {
            // HTTP/2 begins with its preface, and only there (RFC 9113 3.4).
            let started = if conn.requests == 0 && preface::may_follow(&worker, &conn) {
                match Box::pin(preface::receive(&worker, &mut conn)).await {
                    Told::Http2 => return Box::pin(http2::server::serve(worker, conn, None)).await,
                    Told::Http1 { since } => Some(since),
                    Told::Closed => return,
                }
            } else {
                None
            };
            match Box::pin(busy(&worker, &mut conn, started)).await {
                After::Idle => {}
                After::Closed => return,
                After::Http2(upgraded) => {
                    return Box::pin(http2::server::serve(worker, conn, Some(*upgraded))).await;
                }
            }
        }
    }
}

/// What follows when requests of HTTP/1.1 come no more.
enum After {
    Idle,
    Closed,
    /// The client has asked for HTTP/2, and got it.
    Http2(Box<Upgraded>),
}

/// Waits, without holding a buffer, until the client has sent something. `false`: the connection is over.
async fn wait_for_request(worker: &Worker, conn: &mut Downstream) -> bool {
    if conn.unread.is_some() {
        return true;
    }
    // Nothing large is kept while waiting: not the limits, and not the future that closes.
    let Some((idle_timeout, close_timeout)) =
        conn.limits(worker).map(|limits| (limits.idle_timeout, limits.response_body_timeout))
    else {
        return false;
    };
    let mut pending = conn.stream.unsent();
    loop {
        conn.timer.arm(rt::now() + idle_timeout);
        let event = poll_fn(|cx| {
            if worker.is_draining() || conn.owner.is_removed() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(received) = conn.stream.poll_recv(cx) {
                return Poll::Ready(received.ok().filter(|chunk| !chunk.is_empty()).map(Some));
            }
            conn.timer.poll_expired(cx).map(|()| Some(None))
        })
        .await;
        match event {
            Some(Some(chunk)) => {
                conn.unread = Some(chunk);
                conn.timer.disarm();
                return true;
            }
            // Idle for us, but the client may still be reading the last response.
            Some(None) if conn.stream.unsent() < pending => pending = conn.stream.unsent(),
            Some(None) => return close_quiet(conn).await,
            None => return Box::pin(close_idle(conn, close_timeout)).await,
        }
    }
}

/// Closes a connection that has been quiet for too long.
async fn close_quiet(conn: &Downstream) -> bool {
    // The client may be gone without a word: it gets only a moment.
    conn.stream.tls().is_some() && Box::pin(close_idle(conn, GOODBYE_TIMEOUT)).await
}

/// Lets what is queued go out before an idle connection is closed.
async fn close_idle(conn: &Downstream, timeout: Duration) -> bool {
    if conn.stream.tls().is_some() || conn.stream.unsent() > 0 {
        close::finish(&conn.stream, timeout).await;
    }
    false
}

/// Requests, one after the other, for as long as they keep coming. The first one began at `since`, if that was before now.
async fn busy(worker: &Rc<Worker>, conn: &mut Downstream, mut since: Option<Instant>) -> After {
    let mut request = RequestHead::default();
    let mut response = ResponseHead::default();
    loop {
        let view = worker.view();
        let Some((listener, config)) = conn.listener(&view) else { return After::Closed };
        let started = since.take().unwrap_or_else(rt::now);
        let next = match read_head(conn, &config.limits, &mut request, started).await {
            HeadRead::Complete(bytes) => {
                if let Some(upgraded) = upgrade::accept(config, conn, &mut request, &bytes) {
                    return After::Http2(upgraded);
                }
                conn.requests += 1;
                let received = exchange::Received { listener, head: &request, bytes: &bytes, started };
                exchange::run(worker, conn, &view, received, &mut response).await
            }
            HeadRead::Refused(failure, bytes) => {
                // The head could not be read, so nothing of it is used but its bytes.
                request.clear();
                let received = exchange::Received { listener, head: &request, bytes: &bytes, started };
                exchange::refuse_head(worker, conn, &view, received, failure)
            }
            HeadRead::Closed => return After::Closed,
        };
        match next {
            Next::KeepAlive => {}
            // RFC 9112 section 9.6: a client that did not ask for the close may have sent more by now, and closing
            // over unread bytes makes the kernel reset the response away.
            Next::Close if request.keep_alive => {
                close::linger(&conn.stream, config.limits.response_body_timeout).await;
                return After::Closed;
            }
            Next::Close => {
                close::finish(&conn.stream, config.limits.response_body_timeout).await;
                return After::Closed;
            }
            Next::Linger => {
                conn.unread = None;
                Box::pin(close::linger(&conn.stream, config.limits.response_body_timeout)).await;
                return After::Closed;
            }
            Next::Gone => return After::Closed,
        }
        drop(view);
        if conn.unread.is_none() && !stays_warm(worker, conn).await {
            return After::Idle;
        }
    }
}

/// Waits a little for the next request. `false`: none came (or the connection ended, which the idle form sees).
async fn stays_warm(worker: &Worker, conn: &mut Downstream) -> bool {
    conn.timer.arm(rt::now() + WARM);
    let chunk = poll_fn(|cx| {
        if worker.is_draining() || conn.owner.is_removed() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(received) = conn.stream.poll_recv(cx) {
            return Poll::Ready(received.ok().filter(|chunk| !chunk.is_empty()));
        }
        conn.timer.poll_expired(cx).map(|()| None)
    })
    .await;
    conn.timer.disarm();
    conn.unread = chunk;
    conn.unread.is_some()
}

enum HeadRead {
    Complete(HeadBytes),
    /// Not a request that may be forwarded; with what was received of it, for the log.
    Refused(Failure, HeadBytes),
    /// The client went away before it sent a whole head.
    Closed,
}

/// Reads one request head. What follows it stays in `conn.unread`.
async fn read_head(
    conn: &mut Downstream,
    limits: &ListenerLimits,
    head: &mut RequestHead,
    started: Instant,
) -> HeadRead {
    let mut reader = HeadReader::default();
    // The usual head is there already and whole.
    if let Some(chunk) = conn.unread.take()
        && let Some(read) = reader.feed(conn, limits, head, chunk)
    {
        return read;
    }
    Box::pin(read_rest(reader, conn, limits, head, started)).await
}

/// Goes on with a head that comes in pieces.
async fn read_rest(
    mut reader: HeadReader,
    conn: &mut Downstream,
    limits: &ListenerLimits,
    head: &mut RequestHead,
    started: Instant,
) -> HeadRead {
    conn.timer.arm(started + limits.header_timeout);
    loop {
        match receive_until_timeout(conn).await {
            None => return HeadRead::Refused(Reason::HeaderTimeout.into(), reader.buffer.into_partial()),
            Some(Ok(chunk)) if !chunk.is_empty() => {
                if let Some(read) = reader.feed(conn, limits, head, chunk) {
                    conn.timer.disarm();
                    return read;
                }
            }
            Some(_) => return HeadRead::Closed,
        }
    }
}

/// A request head on its way.
#[derive(Default)]
struct HeadReader {
    buffer: HeadBuffer,
    progress: HeadProgress,
}

impl HeadReader {
    /// Takes received bytes in; `None` when the head is still incomplete.
    fn feed(
        &mut self,
        conn: &mut Downstream,
        limits: &ListenerLimits,
        head: &mut RequestHead,
        chunk: Chunk,
    ) -> Option<HeadRead> {
        let limits = HeadLimits {
            bytes_max: limits.header_bytes_max,
            fields_max: limits.header_count_max,
            target_bytes_max: limits.target_bytes_max,
        };
        let progress = &mut self.progress;
        let parse = |bytes: &[u8]| {
            http1::parse_request_resumed(bytes, &limits, progress, head)
                .map(|parsed| matches!(parsed, Parsed::Complete).then_some(head.bytes as usize))
        };
        match self.buffer.feed(chunk, parse) {
            Fed::Complete(bytes, rest) => {
                conn.unread = rest;
                Some(HeadRead::Complete(bytes))
            }
            Fed::NeedMore => None,
            Fed::Invalid(error, bytes) => Some(HeadRead::Refused(failure_of(error), bytes)),
        }
    }
}

/// `None` when the connection's timer expired first.
async fn receive_until_timeout(conn: &Downstream) -> Option<io::Result<Chunk>> {
    poll_fn(|cx| {
        if let Poll::Ready(received) = conn.stream.poll_recv(cx) {
            return Poll::Ready(Some(received));
        }
        conn.timer.poll_expired(cx).map(|()| None)
    })
    .await
}

/// Why a head that breaks a rule is refused.
pub(crate) fn failure_of(error: RequestError) -> Failure {
    let reason = match error {
        RequestError::HeadTooLarge => Reason::HeadTooLarge,
        RequestError::TooManyFields => Reason::TooManyFields,
        RequestError::TargetTooLong => Reason::TargetTooLong,
        RequestError::UnknownExpectation => Reason::ExpectationFailed,
        _ => Reason::BadRequest,
    };
    Failure { reason, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of the future that a function returns, without calling it.
    fn future_bytes<F, R>(_: F) -> usize
    where
        F: FnOnce(&'static Rc<Worker>, &'static mut Downstream) -> R,
    {
        size_of::<R>()
    }

    #[test]
    fn an_idle_connection_is_small_and_a_busy_one_fits_the_cache() {
        let idle = future_bytes(|worker, _| {
            // The connection is moved in: its size is part of the future's.
            fn take() -> Downstream {
                unreachable!("the closure is never called")
            }
            serve(Rc::clone(worker), take())
        });
        let busy = future_bytes(|worker, conn| busy(worker, conn, None));
        assert!(idle <= 320, "idle: {idle} bytes");
        assert!(busy <= 2304, "busy: {busy} bytes");
    }
}
