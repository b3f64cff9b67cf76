//! The policies of an ordinary route, as an exchange asks them: what they cost of a request by themselves.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_core::config::{Config, ConfigSource};
use ringway_policies::captures::Captures;
use ringway_policies::changes::{RequestChanges, ResponseChanges};
use ringway_policies::policy::{Policy, RequestContext, Verdict};
use ringway_protocols::http1::{HeadLimits, parse_request};
use ringway_protocols::message::RequestHead;

const REQUEST: &[u8] =
    b"GET /checkout HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nX-Api-Key: 0123456789abcdef\r\nX-Tenant: a\r\n\r\n";

/// The policies of a route, from a file as an operator writes it.
fn policies(lists: &str) -> Vec<Policy> {
    let path = std::env::temp_dir().join(format!("ringway-bench-everyday-{}.yaml", std::process::id()));
    let yaml = format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\nclusters: [{{ name: a, endpoints: [\"127.0.0.1:1\"] }}]\n\
         routes: [{{ name: all, to: a, policies: [{lists}] }}]\n"
    );
    std::fs::write(&path, yaml).expect("a file");
    let config = Config::load(&ConfigSource::file(&path));
    let _ = std::fs::remove_file(&path);
    let config = config.unwrap_or_else(|errors| panic!("{}", errors[0]));
    config.routes[0].policies.iter().map(|policy| policy.instance()).collect()
}

fn ask(
    policies: &[Policy],
    head: &RequestHead,
    captures: &Captures,
    now: u64,
) -> (RequestChanges, ResponseChanges) {
    let (mut changes, mut response) = (RequestChanges::default(), ResponseChanges::default());
    let mut consumer = None;
    for policy in policies {
        let verdict = policy.on_request(&mut RequestContext {
            head,
            bytes: REQUEST,
            path: b"/checkout",
            client: Some(std::net::Ipv4Addr::LOCALHOST.into()),
            listener: "web",
            route: "all",
            captures,
            now,
            unix_secs: 0,
            random: 0,
            secure: false,
            certificate: None,
            request_id: b"",
            consumer: &mut consumer,
            changes: &mut changes,
            response: &mut response,
        });
        assert!(matches!(verdict, Verdict::Continue));
    }
    (changes, response)
}

fn everyday(c: &mut Criterion) {
    let limits = HeadLimits { bytes_max: 16_384, fields_max: 100, target_bytes_max: 8_192 };
    let mut head = RequestHead::default();
    parse_request(REQUEST, &limits, &mut head).expect("a request");
    let captures = Captures::default();
    let mut group = c.benchmark_group("everyday");
    let limit = "rate_limit: { limit: 1000000000/s";
    let edits = "{ request_headers: { set: { x-gateway: ringway }, remove: [x-debug] } }";
    for (name, lists) in [
        ("nothing", String::new()),
        ("rate_limit", format!("{{ {limit}, headers: none }} }}")),
        ("rate_limit_told", format!("{{ {limit} }} }}")),
        (
            "rate_limit_by_header",
            format!("{{ {limit}, key: [client_ip, \"header:x-tenant\"], headers: none }} }}"),
        ),
        ("request_headers", edits.to_owned()),
        ("together", format!("{{ {limit} }} }}, {edits}")),
    ] {
        let policies = policies(&lists);
        let mut now = 1_000_000_000;
        group.bench_function(name, |b| {
            b.iter(|| {
                now += 1_000;
                ask(black_box(&policies), &head, &captures, now)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, everyday);
criterion_main!(benches);
