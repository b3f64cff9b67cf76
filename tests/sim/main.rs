//! The data path on a simulated kernel: model clients, the real workers, model origins, in one thread and in virtual
//! time. One seed is one run. See docs/testing.md, "Simulation".
//!
//! `RINGWAY_SIM_SEED=7` runs one seed, `RINGWAY_SIM_SEEDS=5000` the first so many (300 by default),
//! `RINGWAY_SIM_FIRST=300` starts there.

#![allow(unreachable_pub, reason = "a test binary exports nothing; `pub` says what a module is for")]

mod client;
mod origin;
mod peer;
mod plan;
mod runtime;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringway_core::io::sim::Report;

const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed of the data path.
fn run(seed: u64) -> Result<Report, Vec<String>> {
    caught(|| world::run(seed))
}

/// The same, where a panic is one of the things that did not hold.
fn caught<T>(f: impl FnOnce() -> Result<T, Vec<String>>) -> Result<T, Vec<String>> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(vec![text.to_owned()])
    })
}

/// Runs the seeds that were asked for, or `seeds` of them.
fn run_all<T: std::fmt::Debug>(seeds: u64, test: &str, run: impl Fn(u64) -> Result<T, Vec<String>>) {
    let (first, count) = match number("RINGWAY_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (number("RINGWAY_SIM_FIRST").unwrap_or(0), number("RINGWAY_SIM_SEEDS").unwrap_or(seeds)),
    };
    let mut failed = 0;
    for seed in first..first + count {
        match caught(|| run(seed)) {
            Ok(report) if count == 1 => eprintln!("{report:?}"),
            Ok(_) => {}
            Err(violations) => {
                failed += 1;
                eprintln!("seed {seed}:");
                violations.iter().for_each(|violation| eprintln!("    {violation}"));
                eprintln!("    again: RINGWAY_SIM_SEED={seed} cargo test -p ringway-tests --test sim {test}");
            }
        }
    }
    assert_eq!(failed, 0, "seeds that failed, of {count} from {first}");
}

#[test]
fn every_exchange_keeps_its_promises() {
    run_all(SEEDS, "every_exchange", world::run);
}

#[test]
fn the_runtime_loses_nothing() {
    run_all(SEEDS / 3, "the_runtime", runtime::run);
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 14, 159] {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
