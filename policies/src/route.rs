//! The match table: which route a request is for, at a cost that does not depend on how many there are.
//!
//! Of all matches that hold, the first by this order wins; it is that of the Gateway API (v1.6, HTTPRoute), which leaves
//! the place of regular expressions open and has no word for what is marked `+`:
//!
//! 1. the host: its own name, then the longest wildcard, then none;
//! 2. the path: exact, template (+, literals from the left first), regular expression (the longest text first, then by
//!    alphabet), prefix (the longest first);
//! 3. a match that names methods;
//! 4. the one with more headers;
//! 5. the one with more parameters of the query;
//! 6. the one with more cookies (+);
//! 7. one for certain clients, then for a time, then for a share of requests (+);
//! 8. one of a route that names the listener (+);
//! 9. the one that stands first in the configuration.
//!
//! A host whose matches do not hold leaves the request to the less specific ones. Paths are matched in the normal form
//! of [`crate::path`].

mod explain;
mod hosts;
mod index;
mod matches;
mod pattern;
mod slots;
mod template;
mod time;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::captures::Captures;
use crate::path;
pub use explain::{Rank, examine, rank};
pub use hosts::HostTable;
use index::Index;
pub use matches::{Clients, FieldMatch, Misfit, PathMatch, RouteMatch, RouteRequest, ValueMatch};
pub use pattern::Pattern;
use slots::{Slots, hash_byte, path_seed};
pub use template::Template;
use template::TemplateTree;
pub use time::{DAYS, TimeWindow};

/// One route as the configuration has it.
#[derive(Debug, Clone, Copy)]
pub struct RouteRule<'a> {
    /// Indices of the listeners that it serves; none: all.
    pub listeners: &'a [usize],
    /// `example.com`, `*.example.com`; none: every host.
    pub hosts: &'a [String],
    /// Any of them.
    pub matches: &'a [Arc<RouteMatch>],
}

/// What a request has been found to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The rule, by its index at build.
    pub rule: usize,
    /// Which of its matches.
    pub item: usize,
}

/// Why a table cannot be built. Rules are named by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// Two rules match the very same requests.
    Duplicate { first: usize, second: usize, host: String, wanted: String },
    /// Neither a name nor `*.` and a name, without port.
    InvalidHost { rule: usize, host: String },
    /// Not in the normal form of a path, or with parameters or a query.
    InvalidPath { rule: usize, path: String },
}

impl RouteError {
    /// The rule to change.
    pub fn rule(&self) -> usize {
        match self {
            RouteError::Duplicate { second, .. } => *second,
            RouteError::InvalidHost { rule, .. } | RouteError::InvalidPath { rule, .. } => *rule,
        }
    }
}

impl std::error::Error for RouteError {}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteError::Duplicate { host, wanted, .. } => {
                write!(f, "another route already matches host {host:?} with {wanted}")
            }
            RouteError::InvalidHost { host, .. } => {
                write!(
                    f,
                    "expected a host name without port such as example.com or *.example.com, found {host:?}"
                )
            }
            RouteError::InvalidPath { path, .. } => write!(
                f,
                "expected a path in normal form such as /api/v1 (no dot segments, encodings of plain characters, \
                 parameters or query), found {path:?}"
            ),
        }
    }
}

/// The built table: immutable, shared by all workers.
#[derive(Debug, Default)]
pub struct RouteTable {
    hosts: HostTable,
    /// By the ids of `hosts`.
    paths: Vec<HostPaths>,
    nodes: Vec<Node>,
    node_slots: Slots,
    entries: Vec<Entry>,
}

/// The paths of one host.
#[derive(Debug, Default)]
struct HostPaths {
    /// Lengths of its longest exact path and prefix: no more of a path than that has to be read. `None`: it has none.
    exact_bytes_max: Option<usize>,
    prefix_bytes_max: usize,
    /// The node of the prefix `/`.
    root: Option<u32>,
    templates: Option<Box<TemplateTree>>,
    /// With their nodes, in the order in which they are tried.
    patterns: Vec<(Arc<Pattern>, u32)>,
}

/// One path under one host, with the matches that have it.
#[derive(Debug)]
struct Node {
    host: u32,
    kind: PathKind,
    /// A prefix has no `/` at the end; the empty one is `/`. A template has no names of variables.
    text: Box<[u8]>,
    hash: u64,
    /// In order of precedence.
    entries: Vec<u32>,
    /// Where there are many.
    index: Option<Box<Index>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathKind {
    Exact,
    Template,
    Regex,
    Prefix,
}

/// One match of one rule.
#[derive(Debug)]
struct Entry {
    rule: u32,
    item: u32,
    /// In order; empty: all.
    listeners: Box<[u32]>,
    /// Nothing but host, path and listener matters.
    plain: bool,
    wanted: Arc<RouteMatch>,
}

/// Prefixes within each other that one path may have: a bound on what is kept on the stack.
const NESTED_MAX: usize = 64;

impl RouteTable {
    /// # Errors
    /// What makes a rule meaningless, or useless because an earlier one matches the same.
    pub fn build(rules: &[RouteRule<'_>]) -> Result<RouteTable, RouteError> {
        let mut table = RouteTable::default();
        let mut known = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let hosts = rule.hosts.iter().map(|host| {
                hosts::checked_host(host)
                    .ok_or_else(|| RouteError::InvalidHost { rule: index, host: host.clone() })
            });
            let mut hosts = hosts.collect::<Result<Vec<_>, _>>()?;
            if hosts.is_empty() {
                hosts.push(Vec::new());
            }
            for (item, wanted) in rule.matches.iter().enumerate() {
                let entry = table.add_entry(index, item, rule, wanted);
                for host in &hosts {
                    let node = table.node_of(host, &wanted.path).ok_or_else(|| RouteError::InvalidPath {
                        rule: index,
                        path: wanted.path.to_string(),
                    })?;
                    if let Some(first) = table.place(node, entry, &mut known) {
                        return Err(RouteError::Duplicate {
                            first,
                            second: index,
                            host: String::from_utf8_lossy(host).into_owned(),
                            wanted: wanted.to_string(),
                        });
                    }
                }
            }
        }
        table.put_in_order();
        Ok(table)
    }

    /// What a request is for.
    pub fn find(&self, request: &RouteRequest<'_>) -> Option<Found> {
        let mut plain = Vec::new();
        let path = match_path(request.path, &mut plain);
        let found = self.hosts.matching(request.host).iter().find_map(|host| {
            let paths = self.paths.get(host as usize)?;
            self.find_by_path(host, paths, path, request)
        });
        let entry = self.entries.get(found? as usize)?;
        Some(Found { rule: entry.rule as usize, item: entry.item as usize })
    }

    fn find_by_path(
        &self,
        host: u32,
        paths: &HostPaths,
        path: &[u8],
        request: &RouteRequest<'_>,
    ) -> Option<u32> {
        // Prefixes that the path has, the shortest first.
        let mut nested = [0u32; NESTED_MAX];
        let mut count = 0;
        let mut note = |node: Option<u32>| {
            if let Some((node, slot)) = node.zip(nested.get_mut(count)) {
                *slot = node;
                count += 1;
            }
        };
        note(paths.root);
        let mut hash = hash_byte(path_seed(host), b'/');
        // One byte more than the longest prefix shows whether its last segment ends there.
        let for_prefix = path.len().min(paths.prefix_bytes_max + 1);
        for at in 1..for_prefix {
            let Some(byte) = path.get(at) else { break };
            if *byte == b'/' {
                note(self.node(host, PathKind::Prefix, hash, path.get(..at)?));
            }
            hash = hash_byte(hash, *byte);
        }
        if path.len() <= paths.prefix_bytes_max {
            note(self.node(host, PathKind::Prefix, hash, path));
        }
        let exact = paths.exact_bytes_max.filter(|max| path.len() <= *max).and_then(|_| {
            let rest = path.get(for_prefix.max(1)..).unwrap_or_default();
            let hash = rest.iter().fold(hash, |hash, byte| hash_byte(hash, *byte));
            self.node(host, PathKind::Exact, hash, path)
        });
        let choose = |node: u32| self.choose(node, request);
        exact
            .and_then(choose)
            .or_else(|| paths.templates.as_ref()?.find(path, &choose))
            .or_else(|| {
                let mut fitting = paths.patterns.iter().filter(|(pattern, _)| pattern.is_match(path));
                fitting.find_map(|(_, node)| choose(*node))
            })
            .or_else(|| nested.get(..count)?.iter().rev().find_map(|node| choose(*node)))
    }

    /// The first match of a node that holds.
    fn choose(&self, node: u32, request: &RouteRequest<'_>) -> Option<u32> {
        let Node { entries, index, .. } = self.nodes.get(node as usize)?;
        let holds = |id: &u32| {
            self.entries.get(*id as usize).is_some_and(|entry| {
                entry.serves(request.listener)
                    && (entry.plain || entry.wanted.misfit(request, entry.salt()).is_none())
            })
        };
        match index {
            None => entries.iter().copied().find(holds),
            Some(index) => index.find(request, |position| entries.get(position).copied().filter(holds)),
        }
    }

    fn node(&self, host: u32, kind: PathKind, hash: u64, text: &[u8]) -> Option<u32> {
        let hash = hash ^ kind.mark();
        self.node_slots.find(hash, |id| {
            self.nodes.get(id as usize).is_some_and(|node| {
                node.hash == hash && node.host == host && node.kind == kind && *node.text == *text
            })
        })
    }

    fn add_entry(&mut self, rule: usize, item: usize, of: &RouteRule<'_>, wanted: &Arc<RouteMatch>) -> u32 {
        let mut listeners: Vec<u32> = of.listeners.iter().map(|listener| *listener as u32).collect();
        listeners.sort_unstable();
        listeners.dedup();
        self.entries.push(Entry {
            rule: rule as u32,
            item: item as u32,
            listeners: listeners.into(),
            plain: wanted.is_plain(),
            wanted: Arc::clone(wanted),
        });
        (self.entries.len() - 1) as u32
    }

    /// The node of a path under a host, new or not; `None` for a path without meaning.
    fn node_of(&mut self, host: &[u8], wanted: &PathMatch) -> Option<u32> {
        let (kind, text) = match wanted {
            PathMatch::Exact(path) => (PathKind::Exact, checked_path(path)?.to_vec()),
            PathMatch::Template(template) => {
                checked_path(&template.sample())?;
                (PathKind::Template, template.shape().into_bytes())
            }
            PathMatch::Regex(pattern) => (PathKind::Regex, pattern.text().as_bytes().to_vec()),
            PathMatch::Prefix(prefix) => {
                let prefix = checked_path(prefix)?;
                (PathKind::Prefix, prefix.strip_suffix(b"/").unwrap_or(prefix).to_vec())
            }
        };
        if kind == PathKind::Prefix && text.iter().filter(|byte| **byte == b'/').count() >= NESTED_MAX {
            return None;
        }
        let host = self.hosts.id_of(host);
        if self.paths.len() <= host as usize {
            self.paths.resize_with(host as usize + 1, HostPaths::default);
        }
        let hash = text.iter().fold(path_seed(host), |hash, byte| hash_byte(hash, *byte));
        if let Some(id) = self.node(host, kind, hash, &text) {
            return Some(id);
        }
        let id = self.nodes.len() as u32;
        let hash = hash ^ kind.mark();
        self.nodes.push(Node {
            host,
            kind,
            text: text.clone().into(),
            hash,
            entries: Vec::new(),
            index: None,
        });
        self.node_slots.insert(hash, id, |id| self.nodes.get(id as usize).map_or(0, |node| node.hash));
        self.paths.get_mut(host as usize)?.add(wanted, text.len(), id);
        Some(id)
    }

    /// Adds a match to a node. The earlier rule, where one matches the same: this one would never be chosen.
    fn place(&mut self, node: u32, id: u32, known: &mut HashMap<(u32, String), Vec<u32>>) -> Option<usize> {
        let entry = self.entries.get(id as usize)?;
        let entries = &mut self.nodes.get_mut(node as usize)?.entries;
        if entries.contains(&id) {
            return None;
        }
        entries.push(id);
        // A share leaves something to the next of its kind.
        if entry.wanted.share.is_some() {
            return None;
        }
        let same = known.entry((node, entry.wanted.conditions())).or_default();
        let overlaps = |other: &&Entry| {
            let shared = |listener: &u32| other.listeners.binary_search(listener).is_ok();
            let all = [entry, other].map(|entry| entry.listeners.is_empty());
            all == [true, true] || entry.listeners.iter().any(shared)
        };
        let first = same.iter().filter_map(|id| self.entries.get(*id as usize)).find(overlaps);
        let first = first.map(|first| first.rule as usize);
        same.push(id);
        first
    }

    fn put_in_order(&mut self) {
        for node in &mut self.nodes {
            node.entries.sort_by_key(|id| self.entries.get(*id as usize).map(Entry::precedence));
            let matches = node.entries.iter().filter_map(|id| self.entries.get(*id as usize));
            let matches: Vec<_> = matches.map(|entry| &entry.wanted).collect();
            node.index = Index::build(&matches).map(Box::new);
        }
        for paths in &mut self.paths {
            paths.patterns.sort_by(|(a, _), (b, _)| {
                (Reverse(a.text().len()), a.text()).cmp(&(Reverse(b.text().len()), b.text()))
            });
            paths.patterns.shrink_to_fit();
        }
    }

    /// What the variables of a match stand for in the path of a request that it was found for.
    pub fn captures(wanted: &RouteMatch, path: &[u8]) -> Captures {
        let mut captures = Captures::default();
        let mut plain = Vec::new();
        let path = match_path(path, &mut plain);
        match &wanted.path {
            PathMatch::Template(template) if template.has_captures() => {
                template.fits(path, |name, text| captures.push(name, text));
            }
            PathMatch::Regex(pattern) if pattern.has_captures() => {
                pattern.captures(path, |name, text| captures.push(name, text));
            }
            _ => {}
        }
        captures
    }
}

impl HostPaths {
    fn add(&mut self, wanted: &PathMatch, bytes: usize, node: u32) {
        match wanted {
            PathMatch::Exact(_) => {
                self.exact_bytes_max = Some(self.exact_bytes_max.unwrap_or(0).max(bytes));
            }
            PathMatch::Template(template) => {
                self.templates.get_or_insert_default().insert(template, node);
            }
            PathMatch::Regex(pattern) => self.patterns.push((Arc::clone(pattern), node)),
            PathMatch::Prefix(_) => {
                self.prefix_bytes_max = self.prefix_bytes_max.max(bytes);
                if bytes == 0 {
                    self.root = Some(node);
                }
            }
        }
    }
}

impl PathKind {
    /// Keeps an exact path apart from the prefix of the same text.
    fn mark(self) -> u64 {
        match self {
            PathKind::Prefix => 0,
            PathKind::Exact => 0x5555_5555_5555_5555,
            PathKind::Template => 0x3333_3333_3333_3333,
            PathKind::Regex => 0x0f0f_0f0f_0f0f_0f0f,
        }
    }
}

/// Smaller goes first; for matches of the same host and path.
type Precedence = (bool, [Reverse<usize>; 3], [bool; 4], u32, u32);

impl Entry {
    fn serves(&self, listener: usize) -> bool {
        self.listeners.is_empty()
            || u32::try_from(listener).is_ok_and(|it| self.listeners.binary_search(&it).is_ok())
    }

    fn precedence(&self) -> Precedence {
        let (counts, rest) = self.wanted.precedence();
        let [clients, time, share] = rest;
        let no_method = self.wanted.methods.is_empty() && !self.wanted.grpc;
        (no_method, counts, [clients, time, share, self.listeners.is_empty()], self.rule, self.item)
    }

    /// Another one for each match, so that shares are drawn independently.
    fn salt(&self) -> u64 {
        (u64::from(self.rule) << 32) | (u64::from(self.item) + 1)
    }
}

impl RouteMatch {
    /// More conditions on headers, query and cookies first, then some on clients, time and share.
    fn precedence(&self) -> ([Reverse<usize>; 3], [bool; 3]) {
        let counts = [&self.headers, &self.query, &self.cookies].map(|fields| Reverse(fields.len()));
        (counts, [self.clients.blocks.is_empty(), self.time.is_none(), self.share.is_none()])
    }
}

/// The path as it is compared: without parameters.
fn match_path<'a>(path: &'a [u8], plain: &'a mut Vec<u8>) -> &'a [u8] {
    if !path::needs_match_key(path) {
        return path;
    }
    // Rare enough to pay for a copy.
    path::match_key(path, |byte| plain.push(byte));
    plain
}

/// A path of the configuration, in the form in which paths are matched.
fn checked_path(path: &str) -> Option<&[u8]> {
    let path = path.as_bytes();
    let verdict = path::check_or_normalise(path, path::PathRules::default(), &mut Vec::new());
    let plain = verdict == Ok(path::PathVerdict::Unchanged) && !path.contains(&b';');
    (plain && path.starts_with(b"/")).then_some(path)
}

#[cfg(test)]
mod tests;
