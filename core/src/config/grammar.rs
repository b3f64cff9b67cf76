//! The texts that name something on the network: endpoints, origins, host patterns, path prefixes.

use std::net::{IpAddr, Ipv6Addr};

use ringway_policies::path::{self, PathRules, PathVerdict};
use ringway_policies::route::Template;

use super::EndpointConfig;
use super::error::quote;
use super::value::Mismatch;
use crate::io::Address;

const ENDPOINT: &str =
    "HOST:PORT such as 10.0.0.1:9000, [::1]:9000 or app.internal:9000, https://HOST for TLS, or unix:/path";
const ORIGIN: &str = "http://HOST:PORT such as http://10.0.0.5:9000, https://HOST:PORT for TLS, h2c://HOST:PORT for \
                      HTTP/2, or unix:/path";
const NAME_AND_PORT: &str = "NAME:PORT such as payments.internal:50051";
const SERVICE: &str = "the name of a service such as _http._tcp.shop.example.com";
const HTTPS: &str = "https://";
const HOST: &str = "a host name such as shop.example.com or *.example.com";
const PREFIX: &str = "a path such as /checkout";
const TEMPLATE: &str = "a path with variables such as /users/{id}";
/// What the route table looks at of a request's host.
const WILDCARD_LABELS_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 4096;
/// What the route table looks at of a prefix.
const PREFIX_SEGMENTS_MAX: usize = 64;

fn wrong(expected: &str, hint: impl Into<String>) -> Mismatch {
    Mismatch { expected: expected.to_owned(), hint: Some(hint.into()) }
}

/// Reads an endpoint of a cluster.
pub(super) fn endpoint(text: &str) -> Result<EndpointConfig, Mismatch> {
    if let Some(rest) = text.strip_prefix("http://") {
        return Err(wrong(
            ENDPOINT,
            format!("endpoints have no scheme: write {}", quote(rest.trim_end_matches('/'))),
        ));
    }
    if text.starts_with("h2c://") {
        return Err(wrong(ENDPOINT, "endpoints have no scheme: set `protocol: http2` in the cluster"));
    }
    if let Some(rest) = text.strip_prefix(HTTPS) {
        return https(rest, ENDPOINT);
    }
    if text.starts_with("unix:") {
        return text
            .parse()
            .map(EndpointConfig::Address)
            .map_err(|_| Mismatch { expected: ENDPOINT.to_owned(), hint: None });
    }
    host_and_port(text, None, ENDPOINT)
}

/// Reads an origin of `--upstream`: an endpoint, or an `http` or `h2c` URL without a path.
pub(super) fn origin(text: &str) -> Result<EndpointConfig, Mismatch> {
    if let Some(rest) = text.strip_prefix(HTTPS) {
        return https(rest, ORIGIN);
    }
    if text.starts_with("unix:") {
        return endpoint(text);
    }
    let (authority, port) = match text.strip_prefix("http://").or_else(|| text.strip_prefix("h2c://")) {
        Some(rest) => (rest.strip_suffix('/').unwrap_or(rest), Some(80)),
        None if text.contains("://") => {
            return Err(wrong(ORIGIN, "only http://, https:// and h2c:// are spoken to origins"));
        }
        None => (text, None),
    };
    only_authority(authority, ORIGIN)?;
    host_and_port(authority, port, ORIGIN)
}

/// Reads a name whose addresses are endpoints, and their port.
pub(super) fn name_and_port(text: &str) -> Result<(String, u16), Mismatch> {
    if text.contains("://") {
        return Err(wrong(
            NAME_AND_PORT,
            "without a scheme: `tls: {}` of the cluster says that TLS is spoken",
        ));
    }
    match host_and_port(text, None, NAME_AND_PORT)? {
        EndpointConfig::Name { host, port } => Ok((host, port)),
        EndpointConfig::Address(_) => Err(wrong(NAME_AND_PORT, "list addresses in `endpoints`")),
    }
}

/// Reads the name of a service (RFC 2782).
pub(super) fn service(text: &str) -> Result<String, Mismatch> {
    if text.contains("://") || text.contains(':') {
        return Err(wrong(SERVICE, "without scheme and port: the answers say the ports"));
    }
    if !text.contains('.') {
        return Err(Mismatch { expected: SERVICE.to_owned(), hint: None });
    }
    host_name(text).map_err(|hint| Mismatch { expected: SERVICE.to_owned(), hint })
}

/// What follows `https://`.
fn https(rest: &str, expected: &str) -> Result<EndpointConfig, Mismatch> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    only_authority(authority, expected)?;
    host_and_port(authority, Some(443), expected)
}

fn only_authority(authority: &str, expected: &str) -> Result<(), Mismatch> {
    if authority.contains(['/', '?', '#']) {
        return Err(wrong(expected, "leave the path out: requests keep their own"));
    }
    if authority.contains('@') {
        return Err(wrong(expected, "leave user and password out"));
    }
    Ok(())
}

/// Whether an endpoint or origin is spoken to with TLS.
pub(super) fn is_https(text: &str) -> bool {
    text.starts_with(HTTPS)
}

/// Whether an origin of `--upstream` is spoken to in HTTP/2.
pub(super) fn is_http2_origin(text: &str) -> bool {
    text.starts_with("h2c://")
}

fn host_and_port(text: &str, default_port: Option<u16>, expected: &str) -> Result<EndpointConfig, Mismatch> {
    let plain = || Mismatch { expected: expected.to_owned(), hint: None };
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return if address.port() == 0 {
            Err(wrong(expected, "port 0 cannot be connected to"))
        } else {
            Ok(EndpointConfig::Address(address.into()))
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(wrong(expected, format!("write `[{text}]:PORT`")));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => {
            let digits = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
            let port = port.parse::<u16>().ok().filter(|port| digits && *port != 0);
            (host, port.ok_or_else(|| wrong(expected, "the port is a number from 1 to 65535"))?)
        }
        _ => (text, default_port.ok_or_else(|| without_port(text, expected))?),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(EndpointConfig::Address(Address::Tcp((address, port).into())));
    }
    match host_name(host) {
        Ok(host) => Ok(EndpointConfig::Name { host, port }),
        Err(hint) => Err(hint.map_or_else(plain, |hint| wrong(expected, hint))),
    }
}

/// What lacks its port, or is one.
fn without_port(text: &str, expected: &str) -> Mismatch {
    match text {
        "" => Mismatch { expected: expected.to_owned(), hint: None },
        text if text.parse::<u16>().is_ok() => wrong(expected, format!("add the host: `127.0.0.1:{text}`")),
        text => wrong(expected, format!("add the port: `{}:80`", text.trim())),
    }
}

/// Reads a host pattern of a route: a name or `*.` before one, lower case, without port and trailing dot.
pub(super) fn host_pattern(text: &str) -> Result<String, Mismatch> {
    if text == "*" {
        return Err(wrong(HOST, "a route without `hosts` takes every host"));
    }
    if text.contains("://") || text.contains('/') {
        return Err(wrong(HOST, "only the host: paths belong into `match`"));
    }
    if text.starts_with('[') || text.parse::<Ipv6Addr>().is_ok() {
        let bare = text.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or_default();
        return match bare.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err(wrong(HOST, "IPv6 addresses are written in brackets, without a port")),
        };
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.bytes().all(|c| c.is_ascii_digit())
    {
        return Err(wrong(HOST, format!("hosts are matched without their port: write {}", quote(host))));
    }
    let (star, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    if name.contains('*') {
        return Err(wrong(HOST, "`*` stands for whole labels at the front only"));
    }
    if !star.is_empty() && name.split('.').count() > WILDCARD_LABELS_MAX {
        return Err(wrong(HOST, format!("at most {WILDCARD_LABELS_MAX} labels after `*.`")));
    }
    match host_name(name) {
        Ok(name) => Ok(format!("{star}{name}")),
        Err(hint) => Err(Mismatch { expected: HOST.to_owned(), hint }),
    }
}

/// A DNS name in lower case without its trailing dot; underscores are common inside clusters and allowed.
fn host_name(text: &str) -> Result<String, Option<String>> {
    if !text.is_ascii() {
        return Err(Some("write international names in their ASCII form (xn--…)".to_owned()));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.len() > 253 {
        return Err(Some("names have at most 253 characters".to_owned()));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.split('.').all(label) { Ok(name) } else { Err(None) }
}

/// Reads a path prefix: as it is matched, in the normal form of paths and without a trailing slash.
pub(super) fn path_prefix(text: &str) -> Result<String, Mismatch> {
    if text.trim_end_matches('/').ends_with('*') {
        return Err(wrong(PREFIX, "a prefix needs no `*`: it matches everything below it"));
    }
    if text.split('/').count() > PREFIX_SEGMENTS_MAX {
        return Err(wrong(PREFIX, format!("prefixes have at most {PREFIX_SEGMENTS_MAX} segments")));
    }
    normal_path(text)?;
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

/// Reads a whole path, as it is matched.
pub(super) fn path_exact(text: &str) -> Result<String, Mismatch> {
    normal_path(text)?;
    Ok(text.to_owned())
}

/// Reads a path with variables.
pub(super) fn path_template(text: &str) -> Result<Template, Mismatch> {
    let template = Template::parse(text).map_err(|problem| wrong(TEMPLATE, problem))?;
    normal_path(&template.sample())?;
    Ok(template)
}

/// Checks that a path is in the form in which paths are matched.
fn normal_path(text: &str) -> Result<(), Mismatch> {
    if !text.starts_with('/') {
        return Err(wrong(PREFIX, format!("begin with a slash: {}", quote(&format!("/{text}")))));
    }
    if text.contains(['?', '#']) {
        return Err(wrong(PREFIX, "queries and fragments are not part of a path"));
    }
    if text.contains(';') {
        return Err(wrong(PREFIX, "parameters (`;…`) are not matched: leave them out"));
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(wrong(PREFIX, format!("paths of routes have at most {PATH_BYTES_MAX} bytes")));
    }
    let mut normal = Vec::new();
    match path::check_or_normalise(text.as_bytes(), PathRules::default(), &mut normal) {
        Err(error) => Err(wrong(PREFIX, format!("requests with such a path are refused ({error})"))),
        Ok(PathVerdict::Normalised) => {
            let normal = String::from_utf8_lossy(&normal).into_owned();
            Err(wrong(PREFIX, format!("paths are matched in their normal form: write {}", quote(&normal))))
        }
        Ok(PathVerdict::Unchanged) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(result: Result<EndpointConfig, Mismatch>) -> Result<String, String> {
        match result {
            Ok(EndpointConfig::Address(address)) => Ok(address.to_string()),
            Ok(EndpointConfig::Name { host, port }) => Ok(format!("name {host} {port}")),
            Err(mismatch) => Err(mismatch.hint.unwrap_or_default()),
        }
    }

    #[test]
    fn reads_endpoints() {
        for (text, want) in [
            ("10.0.0.1:9000", Ok("10.0.0.1:9000")),
            ("[::1]:9000", Ok("[::1]:9000")),
            ("App.Internal.:80", Ok("name app.internal 80")),
            ("my_app:80", Ok("name my_app 80")),
            ("unix:/run/app.sock", Ok("unix:/run/app.sock")),
            ("unix:", Err("")),
            ("10.0.0.1", Err("add the port: `10.0.0.1:80`")),
            ("::1", Err("write `[::1]:PORT`")),
            ("app:http", Err("the port is a number from 1 to 65535")),
            ("app:0", Err("the port is a number from 1 to 65535")),
            ("app:+80", Err("the port is a number from 1 to 65535")),
            ("10.0.0.1:0", Err("port 0 cannot be connected to")),
            ("http://app:80/", Err("endpoints have no scheme: write `app:80`")),
            ("https://app", Ok("name app 443")),
            ("https://app:8443/", Ok("name app 8443")),
            ("https://[::1]", Ok("[::1]:443")),
            ("https://app/path", Err("leave the path out: requests keep their own")),
            ("a b:80", Err("")),
            ("", Err("")),
            ("9000", Err("add the host: `127.0.0.1:9000`")),
            ("bücher.example:80", Err("write international names in their ASCII form (xn--…)")),
        ] {
            assert_eq!(shown(endpoint(text)), want.map(str::to_owned).map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn reads_origins() {
        for (text, want) in [
            ("http://10.0.0.5:9000", Ok("10.0.0.5:9000")),
            ("http://10.0.0.5:9000/", Ok("10.0.0.5:9000")),
            ("http://10.0.0.5", Ok("10.0.0.5:80")),
            ("http://[::1]", Ok("[::1]:80")),
            ("http://app", Ok("name app 80")),
            ("app:81", Ok("name app 81")),
            ("unix:/x", Ok("unix:/x")),
            ("https://app", Ok("name app 443")),
            ("https://me:pw@app", Err("leave user and password out")),
            ("ftp://app", Err("only http://, https:// and h2c:// are spoken to origins")),
            ("http://app/path", Err("leave the path out: requests keep their own")),
            ("http://me:pw@app", Err("leave user and password out")),
            ("app", Err("add the port: `app:80`")),
        ] {
            assert_eq!(shown(origin(text)), want.map(str::to_owned).map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn reads_host_patterns() {
        for (text, want) in [
            ("shop.example.com", Some("shop.example.com")),
            ("SHOP.example.com.", Some("shop.example.com")),
            ("*.example.com", Some("*.example.com")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("localhost", Some("localhost")),
            ("*", None),
            ("*.*.com", None),
            ("a*.com", None),
            ("shop.example.com:80", None),
            ("http://shop", None),
            ("-a.com", None),
            ("a..b", None),
            ("", None),
            ("::1", None),
        ] {
            assert_eq!(host_pattern(text).ok().as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn reads_path_prefixes() {
        for (text, want) in [
            ("/", Some("/")),
            ("/a", Some("/a")),
            ("/a/", Some("/a")),
            ("/a/b%20c", Some("/a/b%20c")),
            ("/a;v=1", None),
            ("/%61", None),
            ("a", None),
            ("", None),
            ("/a//b", None),
            ("/a/../b", None),
            ("/a/.", None),
            ("/a%2Fb", None),
            ("/a%2e%2E/b", None),
            ("/a\\b", None),
            ("/a?b", None),
            ("/a*", None),
            ("/a b", None),
            ("/ä", None),
        ] {
            assert_eq!(path_prefix(text).ok().as_deref(), want, "{text:?}");
        }
    }
}
