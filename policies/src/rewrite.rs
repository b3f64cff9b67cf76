//! `rewrite`: another host, path or query for the origin. Routes have been matched by then.

use std::sync::Arc;

use ringway_protocols::authority;

use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::path_change::{self, PathChange};
use crate::pieces;
use crate::policy::{Configure, Denial, Denied, Hooks, RequestContext, Scope, Verdict};
use crate::template::{Facts, Place, Template};

pub const HELP: &str = "Changes the host, the path or the query that the origin gets.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "host",
        kind: Kind::Text,
        need: Need::Optional,
        help: "The host that the origin is asked for, with its port where it has one. It may have variables.",
    },
    path_change::PATH,
    path_change::STRIP_PREFIX,
    path_change::PREFIX,
    path_change::REGEX,
    Field {
        name: "query",
        kind: Kind::Group(&[
            Field {
                name: "remove",
                kind: Kind::Texts,
                need: Need::Optional,
                help: "Names of parameters that are left out; `*`: all of them.",
            },
            Field {
                name: "set",
                kind: Kind::Pairs,
                need: Need::Optional,
                help: "Parameters that have this value and no other. Values may have variables.",
            },
        ]),
        need: Need::Optional,
        help: "Changes of the query.",
    },
    Field {
        name: "bytes_max",
        kind: Kind::Bytes { min: 64, max: 1 << 20 },
        need: Need::Default("16KiB"),
        help: "The longest path or query that may come of it: what would be longer is refused.",
    },
];

#[derive(Debug, PartialEq)]
pub struct RewriteConfig {
    host: Option<Template>,
    path: Option<PathChange>,
    query: Option<QueryChange>,
    bytes_max: usize,
}

#[derive(Debug, PartialEq)]
struct QueryChange {
    remove_all: bool,
    remove: Vec<String>,
    set: Vec<(String, Template)>,
}

impl Configure for RewriteConfig {
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
        let query = values.group("query").map(|group| QueryChange::build(group, &mut problems));
        if problems.is_empty() && host.is_none() && path.is_none() && query.is_none() {
            problems.push(Problem::new(
                "",
                "`host`, `path`, `strip_prefix`, `prefix`, `regex` or `query`",
                "none of them",
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let bytes_max = usize::try_from(values.number("bytes_max")).unwrap_or(usize::MAX);
        Ok(RewriteConfig { host, path, query, bytes_max })
    }
}

/// Reads a host, which may have variables in it.
pub(crate) fn host(text: &str) -> Result<Template, Problem> {
    let template = Template::parse("host", text)?;
    let wrong = match template.as_fixed() {
        Some(fixed) => authority::parse(fixed).is_none(),
        None => !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\".contains(&byte)),
    };
    if wrong {
        return Err(Problem::new(
            "host",
            "a host such as app.internal or app.internal:8080",
            format!("`{text}`"),
        ));
    }
    Ok(template)
}

impl QueryChange {
    fn build(group: &Values, problems: &mut Vec<Problem>) -> QueryChange {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"&#".contains(&byte));
        let mut set = Vec::new();
        for (index, (name, value)) in group.pairs("set").iter().enumerate() {
            if name.is_empty() || name.contains('=') || !plain(name) || !plain(value) {
                let expected = "a parameter, percent-encoded where it has to be";
                problems.push(Problem::new("query.set", expected, format!("`{name}={value}`")).item(index));
                continue;
            }
            match Template::parse("query.set", value) {
                Ok(template) => set.push((name.clone(), template)),
                Err(problem) => problems.push(problem.item(index)),
            }
        }
        let remove = group.texts("remove");
        if set.is_empty() && remove.is_empty() && problems.is_empty() {
            problems.push(Problem::new("query", "`set` or `remove`", "none of them"));
        }
        let remove_all = remove.iter().any(|name| name == "*");
        QueryChange { remove_all, remove: remove.to_vec(), set }
    }

    fn apply(&self, query: &[u8], facts: &Facts<'_>) -> Vec<u8> {
        let named = |name: &[u8]| {
            self.remove_all
                || self.remove.iter().any(|gone| gone.as_bytes() == name)
                || self.set.iter().any(|(set, _)| pieces::decode(set.as_bytes()) == name)
        };
        let mut changed = pieces::without_parameters(query, named);
        for (name, value) in &self.set {
            if !changed.is_empty() {
                changed.push(b'&');
            }
            changed.extend_from_slice(name.as_bytes());
            changed.push(b'=');
            value.render(facts, Place::Query, &mut changed);
        }
        changed
    }
}

pub struct Rewrite(Arc<RewriteConfig>);

impl Rewrite {
    pub fn new(config: &Arc<RewriteConfig>) -> Self {
        Rewrite(Arc::clone(config))
    }
}

impl Hooks for Rewrite {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.0;
        let (facts, changes) = Facts::beside(request);
        if let Some(host) = &config.host {
            let host = host.value(&facts).into_owned();
            if authority::parse(&host).is_none() {
                return refused("the rewritten host is not one".to_owned());
            }
            changes.host = Some(host);
        }
        if let Some(query) = &config.query {
            let before = facts.head.query.map(|query| query.of(facts.bytes)).unwrap_or_default();
            let query = query.apply(changes.query.as_deref().unwrap_or(before), &facts);
            if query.len() > config.bytes_max {
                return refused("the rewritten query is too long".to_owned());
            }
            changes.query = Some(query);
        }
        // `*` of OPTIONS is no path.
        if let Some(change) = config.path.as_ref().filter(|_| facts.path.starts_with(b"/")) {
            let before = changes.path.as_deref().unwrap_or(facts.path);
            match change.apply(before, &facts, config.bytes_max) {
                Ok(Some(path)) => changes.path = Some(path),
                Ok(None) => {}
                Err(error) => return refused(error.to_string()),
            }
        }
        Verdict::Continue
    }
}

fn refused(detail: String) -> Verdict {
    Verdict::Deny(Denial { kind: Denied::BadRewrite, detail, lines: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Value;
    use crate::policy::fixture::{Request, build, pairs, text, texts, values, wrong};

    fn with_bound(mut fields: Values) -> Values {
        fields.insert("bytes_max", Value::Number(1024));
        fields
    }

    fn sent(fields: Values, mut request: Request) -> Result<String, Denial> {
        let policy = Rewrite::new(&build(&with_bound(fields)));
        match request.ask(&policy) {
            Verdict::Continue => Ok(request.sent().replace(" HTTP/1.1\r\n", " ")),
            Verdict::Deny(denial) => Err(denial),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_origin_gets_another_host_path_and_query() {
        let query = |fields| values([("query", Value::Group(fields))]);
        for (fields, target, expected) in [
            (values([("host", text("app.internal:8080"))]), "/a?b", "GET /a?b host: app.internal:8080"),
            (values([("strip_prefix", text("/api"))]), "/api/v1?x=1", "GET /v1?x=1 Host: shop.test"),
            (values([("strip_prefix", text("/api"))]), "/other", "GET /other Host: shop.test"),
            (values([("path", text("/x")), ("host", text("{method}.test"))]), "/a", "GET /x host: GET.test"),
            (
                query(values([("remove", texts(&["utm", "a b"]))])),
                "/?utm=1&x=2&a%20b=3",
                "GET /?x=2 Host: shop.test",
            ),
            (query(values([("remove", texts(&["*"]))])), "/?utm=1&x=2", "GET / Host: shop.test"),
            (
                query(values([("set", pairs(&[("ip", "{client_ip}"), ("x", "1")]))])),
                "/?x=9&y=2&%78=3",
                "GET /?y=2&ip=192.0.2.1&x=1 Host: shop.test",
            ),
            (query(values([("set", pairs(&[("x", "1")]))])), "/", "GET /?x=1 Host: shop.test"),
        ] {
            assert_eq!(sent(fields, Request::get(target)), Ok(expected.to_owned()), "{target}");
        }
    }

    #[test]
    fn two_rewrites_follow_each_other() {
        let mut request = Request::get("/api/v1/x");
        for prefix in ["/api", "/v1"] {
            let policy = Rewrite::new(&build(&with_bound(values([("strip_prefix", text(prefix))]))));
            assert!(matches!(request.ask(&policy), Verdict::Continue));
        }
        assert!(request.sent().starts_with("GET /x HTTP/1.1\r\n"));
    }

    #[test]
    fn what_comes_out_wrong_is_refused() {
        let host = values([("host", text("{header.x-tenant}.internal"))]);
        for tenant in ["", "a,b", "a/b", "a b", "evil@x", "a:1"] {
            let request = Request::get("/").with("x-tenant", tenant);
            assert_eq!(
                sent(host.clone(), request).map_err(|denial| denial.kind),
                Err(Denied::BadRewrite),
                "{tenant}"
            );
        }
        let long = Request::get("/").with("x-long", &"x".repeat(2000));
        let query = values([("query", Value::Group(values([("set", pairs(&[("x", "{header.x-long}")]))])))]);
        assert!(sent(query, long).is_err());
        let path = values([("path", text("/{header.x-long}"))]);
        assert!(sent(path, Request::get("/").with("x-long", "..")).is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let set = |name, value| values([("query", Value::Group(values([("set", pairs(&[(name, value)]))])))]);
        for (fields, expected) in [
            (values([]), ""),
            (values([("host", text("a b"))]), "host"),
            (values([("host", text("http://a"))]), "host"),
            (values([("host", text("{capture.a}/x"))]), "host"),
            (values([("host", text("{nobody}"))]), "host"),
            (values([("path", text("x"))]), "path"),
            (values([("query", Value::Group(values([])))]), "query"),
            (set("a&b", "1"), "query.set[0]"),
            (set("a", "1#"), "query.set[0]"),
            (set("a", "{x}"), "query.set[0]"),
        ] {
            assert_eq!(wrong::<RewriteConfig>(&with_bound(fields)), [expected]);
        }
    }
}
