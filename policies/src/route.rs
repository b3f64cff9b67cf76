//! The match table: listener, host and path prefix → route, at a cost that does not depend on how many there are.
//!
//! The most specific host wins (exact, then the longest wildcard, then none), and within it the longest prefix of
//! whole segments. A host without a matching prefix leaves the request to the less specific ones. Between equal
//! matches, a route that names the listener goes before one for all listeners.
//!
//! Paths are matched in the normal form of [`crate::path`].

use std::fmt;

use crate::path;

/// One route as the configuration has it.
#[derive(Debug, Clone, Copy)]
pub struct RouteRule<'a> {
    /// Indices of the listeners that it serves; none: all.
    pub listeners: &'a [usize],
    /// `example.com`, `*.example.com`; none: every host.
    pub hosts: &'a [String],
    /// A prefix of whole segments; `/` matches every path. A `/` at its end means nothing.
    pub path_prefix: &'a str,
}

/// Why a table cannot be built. Rules are named by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// Two rules match the very same requests.
    Duplicate { first: usize, second: usize, host: String, path_prefix: String },
    /// Neither a name nor `*.` and a name, without port.
    InvalidHost { rule: usize, host: String },
    /// Not in the normal form of a path, or with parameters or a query.
    InvalidPrefix { rule: usize, path_prefix: String },
}

impl std::error::Error for RouteError {}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteError::Duplicate { host, path_prefix, .. } => {
                write!(f, "another route already matches host {host:?} and path prefix {path_prefix:?}")
            }
            RouteError::InvalidHost { host, .. } => {
                write!(
                    f,
                    "expected a host name without port such as example.com or *.example.com, found {host:?}"
                )
            }
            RouteError::InvalidPrefix { path_prefix, .. } => write!(
                f,
                "expected a path prefix in normal form such as /api/v1 (no dot segments, encodings of plain \
                 characters, parameters or query), found {path_prefix:?}"
            ),
        }
    }
}

/// The built table: immutable, shared by all workers.
#[derive(Debug, Default)]
pub struct RouteTable {
    hosts: Vec<Host>,
    host_slots: Slots,
    /// The entry of `hosts` for rules without hosts.
    any_host: Option<u32>,
    has_wildcards: bool,
    prefixes: Vec<Prefix>,
    prefix_slots: Slots,
}

/// A host of the configuration, lower case; a wildcard starts with its dot.
#[derive(Debug)]
struct Host {
    name: Box<[u8]>,
    hash: u64,
    /// Length of its longest prefix: no more of a path than that has to be read.
    prefix_bytes_max: usize,
    /// The rule for `/`.
    root: Option<u32>,
}

/// A path prefix under one host, without `/` at the end; the empty one is `/`.
#[derive(Debug)]
struct Prefix {
    host: u32,
    text: Box<[u8]>,
    hash: u64,
    /// The rule for all listeners.
    any: Option<u32>,
    /// Rules for one listener, in order of listeners.
    listeners: Vec<(u32, u32)>,
}

/// Labels of a wildcard, which bounds how many can match one host.
const WILDCARD_LABELS_MAX: usize = 16;

impl RouteTable {
    pub fn build(rules: &[RouteRule<'_>]) -> Result<RouteTable, RouteError> {
        let mut table = RouteTable::default();
        for (index, rule) in rules.iter().enumerate() {
            let prefix = checked_prefix(rule.path_prefix).ok_or_else(|| RouteError::InvalidPrefix {
                rule: index,
                path_prefix: rule.path_prefix.into(),
            })?;
            if rule.hosts.is_empty() {
                table.add(index, rule, b"", prefix)?;
            }
            for host in rule.hosts {
                let name = checked_host(host)
                    .ok_or_else(|| RouteError::InvalidHost { rule: index, host: host.clone() })?;
                table.add(index, rule, &name, prefix)?;
            }
        }
        Ok(table)
    }

    /// The rule for a request: its index at build. `host` may have a port and a trailing dot, in any case of
    /// letters; `path` is in normal form and without query.
    pub fn find(&self, listener: usize, host: &[u8], path: &[u8]) -> Option<usize> {
        let listener = u32::try_from(listener).ok()?;
        let mut plain = Vec::new();
        let path = if path.iter().any(|b| matches!(b, b';' | b'%')) {
            // Rare enough to pay for a copy.
            path::match_key(path, |byte| plain.push(byte));
            plain.as_slice()
        } else {
            path
        };
        self.find_by_host(listener, host_name(host), path).map(|rule| rule as usize)
    }

    fn find_by_host(&self, listener: u32, host: &[u8], path: &[u8]) -> Option<u32> {
        let mut wildcards = [0u32; WILDCARD_LABELS_MAX];
        let mut wildcard_count = 0;
        // From the right, so that on the way every suffix has its hash. Shorter suffixes come first.
        let mut hash = HASH_SEED;
        for (at, byte) in host.iter().enumerate().rev() {
            hash = hash_byte(hash, byte.to_ascii_lowercase());
            // The label that the asterisk stands for must not be empty.
            if *byte == b'.' && self.has_wildcards && at > 0 {
                let suffix = host.get(at..).unwrap_or_default();
                if let Some((id, slot)) = self.host(hash, suffix).zip(wildcards.get_mut(wildcard_count)) {
                    *slot = id;
                    wildcard_count += 1;
                }
            }
        }
        // A name that starts with a dot would find the wildcard that is kept under it.
        let exact = if matches!(host, [] | [b'.', ..]) { None } else { self.host(hash, host) };
        let wildcards = wildcards.get(..wildcard_count).unwrap_or_default().iter().rev().copied();
        exact
            .into_iter()
            .chain(wildcards)
            .chain(self.any_host)
            .find_map(|id| self.find_by_path(id, listener, path))
    }

    fn host(&self, hash: u64, name: &[u8]) -> Option<u32> {
        self.host_slots.find(hash, |id| {
            self.hosts
                .get(id as usize)
                .is_some_and(|host| host.hash == hash && host.name.eq_ignore_ascii_case(name))
        })
    }

    /// The rule of the longest prefix. One look-up for each segment of the longest prefix there is.
    fn find_by_path(&self, host_id: u32, listener: u32, path: &[u8]) -> Option<u32> {
        let host = self.hosts.get(host_id as usize)?;
        let mut best = host.root.and_then(|id| self.prefixes.get(id as usize)?.rule(listener));
        let mut hash = hash_byte(prefix_seed(host_id), b'/');
        // One byte more than the longest prefix shows whether its last segment ends there.
        for at in 1..path.len().min(host.prefix_bytes_max + 1) {
            let Some(byte) = path.get(at) else { break };
            if *byte == b'/' {
                best = self.prefix(host_id, hash, path, at, listener).or(best);
            }
            hash = hash_byte(hash, *byte);
        }
        if path.len() <= host.prefix_bytes_max {
            best = self.prefix(host_id, hash, path, path.len(), listener).or(best);
        }
        best
    }

    fn prefix(&self, host: u32, hash: u64, path: &[u8], len: usize, listener: u32) -> Option<u32> {
        let text = path.get(..len)?;
        let is_it = |id: u32| {
            self.prefixes
                .get(id as usize)
                .is_some_and(|prefix| prefix.hash == hash && prefix.host == host && *prefix.text == *text)
        };
        let id = self.prefix_slots.find(hash, is_it)?;
        self.prefixes.get(id as usize)?.rule(listener)
    }

    fn add(
        &mut self,
        index: usize,
        rule: &RouteRule<'_>,
        host: &[u8],
        prefix: &[u8],
    ) -> Result<(), RouteError> {
        let host_id = self.host_id(host);
        let hash = prefix.iter().fold(prefix_seed(host_id), |hash, byte| hash_byte(hash, *byte));
        let known = self.prefix_slots.find(hash, |id| {
            self.prefixes
                .get(id as usize)
                .is_some_and(|p| p.hash == hash && p.host == host_id && *p.text == *prefix)
        });
        let id = known.unwrap_or_else(|| {
            self.prefixes.push(Prefix {
                host: host_id,
                text: prefix.into(),
                hash,
                any: None,
                listeners: Vec::new(),
            });
            let id = (self.prefixes.len() - 1) as u32;
            self.prefix_slots.insert(hash, id, |id| self.prefixes.get(id as usize).map_or(0, |p| p.hash));
            id
        });
        if let Some(host) = self.hosts.get_mut(host_id as usize) {
            host.prefix_bytes_max = host.prefix_bytes_max.max(prefix.len());
            if prefix.is_empty() {
                host.root = Some(id);
            }
        }
        let Some(entry) = self.prefixes.get_mut(id as usize) else { return Ok(()) };
        entry.add(index as u32, rule.listeners).map_err(|first| RouteError::Duplicate {
            first: first as usize,
            second: index,
            host: String::from_utf8_lossy(host).into_owned(),
            path_prefix: rule.path_prefix.into(),
        })
    }

    fn host_id(&mut self, name: &[u8]) -> u32 {
        if let Some(id) = self.any_host.filter(|_| name.is_empty()) {
            return id;
        }
        let hash = name.iter().rev().fold(HASH_SEED, |hash, byte| hash_byte(hash, *byte));
        if let Some(id) = self.host(hash, name).filter(|_| !name.is_empty()) {
            return id;
        }
        let id = self.hosts.len() as u32;
        self.hosts.push(Host { name: name.into(), hash, prefix_bytes_max: 0, root: None });
        if name.is_empty() {
            self.any_host = Some(id);
        } else {
            self.has_wildcards |= name.starts_with(b".");
            self.host_slots.insert(hash, id, |id| self.hosts.get(id as usize).map_or(0, |host| host.hash));
        }
        id
    }
}

impl Prefix {
    fn rule(&self, listener: u32) -> Option<u32> {
        let at = self.listeners.binary_search_by_key(&listener, |(listener, _)| *listener);
        at.ok().and_then(|at| self.listeners.get(at)).map(|(_, rule)| *rule).or(self.any)
    }

    /// The rule that already is there, if one is.
    fn add(&mut self, rule: u32, listeners: &[usize]) -> Result<(), u32> {
        if listeners.is_empty() {
            return match self.any {
                Some(first) => Err(first),
                None => {
                    self.any = Some(rule);
                    Ok(())
                }
            };
        }
        for listener in listeners {
            let listener = *listener as u32;
            match self.listeners.binary_search_by_key(&listener, |(listener, _)| *listener) {
                // The same rule may name a listener twice.
                Ok(at) => match self.listeners.get(at) {
                    Some((_, first)) if *first != rule => return Err(*first),
                    _ => {}
                },
                Err(at) => self.listeners.insert(at, (listener, rule)),
            }
        }
        Ok(())
    }
}

/// Host without port and trailing dot.
fn host_name(authority: &[u8]) -> &[u8] {
    let end = if authority.first() == Some(&b'[') {
        authority.iter().position(|b| *b == b']').map_or(authority.len(), |close| close + 1)
    } else {
        authority.iter().position(|b| *b == b':').unwrap_or(authority.len())
    };
    let host = authority.get(..end).unwrap_or(authority);
    host.strip_suffix(b".").unwrap_or(host)
}

/// The table's form of a configured host: lower case, and a wildcard begins with its dot.
fn checked_host(host: &str) -> Option<Vec<u8>> {
    let (name, wildcard) = match host.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (host, false),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let authority = ringway_protocols::authority::parse(name.as_bytes())?;
    if authority.host.len() != name.len() || (wildcard && name.starts_with('[')) {
        return None;
    }
    if wildcard && name.split('.').count() > WILDCARD_LABELS_MAX {
        return None;
    }
    let mut text = if wildcard { vec![b'.'] } else { Vec::new() };
    text.extend(name.bytes().map(|b| b.to_ascii_lowercase()));
    Some(text)
}

fn checked_prefix(prefix: &str) -> Option<&[u8]> {
    let prefix = prefix.as_bytes();
    let verdict = path::check_or_normalise(prefix, path::PathRules::default(), &mut Vec::new());
    if verdict != Ok(path::PathVerdict::Unchanged) || prefix.contains(&b';') || !prefix.starts_with(b"/") {
        return None;
    }
    Some(prefix.strip_suffix(b"/").unwrap_or(prefix))
}

/// An open-addressing index from hash to id. Its keys come from the configuration, so that a client can look for
/// collisions but not make any: the hash needs no secret.
#[derive(Debug, Default)]
struct Slots {
    /// Ids plus one; 0 is empty. The length is a power of two and at least twice the number of ids.
    ids: Vec<u32>,
    used: usize,
}

impl Slots {
    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.ids.len().checked_sub(1)?;
        let mut at = slot(hash, mask);
        loop {
            // At most half of the slots are used: an empty one ends the search.
            let id = self.ids.get(at)?.checked_sub(1)?;
            if is_it(id) {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.used + 1) * 2 > self.ids.len() {
            let old = std::mem::take(&mut self.ids);
            self.ids = vec![0; (old.len() * 2).max(8)];
            for id in old.into_iter().filter_map(|id| id.checked_sub(1)) {
                self.place(hash_of(id), id);
            }
        }
        self.place(hash, id);
        self.used += 1;
    }

    fn place(&mut self, hash: u64, id: u32) {
        let Some(mask) = self.ids.len().checked_sub(1) else { return };
        let mut at = slot(hash, mask);
        while let Some(slot) = self.ids.get_mut(at) {
            if *slot == 0 {
                *slot = id + 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

fn slot(hash: u64, mask: usize) -> usize {
    // The multiplication of `hash_byte` leaves the best bits on top.
    (hash >> 32) as usize & mask
}

const HASH_SEED: u64 = 0x517c_c1b7_2722_0a95;

/// Prefixes of different hosts must not meet, least of all the empty one that most hosts have.
fn prefix_seed(host: u32) -> u64 {
    (HASH_SEED ^ u64::from(host)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One step of FNV-1a, with a multiplier that spreads to the top bits at once.
fn hash_byte(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests;
