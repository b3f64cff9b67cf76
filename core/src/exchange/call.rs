//! An exchange that is a gRPC call.

use std::time::Instant;

use ringway_policies::retry::Event;
use ringway_protocols::grpc::{Form, Status};
use ringway_protocols::message::{BodyLength, FieldKind, FramingRewrite, KindSet, ResponseHead};

use super::attempt::AttemptError;
use super::download::OWN_FIELDS;
use super::{Client, Exchange, Failure, Next, add};
use crate::config::RouteConfig;
use crate::error::Reason;
use crate::grpc::{self, Call, cors};
use crate::http2::StreamHandle;
use crate::io::{self as rt, Chunk};

impl<'a> Exchange<'a> {
    /// Takes the call's deadline: the earlier one of the client's and the route's.
    pub(super) fn begin_call(&self, call: &Call) -> Result<(), Failure> {
        let timeout = call
            .check(self.head, self.bytes)
            .map_err(|detail| Failure { reason: Reason::BadRequest, detail: detail.to_owned() })?;
        // One that is too far away to be a moment is none.
        if let Some(at) = timeout.and_then(|timeout| self.record.head_received.checked_add(timeout)) {
            let earlier = self.deadline.get().map_or(at, |deadline| deadline.min(at));
            self.deadline.set(Some(earlier));
        }
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            Err(Reason::RequestTimeout.into())
        } else {
            Ok(())
        }
    }

    fn route_config(&self) -> Option<&'a RouteConfig> {
        self.record.route.get().and_then(|index| self.view.config().routes.get(index)).map(|route| &**route)
    }

    /// Time without progress: a call may be silent for as long as its route says.
    pub(super) fn silence(&self, otherwise: std::time::Duration) -> std::time::Duration {
        match (&self.call, self.route_config()) {
            (Some(_), Some(route)) => route.grpc.idle_timeout,
            _ => otherwise,
        }
    }

    /// The page that made a gRPC-Web call, where it may read the response.
    fn web_origin(&self) -> Option<&'a [u8]> {
        let route = self.route_config()?;
        cors::allowed_origin(&route.grpc.web_origins, self.head, self.bytes)
    }

    /// Takes in the head of a call's response.
    ///
    /// # Errors
    /// When the call is to be sent again, and when the response is none of gRPC.
    pub(super) fn read_call_head(
        &self,
        call: &Call,
        response: &mut ResponseHead,
        bytes: &[u8],
        end: bool,
    ) -> Result<(), AttemptError> {
        if call.form() != Form::Grpc && !call.is_translated() {
            return Ok(());
        }
        if let Some(status) = call.read_head(response, bytes) {
            call.set_status(status);
            if response.status == 200 {
                // What is no response of gRPC is one that cannot be understood.
                self.observe_status(Reason::UpstreamNotGrpc.status());
            }
            let detail = format!("its HTTP status is {}", response.status);
            return Err(Failure { reason: Reason::UpstreamNotGrpc, detail }.into());
        }
        if end
            && let Some(status) = call.status()
            && let Some(wait) = self.may_retry(Event::Grpc(status))
        {
            return Err(AttemptError::Again { wait, clean: false });
        }
        if call.is_translated() && !end {
            // The body gets longer: by the trailers, and by its encoding.
            response.body = BodyLength::Chunked;
            response.framing_rewrite = FramingRewrite::Chunked;
        }
        Ok(())
    }

    /// What the head of a response loses and gets on its way to the client.
    pub(super) fn response_edits(&self, end: bool, append: &mut Vec<u8>) -> KindSet {
        append.extend_from_slice(self.hsts_line());
        append.extend_from_slice(self.sticky_line().unwrap_or_default().as_bytes());
        let mut drop = OWN_FIELDS.union(self.hsts_drop());
        let Some(call) = self.call.as_ref().filter(|call| call.is_translated()) else { return drop };
        drop.insert(FieldKind::ContentType);
        if !end {
            drop.insert(FieldKind::ContentLength);
        }
        call.push_content_type(append, call.form());
        if let Some(origin) = self.web_origin() {
            cors::push_response_lines(append, origin);
        }
        drop
    }

    /// The lines of a local reply to a call, after its status line.
    pub(super) fn render_call_reply(&self, call: &Call, failure: &Failure) -> Vec<u8> {
        let mut lines = Vec::with_capacity(256);
        call.push_content_type(&mut lines, call.form());
        self.push_failure(&mut lines, call, failure);
        if let Some(origin) = self.web_origin().filter(|_| call.form() != Form::Grpc) {
            cors::push_response_lines(&mut lines, origin);
        }
        lines
    }

    fn push_failure(&self, lines: &mut Vec<u8>, call: &Call, failure: &Failure) {
        let info = failure.reason.info();
        let status = call.status().filter(|status| *status != Status::Ok).unwrap_or(info.grpc);
        call.set_status(status);
        let message = match failure.detail.as_str() {
            "" => info.text.to_owned(),
            detail => format!("{} ({detail})", info.text),
        };
        grpc::push_status(lines, status, &message);
    }

    /// Ends a call whose response has begun with a status, where its client will understand one. `false`: it would not.
    pub(super) fn end_call(&self, stream: &StreamHandle, failure: &Failure) -> bool {
        let Some(call) = &self.call else { return false };
        if call.form() != Form::Grpc || !call.is_between_messages() {
            return false;
        }
        let mut lines = Vec::with_capacity(128);
        self.push_failure(&mut lines, call, failure);
        if self.listener.forwarded.reason_header {
            lines.extend_from_slice(format!("x-ringway-reason: {}\r\n", failure.reason.code()).as_bytes());
        }
        stream.send_trailers(&lines).is_ok()
    }

    /// Whether this may be something that the proxy answers itself: before a route is found its own health, and after that
    /// a browser's question.
    pub(super) fn may_answer(&self, route: Option<&RouteConfig>) -> bool {
        match route {
            None => self.listener.grpc_health && self.call.is_some(),
            Some(route) => self.call.is_none() && !route.grpc.web_origins.is_empty(),
        }
    }

    /// Answers what the proxy answers itself about calls: whether a page may make one, and its own health.
    pub(super) async fn answer_for_grpc(
        &self,
        route: Option<&RouteConfig>,
        response: &mut ResponseHead,
    ) -> Option<Next> {
        if let Some(route) = route {
            let origin = cors::allowed_origin(&route.grpc.web_origins, self.head, self.bytes)?;
            if !cors::is_preflight(self.head, self.bytes) {
                return None;
            }
            let mut reply = rt::take_vec();
            cors::render_preflight(&mut reply, origin, self.head, self.bytes);
            return Some(self.send_reply(reply, 0, response).await);
        }
        match (&self.call, self.client) {
            (Some(call), Client::Http2(stream))
                if call.form() == Form::Grpc && self.head.path.of(self.bytes) == grpc::HEALTH_CHECK =>
            {
                Some(self.answer_health(call, stream, response).await)
            }
            _ => None,
        }
    }

    /// The proxy's own health, whatever service the question names.
    async fn answer_health(&self, call: &Call, stream: &StreamHandle, response: &mut ResponseHead) -> Next {
        let mut head = rt::take_vec();
        head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        call.push_content_type(&mut head, Form::Grpc);
        head.extend_from_slice(b"\r\n");
        let body = grpc::health::response(!self.worker.is_draining());
        self.record.status.set(200);
        self.answered.set(true);
        call.begin(true);
        call.set_status(Status::Ok);
        add(&self.record.response_body_bytes, body.len());
        let sent = self.send_reply_head(stream, &head, response, false);
        // A stream of ours takes less than a window, and nothing waits before it.
        let deadline: Instant = rt::now() + self.listener.limits.response_body_timeout;
        if sent
            && super::stream::send_body(stream, Chunk::from(body.to_vec()), false, deadline).await
            && stream.send_trailers(b"grpc-status: 0\r\n").is_ok()
        {
            return Next::KeepAlive;
        }
        Next::Gone
    }
}
