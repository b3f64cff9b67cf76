use ringway_protocols::message::RequestHead;

use super::*;
use crate::path::{PathRules, PathVerdict, check_or_normalise};

mod conditions;

struct Rule {
    listeners: Vec<usize>,
    hosts: Vec<String>,
    matches: Vec<Arc<RouteMatch>>,
}

fn rule(listeners: &[usize], hosts: &[&str], prefix: &str) -> Rule {
    wanting(listeners, hosts, vec![RouteMatch::prefix(prefix)])
}

fn wanting(listeners: &[usize], hosts: &[&str], matches: Vec<RouteMatch>) -> Rule {
    Rule {
        listeners: listeners.to_vec(),
        hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        matches: matches.into_iter().map(Arc::new).collect(),
    }
}

fn rules(rules: &[Rule]) -> Vec<RouteRule<'_>> {
    let each = rules.iter();
    each.map(|r| RouteRule { listeners: &r.listeners, hosts: &r.hosts, matches: &r.matches }).collect()
}

fn build(of: &[Rule]) -> Result<RouteTable, RouteError> {
    RouteTable::build(&rules(of))
}

/// What a table finds for a request of which only this is known.
fn found(table: &RouteTable, listener: usize, host: &str, path: &str) -> Option<usize> {
    let request = RouteRequest {
        listener,
        host: host.as_bytes(),
        path: path.as_bytes(),
        head: &RequestHead::default(),
        bytes: b"",
        client: None,
        unix_secs: 0,
        random: 0,
    };
    table.find(&request).map(|found| found.rule)
}

fn table(rules: &[Rule]) -> RouteTable {
    build(rules).unwrap_or_else(|error| panic!("{error}"))
}

fn check(table: &RouteTable, cases: &[(&str, &str, Option<usize>)]) {
    for (host, path, expected) in cases {
        assert_eq!(found(table, 0, host, path), *expected, "{host} {path}");
    }
}

#[test]
fn prefixes_match_whole_segments_and_the_longest_wins() {
    let table =
        table(&[rule(&[], &[], "/"), rule(&[], &[], "/a"), rule(&[], &[], "/a/b/"), rule(&[], &[], "/abc")]);
    check(
        &table,
        &[
            ("h", "/", Some(0)),
            ("h", "", Some(0)),
            ("h", "*", Some(0)),
            ("h", "/x", Some(0)),
            ("h", "/a", Some(1)),
            ("h", "/a/", Some(1)),
            ("h", "/a/x", Some(1)),
            ("h", "/ab", Some(0)),
            ("h", "/a/b", Some(2)),
            ("h", "/a/b/", Some(2)),
            ("h", "/a/b/c/d/e", Some(2)),
            ("h", "/a/bc", Some(1)),
            ("h", "/abc", Some(3)),
            ("h", "/abc/a", Some(3)),
            ("h", "/A", Some(0)),
        ],
    );
}

#[test]
fn the_most_specific_host_that_has_the_path_wins() {
    let table = table(&[
        rule(&[], &[], "/any"),
        rule(&[], &["*.example.com"], "/"),
        rule(&[], &["*.b.example.com"], "/b"),
        rule(&[], &["a.example.com", "Other.Example.ORG"], "/exact"),
        rule(&[], &["[2001:db8::1]"], "/"),
    ]);
    check(
        &table,
        &[
            ("a.example.com", "/exact", Some(3)),
            ("a.example.com", "/x", Some(1)),
            ("x.b.example.com", "/b", Some(2)),
            ("x.b.example.com", "/c", Some(1)),
            ("x.y.b.example.com", "/b", Some(2)),
            ("b.example.com", "/b", Some(1)),
            ("example.com", "/any", Some(0)),
            ("example.com", "/x", None),
            (".example.com", "/x", None),
            ("xexample.com", "/x", None),
            ("other.example.org", "/exact/1", Some(3)),
            ("", "/any", Some(0)),
            ("", "/x", None),
            ("[2001:DB8::1]:80", "/x", Some(4)),
        ],
    );
}

#[test]
fn hosts_match_without_case_port_and_trailing_dot_however_many_there_are() {
    for count in [1, 99, 101, 10_000] {
        let mut rules: Vec<_> =
            (0..count).map(|n| rule(&[], &[&format!("host{n}.example.com")], "/")).collect();
        rules.push(rule(&[], &["shop.example.com"], "/"));
        let table = table(&rules);
        for host in [
            "shop.example.com",
            "SHOP.Example.COM",
            "shop.example.com.",
            "shop.example.com:8080",
            "Shop.example.com.:80",
        ] {
            assert_eq!(found(&table, 3, host, "/x"), Some(count), "{host} among {count}");
        }
        assert_eq!(found(&table, 0, "shop.example.co", "/"), None);
        assert_eq!(found(&table, 0, "shop.example.com..", "/"), None);
    }
}

#[test]
fn a_route_for_the_listener_goes_before_one_for_all() {
    let table = table(&[
        rule(&[], &[], "/"),
        rule(&[1, 2], &[], "/"),
        rule(&[2], &[], "/two"),
        rule(&[0], &["h"], "/"),
    ]);
    for (listener, host, path, expected) in [
        (0, "x", "/", Some(0)),
        (1, "x", "/", Some(1)),
        (2, "x", "/", Some(1)),
        (2, "x", "/two/x", Some(2)),
        (1, "x", "/two/x", Some(1)),
        (0, "h", "/", Some(3)),
        (1, "h", "/", Some(1)),
        (usize::MAX, "h", "/", Some(0)),
    ] {
        assert_eq!(found(&table, listener, host, path), expected, "{listener} {host} {path}");
    }
}

#[test]
fn two_rules_for_the_same_requests_are_an_error() {
    let duplicate = |rules: &[Rule]| match build(rules) {
        Err(RouteError::Duplicate { first, second, .. }) => Some((first, second)),
        _ => None,
    };
    assert_eq!(duplicate(&[rule(&[], &["a"], "/x"), rule(&[], &["b", "A."], "/x/")]), Some((0, 1)));
    assert_eq!(duplicate(&[rule(&[], &[], "/"), rule(&[], &[], "/")]), Some((0, 1)));
    assert_eq!(
        duplicate(&[rule(&[1], &[], "/"), rule(&[0], &[], "/"), rule(&[2, 1], &[], "/")]),
        Some((0, 2))
    );
    assert_eq!(duplicate(&[rule(&[1, 1], &[], "/"), rule(&[], &[], "/"), rule(&[], &["*.a"], "/")]), None);
}

#[test]
fn hosts_and_prefixes_of_a_configuration_are_checked() {
    for host in ["", "*", "*.", "*.*.a", "a.*", "a:80", "a b", "http://a", "a/b", "*.[::1]", "a,b", "*a.b"] {
        assert!(
            matches!(build(&[rule(&[], &[host], "/")]), Err(RouteError::InvalidHost { rule: 0, .. })),
            "{host:?}"
        );
    }
    for prefix in [
        "", "a", "*", "/a//b", "/a/../b", "/a;b", "/%61", "/a?b", "/a#b", "/a%2Fb", "/a%2fb", "/\u{e4}",
        "/a b",
    ] {
        let built = build(&[rule(&[], &[], prefix)]);
        assert!(matches!(built, Err(RouteError::InvalidPath { rule: 0, .. })), "{prefix:?}");
    }
}

/// Spellings of `/admin` that have got past other proxies' rules (CVE-2019-9901, CVE-2021-29492, CVE-2021-32779).
const SPELLINGS: &[&str] = &[
    "/admin",
    "/admin/",
    "/admin/x",
    "//admin",
    "///admin",
    "//admin//",
    "/./admin",
    "/admin/.",
    "/admin/./",
    "/.//admin",
    "/x/../admin",
    "/x/y/../../admin",
    "/x/..//admin",
    "/admin/../admin",
    "/../admin",
    "/..//admin",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%61%64%6D%69%6E",
    "/adm%69n",
    "/admin%2f",
    "/admin%2Fx",
    "/%2fadmin",
    "/%2Fadmin",
    "/x%2f..%2fadmin",
    "/x/%2e%2e/admin",
    "/x/%2E%2E/admin",
    "/x/.%2e/admin",
    "/x/%2e./admin",
    "/%2e/admin",
    "/x/..%2fadmin",
    "/x%2f../admin",
    "/x/%2e%2e%2fadmin",
    "/\\admin",
    "\\admin",
    "/x\\..\\admin",
    "/x/..\\admin",
    "/%5cadmin",
    "/x%5c..%5cadmin",
    "/admin%5c",
    "/admin;",
    "/admin;x",
    "/admin;x=y/",
    "/admin;x/y",
    "/;/admin",
    "/;x=y/admin",
    "/x/..;/admin",
    "/x/..;a=b/admin",
    "/x/.;/../admin",
    "/admin%3b",
    "/admin%3Bx=y",
    "/x/..%3b/admin",
    "/%252e%252e/admin",
    "/x/%252e%252e%252fadmin",
    "/%2561dmin",
    "/admin%00",
    "/admin%00.png",
    "/admin%0d%0a",
    "/admin%09",
    "/%c0%afadmin",
    "/x/%c0%ae%c0%ae/admin",
    "/%e0%80%afadmin",
    "/admin#.png",
    "/admin?x",
    "/admin%23",
    "/admin%3f",
    "/%u0061dmin",
    "/x/%%32e%%32e/admin",
    "/admin ",
    "/admin%20",
    "/admin.",
    "/x/%2e%2e;/admin",
];

/// What an origin may make of a path: encodings undone (twice), backslashes turned, parameters cut, dots resolved.
fn as_a_lenient_origin_reads(path: &str) -> Vec<String> {
    let mut segments: Vec<String> = Vec::new();
    let mut text = path.as_bytes().to_vec();
    for _ in 0..2 {
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let digits = text.get(at + 1..at + 3).and_then(|d| std::str::from_utf8(d).ok());
            match digits.and_then(|d| u8::from_str_radix(d, 16).ok()).filter(|_| text[at] == b'%') {
                Some(byte) => {
                    decoded.push(byte);
                    at += 3;
                }
                None => {
                    decoded.push(text[at]);
                    at += 1;
                }
            }
        }
        text = decoded;
    }
    let text = String::from_utf8_lossy(&text).replace('\\', "/");
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name.to_owned()),
        }
    }
    segments
}

#[test]
fn no_spelling_of_a_prefix_gets_past_it() {
    assert!(SPELLINGS.len() >= 60);
    let table = table(&[rule(&[], &[], "/"), rule(&[], &[], "/admin")]);
    let mut out = Vec::new();
    for spelling in SPELLINGS {
        let sent = match check_or_normalise(spelling.as_bytes(), PathRules::default(), &mut out) {
            Err(_) => continue,
            Ok(PathVerdict::Unchanged) => spelling.as_bytes(),
            Ok(PathVerdict::Normalised) => out.as_slice(),
        };
        let matched = found(&table, 0, "a", &String::from_utf8_lossy(sent));
        let sent = String::from_utf8_lossy(sent);
        let read = as_a_lenient_origin_reads(&sent);
        if read.first().is_some_and(|segment| segment == "admin") {
            assert_eq!(matched, Some(1), "{spelling} was sent as {sent} past the rule for /admin");
        }
    }
}

#[test]
fn parameters_and_kept_slashes_do_not_hide_a_segment() {
    let table = table(&[rule(&[], &[], "/"), rule(&[], &[], "/admin"), rule(&[], &[], "/admin/x")]);
    check(
        &table,
        &[
            ("h", "/admin;a=b", Some(1)),
            ("h", "/admin%3Ba", Some(1)),
            ("h", "/admin;a/x;b", Some(2)),
            ("h", "/admin%2Fx", Some(2)),
            ("h", "/admin%20", Some(0)),
            ("h", "/admi;n", Some(0)),
        ],
    );
}

/// Ids of hosts are consecutive: a hash that puts them side by side makes every search long (and building quadratic).
#[test]
fn many_hosts_make_no_long_runs_of_slots() {
    let rules: Vec<Rule> =
        (0..10_000).map(|number| rule(&[], &[&format!("h{number}.example")], "/")).collect();
    let table = table(&rules);
    for slots in [&table.hosts.slots, &table.node_slots] {
        let longest = slots.ids.split(|id| *id == 0).map(<[u32]>::len).max();
        assert!(longest.is_some_and(|longest| longest < 100), "{longest:?} used slots in a row");
    }
}
