//! The tree of a scenario's file → a configuration. Everything that is wrong in a file is said at once.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use clap::ValueEnum;

use super::Scenario;
use super::thresholds::{Limit, NAMES, Threshold};
use super::tree::{self, Content, Entry, Mark, Node, Problem, ScenarioError};
use crate::load::args::parse_duration;
use crate::load::codec::Protocol;
use crate::load::config::LoadConfig;
use crate::load::proto::{Call, Schema};
use crate::load::request::{Expect, RequestConfig};
use crate::load::target::Target;
use crate::load::template::{Data, Template};

const KEYS: &[&str] = &[
    "target",
    "targets",
    "protocol",
    "connections",
    "streams",
    "new_connection",
    "rate",
    "arrivals",
    "queue",
    "requests_max",
    "duration",
    "warmup",
    "ramp_up",
    "ramp_down",
    "timeout",
    "threads",
    "seed",
    "headers",
    "data_file",
    "proto",
    "think",
    "requests",
    "thresholds",
];
const REQUEST_KEYS: &[&str] = &[
    "name",
    "weight",
    "method",
    "path",
    "headers",
    "body",
    "body_file",
    "data_file",
    "think",
    "messages",
    "call",
    "expect",
];
const EXPECT_KEYS: &[&str] = &["status", "body_contains", "latency"];

/// Reads a scenario; `beside` is where the files lie that it names, `targets` are asked instead of the file's.
pub(super) fn scenario(
    path: &str,
    text: &str,
    beside: &Path,
    targets: &[String],
) -> Result<Scenario, ScenarioError> {
    let root = tree::read(text).map_err(|problem| ScenarioError::new(path, text, vec![problem]))?;
    let mut reader = Reader { problems: Vec::new(), beside };
    let scenario = reader.scenario(&root, targets);
    match scenario {
        Some(scenario) if reader.problems.is_empty() => Ok(scenario),
        _ => Err(ScenarioError::new(path, text, reader.problems)),
    }
}

struct Reader<'a> {
    problems: Vec<Problem>,
    beside: &'a Path,
}

/// The keys of one mapping.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [Entry]);

impl<'a> Fields<'a> {
    fn get(self, key: &str) -> Option<&'a Rc<Node>> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
}

/// What each kind of request has where it does not say otherwise.
struct Defaults {
    schema: Option<Schema>,
    protocol: Protocol,
    headers: Vec<(String, Template)>,
    data: Data,
    think: Duration,
}

impl Reader<'_> {
    fn scenario(&mut self, root: &Node, given: &[String]) -> Option<Scenario> {
        let fields = self.fields(root, KEYS, "a scenario");
        let mut config = LoadConfig::new(self.targets(root, fields, given));
        config.protocol = self.word(fields, "protocol").unwrap_or(config.protocol);
        config.spacing = self.word(fields, "arrivals").unwrap_or(config.spacing);
        config.connections =
            self.number(fields, "connections", 1).unwrap_or(u64::from(config.connections)) as u32;
        config.streams = self.number(fields, "streams", 1).unwrap_or(1) as u32;
        config.queue_max = self.number(fields, "queue", 0).unwrap_or(config.queue_max as u64) as usize;
        config.requests_max = self.number(fields, "requests_max", 1);
        config.seed = self.number(fields, "seed", 0).unwrap_or(config.seed);
        config.new_connection = self.word_of(fields, "new_connection", &[("true", true), ("false", false)]);
        config.rate = fields.get("rate").and_then(|node| {
            self.scalar(node, |text| match text.parse::<f64>() {
                Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
                _ => Err(format!("expected requests per second above 0, found `{text}`")),
            })
        });
        let duration = self.time(fields, "duration");
        config.duration =
            duration.or(config.requests_max.is_none().then_some(config.duration.unwrap_or_default()));
        config.warmup = self.time(fields, "warmup").unwrap_or(config.warmup);
        config.ramp_up = self.time(fields, "ramp_up").unwrap_or(config.ramp_up);
        config.ramp_down = self.time(fields, "ramp_down").unwrap_or(config.ramp_down);
        config.timeout = self.time(fields, "timeout").unwrap_or(config.timeout);
        let available = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let threads = self.number(fields, "threads", 1).unwrap_or(available);
        config.threads = threads.min(u64::from(config.connections)) as u32;
        let data = fields.get("data_file").and_then(|node| self.data(node)).unwrap_or_default();
        let defaults = Defaults {
            schema: fields.get("proto").and_then(|node| self.schema(node)),
            protocol: config.protocol,
            headers: fields.get("headers").map(|node| self.headers(node, &data)).unwrap_or_default(),
            think: self.time(fields, "think").unwrap_or_default(),
            data,
        };
        config.requests = self.requests(root, fields, &defaults);
        let thresholds = self.thresholds(fields, &config.requests);
        Some(Scenario { config, thresholds })
    }

    fn targets(&mut self, root: &Node, fields: Fields<'_>, given: &[String]) -> Vec<Target> {
        if !given.is_empty() {
            return given
                .iter()
                .filter_map(|url| {
                    Target::parse(url).map_err(|error| self.say(root.at, error.to_string())).ok()
                })
                .collect();
        }
        let nodes = match (fields.get("target"), fields.get("targets")) {
            (Some(one), None) => vec![Rc::clone(one)],
            (None, Some(several)) => self.list(several, "URLs").to_vec(),
            (Some(_), Some(other)) => {
                self.say(other.at, "expected either `target` or `targets`, found both".into());
                Vec::new()
            }
            (None, None) => {
                self.say(root.at, "expected `target: http://…`, found none; or give --target".into());
                Vec::new()
            }
        };
        let parse = |url: &str| Target::parse(url).map_err(|error| error.to_string());
        nodes.iter().filter_map(|node| self.scalar(node, parse)).collect()
    }

    fn requests(&mut self, root: &Node, fields: Fields<'_>, defaults: &Defaults) -> Vec<RequestConfig> {
        let Some(node) = fields.get("requests") else {
            self.say(root.at, "expected `requests`, a list of kinds of requests, found none".into());
            return Vec::new();
        };
        let mut kinds: Vec<RequestConfig> = Vec::new();
        for (position, item) in self.list(node, "kinds of requests").iter().enumerate() {
            let kind = self.request(item, position, defaults);
            if kinds.iter().any(|other| other.name == kind.name) {
                self.say(item.at, format!("two kinds of requests are named `{}`", kind.name));
            }
            kinds.push(kind);
        }
        if kinds.iter().all(|kind| kind.weight == 0) {
            self.say(node.at, "expected at least one kind of requests with a weight above 0".into());
        }
        kinds
    }

    fn request(&mut self, node: &Node, position: usize, defaults: &Defaults) -> RequestConfig {
        let fields = self.fields(node, REQUEST_KEYS, "a kind of requests");
        let data = match fields.get("data_file") {
            Some(file) => self.data(file).unwrap_or_default(),
            None => defaults.data.clone(),
        };
        let mut headers = fields.get("headers").map(|node| self.headers(node, &data)).unwrap_or_default();
        let own = headers.len();
        for (name, value) in &defaults.headers {
            if !headers.iter().take(own).any(|(given, _)| given.eq_ignore_ascii_case(name)) {
                headers.push((name.clone(), value.clone()));
            }
        }
        let body = self.body(fields, &data);
        let call = fields.get("call").and_then(|node| self.call(node, defaults));
        let has_body = body.is_some();
        let posts = has_body || defaults.protocol == Protocol::Grpc;
        let method = fields.get("method").and_then(|node| self.scalar(node, method));
        let own_path = fields.get("path").and_then(|node| self.path(node, &data));
        let request = RequestConfig {
            name: fields
                .get("name")
                .and_then(|node| self.scalar(node, |text| Ok(text.to_owned())))
                .unwrap_or_else(|| format!("request {}", position + 1)),
            weight: self.number(fields, "weight", 0).unwrap_or(1) as u32,
            method: method.unwrap_or_else(|| if posts { "POST" } else { "GET" }.to_owned()),
            path: own_path.or_else(|| call.as_ref().map(|call| Template::literal(call.path().into_bytes()))),
            headers,
            body: body.unwrap_or_default(),
            has_body,
            think: self.time(fields, "think").unwrap_or(defaults.think),
            messages: self.number(fields, "messages", 1).unwrap_or(1) as u32,
            expect: fields.get("expect").map(|node| self.expect(node)).unwrap_or_default(),
            call,
            data,
        };
        if let Err(error) = request.check_messages() {
            let at = fields.get("body").or(fields.get("body_file")).or(fields.get("call"));
            self.say(at.map_or(node.at, |node| node.at), error.to_string());
        }
        request
    }

    fn schema(&mut self, node: &Node) -> Option<Schema> {
        let beside = self.beside;
        self.scalar(node, |name| {
            Schema::compile(&[beside.join(name)], &[beside.to_owned()]).map_err(|error| error.to_string())
        })
    }

    fn call(&mut self, node: &Node, defaults: &Defaults) -> Option<Call> {
        if defaults.protocol != Protocol::Grpc || defaults.schema.is_none() {
            self.say(node.at, "`call` needs `protocol: grpc` and `proto: FILE` of the scenario".into());
        }
        let schema = defaults.schema.as_ref()?;
        self.scalar(node, |name| schema.call(name).map_err(|error| error.to_string()))
    }

    fn body(&mut self, fields: Fields<'_>, data: &Data) -> Option<Template> {
        match (fields.get("body"), fields.get("body_file")) {
            (Some(_), Some(file)) => {
                self.say(file.at, "expected either `body` or `body_file`, found both".into());
                None
            }
            (Some(body), None) => self.template(body, data),
            (None, Some(file)) => {
                let text = self.file(file)?;
                match Template::parse(&text, data) {
                    Ok(template) => Some(template),
                    Err(error) => {
                        self.say(file.at, error.to_string());
                        None
                    }
                }
            }
            (None, None) => None,
        }
    }

    fn path(&mut self, node: &Node, data: &Data) -> Option<Template> {
        self.scalar(node, |text| match text {
            text if !text.starts_with('/') => {
                Err(format!("expected a path that begins with /, found `{text}`"))
            }
            text if text.contains([' ', '\r', '\n']) => Err("a path has no spaces: write %20".into()),
            text => Template::parse(text, data).map_err(|error| error.to_string()),
        })
    }

    fn expect(&mut self, node: &Node) -> Expect {
        let fields = self.fields(node, EXPECT_KEYS, "expectations");
        let statuses = match fields.get("status").map(|node| (node, &node.content)) {
            None => Vec::new(),
            Some((_, Content::List(items))) => {
                items.iter().filter_map(|item| self.scalar(item, status)).collect()
            }
            Some((node, _)) => self.scalar(node, status).into_iter().collect(),
        };
        let body_contains = fields.get("body_contains");
        Expect {
            statuses,
            body_contains: body_contains.and_then(|node| self.scalar(node, |text| Ok(text.to_owned()))),
            latency_max: self.time(fields, "latency"),
        }
    }

    fn thresholds(&mut self, fields: Fields<'_>, kinds: &[RequestConfig]) -> Vec<Threshold> {
        let mut thresholds = Vec::new();
        if let Some(node) = fields.get("thresholds") {
            for entry in self.entries(node, "thresholds") {
                // Names of kinds may hold dots, as p99.9 does: the whole kind is compared.
                let of_kind = kinds.iter().position(|kind| {
                    entry.key.strip_prefix(&kind.name).is_some_and(|rest| rest.starts_with('.'))
                });
                let prefix = of_kind.and_then(|kind| kinds.get(kind)).map_or(0, |kind| kind.name.len() + 1);
                let name = entry.key.get(prefix..).unwrap_or_default();
                if !NAMES.contains(&name) || of_kind.is_some() && name == "missed" {
                    self.unknown(entry, NAMES, "a threshold, or KIND.THRESHOLD");
                    continue;
                }
                if let Some(limit) = self.scalar(&entry.value, |text| Limit::parse(name, text)) {
                    thresholds.push(Threshold { name: entry.key.clone(), kind: of_kind, limit });
                }
            }
        }
        for name in ["errors", "missed"] {
            if !thresholds.iter().any(|threshold| threshold.name == name) {
                thresholds.push(Threshold::none(name));
            }
        }
        thresholds
    }

    fn headers(&mut self, node: &Node, data: &Data) -> Vec<(String, Template)> {
        let mut headers = Vec::new();
        for entry in self.entries(node, "header fields") {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if entry.key.is_empty() || !entry.key.bytes().all(token) {
                self.say(entry.key_at, format!("`{}` is no name of a header field", entry.key));
                continue;
            }
            if matches!(&entry.value.content, Content::Scalar(text) if text.contains(['\r', '\n'])) {
                self.say(entry.value.at, "a header field is one line".into());
                continue;
            }
            if let Some(value) = self.template(&entry.value, data) {
                headers.push((entry.key.clone(), value));
            }
        }
        headers
    }

    fn template(&mut self, node: &Node, data: &Data) -> Option<Template> {
        self.scalar(node, |text| Template::parse(text, data).map_err(|error| error.to_string()))
    }

    fn data(&mut self, node: &Node) -> Option<Data> {
        let text = self.file(node)?;
        let data = Data::parse_csv(&text);
        if data.rows.is_empty() {
            self.say(node.at, "expected a header line and at least one row in this file, found none".into());
        }
        Some(data)
    }

    /// The text of a file that is named beside the scenario.
    fn file(&mut self, node: &Node) -> Option<String> {
        let beside = self.beside;
        self.scalar(node, |name| {
            let path = beside.join(name);
            std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        })
    }

    fn word<T: ValueEnum>(&mut self, fields: Fields<'_>, key: &str) -> Option<T> {
        let node = fields.get(key)?;
        self.scalar(node, |text| {
            T::from_str(text, true).map_err(|_| {
                let names = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
                let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
                format!("expected one of {}, found `{text}`", names.join(", "))
            })
        })
    }

    fn word_of<T: Copy + Default>(&mut self, fields: Fields<'_>, key: &str, words: &[(&str, T)]) -> T {
        let Some(node) = fields.get(key) else { return T::default() };
        let value = self.scalar(node, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("expected {}, found `{text}`", names.join(" or ")))
        });
        value.unwrap_or_default()
    }

    fn time(&mut self, fields: Fields<'_>, key: &str) -> Option<Duration> {
        self.scalar(fields.get(key)?, parse_duration)
    }

    fn number(&mut self, fields: Fields<'_>, key: &str, least: u64) -> Option<u64> {
        let most = u64::from(u32::MAX);
        self.scalar(fields.get(key)?, |text| match text.replace('_', "").parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!("expected a whole number from {least} to {most}, found `{text}`")),
        })
    }

    fn scalar<T>(&mut self, node: &Node, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let Content::Scalar(text) = &node.content else {
            self.say(node.at, format!("expected a single value, found {}", node.describe()));
            return None;
        };
        parse(text).map_err(|problem| self.say(node.at, problem)).ok()
    }

    fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Rc<Node>] {
        match &node.content {
            Content::List(items) if !items.is_empty() => items,
            _ => {
                self.say(node.at, format!("expected a list of {what}, found {}", node.describe()));
                &[]
            }
        }
    }

    fn entries<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Entry] {
        match &node.content {
            Content::Map(entries) => entries,
            _ => {
                self.say(node.at, format!("expected a mapping of {what}, found {}", node.describe()));
                &[]
            }
        }
    }

    fn fields<'n>(&mut self, node: &'n Node, known: &[&str], what: &str) -> Fields<'n> {
        let entries = self.entries(node, what);
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            self.unknown(entry, known, what);
        }
        Fields(entries)
    }

    fn unknown(&mut self, entry: &Entry, known: &[&str], what: &str) {
        let near = known.iter().min_by_key(|name| distance(name, &entry.key));
        let advice = match near {
            Some(name) if distance(name, &entry.key) <= 2 => format!("did you mean `{name}`?"),
            _ => format!("expected one of {}", known.join(", ")),
        };
        self.say(entry.key_at, format!("`{}` is no key of {what}: {advice}", entry.key));
    }

    fn say(&mut self, at: Mark, text: String) {
        self.problems.push(Problem { at, text });
    }
}

fn method(text: &str) -> Result<String, String> {
    let word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if word { Ok(text.to_owned()) } else { Err(format!("expected a method such as GET, found `{text}`")) }
}

/// A status of HTTP or of gRPC.
fn status(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(status @ 0..=999) => Ok(status),
        _ => Err(format!("expected a status such as 200, found `{text}`")),
    }
}

/// Letters to add, remove or change (Levenshtein), for names of a few letters.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        for (place, right) in row.iter_mut().skip(1).zip(b.chars()) {
            let changed = diagonal + usize::from(left != right);
            diagonal = *place;
            last = changed.min(diagonal + 1).min(last + 1);
            *place = last;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scenario, String> {
        scenario("s.yaml", text, Path::new(""), &[]).map_err(|error| error.to_string())
    }

    const WHOLE: &str = "\
target: http://127.0.0.1:8080/
protocol: h2
connections: 10
streams: 4
rate: 200
arrivals: poisson
duration: 30s
warmup: 1s
headers: &shared
  Accept: text/html
requests:
  - name: browse
    weight: 7
    path: /items/{random:1-100}
    think: 50ms
    headers: *shared
    expect: {status: [200, 304], body_contains: item, latency: 1s}
  - name: buy
    method: PUT
    path: /cart
    body: '{\"id\": {counter}}'
    headers: {accept: application/json}
thresholds:
  p99: 50ms
  errors: 0.1%
  browse.p99.9: 90ms
";

    #[test]
    fn a_whole_scenario_is_read() {
        let Scenario { config, thresholds } = read(WHOLE).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((config.connections, config.streams, config.rate), (10, 4, Some(200.0)));
        assert_eq!(config.duration, Some(Duration::from_secs(30)));
        let [browse, buy] = config.requests.as_slice() else { panic!("two kinds") };
        assert_eq!(
            (browse.weight, browse.think, browse.method.as_str()),
            (7, Duration::from_millis(50), "GET")
        );
        assert_eq!(browse.expect.statuses, [200, 304]);
        assert_eq!((buy.method.as_str(), buy.has_body, buy.headers.len()), ("PUT", true, 1));
        let names: Vec<_> = thresholds.iter().map(|one| (one.name.as_str(), one.kind)).collect();
        assert_eq!(names, [("p99", None), ("errors", None), ("browse.p99.9", Some(0)), ("missed", None)]);
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let requests = "requests:\n  - path: /\n";
        let with = |line: &str| format!("target: http://127.0.0.1:1/\n{line}\n{requests}");
        for (text, expected) in [
            (
                with("conections: 1"),
                "s.yaml:2:1: `conections` is no key of a scenario: did you mean `connections`?",
            ),
            (with("connections: many"), "s.yaml:2:14: expected a whole number from 1"),
            (with("connections: 0"), "s.yaml:2:14: expected a whole number from 1"),
            (with("rate: [1]"), "s.yaml:2:7: expected a single value, found a list"),
            (with("duration: 5 parsecs"), "s.yaml:2:11: expected us, ms, s, m or h"),
            (with("protocol: http9"), "s.yaml:2:11: expected one of http1, h2, grpc, ws"),
            (with("thresholds: {p98: 1ms}"), "s.yaml:2:14: `p98` is no key of a threshold"),
            (with("thresholds: {p99: slow}"), "s.yaml:2:19: "),
            (with("headers: {'a b': c}"), "s.yaml:2:11: `a b` is no name of a header field"),
            (with("data_file: none.csv"), "s.yaml:2:12: none.csv: "),
            (with("seed: 1\nseed: 2"), "s.yaml:3:1: `seed` is here twice, first in line 2"),
            (with("seed: !!int 1"), "s.yaml:2:"),
            (with("a: [1"), "s.yaml:"),
            (requests.to_owned(), "s.yaml:1:1: expected `target"),
            ("target: http://127.0.0.1:1/".into(), "expected `requests`"),
            ("target: ftp://x\nrequests: [{path: /}]".into(), "s.yaml:1:9: ftp://x: expected http"),
            ("target: http://127.0.0.1:1\nrequests: [{path: x}]".into(), "s.yaml:2:19: expected a path"),
            ("target: http://127.0.0.1:1\nrequests: [{weight: 0}]".into(), "a weight above 0"),
            ("target: http://127.0.0.1:1\nrequests: [{name: a}, {name: a}]".into(), "two kinds"),
            (
                "target: http://127.0.0.1:1\nrequests: [{body: '{random:x}'}]".into(),
                "s.yaml:2:19: {random:x}",
            ),
            (
                "target: http://127.0.0.1:1\nrequests: [{expect: {status: ok}}]".into(),
                "s.yaml:2:30: expected a status",
            ),
            (String::new(), "s.yaml:1:1: "),
            ("a: 1\n---\nb: 2".into(), "expected one document"),
        ] {
            let found = read(&text).map(|_| ()).expect_err(&text);
            assert!(found.contains(expected), "{text}\n{found}\nexpected {expected}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_line() {
        let found =
            read("target: x://y\nwarmup: never\nrequests: [{pathe: /}]").map(|_| ()).expect_err("wrong");
        for expected in ["s.yaml:1:9", "s.yaml:2:9", "s.yaml:3:13", "  | warmup: never\n  |         ^^^^^"] {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn names_that_are_near_are_near() {
        for (a, b, expected) in
            [("path", "path", 0), ("pathe", "path", 1), ("wieght", "weight", 2), ("", "ab", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
