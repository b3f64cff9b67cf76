//! `policies/src/forwarded.rs`: the forwarding fields of each request.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_bench::samples;
use ringway_policies::forwarded::{ForwardedStyle, Hop, render};
use ringway_protocols::http1::parse_request;
use ringway_protocols::message::RequestHead;

fn fields(c: &mut Criterion) {
    let mut group = c.benchmark_group("forwarded");
    let bytes = samples::request_behind_a_proxy();
    let mut head = RequestHead::default();
    parse_request(&bytes, &samples::LIMITS, &mut head).expect("the sample is a request");
    let mut out = Vec::with_capacity(1024);
    for (name, style, peer, trusted) in [
        ("x_forwarded_v4", ForwardedStyle::XForwarded, "192.0.2.17", false),
        ("x_forwarded_v6", ForwardedStyle::XForwarded, "2001:db8::17", false),
        ("x_forwarded_trusted", ForwardedStyle::XForwarded, "192.0.2.17", true),
        ("forwarded_v4", ForwardedStyle::Forwarded, "192.0.2.17", false),
    ] {
        let peer: IpAddr = peer.parse().expect("the sample is an address");
        let hop = Hop { peer: Some(peer), trusted, scheme: "http", host: b"shop.example.com" };
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                render(&mut out, style, black_box(&hop), &head, &bytes);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fields);
criterion_main!(benches);
