//! The response, from the origin to the client.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use ringway_policies::compress::Encode;
use ringway_protocols::http1::{
    self, BodyDecoder, ConnectionField, HeadLimits, HeadProgress, Parsed, ResponseEdits, ResponseError,
};
use ringway_protocols::message::{BodyLength, FieldKind, KindSet, ResponseHead, Version};

use super::attempt::{AttemptError, Ended};
use super::{Exchange, Failure, add, failure_of, forwarding};
use crate::config::{ClusterConfig, RouteConfig};
use crate::error::Reason;
use crate::head_buffer::{Fed, HeadBuffer, HeadBytes};
use crate::io::{self as rt, Chunk, Part, Parts, SpliceError, Stream};
use crate::relay::{self, SpliceRun, SpliceStop, Stalled};
use crate::transport::Transport;
use crate::upstream::Upstream;

/// Interim responses before the final one; an origin that sends more is not going to end.
pub(super) const INTERIM_MAX: u32 = 32;
/// What may be left in the send queue when an exchange ends.
pub(super) const SETTLED_BYTES: usize = 16 * 1024;

/// A response head as received.
pub(super) struct Head {
    pub(super) bytes: HeadBytes,
    /// What came behind the head.
    pub(super) rest: Option<Chunk>,
    /// Head and rest in one piece, where they came so.
    whole: Option<Chunk>,
}

impl Exchange<'_> {
    pub(super) async fn download(
        &self,
        down: &Transport,
        upstream: &Upstream,
        cluster: &ClusterConfig,
        route: &RouteConfig,
        response: &mut ResponseHead,
    ) -> Result<Ended, AttemptError> {
        let mut rest = None;
        for _ in 0..INTERIM_MAX {
            let head = self.read_response_head(upstream, cluster, response, rest.take()).await?;
            if response.status == 101 {
                return self.switch_protocols(down, route, response, head).map_err(AttemptError::from);
            }
            if response.is_interim() {
                self.forward_interim(down, response, &head.bytes)?;
                rest = head.rest;
                continue;
            }
            self.observe_status(response.status);
            self.consider(response, &head.bytes, head.rest.as_ref().map_or(0, Chunk::len))?;
            return Ok(self.forward_response(down, upstream, cluster, response, head).await?);
        }
        Err(Failure { reason: Reason::UpstreamBadResponse, detail: "too many interim responses".to_owned() }
            .into())
    }

    pub(super) async fn read_response_head(
        &self,
        upstream: &Upstream,
        cluster: &ClusterConfig,
        response: &mut ResponseHead,
        mut rest: Option<Chunk>,
    ) -> Result<Head, AttemptError> {
        let limits = HeadLimits {
            bytes_max: cluster.response_header_bytes_max,
            fields_max: cluster.response_header_count_max,
            target_bytes_max: 0,
        };
        let method = self.head.method;
        let mut buffer = HeadBuffer::default();
        let mut progress = HeadProgress::default();
        loop {
            let chunk = match rest.take() {
                Some(chunk) => chunk,
                None => self.receive_head_bytes(upstream, cluster).await?,
            };
            let whole = (!buffer.has_partial()).then(|| chunk.clone());
            let parse = |bytes: &[u8]| {
                http1::parse_response_resumed(bytes, &limits, method, &mut progress, response)
                    .map(|parsed| matches!(parsed, Parsed::Complete).then_some(response.bytes as usize))
            };
            match buffer.feed(chunk, parse) {
                Fed::Complete(bytes, rest) => return Ok(Head { bytes, rest, whole }),
                Fed::NeedMore => {}
                Fed::Invalid(error, _) => return Err(refused(error).into()),
            }
        }
    }

    /// The next bytes of a response head.
    async fn receive_head_bytes(
        &self,
        upstream: &Upstream,
        cluster: &ClusterConfig,
    ) -> Result<Chunk, AttemptError> {
        let nothing_yet = self.record.first_byte.get().is_none();
        let timeout = cluster.response_head_timeout;
        match self.receive_bytes(&upstream.stream, timeout, Reason::ResponseHeadTimeout).await? {
            Ok(chunk) if !chunk.is_empty() => {
                add(&self.record.wire.from_origin, chunk.len());
                if nothing_yet {
                    self.record.first_byte.set(Some(rt::now()));
                }
                Ok(chunk)
            }
            end => {
                let dead_on_arrival = upstream.reused && nothing_yet && !self.body_taken.get();
                if dead_on_arrival && self.record.attempts.get() == 1 && self.head.method.is_idempotent() {
                    return Err(AttemptError::Stale);
                }
                Err(match end {
                    Ok(_) => Failure::from(Reason::UpstreamClosed),
                    Err(error) => failure_of(&error, Reason::UpstreamReset),
                }
                .into())
            }
        }
    }

    /// Waits for the origin, as long as the client is there. The time for the response head runs from the moment
    /// when the request is complete.
    async fn receive_bytes(
        &self,
        up: &Transport,
        timeout: Duration,
        late: Reason,
    ) -> Result<io::Result<Chunk>, Failure> {
        let head = late == Reason::ResponseHeadTimeout;
        let mut running = self.uploaded.get() || !head;
        self.timer.arm(match (running, head) {
            (true, true) => self.head_limit(timeout),
            (true, false) => self.until(rt::now() + timeout),
            (false, _) => self.until(rt::now() + crate::config::FOREVER),
        });
        poll_fn(|cx| {
            if let Poll::Ready(received) = up.poll_recv(cx) {
                return Poll::Ready(Ok(received));
            }
            if !running && self.uploaded.get() {
                running = true;
                self.timer.arm(self.head_limit(timeout));
            }
            if self.client.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Reason::ClientClosed.into()));
            }
            self.timer.poll_expired(cx).map(|()| Err(self.timed_out(late)))
        })
        .await
    }

    pub(super) fn timed_out(&self, reason: Reason) -> Failure {
        match reason {
            _ if self.is_past_deadline() => Reason::RequestTimeout.into(),
            Reason::ResponseHeadTimeout if self.is_try_over() => Reason::PerTryTimeout.into(),
            reason => reason.into(),
        }
    }

    pub(super) fn forward_interim(
        &self,
        down: &Transport,
        response: &ResponseHead,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        // HTTP/1.0 has no interim responses (RFC 9110 section 15.2).
        if self.head.version == Version::Http10 {
            return Ok(());
        }
        let mut out = rt::take_vec();
        let edits = ResponseEdits { drop: OWN_FIELDS, ..ResponseEdits::default() };
        http1::write_response(&mut out, bytes, response, &edits);
        add(&self.record.wire.to_client, out.len());
        down.send(out).map_err(|error| failure_of(&error, Reason::ClientClosed))
    }

    /// Answers 101 to the client if the origin switched to a protocol that was asked for and is allowed.
    fn switch_protocols(
        &self,
        down: &Transport,
        route: &RouteConfig,
        response: &ResponseHead,
        head: Head,
    ) -> Result<Ended, Failure> {
        let chosen = response.upgrade.unwrap_or_default().of(&head.bytes);
        let asked = self.head.upgrade.unwrap_or_default().of(self.bytes);
        if !forwarding::may_switch(route, asked, chosen) {
            return Err(Reason::UpgradeRefused.into());
        }
        let mut out = rt::take_vec();
        let connection = ConnectionField::Upgrade(chosen);
        let edits = ResponseEdits { drop: OWN_FIELDS, connection, ..ResponseEdits::default() };
        http1::write_response(&mut out, &head.bytes, response, &edits);
        self.begin_tunnel(101);
        down.send(out).map_err(|error| failure_of(&error, Reason::ClientClosed))?;
        Ok(Ended::Tunnel(head.rest))
    }

    async fn forward_response(
        &self,
        down: &Transport,
        upstream: &Upstream,
        cluster: &ClusterConfig,
        response: &ResponseHead,
        head: Head,
    ) -> Result<Ended, Failure> {
        // First, so that policies are told of the response that the client gets.
        self.check_response_length(response.body)?;
        if let Some(encode) = self.tell_of_response(response.status, Some((response, &head.bytes))) {
            // Boxed, like what few responses need: the state of the usual exchange stays small.
            return Box::pin(self.forward_encoded(upstream, cluster, response, head, encode)).await;
        }
        let Head { bytes, mut rest, whole } = head;
        // A client that knows no chunks gets the bare data, ended by the end of the connection.
        let unchunk = response.body == BodyLength::Chunked && self.head.version == Version::Http10;
        let ends_with_connection = unchunk || response.body == BodyLength::UntilClose;
        self.ends_with_connection.set(ends_with_connection);
        // An origin that closes without having read the request does not expect the rest of it.
        let gives_up = !self.uploaded.get() && !response.keep_alive;
        let client_stays = self.client_stays() && !ends_with_connection && !gives_up;
        let mut decoder = BodyDecoder::new(response.body, &relay::response_trailer_limits(cluster));
        // What is to be counted is not spliced past the counter. A length has been looked at already.
        let counted = self.response_bytes_max().is_some() && !matches!(response.body, BodyLength::Exact(_));
        let mut body = Relay { exchange: self, down, decoder: &mut decoder, unchunk, no_pipe: counted };
        // The first piece of the body goes out with the head.
        let first = match rest.as_mut() {
            Some(chunk) if !unchunk => body.take(chunk)?,
            _ => Chunk::empty(),
        };
        let parts = self.response_parts(response, &bytes, (first, whole), unchunk, client_stays);
        self.record.status.set(response.status);
        self.answered.set(true);
        drop(bytes);
        down.send(parts).map_err(|error| failure_of(&error, Reason::ClientClosed))?;
        let rest = rest.filter(|chunk| !chunk.is_empty());
        let whole = body.decoder.is_done() && rest.is_none();
        let left_over = if whole { false } else { Box::pin(body.run(upstream, cluster, rest)).await? };
        if down.unsent() > SETTLED_BYTES {
            // A client that still has this much to read is waited for, so that the exchange lasts as long as its response.
            Box::pin(self.room(down, SETTLED_BYTES)).await?;
        }
        let origin_clean = !left_over && response.keep_alive && response.body != BodyLength::UntilClose;
        Ok(Ended::Response { origin_clean, client_stays })
    }

    /// The same of a response whose body is encoded here.
    async fn forward_encoded(
        &self,
        upstream: &Upstream,
        cluster: &ClusterConfig,
        response: &ResponseHead,
        head: Head,
        encode: Encode,
    ) -> Result<Ended, Failure> {
        let Head { bytes, rest, .. } = head;
        let delivered = self.deliver_encoded(&upstream.stream, cluster, response, bytes, rest, encode);
        let (left_over, client_stays) = delivered.await?;
        let stays_open = response.keep_alive && response.body != BodyLength::UntilClose;
        Ok(Ended::Response { origin_clean: !left_over && stays_open, client_stays })
    }

    /// The head as it goes to the client, with the first piece of the body. Not part of the future that relays the rest: what
    /// is needed here is gone by then.
    fn response_parts(
        &self,
        response: &ResponseHead,
        bytes: &HeadBytes,
        (first, whole): (Chunk, Option<Chunk>),
        unchunk: bool,
        client_stays: bool,
    ) -> Parts {
        let mut append = std::borrow::Cow::Borrowed(self.hsts_line());
        let mut own = OWN_FIELDS.union(self.hsts_drop());
        let changes = self.response_headers();
        if let Some(changes) = changes.as_ref().filter(|changes| !changes.is_empty()) {
            own = own.union(changes.kinds());
            append.to_mut().extend_from_slice(changes.lines());
        }
        if let Some(line) = self.sticky_line() {
            append.to_mut().extend_from_slice(line.as_bytes());
        }
        let edits = ResponseEdits {
            drop: if unchunk { own.union(KindSet::of(&[FieldKind::TransferEncoding])) } else { own },
            drop_names: changes.as_ref().map(|changes| changes.names()).unwrap_or_default(),
            append: &append,
            connection: match (client_stays, self.head.version) {
                (false, _) => ConnectionField::Close,
                (true, Version::Http10) => ConnectionField::KeepAlive,
                (true, _) => ConnectionField::None,
            },
        };
        match whole {
            Some(whole) if !http1::response_needs_edit(response, &edits) => {
                add(&self.record.wire.to_client, bytes.len());
                Parts::from(whole.slice(0..bytes.len() + first.len()))
            }
            _ => {
                let mut out = rt::take_vec();
                http1::write_response(&mut out, bytes, response, &edits);
                add(&self.record.wire.to_client, out.len());
                let parts = Parts::from(out);
                if first.is_empty() { parts } else { parts.and(Part::Chunk(first)) }
            }
        }
    }

    /// Waits until the client has taken all but `bytes_max` of what was queued for it.
    pub(super) async fn room(&self, down: &Transport, bytes_max: usize) -> Result<(), Failure> {
        let timeout = self.listener.limits.response_body_timeout;
        match relay::room(down, self.timer, bytes_max, timeout, self.deadline.get()).await {
            Ok(()) => Ok(()),
            Err(Stalled::Closed(error)) => Err(failure_of(&error, Reason::ClientClosed)),
            Err(Stalled::NoProgress) => Err(Reason::ClientSlow.into()),
            Err(Stalled::Deadline) => Err(Reason::RequestTimeout.into()),
        }
    }
}

/// Fields that only this proxy may set.
pub(crate) const OWN_FIELDS: KindSet = KindSet::of(&[FieldKind::XRingwayReason, FieldKind::XRingwayExplain]);

/// The body of one response on its way.
struct Relay<'a, 'b> {
    exchange: &'a Exchange<'b>,
    down: &'a Transport,
    decoder: &'a mut BodyDecoder,
    unchunk: bool,
    /// There was no pipe to splice with, or it must not be spliced.
    no_pipe: bool,
}

impl Relay<'_, '_> {
    /// What of `chunk` is to be forwarded as it is.
    fn take(&mut self, chunk: &mut Chunk) -> Result<Chunk, Failure> {
        let run = relay::take_run(self.decoder, chunk).map_err(bad_body)?;
        self.count(run.data_bytes)?;
        add(&self.exchange.record.wire.to_client, run.bytes.len());
        Ok(run.bytes)
    }

    fn count(&self, bytes: usize) -> Result<(), Failure> {
        let sum = &self.exchange.record.response_body_bytes;
        add(sum, bytes);
        match self.exchange.response_bytes_max() {
            Some(max) if sum.get() > max => Err(Reason::UpstreamBodyTooLarge.into()),
            _ => Ok(()),
        }
    }

    /// Forwards the body, starting with `rest`. Returns whether the origin sent more than its response.
    async fn run(
        &mut self,
        upstream: &Upstream,
        cluster: &ClusterConfig,
        mut rest: Option<Chunk>,
    ) -> Result<bool, Failure> {
        loop {
            if let Some(mut chunk) = rest.take() {
                self.forward(&mut chunk).await?;
                if !chunk.is_empty() {
                    return Ok(true);
                }
            }
            if self.decoder.is_done() {
                return Ok(false);
            }
            if self.splices()
                && let (Some(from), Some(to)) = (upstream.stream.as_plain(), self.down.as_plain())
            {
                Box::pin(self.splice(from, to, cluster)).await?;
                continue;
            }
            self.exchange.room(self.down, self.exchange.worker.window()).await?;
            let timeout = cluster.response_body_timeout;
            let late = Reason::ResponseBodyTimeout;
            match self.exchange.receive_bytes(&upstream.stream, timeout, late).await? {
                Ok(chunk) if !chunk.is_empty() => {
                    add(&self.exchange.record.wire.from_origin, chunk.len());
                    rest = Some(chunk);
                }
                Ok(_) => {
                    return self.decoder.eof().map(|()| false).map_err(|_| Reason::UpstreamClosed.into());
                }
                Err(error) => return Err(failure_of(&error, Reason::UpstreamReset)),
            }
        }
    }

    fn splices(&self) -> bool {
        // Not while the request is still on its way: a splice changes the mode of both sockets.
        let possible = !self.unchunk && !self.no_pipe && self.exchange.uploaded.get();
        possible && self.exchange.worker.splices(self.decoder.contiguous())
    }

    /// Moves the data that is known to follow without taking it into user space.
    async fn splice(&mut self, from: &Stream, to: &Stream, cluster: &ClusterConfig) -> Result<(), Failure> {
        let exchange = self.exchange;
        let run = SpliceRun {
            from,
            to,
            bytes: self.decoder.contiguous(),
            from_timeout: cluster.response_body_timeout,
            to_timeout: exchange.listener.limits.response_body_timeout,
            deadline: exchange.deadline.get(),
        };
        let moved = Cell::new(0);
        let result = run.run(exchange.timer, &moved).await;
        let wire = &exchange.record.wire;
        for sum in [&wire.from_origin, &wire.to_client, &exchange.record.response_body_bytes] {
            sum.set(sum.get() + moved.get());
        }
        self.decoder.skip(moved.get());
        match result {
            Ok(()) => Ok(()),
            Err(SpliceStop::Failed(SpliceError::NoPipe(_))) => {
                self.no_pipe = true;
                Ok(())
            }
            Err(SpliceStop::Failed(SpliceError::From(error))) => {
                Err(failure_of(&error, Reason::UpstreamReset))
            }
            Err(SpliceStop::Failed(SpliceError::Truncated)) => Err(Reason::UpstreamClosed.into()),
            Err(SpliceStop::FromStalled) => Err(Reason::ResponseBodyTimeout.into()),
            Err(SpliceStop::Failed(SpliceError::To(error))) => Err(failure_of(&error, Reason::ClientClosed)),
            Err(SpliceStop::ToStalled) => Err(Reason::ClientSlow.into()),
            Err(SpliceStop::Deadline) => Err(Reason::RequestTimeout.into()),
        }
    }

    async fn forward(&mut self, chunk: &mut Chunk) -> Result<(), Failure> {
        let client_closed = |error: io::Error| failure_of(&error, Reason::ClientClosed);
        if !self.unchunk {
            let run = self.take(chunk)?;
            return if run.is_empty() { Ok(()) } else { self.down.send(run).map_err(client_closed) };
        }
        while let Some(data) = relay::take_data(self.decoder, chunk).map_err(bad_body)? {
            self.count(data.len())?;
            add(&self.exchange.record.wire.to_client, data.len());
            self.down.send(data).map_err(client_closed)?;
            // Tiny chunks must not become an endless list of tiny sends.
            self.exchange.room(self.down, self.exchange.worker.window()).await?;
        }
        Ok(())
    }
}

fn bad_body(error: http1::BodyError) -> Failure {
    Failure { reason: Reason::UpstreamBadResponse, detail: error.to_string() }
}

fn refused(error: ResponseError) -> Failure {
    let reason = match error {
        ResponseError::HeadTooLarge | ResponseError::TooManyFields => Reason::UpstreamHeadTooLarge,
        _ => Reason::UpstreamBadResponse,
    };
    Failure { reason, detail: error.to_string() }
}
