//! The match table: agrees with a linear search, for tables and requests made of the input.

use std::sync::Arc;

use ringway_policies::route::{RouteMatch, RouteRequest, RouteRule, RouteTable};
use ringway_protocols::message::RequestHead;

pub(crate) const SEEDS: &[&[u8]] = &[
    b"a.example.com /x\n*.example.com /\n /x/y\n|b.example.com /x/y/z\na.example.com:80 /x\n",
    b" /\n|a /\n",
    b"*.b /a\n*.a.b /a\nc.a.b /a/b\n|c.a.b /a/b\nx.a.b /a\nx.b /a/\nx.b //a//a\n",
];

/// `host prefix` lines, `|`, then `host path` lines.
pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((rules, requests)) = text.split_once('|') else { return };
    let mut kept: Vec<(Vec<String>, String)> = Vec::new();
    for line in rules.lines().take(32) {
        let Some((host, prefix)) = line.split_once(' ') else { continue };
        let hosts = if host.is_empty() { Vec::new() } else { vec![host.to_owned()] };
        kept.push((hosts, prefix.to_owned()));
        // A rule that the table refuses, alone or beside the others, is left out.
        if build(&kept).is_none() {
            kept.pop();
        }
    }
    let Some(table) = build(&kept) else { return };
    for line in requests.lines().take(32) {
        let Some((host, path)) = line.split_once(' ') else { continue };
        let request = RouteRequest {
            listener: 0,
            host: host.as_bytes(),
            path: path.as_bytes(),
            head: &RequestHead::default(),
            bytes: b"",
            client: None,
            unix_secs: 0,
            random: 0,
        };
        let found = table.find(&request).map(|found| found.rule);
        if path.starts_with('/') && !path.contains(['%', ';']) && is_name(host) {
            assert_eq!(found, linear(&kept, host, path), "{host} {path} in {kept:?}");
        }
    }
}

fn build(rules: &[(Vec<String>, String)]) -> Option<RouteTable> {
    let matches: Vec<_> = rules.iter().map(|(_, prefix)| [Arc::new(RouteMatch::prefix(prefix))]).collect();
    let rules = rules.iter().zip(&matches);
    let rules: Vec<_> =
        rules.map(|((hosts, _), matches)| RouteRule { listeners: &[], hosts, matches }).collect();
    RouteTable::build(&rules).ok()
}

fn is_name(host: &str) -> bool {
    !host.starts_with('.') && !host.contains(['[', ']', '*']) && host.is_ascii()
}

fn linear(rules: &[(Vec<String>, String)], host: &str, path: &str) -> Option<usize> {
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    // Slashes that a listener keeps are compared as one.
    let mut merged = String::new();
    for part in path.split_inclusive('/') {
        if part != "/" || !merged.ends_with('/') {
            merged.push_str(part);
        }
    }
    let rank = |(hosts, prefix): &(Vec<String>, String)| {
        let host_rank = match hosts.first().map(|name| name.to_ascii_lowercase()) {
            None => 0,
            Some(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
                match name.strip_prefix('*') {
                    Some(suffix) if host.len() > suffix.len() && host.ends_with(suffix) => suffix.len(),
                    None if name == host => usize::MAX,
                    _ => return None,
                }
            }
        };
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let rest = merged.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((host_rank, prefix.len()))
    };
    rules
        .iter()
        .enumerate()
        .filter_map(|(index, rule)| Some((rank(rule)?, index)))
        .max()
        .map(|(_, index)| index)
}
