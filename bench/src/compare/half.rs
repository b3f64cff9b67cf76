//! The `half` workload: latency where a proxy should be run, at half of what the slowest of them can do.
//!
//! First each proxy's highest rate is found in closed loop, in the same run, because it is another one on another day. Then all
//! are asked at one rate: only at the same rate do latencies compare.

use std::io;

use super::Workload;
use super::measure::{Bench, Run};
use super::peers::Peer;
use super::table::median;

/// Rates and latencies of one run.
pub(super) struct Half {
    pub(super) rate: f64,
    /// Highest rates, in the order in which the proxies were started.
    pub(super) saturations: Vec<(Peer, f64)>,
    pub(super) runs: Vec<Run>,
}

/// Rounds that find the highest rates: half of one need not be exact.
const SATURATION_ROUNDS_MAX: u32 = 3;

impl Bench<'_> {
    /// Measures at half of the slowest of `named`, or of all that run.
    pub(super) fn half(&mut self, named: &[Peer], rounds: u32) -> io::Result<Half> {
        let found =
            self.each_round(Workload::Half, rounds.min(SATURATION_ROUNDS_MAX), |bench, position| {
                bench.measure(position, Workload::Small, None)
            })?;
        let mut saturations: Vec<(Peer, f64)> = Vec::new();
        for Run { peer, .. } in &found {
            if saturations.iter().all(|(other, _)| other != peer) {
                saturations.push((*peer, saturation(&found, *peer)));
            }
        }
        let counted = saturations.iter().filter(|(peer, _)| named.is_empty() || named.contains(peer));
        let slowest = counted.map(|(_, rate)| *rate).min_by(f64::total_cmp);
        let slowest = slowest.ok_or_else(|| io::Error::other("--half-of: none of these proxies runs"))?;
        let rate = (slowest / 2.0).round().max(1.0);
        let runs = self.each_round(Workload::Half, rounds, |bench, position| {
            bench.measure(position, Workload::Half, Some(rate))
        })?;
        Ok(Half { rate, saturations, runs })
    }
}

fn saturation(runs: &[Run], peer: Peer) -> f64 {
    let own = runs.iter().filter(|run| run.peer == peer);
    let mut rates: Vec<f64> = own.map(|run| run.report.requests_per_second).collect();
    rates.sort_by(f64::total_cmp);
    median(&rates)
}
