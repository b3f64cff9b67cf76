//! Texts with variables: `{client_ip}`, `{capture.id}`, `{header.user-agent}`.
//!
//! A variable that is not known is an error when the configuration is read. One that has nothing to say in a request is
//! empty. `{{` and `}}` are the braces themselves. What a client said never becomes more than a part of what is written:
//! no line end gets into a field, and in a path no `/`, `?` or `%` that was not one ([`Place`]).

use std::io::Write;
use std::net::IpAddr;

use ringway_protocols::authority;
use ringway_protocols::message::RequestHead;

use crate::captures::Captures;
use crate::changes::RequestChanges;
use crate::fields::Problem;
use crate::policy::{CertificateView, Consumer, RequestContext};
use crate::{field_name, pieces};

/// A text with its variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Variable(Variable),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Variable {
    Plain(Plain),
    /// What a route's pattern took out of the path.
    Capture(Box<str>),
    /// A field of the request; several lines are one list (RFC 9110 5.3).
    Header(Box<[u8]>),
    /// The first parameter of this name, as it was sent.
    Query(Box<[u8]>),
    Cookie(Box<[u8]>),
}

/// Variables without a name of their own behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    ClientIp,
    RequestId,
    Method,
    Scheme,
    Host,
    Port,
    Path,
    Query,
    Route,
    Listener,
    Consumer,
    ConsumerGroups,
    CertificateSubject,
    CertificateNames,
    CertificateFingerprint,
    SpiffeId,
}

/// A certificate can have thousands of names, a field cannot.
const CERTIFICATE_NAMES_MAX: usize = 32;

const PLAIN: &[(&str, Plain)] = &[
    ("client_ip", Plain::ClientIp),
    ("request_id", Plain::RequestId),
    ("method", Plain::Method),
    ("scheme", Plain::Scheme),
    ("host", Plain::Host),
    ("port", Plain::Port),
    ("path", Plain::Path),
    ("query", Plain::Query),
    ("route", Plain::Route),
    ("listener", Plain::Listener),
    ("consumer", Plain::Consumer),
    ("consumer_groups", Plain::ConsumerGroups),
    ("certificate_subject", Plain::CertificateSubject),
    ("certificate_names", Plain::CertificateNames),
    ("certificate_fingerprint", Plain::CertificateFingerprint),
    ("spiffe_id", Plain::SpiffeId),
];

/// What variables are made of, whichever hook asks.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub head: &'a RequestHead,
    pub bytes: &'a [u8],
    pub path: &'a [u8],
    pub client: Option<IpAddr>,
    pub listener: &'a str,
    pub route: &'a str,
    pub captures: &'a Captures,
    pub secure: bool,
    pub certificate: Option<CertificateView<'a>>,
    pub request_id: &'a [u8],
    pub consumer: Option<&'a Consumer>,
}

impl<'a> Facts<'a> {
    /// The facts, and beside them what may be changed.
    pub fn beside(request: &'a mut RequestContext<'_>) -> (Facts<'a>, &'a mut RequestChanges) {
        let facts = Facts {
            head: request.head,
            bytes: request.bytes,
            path: request.path,
            client: request.client,
            listener: request.listener,
            route: request.route,
            captures: request.captures,
            secure: request.secure,
            certificate: request.certificate,
            request_id: request.request_id,
            consumer: request.consumer.as_deref(),
        };
        (facts, &mut *request.changes)
    }
}

/// What a rendered text becomes a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The value of a field: as it is. (A line end is kept out where fields are written.)
    Value,
    /// A path: captures and `{path}` are in its form already; of all else only plain characters stay as they are.
    Path,
    /// The value of a parameter: what came from the query is in its form already, and nothing else starts another one.
    Query,
}

impl Template {
    /// Reads a text with variables; `field` is what it is the value of.
    ///
    /// # Errors
    /// A variable that there is not, or a brace that stands alone.
    pub fn parse(field: &str, text: &str) -> Result<Template, Problem> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.extend_from_slice(before.as_bytes());
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push(b'{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push(b'}');
                rest = after;
            } else if let Some((name, after)) =
                brace.strip_prefix('{').and_then(|inner| inner.split_once('}'))
            {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain).into()));
                }
                parts.push(Part::Variable(variable(field, name)?));
                rest = after;
            } else {
                return Err(Problem::new(field, "a text whose variables are written `{name}`", quote(text))
                    .hint("a brace of the text itself is doubled: `{{` and `}}`"));
            }
        }
        plain.extend_from_slice(rest.as_bytes());
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Template { parts })
    }

    /// The text, where there is no variable in it.
    pub fn as_fixed(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with this request's values.
    pub fn render(&self, facts: &Facts<'_>, place: Place, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Variable(variable) => variable.render(facts, place, out),
            }
        }
    }

    /// The value as that of a field.
    pub fn value<'t>(&'t self, facts: &Facts<'_>) -> std::borrow::Cow<'t, [u8]> {
        if let Some(fixed) = self.as_fixed() {
            return fixed.into();
        }
        let mut value = Vec::with_capacity(64);
        self.render(facts, Place::Value, &mut value);
        value.into()
    }
}

fn variable(field: &str, name: &str) -> Result<Variable, Problem> {
    if let Some((_, plain)) = PLAIN.iter().find(|(known, _)| *known == name) {
        return Ok(Variable::Plain(*plain));
    }
    let unknown = || {
        let known: Vec<_> = PLAIN.iter().map(|(name, _)| format!("{{{name}}}")).collect();
        let expected = format!(
            "{}, {{capture.NAME}}, {{header.NAME}}, {{query.NAME}} or {{cookie.NAME}}",
            known.join(", ")
        );
        Problem::new(field, expected, format!("`{{{name}}}`"))
    };
    let (of, name) = name.split_once('.').filter(|(_, name)| !name.is_empty()).ok_or_else(unknown)?;
    Ok(match of {
        "capture" => Variable::Capture(name.into()),
        "header" if field_name::is_token(name) => Variable::Header(name.as_bytes().into()),
        "query" => Variable::Query(name.as_bytes().into()),
        "cookie" if field_name::is_token(name) => Variable::Cookie(name.as_bytes().into()),
        _ => return Err(unknown()),
    })
}

fn quote(text: &str) -> String {
    format!("`{text}`")
}

impl Variable {
    fn render(&self, facts: &Facts<'_>, place: Place, out: &mut Vec<u8>) {
        let of_path = matches!(self, Variable::Capture(_) | Variable::Plain(Plain::Path));
        let of_query = matches!(self, Variable::Query(_) | Variable::Plain(Plain::Query));
        let kept: &[u8] = match place {
            Place::Value => return self.write(facts, out),
            Place::Path if of_path => return self.write(facts, out),
            Place::Query if of_query => return self.write(facts, out),
            // Encoded already, where it has to be.
            Place::Query if of_path => b"%/:@",
            Place::Path | Place::Query => b"",
        };
        let mut text = Vec::new();
        self.write(facts, &mut text);
        push_encoded(out, &text, kept);
    }

    fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        match self {
            Variable::Plain(plain) => plain.write(facts, out),
            Variable::Capture(name) => out.extend_from_slice(facts.captures.get(name).unwrap_or_default()),
            Variable::Header(name) => {
                for (at, value) in pieces::values(facts.head, facts.bytes, name).enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b", ");
                    }
                    out.extend_from_slice(value);
                }
            }
            Variable::Query(name) => {
                let query = facts.head.query.map(|query| query.of(facts.bytes)).unwrap_or_default();
                out.extend_from_slice(pieces::parameter(query, name).unwrap_or_default());
            }
            Variable::Cookie(name) => {
                out.extend_from_slice(pieces::cookie(facts.head, facts.bytes, name).unwrap_or_default());
            }
        }
    }
}

impl Plain {
    fn write(self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        let authority = facts.head.authority.of(facts.bytes);
        match self {
            Plain::ClientIp => {
                if let Some(client) = facts.client {
                    // Writing to a vector cannot fail.
                    let _ = write!(out, "{}", client.to_canonical());
                }
            }
            Plain::RequestId => out.extend_from_slice(facts.request_id),
            Plain::Method => out.extend_from_slice(facts.head.method_span.of(facts.bytes)),
            Plain::Scheme => out.extend_from_slice(if facts.secure { b"https" } else { b"http" }),
            Plain::Host => {
                out.extend_from_slice(authority::parse(authority).map_or(authority, |parsed| parsed.host));
            }
            Plain::Port => {
                let default = if facts.secure { 443 } else { 80 };
                let port = authority::parse(authority).and_then(|parsed| parsed.port).unwrap_or(default);
                let _ = write!(out, "{port}");
            }
            Plain::Path => out.extend_from_slice(facts.path),
            Plain::Query => {
                out.extend_from_slice(facts.head.query.map(|q| q.of(facts.bytes)).unwrap_or_default());
            }
            Plain::Route => out.extend_from_slice(facts.route.as_bytes()),
            Plain::Listener => out.extend_from_slice(facts.listener.as_bytes()),
            Plain::Consumer => {
                out.extend_from_slice(facts.consumer.map_or("", |consumer| &consumer.name).as_bytes());
            }
            Plain::ConsumerGroups => {
                let groups = facts.consumer.map(|consumer| consumer.groups.join(",")).unwrap_or_default();
                out.extend_from_slice(groups.as_bytes());
            }
            Plain::CertificateSubject => {
                out.extend_from_slice(facts.certificate.map_or("", |seen| seen.subject).as_bytes());
            }
            Plain::CertificateNames => {
                let names = facts.certificate.iter().flat_map(|seen| seen.dns.iter().chain(seen.uris));
                for (at, name) in names.take(CERTIFICATE_NAMES_MAX).enumerate() {
                    out.extend_from_slice(if at == 0 { b"" } else { b" " });
                    out.extend_from_slice(name.as_bytes());
                }
            }
            Plain::CertificateFingerprint => {
                for byte in facts.certificate.iter().flat_map(|seen| seen.fingerprint_sha256) {
                    let _ = write!(out, "{byte:02x}");
                }
            }
            Plain::SpiffeId => {
                let id = facts.certificate.and_then(|seen| seen.spiffe_id).unwrap_or_default();
                out.extend_from_slice(id.as_bytes());
            }
        }
    }
}

/// Percent-encodes all that is not unreserved (RFC 3986 2.3), but for the bytes that are kept.
fn push_encoded(out: &mut Vec<u8>, text: &[u8], kept: &[u8]) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || kept.contains(byte) {
            out.push(*byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::Request;

    fn render(template: &str, request: &Request, place: Place) -> String {
        let template = Template::parse("set", template).expect("a template");
        let mut out = Vec::new();
        template.render(&request.facts(), place, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn variables_say_what_the_request_says() {
        let mut request = Request::get("/a%20b/7?page=2&q=x%20y&flag");
        request.field("Cookie", "sid=abc; theme=dark");
        request.field("X-User", "1");
        request.field("x-user", "2");
        request.client("::ffff:192.0.2.7");
        request.captures.push("id", b"7");
        request.consumer("shop", &["gold", "eu"]);
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{client_ip}", "192.0.2.7"),
            ("{request_id}", "id-1"),
            (
                "{method} {scheme}://{host}:{port}{path}?{query}",
                "GET http://shop.test:80/a%20b/7?page=2&q=x%20y&flag",
            ),
            ("{route}@{listener}", "checkout@web"),
            ("{consumer}/{consumer_groups}", "shop/gold,eu"),
            ("{capture.id}{capture.none}", "7"),
            ("{header.x-user}", "1, 2"),
            ("{query.page}|{query.q}|{query.flag}|{query.none}", "2|x%20y||"),
            ("{cookie.theme}", "dark"),
            ("{{{host}}}", "{shop.test}"),
        ] {
            assert_eq!(render(template, &request, Place::Value), expected, "{template}");
        }
    }

    #[test]
    fn what_a_client_says_stays_a_part_of_one_segment() {
        let mut request = Request::get("/x?to=../../admin%2f..&n=a?b");
        request.field("x-up", "../%2e");
        for (template, expected) in [
            ("/{query.to}", "/..%2F..%2Fadmin%252f.."),
            ("/{query.n}", "/a%3Fb"),
            ("/{header.x-up}", "/..%2F%252e"),
            ("/v2{path}", "/v2/x"),
        ] {
            assert_eq!(render(template, &request, Place::Path), expected, "{template}");
        }
    }

    #[test]
    fn what_a_client_says_stays_a_part_of_one_parameter() {
        let mut request = Request::get("/a&b=c%20d?q=x%26y&r=1");
        request.field("x-name", "1&admin=yes#");
        for (template, expected) in [
            ("{header.x-name}", "1%26admin%3Dyes%23"),
            ("{path}", "/a%26b%3Dc%20d"),
            ("{query.q}", "x%26y"),
            ("{query}", "q=x%26y&r=1"),
        ] {
            assert_eq!(render(template, &request, Place::Query), expected, "{template}");
        }
    }

    #[test]
    fn unknown_variables_and_single_braces_are_errors() {
        for text in
            ["{client}", "{}", "{header.}", "{header.a b}", "{client_ip", "a}", "{cookie.a;b}", "{x.y}"]
        {
            let problem = Template::parse("set", text).expect_err(text);
            assert_eq!(problem.field, "set");
        }
    }

    #[test]
    fn a_text_without_variables_is_not_rendered_anew() {
        for (text, fixed) in [("", Some("")), ("a", Some("a")), ("a{{b", Some("a{b")), ("{host}", None)] {
            let template = Template::parse("set", text).expect("a template");
            assert_eq!(template.as_fixed(), fixed.map(str::as_bytes), "{text}");
        }
    }
}
