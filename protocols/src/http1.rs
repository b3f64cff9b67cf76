//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112), strictly: what two readers could frame differently is an error.
//!
//! [`parse_request`] and [`parse_response`] read a head in place, [`write_request`] and [`write_response`] write
//! it with edits, [`BodyDecoder`] finds the parts of a body. All of them work on the caller's bytes and keep none.

mod body;
mod diagnose;
mod error;
mod head;
mod request;
mod response;
mod write;

pub(crate) use head::list;

pub use body::{BodyDecoder, BodyError, BodyStep, TrailerLimits};
pub use error::{RequestError, ResponseError};
pub use head::{HeadLimits, HeadProgress, Parsed};
pub use request::{parse_request, parse_request_resumed};
pub use response::{parse_response, parse_response_resumed};
pub use write::{
    ConnectionField, RequestEdits, ResponseEdits, response_needs_edit, write_request, write_response,
};
