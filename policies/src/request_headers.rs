//! `request_headers`: fields of the request that the origin gets, changed.

use std::sync::Arc;

use crate::field_name;
use crate::fields::{Field, Problem, Values};
use crate::header_edits::{self, HeaderEdits};
use crate::policy::{Configure, Hooks, RequestContext, Scope, Verdict};
use crate::template::Facts;

pub const HELP: &str =
    "Removes, sets and adds fields of the request on its way to the origin, in this order.";

pub const FIELDS: &[Field] = &[header_edits::SET, header_edits::ADD, header_edits::REMOVE];

#[derive(Debug, PartialEq)]
pub struct RequestHeadersConfig {
    edits: HeaderEdits,
}

impl Configure for RequestHeadersConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let edits = HeaderEdits::build(values, field_name::check_request, &mut problems);
        if problems.is_empty() && edits.is_empty() {
            problems.push(Problem::new("", "`set`, `add` or `remove`", "none of them"));
        }
        if problems.is_empty() { Ok(RequestHeadersConfig { edits }) } else { Err(problems) }
    }
}

pub struct RequestHeaders(Arc<RequestHeadersConfig>);

impl RequestHeaders {
    pub fn new(config: &Arc<RequestHeadersConfig>) -> Self {
        RequestHeaders(Arc::clone(config))
    }
}

impl Hooks for RequestHeaders {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let (facts, changes) = Facts::beside(request);
        self.0.edits.apply(&facts, &mut changes.headers);
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::{Request, build, pairs, texts, values, wrong};

    fn sent(fields: Values, mut request: Request) -> String {
        let config = build::<RequestHeadersConfig>(&fields);
        assert!(matches!(request.ask(&RequestHeaders::new(&config)), Verdict::Continue));
        request.sent().split_once("\r\n").map(|(_, lines)| lines.to_owned()).unwrap_or_default()
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let fields = values([
            ("set", pairs(&[("X-Gateway", "ringway"), ("x-client", "{client_ip}")])),
            ("add", pairs(&[("x-tag", "b"), ("x-gateway", "2")])),
            ("remove", texts(&["x-debug"])),
        ]);
        let request = Request::get("/").with("X-Debug", "1").with("x-GATEWAY", "spoofed").with("x-tag", "a");
        assert_eq!(
            sent(fields, request),
            "Host: shop.test\r\nx-tag: a\r\nx-gateway: ringway\r\nx-client: 192.0.2.1\r\nx-tag: b\r\nx-gateway: 2"
        );
    }

    #[test]
    fn aliases_with_underscores_are_replaced_and_removed_too() {
        let fields = values([("set", pairs(&[("x-user", "7")])), ("remove", texts(&["x-is-admin"]))]);
        let mut request = Request::get("/");
        for name in ["X_User", "x-user", "X_USER", "x_is-admin", "X-Is_Admin", "X_IS_ADMIN"] {
            request.field(name, "spoofed");
        }
        assert_eq!(sent(fields, request), "Host: shop.test\r\nx-user: 7");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let set = |name, value| values([("set", pairs(&[("x-ok", "1"), (name, value)]))]);
        for (fields, expected) in [
            (values([]), vec![""]),
            (set("connection", "close"), vec!["set[1]"]),
            (set("transfer_encoding", "chunked"), vec!["set[1]"]),
            (set("host", "evil"), vec!["set[1]"]),
            (set("x y", "1"), vec!["set[1]"]),
            (set(":path", "/"), vec!["set[1]"]),
            (set("x-a", "{no_such}"), vec!["set[1]"]),
            (set("x-a", "a\r\nb: c"), vec!["set[1]"]),
            (values([("remove", texts(&["te", "x-ok", "content-length"]))]), vec!["remove[0]", "remove[2]"]),
        ] {
            assert_eq!(wrong::<RequestHeadersConfig>(&fields), expected);
        }
    }
}
