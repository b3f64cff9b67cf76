//! The data path on a simulated kernel: model clients, the real workers, model origins, in one thread and in virtual
//! time. One seed is one run. See docs/testing.md, "Simulation".
//!
//! `RINGWAY_SIM_SEED=7` runs one seed, `RINGWAY_SIM_SEEDS=5000` the first so many (300 by default),
//! `RINGWAY_SIM_FIRST=300` starts there.

mod client;
mod origin;
mod peer;
mod plan;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed; everything that did not hold, a panic included.
fn run(seed: u64) -> Result<ringway_core::io::sim::Report, Vec<String>> {
    catch_unwind(AssertUnwindSafe(|| world::run(seed))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(vec![text.to_owned()])
    })
}

#[test]
fn every_exchange_keeps_its_promises() {
    let (first, count) = match number("RINGWAY_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (number("RINGWAY_SIM_FIRST").unwrap_or(0), number("RINGWAY_SIM_SEEDS").unwrap_or(SEEDS)),
    };
    let mut failed = 0;
    for seed in first..first + count {
        match run(seed) {
            Ok(report) if count == 1 => eprintln!("{report:?}"),
            Ok(_) => {}
            Err(violations) => {
                failed += 1;
                eprintln!("seed {seed}:");
                violations.iter().for_each(|violation| eprintln!("    {violation}"));
                eprintln!(
                    "    again: RINGWAY_SIM_SEED={seed} cargo test -p ringway-tests --test sim -- --nocapture"
                );
            }
        }
    }
    assert_eq!(failed, 0, "seeds that failed, of {count} from {first}");
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 14, 159] {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
