//! `policies/src/balance.rs`: one pick for each attempt.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_policies::balance::{Balance, EndpointState, Turn, pick};

fn picks(c: &mut Criterion) {
    let mut group = c.benchmark_group("balance");
    for count in [2, 16, 256] {
        let states: Vec<EndpointState> =
            (0..count).map(|n| EndpointState { usable: n % 7 != 3, active: (n % 5) as u32 }).collect();
        for (name, balance) in [
            ("round_robin", Balance::RoundRobin),
            ("least_request", Balance::LeastRequest),
            ("random", Balance::Random),
        ] {
            let (mut turn, mut random) = (Turn::default(), 1u64);
            group.bench_function(format!("{name}_of_{count}"), |b| {
                b.iter(|| {
                    // Knuth's MMIX generator: the dice cost next to nothing.
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    pick(balance, &mut turn, black_box(random), count, |n| states[n])
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, picks);
criterion_main!(benches);
