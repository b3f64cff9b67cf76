//! Certificates from an authority that speaks ACME (RFC 8555).
//!
//! ```text
//! control thread                                             workers
//!   renew: a task per certificate ──▶ order ──▶ client        http-01: GET /.well-known/acme-challenge/TOKEN
//!     │ when: 2/3 of the lifetime      │ HTTP over TLS                │
//!     │ store: account, certificates   └──▶ answers ◀─────────────────┤
//!     └──▶ the listener reads its file again                tls-alpn-01: the handshake of the authority
//! ```
//!
//! Nothing here runs on a worker but the look-up in [`answers`], and that only for what can be a challenge.
//!
//! **Invariant:** a certificate is in use only once it is on disk, whole and with its key; whatever fails leaves the one
//! before in use.

pub mod answers;
#[cfg(feature = "acme")]
mod client;
#[cfg(feature = "acme")]
mod order;
#[cfg(feature = "acme")]
mod renew;
#[cfg(any(feature = "acme", test))]
mod schedule;
#[cfg(feature = "acme")]
mod store;

#[cfg(feature = "acme")]
pub use renew::Renewals;

use std::path::{Path, PathBuf};

/// The protocol that the authority offers in a handshake to see the answer to TLS-ALPN-01 (RFC 8737 section 3).
pub const ALPN: &[u8] = b"acme-tls/1";
/// Below this path the authority looks for answers to HTTP-01 (RFC 8555 section 8.3).
pub const HTTP_PREFIX: &[u8] = b"/.well-known/acme-challenge/";

/// A certificate that is to be had from an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The URL of the authority's directory.
    pub directory: String,
    /// Whom to believe that it is the directory; `None`: the roots of the system.
    pub ca: Option<Vec<PathBuf>>,
    /// The names of the certificate. Never empty.
    pub hosts: Vec<String>,
    /// Whom the authority tells of trouble, such as `mailto:ops@example.com`.
    pub contact: Option<String>,
    /// The directory for the account's and the certificate's files.
    pub store: PathBuf,
    /// The file that holds the certificate's chain and its key: one file, so that they always fit each other.
    pub file: PathBuf,
    pub challenge: AcmeChallenge,
    /// The account that the authority knows already (RFC 8555 section 7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// How the authority is shown who owns a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// A file on port 80.
    Http01,
    /// A handshake on port 443.
    TlsAlpn01,
}

/// An account that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The authority's name of the key.
    pub key_id: String,
    /// The file with the key, as the authority gives it: base64url.
    pub key_file: PathBuf,
}

impl AcmeConfig {
    /// Where the certificate for some hosts is kept: under the first one.
    pub fn file_of(store: &Path, hosts: &[String]) -> PathBuf {
        let first = hosts.first().map_or("certificate", String::as_str);
        // No name leads out of the directory, whatever it is made of.
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let name: String = first.chars().map(|c| if safe(c) { c } else { '_' }).collect();
        store.join(format!("{name}.pem"))
    }
}

/// Whether a client that offers these protocols is an authority that validates.
pub fn is_validation<P: AsRef<[u8]>>(offered: &[P]) -> bool {
    matches!(offered, [only] if only.as_ref() == ALPN)
}
