//! HTTP/2 (RFC 9113): pure state machines, bytes in, bytes and verdicts out.

mod encode;
mod head;
pub mod hpack;

pub use encode::HeadEncoder;
pub use head::{HeadDecoder, HeadError, Malformed};
