//! `response_headers`: fields of the response that the client gets, changed, whoever answers.

use std::sync::Arc;

use crate::changes::{has_line, is_same_name};
use crate::field_name;
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::header_edits::{self, HeaderEdits, Lines};
use crate::policy::{Configure, Hooks, ResponseContext, Scope};

pub const HELP: &str = "Removes, sets and adds fields of the response on its way to the client, in this order. Replies of \
                        the proxy's own are changed too.";

pub const FIELDS: &[Field] = &[
    header_edits::SET,
    header_edits::ADD,
    header_edits::REMOVE,
    Field {
        name: "default",
        kind: Kind::Pairs,
        need: Need::Optional,
        help: "Fields that have this value where the response says nothing of that name.",
    },
];

#[derive(Debug, PartialEq)]
pub struct ResponseHeadersConfig {
    edits: HeaderEdits,
    default: Lines,
}

impl Configure for ResponseHeadersConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let edits = HeaderEdits::build(values, field_name::check_response, &mut problems);
        let default = header_edits::lines(values, "default", field_name::check_response, &mut problems);
        if problems.is_empty() && edits.is_empty() && default.is_empty() {
            problems.push(Problem::new("", "`set`, `add`, `remove` or `default`", "none of them"));
        }
        if problems.is_empty() { Ok(ResponseHeadersConfig { edits, default }) } else { Err(problems) }
    }
}

pub struct ResponseHeaders(Arc<ResponseHeadersConfig>);

impl ResponseHeaders {
    pub fn new(config: &Arc<ResponseHeadersConfig>) -> Self {
        ResponseHeaders(Arc::clone(config))
    }
}

impl Hooks for ResponseHeaders {
    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let facts = response.facts;
        for (name, value) in &self.0.default {
            if !says(response, name) {
                response.changes.headers.add(name, &value.value(&facts));
            }
        }
        self.0.edits.apply(&facts, &mut response.changes.headers);
    }
}

/// Whether the client gets a field of this name, as far as it is known by now.
fn says(response: &ResponseContext<'_>, name: &[u8]) -> bool {
    let changes = &response.changes.headers;
    let added = has_line(changes.lines(), name);
    let received = response.head.is_some_and(|head| {
        head.fields.iter().any(|field| is_same_name(field.name.of(response.bytes), name))
    });
    added || (received && !changes.names().iter().any(|gone| is_same_name(gone, name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::{Request, build, pairs, texts, values, wrong};

    #[test]
    fn fields_of_responses_are_changed_whoever_answers() {
        let fields = values([
            ("set", pairs(&[("x-served-by", "{route}"), ("x-id", "{request_id}")])),
            ("remove", texts(&["server", "x-powered-by"])),
            ("default", pairs(&[("cache-control", "no-store"), ("x-frame-options", "DENY")])),
        ]);
        let policy = ResponseHeaders::new(&build(&fields));
        let upstream =
            "HTTP/1.1 200 OK\r\nServer: nginx\r\nX-Powered-By: PHP\r\nCache-Control: max-age=1\r\n";
        assert_eq!(
            Request::get("/").answer(&policy, upstream),
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nx-frame-options: DENY\r\nx-served-by: checkout\r\nx-id: id-1"
        );
        assert_eq!(
            Request::get("/").answer(&policy, ""),
            "HTTP/1.1 403 Forbidden\r\ncache-control: no-store\r\nx-frame-options: DENY\r\nx-served-by: checkout\r\n\
             x-id: id-1"
        );
    }

    #[test]
    fn an_outer_policy_has_the_last_word() {
        let inner = ResponseHeaders::new(&build(&values([("set", pairs(&[("x-a", "route")]))])));
        let outer = ResponseHeaders::new(&build(&values([(
            "default",
            pairs(&[("x-a", "global"), ("x-b", "global")]),
        )])));
        let mut request = Request::get("/");
        request.answer(&inner, "HTTP/1.1 200 OK\r\n");
        assert_eq!(
            request.answer(&outer, "HTTP/1.1 200 OK\r\n"),
            "HTTP/1.1 200 OK\r\nx-a: route\r\nx-b: global"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (fields, expected) in [
            (values([]), vec![""]),
            (values([("set", pairs(&[("content-length", "1")]))]), vec!["set[0]"]),
            (values([("default", pairs(&[("x-a", "1"), ("grpc-status", "0")]))]), vec!["default[1]"]),
            (values([("remove", texts(&["upgrade"]))]), vec!["remove[0]"]),
        ] {
            assert_eq!(wrong::<ResponseHeadersConfig>(&fields), expected);
        }
    }
}
