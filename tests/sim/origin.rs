//! The model origin: finds the plan of each request by its id, checks the request and answers as planned.

use std::rc::Rc;

use ringway_core::io::{self as rt, Listener, Stream};

use crate::peer::{End, Head, Reader, encode, send};
use crate::plan::{Body, Exchange, Fail, OriginEnd, body_of};
use crate::world::World;

/// Accepts until the run is over.
pub async fn run(world: Rc<World>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok((fd, _)) => {
                let world = Rc::clone(&world);
                rt::spawn(async move {
                    if let Ok(stream) = Stream::from_fd(fd) {
                        serve(&world, &stream).await;
                    }
                });
            }
            Err(error) => world.violation(format!("the origin cannot accept: {error}")),
        }
    }
}

async fn serve(world: &World, stream: &Stream) {
    let mut reader = Reader::new(stream);
    let mut served = 0;
    loop {
        let head = match reader.head().await {
            Ok(head) => head,
            Err(End::Invalid(what)) => return world.violation(format!("the origin got {what}")),
            Err(End::Early) => return world.expect_foul(|| "the origin got a part of a head".to_owned()),
            Err(_) => return,
        };
        let id: u64 = head.get("x-id").and_then(|id| id.parse().ok()).unwrap_or(0);
        let Some(exchange) = world.plan.exchanges.get(&id) else {
            return world.violation(format!("the origin got a request of nobody: {head:?}"));
        };
        check_head(world, exchange, &head);
        world.reached_origin(id, served > 0);
        served += 1;
        match answer(world, stream, &mut reader, exchange, &head).await {
            Ok(true) => {}
            _ => return,
        }
    }
}

fn check_head(world: &World, exchange: &Exchange, head: &Head) {
    let id = exchange.id;
    let line = format!("{} /{id} HTTP/1.1", exchange.request.method);
    world.check(head.line == line, || format!("{id}: the origin got {:?}", head.line));
    world.check(head.get("host") == Some("sim"), || format!("{id}: host {:?}", head.get("host")));
    // A bad chunk can be met only behind a good head.
    let refused = exchange.request.refused;
    world.check(refused.is_none() || refused == Some(crate::plan::Refused::BadChunk), || {
        format!("{id}: a refused request reached the origin: {refused:?}")
    });
}

/// Answers one request. `false`: the connection is over.
async fn answer(
    world: &World,
    stream: &Stream,
    reader: &mut Reader<'_>,
    exchange: &Exchange,
    head: &Head,
) -> Result<bool, End> {
    let plan = &exchange.response;
    if exchange.request.upgrade {
        return tunnel(stream, reader, exchange).await;
    }
    if head.get("expect").is_some() && !plan.early {
        let _ = stream.send(&b"HTTP/1.1 100 Continue\r\n\r\n"[..]);
    }
    if !plan.early {
        request_body(world, reader, exchange, head).await?;
    }
    rt::sleep_until(rt::now() + plan.delay).await;
    if !respond(world, stream, exchange).await {
        return Ok(false);
    }
    if plan.early {
        request_body(world, reader, exchange, head).await?;
    }
    match plan.end {
        OriginEnd::KeepAlive => Ok(true),
        OriginEnd::Close => {
            // A close with unread bytes would be a reset: what is still on its way comes first.
            stream.shutdown_write();
            let _ = reader.until_close().await;
            Ok(false)
        }
        OriginEnd::SilentClose(after) => {
            rt::sleep_until(rt::now() + after).await;
            Ok(false)
        }
    }
}

async fn request_body(
    world: &World,
    reader: &mut Reader<'_>,
    exchange: &Exchange,
    head: &Head,
) -> Result<(), End> {
    let id = exchange.id;
    let body = if head.is_chunked() {
        reader.chunked().await
    } else {
        reader.exact(head.length().unwrap_or(0)).await
    };
    match body {
        Ok(body) => {
            let whole = body == body_of(id, false, exchange.request.body.len());
            world.check(whole, || format!("{id}: the origin got a wrong body of {} bytes", body.len()));
            Ok(())
        }
        Err(End::Invalid(what)) => {
            world.violation(format!("{id}: the origin got {what}"));
            Err(End::Early)
        }
        Err(end) => Err(end),
    }
}

/// Sends the planned response, and breaks it as planned. `false`: the connection is over.
async fn respond(world: &World, stream: &Stream, exchange: &Exchange) -> bool {
    let (id, plan) = (exchange.id, &exchange.response);
    let mut bytes = Vec::new();
    for _ in 0..plan.interim {
        bytes.extend_from_slice(format!("HTTP/1.1 103 Early Hints\r\nx-id: {id}\r\n\r\n").as_bytes());
    }
    let (framing, body) = encode(&plan.body, &body_of(id, true, plan.body.len()), plan.trailers);
    let close = if plan.end == OriginEnd::Close { "connection: close\r\n" } else { "" };
    bytes.extend_from_slice(
        format!("HTTP/1.1 {} Planned\r\nx-id: {id}\r\n{framing}{close}\r\n", plan.status).as_bytes(),
    );
    if exchange.request.method != "HEAD" {
        bytes.extend_from_slice(&body);
    }
    match plan.fail {
        Fail::None => {}
        Fail::CloseBeforeHead => return false,
        Fail::ResetBeforeHead => {
            stream.reset_on_close();
            return false;
        }
        Fail::CloseAfter(at) => {
            bytes.truncate(at);
            if !bytes.is_empty() {
                world.began_response(id);
            }
            let _ = send(stream, bytes).await;
            return false;
        }
        // The reset may overtake the bytes.
        Fail::ResetAfter(at) => {
            bytes.truncate(at);
            let _ = send(stream, bytes).await;
            stream.reset_on_close();
            return false;
        }
        Fail::Garbage => bytes = format!("HTTP/1.1 200\nx-id: {id}\r\n\r\n").into_bytes(),
        Fail::BadChunk => {
            if let Body::Chunked(_) = plan.body {
                bytes =
                    format!("HTTP/1.1 {} Planned\r\nx-id: {id}\r\n{framing}\r\n-5\r\nhello\r\n", plan.status)
                        .into_bytes();
            }
        }
        Fail::Silent => {
            let _ = stream.recv().await;
            return false;
        }
        Fail::Extra => {
            bytes.extend_from_slice(b"HTTP/1.1 200 Smuggled\r\nx-id: 0\r\ncontent-length: 0\r\n\r\n")
        }
    }
    if !bytes.is_empty() {
        world.began_response(id);
    }
    for piece in bytes.chunks(10_000) {
        if send(stream, piece.to_vec()).await.is_err() {
            return false;
        }
    }
    true
}

/// Switches protocols and echoes until the other side ends.
async fn tunnel(stream: &Stream, reader: &mut Reader<'_>, exchange: &Exchange) -> Result<bool, End> {
    let id = exchange.id;
    let head =
        format!("HTTP/1.1 101 Switching\r\nx-id: {id}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    send(stream, head.into_bytes()).await.map_err(|_| End::Reset)?;
    reader.echo().await?;
    stream.shutdown_write();
    let _ = stream.recv().await;
    Ok(false)
}
