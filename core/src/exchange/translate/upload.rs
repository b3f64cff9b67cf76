//! The body of a request, from the client to the origin, where HTTP/2 is spoken on some side.

use std::future::poll_fn;
use std::task::Poll;

use ringway_protocols::http1::BodyDecoder;

use super::request_body::RequestBody;
use super::sink::{Sink, SinkError};
use super::source::{Source, SourceError};
use super::{Client, Cut, Exchange, Failure, Passage, add, failure_of, framing};
use crate::config::ClusterConfig;
use crate::error::Reason;
use crate::http2::BodyPiece;
use crate::io::{self as rt, Timer};
use crate::relay;
use crate::upstream::Origin;

impl<'a> Exchange<'a> {
    /// The request body, from the client to the origin.
    pub(super) async fn upload(
        &self,
        origin: &Origin,
        cluster: &ClusterConfig,
        timer: &Timer,
        body: Option<&mut RequestBody<'a>>,
    ) -> Result<(), Cut> {
        let Some(body) = body else { return Ok(()) };
        let sink = match origin {
            Origin::Http1(upstream) => Sink::Http1 {
                stream: &upstream.stream,
                framing: framing(self.head.body),
                window: self.worker.window(),
            },
            Origin::Http2(origin) => Sink::Http2(&origin.stream),
        };
        let to_origin = Passage { sink, timeout: cluster.response_head_timeout, timer };
        let wire = &self.record.wire.to_origin;
        // What an earlier attempt sent goes first. Its sender has been told already that it was consumed.
        for piece in body.replayed() {
            if self.pass_on(&to_origin, None, piece, wire).await? {
                self.mirror_body(body);
                return Ok(());
            }
        }
        let max = self.request_bytes_max();
        let timeout = self.silence(self.listener.limits.request_body_timeout);
        loop {
            let mut waits = false;
            let piece = poll_fn(|cx| {
                if let Poll::Ready(piece) = body.source.poll_piece(cx) {
                    return Poll::Ready(piece.map_err(Cut::Source));
                }
                if !std::mem::replace(&mut waits, true) {
                    timer.arm(self.until(rt::now() + timeout));
                }
                timer.poll_expired(cx).map(|()| Err(Cut::SourceStalled))
            })
            .await?;
            if let BodyPiece::Data(data, _) = &piece {
                add(&self.record.request_body_bytes, data.len());
                if self.record.request_body_bytes.get() > max {
                    return Err(Cut::TooLarge);
                }
            }
            let (piece, received) = self.request_piece(piece)?;
            if !body.keep(&piece) {
                self.body_taken.set(true);
            }
            let from = received.is_none().then_some(&body.source);
            let ended = self.pass_on(&to_origin, from, piece, wire).await?;
            if let Some(received) = received {
                body.source.consumed(received);
            }
            if ended {
                self.mirror_body(body);
                return Ok(());
            }
        }
    }

    /// Where the request body comes from.
    pub(super) fn request_source(&self) -> Source<'a> {
        match self.client {
            Client::Http1(stream) => {
                let limits = relay::trailer_limits(&self.listener.limits);
                Source::http1(stream, BodyDecoder::new(self.head.body, &limits), self.take_unread())
            }
            Client::Http2(stream) => Source::Http2(stream),
        }
    }

    /// What came behind the body is the next request of the connection.
    pub(super) fn end_request_body(&self, body: &mut RequestBody<'_>) {
        let (rest, received) = body.source.take_rest();
        add(&self.record.wire.from_client, received as usize);
        if rest.is_some() {
            *self.unread.borrow_mut() = rest;
        }
    }

    /// A piece of the request as it is sent on, and how long it was where its length has changed.
    fn request_piece(&self, piece: BodyPiece) -> Result<(BodyPiece, Option<usize>), Cut> {
        let Some(call) = &self.call else { return Ok((piece, None)) };
        let bytes = if let BodyPiece::Data(data, _) = &piece { data.len() } else { 0 };
        let piece = call.request_piece(piece).map_err(|_| Cut::NotBase64)?;
        let after = if let BodyPiece::Data(data, _) = &piece { data.len() } else { 0 };
        Ok((piece, (after != bytes).then_some(bytes)))
    }

    pub(super) fn upload_failure(&self, cut: Cut) -> Failure {
        match cut {
            Cut::Source(SourceError::Malformed(error)) => {
                Failure { reason: Reason::BadRequest, detail: error.to_string() }
            }
            Cut::Source(SourceError::Io(error)) => failure_of(&error, Reason::ClientClosed),
            Cut::Source(SourceError::Stream(error)) if error.is_memory_limit() => Reason::MemoryLimit.into(),
            Cut::Source(SourceError::Truncated | SourceError::Stream(_)) | Cut::ClientGone => {
                Reason::ClientClosed.into()
            }
            Cut::SourceStalled => self.timed_out(Reason::RequestBodyTimeout),
            Cut::TooLarge => Reason::BodyTooLarge.into(),
            Cut::Encoder => Reason::Internal.into(),
            Cut::NotBase64 => {
                Failure { reason: Reason::BadRequest, detail: "the body is not base64".to_owned() }
            }
            Cut::Sink(SinkError::NoProgress) => Reason::ResponseHeadTimeout.into(),
            Cut::Sink(SinkError::Deadline) => Reason::RequestTimeout.into(),
            Cut::Sink(SinkError::Io(_) | SinkError::Stream) => Reason::UpstreamClosed.into(),
        }
    }
}
