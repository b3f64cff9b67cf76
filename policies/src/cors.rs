//! `cors`: which web pages of other origins may read what is answered (the CORS protocol of the Fetch standard).
//!
//! It answers preflights itself, and what the origin server says of CORS is replaced: there is one voice. It does not
//! protect a server from requests, only their answers from pages: who may ask is for other policies to say, and those stand
//! after this one, since a preflight carries no credentials.

use std::sync::Arc;
use std::time::Duration;

use ringway_protocols::message::{FieldKind, Method, RequestHead};

use crate::field_name;
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::pieces;
use crate::policy::{
    Configure, Denial, Denied, Hooks, Reply, RequestContext, ResponseContext, Scope, Verdict,
};

pub const HELP: &str = "Lets web pages of other origins read the answers, and answers preflight requests. It stands before \
                        policies that ask for credentials.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "allow_origins",
        kind: Kind::Texts,
        need: Need::Required,
        help: "Origins such as https://shop.example.com, https://*.example.com for all hosts below, `null`, or `*` for all.",
    },
    Field {
        name: "allow_methods",
        kind: Kind::Texts,
        need: Need::Default("GET"),
        help: "Methods besides GET, HEAD and POST; `*`: all of them.",
    },
    Field {
        name: "allow_headers",
        kind: Kind::Texts,
        need: Need::Optional,
        help: "Fields that pages may set; `*`: all of them.",
    },
    Field {
        name: "expose_headers",
        kind: Kind::Texts,
        need: Need::Optional,
        help: "Fields of responses that pages may read; `*`: all of them, without credentials.",
    },
    Field {
        name: "credentials",
        kind: Kind::Bool,
        need: Need::Default("false"),
        help: "Whether pages may send cookies and other credentials.",
    },
    Field {
        name: "max_age",
        kind: Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(86_400) },
        need: Need::Default("10m"),
        help: "How long browsers may remember the answer to a preflight.",
    },
    Field {
        name: "private_network",
        kind: Kind::Bool,
        need: Need::Default("false"),
        help: "Whether pages of public networks may ask for this one in a private network.",
    },
    Field {
        name: "other_origins",
        kind: Kind::Choice(&["pass", "deny"]),
        need: Need::Default("pass"),
        help: "What becomes of requests of other origins that are no preflights: `pass` lets them through without a word of \
               CORS, `deny` answers 403.",
    },
];

#[derive(Debug, PartialEq)]
pub struct CorsConfig {
    origins: Origins,
    /// `None`: all.
    methods: Option<Vec<Box<[u8]>>>,
    /// `None`: all.
    headers: Option<Vec<Box<[u8]>>>,
    expose: Box<[u8]>,
    credentials: bool,
    max_age_secs: u64,
    private_network: bool,
    deny_others: bool,
}

#[derive(Debug, PartialEq, Default)]
struct Origins {
    any: bool,
    exact: Vec<Box<[u8]>>,
    below: Vec<Below>,
}

/// What is before and after the asterisk: `https://` and `.example.com`.
type Below = (Box<[u8]>, Box<[u8]>);

impl Configure for CorsConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut origins = Origins::default();
        for (index, origin) in values.texts("allow_origins").iter().enumerate() {
            if let Err(problem) = origins.add(origin) {
                problems.push(problem.item(index));
            }
        }
        let credentials = values.flag("credentials");
        if origins.any && credentials {
            problems.push(
                Problem::new("credentials", "false where every origin is allowed", "true")
                    .hint("list the origins: else any page could act for whoever looks at it"),
            );
        }
        let methods = names(values, "allow_methods", &mut problems);
        let headers = names(values, "allow_headers", &mut problems);
        let expose = values.texts("expose_headers");
        if expose.iter().any(|name| name == "*") && credentials {
            // Fetch 3.3.5: with credentials an asterisk is a name like any other.
            problems.push(Problem::new(
                "expose_headers",
                "a list of names where there are credentials",
                "`*`",
            ));
        }
        names(values, "expose_headers", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(CorsConfig {
            origins,
            methods,
            headers,
            expose: expose.join(", ").into_bytes().into(),
            credentials,
            max_age_secs: values.duration("max_age").as_secs(),
            private_network: values.flag("private_network"),
            deny_others: values.text("other_origins") == "deny",
        })
    }
}

/// A list of tokens; `None` where one is `*`.
fn names(values: &Values, field: &str, problems: &mut Vec<Problem>) -> Option<Vec<Box<[u8]>>> {
    let texts = values.texts(field);
    for (index, name) in texts.iter().enumerate() {
        if !field_name::is_token(name) {
            problems.push(Problem::new(field, "a name, or `*`", format!("`{name}`")).item(index));
        }
    }
    let all = texts.iter().any(|name| name == "*");
    (!all).then(|| texts.iter().map(|name| name.as_bytes().into()).collect())
}

impl Origins {
    fn add(&mut self, text: &str) -> Result<(), Problem> {
        let wrong = |hint: &str| {
            let expected =
                "an origin such as https://shop.example.com or https://*.example.com, `null`, or `*`";
            let problem = Problem::new("allow_origins", expected, format!("`{text}`"));
            if hint.is_empty() { problem } else { problem.hint(hint) }
        };
        let lower = text.to_ascii_lowercase();
        if lower == "*" {
            self.any = true;
            return Ok(());
        }
        if lower == "null" {
            self.exact.push(lower.into_bytes().into());
            return Ok(());
        }
        let Some((scheme, host)) = lower.split_once("://") else {
            return Err(wrong("an origin has a scheme"));
        };
        if host.contains('/') {
            return Err(wrong("an origin has no path, and no slash at its end"));
        }
        let name = host.strip_prefix("*.").unwrap_or(host);
        let parsed = ringway_protocols::authority::parse(name.as_bytes());
        let usual =
            matches!((scheme, parsed.and_then(|p| p.port)), ("http", Some(80)) | ("https", Some(443)));
        if usual {
            return Err(wrong("browsers leave the port of the scheme out"));
        }
        if parsed.is_none() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return Err(wrong(""));
        }
        if name.len() < host.len() {
            self.below
                .push((format!("{scheme}://").into_bytes().into(), format!(".{name}").into_bytes().into()));
        } else {
            self.exact.push(lower.into_bytes().into());
        }
        Ok(())
    }

    fn allow(&self, origin: &[u8]) -> bool {
        self.any
            || self.exact.iter().any(|known| origin.eq_ignore_ascii_case(known))
            || self.below.iter().any(|(scheme, end)| {
                let label = strip(origin, scheme).and_then(|host| {
                    let at = host.len().checked_sub(end.len())?;
                    let (label, rest) = host.split_at_checked(at)?;
                    rest.eq_ignore_ascii_case(end).then_some(label)
                });
                // Names and dots: nothing that would make the rest a path, a user or a port.
                label.is_some_and(|label| {
                    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                    !label.is_empty() && label.iter().all(plain)
                })
            })
    }
}

fn strip<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

pub struct Cors(Arc<CorsConfig>);

impl Cors {
    pub fn new(config: &Arc<CorsConfig>) -> Self {
        Cors(Arc::clone(config))
    }
}

impl Hooks for Cors {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.0;
        let Some(origin) = Asked::of(request.head, request.bytes) else { return Verdict::Continue };
        let asked_method = match request.head.method {
            Method::Options => one(request.head, request.bytes, b"access-control-request-method"),
            _ => None,
        };
        match (origin.allowed_by(config), asked_method) {
            (Some(origin), Some(method)) => config.preflight(request, origin, method),
            (None, Some(_)) => Verdict::Reply(Reply {
                status: 403,
                lines: VARY_PREFLIGHT.to_vec(),
                body: b"the origin is not allowed\n".to_vec(),
                denied: Some(Denied::Forbidden),
            }),
            (None, None) if config.deny_others => {
                let detail = "the origin is not allowed".to_owned();
                Verdict::Deny(Denial { kind: Denied::Forbidden, detail, lines: Vec::new() })
            }
            _ => Verdict::Continue,
        }
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let config = &*self.0;
        let facts = response.facts;
        let headers = &mut response.changes.headers;
        FROM_ORIGIN_SERVER.iter().for_each(|name| headers.remove(name));
        // Caches must not give one origin's answer to another, nor that for no origin to any.
        if !config.same_for_all() {
            headers.add(b"vary", b"origin");
        }
        let Some(origin) = Asked::of(facts.head, facts.bytes) else { return };
        let Some(origin) = origin.allowed_by(config) else { return };
        headers.set(b"access-control-allow-origin", config.shown(origin));
        if config.credentials {
            headers.set(b"access-control-allow-credentials", b"true");
        }
        if !config.expose.is_empty() {
            headers.set(b"access-control-expose-headers", &config.expose);
        }
    }
}

const VARY_PREFLIGHT: &[u8] =
    b"vary: origin, access-control-request-method, access-control-request-headers\r\n";

/// What servers say of CORS, and only this policy is to say.
const FROM_ORIGIN_SERVER: [&[u8]; 7] = [
    b"access-control-allow-origin",
    b"access-control-allow-credentials",
    b"access-control-allow-methods",
    b"access-control-allow-headers",
    b"access-control-allow-private-network",
    b"access-control-expose-headers",
    b"access-control-max-age",
];

/// The origin that a request names.
enum Asked<'a> {
    One(&'a [u8]),
    /// Several lines: no browser sends that.
    Several,
}

impl<'a> Asked<'a> {
    fn of(head: &'a RequestHead, bytes: &'a [u8]) -> Option<Asked<'a>> {
        let first = head.lookup(FieldKind::Origin)?.of(bytes);
        let several = head.fields.iter().filter(|field| field.kind == FieldKind::Origin).nth(1).is_some();
        Some(if several { Asked::Several } else { Asked::One(first) })
    }

    fn allowed_by(self, config: &CorsConfig) -> Option<&'a [u8]> {
        match self {
            // An origin has no space in it; what has is not sent back.
            Asked::One(origin) if origin.iter().all(u8::is_ascii_graphic) => {
                config.origins.allow(origin).then_some(origin)
            }
            _ => None,
        }
    }
}

/// The value of a field that may be there once.
fn one<'a>(head: &'a RequestHead, bytes: &'a [u8], name: &'a [u8]) -> Option<&'a [u8]> {
    pieces::values(head, bytes, name).next()
}

impl CorsConfig {
    /// Every origin gets the same answer.
    fn same_for_all(&self) -> bool {
        self.origins.any && !self.credentials
    }

    /// As what an allowed origin is named.
    fn shown<'a>(&self, origin: &'a [u8]) -> &'a [u8] {
        if self.same_for_all() { b"*" } else { origin }
    }

    /// Fetch 4.8: the answer that lets the browser send the request itself.
    fn preflight(&self, request: &RequestContext<'_>, origin: &[u8], method: &[u8]) -> Verdict {
        let mut lines = Vec::with_capacity(256);
        lines.extend_from_slice(VARY_PREFLIGHT);
        push_line(&mut lines, b"access-control-allow-origin: ", self.shown(origin));
        if self.credentials {
            lines.extend_from_slice(b"access-control-allow-credentials: true\r\n");
        }
        let safelisted = matches!(method, b"GET" | b"HEAD" | b"POST");
        let method_allowed = match &self.methods {
            None => field_name::is_token(&String::from_utf8_lossy(method)),
            Some(methods) => safelisted || methods.iter().any(|known| **known == *method),
        };
        if method_allowed {
            push_line(&mut lines, b"access-control-allow-methods: ", method);
        }
        // Only what is asked for is named: the list stays short, and an asterisk stands for what it means.
        let mut allowed: Vec<u8> = Vec::new();
        let wanted = pieces::values(request.head, request.bytes, b"access-control-request-headers");
        for name in wanted.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
            let known = match &self.headers {
                None => std::str::from_utf8(name).is_ok_and(field_name::is_token),
                Some(headers) => headers.iter().any(|known| known.eq_ignore_ascii_case(name)),
            };
            if known && !name.is_empty() {
                if !allowed.is_empty() {
                    allowed.extend_from_slice(b", ");
                }
                allowed.extend_from_slice(name);
            }
        }
        if !allowed.is_empty() {
            push_line(&mut lines, b"access-control-allow-headers: ", &allowed);
        }
        push_line(&mut lines, b"access-control-max-age: ", self.max_age_secs.to_string().as_bytes());
        let private = one(request.head, request.bytes, b"access-control-request-private-network");
        if self.private_network && private == Some(b"true") {
            lines.extend_from_slice(b"access-control-allow-private-network: true\r\n");
        }
        Verdict::Reply(Reply { status: 204, lines, ..Reply::default() })
    }
}

fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    lines.extend_from_slice(name);
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
