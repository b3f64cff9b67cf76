//! `fixed_response`: an answer without an origin, for mocks, maintenance and what is closed.

use std::sync::Arc;

use crate::field_name;
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::header_edits::{self, Lines};
use crate::policy::{Configure, Hooks, Reply, RequestContext, Scope, Verdict};
use crate::template::Facts;

pub const HELP: &str = "Answers by itself: no origin is asked.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "status",
        kind: Kind::Status,
        need: Need::Default("200"),
        help: "The status of the response.",
    },
    Field {
        name: "body",
        kind: Kind::Text,
        need: Need::Optional,
        help: "The body, as it is written: it has no variables.",
    },
    Field {
        name: "content_type",
        kind: Kind::Text,
        need: Need::Optional,
        help: "What the body is. Default: `text/plain; charset=utf-8`, and `application/json` for one that starts with a brace \
               or a bracket.",
    },
    Field {
        name: "headers",
        kind: Kind::Pairs,
        need: Need::Optional,
        help: "Further fields of the response. Values may have variables.",
    },
];

#[derive(Debug, PartialEq)]
pub struct FixedResponseConfig {
    status: u16,
    body: Vec<u8>,
    content_type: Option<String>,
    headers: Lines,
}

impl Configure for FixedResponseConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let status = u16::try_from(values.number("status")).unwrap_or(200);
        let body = values.text("body");
        // RFC 9110 15.3.5, 15.4.5: these have none.
        if matches!(status, 204 | 304) && !body.is_empty() {
            problems.push(Problem::new("body", format!("no body with the status {status}"), "a body"));
        }
        let given = values.opt_text("content_type");
        if given.is_some_and(|text| text.is_empty() || !text.bytes().all(|b| matches!(b, b' '..=b'~'))) {
            problems.push(Problem::new(
                "content_type",
                "a media type such as application/json",
                "another text",
            ));
        }
        let headers = header_edits::lines(values, "headers", check_header, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let guessed =
            if body.starts_with(['{', '[']) { "application/json" } else { "text/plain; charset=utf-8" };
        let content_type = given.or((!body.is_empty()).then_some(guessed)).map(str::to_owned);
        Ok(FixedResponseConfig { status, body: body.as_bytes().to_vec(), content_type, headers })
    }
}

fn check_header(field: &str, name: &str) -> Result<(), Problem> {
    if name.eq_ignore_ascii_case("content-type") {
        return Err(Problem::new(field, "further fields", "`content-type`").hint("write `content_type`"));
    }
    field_name::check_response(field, name)
}

pub struct FixedResponse(Arc<FixedResponseConfig>);

impl FixedResponse {
    pub fn new(config: &Arc<FixedResponseConfig>) -> Self {
        FixedResponse(Arc::clone(config))
    }
}

impl Hooks for FixedResponse {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.0;
        let (facts, _) = Facts::beside(request);
        let mut headers = crate::changes::HeaderChanges::default();
        if let Some(content_type) = &config.content_type {
            headers.add(b"content-type", content_type.as_bytes());
        }
        config.headers.iter().for_each(|(name, value)| headers.add(name, &value.value(&facts)));
        Verdict::Reply(Reply {
            status: config.status,
            lines: headers.lines().to_vec(),
            body: config.body.clone(),
            ..Reply::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Value;
    use crate::policy::fixture::{Request, build, pairs, text, values, wrong};

    fn reply(fields: Values) -> String {
        let policy = FixedResponse::new(&build(&fields));
        match Request::get("/a").ask(&policy) {
            Verdict::Reply(reply) => format!(
                "{} {}{}",
                reply.status,
                String::from_utf8_lossy(&reply.lines).replace("\r\n", "|"),
                String::from_utf8_lossy(&reply.body)
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_answer_is_what_is_written() {
        let status = |status| ("status", Value::Number(status));
        for (fields, expected) in [
            (values([status(204)]), "204 "),
            (values([status(200), ("body", text("hi"))]), "200 content-type: text/plain; charset=utf-8|hi"),
            (
                values([status(200), ("body", text("{\"a\":1}"))]),
                "200 content-type: application/json|{\"a\":1}",
            ),
            (
                values([status(503), ("body", text("<p>")), ("content_type", text("text/html"))]),
                "503 content-type: text/html|<p>",
            ),
            (
                values([status(200), ("headers", pairs(&[("Retry-After", "60"), ("x-path", "{path}")]))]),
                "200 retry-after: 60|x-path: /a|",
            ),
        ] {
            assert_eq!(reply(fields), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let status = ("status", Value::Number(204));
        for (fields, expected) in [
            (values([status.clone(), ("body", text("x"))]), "body"),
            (values([status.clone(), ("content_type", text("a\r\nb"))]), "content_type"),
            (
                values([status.clone(), ("headers", pairs(&[("x-a", "1"), ("content-length", "1")]))]),
                "headers[1]",
            ),
            (values([status, ("headers", pairs(&[("content-type", "a/b")]))]), "headers[0]"),
        ] {
            assert_eq!(wrong::<FixedResponseConfig>(&fields), [expected]);
        }
    }
}
