//! An exchange whose client speaks HTTP/2.

use std::future::poll_fn;
use std::rc::Rc;

use ringway_protocols::http1::{self, HeadLimits, ResponseEdits};
use ringway_protocols::http2::HeadError;
use ringway_protocols::message::{FieldKind, KindSet, ResponseHead};

use super::{Arrival, Client, Counted, Exchange, Failure, Received, translate};
use crate::error::Reason;
use crate::http2::server::Incoming;
use crate::http2::{ReceivedResponse, StreamHandle};
use crate::io::{self as rt, Chunk, Timer};
use crate::worker::Worker;

/// Bounds of a local reply, which is our own: it is read back to be written in another form.
const REPLY_LIMITS: HeadLimits = HeadLimits { bytes_max: 64 * 1024, fields_max: 64, target_bytes_max: 0 };

/// Runs the exchange of one stream. The stream is given up when this ends.
pub async fn run_stream(worker: Rc<Worker>, incoming: Incoming) {
    let Incoming { stream, request, refused, view, listener: index, client, started, .. } = incoming;
    let Some(listener) = view.config().listeners.get(index) else { return };
    let timer = Timer::new();
    let arrival = Arrival { client: Client::Http2(&stream), timer: &timer, address: client, last: false };
    let received = Received { listener: index, head: &request.head, bytes: &request.bytes, started };
    let exchange = Exchange::new(&worker, &view, listener, arrival, &received, None);
    let counted = Counted::new(&worker, exchange.client);
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
            stream.reset(translate::error_code(reason));
            return;
        }
        if reason == Reason::ClientClosed {
            self.record.status.set(reason.status());
            return;
        }
        self.record.status.set(self.reply_status(reason));
        let reply = self.render_reply(failure, true);
        let body_bytes = self.record.response_body_bytes.get() as usize;
        if http1::parse_response(&reply, &REPLY_LIMITS, self.head.method, response).is_err() {
            // What we write is valid; if it ever were not, the client must not wait for it.
            stream.reset(translate::error_code(Reason::Internal));
            return;
        }
        let (head, body) = reply.split_at(reply.len().saturating_sub(body_bytes));
        // RFC 9113 8.2.2: this field belongs to HTTP/1.
        let drop = KindSet::of(&[FieldKind::Connection]);
        // What has no body but trailers has no length either: it is a response of trailers only.
        let length = KindSet::of(&[FieldKind::ContentLength]);
        let drop = if self.grpc.is_some() { drop.union(length) } else { drop };
        let edits = ResponseEdits { drop, ..ResponseEdits::default() };
        if stream.send_response(head, response, &edits, body.is_empty()).is_err() {
            return;
        }
        let mut rest = Chunk::from(body.to_vec());
        let deadline = rt::now() + self.listener.limits.response_body_timeout;
        while !rest.is_empty() {
            let room = rt::timeout_at(deadline, poll_fn(|cx| stream.poll_capacity(cx, rest.len()))).await;
            let Ok(Ok(room)) = room else { return };
            let part = rest.split_to(room.min(rest.len()));
            if stream.send_data(part, rest.is_empty()).is_err() {
                return;
            }
        }
    }
}
