//! Exchanges in which HTTP/2 is spoken on at least one side: one relay for all of them.
//!
//! Heads have one format whatever they came in, so that translation is a matter of how they are written. Bodies pass as
//! pieces of data; a piece counts as consumed, and opens its sender's window, only once the other side has accepted it.

mod answer;
mod download;
mod encode;
mod hedge;
mod mirror;
mod request_body;
mod sink;
mod source;
mod switch;
mod upload;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringway_policies::retry::Event;
use ringway_protocols::grpc::Status;
use ringway_protocols::http1::ConnectionField;
use ringway_protocols::http2::ErrorCode;
use ringway_protocols::message::{BodyLength, ResponseHead};

use super::attempt::AttemptError;
use super::{Client, Exchange, Failure, Next, add, failure_of};
use crate::config::RouteConfig;
use crate::error::Reason;
use crate::http2::{BodyPiece, StreamError};
use crate::io::{self as rt, Timer};
use crate::upstream::{Cluster, Origin};
pub(super) use request_body::RequestBody;
use sink::{Framing, Sink, SinkError};
use source::{Source, SourceError};
use switch::Key;

/// Attempts at a request that origins say they did nothing with. Each is another stream, mostly on another connection.
const NOT_PROCESSED_MAX: u32 = 5;

/// How one direction ended early, and by which side.
enum Cut {
    Source(SourceError),
    SourceStalled,
    Sink(SinkError),
    ClientGone,
    TooLarge,
    /// A compressor that has no memory.
    Encoder,
    /// A body of gRPC-Web that cannot be decoded.
    NotBase64,
}

/// The way to the reader of a body.
struct Passage<'a> {
    sink: Sink<'a>,
    /// Longest time without progress that is the reader's fault.
    timeout: Duration,
    timer: &'a Timer,
}

impl<'a> Exchange<'a> {
    /// One attempt at an exchange, whatever the two sides speak. `body` lasts over all attempts.
    pub(super) async fn translate(
        &self,
        origin: Origin,
        body: &mut Option<Box<RequestBody<'a>>>,
        cluster: &Cluster,
        route: &RouteConfig,
        response: &mut ResponseHead,
    ) -> Result<Next, AttemptError> {
        if let Some(call) = &self.call {
            call.begin(matches!(origin, Origin::Http2(_)));
        }
        let key = self.make_key(route);
        self.send_request(&origin, route, key.as_ref())?;
        let timer = Timer::new();
        let uploads = self.head.body != BodyLength::Empty;
        self.uploaded.set(!uploads);
        if uploads && body.is_none() {
            let kept = self.kept_body_bytes();
            *body = Some(Box::new(RequestBody::new(self.request_source(), kept)));
        }
        let result = {
            // Most requests have no body: theirs is not to be the size of those that have.
            let mut uploading =
                uploads.then(|| Box::pin(self.upload(&origin, &cluster.config, &timer, body.as_deref_mut())));
            let mut download = pin!(self.receive(&origin, &cluster.config, route, response, key.as_ref()));
            poll_fn(|cx| {
                if let Some(upload) = &mut uploading
                    && let Poll::Ready(result) = upload.as_mut().poll(cx)
                {
                    uploading = None;
                    match result {
                        Ok(()) => self.uploaded.set(true),
                        // The origin may have answered all the same: the download tells.
                        Err(Cut::Sink(SinkError::Io(_) | SinkError::Stream)) => {}
                        Err(cut) => return Poll::Ready(Err(self.upload_failure(cut).into())),
                    }
                }
                download.as_mut().poll(cx)
            })
            .await
        };
        let result = match result.map_err(|error| self.failed_try(self.observed(error))) {
            Err(AttemptError::Failed(failure)) => Err(failure),
            Err(error) => return Err(self.give_up(error, origin, cluster)),
            Ok(ended) => Ok(ended),
        };
        if let Some(mut body) = body.take() {
            self.end_request_body(&mut body);
        }
        let ended = result?;
        Ok(self.conclude(ended, origin, cluster, route).await?)
    }

    fn send_request(
        &self,
        origin: &Origin,
        route: &RouteConfig,
        key: Option<&Key>,
    ) -> Result<(), AttemptError> {
        match origin {
            Origin::Http1(upstream) => {
                let mut out = rt::take_vec();
                match key {
                    Some(key) => {
                        self.with_request_edits(route, |edits| self.write_upgrade(&mut out, key, edits));
                    }
                    None => self.write_request(&mut out, route),
                }
                add(&self.record.wire.to_origin, out.len());
                // A failed send is not the end: the origin may have answered before it closed. The download tells.
                let _ = upstream.stream.send(out);
                Ok(())
            }
            Origin::Http2(origin) => {
                if self.head.extended_connect && !origin.takes_protocol {
                    return Err(Reason::UpgradeRefused.into());
                }
                let end = self.head.body == BodyLength::Empty && !origin.takes_protocol;
                let scheme = if origin.stream.tls().is_some() { "https" } else { "http" };
                let sent = self.with_request_edits(route, |edits| {
                    let mut edits = *edits;
                    if !origin.takes_protocol {
                        edits.connection = ConnectionField::None;
                    }
                    origin.stream.send_request(self.bytes, self.head, &edits, scheme, end)
                });
                add(&self.record.wire.to_origin, self.bytes.len());
                sent.map_err(|error| self.origin_lost(error))
            }
        }
    }

    /// Sends one piece on, as fast as its reader takes it. `true`: it was the last.
    async fn pass_on(
        &self,
        to: &Passage<'_>,
        from: Option<&Source<'_>>,
        piece: BodyPiece,
        wire: &Cell<u64>,
    ) -> Result<bool, Cut> {
        let Passage { sink, timeout, timer } = to;
        let (mut data, end) = match piece {
            BodyPiece::Data(data, end) => (data, end),
            BodyPiece::Trailers(lines) => {
                let sent = sink.finish(&lines);
                rt::give_vec(lines);
                add(wire, sent.map_err(Cut::Sink)?);
                return Ok(true);
            }
            BodyPiece::End => {
                add(wire, sink.finish(b"").map_err(Cut::Sink)?);
                return Ok(true);
            }
        };
        while !data.is_empty() {
            let room = sink.room(timer, data.len(), *timeout, self.deadline.get()).await;
            let room = room.map_err(Cut::Sink)?;
            let part = data.split_to(room.min(data.len()));
            let bytes = part.len();
            add(wire, sink.send(part, end && data.is_empty()).map_err(Cut::Sink)?);
            if let Some(source) = from {
                source.consumed(bytes);
            }
        }
        Ok(end)
    }

    /// What the end of an origin's stream before its response means.
    fn origin_lost(&self, error: StreamError) -> AttemptError {
        let unsent = !self.body_taken.get();
        let refused = error.by_peer && !error.connection_lost;
        if error.safe_to_retry && refused && self.retry_config(|config| config.on.refused_stream) {
            return match self.may_retry(Event::RefusedStream) {
                Some(wait) => AttemptError::Again { wait, clean: false },
                None => AttemptError::Failed(self.stream_failure(error)),
            };
        }
        if error.safe_to_retry && unsent && self.record.attempts.get() < NOT_PROCESSED_MAX {
            return AttemptError::NotProcessed;
        }
        let lost = error.connection_lost && self.record.reused.get() && unsent;
        if lost && self.record.attempts.get() == 1 && self.head.method.is_idempotent() {
            return AttemptError::Stale;
        }
        self.stream_failure(error).into()
    }

    fn stream_failure(&self, error: StreamError) -> Failure {
        if let Some(call) = self.call.as_ref().filter(|_| error.by_peer && !error.connection_lost) {
            call.set_status(Status::of_reset(error.code));
        }
        let reason = match error {
            StreamError { head_refused: true, .. } => Reason::UpstreamHeadTooLarge,
            error if error.is_memory_limit() => Reason::MemoryLimit,
            // Too often, or with more of a body than was kept: the client may send it again, whatever it asks for.
            StreamError { safe_to_retry: true, by_peer: true, .. } => Reason::UpstreamRefused,
            StreamError { connection_lost: true, .. } => Reason::UpstreamClosed,
            StreamError { by_peer: true, .. } => Reason::UpstreamReset,
            // We reset it, because it broke a rule.
            StreamError { .. } => Reason::UpstreamBadResponse,
        };
        Failure { reason, detail: format!("{:?}", error.code) }
    }
}

fn framing(body: BodyLength) -> Framing {
    if body == BodyLength::Chunked { Framing::Chunked } else { Framing::Plain }
}

/// The code that tells an HTTP/2 client why its response was cut off.
pub(super) fn error_code(reason: Reason) -> ErrorCode {
    match reason {
        Reason::ClientSlow | Reason::RequestTimeout => ErrorCode::Cancel,
        Reason::BadRequest => ErrorCode::ProtocolError,
        _ => ErrorCode::InternalError,
    }
}
