//! A request that nobody sent, put together from words as `curl` takes them.

use std::net::IpAddr;

use ringway_protocols::authority;
use ringway_protocols::http1::{self, HeadLimits, Parsed};
use ringway_protocols::message::RequestHead;

use crate::config::{Config, ListenerConfig};
use crate::downstream;
use crate::exchange::Failure;
use crate::io::Address;

/// What is asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub method: String,
    pub url: Url,
    /// Fields as they would be sent. A `host` takes the place of the URL's.
    pub fields: Vec<(String, String)>,
    /// Who connects. On a UNIX socket that is nobody with an address.
    pub peer: Option<IpAddr>,
    /// The name of the listener; `None`: the one that the URL is for.
    pub listener: Option<String>,
    /// Seconds since 1970.
    pub unix_secs: u64,
    /// How often it is asked, all at once; the last answer counts.
    pub repeat: u32,
}

/// `https://shop.example.com:8443/checkout?x=1`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub secure: bool,
    /// Host and port as they were written.
    pub authority: String,
    /// As written, or that of the scheme.
    pub port: u16,
    /// Path and query.
    pub target: String,
}

/// The request as a listener would read it.
pub struct Asked {
    pub head: RequestHead,
    pub bytes: Vec<u8>,
}

/// Which listener a request comes to, and why that one.
#[derive(Debug, Clone, PartialEq)]
pub struct Entrance {
    /// Index of the listener.
    pub listener: usize,
    pub why: String,
}

impl Url {
    /// # Errors
    /// What would have been right.
    pub fn parse(text: &str) -> Result<Url, String> {
        const EXPECTED: &str = "expected a URL such as https://shop.example.com/checkout";
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("{EXPECTED}; found `{text}`"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(format!("{EXPECTED}, with http or https; found `{scheme}`")),
        };
        // A fragment is the browser's own (RFC 3986 3.5).
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        let parsed = authority::parse(host.as_bytes()).filter(|parsed| !parsed.host.is_empty());
        let parsed = parsed.ok_or_else(|| format!("{EXPECTED}; the host of `{text}` is none"))?;
        let target = match target.as_bytes().first() {
            None => "/".to_owned(),
            Some(b'?') => format!("/{target}"),
            Some(_) => target.to_owned(),
        };
        let port = parsed.port.unwrap_or(if secure { 443 } else { 80 });
        Ok(Url { secure, authority: host.to_owned(), port, target })
    }
}

impl Question {
    /// Method and URL, as they are shown.
    pub fn name(&self) -> String {
        let scheme = if self.url.secure { "https" } else { "http" };
        format!("{} {scheme}://{}{}", self.method, self.url.authority, self.url.target)
    }

    /// Who connects, as a listener knows it.
    pub(super) fn peer_at(&self, listener: &ListenerConfig) -> Option<IpAddr> {
        self.peer.filter(|_| port_of(listener).is_some())
    }

    /// The request, read by the rules of a listener.
    ///
    /// # Errors
    /// Why the listener refuses it, with what it had to read.
    pub fn ask(&self, listener: &ListenerConfig) -> Result<Asked, (Failure, Asked)> {
        let mut bytes = Vec::with_capacity(256);
        let target = if self.method == "CONNECT" { &self.url.authority } else { &self.url.target };
        bytes.extend_from_slice(format!("{} {target} HTTP/1.1\r\n", self.method).as_bytes());
        let named = |name: &str| self.fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name));
        if !named("host") {
            bytes.extend_from_slice(format!("host: {}\r\n", self.url.authority).as_bytes());
        }
        for (name, value) in &self.fields {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let limits = &listener.limits;
        let limits = HeadLimits {
            bytes_max: limits.header_bytes_max,
            fields_max: limits.header_count_max,
            target_bytes_max: limits.target_bytes_max,
        };
        let mut head = RequestHead::default();
        match http1::parse_request(&bytes, &limits, &mut head) {
            Ok(Parsed::Complete) => Ok(Asked { head, bytes }),
            // It ends with an empty line, so that nothing is missing.
            Ok(Parsed::NeedMore) => {
                Err((downstream::failure_of(http1::RequestError::InvalidRequestLine), Asked { head, bytes }))
            }
            Err(error) => Err((downstream::failure_of(error), Asked { head, bytes })),
        }
    }

    /// The listener that the request comes to.
    ///
    /// # Errors
    /// What is wrong with the name that was given, or that no listener speaks HTTP.
    pub fn entrance(&self, config: &Config) -> Result<Entrance, String> {
        let names = || config.listeners.iter().map(|listener| listener.name.as_str());
        if let Some(name) = &self.listener {
            let listener = names().position(|known| known == name).ok_or_else(|| {
                format!("there is no listener `{name}`; there are {}", names().collect::<Vec<_>>().join(", "))
            })?;
            return Ok(Entrance { listener, why: "as asked".to_owned() });
        }
        let http: Vec<usize> = config
            .listeners
            .iter()
            .enumerate()
            .filter(|(_, listener)| listener.tcp.is_none())
            .map(|(index, _)| index)
            .collect();
        let has = |index: &&usize, port: bool, tls: bool| {
            config.listeners.get(**index).is_some_and(|listener| {
                (!port || port_of(listener) == Some(self.url.port))
                    && (!tls || listener.tls.is_some() == self.url.secure)
            })
        };
        let (spoken, port) = (if self.url.secure { "TLS" } else { "plain HTTP" }, self.url.port);
        let fitting = [
            (http.iter().find(|index| has(index, true, true)), format!("it speaks {spoken} on port {port}")),
            (http.iter().find(|_| http.len() == 1), "the only one that speaks HTTP".to_owned()),
            (http.iter().find(|index| has(index, false, true)), format!("the first that speaks {spoken}")),
            (http.first(), "the first that speaks HTTP".to_owned()),
        ];
        let found = fitting.into_iter().find_map(|(index, why)| Some(Entrance { listener: *index?, why }));
        found.ok_or_else(|| "no listener speaks HTTP: `--listener NAME` asks about one of TCP".to_owned())
    }
}

fn port_of(listener: &ListenerConfig) -> Option<u16> {
    match &listener.bind {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    }
}

/// Reads `name: value`, as `curl -H` takes it.
///
/// # Errors
/// What would have been right.
pub fn parse_field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').unwrap_or_default();
    if !ringway_policies::field_name::is_token(name) || text.contains(['\r', '\n', '\0']) {
        return Err(format!("expected a header such as `x-user: 7`; found `{}`", text.escape_default()));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let check = |text: &str, expected: Option<(bool, &str, u16, &str)>| {
            let url = Url::parse(text).ok();
            let found =
                url.as_ref().map(|url| (url.secure, url.authority.as_str(), url.port, url.target.as_str()));
            assert_eq!(found, expected, "{text}");
        };
        check("http://a.example", Some((false, "a.example", 80, "/")));
        check("https://a.example/x?y=1#z", Some((true, "a.example", 443, "/x?y=1")));
        check("HTTPS://a.example:8443?y", Some((true, "a.example:8443", 8443, "/?y")));
        check("http://[::1]:8080/%2e", Some((false, "[::1]:8080", 8080, "/%2e")));
        check("wss://a.example/live", Some((true, "a.example", 443, "/live")));
        check("/x", None);
        check("a.example/x", None);
        check("ftp://a.example/", None);
        check("http:///x", None);
        check("http://user@a.example/", None);
        check("http://a.example:x/", None);
    }

    #[test]
    fn a_field_is_a_name_and_a_value() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = parse_field(text).ok();
            let found = found.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
            assert_eq!(found, expected, "{text:?}");
        };
        check("x-user: 7", Some(("x-user", "7")));
        check("X:", Some(("X", "")));
        check("a: b: c", Some(("a", "b: c")));
        check("x-user", None);
        check(": 7", None);
        check("x user: 7", None);
        check("x: 7\r\nx-admin: 1", None);
    }
}
