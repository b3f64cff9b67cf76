//! An exchange whose client speaks HTTP/2.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use ringway_protocols::http1::{self, HeadLimits, ResponseEdits};
use ringway_protocols::http2::HeadError;
use ringway_protocols::message::{FieldKind, KindSet, ResponseHead};

use super::{Arrival, Client, Counted, Exchange, Failure, Next, Received, add, translate};
use crate::error::Reason;
use crate::http2::server::Incoming;
use crate::http2::{ReceivedResponse, StreamHandle};
use crate::io::{self as rt, Chunk, Timer};
use crate::worker::Worker;

/// Bounds of a local reply, which is our own: it is read back to be written in another form.
const REPLY_LIMITS: HeadLimits = HeadLimits { bytes_max: 64 * 1024, fields_max: 64, target_bytes_max: 0 };

/// Runs the exchange of one stream. The stream is given up when this ends.
pub async fn run_stream(worker: &Rc<Worker>, timer: &Timer, incoming: Incoming) {
    let Incoming { stream, request, refused, view, listener: index, client, started } = incoming;
    let Some(listener) = view.config().listeners.get(index) else { return };
    let arrival = Arrival { client: Client::Http2(&stream), timer, address: client, last: false };
    let received = Received { listener: index, head: &request.head, bytes: &request.bytes, started };
    let exchange = Exchange::new(worker, &view, listener, arrival, &received, None);
    let counted = Counted::new(worker, exchange.client);
    let mut response = ReceivedResponse::take();
    let result = match refused {
        Some(error) => Err(refusal(error)),
        None => exchange.proxy_stream(&mut response.head).await,
    };
    if let Err(failure) = result {
        Box::pin(exchange.fail_stream(&stream, failure, &mut response.head)).await;
    }
    exchange.finish();
    counted.done();
}

fn refusal(error: HeadError) -> Failure {
    let reason = match error {
        HeadError::TooLarge => Reason::HeadTooLarge,
        HeadError::TooManyFields => Reason::TooManyFields,
        HeadError::TargetTooLong => Reason::TargetTooLong,
        _ => Reason::BadRequest,
    };
    reason.into()
}

impl Exchange<'_> {
    /// Ends a failed exchange: with a local reply where one can still be sent, else by resetting the stream.
    async fn fail_stream(&self, stream: &StreamHandle, failure: Failure, response: &mut ResponseHead) {
        let reason = failure.reason;
        self.record.reason.set(Some(reason));
        if self.answered.get() {
            if !self.end_call(stream, &failure) {
                stream.reset(translate::error_code(reason));
            }
            return;
        }
        self.record.status.set(self.reply_status(reason));
        if reason == Reason::ClientClosed {
            return;
        }
        let reply = self.render_reply(failure, true);
        let body_bytes = self.record.response_body_bytes.get() as usize;
        self.send_stream_reply(stream, &reply, body_bytes, response).await;
    }

    /// Sends a reply of the proxy's own, rendered for HTTP/1.1, whose body are the last `body_bytes` of it.
    pub(super) async fn send_reply(
        &self,
        reply: Vec<u8>,
        body_bytes: usize,
        response: &mut ResponseHead,
    ) -> Next {
        // "HTTP/1.1 204": the status is what it says.
        let status = reply.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.record.status.set(status.unwrap_or_default());
        match self.client {
            Client::Http2(stream) => {
                self.send_stream_reply(stream, &reply, body_bytes, response).await;
                Next::KeepAlive
            }
            Client::Http1(down) => {
                let whole_request = self.uploaded.get() || self.discard_received_body();
                add(&self.record.wire.to_client, reply.len());
                match down.send(reply) {
                    Ok(()) if whole_request && self.client_stays() => Next::KeepAlive,
                    Ok(()) => Next::Linger,
                    Err(_) => Next::Gone,
                }
            }
        }
    }

    async fn send_stream_reply(
        &self,
        stream: &StreamHandle,
        reply: &[u8],
        body_bytes: usize,
        response: &mut ResponseHead,
    ) {
        let (head, body) = reply.split_at(reply.len().saturating_sub(body_bytes));
        if self.send_reply_head(stream, head, response, body.is_empty()) && !body.is_empty() {
            let deadline = rt::now() + self.listener.limits.response_body_timeout;
            send_body(stream, Chunk::from(body.to_vec()), true, deadline).await;
        }
    }

    /// Sends the head of a reply of the proxy's own. `false`: the stream is gone.
    pub(super) fn send_reply_head(
        &self,
        stream: &StreamHandle,
        head: &[u8],
        response: &mut ResponseHead,
        end: bool,
    ) -> bool {
        if http1::parse_response(head, &REPLY_LIMITS, self.head.method, response).is_err() {
            // What we write is valid; if it ever were not, the client must not wait for it.
            stream.reset(translate::error_code(Reason::Internal));
            return false;
        }
        // RFC 9113 8.2.2: this field belongs to HTTP/1.
        let drop = KindSet::of(&[FieldKind::Connection]);
        // What has no body but trailers has no length either: it is a response of trailers only.
        let length = KindSet::of(&[FieldKind::ContentLength]);
        let drop = if self.call.is_some() { drop.union(length) } else { drop };
        let edits = ResponseEdits { drop, ..ResponseEdits::default() };
        stream.send_response(head, response, &edits, end).is_ok()
    }
}

/// Sends a body of the proxy's own; `end` ends the message. `false`: the stream is gone, or its reader too slow.
pub(super) async fn send_body(stream: &StreamHandle, mut rest: Chunk, end: bool, deadline: Instant) -> bool {
    while !rest.is_empty() {
        let room = rt::timeout_at(deadline, poll_fn(|cx| stream.poll_capacity(cx, rest.len()))).await;
        let Ok(Ok(room)) = room else { return false };
        let part = rest.split_to(room.min(rest.len()));
        if stream.send_data(part, end && rest.is_empty()).is_err() {
            return false;
        }
    }
    true
}
