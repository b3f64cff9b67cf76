//! What all workers know of a cluster and its endpoints: health, ejections, and the counts that circuit breakers draw from.
//!
//! It outlives reloads that keep the names.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringway_policies::outlier::Sample;

use crate::config::BreakerLimits;
use crate::error::Reason;

/// State of one cluster over all workers and configurations.
#[derive(Default)]
pub struct ClusterShared {
    /// Rises whenever another set of endpoints may come into question, so that workers look again.
    changes: AtomicU32,
    /// Connections, waiting requests, requests and retries under way, where they are limited.
    in_use: [Arc<AtomicU32>; 4],
    /// When endpoints were last compared with each other.
    pub(super) compared_at: AtomicU64,
    /// Held while it is decided whether one more endpoint is ejected.
    ejecting: Mutex<()>,
}

/// What a circuit breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    Connections,
    Pending,
    Requests,
    Retries,
}

impl Breaker {
    fn max(self, limits: &BreakerLimits) -> u32 {
        match self {
            Breaker::Connections => limits.connections_max,
            Breaker::Pending => limits.pending_max,
            Breaker::Requests => limits.requests_max,
            Breaker::Retries => limits.retries_max,
        }
    }

    fn reason(self) -> Reason {
        match self {
            Breaker::Connections => Reason::BreakerConnections,
            Breaker::Pending => Reason::BreakerPending,
            Breaker::Requests | Breaker::Retries => Reason::BreakerRequests,
        }
    }
}

/// One of what a circuit breaker counts; given back when dropped. Holds nothing where there is no limit.
#[derive(Default)]
pub struct BreakerPermit(Option<Arc<AtomicU32>>);

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_sub(1, Relaxed);
        }
    }
}

impl ClusterShared {
    /// An endpoint's health changed.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Relaxed);
    }

    pub(super) fn changes(&self) -> u32 {
        self.changes.load(Relaxed)
    }

    /// Takes one of what a breaker counts. There are never more than the limit, whatever the number of workers.
    ///
    /// # Errors
    /// The breaker's reason where all are taken.
    pub fn take(&self, breaker: Breaker, limits: &BreakerLimits) -> Result<BreakerPermit, Reason> {
        match breaker.max(limits) {
            0 => Ok(BreakerPermit(None)),
            max if take(self.count(breaker), max) => Ok(BreakerPermit(Some(Arc::clone(self.count(breaker))))),
            _ => Err(breaker.reason()),
        }
    }

    /// How many are taken.
    pub fn in_use(&self, breaker: Breaker) -> u32 {
        self.count(breaker).load(Relaxed)
    }

    fn count(&self, breaker: Breaker) -> &Arc<AtomicU32> {
        &self.in_use[breaker as usize]
    }

    /// Ejections are rare: a lock that only they take keeps their share exact.
    pub(super) fn ejecting(&self) -> MutexGuard<'_, ()> {
        self.ejecting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one more unless there are `max`.
fn take(count: &AtomicU32, max: u32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |taken| (taken < max).then_some(taken + 1)).is_ok()
}

/// State of one endpoint over all workers and configurations.
pub struct EndpointShared {
    /// Open connections, busy and idle.
    pub connections: AtomicU32,
    /// Idle connections over all workers.
    pub idle: AtomicU32,
    /// Idle connections of each worker, so that a borrower knows whom to ask.
    pub idle_by_worker: Box<[AtomicU32]>,
    /// Requests under way, where they are limited.
    requests: AtomicU32,
    /// What health checks found, where the cluster has some.
    pub healthy: AtomicBool,
    /// When it came into use, or was taken back into use, in [`Shared::millis`](crate::shared::Shared::millis).
    pub since: AtomicU64,
    pub(super) outlier: OutlierState,
}

/// How an endpoint has answered.
#[derive(Default)]
pub(super) struct OutlierState {
    pub(super) in_a_row_5xx: AtomicU32,
    pub(super) in_a_row_gateway: AtomicU32,
    requests: AtomicU32,
    failures: AtomicU32,
    nanos: AtomicU64,
    /// Until when it is ejected, in milliseconds; 0 is never.
    pub(super) ejected_until: AtomicU64,
    /// How often in a row it was ejected.
    pub(super) times: AtomicU32,
}

impl OutlierState {
    pub(super) fn add(&self, failed: bool, nanos: u64) {
        self.requests.fetch_add(1, Relaxed);
        self.failures.fetch_add(u32::from(failed), Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// What was added since this was last asked.
    pub(super) fn take_sample(&self) -> Sample {
        Sample {
            requests: u64::from(self.requests.swap(0, Relaxed)),
            failures: u64::from(self.failures.swap(0, Relaxed)),
            nanos: self.nanos.swap(0, Relaxed),
        }
    }
}

impl EndpointShared {
    pub fn new(workers: usize, now_ms: u64) -> Self {
        EndpointShared {
            connections: AtomicU32::new(0),
            idle: AtomicU32::new(0),
            idle_by_worker: (0..workers).map(|_| AtomicU32::new(0)).collect(),
            requests: AtomicU32::new(0),
            healthy: AtomicBool::new(true),
            since: AtomicU64::new(now_ms),
            outlier: OutlierState::default(),
        }
    }

    /// Until when it is ejected, if it is.
    pub fn ejected_until(&self, now_ms: u64) -> Option<u64> {
        Some(self.outlier.ejected_until.load(Relaxed)).filter(|until| *until > now_ms)
    }

    /// Whether one more request fits.
    pub(super) fn has_room(&self, max: u32) -> bool {
        max == 0 || self.requests.load(Relaxed) < max
    }

    /// Takes room for a request; `None` where there is none.
    pub(super) fn take_room(self: &Arc<Self>, max: u32) -> Option<RoomPermit> {
        match max {
            0 => Some(RoomPermit(None)),
            max => take(&self.requests, max).then(|| RoomPermit(Some(Arc::clone(self)))),
        }
    }
}

/// Room for one request at an endpoint; given back when dropped.
#[derive(Default)]
pub(super) struct RoomPermit(Option<Arc<EndpointShared>>);

impl Drop for RoomPermit {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.requests.fetch_sub(1, Relaxed);
        }
    }
}

/// Counts a retry for as long as it is under way.
pub struct RetryPermit(#[expect(dead_code, reason = "held for its drop")] pub(super) BreakerPermit);

/// What a request holds while an endpoint works on it. Small, because each exchange has one: without limits it is nothing.
#[derive(Default)]
pub struct Held(#[expect(dead_code, reason = "held for its drop")] Option<Box<(BreakerPermit, RoomPermit)>>);

impl Held {
    pub(super) fn new(request: BreakerPermit, room: RoomPermit) -> Held {
        let nothing = request.0.is_none() && room.0.is_none();
        Held((!nothing).then(|| Box::new((request, room))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn limits(max: u32) -> BreakerLimits {
        BreakerLimits {
            connections_max: max,
            pending_max: max,
            requests_max: max,
            retries_max: max,
            endpoint_requests_max: max,
        }
    }

    #[test]
    fn a_breaker_gives_out_as_many_as_its_limit_whoever_asks() {
        let shared = Arc::new(ClusterShared::default());
        let limits = limits(7);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let permit = shared.take(Breaker::Requests, &limits);
                        if shared.in_use(Breaker::Requests) > 7 {
                            over.store(true, Relaxed);
                        }
                        drop(permit);
                    }
                });
            }
        });
        assert!(!over.load(Relaxed), "more than the limit");
        assert_eq!(shared.in_use(Breaker::Requests), 0, "all are given back");
        let taken: Vec<_> = (0..7).map(|_| shared.take(Breaker::Requests, &limits)).collect();
        assert!(taken.iter().all(Result::is_ok));
        assert_eq!(shared.take(Breaker::Requests, &limits).err(), Some(Reason::BreakerRequests));
        assert!(shared.take(Breaker::Connections, &limits).is_ok(), "each has its own count");
        drop(taken);
        assert!(shared.take(Breaker::Requests, &limits).is_ok());
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let shared = Arc::new(ClusterShared::default());
        let _permit = shared.take(Breaker::Requests, &limits(0));
        assert_eq!(shared.in_use(Breaker::Requests), 0);
    }

    #[test]
    fn an_endpoint_takes_no_more_requests_than_it_has_room_for() {
        let shared = Arc::new(EndpointShared::new(1, 1));
        let first = shared.take_room(1);
        assert!(first.is_some() && !shared.has_room(1) && shared.take_room(1).is_none());
        drop(first);
        assert!(shared.has_room(1));
    }
}
