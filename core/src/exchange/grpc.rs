//! What an exchange does differently when it is a call of gRPC.

use std::io::Write;

use ringway_protocols::grpc::{self, Kind, Status};
use ringway_protocols::message::{FieldKind, KindSet, Method, RequestHead, ResponseHead};

use super::{Exchange, Failure};
use crate::error::Reason;
use crate::io as rt;

/// The kind of call that a request is. Calls are always POST.
pub(super) fn kind_of(head: &RequestHead, bytes: &[u8]) -> Option<Kind> {
    if head.method != Method::Post {
        return None;
    }
    grpc::kind_of(head.lookup(FieldKind::ContentType)?.of(bytes))
}

impl Exchange<'_> {
    /// Takes the client's timeout for the deadline, where it is the earlier one.
    pub(super) fn begin_call(&self) -> Result<(), Failure> {
        let refused = |detail: &str| Failure { reason: Reason::BadRequest, detail: detail.to_owned() };
        if grpc::split_path(self.head.path_of(self.bytes)).is_none() {
            return Err(refused("the path of a call is not /package.Service/Method"));
        }
        let Some(field) = self.head.lookup(FieldKind::GrpcTimeout) else { return Ok(()) };
        let timeout = grpc::parse_timeout(field.of(self.bytes))
            .ok_or_else(|| refused("grpc-timeout is not at most eight digits and a unit"))?;
        // A timeout beyond what a clock can hold is none.
        if let Some(at) = self.record.head_received.checked_add(timeout) {
            self.deadline.set(Some(self.until(at)));
        }
        if timeout.is_zero() { Err(Reason::RequestTimeout.into()) } else { Ok(()) }
    }

    /// Tells the origin what is left of the time.
    pub(super) fn write_call_timeout(&self, append: &mut Vec<u8>, drop: &mut KindSet) {
        let Some(deadline) = self.deadline.get() else { return };
        drop.insert(FieldKind::GrpcTimeout);
        append.extend_from_slice(b"grpc-timeout: ");
        grpc::push_timeout(append, deadline.saturating_duration_since(rt::now()));
        append.extend_from_slice(b"\r\n");
    }

    /// Status of a local reply: that of gRPC travels in a field of its own.
    pub(super) fn reply_status(&self, reason: Reason) -> u16 {
        if self.grpc.is_some() { 200 } else { reason.status() }
    }

    /// A local reply of trailers only, in the form of HTTP/1.1.
    pub(super) fn render_call_reply(&self, failure: &Failure, keep_alive: bool) -> Vec<u8> {
        let reason = failure.reason;
        self.record.grpc_status.set(Some(reason.grpc_status()));
        let media = match self.grpc {
            Some(Kind::Web) => "application/grpc-web",
            Some(Kind::WebText) => "application/grpc-web-text",
            Some(Kind::Grpc) | None => "application/grpc",
        };
        let mut out = rt::take_vec();
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-length: 0\r\ngrpc-status: {}\r\ngrpc-message: ",
            reason.grpc_status() as u8
        );
        grpc::push_message(&mut out, reason.info().text);
        if !failure.detail.is_empty() {
            grpc::push_message(&mut out, ": ");
            grpc::push_message(&mut out, &failure.detail);
        }
        out.extend_from_slice(b"\r\n");
        if self.listener.forwarded.reason_header {
            let _ = write!(out, "x-ringway-reason: {}\r\n", reason.code());
        }
        if !keep_alive {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Takes down the status that a response head tells: of trailers only, or of something that is not gRPC.
    pub(super) fn note_call_head(&self, response: &ResponseHead, bytes: &[u8]) {
        if self.grpc.is_none() {
            return;
        }
        let told = response.lookup(FieldKind::GrpcStatus).and_then(|field| Status::parse(field.of(bytes)));
        let status = told.or_else(|| (response.status != 200).then(|| Status::of_http(response.status)));
        self.record.grpc_status.set(status);
    }

    /// Takes down the status that trailers tell.
    pub(super) fn note_call_trailers(&self, lines: &[u8]) {
        if self.grpc.is_some()
            && let Some(status) = grpc::trailer_status(lines)
        {
            self.record.grpc_status.set(Some(status));
        }
    }

    /// How the call ended, once it has.
    pub(super) fn call_status(&self) -> Option<Status> {
        let kind = self.grpc?;
        let told = self.record.grpc_status.get();
        let status = told.or_else(|| self.record.reason.get().map(Reason::grpc_status));
        match kind {
            // A server that ends without a status has broken the protocol; clients take that for this one.
            Kind::Grpc => Some(status.unwrap_or(Status::Unknown)),
            // It is within the body, which passes as it is.
            Kind::Web | Kind::WebText => status,
        }
    }
}
