//! `protocols/src/http1/response.rs`: response heads.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway_bench::samples;
use ringway_protocols::http1::parse_response;
use ringway_protocols::message::{Method, ResponseHead};

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("http1_response");
    for (name, bytes) in samples::responses() {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut head = ResponseHead::default();
        group.bench_function(name, |b| {
            b.iter(|| parse_response(black_box(&bytes), &samples::LIMITS, Method::Get, &mut head));
        });
    }
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
