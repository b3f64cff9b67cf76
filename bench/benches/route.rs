//! `policies/src/route.rs`: routing must cost the same with 50 and with 5,000 routes (target: 200 ns).

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_policies::route::{RouteRule, RouteTable};

struct Rules {
    hosts: Vec<Vec<String>>,
    prefixes: Vec<String>,
}

impl Rules {
    /// Ten prefixes on each host, one host in ten a wildcard.
    fn new(count: usize) -> Rules {
        let host = |n: usize| {
            let star = if (n / 10).is_multiple_of(10) { "*." } else { "" };
            vec![format!("{star}shop{}.example.com", n / 10)]
        };
        let prefix = |n: usize| format!("/api/v{}/orders", n % 10);
        Rules { hosts: (0..count).map(host).collect(), prefixes: (0..count).map(prefix).collect() }
    }

    fn table(&self) -> RouteTable {
        let rules = self.hosts.iter().zip(&self.prefixes);
        let rules: Vec<RouteRule<'_>> =
            rules.map(|(hosts, path_prefix)| RouteRule { listeners: &[], hosts, path_prefix }).collect();
        RouteTable::build(&rules).expect("the rules differ")
    }
}

fn find(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for count in [1, 50, 500, 5000] {
        let table = Rules::new(count).table();
        let exact = format!("shop{}.example.com:8080", (count / 10).saturating_sub(1));
        let cases: [(&str, &str, &str); 4] = [
            ("exact_host", &exact, "/api/v7/orders/12345/items"),
            ("wildcard_host", "eu.shop0.example.com", "/api/v0/orders/12345/items"),
            ("no_host", "unknown.example.org", "/api/v7/orders"),
            ("no_path", &exact, "/a/path/that/no/route/has/and/that/is/rather/long"),
        ];
        for (name, host, path) in cases {
            group.bench_function(format!("{count}_routes_{name}"), |b| {
                b.iter(|| table.find(0, black_box(host.as_bytes()), black_box(path.as_bytes())));
            });
        }
    }
    group.finish();
}

fn build(c: &mut Criterion) {
    let rules = Rules::new(5000);
    c.bench_function("route_build_5000", |b| b.iter(|| black_box(&rules).table()));
}

criterion_group!(benches, find, build);
criterion_main!(benches);
