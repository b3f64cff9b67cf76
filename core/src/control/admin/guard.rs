//! Who may ask what of the admin listeners.
//!
//! The TCP address is open to every process of the host, and through the operator's browser to every web page: a
//! page can send requests to loopback, and by DNS rebinding it can read the answers. So a request over TCP has to
//! name this listener as its host (an address or `localhost`, which no foreign DNS can claim), and must not come from
//! another origin. The UNIX socket is out of reach for both and protected by its mode.

use std::net::IpAddr;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::routes::text;
use crate::secret;

/// Which way a request came in.
#[derive(Debug)]
pub(super) enum Door {
    Tcp {
        /// The address that the listener is bound to.
        bound: Option<IpAddr>,
    },
    Unix,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    ForeignHost,
    ForeignOrigin,
    WrongToken,
}

/// Why a request that may read may not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayWrite {
    Yes,
    /// No token is set: TCP is read-only.
    OnlyBySocket,
    /// A token is set and the request has none.
    NeedsToken,
}

/// Checks host, origin and token.
pub(super) fn check(door: &Door, parts: &Parts, token: Option<&str>) -> Result<MayWrite, Refusal> {
    let Door::Tcp { bound } = door else { return Ok(MayWrite::Yes) };
    let host = host(parts).filter(|host| is_ours(host, *bound)).ok_or(Refusal::ForeignHost)?;
    if !origin_is(&parts.headers, host) {
        return Err(Refusal::ForeignOrigin);
    }
    match (token.filter(|token| !token.is_empty()), parts.headers.get(AUTHORIZATION)) {
        (None, _) => Ok(MayWrite::OnlyBySocket),
        (Some(_), None) => Ok(MayWrite::NeedsToken),
        (Some(token), Some(given))
            if bearer(given).is_some_and(|given| secret::equal(given, token.as_bytes())) =>
        {
            Ok(MayWrite::Yes)
        }
        (Some(_), Some(_)) => Err(Refusal::WrongToken),
    }
}

/// The host of the request, if it names exactly one: of the target in absolute form (RFC 9112 section 3.2.2), or of
/// the only Host field.
fn host(parts: &Parts) -> Option<&str> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let (field, more) = (fields.next(), fields.next());
    if more.is_some() {
        return None;
    }
    let field = field.and_then(|field| field.to_str().ok());
    match parts.uri.authority() {
        Some(authority) => {
            Some(authority.as_str()).filter(|authority| field.is_none_or(|field| field == *authority))
        }
        None => field,
    }
}

/// Whether a host, with or without port, is one that only this host answers to.
fn is_ours(host: &str, bound: Option<IpAddr>) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || is_port(port.strip_prefix(':')) => address,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if is_port(Some(port)) => name,
            Some(_) => return false,
            None => host,
        },
    };
    if name.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return true;
    }
    let Ok(address) = name.parse::<IpAddr>() else { return false };
    let address = address.to_canonical();
    // Bound to every address, any of them may be meant; an address cannot be rebound as a name can.
    address.is_loopback()
        || bound.is_some_and(|bound| bound.to_canonical() == address || bound.to_canonical().is_unspecified())
}

fn is_port(text: Option<&str>) -> bool {
    text.is_some_and(|text| {
        !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether the request comes from no page, or from a page of this very listener.
fn origin_is(headers: &HeaderMap, host: &str) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let same =
        |origin: &HeaderValue| origin.to_str().ok().and_then(|o| o.strip_prefix("http://")) == Some(host);
    let site_is_foreign =
        headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    origins.all(same) && !site_is_foreign
}

fn bearer(field: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = field.as_bytes().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

impl Refusal {
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        match self {
            Refusal::ForeignHost => text(
                StatusCode::FORBIDDEN,
                "the Host of this request is not the address of the admin listener (a name other than localhost could \
                 be anybody's): use the address\n",
            ),
            Refusal::ForeignOrigin => {
                text(StatusCode::FORBIDDEN, "requests of web pages from elsewhere are refused\n")
            }
            Refusal::WrongToken => unauthorized("the token is wrong\n"),
        }
    }
}

impl MayWrite {
    /// The answer to a write that is not allowed.
    pub(super) fn refusal(self) -> Option<Response<Full<Bytes>>> {
        match self {
            MayWrite::Yes => None,
            MayWrite::OnlyBySocket => Some(text(
                StatusCode::FORBIDDEN,
                "read-only: use the admin socket, or set an admin token and send it (Authorization: Bearer ...)\n",
            )),
            MayWrite::NeedsToken => Some(unauthorized("a token is needed: Authorization: Bearer ...\n")),
        }
    }
}

fn unauthorized(message: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Whether a method changes nothing (RFC 9110 section 9.2.1).
pub(super) fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    const LOOPBACK: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn request(target: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn only_hosts_that_no_foreign_dns_can_claim_are_ours() {
        for (host, expected) in [
            ("127.0.0.1:9901", true),
            ("127.0.0.1", true),
            ("127.8.9.1:1", true),
            ("[::1]:9901", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]:9901", true),
            ("localhost:9901", true),
            ("LocalHost.", true),
            ("evil.example:9901", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1@evil.example", false),
            ("127.0.0.1:9901:1", false),
            ("127.0.0.1:", false),
            ("127.1", false),
            ("[::1", false),
            ("[::1]x", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_ours(host, LOOPBACK), expected, "{host}");
        }
        let bound = |text: &str| text.parse().ok();
        assert!(is_ours("10.0.0.1:9901", bound("10.0.0.1")) && !is_ours("10.0.0.2", bound("10.0.0.1")));
        assert!(is_ours("10.0.0.2", bound("0.0.0.0")) && is_ours("[2001:db8::1]:9", bound("::")));
        assert!(!is_ours("proxy.example", bound("0.0.0.0")));
    }

    #[test]
    fn foreign_pages_and_ambiguous_hosts_are_refused() {
        let local = ("host", "127.0.0.1:9901");
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(&str, Fields<'_>, Option<Refusal>)] = &[
            ("/stats", &[local], None),
            ("/stats", &[local, ("origin", "http://127.0.0.1:9901")], None),
            ("/stats", &[local, ("sec-fetch-site", "none")], None),
            ("/stats", &[], Some(Refusal::ForeignHost)),
            ("/stats", &[("host", "rebound.example:9901")], Some(Refusal::ForeignHost)),
            ("/stats", &[local, ("host", "evil.example")], Some(Refusal::ForeignHost)),
            ("http://evil.example/stats", &[local], Some(Refusal::ForeignHost)),
            ("http://127.0.0.1:9901/stats", &[local], None),
            ("/stats", &[local, ("origin", "http://evil.example")], Some(Refusal::ForeignOrigin)),
            ("/stats", &[local, ("origin", "null")], Some(Refusal::ForeignOrigin)),
            ("/stats", &[local, ("origin", "http://127.0.0.1:8080")], Some(Refusal::ForeignOrigin)),
            ("/stats", &[local, ("origin", "https://127.0.0.1:9901")], Some(Refusal::ForeignOrigin)),
            ("/stats", &[local, ("sec-fetch-site", "cross-site")], Some(Refusal::ForeignOrigin)),
        ];
        for (target, fields, expected) in cases {
            let checked = check(&Door::Tcp { bound: LOOPBACK }, &request(target, fields), None);
            assert_eq!(checked.err(), *expected, "{target} {fields:?}");
        }
        assert_eq!(check(&Door::Unix, &request("/", &[("host", "ringway")]), None), Ok(MayWrite::Yes));
    }

    #[test]
    fn writes_over_tcp_take_the_token() {
        type Token<'a> = Option<&'a str>;
        let cases: &[(Token<'_>, Token<'_>, Result<MayWrite, Refusal>)] = &[
            (None, None, Ok(MayWrite::OnlyBySocket)),
            (None, Some("Bearer anything"), Ok(MayWrite::OnlyBySocket)),
            (Some(""), Some("Bearer "), Ok(MayWrite::OnlyBySocket)),
            (Some("secret"), None, Ok(MayWrite::NeedsToken)),
            (Some("secret"), Some("Bearer secret"), Ok(MayWrite::Yes)),
            (Some("secret"), Some("bearer  secret "), Ok(MayWrite::Yes)),
            (Some("secret"), Some("Bearer secre"), Err(Refusal::WrongToken)),
            (Some("secret"), Some("Bearer secrets"), Err(Refusal::WrongToken)),
            (Some("secret"), Some("Bearer "), Err(Refusal::WrongToken)),
            (Some("secret"), Some("Basic secret"), Err(Refusal::WrongToken)),
            (Some("secret"), Some("x"), Err(Refusal::WrongToken)),
        ];
        for (token, given, expected) in cases {
            let mut fields = vec![("host", "localhost")];
            fields.extend(given.map(|given| ("authorization", given)));
            let checked = check(&Door::Tcp { bound: LOOPBACK }, &request("/reload", &fields), *token);
            assert_eq!(checked, *expected, "{token:?} {given:?}");
        }
    }
}
