//! Exchanges in which HTTP/2 is spoken on at least one side: one relay for all of them.
//!
//! Heads have one format whatever they came in, so that translation is a matter of how they are written. Bodies pass as
//! pieces of data; a piece counts as consumed, and opens its sender's window, only once the other side has accepted it.

mod answer;
mod encode;
mod hedge;
mod mirror;
mod request_body;
mod sink;
mod source;
mod switch;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_policies::changes::ResponseChanges;
use ringway_policies::compress::Encoder;
use ringway_policies::retry::Event;
use ringway_protocols::grpc::{Form, Status};
use ringway_protocols::http1::{self, BodyDecoder, ConnectionField, ResponseEdits};
use ringway_protocols::http2::ErrorCode;
use ringway_protocols::message::{BodyLength, FieldKind, KindSet, ResponseHead, Version};

use super::attempt::AttemptError;
use super::download::{INTERIM_MAX, OWN_FIELDS, SETTLED_BYTES};
use super::{Client, Exchange, Failure, Next, add, failure_of, forwarding};
use crate::config::{ClusterConfig, RouteConfig};
use crate::error::Reason;
use crate::grpc::Call;
use crate::head_buffer::HeadBytes;
use crate::http2::{BodyPiece, StreamError, StreamHandle};
use crate::io::{self as rt, Chunk, Timer};
use crate::relay;
use crate::transport::Transport;
use crate::tunnel::{self, End};
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
            Err(error) => {
                if let (Origin::Http1(upstream), AttemptError::Again { clean: true, .. }) = (origin, &error)
                    && forwarding::is_poolable(&cluster.config)
                {
                    upstream.release(cluster, rt::now());
                }
                return Err(error);
            }
            Ok(ended) => Ok(ended),
        };
        if let Some(mut body) = body.take() {
            self.end_request_body(&mut body);
        }
        let (origin_clean, client_stays) = match result? {
            Ended::Response { origin_clean, client_stays } => (origin_clean, client_stays),
            Ended::Tunnel(first) => {
                let up = match &origin {
                    Origin::Http1(upstream) => End::Connection(&upstream.stream),
                    Origin::Http2(origin) => End::Stream(&origin.stream),
                };
                let tunnel = tunnel::relay(self, self.client.into(), up, first, route.tunnel_idle_timeout);
                Box::pin(tunnel).await?;
                return Ok(Next::Gone);
            }
        };
        let uploaded = self.uploaded.get();
        if let Origin::Http1(upstream) = origin
            && origin_clean
            && uploaded
            && forwarding::is_poolable(&cluster.config)
        {
            upstream.release(cluster, rt::now());
        }
        Ok(match (uploaded, client_stays) {
            (true, true) => Next::KeepAlive,
            (true, false) => Next::Close,
            (false, _) => Next::Linger,
        })
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

    /// The request body, from the client to the origin.
    async fn upload(
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
            timer.arm(self.until(rt::now() + timeout));
            let piece = poll_fn(|cx| {
                if let Poll::Ready(piece) = body.source.poll_piece(cx) {
                    return Poll::Ready(piece.map_err(Cut::Source));
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
    fn request_source(&self) -> Source<'a> {
        match self.client {
            Client::Http1(stream) => {
                let limits = relay::trailer_limits(&self.listener.limits);
                Source::http1(stream, BodyDecoder::new(self.head.body, &limits), self.take_unread())
            }
            Client::Http2(stream) => Source::Http2(stream),
        }
    }

    /// What came behind the body is the next request of the connection.
    fn end_request_body(&self, body: &mut RequestBody<'_>) {
        let (rest, received) = body.source.take_rest();
        add(&self.record.wire.from_client, received as usize);
        if rest.is_some() {
            *self.unread.borrow_mut() = rest;
        }
    }

    /// The response, from the origin to the client.
    async fn receive(
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
            self.observe_status(response.status);
            self.consider(response, &bytes, rest.as_ref().map_or(0, Chunk::len))?;
            if let Some(call) = &self.call {
                self.read_call_head(call, response, &bytes, end)?;
            }
            return Ok(self.pass_response(origin, cluster, response, bytes, end, rest).await?);
        }
        Err(Failure { reason: Reason::UpstreamBadResponse, detail: "too many interim responses".to_owned() }
            .into())
    }

    /// The final response: its head and its body.
    async fn pass_response(
        &self,
        origin: &Origin,
        cluster: &ClusterConfig,
        response: &mut ResponseHead,
        bytes: HeadBytes,
        end: bool,
        rest: Option<Chunk>,
    ) -> Result<Ended, Failure> {
        let mut changes =
            self.response_changes(response.status, Some((response, &bytes))).unwrap_or_default();
        self.check_response_length(response.body)?;
        let framed = response.body;
        let encoder = self.begin_encoding(response, &bytes, &mut changes, end);
        let (sink, client_stays) = self.send_head(response, &bytes, end, &changes)?;
        drop((bytes, changes));
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
    pub(super) async fn deliver_encoded(
        &self,
        upstream: &Transport,
        cluster: &ClusterConfig,
        response: &ResponseHead,
        bytes: HeadBytes,
        rest: Option<Chunk>,
        mut changes: ResponseChanges,
    ) -> Result<(bool, bool), Failure> {
        let end = is_empty(response.body);
        // A copy: the caller still asks how the origin framed it.
        let mut head = response.clone();
        let encoder = self.begin_encoding(&mut head, &bytes, &mut changes, end);
        let (sink, client_stays) = self.send_head(&head, &bytes, end, &changes)?;
        drop((bytes, changes));
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
        changes: &ResponseChanges,
    ) -> Result<(Sink<'_>, bool), Failure> {
        let mut append = Vec::new();
        let drop = self.response_edits(end, &mut append).union(changes.headers.kinds());
        append.extend_from_slice(changes.headers.lines());
        let drop_names = changes.headers.names();
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
            self.timer.arm(self.until(rt::now() + timeout));
            let piece = poll_fn(|cx| {
                if let Poll::Ready(piece) = source.poll_piece(cx) {
                    return Poll::Ready(piece.map_err(Cut::Source));
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
    pub(super) fn check_response_length(&self, body: BodyLength) -> Result<(), Failure> {
        match (body, self.response_bytes_max.get()) {
            (BodyLength::Exact(length), Some(max)) if length > max => {
                Err(Reason::UpstreamBodyTooLarge.into())
            }
            _ => Ok(()),
        }
    }

    /// One that does not is cut off where it becomes too long.
    fn check_response_bytes(&self, bytes: u64) -> Result<(), Cut> {
        match self.response_bytes_max.get() {
            Some(max) if bytes > max => Err(Cut::TooLarge),
            _ => Ok(()),
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
    fn poll_stalled<T>(&self, cx: &Context<'_>) -> Poll<Result<T, Cut>> {
        if self.client.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Cut::ClientGone));
        }
        self.timer.poll_expired(cx).map(|()| Err(Cut::SourceStalled))
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
            StreamError { connection_lost: true, .. } => Reason::UpstreamClosed,
            StreamError { by_peer: true, .. } => Reason::UpstreamReset,
            // We reset it, because it broke a rule.
            StreamError { .. } => Reason::UpstreamBadResponse,
        };
        Failure { reason, detail: format!("{:?}", error.code) }
    }

    fn upload_failure(&self, cut: Cut) -> Failure {
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

/// Where the body of a response comes from, what follows its head included.
enum Arriving<'a> {
    Http1(&'a Transport, BodyLength, Option<Chunk>),
    Http2(&'a StreamHandle),
}

/// How a download ended.
enum Ended {
    Response {
        /// The origin's connection has nothing left on it and stays open.
        origin_clean: bool,
        client_stays: bool,
    },
    /// The protocol was switched; what the origin sent behind its head comes first.
    Tunnel(Option<Chunk>),
}

fn framing(body: BodyLength) -> Framing {
    if body == BodyLength::Chunked { Framing::Chunked } else { Framing::Plain }
}

fn is_empty(body: BodyLength) -> bool {
    matches!(body, BodyLength::Empty | BodyLength::Exact(0))
}

/// The code that tells an HTTP/2 client why its response was cut off.
pub(super) fn error_code(reason: Reason) -> ErrorCode {
    match reason {
        Reason::ClientSlow | Reason::RequestTimeout => ErrorCode::Cancel,
        Reason::BadRequest => ErrorCode::ProtocolError,
        _ => ErrorCode::InternalError,
    }
}
