//! Response heads (RFC 9112 4, 5, 6), read as strictly as requests: an origin's mistakes must not become a client's.

use httparse::Status;

use super::diagnose;
use super::error::ResponseError;
use super::head::{
    Declared, Found, HeadError, HeadLimits, HeadProgress, Parsed, collect_fields, connection_options,
    declared_length, framing_rewrite, with_field_room,
};
use crate::message::{BodyLength, FieldKind, FramingRewrite, Method, ResponseHead, Span, Version};

/// Reads a response head from the beginning of `bytes`; `method` is that of the request. An interim response
/// (1xx) is a head of its own, without a body. After `Complete` the body starts at `head.bytes`.
pub fn parse_response(
    bytes: &[u8],
    limits: &HeadLimits,
    method: Method,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    parse_response_resumed(bytes, limits, method, &mut HeadProgress::default(), head)
}

/// Like [`parse_response`], for bytes that begin with those of the last call with the same `progress`.
pub fn parse_response_resumed(
    bytes: &[u8],
    limits: &HeadLimits,
    method: Method,
    progress: &mut HeadProgress,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    head.clear();
    let window = bytes.get(..limits.bytes_max as usize).unwrap_or(bytes);
    if window.is_empty() || !progress.is_worth_parsing(window, limits.bytes_max) {
        return Ok(Parsed::NeedMore);
    }
    // RFC 9112 2.2 lets servers skip an empty line before a request; there is no such rule for responses.
    if !b"HTTP/".starts_with(window.get(..5).unwrap_or(window)) {
        return Err(ResponseError::InvalidStatusLine);
    }
    let parsed = with_field_room(limits.fields_max, |room| {
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let status = match config.parse_response_with_uninit_headers(&mut response, window, room) {
            Ok(status) => status,
            Err(error) => return Err(why(window, error)),
        };
        let Status::Complete(end) = status else { return Ok(None) };
        let (Some(version), Some(code)) = (response.version, response.code) else {
            // A complete response has both.
            return Err(ResponseError::InvalidStatusLine);
        };
        head.version = if version == 0 { Version::Http10 } else { Version::Http11 };
        head.status = code;
        head.bytes = end as u32;
        let found = collect_fields(window, response.headers, end, &mut head.fields)?;
        Ok(Some(found))
    })?;
    let Some(found) = parsed else {
        let full = window.len() >= limits.bytes_max as usize;
        return if full { Err(ResponseError::HeadTooLarge) } else { Ok(Parsed::NeedMore) };
    };
    head.kinds = found.kinds;
    head.hop_by_hop_fields = found.hop_by_hop_fields;
    status_line(window, head)?;
    framing(window, method, &found, head)?;
    connection(window, head)?;
    Ok(Parsed::Complete)
}

/// Length of `HTTP/1.1 200`.
const STATUS_END: u32 = 12;

/// RFC 9112 4; RFC 9110 15: status codes are 100 to 599.
fn status_line(bytes: &[u8], head: &mut ResponseHead) -> Result<(), ResponseError> {
    if !(100..600).contains(&head.status) {
        return Err(ResponseError::InvalidStatusLine);
    }
    let next_line = head.fields.first().map_or(head.bytes.saturating_sub(2), |field| field.name.start);
    let line_end = next_line.saturating_sub(2);
    // The space is part of the line even where no reason follows; some origins leave it out, and it is put back.
    let spaced = bytes.get(STATUS_END as usize) == Some(&b' ');
    head.reason = Span { start: if spaced { STATUS_END + 1 } else { line_end }, end: line_end };
    head.rewrite_status_line = !spaced || head.version != Version::Http11;
    Ok(())
}

/// RFC 9112 6.3.
fn framing(
    bytes: &[u8],
    method: Method,
    found: &Found,
    head: &mut ResponseHead,
) -> Result<(), ResponseError> {
    let declared = declared_length(bytes, head.version, found)?;
    let interim_or_no_content = head.status < 200 || head.status == 204;
    // RFC 9112 6.1: no Transfer-Encoding in 1xx and 204, nor in a 2xx to CONNECT.
    let tunnel = method == Method::Connect && (200..300).contains(&head.status);
    if declared == Declared::Chunked && (interim_or_no_content || tunnel) {
        return Err(ResponseError::TransferEncodingNotAllowed);
    }
    head.framing_rewrite = framing_rewrite(found, declared);
    head.keep_alive = head.version == Version::Http11;
    head.body = if method == Method::Head || interim_or_no_content || head.status == 304 || tunnel {
        BodyLength::Empty
    } else {
        match declared {
            Declared::Nothing => BodyLength::UntilClose,
            Declared::Length(0) => BodyLength::Empty,
            Declared::Length(length) => BodyLength::Exact(length),
            Declared::Chunked => BodyLength::Chunked,
        }
    };
    if let Declared::Length(length) = declared
        && (interim_or_no_content || tunnel)
    {
        // RFC 9110 8.6: a server must not send it here. A client that believed it would wait for a body, so it
        // goes no further; and an origin that means it is about to send one.
        for field in head.fields.iter_mut().filter(|field| field.kind == FieldKind::ContentLength) {
            field.hop_by_hop = true;
        }
        head.hop_by_hop_fields = true;
        head.framing_rewrite = FramingRewrite::None;
        head.keep_alive &= length == 0;
    }
    Ok(())
}

fn connection(bytes: &[u8], head: &mut ResponseHead) -> Result<(), ResponseError> {
    if head.kinds.contains(FieldKind::Connection) {
        let options = connection_options(bytes, &mut head.fields)?;
        let asked = head.version == Version::Http10 && options.keep_alive;
        head.keep_alive = !options.close && (head.keep_alive || asked);
        if options.upgrade {
            head.upgrade = head.lookup(FieldKind::Upgrade);
        }
    }
    // RFC 9110 15.2.2: a switch of protocols says to which.
    if head.status == 101 && head.upgrade.is_none_or(Span::is_empty) {
        return Err(ResponseError::InvalidUpgrade);
    }
    head.keep_alive &= head.body != BodyLength::UntilClose && head.status != 101;
    Ok(())
}

/// Names the rule behind an error of the tokeniser.
#[cold]
fn why(input: &[u8], error: httparse::Error) -> ResponseError {
    match error {
        httparse::Error::TooManyHeaders => ResponseError::TooManyFields,
        httparse::Error::Version if matches!(input.get(..8), Some(b"HTTP/1.1" | b"HTTP/1.0")) => {
            ResponseError::InvalidStatusLine
        }
        httparse::Error::Version => ResponseError::UnsupportedVersion,
        httparse::Error::NewLine => ResponseError::BareLineEnd,
        httparse::Error::Token | httparse::Error::Status => diagnose::start_line_rule(input).into(),
        httparse::Error::HeaderName => diagnose::field_rule(input, HeadError::InvalidFieldName).into(),
        httparse::Error::HeaderValue => diagnose::field_rule(input, HeadError::InvalidFieldValue).into(),
    }
}

#[cfg(test)]
mod tests;
