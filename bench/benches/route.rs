//! `policies/src/route.rs`: routing must cost the same with 50 and with 5,000 routes (target: 200 ns), whatever they
//! ask for besides host and path.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_policies::route::{
    FieldMatch, PathMatch, RouteMatch, RouteRequest, RouteRule, RouteTable, Template, ValueMatch,
};
use ringway_protocols::http1::{HeadLimits, parse_request};
use ringway_protocols::message::RequestHead;

struct Rules {
    hosts: Vec<Vec<String>>,
    matches: Vec<Vec<Arc<RouteMatch>>>,
}

impl Rules {
    /// Ten paths on each host, one host in ten a wildcard.
    fn new(count: usize, wanted: impl Fn(usize) -> RouteMatch) -> Rules {
        let host = |n: usize| {
            let star = if (n / 10).is_multiple_of(10) { "*." } else { "" };
            vec![format!("{star}shop{}.example.com", n / 10)]
        };
        Rules {
            hosts: (0..count).map(host).collect(),
            matches: (0..count).map(|n| vec![Arc::new(wanted(n))]).collect(),
        }
    }

    fn table(&self) -> RouteTable {
        let rules = self.hosts.iter().zip(&self.matches);
        let rules: Vec<RouteRule<'_>> =
            rules.map(|(hosts, matches)| RouteRule { listeners: &[], hosts, matches }).collect();
        RouteTable::build(&rules).expect("the rules differ")
    }
}

/// All of the same path, told apart by a header; the last is the one that is asked for.
fn tenants(count: usize) -> Rules {
    let wanted = |n: usize| {
        let value = if n + 1 == count { "blue".to_owned() } else { format!("tenant-{n}") };
        let tenant = FieldMatch { name: "x-tenant".to_owned(), value: ValueMatch::Exact(value) };
        vec![Arc::new(RouteMatch { headers: vec![tenant], ..RouteMatch::prefix("/api") })]
    };
    Rules { hosts: vec![Vec::new(); count], matches: (0..count).map(wanted).collect() }
}

/// What the route of that number matches.
type Matching = fn(usize) -> RouteMatch;

fn prefix(n: usize) -> RouteMatch {
    RouteMatch::prefix(&format!("/api/v{}/orders", n % 10))
}

fn exact(n: usize) -> RouteMatch {
    RouteMatch {
        path: PathMatch::Exact(format!("/api/v{}/orders/12345/items", n % 10)),
        ..RouteMatch::default()
    }
}

fn template(n: usize) -> RouteMatch {
    let template = Template::parse(&format!("/api/v{}/orders/{{order}}/items", n % 10)).expect("a template");
    RouteMatch { path: PathMatch::Template(template), ..RouteMatch::default() }
}

fn conditions(n: usize) -> RouteMatch {
    let is = |name: &str, value: &str| FieldMatch {
        name: name.to_owned(),
        value: ValueMatch::Exact(value.to_owned()),
    };
    RouteMatch {
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        headers: vec![is("x-tenant", "blue")],
        query: vec![is("page", "2")],
        cookies: vec![is("canary", "always")],
        ..prefix(n)
    }
}

const HEAD: &[u8] = b"GET /api/v7/orders/12345/items?sort=up&page=2 HTTP/1.1\r\nHost: shop.example.com\r\n\
    User-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nX-Tenant: blue\r\n\
    Cookie: session=0123456789abcdef; canary=always\r\n\r\n";

fn find(c: &mut Criterion) {
    let mut head = RequestHead::default();
    let limits = HeadLimits { bytes_max: 65_536, fields_max: 100, target_bytes_max: 8_192 };
    parse_request(HEAD, &limits, &mut head).expect("a whole head");
    let request = |host: &'static str, path: &'static str| RouteRequest {
        listener: 0,
        host: host.as_bytes(),
        path: path.as_bytes(),
        head: &head,
        bytes: HEAD,
        client: None,
        unix_secs: 0,
        random: 0,
    };
    let mut group = c.benchmark_group("route");
    for count in [1, 50, 500, 5000] {
        let host: &'static str =
            Box::leak(format!("shop{}.example.com:8080", (count / 10).max(2) - 1).into_boxed_str());
        let items = "/api/v7/orders/12345/items";
        let table = Rules::new(count, prefix).table();
        let cases: [(&str, &'static str, &'static str); 4] = [
            ("exact_host", host, items),
            ("wildcard_host", "eu.shop0.example.com", "/api/v0/orders/12345/items"),
            ("no_host", "unknown.example.org", "/api/v7/orders"),
            ("no_path", host, "/a/path/that/no/route/has/and/that/is/rather/long"),
        ];
        for (name, host, path) in cases {
            let request = request(host, path);
            group.bench_function(format!("{count}_routes_{name}"), |b| {
                b.iter(|| table.find(black_box(&request)))
            });
        }
        let kinds: [(&str, Matching); 3] =
            [("exact_path", exact), ("template", template), ("conditions", conditions)];
        for (name, wanted) in kinds {
            let table = Rules::new(count, wanted).table();
            let request = request(host, items);
            // With one route there is none for this host.
            assert_eq!(table.find(&request).is_some(), count > 1, "{name} among {count}");
            group.bench_function(format!("{count}_routes_{name}"), |b| {
                b.iter(|| table.find(black_box(&request)))
            });
        }
        let table = tenants(count).table();
        let request = request(host, items);
        assert_eq!(table.find(&request).map(|found| found.rule), Some(count - 1));
        group.bench_function(format!("{count}_routes_of_one_path"), |b| {
            b.iter(|| table.find(black_box(&request)))
        });
    }
    group.finish();
}

fn build(c: &mut Criterion) {
    let rules = Rules::new(5000, prefix);
    c.bench_function("route_build_5000", |b| b.iter(|| black_box(&rules).table()));
}

criterion_group!(benches, find, build);
criterion_main!(benches);
