//! TLS 1.2 and 1.3 without sockets.
//!
//! rustls makes the handshake ([`Handshake`]) and keeps the secrets; what it derived protects the records here
//! ([`Session`]), because its own record layer copies every byte twice in each direction: here a record is opened where it
//! was received, and sealed in the vector that is sent. The seam is the one that rustls offers for TLS in the kernel
//! (`rustls::kernel`): key updates and session tickets stay its work.

pub mod client_hello;
mod error;
mod handshake;
mod record;
mod session;
#[cfg(test)]
mod tests;
mod verify;

pub use error::TlsError;
pub use handshake::{Established, Facts, Handshake, is_plain_http};
pub use record::{RECORD_BYTES_MAX, RECORD_HEADER_BYTES, record_bytes};
pub use session::{Opened, Session};
pub use verify::{AnyServer, Signatures};

pub use rustls;
