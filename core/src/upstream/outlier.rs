//! How endpoints answer: what balancers learn from it, and which endpoints are ejected.
//!
//! The counts are those of all workers together; an ejection is seen by each of them at its next pick.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ringway_policies::balance::Balance;
use ringway_policies::outlier::{Outlier, OutlierRules, Sample, is_gateway_error};

use super::{Cluster, Endpoint};
use crate::io as rt;
use crate::log_info;
use crate::worker::Worker;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A response with this status.
    Status(u16),
    /// No response: not reached, cut, too late, or not to be understood.
    Nothing,
}

impl Cluster {
    /// Takes in how an endpoint answered, and after how long.
    pub fn observe(&self, worker: &Worker, endpoint: &Rc<Endpoint>, answer: Answer, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let failed = matches!(answer, Answer::Nothing | Answer::Status(500..));
        if self.config.spread.balance == Balance::Ewma {
            let decay = self.config.spread.ewma_decay;
            // A failure may come quickly: it counts as an answer that took all the time there is to forget it.
            let nanos = if failed { nanos.max(decay.as_nanos() as u64) } else { nanos };
            let mut ewma = endpoint.ewma.get();
            ewma.observe(worker.shared.nanos(rt::now()), nanos, decay.as_nanos() as u64);
            endpoint.ewma.set(ewma);
        }
        let Some(rules) = &self.config.outlier else { return };
        let state = &endpoint.shared.outlier;
        if rules.compares() {
            state.add(failed, nanos);
        }
        if !failed {
            // Without a write where nothing changes: the counts are shared by all workers.
            for count in [&state.in_a_row_5xx, &state.in_a_row_gateway] {
                if count.load(Relaxed) != 0 {
                    count.store(0, Relaxed);
                }
            }
            return;
        }
        let is_gateway = match answer {
            Answer::Status(status) => is_gateway_error(status),
            Answer::Nothing => true,
        };
        let in_a_row = state.in_a_row_5xx.fetch_add(1, Relaxed).saturating_add(1);
        let gateway = if is_gateway {
            state.in_a_row_gateway.fetch_add(1, Relaxed).saturating_add(1)
        } else {
            state.in_a_row_gateway.store(0, Relaxed);
            0
        };
        if let Some(why) = rules.after_failure(in_a_row, gateway) {
            self.eject(worker, rules, endpoint, why);
        }
    }

    /// Compares the endpoints with each other once in an interval. One worker does, for all.
    pub fn compare_endpoints(&self, worker: &Worker, now: Instant) {
        let Some(rules) = self.config.outlier.as_ref().filter(|rules| rules.compares()) else { return };
        let now_ms = worker.shared.millis(now);
        let compared_at = &self.shared.compared_at;
        if now_ms.saturating_sub(compared_at.load(Relaxed)) < rules.interval.as_millis() as u64 {
            return;
        }
        compared_at.store(now_ms, Relaxed);
        let samples = self.endpoints.iter().map(|endpoint| endpoint.shared.outlier.take_sample());
        let samples: Vec<Sample> = samples.collect();
        for (index, why) in rules.compare(&samples) {
            if let Some(endpoint) = self.endpoints.get(index) {
                self.eject(worker, rules, endpoint, why);
            }
        }
    }

    /// Ejects an endpoint, if not too many are ejected already.
    fn eject(&self, worker: &Worker, rules: &OutlierRules, endpoint: &Rc<Endpoint>, why: Outlier) {
        let _turn = self.shared.ejecting();
        let now_ms = worker.shared.millis(rt::now());
        let state = &endpoint.shared.outlier;
        let ejected = |endpoint: &Rc<Endpoint>| endpoint.shared.ejected_until(now_ms).is_some();
        let count = self.endpoints.iter().filter(|endpoint| ejected(endpoint)).count();
        if ejected(endpoint) || !rules.may_eject(count, self.endpoints.len()) {
            return;
        }
        let calm = Duration::from_millis(now_ms.saturating_sub(state.ejected_until.load(Relaxed)));
        let times = rules.times(state.times.load(Relaxed), calm);
        let duration = rules.duration(times);
        let until = now_ms + duration.as_millis() as u64;
        state.times.store(times, Relaxed);
        state.in_a_row_5xx.store(0, Relaxed);
        state.in_a_row_gateway.store(0, Relaxed);
        state.ejected_until.store(until, Relaxed);
        // It comes back slowly, where the cluster says so.
        endpoint.shared.since.store(until, Relaxed);
        self.shared.changed();
        worker.stats.pool.ejections.increment();
        log_info!(
            "endpoint {} of {} is ejected why={} for_ms={} times={times}",
            endpoint.name,
            self.config.name,
            why.name(),
            duration.as_millis()
        );
    }
}
