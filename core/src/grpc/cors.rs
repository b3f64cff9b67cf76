//! What a browser asks for before and after a gRPC-Web call to another origin (the Fetch standard, "CORS protocol").

use ringway_protocols::grpc;
use ringway_protocols::message::{FieldKind, Method, RequestHead};

/// How long a browser may remember the answer to its question.
const MAX_AGE: &str = "7200";

/// The origin of the page that asks, where it is one of `allowed`.
pub fn allowed_origin<'a>(allowed: &[String], head: &RequestHead, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let origin = head.lookup(FieldKind::Origin)?.of(bytes);
    let is = |entry: &String| entry == "*" || entry.as_bytes().eq_ignore_ascii_case(origin);
    allowed.iter().any(is).then_some(origin)
}

/// Whether the request asks if a call may be made.
pub fn is_preflight(head: &RequestHead, bytes: &[u8]) -> bool {
    head.method == Method::Options
        && grpc::split_path(head.path_of(bytes)).is_some()
        && field(head, bytes, b"access-control-request-method").is_some_and(|method| method == b"POST")
}

/// The answer: the page at `origin` may make the call that it asks about.
pub fn render_preflight(out: &mut Vec<u8>, origin: &[u8], head: &RequestHead, bytes: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 204 No Content\r\n");
    push_allow_origin(out, origin);
    out.extend_from_slice(b"access-control-allow-methods: POST\r\n");
    if let Some(names) = field(head, bytes, b"access-control-request-headers") {
        out.extend_from_slice(b"access-control-allow-headers: ");
        out.extend_from_slice(names);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("access-control-max-age: {MAX_AGE}\r\n\r\n").as_bytes());
}

/// The lines of a response by which a page may read it.
pub fn push_response_lines(out: &mut Vec<u8>, origin: &[u8]) {
    push_allow_origin(out, origin);
    out.extend_from_slice(
        b"access-control-expose-headers: grpc-status, grpc-message, grpc-status-details-bin, x-ringway-reason\r\n",
    );
}

fn push_allow_origin(out: &mut Vec<u8>, origin: &[u8]) {
    out.extend_from_slice(b"access-control-allow-origin: ");
    out.extend_from_slice(origin);
    // The answer differs from page to page, so that it must not be kept for another one.
    out.extend_from_slice(b"\r\nvary: origin\r\n");
}

fn field<'a>(head: &RequestHead, bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut fields = head.fields.iter();
    fields.find(|field| field.name.of(bytes).eq_ignore_ascii_case(name)).map(|field| field.value.of(bytes))
}
