//! A response, from the origin to the client, where HTTP/2 is spoken on some side.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_policies::compress::{Encode, Encoder};
use ringway_protocols::grpc::Form;
use ringway_protocols::http1::{self, BodyDecoder, ConnectionField, ResponseEdits};
use ringway_protocols::message::{BodyLength, FieldKind, KindSet, ResponseHead, Version};

use super::sink::{Framing, Sink, SinkError};
use super::source::{Source, SourceError};
use super::switch::Key;
use super::{Client, Cut, Exchange, Failure, Passage, add, failure_of, framing};
use crate::config::{ClusterConfig, RouteConfig};
use crate::error::Reason;
use crate::exchange::attempt::{AttemptError, Ended};
use crate::exchange::download::{INTERIM_MAX, OWN_FIELDS, SETTLED_BYTES};
use crate::grpc::Call;
use crate::head_buffer::HeadBytes;
use crate::http2::{BodyPiece, StreamHandle};
use crate::io::{self as rt, Chunk};
use crate::relay;
use crate::transport::Transport;
use crate::upstream::Origin;

/// Where the body of a response comes from, what follows its head included.
enum Arriving<'a> {
    Http1(&'a Transport, BodyLength, Option<Chunk>),
    Http2(&'a StreamHandle),
}

impl Exchange<'_> {
    /// The response, from the origin to the client.
    pub(super) async fn receive(
        &self,
        origin: &Origin,
        cluster: &ClusterConfig,
        route: &RouteConfig,
        response: &mut ResponseHead,
        key: Option<&Key>,
    ) -> Result<Ended, AttemptError> {
        let mut rest = None;
        for _ in 0..INTERIM_MAX {
            let (bytes, end) = match origin {
                Origin::Http1(upstream) => {
                    let head = self.read_response_head(upstream, cluster, response, rest.take()).await?;
                    rest = head.rest;
                    (head.bytes, is_empty(response.body))
                }
                Origin::Http2(origin) => self.read_stream_head(&origin.stream, cluster, response).await?,
            };
            if self.switched(origin, route, response, &bytes, key)? {
                return Ok(Ended::Tunnel(rest));
            }
            if response.is_interim() {
                self.pass_interim(response, &bytes)?;
                continue;
            }
            match &self.call {
                None => self.observe_status(response.status),
                Some(call) => self.observe_call_head(call, response, &bytes),
            }
            self.consider(response, &bytes, rest.as_ref().map_or(0, Chunk::len))?;
            if let Some(call) = &self.call {
                self.read_call_head(call, response, &bytes, end)?;
            }
            let ended = self.pass_response(origin, cluster, response, bytes, end, rest).await?;
            if let Some(status) = self.call.as_ref().filter(|_| !end).and_then(|call| call.status()) {
                self.observe_call(status);
            }
            return Ok(ended);
        }
        Err(Failure { reason: Reason::UpstreamBadResponse, detail: "too many interim responses".to_owned() }
            .into())
    }

    /// The final response: its head and its body.
    pub(super) async fn pass_response(
        &self,
        origin: &Origin,
        cluster: &ClusterConfig,
        response: &mut ResponseHead,
        bytes: HeadBytes,
        end: bool,
        rest: Option<Chunk>,
    ) -> Result<Ended, Failure> {
        // First, so that policies are told of the response that the client gets.
        self.check_response_length(response.body)?;
        let encode = self.tell_of_response(response.status, Some((response, &bytes)));
        let framed = response.body;
        let encoder = encode.and_then(|encode| self.begin_encoding(response, &bytes, encode, end));
        let (sink, client_stays) = self.send_head(response, &bytes, end)?;
        drop(bytes);
        let from = match origin {
            Origin::Http1(upstream) => Arriving::Http1(&upstream.stream, framed, rest),
            Origin::Http2(origin) => Arriving::Http2(&origin.stream),
        };
        let left_over = self.deliver(from, cluster, response.status, sink, end, encoder).await?;
        let origin_clean = !left_over && response.keep_alive && framed != BodyLength::UntilClose;
        Ok(Ended::Response { origin_clean, client_stays })
    }

    /// A response head of a stream, and whether the response ends with it.
    async fn read_stream_head(
        &self,
        stream: &StreamHandle,
        cluster: &ClusterConfig,
        response: &mut ResponseHead,
    ) -> Result<(HeadBytes, bool), AttemptError> {
        let mut uploaded = self.uploaded.get();
        let head_timeout = self.silence(cluster.response_head_timeout);
        self.timer.arm(match uploaded {
            true => self.head_limit(head_timeout),
            false => self.until(rt::now() + crate::config::FOREVER),
        });
        let (mut received, end) = poll_fn(|cx| {
            if let Poll::Ready(received) = stream.poll_response(cx) {
                return Poll::Ready(received.map_err(|error| self.origin_lost(error)));
            }
            if self.uploaded.get() != uploaded {
                uploaded = true;
                self.timer.arm(self.head_limit(head_timeout));
            }
            if self.client.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Reason::ClientClosed.into()));
            }
            let late = || AttemptError::Failed(self.timed_out(Reason::ResponseHeadTimeout));
            self.timer.poll_expired(cx).map(|()| Err(late()))
        })
        .await?;
        std::mem::swap(response, &mut received.head);
        let bytes = HeadBytes::Received(received);
        if self.record.first_byte.get().is_none() {
            self.record.first_byte.set(Some(rt::now()));
        }
        add(&self.record.wire.from_origin, bytes.len());
        Ok((bytes, end))
    }

    fn pass_interim(&self, response: &ResponseHead, bytes: &[u8]) -> Result<(), Failure> {
        match self.client {
            Client::Http1(down) => self.forward_interim(down, response, bytes),
            Client::Http2(stream) => {
                let edits = ResponseEdits { drop: OWN_FIELDS, ..ResponseEdits::default() };
                stream.send_response(bytes, response, &edits, false).map_err(|_| Reason::ClientClosed.into())
            }
        }
    }

    /// A response over HTTP/1.1 whose body is compressed for a client that speaks it, too. What it has in common with the
    /// responses of other origins is all but where its bytes come from.
    pub(in crate::exchange) async fn deliver_encoded(
        &self,
        upstream: &Transport,
        cluster: &ClusterConfig,
        response: &ResponseHead,
        bytes: HeadBytes,
        rest: Option<Chunk>,
        encode: Encode,
    ) -> Result<(bool, bool), Failure> {
        let end = is_empty(response.body);
        // A copy: the caller still asks how the origin framed it.
        let mut head = response.clone();
        let encoder = self.begin_encoding(&mut head, &bytes, encode, end);
        let (sink, client_stays) = self.send_head(&head, &bytes, end)?;
        drop(bytes);
        let from = Arriving::Http1(upstream, response.body, rest);
        let left_over = self.deliver(from, cluster, head.status, sink, end, encoder).await?;
        Ok((left_over, client_stays))
    }

    /// The body of the final response, after its head. Returns whether the origin sent more than its response.
    async fn deliver(
        &self,
        from: Arriving<'_>,
        cluster: &ClusterConfig,
        status: u16,
        sink: Sink<'_>,
        end: bool,
        encoder: Option<Encoder>,
    ) -> Result<bool, Failure> {
        self.record.status.set(status);
        self.answered.set(true);
        let mut source = match from {
            Arriving::Http1(stream, body, rest) => {
                let limits = relay::response_trailer_limits(cluster);
                Source::http1(stream, BodyDecoder::new(body, &limits), rest)
            }
            Arriving::Http2(stream) => Source::Http2(stream),
        };
        let to_client =
            Passage { sink, timeout: self.listener.limits.response_body_timeout, timer: self.timer };
        if !end {
            let timeout = self.silence(cluster.response_body_timeout);
            let pumped = match encoder {
                Some(encoder) => Box::pin(self.pump_encoded(&mut source, &to_client, timeout, encoder)).await,
                None => self.pump_response(&mut source, &to_client, timeout).await,
            };
            pumped.map_err(|cut| self.download_failure(cut))?;
        }
        let (left_over, received) = source.take_rest();
        add(&self.record.wire.from_origin, received as usize);
        if let Client::Http1(down) = self.client
            && down.unsent() > SETTLED_BYTES
        {
            Box::pin(self.room(down, SETTLED_BYTES)).await?;
        }
        Ok(left_over.is_some())
    }

    /// Sends the head of the final response; says where its body goes, and whether the client's connection stays.
    fn send_head(
        &self,
        response: &ResponseHead,
        bytes: &[u8],
        end: bool,
    ) -> Result<(Sink<'_>, bool), Failure> {
        let mut append = Vec::new();
        let mut drop = self.response_edits(end, &mut append);
        let changes = self.response_headers();
        if let Some(changes) = &changes {
            drop = drop.union(changes.kinds());
            append.extend_from_slice(changes.lines());
        }
        let drop_names = changes.as_ref().map(|changes| changes.names()).unwrap_or_default();
        match self.client {
            Client::Http2(stream) => {
                let edits = ResponseEdits { drop, drop_names, append: &append, ..ResponseEdits::default() };
                add(&self.record.wire.to_client, bytes.len());
                stream
                    .send_response(bytes, response, &edits, end)
                    .map_err(|_| Failure::from(Reason::ClientClosed))?;
                Ok((Sink::Http2(stream), true))
            }
            Client::Http1(down) => {
                // A client that knows no chunks gets the bare data, ended by the end of the connection.
                let unchunk = response.body == BodyLength::Chunked && self.head.version == Version::Http10;
                let ends_with_connection = unchunk || response.body == BodyLength::UntilClose;
                self.ends_with_connection.set(ends_with_connection);
                let gives_up = !self.uploaded.get() && !response.keep_alive;
                let stays = self.client_stays() && !ends_with_connection && !gives_up;
                let chunks = KindSet::of(&[FieldKind::TransferEncoding]);
                let edits = ResponseEdits {
                    drop: if unchunk { drop.union(chunks) } else { drop },
                    drop_names,
                    append: &append,
                    connection: match (stays, self.head.version) {
                        (false, _) => ConnectionField::Close,
                        (true, Version::Http10) => ConnectionField::KeepAlive,
                        (true, _) => ConnectionField::None,
                    },
                };
                let mut out = rt::take_vec();
                http1::write_response(&mut out, bytes, response, &edits);
                add(&self.record.wire.to_client, out.len());
                down.send(out).map_err(|error| failure_of(&error, Reason::ClientClosed))?;
                let framing = if unchunk { Framing::Plain } else { framing(response.body) };
                Ok((Sink::Http1 { stream: down, framing, window: self.worker.window() }, stays))
            }
        }
    }

    async fn pump_response(
        &self,
        source: &mut Source<'_>,
        to_client: &Passage<'_>,
        timeout: Duration,
    ) -> Result<(), Cut> {
        loop {
            let mut waits = false;
            let piece = poll_fn(|cx| {
                if let Poll::Ready(piece) = source.poll_piece(cx) {
                    return Poll::Ready(piece.map_err(Cut::Source));
                }
                // Mostly the piece is there, and no time runs.
                if !std::mem::replace(&mut waits, true) {
                    self.timer.arm(self.until(rt::now() + timeout));
                }
                self.poll_stalled(cx)
            })
            .await?;
            if let BodyPiece::Data(data, _) = &piece {
                add(&self.record.response_body_bytes, data.len());
                self.check_response_bytes(self.record.response_body_bytes.get())?;
            }
            let ended = match &self.call {
                Some(call) => self.pass_call_piece(call, source, to_client, piece).await?,
                None => self.pass_on(to_client, Some(source), piece, &self.record.wire.to_client).await?,
            };
            if ended {
                return Ok(());
            }
        }
    }

    /// A response that says it is longer than a policy allows is refused before its head goes on.
    pub(in crate::exchange) fn check_response_length(&self, body: BodyLength) -> Result<(), Failure> {
        match (body, self.response_bytes_max()) {
            (BodyLength::Exact(length), Some(max)) if length > max => {
                Err(Reason::UpstreamBodyTooLarge.into())
            }
            _ => Ok(()),
        }
    }

    /// One that does not is cut off where it becomes too long.
    pub(super) fn check_response_bytes(&self, bytes: u64) -> Result<(), Cut> {
        match self.response_bytes_max() {
            Some(max) if bytes > max => Err(Cut::TooLarge),
            _ => Ok(()),
        }
    }

    /// Sends a piece of a gRPC response on: with the status that an origin left out, and as gRPC-Web to who speaks that.
    async fn pass_call_piece(
        &self,
        call: &Call,
        source: &Source<'_>,
        to_client: &Passage<'_>,
        piece: BodyPiece,
    ) -> Result<bool, Cut> {
        let wire = &self.record.wire.to_client;
        if call.form() != Form::Grpc && !call.is_translated() {
            return self.pass_on(to_client, Some(source), piece, wire).await;
        }
        let received = if let BodyPiece::Data(data, _) = &piece { data.len() } else { 0 };
        let mut missing = false;
        let (first, second) = call.response_pieces(piece, &mut missing);
        if missing {
            self.record.reason.set(Some(Reason::UpstreamNoGrpcStatus));
            if call.is_translated() && !call.is_between_messages() {
                // A status would be taken for the rest of the message.
                return Err(Cut::Source(SourceError::Truncated));
            }
        }
        let mut ended = self.pass_on(to_client, None, first, wire).await?;
        source.consumed(received);
        if let Some(second) = second {
            ended = self.pass_on(to_client, None, second, wire).await?;
        }
        Ok(ended)
    }

    /// While the origin sends nothing: whether the client is still there, and whether time is up.
    pub(super) fn poll_stalled<T>(&self, cx: &Context<'_>) -> Poll<Result<T, Cut>> {
        if self.client.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Cut::ClientGone));
        }
        self.timer.poll_expired(cx).map(|()| Err(Cut::SourceStalled))
    }

    fn download_failure(&self, cut: Cut) -> Failure {
        match cut {
            Cut::Source(SourceError::Malformed(error)) => {
                Failure { reason: Reason::UpstreamBadResponse, detail: error.to_string() }
            }
            Cut::Source(SourceError::Io(error)) => failure_of(&error, Reason::UpstreamReset),
            Cut::Source(SourceError::Truncated) => Reason::UpstreamClosed.into(),
            Cut::Source(SourceError::Stream(error)) => self.stream_failure(error),
            Cut::SourceStalled => self.timed_out(Reason::ResponseBodyTimeout),
            Cut::ClientGone | Cut::NotBase64 => Reason::ClientClosed.into(),
            Cut::TooLarge => Reason::UpstreamBodyTooLarge.into(),
            Cut::Encoder => Reason::Internal.into(),
            Cut::Sink(SinkError::NoProgress) => Reason::ClientSlow.into(),
            Cut::Sink(SinkError::Deadline) => Reason::RequestTimeout.into(),
            Cut::Sink(SinkError::Io(error)) => failure_of(&error, Reason::ClientClosed),
            Cut::Sink(SinkError::Stream) => Reason::ClientClosed.into(),
        }
    }
}

fn is_empty(body: BodyLength) -> bool {
    matches!(body, BodyLength::Empty | BodyLength::Exact(0))
}
