//! Requests and responses for the tests of policies.

use std::net::IpAddr;
use std::sync::Arc;

use ringway_protocols::http1::{
    HeadLimits, RequestEdits, ResponseEdits, parse_request, parse_response, write_request, write_response,
};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};

use super::{Configure, Consumer, Hooks, Level, RequestContext, ResponseContext, Scope, Verdict};
use crate::captures::Captures;
use crate::changes::{RequestChanges, ResponseChanges};
use crate::fields::{Problem, Value, Values};
use crate::template::Facts;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 65536, fields_max: 64, target_bytes_max: 32768 };

/// Where the policies of the tests stand.
pub(crate) const SCOPE: Scope<'static> = Scope { level: Level::Route, name: "checkout" };

/// A request, what is known about it, and what policies have done to it.
pub(crate) struct Request {
    text: Vec<u8>,
    head: RequestHead,
    client: Option<IpAddr>,
    pub(crate) captures: Captures,
    pub(crate) secure: bool,
    pub(crate) unix_secs: u64,
    pub(crate) now: u64,
    pub(crate) consumer: Option<Arc<Consumer>>,
    pub(crate) changes: RequestChanges,
    pub(crate) response: ResponseChanges,
}

impl Request {
    pub(crate) fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    pub(crate) fn new(method: &str, target: &str) -> Request {
        Request::to("shop.test", method, target)
    }

    pub(crate) fn to(host: &str, method: &str, target: &str) -> Request {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        let mut request = Request {
            text,
            head: RequestHead::default(),
            client: "192.0.2.1".parse().ok(),
            captures: Captures::default(),
            secure: false,
            unix_secs: 1_700_000_000,
            now: 1,
            consumer: None,
            changes: RequestChanges::default(),
            response: ResponseChanges::default(),
        };
        request.parse();
        request
    }

    /// Adds a field line.
    pub(crate) fn field(&mut self, name: &str, value: &str) {
        self.text.truncate(self.text.len() - 2);
        self.text.extend_from_slice(format!("{name}: {value}\r\n\r\n").as_bytes());
        self.parse();
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Request {
        self.field(name, value);
        self
    }

    pub(crate) fn client(&mut self, address: &str) {
        self.client = address.parse().ok();
    }

    pub(crate) fn consumer(&mut self, name: &str, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.consumer = Some(Arc::new(Consumer { name: name.to_owned(), groups }));
    }

    fn parse(&mut self) {
        let mut head = RequestHead::default();
        parse_request(&self.text, &LIMITS, &mut head).unwrap_or_else(|error| panic!("{error}"));
        self.head = head;
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            head: &self.head,
            bytes: &self.text,
            path: self.head.path_of(&self.text),
            client: self.client,
            listener: "web",
            route: SCOPE.name,
            captures: &self.captures,
            secure: self.secure,
            certificate: None,
            request_id: b"id-1",
            consumer: self.consumer.as_deref(),
        }
    }

    /// Asks a policy.
    pub(crate) fn ask(&mut self, policy: &impl Hooks) -> Verdict {
        policy.on_request(&mut RequestContext {
            head: &self.head,
            bytes: &self.text,
            path: self.head.path_of(&self.text),
            client: self.client,
            listener: "web",
            route: SCOPE.name,
            captures: &self.captures,
            now: self.now,
            unix_secs: self.unix_secs,
            random: 7,
            secure: self.secure,
            certificate: None,
            request_id: b"id-1",
            consumer: &mut self.consumer,
            changes: &mut self.changes,
            response: &mut self.response,
        })
    }

    /// The lines that the origin gets, without the blank one.
    pub(crate) fn sent(&self) -> String {
        let changes = &self.changes;
        let path = changes.path.as_deref().unwrap_or(self.head.path_of(&self.text));
        let query = changes.query.as_deref().or(self.head.query.map(|query| query.of(&self.text)));
        let mut target = path.to_vec();
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        let edits = RequestEdits {
            drop: changes.headers.kinds(),
            drop_names: changes.headers.names(),
            target: (self.head.method != Method::Connect).then_some(&target),
            host: changes.host.as_deref(),
            append: changes.headers.lines(),
            ..RequestEdits::default()
        };
        let mut out = Vec::new();
        write_request(&mut out, &self.text, &self.head, &edits);
        String::from_utf8_lossy(&out).trim_end().to_owned()
    }

    /// Gives a policy the response and returns the lines that the client gets. An empty text is a reply of the proxy's own.
    pub(crate) fn answer(&mut self, policy: &impl Hooks, response: &str) -> String {
        let text = if response.is_empty() { "HTTP/1.1 403 Forbidden\r\n" } else { response };
        let text = format!("{text}content-length: 0\r\n\r\n");
        let mut head = ResponseHead::default();
        let method = self.head.method;
        parse_response(text.as_bytes(), &LIMITS, method, &mut head).unwrap_or_else(|error| panic!("{error}"));
        let mut changes = std::mem::take(&mut self.response);
        policy.on_response(&mut ResponseContext {
            status: head.status,
            head: (!response.is_empty()).then_some(&head),
            bytes: if response.is_empty() { b"" } else { text.as_bytes() },
            facts: self.facts(),
            now: self.now,
            unix_secs: self.unix_secs,
            changes: &mut changes,
        });
        self.response = changes;
        let edits = ResponseEdits {
            drop: self.response.headers.kinds(),
            drop_names: self.response.headers.names(),
            append: self.response.headers.lines(),
            ..ResponseEdits::default()
        };
        let mut out = Vec::new();
        write_response(&mut out, text.as_bytes(), &head, &edits);
        String::from_utf8_lossy(&out).trim_end().replace("\r\ncontent-length: 0", "")
    }
}

/// Values of a policy's table.
pub(crate) fn values<const N: usize>(fields: [(&'static str, Value); N]) -> Values {
    let mut values = Values::default();
    for (name, value) in fields {
        values.insert(name, value);
    }
    values
}

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

pub(crate) fn texts(values: &[&str]) -> Value {
    Value::Texts(values.iter().map(|value| (*value).to_owned()).collect())
}

pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Value {
    Value::Pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// Builds a policy that has to be built.
pub(crate) fn build<C: Configure>(values: &Values) -> Arc<C> {
    match C::build(values, SCOPE) {
        Ok(config) => Arc::new(config),
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The fields that are wrong, in the form `field` or `field[item]`.
pub(crate) fn wrong<C: Configure>(values: &Values) -> Vec<String> {
    let problems: Vec<Problem> = C::build(values, SCOPE).err().unwrap_or_default();
    problems.iter().map(Problem::named).collect()
}
