//! What is tested: a URL, and the address behind it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::socket::RawAddress;

/// One target.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: String,
    pub address: Address,
    /// Other addresses of the same name, for where the first does not answer.
    pub others: Vec<SocketAddr>,
    /// For `Host` and `:authority`.
    pub authority: String,
    pub path: String,
    pub tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Socket(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// Reads `http://host:port/path`, `host:port/path`, `ws://…`, `grpc://…`, with TLS `https`, `wss`, `grpcs`, or `unix:/socket:/path` and resolves it.
    pub fn parse(url: &str) -> io::Result<Target> {
        if let Some(rest) = url.strip_prefix("unix:") {
            let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
            if !socket.starts_with('/') || !path.starts_with('/') {
                return Err(invalid(format!("{url}: expected unix:/path/of/socket:/path/of/request")));
            }
            let address = Address::Unix(PathBuf::from(socket));
            let (authority, path) = ("localhost".into(), path.into());
            return Ok(Target { url: url.into(), address, others: Vec::new(), authority, path, tls: false });
        }
        let (rest, tls) = match url.split_once("://") {
            Some(("http" | "h2c" | "ws" | "grpc", rest)) => (rest, false),
            Some(("https" | "wss" | "grpcs", rest)) => (rest, true),
            Some((scheme, _)) => {
                return Err(invalid(format!(
                    "{url}: expected http, https, h2c, ws, wss, grpc, grpcs or unix, found {scheme}"
                )));
            }
            None => (url, false),
        };
        let slash = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if authority.is_empty() || authority.contains('@') {
            return Err(invalid(format!(
                "{url}: expected a host and no user before it, as in http://127.0.0.1:8080/"
            )));
        }
        let (address, others) = resolve(authority, if tls { 443 } else { 80 })
            .map_err(|error| invalid(format!("{url}: {error}")))?;
        Ok(Target {
            url: url.into(),
            address: Address::Socket(address),
            others,
            authority: authority.into(),
            path,
            tls,
        })
    }

    pub fn is_unix(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    /// The address in the kernel's form, for as long as the process lives.
    pub fn leak_raw(&self) -> io::Result<&'static RawAddress> {
        let raw = match &self.address {
            Address::Socket(address) => RawAddress::new(*address),
            Address::Unix(path) => RawAddress::unix(path)?,
        };
        Ok(Box::leak(Box::new(raw)))
    }
}

/// The first address, and the others.
fn resolve(authority: &str, port: u16) -> io::Result<(SocketAddr, Vec<SocketAddr>)> {
    let behind_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let has_port = authority.get(behind_bracket..).is_some_and(|tail| tail.contains(':'));
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    let found = with_port.to_socket_addrs().map_err(|error| {
        io::Error::other(format!(
            "no address for {authority} ({error}); give an IP address or check the name"
        ))
    })?;
    // IPv4 first: what listens on a wildcard of IPv6 only is rarer than a resolver that lists IPv6 first.
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::other(format!("no address for {authority}")));
    }
    Ok((addresses.remove(0), addresses))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_an_address_an_authority_and_a_path() {
        for (url, address, authority, path) in [
            ("http://127.0.0.1:8080/a?b=1#c", "127.0.0.1:8080", "127.0.0.1:8080", "/a?b=1"),
            ("http://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/"),
            ("127.0.0.1:9000?x", "127.0.0.1:9000", "127.0.0.1:9000", "/?x"),
            ("ws://[::1]:7/chat", "[::1]:7", "[::1]:7", "/chat"),
            ("https://127.0.0.1/a", "127.0.0.1:443", "127.0.0.1", "/a"),
        ] {
            let target = Target::parse(url).expect(url);
            assert_eq!(target.address, Address::Socket(address.parse().expect("address")), "{url}");
            assert_eq!(target.tls, url.starts_with("https"), "{url}");
            assert_eq!((target.authority.as_str(), target.path.as_str()), (authority, path), "{url}");
        }
        let unix = Target::parse("unix:/run/x.sock:/a").expect("a socket");
        assert_eq!((unix.address, unix.path.as_str()), (Address::Unix("/run/x.sock".into()), "/a"));
    }

    #[test]
    fn what_cannot_be_tested_is_refused_with_advice() {
        for (url, advice) in [
            ("ftp://127.0.0.1/", "expected http"),
            ("http:///x", "expected a host"),
            ("http://a@127.0.0.1/", "expected a host"),
            ("unix:relative", "expected unix:/path"),
        ] {
            let message = Target::parse(url).expect_err(url).to_string();
            assert!(message.contains(advice), "{message}");
        }
    }
}
