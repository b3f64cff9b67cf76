//! `basic_auth`: name and password of a user (RFC 7617).
//!
//! Passwords are hashed slowly, which is what makes a stolen file worth little, and what would let anybody keep a worker
//! busy. So a password that was right is remembered as a short proof, and the others are checked at a limited rate.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use ringway_protocols::message::FieldKind;

use crate::credentials::{self, Credentials};
use crate::fields::{Field, Kind, Need, Problem, Rate, Values};
use crate::identity;
use crate::policy::{Configure, Consumer, Denial, Denied, Hooks, RequestContext, Scope, Verdict};
use crate::watched::{Watched, WatchedFile};

pub const HELP: &str = "Asks for the name and the password of a user, and tells the origin who it is in `x-consumer-name` and \
                        `x-consumer-groups`. Only over TLS does the password stay a secret.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "users_file",
        kind: Kind::Table(credentials::FIELDS),
        need: Need::Required,
        help: "The file of users, as `ringway keys add --user` writes it. It is followed: changes are in force within seconds.",
    },
    Field {
        name: "groups",
        kind: Kind::Texts,
        need: Need::Optional,
        help: "Only users of one of these groups may pass.",
    },
    Field {
        name: "forward",
        kind: Kind::Bool,
        need: Need::Default("false"),
        help: "Whether the origin gets the name and the password.",
    },
    Field {
        name: "checks",
        kind: Kind::Rate,
        need: Need::Default("20/s"),
        help: "How many passwords each worker checks that it does not know yet: each takes milliseconds. Beyond it: 429.",
    },
    Field {
        name: "remembered_max",
        kind: Kind::Count { min: 1, max: 1_000_000 },
        need: Need::Default("1000"),
        help: "How many users that gave the right password each worker remembers.",
    },
    identity::REALM,
];

/// Longer passwords are not looked at.
const PASSWORD_BYTES_MAX: usize = 1024;

#[derive(Debug)]
pub struct BasicAuthConfig {
    users: Watched<Credentials>,
    groups: Vec<String>,
    forward: bool,
    /// Nanoseconds from one check to the next.
    check_interval: u64,
    remembered_max: usize,
    challenge: Vec<u8>,
}

impl Configure for BasicAuthConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let challenge = identity::challenge("Basic", values, &mut problems);
        let users = identity::file("users_file", values, &mut problems);
        let (Some(users), true) = (users, problems.is_empty()) else { return Err(problems) };
        let checks =
            values.rate("checks").unwrap_or(Rate { requests: 20, period: std::time::Duration::from_secs(1) });
        Ok(BasicAuthConfig {
            users,
            groups: values.texts("groups").to_vec(),
            forward: values.flag("forward"),
            check_interval: (checks.period.as_nanos() / u128::from(checks.requests.max(1))) as u64,
            remembered_max: usize::try_from(values.number("remembered_max")).unwrap_or(usize::MAX),
            challenge,
        })
    }

    fn watched(&self) -> Option<&dyn WatchedFile> {
        Some(&self.users)
    }
}

pub struct BasicAuth {
    config: Arc<BasicAuthConfig>,
    remembered: RefCell<Remembered>,
    /// When the next check of an unknown password would come if they were evenly spaced (GCRA).
    next_check: Cell<u64>,
}

/// Proofs of passwords that were right, by user. They count for this file only.
struct Remembered {
    of: Arc<Credentials>,
    proofs: HashMap<Box<[u8]>, [u8; 32]>,
}

impl Remembered {
    fn nothing(of: Arc<Credentials>) -> Self {
        Remembered { of, proofs: HashMap::new() }
    }
}

/// Checks that may come at once after a quiet time.
const BURST: u64 = 10;

impl BasicAuth {
    pub fn new(config: &Arc<BasicAuthConfig>) -> Self {
        BasicAuth {
            remembered: RefCell::new(Remembered::nothing(Arc::clone(&config.users.get()))),
            next_check: Cell::new(0),
            config: Arc::clone(config),
        }
    }

    /// Who the user is, if the password is right.
    fn check(&self, user: &[u8], password: &[u8], now: u64) -> Result<Arc<Consumer>, Refused> {
        let credentials = Arc::clone(&self.config.users.get());
        let mut remembered = self.remembered.borrow_mut();
        if !Arc::ptr_eq(&remembered.of, &credentials) {
            *remembered = Remembered::nothing(Arc::clone(&credentials));
        }
        let known = credentials.user(user);
        if let Some(known) = known
            && remembered
                .proofs
                .get(user)
                .is_some_and(|proof| is_same(proof, &known.password.proof(password)))
        {
            return Ok(Arc::clone(&known.consumer));
        }
        if !self.may_check(now) {
            return Err(Refused::TooMany);
        }
        let Some(known) = known else {
            // As slow as for a user that there is, so that nobody learns the names.
            let _ = credentials.any_user().is_some_and(|other| other.password.is_of(password));
            return Err(Refused::Wrong);
        };
        if !known.password.is_of(password) {
            return Err(Refused::Wrong);
        }
        if remembered.proofs.len() >= self.config.remembered_max {
            remembered.proofs.clear();
        }
        remembered.proofs.insert(user.into(), known.password.proof(password));
        Ok(Arc::clone(&known.consumer))
    }

    fn may_check(&self, now: u64) -> bool {
        let interval = self.config.check_interval;
        let arrives = self.next_check.get().max(now);
        if arrives - now > interval.saturating_mul(BURST - 1) {
            return false;
        }
        self.next_check.set(arrives.saturating_add(interval));
        true
    }
}

enum Refused {
    Wrong,
    TooMany,
}

/// In the same time wherever they differ.
fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

impl Hooks for BasicAuth {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.config;
        let refuse = |kind: Denied, detail: &str| {
            let lines = if kind == Denied::Unauthenticated { config.challenge.clone() } else { Vec::new() };
            Verdict::Deny(Denial { kind, detail: detail.to_owned(), lines })
        };
        let wrong = |detail| refuse(Denied::Unauthenticated, detail);
        let mut lines = request.head.fields.iter().filter(|field| field.kind == FieldKind::Authorization);
        let given = match (lines.next(), lines.next()) {
            (None, _) => return wrong("a name and a password are missing"),
            (Some(field), None) => field.value.of(request.bytes),
            (Some(_), Some(_)) => return wrong("there is more than one authorization"),
        };
        let Some(decoded) = identity::after_scheme(given, b"basic").and_then(base64) else {
            return wrong("a name and a password are missing");
        };
        let Some(colon) = decoded.iter().position(|byte| *byte == b':') else {
            return wrong("a name and a password are missing");
        };
        let (user, password) = decoded.split_at(colon);
        let password = password.get(1..).unwrap_or_default();
        if password.len() > PASSWORD_BYTES_MAX {
            return wrong("the name or the password is wrong");
        }
        let consumer = match self.check(user, password, request.now) {
            Ok(consumer) => consumer,
            Err(Refused::Wrong) => return wrong("the name or the password is wrong"),
            Err(Refused::TooMany) => {
                return refuse(Denied::RateLimited, "too many passwords are being tried");
            }
        };
        if !identity::is_of(&consumer, &config.groups) {
            return refuse(Denied::Forbidden, "the user is of none of the groups that may pass");
        }
        if !config.forward {
            request.changes.headers.remove(b"authorization");
        }
        identity::tell(&consumer, request.changes);
        *request.consumer = Some(consumer);
        Verdict::Continue
    }
}

/// Decodes base64 (RFC 4648 4), with or without its padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let [_, a, b, c] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        match group.len() {
            4 => out.extend_from_slice(&[a, b, c]),
            3 => out.extend_from_slice(&[a, b]),
            2 => out.push(a),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::credentials::tests::{file, user};
    use crate::fields::Value;
    use crate::policy::fixture::{Request, build, text, texts, values};

    fn config(more: &[(&'static str, Value)]) -> Values {
        let users = vec![user("alice", "se:cret", &["staff"]), user("bob", "", &[])];
        let table = Value::Table { path: PathBuf::from("users.yaml"), values: file(vec![], users) };
        let mut fields =
            values([("users_file", table), ("remembered_max", Value::Number(2)), ("realm", text("ringway"))]);
        more.iter().for_each(|(name, value)| fields.insert(name, value.clone()));
        fields
    }

    fn basic(encoded: &str) -> Request {
        Request::get("/").with("Authorization", &format!("Basic {encoded}"))
    }

    fn ask(policy: &BasicAuth, mut request: Request) -> Result<String, (Denied, String)> {
        match request.ask(policy) {
            Verdict::Continue => {
                Ok(request.sent().replace("\r\n", "|").replace("GET / HTTP/1.1|Host: shop.test", ""))
            }
            Verdict::Deny(denial) => {
                let challenge: &[u8] = b"www-authenticate: Basic realm=\"ringway\", charset=\"UTF-8\"\r\n";
                assert_eq!(denial.lines == challenge, denial.kind == Denied::Unauthenticated);
                Err((denial.kind, denial.detail))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_origin_is_told_the_user_and_not_the_password() {
        let policy = BasicAuth::new(&build(&config(&[])));
        // alice:se:cret, twice: the second time it is remembered. bob has an empty password.
        for encoded in ["YWxpY2U6c2U6Y3JldA==", "YWxpY2U6c2U6Y3JldA"] {
            let request = basic(encoded).with("x-consumer-name", "root");
            assert_eq!(
                ask(&policy, request),
                Ok("|x-consumer-name: alice|x-consumer-groups: staff".to_owned())
            );
        }
        assert_eq!(ask(&policy, basic("Ym9iOg==")), Ok("|x-consumer-name: bob".to_owned()));
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused() {
        let policy = BasicAuth::new(&build(&config(&[])));
        let missing = "a name and a password are missing";
        let wrong = "the name or the password is wrong";
        for (request, detail) in [
            (Request::get("/"), missing),
            (basic(""), missing),
            (basic("YWxpY2U="), missing),
            (basic("YWxp*2U6"), missing),
            (basic("Y"), missing),
            (Request::get("/").with("Authorization", "Bearer YWxpY2U6c2U6Y3JldA=="), missing),
            (basic("YWxpY2U6c2VjcmV0"), wrong),
            (basic("YWxpY2U6"), wrong),
            (basic("Y2Fyb2w6c2U6Y3JldA=="), wrong),
            (
                basic("YWxpY2U6c2U6Y3JldA==").with("Authorization", "Basic x"),
                "there is more than one authorization",
            ),
        ] {
            assert_eq!(ask(&policy, request), Err((Denied::Unauthenticated, detail.to_owned())));
        }
    }

    #[test]
    fn passwords_are_tried_at_a_limited_rate_and_those_that_are_known_pass() {
        let checks = Value::Rate(Rate { requests: 1, period: Duration::from_secs(1) });
        let policy = BasicAuth::new(&build(&config(&[("checks", checks)])));
        let right = || {
            let mut request = basic("YWxpY2U6c2U6Y3JldA==");
            request.now = 100_000_000_000;
            request
        };
        let wrong = |now| {
            let mut request = basic("YWxpY2U6eA==");
            request.now = now;
            ask(&policy, request).map_err(|(kind, _)| kind)
        };
        assert!(ask(&policy, right()).is_ok());
        let now = 100_000_000_000;
        for _ in 1..BURST {
            assert_eq!(wrong(now), Err(Denied::Unauthenticated));
        }
        assert_eq!(wrong(now), Err(Denied::RateLimited));
        assert!(ask(&policy, right()).is_ok(), "a password that is known costs nothing");
        assert_eq!(wrong(now + 999_999_999), Err(Denied::RateLimited));
        assert_eq!(wrong(now + 1_000_000_000), Err(Denied::Unauthenticated));
    }

    #[test]
    fn a_password_that_was_changed_is_not_remembered() {
        let config = build::<BasicAuthConfig>(&config(&[]));
        let policy = BasicAuth::new(&config);
        assert!(ask(&policy, basic("YWxpY2U6c2U6Y3JldA==")).is_ok());
        let watched = config.watched().expect("a file");
        watched.replace(&file(vec![], vec![user("alice", "new", &[])])).expect("a file");
        assert!(ask(&policy, basic("YWxpY2U6c2U6Y3JldA==")).is_err());
        assert!(ask(&policy, basic("YWxpY2U6bmV3")).is_ok());
    }

    #[test]
    fn only_the_groups_that_are_named_pass() {
        let policy = BasicAuth::new(&build(&config(&[("groups", texts(&["staff"]))])));
        assert!(ask(&policy, basic("YWxpY2U6c2U6Y3JldA==")).is_ok());
        assert_eq!(ask(&policy, basic("Ym9iOg==")).map_err(|(kind, _)| kind), Err(Denied::Forbidden));
    }

    #[test]
    fn base64_is_decoded() {
        for (text, decoded) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg", Some("foob")),
            ("Zm9vYmE=", Some("fooba")),
            ("Zm9vYmFy", Some("foobar")),
            ("Z", None),
            ("Zm9vY", None),
            ("Zm=v", None),
            ("Zm9-", None),
            ("Zg===", None),
        ] {
            assert_eq!(base64(text.as_bytes()).as_deref(), decoded.map(str::as_bytes), "{text}");
        }
    }
}
