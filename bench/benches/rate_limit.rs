//! `policies/src/rate_limit.rs`: one draw for each request.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_policies::fields::Rate;
use ringway_policies::rate_limit::{Allowance, PARTS, Table};

/// Spreads keys over the table as the hash of a key does.
fn hash(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn allowance(requests: u64) -> Allowance {
    Allowance::new(Rate { requests, period: Duration::from_secs(1) }, requests).expect("an allowance")
}

fn draws(c: &mut Criterion) {
    const KEYS: u64 = 60_000;
    let mut group = c.benchmark_group("rate_limit");
    let (generous, tight) = (allowance(1_000_000_000), allowance(1));
    let mut now = 1_000_000_000 * PARTS;

    let table = Table::new(65_536);
    group.bench_function("one_key", |b| {
        b.iter(|| {
            now += 100 * PARTS;
            table.draw(black_box(hash(7)), now, generous)
        });
    });
    group.bench_function("one_key_refused", |b| b.iter(|| table.draw(black_box(hash(8)), now, tight)));

    let mut key = 0;
    group.bench_function("of_60000_keys", |b| {
        b.iter(|| {
            now += 100 * PARTS;
            key = (key + 7_919) % KEYS;
            table.draw(black_box(hash(key)), now, generous)
        });
    });
    // Each key is new, and takes the place of one whose bucket has filled.
    group.bench_function("new_keys", |b| {
        b.iter(|| {
            now += 100_000 * PARTS;
            key += 1;
            table.draw(black_box(hash(key)), now, generous)
        });
    });
    group.finish();
}

/// Another thread draws from the same key all the time.
fn contended(c: &mut Criterion) {
    let table = Table::new(65_536);
    let (clock, stop) = (AtomicU64::new(1_000_000_000), AtomicBool::new(false));
    let allowance = allowance(1_000_000_000);
    let draw = || {
        let now = clock.load(Ordering::Relaxed) * PARTS;
        table.draw(black_box(hash(7)), now, allowance)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                black_box(draw());
                clock.fetch_add(1_000, Ordering::Relaxed);
            }
        });
        c.bench_function("rate_limit/one_key_of_two_threads", |b| b.iter(draw));
        stop.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, draws, contended);
criterion_main!(benches);
