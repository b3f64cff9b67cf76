//! `policies/src/balance/`: one pick for each attempt.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_policies::balance::hash::HashTable;
use ringway_policies::balance::{Balance, Candidate, EndpointState, Plan, Question, Turns, pick};

const BALANCES: [(&str, Balance); 6] = [
    ("round_robin", Balance::RoundRobin),
    ("least_request", Balance::LeastRequest),
    ("ewma", Balance::Ewma),
    ("random", Balance::Random),
    ("ring_hash", Balance::RingHash),
    ("maglev", Balance::Maglev),
];

fn candidates(count: usize, weight: impl Fn(usize) -> u32) -> Vec<Candidate> {
    let one = |at| Candidate {
        reachable: true,
        healthy: at % 7 != 3,
        weight: weight(at),
        warmth: 1.0,
        priority: 0,
        near: true,
    };
    (0..count).map(one).collect()
}

fn picks(c: &mut Criterion) {
    let mut group = c.benchmark_group("balance");
    for count in [2, 16, 256] {
        for (name, balance) in BALANCES {
            measure(&mut group, &format!("{name}_of_{count}"), balance, &candidates(count, |_| 1));
        }
        let uneven = candidates(count, |at| at as u32 % 3 + 1);
        measure(&mut group, &format!("weighted_round_robin_of_{count}"), Balance::RoundRobin, &uneven);
    }
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn measure(group: &mut Group<'_>, name: &str, balance: Balance, candidates: &[Candidate]) {
    let names: Vec<String> = (0..candidates.len()).map(|n| format!("10.0.0.{n}:80")).collect();
    let endpoints: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let table = HashTable::build(balance, &endpoints, 16_384);
    let plan = Plan::build(candidates, 50);
    let (mut turns, mut random) = (Turns::default(), 1u64);
    group.bench_function(name, |b| {
        b.iter(|| {
            // Knuth's MMIX generator: the dice cost next to nothing.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let question = Question { random: black_box(random), key: Some(random), pinned: None };
            let state = |at| EndpointState { usable: true, active: at as u32 % 5, cost: at as u64 };
            pick(balance, &plan, table.as_ref(), &mut turns, question, state)
        });
    });
}

criterion_group!(benches, picks);
criterion_main!(benches);
