//! `api_key`: who a client is by a key that it sends.
//!
//! The file of keys has only hashes ([`crate::credentials`]), and is followed while the proxy runs. The origin is told the
//! consumer, never the key; what the client itself says of who it is, is dropped.

use std::sync::Arc;

use ringway_protocols::message::{FieldKind, RequestHead};

use crate::changes::RequestChanges;
use crate::credentials::{self, Credentials, KeyVerdict};
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::identity;
use crate::pieces;
use crate::policy::{Configure, Denial, Denied, Hooks, RequestContext, Scope, Verdict};
use crate::watched::{Watched, WatchedFile};

pub const HELP: &str =
    "Asks for an API key, and tells the origin whose it is in `x-consumer-name` and `x-consumer-groups`.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "keys_file",
        kind: Kind::Table(credentials::FIELDS),
        need: Need::Required,
        help: "The file of keys, as `ringway keys` writes it. It is followed: changes are in force within seconds.",
    },
    Field {
        name: "header",
        kind: Kind::Name,
        need: Need::Optional,
        help: "The field with the key. With none of `header`, `bearer`, `query` and `cookie` it is `x-api-key`.",
    },
    Field {
        name: "bearer",
        kind: Kind::Bool,
        need: Need::Default("false"),
        help: "Whether the key may come as `Authorization: Bearer KEY`.",
    },
    Field {
        name: "query",
        kind: Kind::Name,
        need: Need::Optional,
        help: "The parameter with the key. Queries end up in logs and histories: headers are better.",
    },
    Field { name: "cookie", kind: Kind::Name, need: Need::Optional, help: "The cookie with the key." },
    Field {
        name: "groups",
        kind: Kind::Texts,
        need: Need::Optional,
        help: "Only consumers of one of these groups may pass.",
    },
    Field {
        name: "required",
        kind: Kind::Bool,
        need: Need::Default("true"),
        help: "Whether requests without a key are refused. A wrong key always is.",
    },
    Field {
        name: "forward",
        kind: Kind::Bool,
        need: Need::Default("false"),
        help: "Whether the origin gets the key.",
    },
    identity::REALM,
];

/// Wherever a key may stand in a request.
#[derive(Debug, Default, PartialEq)]
struct Places {
    header: Option<Box<[u8]>>,
    bearer: bool,
    query: Option<Box<[u8]>>,
    cookie: Option<Box<[u8]>>,
}

#[derive(Debug)]
pub struct ApiKeyConfig {
    places: Places,
    keys: Watched<Credentials>,
    groups: Vec<String>,
    required: bool,
    forward: bool,
    challenge: Vec<u8>,
}

impl Configure for ApiKeyConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let text =
            |name: &str| values.opt_text(name).map(|text| text.to_ascii_lowercase().into_bytes().into());
        let exact = |name: &str| values.opt_text(name).map(|text| text.as_bytes().into());
        let mut places = Places {
            header: text("header"),
            bearer: values.flag("bearer"),
            query: exact("query"),
            cookie: exact("cookie"),
        };
        if places == Places::default() {
            places.header = Some(b"x-api-key"[..].into());
        }
        if let Some(header) = &places.header
            && let Err(problem) = crate::field_name::check_request("header", &String::from_utf8_lossy(header))
        {
            problems.push(problem);
        }
        let challenge =
            identity::challenge(if places.bearer { "Bearer" } else { "ApiKey" }, values, &mut problems);
        let keys = identity::file("keys_file", values, &mut problems);
        let (Some(keys), true) = (keys, problems.is_empty()) else { return Err(problems) };
        Ok(ApiKeyConfig {
            places,
            keys,
            groups: values.texts("groups").to_vec(),
            required: values.flag("required"),
            forward: values.flag("forward"),
            challenge,
        })
    }

    fn watched(&self) -> Option<&dyn WatchedFile> {
        Some(&self.keys)
    }
}

pub struct ApiKey(Arc<ApiKeyConfig>);

impl ApiKey {
    pub fn new(config: &Arc<ApiKeyConfig>) -> Self {
        ApiKey(Arc::clone(config))
    }
}

impl Hooks for ApiKey {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.0;
        let refuse = |detail: &str| {
            let lines = config.challenge.clone();
            Verdict::Deny(Denial { kind: Denied::Unauthenticated, detail: detail.to_owned(), lines })
        };
        let key = match config.places.key_of(request.head, request.bytes) {
            Presented::None if config.required => return refuse("an API key is missing"),
            Presented::None => {
                identity::remove(request.changes);
                return Verdict::Continue;
            }
            // Which of them would the next one in line believe?
            Presented::Several => return refuse("there is more than one API key"),
            Presented::One(key) => key,
        };
        let consumer = match config.keys.get().of_key(&key, request.unix_secs) {
            KeyVerdict::Unknown => return refuse("the API key is not known"),
            KeyVerdict::Expired => return refuse("the API key has expired"),
            KeyVerdict::Known(consumer) => consumer,
        };
        if !identity::is_of(&consumer, &config.groups) {
            let detail = "the consumer is of none of the groups that may pass".to_owned();
            return Verdict::Deny(Denial { kind: Denied::Forbidden, detail, lines: Vec::new() });
        }
        if !config.forward {
            config.places.hide(request.head, request.bytes, request.changes);
        }
        identity::tell(&consumer, request.changes);
        *request.consumer = Some(consumer);
        Verdict::Continue
    }
}

/// What a request presents.
enum Presented {
    None,
    One(Vec<u8>),
    Several,
}

impl Places {
    fn key_of(&self, head: &RequestHead, bytes: &[u8]) -> Presented {
        let mut found = Presented::None;
        let mut present = |key: &[u8]| {
            found = match found {
                Presented::None => Presented::One(key.to_vec()),
                _ => Presented::Several,
            }
        };
        if let Some(name) = &self.header {
            pieces::values(head, bytes, name).for_each(&mut present);
        }
        if self.bearer {
            let lines = head.fields.iter().filter(|field| field.kind == FieldKind::Authorization);
            let tokens = lines.filter_map(|field| identity::after_scheme(field.value.of(bytes), b"bearer"));
            tokens.for_each(&mut present);
        }
        if let Some(name) = &self.query {
            let query = head.query.map(|query| query.of(bytes)).unwrap_or_default();
            let named = pieces::parameters(query).filter(|(known, _)| pieces::decode(known) == **name);
            named.for_each(|(_, value)| present(&pieces::decode(value)));
        }
        if let Some(name) = &self.cookie {
            pieces::cookies(head, bytes)
                .filter(|(known, _)| *known == &**name)
                .for_each(|(_, value)| present(value));
        }
        found
    }

    /// Leaves the key out of what the origin gets.
    fn hide(&self, head: &RequestHead, bytes: &[u8], changes: &mut RequestChanges) {
        if let Some(name) = &self.header {
            changes.headers.remove(name);
        }
        if self.bearer {
            changes.headers.remove(b"authorization");
        }
        if let Some(name) = &self.query
            && let Some(query) = head.query
        {
            let before = changes.query.as_deref().unwrap_or(query.of(bytes));
            changes.query = Some(pieces::without_parameters(before, |known| known == &**name));
        }
        if let Some(name) = &self.cookie
            && pieces::cookie(head, bytes, name).is_some()
        {
            let left = pieces::without_cookie(head, bytes, name);
            changes.headers.remove(b"cookie");
            if !left.is_empty() {
                changes.headers.add(b"cookie", &left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::credentials::tests::{file, key};
    use crate::fields::Value;
    use crate::policy::fixture::{Request, build, text, texts, values, wrong};

    fn config(more: &[(&'static str, Value)]) -> Values {
        let keys = vec![
            key("shop", "k-shop", &[("groups", texts(&["gold", "eu"]))]),
            key("old", "k-old", &[("expires", text("2020-01-01"))]),
            key("plain", "k-plain", &[]),
        ];
        let table = Value::Table { path: PathBuf::from("keys.yaml"), values: file(keys, vec![]) };
        let mut fields =
            values([("keys_file", table), ("required", Value::Bool(true)), ("realm", text("ringway"))]);
        more.iter().for_each(|(name, value)| fields.insert(name, value.clone()));
        fields
    }

    /// What the origin gets, or why it is refused.
    fn sent(fields: &Values, mut request: Request) -> Result<String, String> {
        let policy = ApiKey::new(&build(fields));
        match request.ask(&policy) {
            Verdict::Continue => {
                Ok(request.sent().replace("\r\n", "|").replace(" HTTP/1.1|Host: shop.test", ""))
            }
            Verdict::Deny(denial) => {
                let challenged = denial.lines == b"www-authenticate: ApiKey realm=\"ringway\"\r\n";
                assert_eq!(challenged, denial.kind == Denied::Unauthenticated);
                Err(denial.detail)
            }
            other => panic!("{other:?}"),
        }
    }

    const TOLD: &str = "x-consumer-name: shop|x-consumer-groups: gold,eu";

    #[test]
    fn the_origin_is_told_the_consumer_and_not_the_key() {
        let place = |name, value: &str| config(&[(name, text(value))]);
        for (fields, request, expected) in [
            (config(&[]), Request::get("/").with("X-API-Key", "k-shop"), format!("GET /|{TOLD}")),
            (place("header", "apikey"), Request::get("/").with("apikey", "k-shop"), format!("GET /|{TOLD}")),
            (place("query", "key"), Request::get("/a?x=1&key=k-shop&y"), format!("GET /a?x=1&y|{TOLD}")),
            (place("query", "key"), Request::get("/a?%6bey=k%2Dshop"), format!("GET /a|{TOLD}")),
            (
                place("cookie", "key"),
                Request::get("/").with("Cookie", "a=1; key=k-shop; b=2"),
                format!("GET /|cookie: a=1; b=2|{TOLD}"),
            ),
            (place("cookie", "key"), Request::get("/").with("Cookie", "key=k-shop"), format!("GET /|{TOLD}")),
            (
                config(&[("forward", Value::Bool(true))]),
                Request::get("/").with("x-api-key", "k-shop"),
                format!("GET /|x-api-key: k-shop|{TOLD}"),
            ),
        ] {
            assert_eq!(sent(&fields, request), Ok(expected));
        }
        let bearer = config(&[("bearer", Value::Bool(true))]);
        for value in ["Bearer k-shop", "bearer  k-shop"] {
            let policy = ApiKey::new(&build(&bearer));
            let mut request = Request::get("/").with("Authorization", value);
            assert!(matches!(request.ask(&policy), Verdict::Continue), "{value}");
            assert!(!request.sent().contains("k-shop"));
        }
    }

    #[test]
    fn what_is_missing_wrong_or_there_twice_is_refused() {
        let x = |value| Request::get("/?key=k-shop").with("x-api-key", value);
        for (request, detail) in [
            (Request::get("/?x-api-key=k-shop"), "an API key is missing"),
            (x(""), "the API key is not known"),
            (x("k-shop "), ""),
            (x("K-SHOP"), "the API key is not known"),
            (x("k-shop, k-shop"), "the API key is not known"),
            (x("k-old"), "the API key has expired"),
            (x("k-shop").with("X-Api-Key", "k-shop"), "there is more than one API key"),
        ] {
            let refused = sent(&config(&[]), request).err().unwrap_or_default();
            assert_eq!(refused, detail);
        }
        let two = config(&[("header", text("x-api-key")), ("query", text("key"))]);
        assert!(sent(&two, x("k-plain")).is_err());
        assert!(sent(&config(&[("query", text("key"))]), Request::get("/?key=k-shop&key=k-shop")).is_err());
    }

    #[test]
    fn only_the_groups_that_are_named_pass() {
        let gold = config(&[("groups", texts(&["silver", "gold"]))]);
        let with = |key| Request::get("/").with("x-api-key", key);
        assert!(sent(&gold, with("k-shop")).is_ok());
        assert_eq!(
            sent(&gold, with("k-plain")),
            Err("the consumer is of none of the groups that may pass".to_owned())
        );
    }

    /// CVE-2026-49230 and its kind: who a client is, is said by the proxy alone.
    #[test]
    fn what_a_client_says_of_who_it_is_is_dropped() {
        let spoofed = |mut request: Request| {
            for name in ["X-Consumer-Name", "x_consumer_name", "X-Consumer-Groups", "X-CONSUMER_GROUPS"] {
                request.field(name, "admin");
            }
            request
        };
        let request = spoofed(Request::get("/").with("x-api-key", "k-plain"));
        assert_eq!(sent(&config(&[]), request), Ok("GET /|x-consumer-name: plain".to_owned()));
        let open = config(&[("required", Value::Bool(false))]);
        assert_eq!(sent(&open, spoofed(Request::get("/"))), Ok("GET /".to_owned()));
        assert!(sent(&open, Request::get("/").with("x-api-key", "wrong")).is_err());
    }

    #[test]
    fn a_file_that_changes_counts_at_once() {
        let config = build::<ApiKeyConfig>(&config(&[]));
        let policy = ApiKey::new(&config);
        let passes = |key| matches!(Request::get("/").with("x-api-key", key).ask(&policy), Verdict::Continue);
        assert!(passes("k-shop") && !passes("k-new"));
        let watched = config.watched().expect("a file");
        watched.replace(&file(vec![key("new", "k-new", &[])], vec![])).expect("a file");
        assert!(!passes("k-shop") && passes("k-new"));
        // One that is wrong changes nothing.
        assert!(watched.replace(&values([])).is_err());
        assert!(passes("k-new"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        for (fields, expected) in
            [(config(&[("header", text("host"))]), "header"), (config(&[("realm", text("a\"b"))]), "realm")]
        {
            assert_eq!(wrong::<ApiKeyConfig>(&fields), [expected]);
        }
        let mut bad = config(&[]);
        bad.insert("keys_file", Value::Table { path: PathBuf::new(), values: values([]) });
        assert_eq!(wrong::<ApiKeyConfig>(&bad), ["keys_file.salt"]);
    }
}
