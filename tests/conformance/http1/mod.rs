//! HTTP/1.1: RFC 9112, and what RFC 9110 says of messages and intermediaries. One module per section; each test
//! names the rule, and quotes it where its words decide.

mod rfc9110_05_fields;
mod rfc9110_07_routing;
mod rfc9110_08_to_15_semantics;
mod rfc9112_02_messages;
mod rfc9112_03_request_line;
mod rfc9112_04_status_line;
mod rfc9112_05_field_syntax;
mod rfc9112_06_message_body;
mod rfc9112_07_transfer_codings;
mod rfc9112_08_incomplete;
mod rfc9112_09_connections;

use ringway_protocols::http1::{
    BodyDecoder, BodyError, BodyStep, HeadLimits, Parsed, RequestEdits, RequestError, ResponseEdits,
    ResponseError, TrailerLimits, parse_request, parse_response, write_request, write_response,
};
use ringway_protocols::message::{BodyLength, Method, RequestHead, ResponseHead};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 65_536, fields_max: 100, target_bytes_max: 8192 };

fn try_request(text: &str) -> Result<RequestHead, RequestError> {
    let mut head = RequestHead::default();
    match parse_request(text.as_bytes(), &LIMITS, &mut head)? {
        Parsed::Complete => Ok(head),
        Parsed::NeedMore => panic!("incomplete: {text:?}"),
    }
}

fn request(text: &str) -> RequestHead {
    try_request(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// A GET of `/` with these field lines after `Host`, each without its CRLF.
fn with_fields(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn refuses_requests(cases: &[(&str, RequestError)]) {
    for (text, error) in cases {
        assert_eq!(try_request(text).err(), Some(*error), "{text:?}");
    }
}

fn try_response(text: &str, method: Method) -> Result<ResponseHead, ResponseError> {
    let mut head = ResponseHead::default();
    match parse_response(text.as_bytes(), &LIMITS, method, &mut head)? {
        Parsed::Complete => Ok(head),
        Parsed::NeedMore => panic!("incomplete: {text:?}"),
    }
}

fn response(text: &str, method: Method) -> ResponseHead {
    try_response(text, method).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn refuses_responses(cases: &[(&str, ResponseError)]) {
    for (text, error) in cases {
        assert_eq!(try_response(text, Method::Get).err(), Some(*error), "{text:?}");
    }
}

/// The request as it is forwarded without further edits.
fn forwarded(text: &str) -> String {
    let mut out = Vec::new();
    write_request(&mut out, text.as_bytes(), &request(text), &RequestEdits::default());
    String::from_utf8(out).expect("text")
}

/// The response as it is forwarded without further edits.
fn forwarded_response(text: &str) -> String {
    let mut out = Vec::new();
    write_response(&mut out, text.as_bytes(), &response(text, Method::Get), &ResponseEdits::default());
    String::from_utf8(out).expect("text")
}

/// Content and rest of a chunked body.
fn chunked(text: &str) -> Result<(String, String), BodyError> {
    let limits = TrailerLimits { bytes_max: 4096, fields_max: 32 };
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &limits);
    let (mut content, mut rest) = (String::new(), text);
    loop {
        match decoder.next(rest.as_bytes())? {
            BodyStep::Data(count) => {
                content.push_str(&rest[..count]);
                rest = &rest[count..];
            }
            BodyStep::Framing(count) | BodyStep::Trailer(count) => rest = &rest[count..],
            BodyStep::Done => return Ok((content, rest.to_owned())),
            BodyStep::NeedMore => {
                decoder.eof()?;
                return Ok((content, String::new()));
            }
        }
    }
}
