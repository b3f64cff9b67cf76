//! What TLS needs besides the protocol: certificates and keys, whom to trust, how peers are verified.
//!
//! ```text
//! files ──► files (PEM → certificates, keys, lists of revoked ones; what is wrong with them, in plain words)
//!           certificate (facts of one certificate)     provider (suites, groups, versions)
//!                │
//!                ▼
//!           server: ServerTls of a listener            client: ClientTls of a cluster
//!           (select: certificate by name)              (verify: name, or SPIFFE ID)
//! ```
//!
//! A [`ServerTls`] or [`ClientTls`] lives as long as its listener or cluster; what it hands out, a rustls
//! configuration, is replaced as a whole when a file changes. A handshake takes the current one once and keeps it.
//!
//! **Invariant:** a file that cannot be used never widens trust: at the start it is an error, later the last good
//! content stays in force.

mod authority;
mod certificate;
mod client;
mod files;
mod forward;
mod ocsp;
mod provider;
mod select;
mod server;
pub mod spiffe;
#[cfg(test)]
mod tests;
mod tickets;
mod verify;
mod watch;

pub use certificate::{CertificateFacts, PeerCertificate};
pub(crate) use client::server_name;
pub use client::{ClientTls, ClientTlsConfig};
#[cfg(feature = "acme")]
pub(crate) use files::roots_for;
pub use files::{CertificateFiles, Part, TlsProblem};
#[cfg(any(feature = "acme", feature = "spiffe"))]
pub(crate) use files::{date, unix_now};
pub use provider::{ALPN_NAMES, GROUP_NAMES, GROUPS_DEFAULT, SUITE_NAMES, TlsVersion};
pub use select::HostCertificates;
#[cfg(feature = "acme")]
pub(crate) use server::acme_certificate;
pub use server::{ClientAuthConfig, ClientAuthMode, ServerTls, ServerTlsConfig, TicketConfig};
pub use tickets::TicketKeys;
pub use verify::{UpstreamVerify, VerifyFailure};
pub(crate) use watch::{Stamp, stamp};
pub use watch::{Swap, Watcher};
