//! gRPC: what an exchange that is a call needs beyond HTTP.
//!
//! A call is recognised by its `Content-Type` alone. It is proxied like any exchange; what differs is its deadline, how the
//! proxy answers it itself, and that its true outcome stands in the trailers.

pub mod cors;
pub mod health;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use ringway_protocols::grpc::{
    self, Base64Decoder, Base64Error, ContentType, Form, Messages, Status, encode_base64, trailers_frame,
};
use ringway_protocols::message::{FieldKind, KindSet, Method, RequestHead, ResponseHead};

use crate::error::Reason;
use crate::http2::BodyPiece;
use crate::io::{self as rt, Chunk};

/// The path of the health protocol's one unary method.
pub const HEALTH_CHECK: &[u8] = b"/grpc.health.v1.Health/Check";

/// The state of one call.
pub struct Call {
    form: Form,
    /// The encoding of messages with its plus sign.
    encoding: Vec<u8>,
    /// A body of gRPC-Web is turned into one of gRPC, and the response back.
    translated: Cell<bool>,
    sent: Cell<Messages>,
    received: Cell<Messages>,
    base64: RefCell<Base64Decoder>,
    status: Cell<Option<Status>>,
}

/// What the statistics and the access log say of a call.
#[derive(Debug, Clone, Copy)]
pub struct CallOutcome<'a> {
    /// `/package.Service/Method`.
    pub path: &'a [u8],
    pub service: &'a [u8],
    pub method: &'a [u8],
    pub status: Status,
    /// The origin took the call, so that its method is one that exists.
    pub known: bool,
    /// Messages from the client, and to it.
    pub messages_in: u64,
    pub messages_out: u64,
}

impl Call {
    /// `None` for a request that is no call.
    pub fn of(head: &RequestHead, bytes: &[u8]) -> Option<Box<Call>> {
        if head.method != Method::Post {
            return None;
        }
        let content_type = head.lookup(FieldKind::ContentType)?;
        let ContentType { form, encoding } = ContentType::parse(content_type.of(bytes))?;
        // Boxed: most exchanges are no calls and should not carry the room for one.
        Some(Box::new(Call {
            form,
            encoding: encoding.to_vec(),
            translated: Cell::new(false),
            sent: Cell::default(),
            received: Cell::default(),
            base64: RefCell::default(),
            status: Cell::new(None),
        }))
    }

    /// What the call is given as its deadline, from now on.
    ///
    /// # Errors
    /// What is wrong with the request as a call.
    pub fn check(&self, head: &RequestHead, bytes: &[u8]) -> Result<Option<Duration>, &'static str> {
        if head.query.is_some() || grpc::split_path(head.path_of(bytes)).is_none() {
            return Err("the path of a gRPC call is /package.Service/Method");
        }
        let Some(timeout) = head.lookup(FieldKind::GrpcTimeout) else { return Ok(None) };
        grpc::parse_timeout(timeout.of(bytes)).map(Some).ok_or("grpc-timeout is not valid")
    }

    pub fn form(&self) -> Form {
        self.form
    }

    pub fn is_translated(&self) -> bool {
        self.translated.get()
    }

    /// Begins an attempt. Only an origin that speaks HTTP/2 gets gRPC-Web as gRPC.
    pub fn begin(&self, http2: bool) {
        self.translated.set(http2 && self.form != Form::Grpc);
        self.received.set(Messages::default());
        self.status.set(None);
    }

    pub fn status(&self) -> Option<Status> {
        self.status.get()
    }

    pub fn set_status(&self, status: Status) {
        self.status.set(Some(status));
    }

    /// No message has been passed on in part.
    pub fn is_between_messages(&self) -> bool {
        self.received.get().is_between()
    }

    /// What the head of the request loses and gets on its way to the origin.
    pub fn edit_request(&self, append: &mut Vec<u8>, drop: &mut KindSet, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            drop.insert(FieldKind::GrpcTimeout);
            let left = deadline.saturating_duration_since(rt::now());
            append.extend_from_slice(b"grpc-timeout: ");
            append.extend_from_slice(grpc::render_timeout(left).as_bytes());
            append.extend_from_slice(b"\r\n");
        }
        if self.translated.get() {
            drop.insert(FieldKind::ContentType);
            if self.form == Form::WebText {
                drop.insert(FieldKind::ContentLength);
            }
            self.push_content_type(append, Form::Grpc);
        }
    }

    /// Appends the `content-type` line in a form.
    pub fn push_content_type(&self, out: &mut Vec<u8>, form: Form) {
        let content_type = ContentType { form, encoding: &self.encoding };
        out.extend_from_slice(b"content-type: ");
        out.extend_from_slice(&content_type.render(form));
        out.extend_from_slice(b"\r\n");
    }

    /// A piece of the request body as the origin gets it.
    pub fn request_piece(&self, piece: BodyPiece) -> Result<BodyPiece, Base64Error> {
        let BodyPiece::Data(data, end) = piece else {
            return if self.base64.borrow().is_complete() { Ok(piece) } else { Err(Base64Error) };
        };
        let (data, end) = if self.translated.get() && self.form == Form::WebText {
            let (mut decoder, mut out) = (self.base64.borrow_mut(), rt::take_vec());
            decoder.decode(&data, &mut out)?;
            if end && !decoder.is_complete() {
                return Err(Base64Error);
            }
            (Chunk::from(out), end)
        } else {
            (data, end)
        };
        count(&self.sent, &data);
        Ok(if data.is_empty() && end { BodyPiece::End } else { BodyPiece::Data(data, end) })
    }

    /// Takes down what the head of a response says. Returns what it means where it is no response of gRPC.
    pub fn read_head(&self, head: &ResponseHead, bytes: &[u8]) -> Option<Status> {
        if let Some(status) = head.lookup(FieldKind::GrpcStatus) {
            self.status.set(Some(Status::of_field(status.of(bytes))));
            return None;
        }
        let content_type = head.lookup(FieldKind::ContentType).unwrap_or_default().of(bytes);
        (head.status != 200 || ContentType::parse(content_type).is_none())
            .then(|| Status::of_http(head.status))
    }

    /// What the client gets for one piece of the response body. The second exists where trailers follow data.
    pub fn response_pieces(&self, piece: BodyPiece, missing: &mut bool) -> (BodyPiece, Option<BodyPiece>) {
        let (data, end, trailers) = match piece {
            BodyPiece::Data(data, end) => (Some(data), end, None),
            BodyPiece::Trailers(lines) => (None, true, Some(lines)),
            BodyPiece::End => (None, true, None),
        };
        if let Some(data) = &data {
            count(&self.received, data);
        }
        let mut trailers = trailers.inspect(|lines| self.read_trailers(lines));
        if end && self.status.get().is_none() {
            // Without a status the client could not tell a whole response from one that was cut.
            *missing = true;
            let reason = Reason::UpstreamNoGrpcStatus;
            self.status.set(Some(reason.info().grpc));
            push_status(trailers.get_or_insert_default(), reason.info().grpc, reason.info().text);
        }
        let end = end && trailers.is_none();
        let data = data.map(|data| BodyPiece::Data(self.encode(data), end));
        let trailers = trailers.map(|lines| {
            if self.translated.get() {
                BodyPiece::Data(self.encode(Chunk::from(trailers_frame(&lines))), true)
            } else {
                BodyPiece::Trailers(lines)
            }
        });
        match (data, trailers) {
            (Some(BodyPiece::Data(data, true)), None) if data.is_empty() => (BodyPiece::End, None),
            (Some(data), trailers) => (data, trailers),
            (None, Some(trailers)) => (trailers, None),
            (None, None) => (BodyPiece::End, None),
        }
    }

    fn encode(&self, data: Chunk) -> Chunk {
        if self.translated.get() && self.form == Form::WebText {
            Chunk::from(encode_base64(&data))
        } else {
            data
        }
    }

    fn read_trailers(&self, lines: &[u8]) {
        if let Some(status) = status_of_trailers(lines) {
            self.status.set(Some(status));
        }
    }

    /// What is known of the call when its exchange ends; `None` where it ran past us (gRPC-Web between two sides of HTTP/1.1).
    pub fn outcome<'a>(
        &self,
        head: &RequestHead,
        bytes: &'a [u8],
        reason: Option<Reason>,
    ) -> Option<CallOutcome<'a>> {
        let path = head.path.of(bytes);
        let (service, method) = grpc::split_path(path)?;
        let status = self.status.get().or(reason.map(|reason| reason.info().grpc))?;
        Some(CallOutcome {
            path,
            service,
            method,
            status,
            known: reason.is_none() && status != Status::Unimplemented,
            messages_in: self.sent.get().complete(),
            messages_out: self.received.get().complete(),
        })
    }
}

fn count(messages: &Cell<Messages>, data: &[u8]) {
    let mut now = messages.get();
    now.take(data);
    messages.set(now);
}

/// The status in trailers, given as `name: value\r\n` lines.
fn status_of_trailers(lines: &[u8]) -> Option<Status> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let is_status = name.eq_ignore_ascii_case(b"grpc-status");
        is_status.then(|| Status::of_field(value.get(1..).unwrap_or_default().trim_ascii()))
    })
}

/// Appends the lines of a status.
pub fn push_status(out: &mut Vec<u8>, status: Status, message: &str) {
    let line =
        format!("grpc-status: {}\r\ngrpc-message: {}\r\n", status.code(), grpc::encode_message(message));
    out.extend_from_slice(line.as_bytes());
}
