//! The model client: sends what the plan says and checks every byte that comes back.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringway_core::io::{self as rt, Stream};

use crate::peer::{End, Head, Reader, Signal, encode, send};
use crate::plan::{Body, ClientEnd, Connection, Exchange, Fail, Refused, Weather, body_of};
use crate::world::{PROXY, World};

/// How long a client waits for anything before it takes the proxy to hang.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a client waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client waits for 100 (Continue).
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// How one exchange ended for the client.
enum Got {
    /// A whole response; whether the connection stays.
    Response { stays: bool },
    /// The connection ended before the response did.
    Cut(End, &'static str),
    /// The connection ended as it should.
    Over,
}

struct Progress {
    /// Final responses read.
    answered: Signal,
    /// One more than the position of the exchange whose body may be sent.
    go_on: Signal,
    /// The writer has nothing left to do.
    written: Signal,
}

pub async fn run(world: Rc<World>, index: usize) {
    let connection = &world.plan.connections[index];
    rt::sleep_until(rt::now() + connection.start).await;
    let proxy = PROXY.into();
    let connecting = Stream::connect(&proxy);
    let Ok(Ok(stream)) = rt::timeout_at(rt::now() + CONNECT_TIMEOUT, connecting).await else {
        world.expect_foul(|| format!("connection {index}: the proxy did not accept it"));
        return;
    };
    let progress =
        Progress { answered: Signal::default(), go_on: Signal::default(), written: Signal::default() };
    let mut writing = pin!(write(&world, &stream, connection, &progress));
    let mut reading = pin!(read(&world, &stream, connection, &progress));
    let mut written = false;
    let both = poll_fn(|cx| {
        if !written && writing.as_mut().poll(cx).is_ready() {
            written = true;
            progress.written.raise(1);
        }
        reading.as_mut().poll(cx)
    });
    if rt::timeout_at(rt::now() + PATIENCE, both).await.is_err() {
        world.violation(format!("connection {index}: nothing came for {PATIENCE:?}"));
    }
    if matches!(connection.end, ClientEnd::Reset(_)) {
        stream.reset_on_close();
    }
}

async fn write(world: &World, stream: &Stream, connection: &Connection, progress: &Progress) {
    let mut left = match connection.end {
        ClientEnd::Stall(bytes) | ClientEnd::Truncate(bytes) => bytes,
        _ => usize::MAX,
    };
    for (position, id) in connection.exchanges.iter().enumerate() {
        let exchange = &world.plan.exchanges[id];
        if !connection.pipelined || exchange.request.upgrade {
            progress.answered.reaches(position as u64).await;
        }
        let (mut head, mut body) = render(exchange);
        if !exchange.request.expect && id % 2 == 0 {
            head.append(&mut body);
        }
        world.sent_by_client(*id);
        if !send_part(stream, head, &mut left).await {
            break;
        }
        if exchange.request.expect {
            let go_on = progress.go_on.reaches(position as u64 + 1);
            let _ = rt::timeout_at(rt::now() + CONTINUE_TIMEOUT, go_on).await;
        }
        if !send_part(stream, body, &mut left).await {
            break;
        }
    }
    match connection.end {
        ClientEnd::HalfClose => stream.shutdown_write(),
        ClientEnd::Truncate(_) if left == 0 => stream.shutdown_write(),
        _ => {}
    }
}

/// Sends in pieces of up to 16 KiB. `false`: the connection or the client is at its end.
async fn send_part(stream: &Stream, mut bytes: Vec<u8>, left: &mut usize) -> bool {
    bytes.truncate(*left);
    *left = left.saturating_sub(bytes.len());
    for piece in bytes.chunks(16 * 1024) {
        if send(stream, piece.to_vec()).await.is_err() {
            return false;
        }
    }
    *left > 0
}

/// Head and body of a request.
fn render(exchange: &Exchange) -> (Vec<u8>, Vec<u8>) {
    let Exchange { id, request, .. } = exchange;
    let bytes = body_of(*id, false, request.body.len());
    let (framing, body) = encode(&request.body, &bytes, id % 3 == 0);
    let version = if request.http10 { "1.0" } else { "1.1" };
    let mut head = format!("{} /{id} HTTP/{version}\r\nhost: sim\r\nx-id: {id}\r\n{framing}", request.method);
    if request.expect {
        head.push_str("expect: 100-continue\r\n");
    }
    if request.close && !request.http10 {
        head.push_str("connection: close\r\n");
    }
    if request.upgrade {
        head.push_str("connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n");
        head.push_str("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    }
    match request.refused {
        None => {}
        Some(Refused::BothLengths) => {
            head = format!(
                "POST /{id} HTTP/1.1\r\nhost: sim\r\nx-id: {id}\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n"
            );
        }
        Some(Refused::BadChunk) => {
            head =
                format!("POST /{id} HTTP/1.1\r\nhost: sim\r\nx-id: {id}\r\ntransfer-encoding: chunked\r\n");
            return (format!("{head}\r\n").into_bytes(), b"zz\r\nhello\r\n0\r\n\r\n".to_vec());
        }
        Some(Refused::NoHost) => head = format!("GET /{id} HTTP/1.1\r\nx-id: {id}\r\n"),
        Some(Refused::BareLf) => head = format!("GET /{id} HTTP/1.1\r\nhost: sim\nx-id: {id}\r\n"),
        Some(Refused::Connect) => head = "CONNECT sim:1 HTTP/1.1\r\nhost: sim:1\r\n".to_owned(),
        Some(Refused::TwoLengths) => {
            head = format!(
                "POST /{id} HTTP/1.1\r\nhost: sim\r\nx-id: {id}\r\ncontent-length: 1\r\ncontent-length: 2\r\n"
            );
        }
    }
    head.push_str("\r\n");
    (head.into_bytes(), body)
}

async fn read(world: &World, stream: &Stream, connection: &Connection, progress: &Progress) {
    let mut reader = Reader::slow(stream, connection.read_pause);
    if let ClientEnd::Reset(bytes) = connection.end {
        reader.received_max = bytes;
    }
    let (mut announced, mut excused) = (false, false);
    for (position, id) in connection.exchanges.iter().enumerate() {
        let exchange = &world.plan.exchanges[id];
        match response(world, &mut reader, stream, exchange, position, progress).await {
            Got::Response { stays } => {
                progress.answered.raise(position as u64 + 1);
                if !stays {
                    announced = true;
                    break;
                }
            }
            Got::Cut(end, place) => {
                if !excused || matches!(end, End::Invalid(_)) {
                    cut(world, exchange, &end, place);
                }
                return;
            }
            Got::Over => return,
        }
        // An answer before the end of the request ends the connection (RFC 9112 section 9.5).
        excused |= exchange.response.early;
    }
    if announced {
        if connection.exchanges.iter().any(|id| world.plan.exchanges[id].request.method == "HEAD")
            && matches!(connection.end, ClientEnd::Stall(_) | ClientEnd::Truncate(_))
        {
            // What never became a request cannot be known as HEAD: its refusal has a body.
            return;
        }
        // What was announced has to happen, and nothing may come before it.
        match reader.nothing().await {
            Ok(()) | Err(End::Reset | End::GaveUp) => {}
            Err(end) => world.violation(format!("behind the last response: {end:?}")),
        }
        return;
    }
    progress.written.reaches(1).await;
    if connection.end == ClientEnd::HalfClose {
        match reader.nothing().await {
            Ok(()) => {}
            Err(End::Reset) => world.expect_foul(|| "a half-closed connection was reset".to_owned()),
            Err(end) => world.violation(format!("after a half-close: {end:?}")),
        }
    }
}

async fn response(
    world: &World,
    reader: &mut Reader<'_>,
    stream: &Stream,
    exchange: &Exchange,
    position: usize,
    progress: &Progress,
) -> Got {
    let id = exchange.id;
    let head = loop {
        let head = match reader.head().await {
            Ok(head) => head,
            Err(end) => return Got::Cut(end, "before the head"),
        };
        match head.status() {
            100 => progress.go_on.raise(position as u64 + 1),
            101 if exchange.request.upgrade => return tunnel(world, reader, stream, exchange).await,
            103 => world.check(head.get("x-id") == Some(&id.to_string()), || format!("{id}: a foreign 103")),
            102 | 104..200 => world.violation(format!("{id}: {}", head.line)),
            _ => break head,
        }
    };
    progress.go_on.raise(position as u64 + 1);
    match head.get("x-ringway-reason") {
        Some(_) => local_reply(world, reader, exchange, &head).await,
        None => forwarded(world, reader, exchange, &head).await,
    }
}

/// The connection ended in an exchange.
fn cut(world: &World, exchange: &Exchange, end: &End, place: &str) {
    let id = exchange.id;
    match end {
        End::Invalid(what) => world.violation(format!("{id}: {what} {place}")),
        End::GaveUp => {}
        _ => world.expect_foul(|| format!("{id}: {end:?} {place}")),
    }
}

/// A response of the proxy's own.
async fn local_reply(world: &World, reader: &mut Reader<'_>, exchange: &Exchange, head: &Head) -> Got {
    let id = exchange.id;
    let reason = head.get("x-ringway-reason").unwrap_or_default().to_owned();
    // A connection that is refused is refused before its request is read.
    let unread = matches!(reason.as_str(), "connection_limit" | "client_connection_limit");
    let bodiless = exchange.request.method == "HEAD" && !unread;
    let length = if bodiless { 0 } else { head.length().unwrap_or(0) };
    if let Err(end) = reader.exact(length).await {
        return Got::Cut(end, "in a local reply");
    }
    world.answered(exchange.id, head.status(), Some(&reason));
    match exchange.request.refused {
        Some(refused) if head.status() == refused.status() => {}
        // An origin may close a kept-alive connection at any time, and this request must not be sent twice.
        _ if matches!(reason.as_str(), "upstream_closed" | "upstream_reset") && !may_repeat(exchange) => {}
        _ => world.expect_foul(|| format!("{id}: a local reply {} {reason}", head.status())),
    }
    Got::Response { stays: !head.closes() && !exchange.request.http10 }
}

/// Whether a request can be sent again when its connection turns out to be dead.
fn may_repeat(exchange: &Exchange) -> bool {
    exchange.request.method != "POST" && exchange.request.body == Body::None
}

/// A response of the origin: it must be the planned one, to the byte, or be cut.
async fn forwarded(world: &World, reader: &mut Reader<'_>, exchange: &Exchange, head: &Head) -> Got {
    let (id, plan) = (exchange.id, &exchange.response);
    world.check(exchange.request.refused.is_none(), || format!("{id}: a refused request was answered"));
    world.check(head.get("x-id") == Some(&id.to_string()), || format!("{id}: a foreign response {head:?}"));
    world.check(head.status() == plan.status, || format!("{id}: {} instead of {}", head.line, plan.status));
    world.check(plan.fail != Fail::Garbage, || format!("{id}: garbage was forwarded"));
    let expected = body_of(id, true, plan.body.len());
    let bodiless = exchange.request.method == "HEAD" || matches!(plan.status, 204 | 304);
    let mut until_close = false;
    let body = if bodiless {
        Ok(Vec::new())
    } else if head.is_chunked() {
        world.check(!exchange.request.http10, || format!("{id}: chunks for HTTP/1.0"));
        reader.chunked().await
    } else if let Some(length) = head.length() {
        reader.exact(length).await
    } else {
        until_close = true;
        reader.until_close().await
    };
    let body = match body {
        Ok(body) => body,
        Err(end) => return Got::Cut(end, "in the body"),
    };
    // An origin that closes early is found out, unless its body ends by the close anyway.
    let may_be_short = matches!(plan.fail, Fail::CloseAfter(_)) && matches!(plan.body, Body::UntilClose(_));
    let whole = bodiless || body == expected || (may_be_short && expected.starts_with(&body));
    world.check(whole, || {
        format!("{id}: {} of {} body bytes, until close: {until_close}", body.len(), expected.len())
    });
    world.answered(id, head.status(), None);
    Got::Response { stays: !head.closes() && !exchange.request.http10 && !until_close }
}

/// An echo in a tunnel, ended by us.
async fn tunnel(world: &World, reader: &mut Reader<'_>, stream: &Stream, exchange: &Exchange) -> Got {
    let id = exchange.id;
    world.answered(id, 101, None);
    let bytes = body_of(id, false, 20_000);
    let sending = async {
        for piece in bytes.chunks(3_000) {
            send(stream, piece.to_vec()).await?;
        }
        stream.shutdown_write();
        std::io::Result::Ok(())
    };
    let mut sending = pin!(sending);
    let mut sent = false;
    let mut reading = pin!(reader.until_close());
    let echo = poll_fn(|cx| {
        if !sent && let Poll::Ready(_) = sending.as_mut().poll(cx) {
            sent = true;
        }
        reading.as_mut().poll(cx)
    })
    .await;
    match echo {
        Ok(echo) if world.plan.weather == Weather::Fair => {
            world.check(echo == bytes, || {
                format!("{id}: the tunnel echoed {} of {} bytes", echo.len(), bytes.len())
            });
        }
        Ok(echo) => world.check(bytes.starts_with(&echo), || format!("{id}: the tunnel mixed bytes up")),
        Err(end) => return Got::Cut(end, "in the tunnel"),
    }
    Got::Over
}
