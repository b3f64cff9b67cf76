//! What a limit is kept for.

use std::hash::Hasher;
use std::net::IpAddr;

use super::Prefixes;
use crate::fields::Problem;
use crate::policy::RequestContext;

/// A part of the key of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    ClientIp,
    Consumer,
    Route,
    Listener,
    /// The lines of the field with this name, in their order.
    Header(Box<[u8]>),
}

const EXPECTED: &str = "client_ip, consumer, route, listener or header:NAME";

impl Key {
    pub(super) fn read_all(texts: &[String], problems: &mut Vec<Problem>) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match Key::read(text) {
                Some(key) if keys.contains(&key) => {
                    let found = format!("{text:?} for the second time");
                    problems.push(Problem::new("key", "each part once", found).item(index));
                }
                Some(key) => keys.push(key),
                None => problems.push(Problem::new("key", EXPECTED, format!("{text:?}")).item(index)),
            }
        }
        if texts.is_empty() {
            problems.push(Problem::new("key", EXPECTED, "an empty list"));
        }
        keys
    }

    fn read(text: &str) -> Option<Key> {
        Some(match text {
            "client_ip" => Key::ClientIp,
            "consumer" => Key::Consumer,
            "route" => Key::Route,
            "listener" => Key::Listener,
            _ => {
                let name = text.strip_prefix("header:")?.trim();
                let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
                if name.is_empty() || !name.bytes().all(is_token) {
                    return None;
                }
                Key::Header(name.to_ascii_lowercase().into_bytes().into())
            }
        })
    }

    /// Feeds the part to `hasher`, so that no two different keys feed it the same bytes.
    pub(super) fn hash(&self, request: &RequestContext<'_>, prefixes: Prefixes, hasher: &mut impl Hasher) {
        match self {
            Key::ClientIp => hash_address(request.client, prefixes, hasher),
            Key::Consumer => match &*request.consumer {
                Some(consumer) => feed(hasher, consumer.name.as_bytes()),
                None => hasher.write_u64(u64::MAX),
            },
            Key::Route => feed(hasher, request.route.as_bytes()),
            Key::Listener => feed(hasher, request.listener.as_bytes()),
            Key::Header(name) => {
                let fields = request.head.fields.iter();
                let lines = fields.filter(|field| field.name.of(request.bytes).eq_ignore_ascii_case(name));
                let mut count = 0;
                for line in lines {
                    feed(hasher, line.value.of(request.bytes));
                    count += 1;
                }
                hasher.write_u64(u64::MAX - count);
            }
        }
    }
}

/// With its length, so that `ab`, `c` is not `a`, `bc`.
fn feed(hasher: &mut impl Hasher, bytes: &[u8]) {
    hasher.write_u64(bytes.len() as u64);
    hasher.write(bytes);
}

fn hash_address(address: Option<IpAddr>, prefixes: Prefixes, hasher: &mut impl Hasher) {
    // An IPv4 address in the form of IPv6 is the same client.
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(v4)) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - prefixes.v4.min(32))).unwrap_or(0);
            hasher.write_u64(u64::from(v4.to_bits() & mask) | 1 << 32);
        }
        Some(IpAddr::V6(v6)) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - prefixes.v6.min(128))).unwrap_or(0);
            hasher.write_u128(v6.to_bits() & mask);
        }
        // A UNIX socket: all its clients are one.
        None => hasher.write_u64(0),
    }
}
