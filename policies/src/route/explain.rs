//! One match and one request, looked at alone: why it does not hold, or how specific it is. Slow and plain, it is what
//! the table is tested against.

use std::cmp::Reverse;

use super::hosts::{checked_host, host_name};
use super::matches::{Misfit, PathMatch, RouteMatch, RouteRequest};
use super::{RouteRule, match_path};

/// How specific a match that holds is: of several, the smallest is chosen, and of equals the first of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    host: Reverse<usize>,
    path: PathRank,
    conditions: (bool, [Reverse<usize>; 3], [bool; 4]),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    /// At each segment from the left, what it is: literal, variable, rest.
    Template(Vec<u8>),
    Regex(Reverse<usize>, String),
    Prefix(Reverse<usize>),
}

/// Looks at the match `item` of a rule.
///
/// # Errors
/// The first condition that the request does not meet, in the order listener, host, path, and then cheap ones first.
pub fn examine(
    rule: &RouteRule<'_>,
    number: usize,
    item: usize,
    request: &RouteRequest<'_>,
) -> Result<Rank, Misfit> {
    let wanted = rule.matches.get(item).ok_or(Misfit::Path)?;
    let rank = rank(rule, item, request)?;
    let salt = (number as u64) << 32 | (item as u64 + 1);
    wanted.misfit(request, salt).map_or(Ok(rank), Err)
}

/// How specific the match `item` of a rule is for a request, whether its conditions besides listener, host and path hold
/// or not.
///
/// # Errors
/// Which of these three does not hold.
pub fn rank(rule: &RouteRule<'_>, item: usize, request: &RouteRequest<'_>) -> Result<Rank, Misfit> {
    let wanted = rule.matches.get(item).ok_or(Misfit::Path)?;
    if !rule.listeners.is_empty() && !rule.listeners.contains(&request.listener) {
        return Err(Misfit::Listener);
    }
    let host = host_rank(rule.hosts, request.host).ok_or(Misfit::Host)?;
    let path = path_rank(wanted, request.path).ok_or(Misfit::Path)?;
    let (counts, [clients, time, share]) = wanted.precedence();
    let no_method = wanted.methods.is_empty() && !wanted.grpc;
    let conditions = (no_method, counts, [clients, time, share, rule.listeners.is_empty()]);
    Ok(Rank { host: Reverse(host), path, conditions })
}

fn host_rank(hosts: &[String], authority: &[u8]) -> Option<usize> {
    if hosts.is_empty() {
        return Some(0);
    }
    let host = host_name(authority).to_ascii_lowercase();
    let rank = |pattern: &String| {
        let pattern = checked_host(pattern)?;
        if pattern.starts_with(b".") {
            let longer = host.len() > pattern.len() && host.ends_with(&pattern);
            // The label that the asterisk stands for must not be empty.
            return longer.then_some(pattern.len());
        }
        (host == pattern).then_some(usize::MAX)
    };
    hosts.iter().filter_map(rank).max()
}

fn path_rank(wanted: &RouteMatch, path: &[u8]) -> Option<PathRank> {
    let mut plain = Vec::new();
    let path = match_path(path, &mut plain);
    match &wanted.path {
        PathMatch::Exact(exact) => (path == exact.as_bytes()).then_some(PathRank::Exact),
        PathMatch::Template(template) => {
            template.fits(path, |_, _| {}).then(|| PathRank::Template(template.kinds()))
        }
        PathMatch::Regex(pattern) => {
            let text = pattern.text();
            pattern.is_match(path).then(|| PathRank::Regex(Reverse(text.len()), text.to_owned()))
        }
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes();
            let rest = path.strip_prefix(prefix)?;
            (prefix.is_empty() || matches!(rest, [] | [b'/', ..]))
                .then_some(PathRank::Prefix(Reverse(prefix.len())))
        }
    }
}
