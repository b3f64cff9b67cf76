//! The tree of a file of expectations → requests with what is expected of them.

use std::net::IpAddr;
use std::rc::Rc;

use ringway_policies::route::{FieldMatch, TimeWindow};

use super::route_match::Fields;
use super::{ITEMS_MAX, Walk, join};
use crate::config::error::{ConfigError, did_you_mean, quote};
use crate::config::expectations::{
    Case, CaseRequest, Expect, ExpectSent, Expectations, REPEAT_MAX, place_text,
};
use crate::config::tree::{Content, Node};
use crate::error::REASONS;
use crate::explain::{Url, parse_field};

const TOP: &[&str] = &["config", "tests"];
const CASE: &[&str] = &["name", "request", "origin", "expect"];
const REQUEST: &[&str] = &["method", "url", "headers", "client_ip", "listener", "at", "repeat"];
const ORIGIN: &[&str] = &["status", "headers"];
const EXPECT: &[&str] =
    &["route", "match", "cluster", "endpoints", "mirrors", "policies", "status", "reason", "headers", "sent"];
const SENT: &[&str] = &["target", "host", "headers"];
const URL: &str = "a request such as `GET https://shop.example.com/checkout`";

impl Walk<'_> {
    /// The whole file.
    pub(in crate::config) fn expectations(&mut self, root: &Rc<Node>) -> Expectations {
        let mut read = Expectations::default();
        for (key, path, node) in self.keys(root, "", TOP, &[]).unwrap_or_default() {
            match key {
                "config" => read.config = self.path(&node, &path).map(|path| path.value.into()),
                _ => read.cases = self.each(&node, &path, ITEMS_MAX, Self::case),
            }
        }
        self.require(!read.cases.is_empty(), &root.at, "", "tests", root);
        if read.cases.is_empty() && !self.errors.has_errors() {
            self.errors.push(ConfigError::mismatch(
                self.file.place(root.at),
                "tests",
                "at least one test",
                "none",
            ));
        }
        read
    }

    fn case(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<Case> {
        let mut case = Case {
            name: format!("test {}", index + 1),
            place: place_text(self.file, node.at),
            request: CaseRequest::default(),
            origin: (200, Vec::new()),
            expect: Expect::default(),
        };
        let (mut has_request, mut has_expect) = (false, false);
        for (key, path, node) in self.keys(node, path, CASE, &[])? {
            match key {
                "name" => case.name = self.text(&node, &path, "a name").map_or(case.name, |name| name.value),
                "request" => {
                    has_request = true;
                    case.request = self.case_request(&node, &path).unwrap_or_default();
                }
                "origin" => case.origin = self.origin_answer(&node, &path).unwrap_or((200, Vec::new())),
                _ => {
                    has_expect = true;
                    case.expect = self.expect(&node, &path).unwrap_or_default();
                }
            }
        }
        self.require(has_request, &node.at, path, "request", node);
        self.require(has_expect, &node.at, path, "expect", node);
        Some(case)
    }

    /// `GET https://shop.example.com/`, or a mapping that says more.
    fn case_request(&mut self, node: &Rc<Node>, path: &str) -> Option<CaseRequest> {
        let mut request = CaseRequest { method: "GET".to_owned(), repeat: 1, ..CaseRequest::default() };
        if let Content::Scalar(text) = &node.content {
            let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
            method.clone_into(&mut request.method);
            url.trim().clone_into(&mut request.url);
            self.check_url(node, path, &request.url);
            return Some(request);
        }
        for (key, path, node) in self.keys(node, path, REQUEST, &[])? {
            match key {
                "headers" => request.headers = self.plain_fields(&node, &path),
                "repeat" => request.repeat = self.number(&node, &path, 1, REPEAT_MAX).unwrap_or(1),
                key => {
                    let Some(text) = self.text(&node, &path, "text") else { continue };
                    let text = text.value;
                    match key {
                        "method" => request.method = text,
                        "url" => {
                            self.check_url(&node, &path, &text);
                            request.url = text;
                        }
                        "listener" => request.listener = Some(text),
                        "client_ip" => {
                            request.client_ip = text.parse::<IpAddr>().ok();
                            if request.client_ip.is_none() {
                                self.wrong(
                                    &node,
                                    &path,
                                    "an address such as 192.0.2.1",
                                    &node.describe(),
                                    None,
                                );
                            }
                        }
                        _ => {
                            request.at = TimeWindow::parse_moment(&text);
                            if request.at.is_none() {
                                const MOMENT: &str = "a moment such as 2026-11-27T18:00:00Z";
                                self.wrong(&node, &path, MOMENT, &node.describe(), None);
                            }
                        }
                    }
                }
            }
        }
        self.require(!request.url.is_empty(), &node.at, path, "url", node);
        Some(request)
    }

    fn check_url(&mut self, node: &Node, path: &str, text: &str) {
        if Url::parse(text).is_err() {
            self.wrong(node, path, URL, &node.describe(), None);
        }
    }

    fn origin_answer(&mut self, node: &Rc<Node>, path: &str) -> Option<(u16, Vec<(String, String)>)> {
        let mut answer = (200, Vec::new());
        for (key, path, node) in self.keys(node, path, ORIGIN, &[])? {
            match key {
                "status" => answer.0 = self.number(&node, &path, 200, 599).unwrap_or(200) as u16,
                _ => answer.1 = self.plain_fields(&node, &path),
            }
        }
        Some(answer)
    }

    fn expect(&mut self, node: &Rc<Node>, path: &str) -> Option<Expect> {
        let mut expect = Expect::default();
        let keys = self.keys(node, path, EXPECT, &[])?;
        if keys.is_empty() && matches!(&node.content, Content::Map(entries) if entries.is_empty()) {
            self.wrong(node, path, &format!("some of {}", EXPECT.join(", ")), "none", None);
        }
        for (key, path, node) in keys {
            match key {
                "route" => expect.route = self.names(&node, &path),
                "match" => {
                    expect.matched =
                        self.number(&node, &path, 1, ITEMS_MAX as u32).map(|number| number as usize);
                }
                "cluster" => expect.cluster = self.clusters(&node, &path),
                "endpoints" => expect.endpoints = self.names(&node, &path),
                "mirrors" => expect.mirrors = self.names(&node, &path),
                "policies" => expect.policies = self.names(&node, &path),
                "status" => {
                    expect.status = self.number(&node, &path, 100, 599).map(|status| status as u16);
                }
                "reason" => expect.reason = self.reason(&node, &path),
                "headers" => expect.headers = self.expected_fields(&node, &path),
                _ => expect.sent = self.expect_sent(&node, &path).unwrap_or_default(),
            }
        }
        Some(expect)
    }

    fn expect_sent(&mut self, node: &Rc<Node>, path: &str) -> Option<ExpectSent> {
        let mut sent = ExpectSent::default();
        for (key, path, node) in self.keys(node, path, SENT, &[])? {
            match key {
                "headers" => sent.headers = self.expected_fields(&node, &path),
                "target" => sent.target = self.text(&node, &path, "a path").map(|text| text.value),
                _ => sent.host = self.text(&node, &path, "a host").map(|text| text.value),
            }
        }
        Some(sent)
    }

    /// One name, or a list of them, which may be empty.
    fn names(&mut self, node: &Rc<Node>, path: &str) -> Option<Vec<String>> {
        let names = self.texts(node, path, "a name")?;
        Some(names.into_iter().map(|name| name.value).collect())
    }

    /// One name, a list, or names with their shares: `{ stable: 95%, next: 5% }`.
    fn clusters(&mut self, node: &Rc<Node>, path: &str) -> Option<Vec<(String, Option<f64>)>> {
        let Content::Map(entries) = &node.content else {
            return Some(self.names(node, path)?.into_iter().map(|name| (name, None)).collect());
        };
        let mut clusters = Vec::new();
        for entry in entries {
            let path = join(path, &entry.key);
            const EXPECTED: &str = "a share such as 95%";
            let Some(text) = self.text(&entry.value, &path, EXPECTED) else { continue };
            let share = text.value.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
            match share.filter(|share| (0.0..=100.0).contains(share)) {
                Some(share) => clusters.push((entry.key.clone(), Some(share))),
                None => self.wrong(&entry.value, &path, EXPECTED, &entry.value.describe(), None),
            }
        }
        Some(clusters)
    }

    fn reason(&mut self, node: &Rc<Node>, path: &str) -> Option<String> {
        const EXPECTED: &str = "the code of a reason such as no_route, or none";
        let text = self.text(node, path, EXPECTED)?.value;
        if text != "none" && REASONS.iter().all(|info| info.code != text) {
            let hint = did_you_mean(&text, REASONS.iter().map(|info| info.code));
            self.wrong(node, path, EXPECTED, &quote(&text), hint);
        }
        Some(text)
    }

    fn expected_fields(&mut self, node: &Rc<Node>, path: &str) -> Vec<FieldMatch> {
        self.field_matches(node, path, Fields::Expected)
    }

    /// `{ name: value }` as it is sent; a list sends one line for each.
    fn plain_fields(&mut self, node: &Rc<Node>, path: &str) -> Vec<(String, String)> {
        let Some(entries) = self.map(node, path) else { return Vec::new() };
        let mut fields = Vec::new();
        for entry in entries {
            let path = join(path, &entry.key);
            for value in self.texts(&entry.value, &path, "text").unwrap_or_default() {
                match parse_field(&format!("{}: {}", entry.key, value.value)) {
                    Ok(field) => fields.push(field),
                    Err(_) => {
                        let place = self.file.place(entry.key_at);
                        self.errors.push(ConfigError::mismatch(place, &path, "a header", quote(&entry.key)));
                    }
                }
            }
        }
        fields
    }

    fn number(&mut self, node: &Node, path: &str, min: u32, max: u32) -> Option<u32> {
        let expected = format!("a whole number from {min} to {max}");
        let text = self.text(node, path, &expected)?;
        let number = text.value.parse::<u32>().ok().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.wrong(node, path, &expected, &node.describe(), None);
        }
        number
    }
}
