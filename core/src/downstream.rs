//! One client connection: waits for requests, reads their heads, and hands each to an exchange.
//!
//! While a connection is idle it is this small future and a few words beside it: no buffer, no head, no
//! exchange. Those live in [`busy`], which is allocated when a request begins and let go when the connection
//! has been quiet for [`WARM`].

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ringway_protocols::http1::{self, HeadLimits, HeadProgress, Parsed, RequestError};
use ringway_protocols::message::{RequestHead, ResponseHead};
use ringway_protocols::proxy_protocol;

use crate::config::{ListenerConfig, ListenerLimits};
use crate::error::Reason;
use crate::exchange::{self, Failure, Next};
use crate::head_buffer::{Fed, HeadBuffer, HeadBytes};
use crate::io::{self as rt, Chunk, Stream, Timer};
use crate::listener::ListenerSlot;
use crate::shared::{ClientPermit, Permit};
use crate::worker::{View, Worker};

/// How long a connection stays in its busy form after a request. A client that sends one request after the
/// other never pays for the change of form; an idle one soon costs little.
const WARM: Duration = Duration::from_millis(50);
/// A connection closed with an error is read for at most this long and this much, so that the client gets to
/// see the answer: closing a socket with unread bytes makes the kernel reset it (RFC 9112 section 9.6).
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// A client connection.
pub struct Downstream {
    pub stream: Stream,
    pub timer: Timer,
    /// The other end of the socket.
    pub peer: Option<SocketAddr>,
    /// Whom a PROXY protocol header names. Boxed, because few connections have one.
    named: Option<Box<SocketAddr>>,
    /// Received and not yet consumed: pipelined requests, or the start of a body.
    pub unread: Option<Chunk>,
    pub requests: u64,
    open: Open,
    _permit: Permit,
    _client_permit: Option<Box<ClientPermit>>,
}

impl Downstream {
    pub fn new(
        worker: &Rc<Worker>,
        stream: Stream,
        peer: Option<SocketAddr>,
        slot: Rc<ListenerSlot>,
        permit: Permit,
        client_permit: Option<ClientPermit>,
    ) -> Self {
        Downstream {
            stream,
            timer: Timer::new(),
            peer,
            named: None,
            unread: None,
            requests: 0,
            open: Open::new(worker, slot),
            _permit: permit,
            _client_permit: client_permit.map(Box::new),
        }
    }

    /// Who speaks: the peer, or whom its PROXY protocol header names.
    pub fn client(&self) -> Option<SocketAddr> {
        self.named.as_deref().copied().or(self.peer)
    }

    /// The listener as the configuration in `view` has it; `None` once it was removed.
    pub fn listener<'a>(&self, view: &'a View) -> Option<(usize, &'a ListenerConfig)> {
        let index = self.open.slot.index.get()?;
        view.config().listeners.get(index).map(|config| (index, &**config))
    }

    fn limits(&self, worker: &Worker) -> Option<ListenerLimits> {
        self.listener(&worker.view()).map(|(_, config)| config.limits)
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
        let (worker, conn) = (&worker, &mut conn);
        if owes_proxy_header(conn, worker) && !Box::pin(receive_proxy_header(worker, conn)).await {
            worker.stats.refused.count(Reason::BadRequest);
            conn.stream.reset_on_close();
            return;
        }
        while wait_for_request(worker, conn).await {
            if !Box::pin(busy(worker, conn)).await {
                return;
            }
        }
    }
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
            if worker.is_draining() || conn.open.slot.index.get().is_none() {
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
            Some(None) => return false,
            None => return Box::pin(close_idle(conn, close_timeout)).await,
        }
    }
}

/// Lets what is queued go out before an idle connection is closed.
async fn close_idle(conn: &Downstream, timeout: Duration) -> bool {
    if conn.stream.unsent() > 0 {
        let _ = rt::timeout_at(rt::now() + timeout, conn.stream.sent()).await;
    }
    false
}

/// Requests, one after the other, for as long as they keep coming. `true`: the connection is idle again.
async fn busy(worker: &Rc<Worker>, conn: &mut Downstream) -> bool {
    let mut request = RequestHead::default();
    let mut response = ResponseHead::default();
    loop {
        let view = worker.view();
        let Some((listener, config)) = conn.listener(&view) else { return false };
        let started = rt::now();
        let next = match read_head(conn, &config.limits, &mut request, started).await {
            HeadRead::Complete(bytes) => {
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
            HeadRead::Closed => return false,
        };
        match next {
            Next::KeepAlive => {}
            // RFC 9112 section 9.6: a client that did not ask for the close may have sent more by now, and closing
            // over unread bytes makes the kernel reset the response away.
            Next::Close if request.keep_alive => {
                linger(conn, config.limits.response_body_timeout).await;
                return false;
            }
            Next::Close => {
                let _ =
                    rt::timeout_at(rt::now() + config.limits.response_body_timeout, conn.stream.sent()).await;
                return false;
            }
            Next::Linger => {
                Box::pin(linger(conn, config.limits.response_body_timeout)).await;
                return false;
            }
            Next::Gone => return false,
        }
        drop(view);
        if conn.unread.is_none() && !stays_warm(worker, conn).await {
            return true;
        }
    }
}

/// Waits a little for the next request. `false`: none came (or the connection ended, which the idle form sees).
async fn stays_warm(worker: &Worker, conn: &mut Downstream) -> bool {
    conn.timer.arm(rt::now() + WARM);
    let chunk = poll_fn(|cx| {
        if worker.is_draining() || conn.open.slot.index.get().is_none() {
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
            Fed::Invalid(error, bytes) => {
                let failure = Failure { reason: reason_of(error), detail: error.to_string() };
                Some(HeadRead::Refused(failure, bytes))
            }
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

fn reason_of(error: RequestError) -> Reason {
    match error {
        RequestError::HeadTooLarge => Reason::HeadTooLarge,
        RequestError::TooManyFields => Reason::TooManyFields,
        RequestError::TargetTooLong => Reason::TargetTooLong,
        RequestError::UnknownExpectation => Reason::ExpectationFailed,
        _ => Reason::BadRequest,
    }
}

/// Closes so that the client sees the answer although it was still sending.
async fn linger(conn: &mut Downstream, send_timeout: Duration) {
    conn.unread = None;
    if !matches!(rt::timeout_at(rt::now() + send_timeout, conn.stream.sent()).await, Ok(Ok(()))) {
        conn.stream.reset_on_close();
        return;
    }
    conn.stream.shutdown_write();
    let mut discarded = 0;
    let discard = async {
        while discarded < LINGER_BYTES_MAX {
            match conn.stream.recv().await {
                Ok(chunk) if !chunk.is_empty() => discarded += chunk.len(),
                _ => return,
            }
        }
    };
    let _ = rt::timeout_at(rt::now() + LINGER_TIMEOUT, discard).await;
}

fn owes_proxy_header(conn: &Downstream, worker: &Worker) -> bool {
    let view = worker.view();
    let Some((_, config)) = conn.listener(&view) else { return false };
    conn.peer.is_some_and(|peer| config.proxy_protocol_from.iter().any(|block| block.contains(peer.ip())))
}

/// Reads the PROXY protocol header that must come first. `false`: there was none that can be believed.
async fn receive_proxy_header(worker: &Worker, conn: &mut Downstream) -> bool {
    let Some(limits) = conn.limits(worker) else { return false };
    let deadline = rt::now() + limits.header_timeout;
    let mut bytes = Vec::new();
    loop {
        let Ok(Ok(chunk)) = rt::timeout_at(deadline, conn.stream.recv()).await else { return false };
        if chunk.is_empty() {
            return false;
        }
        bytes.extend_from_slice(&chunk);
        match proxy_protocol::parse(&bytes) {
            Ok(proxy_protocol::Parsed::Complete(header)) => {
                // The header was incomplete without this chunk, so what follows it lies inside the chunk.
                let beyond = bytes.len().saturating_sub(header.bytes);
                let rest = chunk.slice(chunk.len().saturating_sub(beyond)..chunk.len());
                conn.unread = (!rest.is_empty()).then_some(rest);
                conn.named = header.addresses.map(|addresses| Box::new(addresses.source));
                return true;
            }
            Ok(proxy_protocol::Parsed::NeedMore) => {}
            Err(_) => return false,
        }
    }
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
        let busy = future_bytes(busy);
        assert!(idle <= 320, "idle: {idle} bytes");
        assert!(busy <= 2048, "busy: {busy} bytes");
    }
}
