use super::*;
use crate::path::{PathRules, PathVerdict, check_or_normalise};

struct Rule {
    listeners: Vec<usize>,
    hosts: Vec<String>,
    prefix: String,
}

fn rule(listeners: &[usize], hosts: &[&str], prefix: &str) -> Rule {
    Rule {
        listeners: listeners.to_vec(),
        hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        prefix: prefix.to_owned(),
    }
}

fn build(rules: &[Rule]) -> Result<RouteTable, RouteError> {
    let rules: Vec<_> = rules
        .iter()
        .map(|r| RouteRule { listeners: &r.listeners, hosts: &r.hosts, path_prefix: &r.prefix })
        .collect();
    RouteTable::build(&rules)
}

fn table(rules: &[Rule]) -> RouteTable {
    build(rules).unwrap_or_else(|error| panic!("{error}"))
}

fn check(table: &RouteTable, cases: &[(&str, &str, Option<usize>)]) {
    for (host, path, expected) in cases {
        assert_eq!(table.find(0, host.as_bytes(), path.as_bytes()), *expected, "{host} {path}");
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
            assert_eq!(table.find(3, host.as_bytes(), b"/x"), Some(count), "{host} among {count}");
        }
        assert_eq!(table.find(0, b"shop.example.co", b"/"), None);
        assert_eq!(table.find(0, b"shop.example.com..", b"/"), None);
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
        (usize::MAX, "h", "/", None),
    ] {
        assert_eq!(
            table.find(listener, host.as_bytes(), path.as_bytes()),
            expected,
            "{listener} {host} {path}"
        );
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
        assert!(matches!(built, Err(RouteError::InvalidPrefix { rule: 0, .. })), "{prefix:?}");
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
        let matched = table.find(0, b"a", sent);
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

#[test]
fn the_table_agrees_with_a_linear_search() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let hosts = ["", "a.b", "*.b", "*.a.b", "c.a.b", "b", "*.c"];
    let prefixes = ["/", "/x", "/x/y", "/x/y/z", "/y", "/xy", "/x/yz"];
    for round in 0..300 {
        let mut rules: Vec<Rule> = Vec::new();
        for _ in 0..random(20) {
            let host = hosts[random(hosts.len())];
            let host: Vec<&str> = if host.is_empty() { vec![] } else { vec![host] };
            let new = rule(&[], &host, prefixes[random(prefixes.len())]);
            if !rules.iter().any(|r| r.hosts == new.hosts && r.prefix == new.prefix) {
                rules.push(new);
            }
        }
        let table = table(&rules);
        for host in ["a.b", "c.a.b", "d.c.a.b", "b", "x.b", "x.c", "zz"] {
            for path in ["/", "/x", "/x/", "/x/y/z/w", "/x/yz", "/xyz", "/y/x", "/q"] {
                let found = table.find(0, host.as_bytes(), path.as_bytes());
                assert_eq!(found, linear(&rules, host, path), "round {round}: {host} {path}");
            }
        }
    }
}

fn linear(rules: &[Rule], host: &str, path: &str) -> Option<usize> {
    let host_rank = |rule: &Rule| match rule.hosts.first() {
        None => Some(0),
        Some(name) if name == host => Some(1000),
        Some(name) => {
            let suffix = name.strip_prefix('*')?;
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len())
        }
    };
    let path_rank = |rule: &Rule| {
        let prefix = rule.prefix.trim_end_matches('/');
        let rest = path.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
    };
    rules
        .iter()
        .enumerate()
        .filter_map(|(index, rule)| Some(((host_rank(rule)?, path_rank(rule)?), index)))
        .max()
        .map(|(_, index)| index)
}

/// Ids of hosts are consecutive: a hash that puts them side by side makes every search long (and building quadratic).
#[test]
fn many_hosts_make_no_long_runs_of_slots() {
    let rules: Vec<Rule> =
        (0..10_000).map(|number| rule(&[], &[&format!("h{number}.example")], "/")).collect();
    let table = table(&rules);
    for slots in [&table.host_slots, &table.prefix_slots] {
        let longest = slots.ids.split(|id| *id == 0).map(<[u32]>::len).max();
        assert!(longest.is_some_and(|longest| longest < 100), "{longest:?} used slots in a row");
    }
}
