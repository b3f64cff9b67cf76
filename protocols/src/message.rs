//! The version-neutral message: what a request or response head says, as ranges over the bytes it came in.
//!
//! A head owns no text. Every [`Span`] is relative to the first byte that was given to the parser, so the bytes
//! must stay unchanged (they may move) as long as the head is in use.

mod field_kind;

pub use field_kind::{FieldKind, KindSet};

/// A range of a head's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The bytes of this range, empty where it does not lie within `bytes`.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// The protocol version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// The method of a request. Methods are case-sensitive (RFC 9110 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
    Connect,
    /// Any other token; the head's `method_span` has its text.
    Other,
}

impl Method {
    pub fn of(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }

    /// The name, where the method is one of the known ones.
    pub fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Patch => "PATCH",
            Method::Trace => "TRACE",
            Method::Connect => "CONNECT",
            Method::Other => return None,
        })
    }

    /// RFC 9110 9.2.1.
    pub fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }

    /// RFC 9110 9.2.2: sending it twice has the effect of sending it once.
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}

/// The form of a request target (RFC 9112 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetForm {
    #[default]
    Origin,
    Absolute,
    Authority,
    Asterisk,
}

/// How the end of a body is found (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLength {
    #[default]
    Empty,
    Exact(u64),
    Chunked,
    /// Responses only: the body ends with the connection.
    UntilClose,
}

/// A framing field whose line has to be written anew because it is spelt in an unusual way: white space that is not
/// one space, capitals in `chunked`, leading zeros. It means the same, but not every reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FramingRewrite {
    #[default]
    None,
    Length(u64),
    Chunked,
}

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    /// Without the white space around it.
    pub value: Span,
    pub kind: FieldKind,
    /// Meant for this connection only: a standard hop-by-hop field, or one that `Connection` names. Framing
    /// fields (`Transfer-Encoding`, `Content-Length`) are only marked where they are written anew.
    pub hop_by_hop: bool,
    /// HTTP/2: came as a literal that no hop may put into a table (RFC 7541 6.2.3), and leaves as one.
    pub never_indexed: bool,
}

impl Field {
    /// Whether it is left out of a head on its way: for this connection only, of a kind that is dropped, or of a name.
    #[inline]
    pub fn is_left_out(&self, bytes: &[u8], kinds: KindSet, names: &[Vec<u8>]) -> bool {
        self.hop_by_hop
            || kinds.contains(self.kind)
            || (!names.is_empty() && names.iter().any(|name| is_same_name(name, self.name.of(bytes))))
    }
}

/// Whether two field names mean the same to somebody: without case, and with `_` for `-`, as origins read them that map
/// names to variables (CGI, WSGI, Rack).
pub fn is_same_name(a: &[u8], b: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    a.len() == b.len() && a.iter().map(plain).eq(b.iter().map(plain))
}

/// A request head. Reusable: parsing clears and refills it and keeps the capacity of `fields`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHead {
    pub method: Method,
    pub method_span: Span,
    pub version: Version,
    pub form: TargetForm,
    /// The request target as received.
    pub target: Span,
    /// The scheme of an absolute-form target.
    pub scheme: Option<Span>,
    /// Host and optional port, from the absolute-form or authority-form target or from `Host`; empty only in
    /// HTTP/1.0.
    pub authority: Span,
    /// The path without query; `*` in asterisk-form, empty in authority-form and where an absolute-form target
    /// has none. [`RequestHead::path_of`] gives `/` for the last.
    pub path: Span,
    /// What follows `?`, which may be nothing.
    pub query: Option<Span>,
    pub fields: Vec<Field>,
    /// Kinds of the fields that are present.
    pub kinds: KindSet,
    pub body: BodyLength,
    /// Whether the client wants the connection kept (RFC 9112 9.3).
    pub keep_alive: bool,
    /// The client waits for 100 before it sends its body (RFC 9110 10.1.1).
    pub expect_continue: bool,
    /// The value of `Upgrade`, where `Connection` names it, the version is 1.1 and there is no body.
    pub upgrade: Option<Span>,
    /// HTTP/2: an extended CONNECT (RFC 8441), shown as the GET with `upgrade` that it is in HTTP/1.1.
    pub extended_connect: bool,
    /// `TE` lists `trailers` (RFC 9110 10.1.4).
    pub te_trailers: bool,
    /// Some field must not be forwarded.
    pub hop_by_hop_fields: bool,
    pub framing_rewrite: FramingRewrite,
    /// The `Host` line has white space that is not one space: it is written anew.
    pub host_rewrite: bool,
    /// Length of the head with its final CRLF.
    pub bytes: u32,
}

impl RequestHead {
    /// The value of the first field of this kind. Not for `FieldKind::Other`.
    pub fn lookup(&self, kind: FieldKind) -> Option<Span> {
        lookup(&self.fields, self.kinds, kind)
    }

    /// The path to match and to send: `/` where the target has none (RFC 9110 4.2.3).
    pub fn path_of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        if self.path.is_empty() && self.form == TargetForm::Absolute { b"/" } else { self.path.of(bytes) }
    }

    /// Makes the head empty and keeps its capacity.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }
}

/// A response head. Reusable like [`RequestHead`]. An interim response (1xx) is a head of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseHead {
    pub status: u16,
    pub version: Version,
    pub reason: Span,
    pub fields: Vec<Field>,
    /// Kinds of the fields that are present.
    pub kinds: KindSet,
    pub body: BodyLength,
    /// Whether the connection may be used again after this response.
    pub keep_alive: bool,
    /// The value of `Upgrade`, where `Connection` names it.
    pub upgrade: Option<Span>,
    /// Length of the head with its final CRLF.
    pub bytes: u32,
    /// Some field must not be forwarded.
    pub hop_by_hop_fields: bool,
    pub framing_rewrite: FramingRewrite,
    /// The status line is not what this proxy would send (HTTP/1.0, or no space after the status).
    pub rewrite_status_line: bool,
}

impl ResponseHead {
    /// The value of the first field of this kind. Not for `FieldKind::Other`.
    pub fn lookup(&self, kind: FieldKind) -> Option<Span> {
        lookup(&self.fields, self.kinds, kind)
    }

    /// An interim response: another head follows. 101 is final for HTTP.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Makes the head empty and keeps its capacity.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }
}

fn lookup(fields: &[Field], kinds: KindSet, kind: FieldKind) -> Option<Span> {
    if !kinds.contains(kind) {
        return None;
    }
    fields.iter().find(|field| field.kind == kind).map(|field| field.value)
}
