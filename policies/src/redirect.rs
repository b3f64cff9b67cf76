//! `redirect`: the client is sent to another place (RFC 9110 15.4).

use std::io::Write;
use std::sync::Arc;

use ringway_protocols::authority;

use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::path_change::{self, PathChange};
use crate::policy::{Configure, Denial, Denied, Hooks, Reply, RequestContext, Scope, Verdict};
use crate::rewrite;
use crate::template::{Facts, Template};

pub const HELP: &str = "Sends the client to another scheme, host, port or path. What is not named stays as it was asked for, \
                        the query too.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "scheme",
        kind: Kind::Choice(&["http", "https"]),
        need: Need::Optional,
        help: "The scheme of the new place. Without `port` it means the port of that scheme.",
    },
    Field {
        name: "host",
        kind: Kind::Text,
        need: Need::Optional,
        help: "The host of the new place, without a port. It may have variables.",
    },
    Field {
        name: "port",
        kind: Kind::Count { min: 1, max: 65535 },
        need: Need::Optional,
        help: "The port of the new place.",
    },
    path_change::PATH,
    path_change::STRIP_PREFIX,
    path_change::PREFIX,
    path_change::REGEX,
    Field {
        name: "query",
        kind: Kind::Choice(&["keep", "drop"]),
        need: Need::Default("keep"),
        help: "What becomes of the query.",
    },
    Field {
        name: "status",
        kind: Kind::Choice(&["301", "302", "303", "307", "308"]),
        need: Need::Default("302"),
        help: "301 and 308 may be remembered by clients; 307 and 308 keep the method and the body.",
    },
    Field {
        name: "bytes_max",
        kind: Kind::Bytes { min: 64, max: 1 << 20 },
        need: Need::Default("16KiB"),
        help: "The longest path that may come of it: what would be longer is refused.",
    },
];

#[derive(Debug, PartialEq)]
pub struct RedirectConfig {
    scheme: Option<&'static str>,
    host: Option<Template>,
    port: Option<u16>,
    path: Option<PathChange>,
    keep_query: bool,
    status: u16,
    bytes_max: usize,
}

impl Configure for RedirectConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let host = values.opt_text("host").and_then(|text| match host(text) {
            Ok(host) => Some(host),
            Err(problem) => {
                problems.push(problem);
                None
            }
        });
        let path = PathChange::build(values, &mut problems);
        let config = RedirectConfig {
            scheme: values.opt_text("scheme").map(|scheme| if scheme == "https" { "https" } else { "http" }),
            host,
            port: values.opt_number("port").and_then(|port| u16::try_from(port).ok()),
            path,
            keep_query: values.text("query") != "drop",
            status: values.text("status").parse().unwrap_or(302),
            bytes_max: usize::try_from(values.number("bytes_max")).unwrap_or(usize::MAX),
        };
        let elsewhere = config.scheme.is_some() || config.host.is_some() || config.port.is_some();
        if problems.is_empty() && !elsewhere && config.path.is_none() {
            let expected = "`scheme`, `host`, `port` or another path";
            problems.push(Problem::new("", expected, "none of them, which would send clients in a circle"));
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

fn host(text: &str) -> Result<Template, Problem> {
    let template = rewrite::host(text)?;
    if template.as_fixed().and_then(authority::parse).is_some_and(|parsed| parsed.port.is_some()) {
        return Err(Problem::new("host", "a host without a port", format!("`{text}`")).hint("write `port`"));
    }
    Ok(template)
}

pub struct Redirect(Arc<RedirectConfig>);

impl Redirect {
    pub fn new(config: &Arc<RedirectConfig>) -> Self {
        Redirect(Arc::clone(config))
    }
}

impl Hooks for Redirect {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let (facts, _) = Facts::beside(request);
        match self.0.location(&facts) {
            Ok(location) => {
                let mut lines = b"location: ".to_vec();
                lines.extend_from_slice(&location);
                lines.extend_from_slice(b"\r\n");
                Verdict::Reply(Reply { status: self.0.status, lines, ..Reply::default() })
            }
            Err(detail) => Verdict::Deny(Denial { kind: Denied::BadRewrite, detail, lines: Vec::new() }),
        }
    }
}

impl RedirectConfig {
    /// The new place, in full: what is relative starts from a place that only the client knows.
    fn location(&self, facts: &Facts<'_>) -> Result<Vec<u8>, String> {
        let asked = facts.head.authority.of(facts.bytes);
        let asked = authority::parse(asked);
        let scheme = self.scheme.unwrap_or(if facts.secure { "https" } else { "http" });
        let mut location = Vec::with_capacity(128);
        let host = match &self.host {
            Some(template) => Some(template.value(facts)),
            None => asked.map(|asked| asked.host.into()),
        };
        // Without a host (HTTP/1.0) the path alone has to do.
        if let Some(host) = host {
            if authority::parse(&host).is_none_or(|parsed| parsed.port.is_some()) {
                return Err("the host of the redirect is not one".to_owned());
            }
            location.extend_from_slice(scheme.as_bytes());
            location.extend_from_slice(b"://");
            location.extend_from_slice(&host);
            // Another scheme means its own port, unless one is given.
            let port =
                self.port.or(if self.scheme.is_none() { asked.and_then(|asked| asked.port) } else { None });
            let usual = if scheme == "https" { 443 } else { 80 };
            if let Some(port) = port.filter(|port| *port != usual) {
                // Writing to a vector cannot fail.
                let _ = write!(location, ":{port}");
            }
        }
        self.push_path(facts, &mut location)?;
        Ok(location)
    }

    fn push_path(&self, facts: &Facts<'_>, location: &mut Vec<u8>) -> Result<(), String> {
        // `*` of OPTIONS is no path that one could be sent to.
        let asked = if facts.path.starts_with(b"/") { facts.path } else { b"/" };
        let changed = match &self.path {
            Some(change) => change.apply(asked, facts, self.bytes_max).map_err(|error| error.to_string())?,
            None => None,
        };
        let path = changed.as_deref().unwrap_or(asked);
        if location.is_empty() && path.starts_with(b"//") {
            // Alone, this would be another host (RFC 3986 4.2).
            return Err("the path of the redirect would name a host".to_owned());
        }
        location.extend_from_slice(path);
        if let Some(query) = facts.head.query.filter(|_| self.keep_query) {
            location.push(b'?');
            location.extend_from_slice(query.of(facts.bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Value;
    use crate::policy::fixture::{Request, build, text, values, wrong};

    fn with_defaults(mut fields: Values) -> Values {
        for (name, value) in
            [("query", text("keep")), ("status", text("302")), ("bytes_max", Value::Number(1024))]
        {
            if fields.get(name).is_none() {
                fields.insert(name, value);
            }
        }
        fields
    }

    fn location(fields: Values, mut request: Request) -> (u16, String) {
        let policy = Redirect::new(&build(&with_defaults(fields)));
        match request.ask(&policy) {
            Verdict::Reply(reply) => {
                (reply.status, String::from_utf8_lossy(&reply.lines).trim_end().to_owned())
            }
            Verdict::Deny(denial) => (400, denial.detail),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_named_stays_as_it_was_asked_for() {
        let strip = values([("strip_prefix", text("/old"))]);
        let prefix = Value::Group(values([("from", text("/old")), ("to", text("/new"))]));
        for (fields, host, target, expected) in [
            (values([("scheme", text("https"))]), "shop.test:8080", "/a?b=c", "https://shop.test/a?b=c"),
            (values([("scheme", text("http"))]), "shop.test", "/a", "http://shop.test/a"),
            (values([("scheme", text("https")), ("port", Value::Number(8443))]), "s", "/", "https://s:8443/"),
            (values([("port", Value::Number(80))]), "s:8080", "/", "http://s/"),
            (values([("host", text("new.test"))]), "shop.test:8080", "/a", "http://new.test:8080/a"),
            (values([("host", text("www.{host}"))]), "shop.test", "/", "http://www.shop.test/"),
            (strip, "shop.test", "/old/x?y", "http://shop.test/x?y"),
            (values([("prefix", prefix)]), "[::1]:8080", "/old/x", "http://[::1]:8080/new/x"),
            (values([("path", text("/x")), ("query", text("drop"))]), "s", "/a?b", "http://s/x"),
        ] {
            let request = Request::to(host, "GET", target);
            assert_eq!(location(fields, request), (302, format!("location: {expected}")), "{host}{target}");
        }
    }

    #[test]
    fn the_status_is_the_one_that_is_written() {
        for status in ["301", "302", "303", "307", "308"] {
            let fields = values([("scheme", text("https")), ("status", text(status))]);
            assert_eq!(location(fields, Request::get("/")).0.to_string(), status);
        }
    }

    #[test]
    fn over_tls_the_scheme_stays_https() {
        let mut request = Request::get("/a");
        request.secure = true;
        let fields = values([("host", text("b.test"))]);
        assert_eq!(location(fields, request).1, "location: https://b.test/a");
    }

    #[test]
    fn no_variable_makes_another_host_or_line() {
        let fields = values([("host", text("{header.x-to}"))]);
        for to in ["evil.test/x", "a@evil.test", "evil.test:81", "", "a b"] {
            assert_eq!(location(fields.clone(), Request::get("/").with("x-to", to)).0, 400, "{to}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        for (fields, expected) in [
            (values([]), ""),
            (values([("host", text("a:80"))]), "host"),
            (values([("host", text("https://a"))]), "host"),
            (values([("path", text("https://a"))]), "path"),
        ] {
            assert_eq!(wrong::<RedirectConfig>(&with_defaults(fields)), [expected]);
        }
    }
}
