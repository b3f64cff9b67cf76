//! What a route of a file matches: `match`.

use std::rc::Rc;
use std::sync::Arc;

use ringway_policies::cidr::Cidr;
use ringway_policies::route::{
    Clients, DAYS, FieldMatch, PathMatch, Pattern, RouteMatch, Template, TimeWindow, ValueMatch,
};
use ringway_protocols::message::Method;

use super::policies::percent;
use super::{ITEMS_MAX, Walk, join};
use crate::config::error::{ConfigError, did_you_mean, quote};
use crate::config::grammar;
use crate::config::tree::{Content, Node};
use crate::config::value::{Kind, Mismatch, Value, parse_token};

/// Conditions of one kind in one match.
const FIELDS_MAX: usize = 64;
/// Keys of the items, each with what its value is called.
const MATCH: &[&str] =
    &["path", "methods", "headers", "query", "cookies", "clients", "time", "percent", "grpc"];
const LATER: &[(&str, &str)] = &[
    ("host", "hosts are listed in the route: `hosts:`"),
    ("hosts", "hosts are listed in the route, beside `match`"),
    ("method", "write `methods: [GET]`"),
];
const PATH: &[&str] = &["prefix", "exact", "template", "regex"];
const VALUE: &[&str] = &["exact", "regex", "present"];
const TIME: &[&str] = &["days", "from", "to", "utc_offset", "start", "end"];
const GRPC: &[&str] = &["service", "method"];

impl Walk<'_> {
    /// `match: [{ path: { prefix: /x }, methods: [GET] }, …]`
    pub(super) fn matches(&mut self, node: &Rc<Node>, path: &str) -> Vec<Arc<RouteMatch>> {
        self.each(node, path, ITEMS_MAX, |walk, _, node, path| walk.route_match(node, path).map(Arc::new))
    }

    fn route_match(&mut self, node: &Rc<Node>, path: &str) -> Option<RouteMatch> {
        let mut item = RouteMatch::default();
        let keys = self.keys(node, path, MATCH, LATER)?;
        let both = keys.iter().any(|(key, ..)| *key == "grpc") && keys.iter().any(|(key, ..)| *key == "path");
        if both {
            let problem = "`grpc` says the path already: leave out one of `grpc` and `path`";
            self.errors.push(ConfigError::new(self.file.place(node.at), path, problem));
        }
        for (key, path, node) in keys {
            match key {
                "path" => item.path = self.path_match(&node, &path).unwrap_or_default(),
                "methods" => item.methods = self.methods(&node, &path),
                "headers" => item.headers = self.field_matches(&node, &path, Fields::Headers),
                "query" => item.query = self.field_matches(&node, &path, Fields::Query),
                "cookies" => item.cookies = self.field_matches(&node, &path, Fields::Cookies),
                "clients" => item.clients = Clients::new(self.client_blocks(&node, &path)),
                "time" => item.time = self.time(&node, &path),
                "percent" => item.share = self.share(&node, &path),
                _ => {
                    item.path = self.grpc(&node, &path).unwrap_or_default();
                    item.grpc = true;
                }
            }
        }
        Some(item)
    }

    fn path_match(&mut self, node: &Rc<Node>, path: &str) -> Option<PathMatch> {
        let keys = self.keys(node, path, PATH, &[])?;
        let [(key, path, node)] = keys.as_slice() else {
            // Unknown keys have their errors already.
            if !keys.is_empty() || matches!(&node.content, Content::Map(entries) if entries.is_empty()) {
                let expected = "one of `prefix`, `exact`, `template` and `regex`";
                self.errors.push(ConfigError::mismatch(
                    self.file.place(node.at),
                    path,
                    expected,
                    keys.len().to_string(),
                ));
            }
            return None;
        };
        let text = self.text(node, path, "a path such as /checkout")?.value;
        let read = match *key {
            "prefix" => grammar::path_prefix(&text).map(PathMatch::Prefix),
            "exact" => grammar::path_exact(&text).map(PathMatch::Exact),
            "template" => grammar::path_template(&text).map(PathMatch::Template),
            _ => pattern(&text).map(PathMatch::Regex),
        };
        self.checked(node, path, read)
    }

    fn methods(&mut self, node: &Rc<Node>, path: &str) -> Vec<String> {
        const EXPECTED: &str = "a method such as GET";
        let methods = self.texts(node, path, EXPECTED).unwrap_or_default();
        if methods.is_empty() {
            self.wrong(node, path, "at least one method", "none", None);
        }
        for (index, method) in methods.iter().enumerate() {
            if parse_token(&method.value).is_none() {
                let (place, path) = (self.file.place(method.at), format!("{path}[{index}]"));
                self.errors.push(ConfigError::mismatch(place, path, EXPECTED, quote(&method.value)));
            } else if Method::of(method.value.as_bytes()) == Method::Other
                && Method::of(method.value.to_ascii_uppercase().as_bytes()) != Method::Other
            {
                let hint = format!("methods are case-sensitive: {}", method.value.to_ascii_uppercase());
                let (place, path) = (self.file.place(method.at), format!("{path}[{index}]"));
                let error = ConfigError::mismatch(place, path, EXPECTED, quote(&method.value));
                self.errors.push(error.hint(hint));
            }
        }
        methods.into_iter().map(|method| method.value).collect()
    }

    /// `{ name: value, name: { regex: … }, name: { present: false } }`
    pub(super) fn field_matches(&mut self, node: &Rc<Node>, path: &str, what: Fields) -> Vec<FieldMatch> {
        let Some(entries) = self.map(node, path) else { return Vec::new() };
        if entries.len() > FIELDS_MAX {
            self.wrong(node, path, &format!("at most {FIELDS_MAX} names"), &entries.len().to_string(), None);
            return Vec::new();
        }
        let mut fields: Vec<FieldMatch> = Vec::new();
        for entry in entries {
            let path = join(path, &entry.key);
            let hint = match what {
                Fields::Headers | Fields::Expected if parse_token(&entry.key).is_none() => {
                    Some("a name of a header")
                }
                Fields::Headers if entry.key.eq_ignore_ascii_case("host") => {
                    Some("another header: hosts are listed in the route, as `hosts`")
                }
                Fields::Cookies if parse_token(&entry.key).is_none() => Some("a name of a cookie"),
                _ => None,
            };
            if let Some(expected) = hint {
                let place = self.file.place(entry.key_at);
                self.errors.push(ConfigError::mismatch(place, &path, expected, quote(&entry.key)));
            }
            let same = |field: &&FieldMatch| match what {
                Fields::Headers | Fields::Expected => field.name.eq_ignore_ascii_case(&entry.key),
                _ => field.name == entry.key,
            };
            if fields.iter().any(|field| same(&field)) {
                let problem = format!("{} is here twice", quote(&entry.key));
                self.errors.push(ConfigError::new(self.file.place(entry.key_at), &path, problem));
            }
            let name = match what {
                Fields::Headers | Fields::Expected => entry.key.to_ascii_lowercase(),
                _ => entry.key.clone(),
            };
            if let Some(value) = self.value_match(&entry.value, &path) {
                fields.push(FieldMatch { name, value });
            }
        }
        fields
    }

    fn value_match(&mut self, node: &Rc<Node>, path: &str) -> Option<ValueMatch> {
        if let Content::Scalar(text) = &node.content {
            return Some(ValueMatch::Exact(text.clone()));
        }
        const EXPECTED: &str =
            "a value, or one of { exact: TEXT }, { regex: TEXT } and { present: true|false }";
        let Content::Map(_) = &node.content else {
            self.wrong(node, path, EXPECTED, &node.describe(), None);
            return None;
        };
        let keys = self.keys(node, path, VALUE, &[])?;
        let [(key, path, node)] = keys.as_slice() else {
            if keys.len() != 1 {
                self.wrong(node, path, EXPECTED, &node.describe(), None);
            }
            return None;
        };
        let text = self.text(node, path, "text")?.value;
        let read = match *key {
            "exact" => Ok(ValueMatch::Exact(text)),
            "regex" => pattern(&text).map(ValueMatch::Regex),
            _ => match text.as_str() {
                "true" => Ok(ValueMatch::Present),
                "false" => Ok(ValueMatch::Absent),
                _ => Err(Mismatch { expected: "true or false".to_owned(), hint: None }),
            },
        };
        self.checked(node, path, read)
    }

    fn client_blocks(&mut self, node: &Rc<Node>, path: &str) -> Vec<Cidr> {
        let texts = self.texts(node, path, &Kind::Cidrs.expected(&[])).unwrap_or_default();
        if texts.is_empty() {
            self.wrong(node, path, "at least one address block", "none", None);
        }
        let mut blocks = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match Kind::Cidrs.parse(&[], &text.value) {
                Ok(Value::Cidrs(mut some)) => blocks.append(&mut some),
                Ok(_) => {}
                Err(mismatch) => {
                    let (place, path) = (self.file.place(text.at), format!("{path}[{index}]"));
                    let error = ConfigError::mismatch(place, path, mismatch.expected, quote(&text.value));
                    self.errors.push(error.hint(mismatch.hint));
                }
            }
        }
        blocks
    }

    fn time(&mut self, node: &Rc<Node>, path: &str) -> Option<TimeWindow> {
        let mut window = TimeWindow::default();
        let errors_before = self.errors.count();
        for (key, path, node) in self.keys(node, path, TIME, &[])? {
            if key == "days" {
                window.days = self.days(&node, &path);
                continue;
            }
            const MOMENT: &str = "a moment such as 2026-11-27T18:00:00Z";
            const CLOCK: &str = "a time of the day such as 09:30";
            let Some(text) = self.text(&node, &path, if key.len() > 4 { MOMENT } else { CLOCK }) else {
                continue;
            };
            let text = text.value;
            let expected = match key {
                "from" => {
                    window.from = TimeWindow::parse_clock(&text);
                    window.from.is_none().then_some(CLOCK)
                }
                "to" => {
                    window.to = TimeWindow::parse_clock(&text);
                    window.to.is_none().then_some(CLOCK)
                }
                "start" => {
                    window.start = TimeWindow::parse_moment(&text);
                    window.start.is_none().then_some(MOMENT)
                }
                "end" => {
                    window.end = TimeWindow::parse_moment(&text);
                    window.end.is_none().then_some(MOMENT)
                }
                _ => match TimeWindow::parse_offset(&text) {
                    Some(offset) => {
                        window.utc_offset = offset;
                        None
                    }
                    None => Some("an offset from UTC such as +02:00"),
                },
            };
            if let Some(expected) = expected {
                self.wrong(&node, &path, expected, &node.describe(), None);
            }
        }
        let empty = window.start.zip(window.end).is_some_and(|(start, end)| start >= end);
        if empty || window.from.is_some_and(|from| Some(from) == window.to) {
            self.wrong(node, path, "a window that is not empty", "one that begins when it ends", None);
        }
        if self.errors.count() == errors_before && window == TimeWindow::default() {
            self.wrong(node, path, &format!("some of {}", TIME.join(", ")), "none", None);
        }
        Some(window)
    }

    fn days(&mut self, node: &Rc<Node>, path: &str) -> u8 {
        let mut bits = 0;
        for (index, day) in
            self.texts(node, path, "days such as [mon, tue]").unwrap_or_default().iter().enumerate()
        {
            match DAYS.iter().position(|known| *known == day.value) {
                Some(bit) => bits |= 1 << bit,
                None => {
                    let (place, path) = (self.file.place(day.at), format!("{path}[{index}]"));
                    let error = ConfigError::mismatch(place, path, DAYS.join(", "), quote(&day.value));
                    let lower = day.value.to_ascii_lowercase();
                    self.errors.push(error.hint(did_you_mean(&lower, DAYS.into_iter())));
                }
            }
        }
        bits
    }

    fn share(&mut self, node: &Rc<Node>, path: &str) -> Option<u32> {
        const EXPECTED: &str = "a share from 0% to 100% such as 5% or 0.1%";
        let text = self.text(node, path, EXPECTED)?;
        let share = percent(&text.value);
        if share.is_none() {
            let hint = percent(&format!("{}%", text.value)).map(|_| format!("write `{}%`", text.value));
            self.wrong(node, path, EXPECTED, &node.describe(), hint);
        }
        share
    }

    /// `{ service: shop.v1.Payments, method: Pay }`: the path of a call is `/service/method`.
    fn grpc(&mut self, node: &Rc<Node>, path: &str) -> Option<PathMatch> {
        let (mut service, mut method) = (None, None);
        for (key, path, node) in self.keys(node, path, GRPC, &[])? {
            const EXPECTED: &str = "a name such as shop.v1.Payments";
            let Some(text) = self.text(&node, &path, EXPECTED) else { continue };
            let name = text.value;
            let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || (key == "service" && c == b'.');
            if name.is_empty() || !name.bytes().all(plain) {
                self.wrong(&node, &path, EXPECTED, &node.describe(), None);
            } else if key == "service" {
                service = Some(name);
            } else {
                method = Some(name);
            }
        }
        Some(match (service, method) {
            (Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}")),
            (Some(service), None) => PathMatch::Prefix(format!("/{service}")),
            // A name fits in a template whatever it is.
            (None, Some(method)) => {
                PathMatch::Template(Template::parse(&format!("/{{service}}/{method}")).ok()?)
            }
            (None, None) => PathMatch::default(),
        })
    }

    fn checked<T>(&mut self, node: &Node, path: &str, read: Result<T, Mismatch>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(mismatch) => {
                self.wrong(node, path, &mismatch.expected, &node.describe(), mismatch.hint);
                None
            }
        }
    }

    pub(super) fn wrong(
        &mut self,
        node: &Node,
        path: &str,
        expected: &str,
        found: &str,
        hint: Option<String>,
    ) {
        let error = ConfigError::mismatch(self.file.place(node.at), path, expected, found);
        self.errors.push(error.hint(hint));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    Headers,
    Query,
    Cookies,
    /// Of a message that is looked at, `Host` as any other.
    Expected,
}

fn pattern(text: &str) -> Result<Arc<Pattern>, Mismatch> {
    Pattern::new(text)
        .map(Arc::new)
        .map_err(|problem| Mismatch { expected: "a regular expression".to_owned(), hint: Some(problem) })
}
