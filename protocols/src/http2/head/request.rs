//! Requests (RFC 9113 8.3.1, 8.5; RFC 8441).

use super::error::{HeadError, Malformed};
use super::fields::{Budget, ContentLength, SPECIAL, check_special, field, span};
use super::repeat::Asked;
use crate::authority;
use crate::http1::{self, is_token};
use crate::http2::hpack::{Decoder, Line, Name};
use crate::http2::words;
use crate::message::{
    BodyLength, Field, FieldKind, FramingRewrite, Method, RequestHead, Span, TargetForm, Version,
};

/// Decodes a block. `pseudo` is room for the pseudo-header fields, empty.
pub(super) fn read(
    hpack: &mut Decoder,
    pseudo: &mut Vec<u8>,
    block: &[u8],
    asked: &Asked,
    head: &mut RequestHead,
    bytes: &mut Vec<u8>,
) -> Result<(), HeadError> {
    head.clear();
    bytes.clear();
    let mut at = 0;
    hpack.begin(block, &mut at)?;
    let mut reader = Reader::new(asked, head, bytes);
    loop {
        let out = if reader.started { &mut *reader.bytes } else { &mut *pseudo };
        let Some(line) = hpack.next(block, &mut at, out)? else { break };
        if let Err(error) = reader.take(line, pseudo) {
            hpack.skip_rest(block, at)?;
            return Err(error);
        }
    }
    reader.finish(pseudo)
}

struct Reader<'a> {
    asked: &'a Asked,
    head: &'a mut RequestHead,
    bytes: &'a mut Vec<u8>,
    budget: Budget,
    pseudo: Pseudo,
    /// The pseudo-header fields are complete and the request line is written.
    started: bool,
    host_seen: bool,
    content_length: ContentLength,
    /// The cookie, if there was one: its place among the fields.
    cookie: Option<usize>,
    /// Crumbs that came after another field, to be added to the cookie.
    late_crumbs: Vec<u8>,
}

/// Values of pseudo-header fields, as ranges of the room for them.
#[derive(Default)]
struct Pseudo {
    method: Option<Span>,
    scheme: Option<Span>,
    authority: Option<Span>,
    path: Option<Span>,
    protocol: Option<Span>,
}

impl<'a> Reader<'a> {
    fn new(asked: &'a Asked, head: &'a mut RequestHead, bytes: &'a mut Vec<u8>) -> Reader<'a> {
        Reader {
            asked,
            head,
            bytes,
            budget: Budget::of(&asked.limits),
            pseudo: Pseudo::default(),
            started: false,
            host_seen: false,
            content_length: ContentLength::default(),
            cookie: None,
            late_crumbs: Vec::new(),
        }
    }

    /// Takes the line that was just decoded: into `pseudo` before the start, into `bytes` after it.
    #[inline]
    fn take(&mut self, mut line: Line, pseudo: &[u8]) -> Result<(), HeadError> {
        let end = if self.started { self.bytes.len() } else { pseudo.len() };
        self.budget.charge_line(end - line.start)?;
        if let Some(rule) = line.broken_value {
            return Err(rule.into());
        }
        let kind = match line.name {
            Name::Field(kind) => kind,
            Name::Broken(rule) => return Err(rule.into()),
            name => return self.take_pseudo(name, span(line.value_start(), end.saturating_sub(2))),
        };
        self.budget.charge_field()?;
        if !self.started {
            self.start(pseudo)?;
            let text = pseudo.get(line.start..).unwrap_or_default();
            line.start = self.bytes.len();
            self.bytes.extend_from_slice(text);
        }
        let mut field = field(&line, kind, self.bytes);
        if SPECIAL.contains(kind) && !self.take_special(&line, &mut field)? {
            return Ok(());
        }
        self.head.hop_by_hop_fields |= field.hop_by_hop;
        self.head.kinds.insert(kind);
        self.head.fields.push(field);
        Ok(())
    }

    fn take_pseudo(&mut self, name: Name, value: Span) -> Result<(), HeadError> {
        if self.started {
            return Err(Malformed::PseudoAfterField.into());
        }
        let slot = match name {
            Name::Method => &mut self.pseudo.method,
            Name::Scheme => &mut self.pseudo.scheme,
            Name::Authority => &mut self.pseudo.authority,
            Name::Path => &mut self.pseudo.path,
            Name::Protocol => &mut self.pseudo.protocol,
            Name::Status => return Err(Malformed::PseudoNotAllowed.into()),
            _ => return Err(Malformed::UnknownPseudo.into()),
        };
        if slot.replace(value).is_some() { Err(Malformed::DuplicatePseudo.into()) } else { Ok(()) }
    }

    /// Checks the pseudo-header fields and writes what stands for them: the request line and `host`.
    fn start(&mut self, pseudo: &[u8]) -> Result<(), HeadError> {
        self.started = true;
        let method = self.pseudo.method.ok_or(Malformed::MissingPseudo)?.of(pseudo);
        if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
            return Err(Malformed::InvalidMethod.into());
        }
        let authority = self.pseudo.authority.map(|authority| authority.of(pseudo));
        let parsed = match authority {
            Some(authority) => Some(authority::parse(authority).ok_or(Malformed::InvalidAuthority)?),
            None => None,
        };
        self.head.version = Version::Http2;
        self.head.keep_alive = true;
        self.head.method = Method::of(method);
        if self.head.method != Method::Connect {
            if self.pseudo.protocol.is_some() {
                return Err(Malformed::PseudoNotAllowed.into());
            }
            self.write_start(method, pseudo)?;
        } else if let Some(protocol) = self.pseudo.protocol {
            self.start_extended_connect(protocol.of(pseudo), pseudo)?;
        } else {
            // RFC 9113 8.5.
            if self.pseudo.scheme.is_some() || self.pseudo.path.is_some() {
                return Err(Malformed::PseudoNotAllowed.into());
            }
            let parsed = parsed.ok_or(Malformed::MissingAuthority)?;
            if parsed.port.is_none() {
                return Err(Malformed::InvalidAuthority.into());
            }
            self.head.form = TargetForm::Authority;
            self.write_request_line(method, authority.unwrap_or_default());
        }
        if let Some(authority) = authority {
            let field = self.write_field(b"host", authority, FieldKind::Host);
            self.head.authority = field.value;
        }
        if let Some(protocol) = self.pseudo.protocol {
            let field = self.write_field(b"upgrade", protocol.of(pseudo), FieldKind::Upgrade);
            self.head.hop_by_hop_fields = true;
            self.head.upgrade = Some(field.value);
        }
        Ok(())
    }

    /// RFC 8441 4: shown as what it is in HTTP/1.1.
    fn start_extended_connect(&mut self, protocol: &[u8], pseudo: &[u8]) -> Result<(), HeadError> {
        if !self.asked.connect_protocol {
            return Err(Malformed::PseudoNotAllowed.into());
        }
        if protocol.is_empty() || !protocol.iter().all(|b| is_token(*b)) {
            return Err(Malformed::InvalidProtocol.into());
        }
        if self.pseudo.authority.is_none() {
            return Err(Malformed::MissingAuthority.into());
        }
        self.head.extended_connect = true;
        self.head.method = Method::Get;
        self.write_start(b"GET", pseudo)
    }

    /// The request line of a request with a scheme and a path.
    fn write_start(&mut self, method: &[u8], pseudo: &[u8]) -> Result<(), HeadError> {
        // Others are for gateways to other protocols, which this is not; HTTP/1.1 takes no others either.
        let scheme = self.pseudo.scheme.ok_or(Malformed::MissingPseudo)?.of(pseudo);
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            return Err(Malformed::InvalidScheme.into());
        }
        let path = self.pseudo.path.ok_or(Malformed::MissingPseudo)?.of(pseudo);
        if path.len() > self.asked.limits.target_bytes_max as usize {
            return Err(HeadError::TargetTooLong);
        }
        if !words::is_path(path) {
            return Err(Malformed::InvalidPath.into());
        }
        self.head.form = match path {
            [b'/', ..] => TargetForm::Origin,
            b"*" if self.head.method == Method::Options => TargetForm::Asterisk,
            _ => return Err(Malformed::InvalidPath.into()),
        };
        self.write_request_line(method, path);
        http1::split_query(path, self.head.target.start as usize, self.head);
        Ok(())
    }

    fn write_request_line(&mut self, method: &[u8], target: &[u8]) {
        self.bytes.extend_from_slice(method);
        self.bytes.push(b' ');
        let start = self.bytes.len();
        self.head.method_span = span(0, start - 1);
        self.bytes.extend_from_slice(target);
        self.head.target = span(start, self.bytes.len());
        self.bytes.extend_from_slice(b" HTTP/2.0\r\n");
    }

    fn write_field(&mut self, name: &[u8], value: &[u8], kind: FieldKind) -> Field {
        let line = Line {
            start: self.bytes.len(),
            name_bytes: name.len(),
            name: Name::Field(kind),
            broken_value: None,
            never_indexed: false,
        };
        for part in [name, b": ", value, b"\r\n"] {
            self.bytes.extend_from_slice(part);
        }
        let field = field(&line, kind, self.bytes);
        self.head.kinds.insert(kind);
        self.head.fields.push(field);
        field
    }

    /// Fields with rules of their own; says whether the line stays.
    #[inline(never)]
    fn take_special(&mut self, line: &Line, field: &mut Field) -> Result<bool, HeadError> {
        check_special(field.kind)?;
        let value = field.value.of(self.bytes);
        match field.kind {
            // RFC 9113 8.2.2.
            FieldKind::Te if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(Malformed::InvalidTe.into());
            }
            FieldKind::Te => self.head.te_trailers = true,
            FieldKind::ContentLength => field.hop_by_hop = self.content_length.note(value)?,
            FieldKind::Host => {
                if std::mem::replace(&mut self.host_seen, true) {
                    return Err(Malformed::DuplicateHost.into());
                }
                if self.pseudo.authority.is_some() {
                    // RFC 9113 8.3.1: two different hosts are two different requests to two readers.
                    if !value.eq_ignore_ascii_case(self.head.authority.of(self.bytes)) {
                        return Err(Malformed::HostMismatch.into());
                    }
                    self.bytes.truncate(line.start);
                    return Ok(false);
                }
                if authority::parse(value).is_none() {
                    return Err(Malformed::InvalidHost.into());
                }
                self.head.authority = field.value;
            }
            FieldKind::Cookie => return Ok(self.take_cookie(line, field)),
            _ => {}
        }
        Ok(true)
    }

    /// RFC 9113 8.2.3: crumbs are one field to everybody else. Says whether this one is the first.
    fn take_cookie(&mut self, line: &Line, crumb: &Field) -> bool {
        let Some(place) = self.cookie else {
            self.cookie = Some(self.head.fields.len());
            return true;
        };
        let is_last = place + 1 == self.head.fields.len();
        let Some(cookie) = self.head.fields.get_mut(place) else { return true };
        cookie.never_indexed |= crumb.never_indexed;
        if crumb.value.is_empty() {
            self.bytes.truncate(line.start);
        } else if is_last {
            // The line ends the bytes: its CRLF and what precedes the crumb's value become the separator.
            let from = if cookie.value.is_empty() { cookie.value.start } else { cookie.value.end };
            let separator: &[u8] = if cookie.value.is_empty() { b"" } else { b"; " };
            self.bytes.splice(from as usize..crumb.value.start as usize, separator.iter().copied());
            cookie.value.end = self.bytes.len().saturating_sub(2) as u32;
        } else {
            self.late_crumbs.extend_from_slice(b"; ");
            self.late_crumbs.extend_from_slice(crumb.value.of(self.bytes));
            self.bytes.truncate(line.start);
        }
        false
    }

    fn finish(mut self, pseudo: &[u8]) -> Result<(), HeadError> {
        if !self.started {
            self.start(pseudo)?;
        }
        if self.head.authority.is_empty() {
            return Err(Malformed::MissingAuthority.into());
        }
        self.add_late_crumbs();
        self.bytes.extend_from_slice(b"\r\n");
        self.head.bytes = self.bytes.len() as u32;
        self.frame()?;
        http1::expectation(self.bytes, self.head).map_err(|_| HeadError::UnknownExpectation)
    }

    fn add_late_crumbs(&mut self) {
        let Some((cookie, after)) =
            self.cookie.and_then(|place| self.head.fields.get_mut(place..)?.split_first_mut())
        else {
            return;
        };
        if self.late_crumbs.is_empty() {
            return;
        }
        // A first crumb that is empty needs no separator behind it.
        let crumbs = self.late_crumbs.get(if cookie.value.is_empty() { 2 } else { 0 }..).unwrap_or_default();
        let end = cookie.value.end as usize;
        self.bytes.splice(end..end, crumbs.iter().copied());
        let by = crumbs.len() as u32;
        cookie.value.end += by;
        let shift = |span: &mut Span| *span = Span { start: span.start + by, end: span.end + by };
        for field in after {
            shift(&mut field.name);
            shift(&mut field.value);
        }
        if self.head.authority.start as usize >= end {
            shift(&mut self.head.authority);
        }
    }

    /// How the body is framed, for HTTP/1.1 too (RFC 9112 6.3).
    fn frame(&mut self) -> Result<(), HeadError> {
        let head = &mut *self.head;
        if head.form == TargetForm::Authority || head.extended_connect {
            // What follows is a tunnel and not a body (RFC 9113 8.5).
            let declared = self.content_length.declared;
            return if declared.is_some() { Err(Malformed::BodyNotAllowed.into()) } else { Ok(()) };
        }
        head.framing_rewrite = self.content_length.rewrite();
        match (self.content_length.declared, self.asked.end_stream) {
            (Some(1..), true) => return Err(Malformed::ContentLengthMismatch.into()),
            (Some(0), true) => {}
            // RFC 9110 8.6: said where a body is expected.
            (None, true) if matches!(head.method, Method::Post | Method::Put | Method::Patch) => {
                head.framing_rewrite = FramingRewrite::Length(0);
            }
            (None, true) => {}
            // Zero too: the end of the stream is still to come.
            (Some(length), false) => head.body = BodyLength::Exact(length),
            (None, false) => {
                head.body = BodyLength::Chunked;
                head.framing_rewrite = FramingRewrite::Chunked;
            }
        }
        if head.body != BodyLength::Empty && head.method == Method::Trace {
            return Err(Malformed::BodyNotAllowed.into());
        }
        Ok(())
    }
}
