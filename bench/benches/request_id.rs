//! `policies/src/request_id.rs`: one id for each request.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_policies::request_id::uuid_v7;

fn ids(c: &mut Criterion) {
    c.bench_function("request_id", |b| {
        b.iter(|| uuid_v7(black_box(0x017f_22e2_79b0), black_box(0x1234_5678_9abc_def0_1234_5678_9abc_def0)));
    });
}

criterion_group!(benches, ids);
criterion_main!(benches);
