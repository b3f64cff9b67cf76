//! `concurrency_limit`: so many requests at a time, exactly over all workers; some more wait for their turn.
//!
//! The policy only says what has to be waited for. A slot belongs to the exchange that took it, and is given back when that ends,
//! however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::policy::{Configure, Hooks, RequestContext, Scope, Verdict};

pub const HELP: &str =
    "Lets so many requests be under way at a time, exactly over all workers; some more wait.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "limit",
        kind: Kind::Count { min: 1, max: 10_000_000 },
        need: Need::Required,
        help: "Requests at a time, from here to the end of their responses.",
    },
    Field {
        name: "queue",
        kind: Kind::Count { min: 0, max: 65_536 },
        need: Need::Default("0"),
        help: "Requests that may wait for others to end, in the order in which they came. More are answered with 503.",
    },
    Field {
        name: "queue_timeout",
        kind: Kind::Duration { min: Duration::from_millis(1), max: Duration::from_secs(3_600) },
        need: Need::Default("1s"),
        help: "The longest time that a request waits before it is answered with 503.",
    },
];

#[derive(Debug)]
pub struct ConcurrencyLimitConfig {
    limit: u64,
    queue: u64,
    queue_timeout: Duration,
    slots: Arc<Slots>,
}

/// What is under way and what waits: shared by workers and by generations of the configuration.
#[derive(Debug, Default)]
pub struct Slots {
    in_use: AtomicU64,
    waiting: AtomicU64,
}

impl Slots {
    /// Takes a slot where one is free.
    pub fn try_take(&self, limit: u64) -> bool {
        self.in_use.fetch_update(SeqCst, SeqCst, |in_use| (in_use < limit).then_some(in_use + 1)).is_ok()
    }

    /// Gives a slot back. `true`: somebody waits for it.
    #[must_use = "who waits has to be told"]
    pub fn give_back(&self) -> bool {
        self.in_use.fetch_sub(1, SeqCst);
        self.is_waited_for()
    }

    /// Begins to wait, where there is room for one more.
    pub fn try_wait(&self, queue: u64) -> bool {
        self.waiting.fetch_update(SeqCst, SeqCst, |waiting| (waiting < queue).then_some(waiting + 1)).is_ok()
    }

    /// Ends a wait.
    pub fn stop_waiting(&self) {
        self.waiting.fetch_sub(1, SeqCst);
    }

    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    pub fn in_use(&self) -> u64 {
        self.in_use.load(SeqCst)
    }
}

/// A slot that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub slots: Arc<Slots>,
    pub limit: u64,
    pub queue: u64,
    pub timeout: Duration,
}

impl Configure for ConcurrencyLimitConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        Ok(ConcurrencyLimitConfig {
            limit: values.number("limit"),
            queue: values.number("queue"),
            queue_timeout: values.duration("queue_timeout"),
            slots: Arc::default(),
        })
    }

    /// What is under way counts on, whatever the limit is now.
    fn adopt(&mut self, old: &Self) {
        self.slots = Arc::clone(&old.slots);
    }
}

pub struct ConcurrencyLimit(Arc<ConcurrencyLimitConfig>);

impl ConcurrencyLimit {
    pub fn new(config: &Arc<ConcurrencyLimitConfig>) -> Self {
        ConcurrencyLimit(Arc::clone(config))
    }
}

impl Hooks for ConcurrencyLimit {
    fn on_request(&self, _: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.0;
        Verdict::Wait(Wanted {
            slots: Arc::clone(&config.slots),
            limit: config.limit,
            queue: config.queue,
            timeout: config.queue_timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_places_are_bounded() {
        let slots = Slots::default();
        assert!(slots.try_take(2) && slots.try_take(2));
        assert!(!slots.try_take(2));
        assert!(slots.try_wait(1));
        assert!(!slots.try_wait(1));
        assert!(slots.give_back(), "somebody waits");
        slots.stop_waiting();
        assert!(!slots.give_back());
        assert_eq!(slots.in_use(), 0);
    }

    #[test]
    fn threads_together_hold_no_more_than_the_limit() {
        let (slots, most) = (Slots::default(), AtomicU64::new(0));
        let held = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if slots.try_take(3) {
                            most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                            held.fetch_sub(1, SeqCst);
                            let _ = slots.give_back();
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(slots.in_use(), 0);
    }

    #[test]
    fn what_is_under_way_counts_on_under_another_limit() {
        let build = |limit| {
            let mut values = Values::default();
            values.insert("limit", crate::fields::Value::Number(limit));
            let scope = Scope { level: crate::policy::Level::Global, name: "" };
            ConcurrencyLimitConfig::build(&values, scope).expect("a configuration")
        };
        let (old, mut new) = (build(2), build(1));
        assert!(old.slots.try_take(2) && old.slots.try_take(2));
        new.adopt(&old);
        assert!(!new.slots.try_take(1));
        let _ = old.slots.give_back();
        assert!(!new.slots.try_take(1), "one is under way");
        let _ = old.slots.give_back();
        assert!(new.slots.try_take(1));
    }
}
