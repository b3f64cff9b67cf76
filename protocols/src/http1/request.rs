//! Request heads (RFC 9112 3, 5, 6).

use httparse::Status;

use super::diagnose;
use super::error::RequestError;
use super::head::{
    Declared, HeadError, HeadLimits, HeadProgress, Parsed, collect_fields, connection_options,
    declared_length, framing_rewrite, list, with_field_room,
};
use crate::authority;
use crate::message::{BodyLength, FieldKind, Method, RequestHead, Span, TargetForm, Version};

/// Reads a request head from the beginning of `bytes`. After `Complete` the body starts at `head.bytes`.
///
/// One CRLF before the request line is skipped (RFC 9112 2.2). Where a head arrives in pieces, use
/// [`parse_request_resumed`]: this function starts over each time.
pub fn parse_request(
    bytes: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Parsed, RequestError> {
    parse_request_resumed(bytes, limits, &mut HeadProgress::default(), head)
}

/// Like [`parse_request`], for bytes that begin with those of the last call with the same `progress`.
pub fn parse_request_resumed(
    bytes: &[u8],
    limits: &HeadLimits,
    progress: &mut HeadProgress,
    head: &mut RequestHead,
) -> Result<Parsed, RequestError> {
    head.clear();
    let window = bytes.get(..limits.bytes_max as usize).unwrap_or(bytes);
    if window.is_empty() || !progress.is_worth_parsing(window, limits.bytes_max) {
        return Ok(Parsed::NeedMore);
    }
    let Some(start) = request_line_start(window)? else { return Ok(Parsed::NeedMore) };
    let input = window.get(start..).unwrap_or_default();
    let parsed = with_field_room(limits.fields_max, |room| {
        let mut request = httparse::Request::new(&mut []);
        let status = match request.parse_with_uninit_headers(input, room) {
            Ok(status) => status,
            Err(error) => return Err(why(input, error)),
        };
        let Status::Complete(length) = status else { return Ok(None) };
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version)
        else {
            // A complete request has all three.
            return Err(RequestError::InvalidRequestLine);
        };
        head.version = if version == 0 { Version::Http10 } else { Version::Http11 };
        head.method = Method::of(method.as_bytes());
        // The request line was split at single spaces, so the ranges follow from the lengths.
        head.method_span = span(start, method.len());
        head.target = span(start + method.len() + 1, target.len());
        let end = start + length;
        head.bytes = end as u32;
        let found = collect_fields(window, request.headers, end, &mut head.fields)?;
        Ok(Some(found))
    })?;
    let Some(found) = parsed else {
        return incomplete(input, window.len(), limits);
    };
    if head.target.len() > limits.target_bytes_max as usize {
        return Err(RequestError::TargetTooLong);
    }
    head.kinds = found.kinds;
    head.hop_by_hop_fields = found.hop_by_hop_fields;
    head.host_rewrite = found.unusual_host;
    split_target(window, head)?;
    check_host(window, head, found.host, found.host_repeated)?;
    let declared = declared_length(window, head.version, &found)?;
    head.body = body_length(declared, head.method)?;
    head.framing_rewrite = framing_rewrite(&found, declared);
    connection(window, head)?;
    expectation(window, head)?;
    Ok(Parsed::Complete)
}

/// Where the request line starts; `None` where that cannot be said yet.
fn request_line_start(window: &[u8]) -> Result<Option<usize>, RequestError> {
    match window {
        [b'\r'] | [b'\r', b'\n'] => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(RequestError::InvalidRequestLine),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r' | b'\n', ..] => Err(RequestError::BareLineEnd),
        _ => Ok(Some(0)),
    }
}

/// A head that has not ended: whether it may still grow.
fn incomplete(input: &[u8], window: usize, limits: &HeadLimits) -> Result<Parsed, RequestError> {
    let mut words = input.split(|b| *b == b' ' || *b == b'\r' || *b == b'\n');
    if words.nth(1).is_some_and(|target| target.len() > limits.target_bytes_max as usize) {
        return Err(RequestError::TargetTooLong);
    }
    if window >= limits.bytes_max as usize {
        return Err(RequestError::HeadTooLarge);
    }
    Ok(Parsed::NeedMore)
}

/// Names the rule behind an error of the tokeniser.
#[cold]
fn why(input: &[u8], error: httparse::Error) -> RequestError {
    let line = input.split(|b| *b == b'\n').next().unwrap_or_default();
    let word = |index| line.split(|b| *b == b' ').nth(index).unwrap_or_default();
    match error {
        httparse::Error::TooManyHeaders => RequestError::TooManyFields,
        httparse::Error::Version if word(2).starts_with(b"HTTP/") => RequestError::UnsupportedVersion,
        httparse::Error::Token if word(1).iter().any(|b| !matches!(b, 0x21..0x7f | b'\r')) => {
            RequestError::InvalidTarget
        }
        httparse::Error::Version | httparse::Error::Token => RequestError::InvalidRequestLine,
        httparse::Error::NewLine | httparse::Error::Status => diagnose::start_line_rule(input).into(),
        httparse::Error::HeaderName => diagnose::field_rule(input, HeadError::InvalidFieldName).into(),
        httparse::Error::HeaderValue => diagnose::field_rule(input, HeadError::InvalidFieldValue).into(),
    }
}

/// RFC 9112 3.2: the four forms.
fn split_target(bytes: &[u8], head: &mut RequestHead) -> Result<(), RequestError> {
    let target = head.target.of(bytes);
    // RFC 3986 2: neither fragments nor anything but ASCII belongs into a target; controls never got here. No early
    // exit, so that the loop runs over many bytes at a time.
    if target.iter().fold(false, |bad, b| bad | (*b >= 0x80) | (*b == b'#')) {
        return Err(RequestError::InvalidTarget);
    }
    let start = head.target.start as usize;
    if head.method == Method::Connect {
        head.form = TargetForm::Authority;
        head.authority = head.target;
        return match authority::parse(target) {
            Some(authority) if authority.port.is_some() => Ok(()),
            Some(_) => Err(RequestError::InvalidAuthority),
            None if target.starts_with(b"/") || target == b"*" => Err(RequestError::TargetFormNotAllowed),
            None => Err(RequestError::InvalidAuthority),
        };
    }
    match target {
        [b'/', ..] => {
            head.form = TargetForm::Origin;
            split_query(target, start, head);
            Ok(())
        }
        b"*" => {
            head.form = TargetForm::Asterisk;
            head.path = head.target;
            if head.method == Method::Options { Ok(()) } else { Err(RequestError::TargetFormNotAllowed) }
        }
        _ => split_absolute(target, start, head),
    }
}

fn split_absolute(target: &[u8], start: usize, head: &mut RequestHead) -> Result<(), RequestError> {
    let scheme = ["http", "https"].into_iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme.as_bytes()))
            && target.get(scheme.len()..).is_some_and(|rest| rest.starts_with(b"://"))
    });
    let Some(scheme) = scheme else {
        let named = authority::parse(target).is_some();
        return Err(if named { RequestError::TargetFormNotAllowed } else { RequestError::InvalidTarget });
    };
    let skipped = scheme.len() + 3;
    let rest = target.get(skipped..).unwrap_or_default();
    let length = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (name, path) = rest.split_at_checked(length).unwrap_or_default();
    if authority::parse(name).is_none() {
        return Err(RequestError::InvalidAuthority);
    }
    head.form = TargetForm::Absolute;
    head.scheme = Some(span(start, scheme.len()));
    head.authority = span(start + skipped, length);
    split_query(path, start + skipped + length, head);
    Ok(())
}

pub(crate) fn split_query(path: &[u8], start: usize, head: &mut RequestHead) {
    match path.iter().position(|b| *b == b'?') {
        Some(at) => {
            head.path = span(start, at);
            head.query = Some(span(start + at + 1, path.len() - at - 1));
        }
        None => head.path = span(start, path.len()),
    }
}

/// RFC 9112 3.2: exactly one valid `Host` in HTTP/1.1, equal to the authority of the target where there is one.
fn check_host(
    bytes: &[u8],
    head: &mut RequestHead,
    host: Option<Span>,
    repeated: bool,
) -> Result<(), RequestError> {
    if repeated {
        return Err(RequestError::DuplicateHost);
    }
    let Some(host) = host else {
        return if head.version == Version::Http10 { Ok(()) } else { Err(RequestError::MissingHost) };
    };
    if authority::parse(host.of(bytes)).is_none() {
        return Err(RequestError::InvalidHost);
    }
    if matches!(head.form, TargetForm::Absolute | TargetForm::Authority) {
        if !host.of(bytes).eq_ignore_ascii_case(head.authority.of(bytes)) {
            return Err(RequestError::HostMismatch);
        }
    } else {
        head.authority = host;
    }
    Ok(())
}

/// RFC 9112 6.3: a request without a declared length has no body; it is never read until the connection closes.
fn body_length(declared: Declared, method: Method) -> Result<BodyLength, RequestError> {
    let body = match declared {
        Declared::Nothing | Declared::Length(0) => BodyLength::Empty,
        Declared::Length(length) => BodyLength::Exact(length),
        Declared::Chunked => BodyLength::Chunked,
    };
    if body != BodyLength::Empty && matches!(method, Method::Trace | Method::Connect) {
        return Err(RequestError::BodyNotAllowed);
    }
    Ok(body)
}

fn connection(bytes: &[u8], head: &mut RequestHead) -> Result<(), RequestError> {
    head.keep_alive = head.version == Version::Http11;
    if head.kinds.contains(FieldKind::Te) {
        head.te_trailers = head
            .fields
            .iter()
            .filter(|field| field.kind == FieldKind::Te)
            .flat_map(|field| list(field.value.of(bytes)))
            .any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    }
    if !head.kinds.contains(FieldKind::Connection) {
        return Ok(());
    }
    let options = connection_options(bytes, &mut head.fields)?;
    // RFC 9112 9.3: `close` wins over everything.
    head.keep_alive = !options.close && (head.keep_alive || options.keep_alive);
    // RFC 9110 7.8: not in HTTP/1.0. A request with a body is not taken out of HTTP: the tunnel could not start
    // before the body has ended, and hops differ in when that is.
    if options.upgrade && head.version == Version::Http11 && head.body == BodyLength::Empty {
        head.upgrade = head.lookup(FieldKind::Upgrade);
    }
    Ok(())
}

/// RFC 9110 10.1.1.
pub(crate) fn expectation(bytes: &[u8], head: &mut RequestHead) -> Result<(), RequestError> {
    if !head.kinds.contains(FieldKind::Expect) {
        return Ok(());
    }
    let mut expected = head.fields.iter_mut().filter(|field| field.kind == FieldKind::Expect);
    let (Some(field), None) = (expected.next(), expected.next()) else {
        return Err(RequestError::UnknownExpectation);
    };
    if !field.value.of(bytes).eq_ignore_ascii_case(b"100-continue") {
        return Err(RequestError::UnknownExpectation);
    }
    let has_content = !matches!(head.body, BodyLength::Empty | BodyLength::Exact(0));
    if head.version != Version::Http10 && has_content {
        head.expect_continue = true;
    } else {
        // To be ignored in HTTP/1.0 and without a body, so it must not reach an origin that would act on it.
        field.hop_by_hop = true;
        head.hop_by_hop_fields = true;
    }
    Ok(())
}

fn span(start: usize, len: usize) -> Span {
    // Ranges of a head, which is at most `HeadLimits::bytes_max` long.
    Span { start: start as u32, end: (start + len) as u32 }
}

#[cfg(test)]
mod tests;
