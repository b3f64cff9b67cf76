//! gRPC as pure functions: what a call is, its deadline, its status, its messages, and gRPC-Web.
//!
//! gRPC itself is HTTP/2 (the document "gRPC over HTTP2", PROTOCOL-HTTP2.md, here: the protocol); gRPC-Web is the form
//! for browsers, which can neither read trailers nor choose HTTP/2 (PROTOCOL-WEB.md).

mod content_type;
mod messages;
mod status;
mod timeout;
mod web;

pub use content_type::{ContentType, Form};
pub use messages::Messages;
pub use status::{STATUSES, Status, encode_message};
pub use timeout::{parse_timeout, render_timeout};
pub use web::{Base64Decoder, Base64Error, encode_base64, trailers_frame};

/// Splits the path of a call, `/pkg.Service/Method`, into service and method.
///
/// Anything else is no call: a path without its slash, or with more or empty segments, is read differently by
/// different servers (CVE-2026-33186).
pub fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = path.strip_prefix(b"/")?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let (service, method) = (rest.get(..slash)?, rest.get(slash + 1..)?);
    let name = |part: &[u8]| {
        !part.is_empty() && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    };
    (name(service) && name(method)).then_some((service, method))
}

#[cfg(test)]
mod tests;
