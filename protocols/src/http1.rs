//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112), strictly: what two readers could frame differently is an error.
//!
//! Where RFC 9112 leaves a choice, the answer is the one that no other hop can read differently:
//!
//! | RFC 9112 | may | here |
//! |---|---|---|
//! | 2.2 LF alone as line end, bare CR as space | be accepted | refused |
//! | 2.2 empty lines before a request | be skipped | one CRLF is |
//! | 3.2 `Host` that differs from an absolute-form target | be replaced | refused |
//! | 5.1 white space before a colon in a response | be removed | refused |
//! | 5.2 line folding | be unfolded | refused |
//! | 6.1 transfer codings beside `chunked` | be decoded | refused |
//! | 6.3 length and coding together; a length repeated | be repaired | refused |
//! | 6.1, RFC 9110 8.6 unusual spellings of framing | be passed on | accepted, and written in the usual one |
//! | 7.1.1 bad white space (BWS) in chunk lines | be skipped | refused |
//! | RFC 3986 3.2 user information, encodings and sub-delimiters in an authority | be accepted | refused |
//!
//! [`parse_request`] and [`parse_response`] read a head in place, [`write_request`] and [`write_response`] write
//! it with edits, [`BodyDecoder`] finds the parts of a body. All of them work on the caller's bytes and keep none.

mod body;
mod diagnose;
mod error;
mod head;
mod reason_phrase;
mod request;
mod response;
mod write;

pub(crate) use body::FORBIDDEN_TRAILERS;
pub(crate) use diagnose::is_token;
pub(crate) use head::{HOP_BY_HOP, content_length, list};
pub(crate) use request::{expectation, split_query};

pub use body::{BodyDecoder, BodyError, BodyStep, TrailerLimits};
pub use error::{RequestError, ResponseError};
pub use head::{HeadLimits, HeadProgress, Parsed};
pub use reason_phrase::reason_phrase;
pub use request::{parse_request, parse_request_resumed};
pub use response::{parse_response, parse_response_resumed};
pub use write::{
    ConnectionField, RequestEdits, ResponseEdits, response_needs_edit, write_request, write_response,
};
