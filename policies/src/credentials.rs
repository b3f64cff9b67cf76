//! The file of credentials: API keys and passwords, as hashes. `ringway keys` writes it, the policies `api_key` and
//! `basic_auth` read it.
//!
//! ```yaml
//! salt: 9c5b…                    # 64 hexadecimal digits: the key of the hashes of API keys
//! keys:
//!   - { consumer: shop, hash: 1f0e…, groups: [partners], expires: 2027-01-31 }
//! users:
//!   - { name: alice, password: "pbkdf2-sha256$10000$…$…", groups: [staff] }
//! ```
//!
//! An API key is random and long, so that one keyed hash of it (HMAC-SHA256, RFC 2104) gives nothing away and costs a
//! request nothing that counts. A password is neither: it is hashed slowly (PBKDF2, RFC 8018 5.2).

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::{hmac, pbkdf2};

use crate::date;
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::policy::Consumer;

/// The shape of the file.
pub const FIELDS: &[Field] = &[
    Field {
        name: "salt",
        kind: Kind::Text,
        need: Need::Required,
        help: "The key of the hashes of API keys: 64 hexadecimal digits.",
    },
    Field {
        name: "keys",
        kind: Kind::List(&[
            Field { name: "consumer", kind: Kind::Text, need: Need::Required, help: "Whose key it is." },
            Field {
                name: "hash",
                kind: Kind::Text,
                need: Need::Required,
                help: "HMAC-SHA256 of the key with the salt: 64 hexadecimal digits.",
            },
            GROUPS,
            Field {
                name: "expires",
                kind: Kind::Text,
                need: Need::Optional,
                help: "From when on it is refused.",
            },
            Field { name: "created", kind: Kind::Text, need: Need::Optional, help: "When it was made." },
        ]),
        need: Need::Optional,
        help: "API keys: two of each consumer at most, so that one can follow the other.",
    },
    Field {
        name: "users",
        kind: Kind::List(&[
            Field { name: "name", kind: Kind::Text, need: Need::Required, help: "The user." },
            Field {
                name: "password",
                kind: Kind::Text,
                need: Need::Required,
                help: "pbkdf2-sha256$ITERATIONS$SALT$HASH, the last two in hexadecimal digits.",
            },
            GROUPS,
        ]),
        need: Need::Optional,
        help: "Users with passwords.",
    },
];

const GROUPS: Field =
    Field { name: "groups", kind: Kind::Texts, need: Need::Optional, help: "What it may be used for." };

/// Two, so that the next key can be handed out before the last one ends.
pub const KEYS_OF_CONSUMER_MAX: usize = 2;

/// How long a password may keep a worker from everything else: about 10 ms.
pub const ITERATIONS_MAX: u32 = 100_000;

/// Keys longer than this are not looked at.
pub const KEY_BYTES_MAX: usize = 512;

/// What a file of credentials says.
pub struct Credentials {
    salt: hmac::Key,
    keys: HashMap<[u8; 32], ApiKey>,
    users: HashMap<Box<[u8]>, User>,
}

struct ApiKey {
    consumer: Arc<Consumer>,
    /// Seconds since 1970.
    expires: Option<u64>,
}

/// A user with a password.
pub struct User {
    pub consumer: Arc<Consumer>,
    pub password: PasswordHash,
}

/// What became of an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyVerdict {
    Known(Arc<Consumer>),
    Expired,
    Unknown,
}

impl std::fmt::Debug for Credentials {
    /// Without a hash: they have no place in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} keys, {} users)", self.keys.len(), self.users.len())
    }
}

impl Credentials {
    /// # Errors
    /// All that is wrong with the file.
    pub fn build(values: &Values) -> Result<Credentials, Vec<Problem>> {
        let mut problems = Vec::new();
        let salt = unhex(values.text("salt")).filter(|salt| salt.len() == 32).unwrap_or_else(|| {
            problems.push(Problem::new("salt", "64 hexadecimal digits", "another text"));
            Vec::new()
        });
        let mut credentials =
            Credentials { salt: hash_key(&salt), keys: HashMap::new(), users: HashMap::new() };
        let mut keys_of: HashMap<&str, usize> = HashMap::new();
        for (index, item) in values.list("keys").iter().enumerate() {
            let count = keys_of.entry(item.text("consumer")).or_default();
            *count += 1;
            if *count > KEYS_OF_CONSUMER_MAX {
                let found = format!("another one of `{}`", item.text("consumer"));
                let expected = format!("at most {KEYS_OF_CONSUMER_MAX} keys of each consumer");
                problems.push(Problem::new("keys", expected, found).item(index));
            }
            if let Err(problem) = credentials.add_key(item) {
                problems.push(problem.item(index));
            }
        }
        for (index, item) in values.list("users").iter().enumerate() {
            if let Err(problem) = credentials.add_user(item) {
                problems.push(problem.item(index));
            }
        }
        if problems.is_empty() { Ok(credentials) } else { Err(problems) }
    }

    fn add_key(&mut self, item: &Values) -> Result<(), Problem> {
        let consumer = consumer("keys", item.text("consumer"), item.texts("groups"))?;
        let hash: [u8; 32] = unhex(item.text("hash"))
            .and_then(|hash| hash.try_into().ok())
            .ok_or_else(|| Problem::new("keys", "a hash of 64 hexadecimal digits", "another text"))?;
        let moment = |field| match item.opt_text(field) {
            None => Ok(None),
            Some(text) => date::parse(text).map(Some).ok_or_else(|| {
                Problem::new("keys", "a date such as 2027-01-31 or 2027-01-31T12:00:00Z", format!("`{text}`"))
            }),
        };
        moment("created")?;
        let key = ApiKey { consumer: Arc::new(consumer), expires: moment("expires")? };
        if self.keys.insert(hash, key).is_some() {
            return Err(Problem::new("keys", "each key once", "one that stands above"));
        }
        Ok(())
    }

    fn add_user(&mut self, item: &Values) -> Result<(), Problem> {
        let name = item.text("name");
        let consumer = Arc::new(consumer("users", name, item.texts("groups"))?);
        let password = PasswordHash::parse(item.text("password")).ok_or_else(|| {
            let expected =
                format!("pbkdf2-sha256$ITERATIONS$SALT$HASH, with {ITERATIONS_MAX} iterations at most");
            Problem::new("users", expected, "another text").hint("`ringway keys add --user` writes it")
        })?;
        if self.users.insert(name.as_bytes().into(), User { consumer, password }).is_some() {
            return Err(Problem::new("users", "each user once", format!("`{name}` again")));
        }
        Ok(())
    }

    /// Whose key this is.
    pub fn of_key(&self, key: &[u8], unix_secs: u64) -> KeyVerdict {
        if key.len() > KEY_BYTES_MAX {
            return KeyVerdict::Unknown;
        }
        // Looking a keyed hash up takes as long for one that is nearly right.
        let hash = hmac::sign(&self.salt, key);
        let found = <[u8; 32]>::try_from(hash.as_ref()).ok().and_then(|hash| self.keys.get(&hash));
        match found {
            None => KeyVerdict::Unknown,
            Some(key) if key.expires.is_some_and(|expires| unix_secs >= expires) => KeyVerdict::Expired,
            Some(key) => KeyVerdict::Known(Arc::clone(&key.consumer)),
        }
    }

    pub fn user(&self, name: &[u8]) -> Option<&User> {
        self.users.get(name)
    }

    /// Some user, if there is one.
    pub fn any_user(&self) -> Option<&User> {
        self.users.values().next()
    }
}

fn consumer(field: &str, name: &str, groups: &[String]) -> Result<Consumer, Problem> {
    for text in groups.iter().map(String::as_str).chain([name]) {
        if !is_name(text) {
            let expected = "names of letters, digits, `.`, `_`, `-` and `@`";
            return Err(Problem::new(field, expected, format!("{text:?}")));
        }
    }
    Ok(Consumer { name: name.to_owned(), groups: groups.to_vec() })
}

/// Whether a text may name a consumer, a user or a group: nothing that a header or a list would have to escape.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(plain)
}

fn hash_key(salt: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, salt)
}

/// The hash of an API key, as the file has it.
pub fn hash_api_key(salt: &[u8], key: &[u8]) -> String {
    hex(hmac::sign(&hash_key(salt), key).as_ref())
}

/// A password that was hashed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl PasswordHash {
    pub fn new(password: &[u8], salt: Vec<u8>, iterations: NonZeroU32) -> PasswordHash {
        let mut hash = vec![0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut hash);
        PasswordHash { iterations, salt, hash }
    }

    /// Reads `pbkdf2-sha256$10000$salt$hash`.
    pub fn parse(text: &str) -> Option<PasswordHash> {
        let mut parts = text.strip_prefix("pbkdf2-sha256$")?.split('$');
        let iterations = parts.next()?.parse().ok().filter(|n: &NonZeroU32| n.get() <= ITERATIONS_MAX)?;
        let salt = parts.next().and_then(unhex).filter(|salt| (8..=64).contains(&salt.len()))?;
        let hash = parts.next().and_then(unhex).filter(|hash| hash.len() == 32)?;
        parts.next().is_none().then_some(PasswordHash { iterations, salt, hash })
    }

    /// Takes as many iterations as the hash says: milliseconds.
    pub fn is_of(&self, password: &[u8]) -> bool {
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, self.iterations, &self.salt, password, &self.hash).is_ok()
    }

    /// A short proof of a password that was right once, to be kept in memory and compared quickly.
    pub fn proof(&self, password: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hash_key(&self.hash), password);
        <[u8; 32]>::try_from(tag.as_ref()).unwrap_or_default()
    }
}

impl std::fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pbkdf2-sha256${}${}${}", self.iterations, hex(&self.salt), hex(&self.hash))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fields::Value;
    use crate::policy::fixture::{text, texts, values};

    pub(crate) const SALT: [u8; 32] = [7; 32];

    pub(crate) fn key(consumer: &str, key: &str, more: &[(&'static str, Value)]) -> Values {
        let hash = hash_api_key(&SALT, key.as_bytes());
        let mut item = values([("consumer", text(consumer)), ("hash", text(&hash))]);
        more.iter().for_each(|(name, value)| item.insert(name, value.clone()));
        item
    }

    pub(crate) fn user(name: &str, password: &str, groups: &[&str]) -> Values {
        let iterations = NonZeroU32::new(2).expect("not zero");
        let hash = PasswordHash::new(password.as_bytes(), vec![1; 16], iterations);
        values([("name", text(name)), ("password", text(&hash.to_string())), ("groups", texts(groups))])
    }

    pub(crate) fn file(keys: Vec<Values>, users: Vec<Values>) -> Values {
        values([("salt", text(&hex(&SALT))), ("keys", Value::List(keys)), ("users", Value::List(users))])
    }

    #[test]
    fn a_key_is_known_until_it_expires() {
        let expires = [("expires", text("2023-11-15")), ("groups", texts(&["gold", "eu"]))];
        let credentials =
            Credentials::build(&file(vec![key("shop", "one", &[]), key("shop", "two", &expires)], vec![]))
                .expect("a file");
        let end = date::parse("2023-11-15").expect("a date");
        let name = |verdict| match verdict {
            KeyVerdict::Known(consumer) => format!("{} {:?}", consumer.name, consumer.groups),
            other => format!("{other:?}"),
        };
        for (key, now, expected) in [
            ("one", 0, "shop []"),
            ("two", end - 1, "shop [\"gold\", \"eu\"]"),
            ("two", end, "Expired"),
            ("One", 0, "Unknown"),
            ("", 0, "Unknown"),
        ] {
            assert_eq!(name(credentials.of_key(key.as_bytes(), now)), expected, "{key} at {now}");
        }
        assert_eq!(credentials.of_key(&[b'a'; KEY_BYTES_MAX + 1], 0), KeyVerdict::Unknown);
    }

    /// RFC 4231 4.3 (test case 2), and RFC 7914 11 for PBKDF2-HMAC-SHA256.
    #[test]
    fn hashes_are_those_of_the_standards() {
        assert_eq!(
            hash_api_key(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let one = NonZeroU32::new(1).expect("not zero");
        let hash = PasswordHash::new(b"passwd", b"salt".to_vec(), one).to_string();
        assert!(
            hash.ends_with("$55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"),
            "{hash}"
        );
    }

    #[test]
    fn a_password_is_recognised_by_what_is_written() {
        let hash = PasswordHash::new(b"secret", vec![1; 16], NonZeroU32::new(3).expect("not zero"));
        let read = PasswordHash::parse(&hash.to_string()).expect("a hash");
        assert!(read.is_of(b"secret") && !read.is_of(b"secret ") && !read.is_of(b""));
        assert_eq!(read.proof(b"secret"), hash.proof(b"secret"));
        assert_ne!(read.proof(b"secret"), hash.proof(b"Secret"));
        for text in ["", "$2y$10$abc", "pbkdf2-sha256$0$0101010101010101$00", "pbkdf2-sha256$100001$01$00"] {
            assert!(PasswordHash::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let wrong = |values: &Values| -> Vec<(String, Option<usize>)> {
            let problems = Credentials::build(values).err().unwrap_or_default();
            problems.into_iter().map(|problem| (problem.field, problem.item)).collect()
        };
        let keys = |keys| file(keys, vec![]);
        let users = |users| file(vec![], users);
        let mut salt = file(vec![], vec![]);
        salt.insert("salt", text("abcd"));
        assert_eq!(wrong(&salt), [("salt".to_owned(), None)]);
        let bad_hash = values([("consumer", text("a")), ("hash", text("xyz"))]);
        let bad_password = values([("name", text("a")), ("password", text("secret"))]);
        for (file, field, item) in [
            (keys(vec![key("a", "1", &[]), bad_hash]), "keys", 1),
            (keys(vec![key("a b", "1", &[])]), "keys", 0),
            (keys(vec![key("a", "1", &[("expires", text("soon"))])]), "keys", 0),
            (keys(vec![key("a", "1", &[("groups", texts(&["x,y"]))])]), "keys", 0),
            (keys(vec![key("a", "1", &[]), key("b", "1", &[])]), "keys", 1),
            (keys(vec![key("a", "1", &[]), key("a", "2", &[]), key("a", "3", &[])]), "keys", 2),
            (users(vec![bad_password]), "users", 0),
            (users(vec![user("a:b", "x", &[])]), "users", 0),
            (users(vec![user("a", "x", &[]), user("a", "y", &[])]), "users", 1),
        ] {
            assert_eq!(wrong(&file), [(field.to_owned(), Some(item))], "{field}[{item}]");
        }
    }
}
