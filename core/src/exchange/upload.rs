//! The request body, from the client to the origin.
//!
//! Always relayed by reference, never by splice(2): a splice takes both sockets into non-blocking mode, in which the
//! ring cannot wait for the response that an origin may send before it has read the whole request.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use ringway_protocols::http1::{BodyDecoder, BodyError};
use ringway_protocols::message::BodyLength;

use super::{Exchange, Failure, add, failure_of};
use crate::config::ClusterConfig;
use crate::error::Reason;
use crate::io::{self as rt, Chunk, Part, Parts, Timer};
use crate::relay::{self, Stalled};
use crate::transport::Transport;

/// Sends a request body piece by piece, each passed on by reference.
pub(super) struct Upload {
    decoder: BodyDecoder,
    done: bool,
}

/// Why an upload ended early.
pub(super) enum UploadError {
    /// The origin takes no more. It may have answered all the same.
    Upstream,
    Client(Failure),
}

impl Upload {
    pub(super) fn new(exchange: &Exchange<'_>) -> Self {
        let body = exchange.head.body;
        let decoder = BodyDecoder::new(body, &relay::trailer_limits(&exchange.listener.limits));
        Upload { decoder, done: body == BodyLength::Empty }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Sends the head together with what has come in of the body. `false`: the origin takes nothing.
    ///
    /// # Errors
    /// When what has come in breaks the framing: then nothing at all is sent.
    pub(super) fn begin(
        &mut self,
        exchange: &Exchange<'_>,
        up: &Transport,
        head: Vec<u8>,
    ) -> Result<bool, Failure> {
        add(&exchange.record.wire.to_origin, head.len());
        let mut parts = Parts::from(head);
        // Taken first: a borrow in the condition would last through the block, which puts back what is not the body.
        let unread = if self.done { None } else { exchange.take_unread() };
        if let Some(chunk) = unread {
            let run = self.take(exchange, chunk)?;
            if !run.is_empty() {
                parts = parts.and(Part::Chunk(run));
            }
        }
        Ok(up.send(parts).is_ok())
    }

    /// Sends the rest of the body.
    pub(super) async fn run(
        &mut self,
        exchange: &Exchange<'_>,
        down: &Transport,
        up: &Transport,
        cluster: &ClusterConfig,
    ) -> Result<(), UploadError> {
        let timer = Timer::new();
        let limits = &exchange.listener.limits;
        while !self.done {
            let window = exchange.worker.window();
            let deadline = exchange.deadline.get();
            match relay::room(up, &timer, window, cluster.response_head_timeout, deadline).await {
                Ok(()) => {}
                Err(Stalled::Closed(_)) => return Err(UploadError::Upstream),
                Err(Stalled::NoProgress) => {
                    return Err(UploadError::Client(Reason::ResponseHeadTimeout.into()));
                }
                Err(Stalled::Deadline) => return Err(UploadError::Client(Reason::RequestTimeout.into())),
            }
            timer.arm(exchange.until(rt::now() + limits.request_body_timeout));
            let chunk = receive(exchange, down, &timer).await?;
            exchange.body_taken.set(true);
            let run = self.take(exchange, chunk).map_err(UploadError::Client)?;
            if !run.is_empty() && up.send(run).is_err() {
                return Err(UploadError::Upstream);
            }
        }
        Ok(())
    }

    /// What of `chunk` belongs to this body. The rest is the next request and goes back to the connection.
    fn take(&mut self, exchange: &Exchange<'_>, mut chunk: Chunk) -> Result<Chunk, Failure> {
        let run = relay::take_run(&mut self.decoder, &mut chunk).map_err(refused)?;
        self.done = self.decoder.is_done();
        if !chunk.is_empty() {
            *exchange.unread.borrow_mut() = Some(chunk);
        }
        let sum = &exchange.record.request_body_bytes;
        add(sum, run.data_bytes);
        if sum.get() > exchange.request_bytes_max() {
            return Err(Reason::BodyTooLarge.into());
        }
        add(&exchange.record.wire.from_client, run.bytes.len());
        add(&exchange.record.wire.to_origin, run.bytes.len());
        Ok(run.bytes)
    }
}

fn refused(error: BodyError) -> Failure {
    Failure { reason: Reason::BadRequest, detail: error.to_string() }
}

async fn receive(exchange: &Exchange<'_>, down: &Transport, timer: &Timer) -> Result<Chunk, UploadError> {
    let received: Option<io::Result<Chunk>> = poll_fn(|cx| {
        if let Poll::Ready(received) = down.poll_recv(cx) {
            return Poll::Ready(Some(received));
        }
        timer.poll_expired(cx).map(|()| None)
    })
    .await;
    let failure = match received {
        Some(Ok(chunk)) if !chunk.is_empty() => return Ok(chunk),
        // A body that ends before its length is one that the client gave up (RFC 9112 section 8).
        Some(Ok(_)) => Reason::ClientClosed.into(),
        Some(Err(error)) => failure_of(&error, Reason::ClientClosed),
        None if exchange.is_past_deadline() => Reason::RequestTimeout.into(),
        None => Reason::RequestBodyTimeout.into(),
    };
    Err(UploadError::Client(failure))
}
