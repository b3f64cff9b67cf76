//! Where a socket is bound or connected to.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// A socket address: TCP, or a UNIX stream socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    /// Written `unix:/path/to/socket`.
    Unix(Arc<Path>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(addr) => addr.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Address::Tcp(addr)
    }
}

impl FromStr for Address {
    type Err = String;

    /// Reads `1.2.3.4:80`, `[::1]:80`, `:80` (every IPv4 and IPv6 address) or `unix:/path`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.len() > 107 {
                return Err(format!("expected unix:PATH with 1 to 107 bytes of path, found {text:?}"));
            }
            return Ok(Address::Unix(Path::new(path).into()));
        }
        let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
        full.parse().map(Address::Tcp).map_err(|_| {
            format!("expected ADDRESS:PORT such as 127.0.0.1:8080, [::1]:8080, :8080 or unix:/path, found {text:?}")
        })
    }
}
