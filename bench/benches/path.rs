//! `policies/src/path.rs`: the check that nearly every path passes at once, and the normalisation of the others.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_policies::path::{PathRules, check_or_normalise};

fn paths(c: &mut Criterion) {
    let mut group = c.benchmark_group("path");
    let mut out = Vec::new();
    for (name, path) in [
        ("root", "/"),
        ("plain", "/api/v7/orders/12345/items"),
        ("encoded", "/caf%C3%A9/men%75"),
        ("dot_segments", "/api/v7/../v8/./orders"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| check_or_normalise(black_box(path.as_bytes()), PathRules::default(), &mut out));
        });
    }
    group.finish();
}

criterion_group!(benches, paths);
criterion_main!(benches);
