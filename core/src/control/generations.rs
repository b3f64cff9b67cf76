//! Generations of the configuration: which is current, which are still in use, what the last reload came to.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use super::command::Generation;

/// All generations that still live.
pub(super) struct Generations {
    current: RefCell<Arc<Generation>>,
    old: RefCell<Vec<(u64, Weak<Generation>)>>,
    last_reload: RefCell<Option<LastReload>>,
}

/// What the last reload came to.
#[derive(Debug, Clone)]
pub(super) struct LastReload {
    pub(super) at: SystemTime,
    /// What took effect and what did not, or why nothing did.
    pub(super) result: Result<String, String>,
}

impl Generations {
    pub(super) fn new(first: Arc<Generation>) -> Generations {
        Generations { current: RefCell::new(first), old: RefCell::default(), last_reload: RefCell::default() }
    }

    pub(super) fn current(&self) -> Arc<Generation> {
        self.current.borrow().clone()
    }

    /// Makes `next` the current generation.
    pub(super) fn replace(&self, next: Arc<Generation>) {
        let before = self.current.replace(next);
        let mut old = self.old.borrow_mut();
        old.retain(|(_, generation)| generation.strong_count() > 0);
        old.push((before.config.generation, Arc::downgrade(&before)));
    }

    /// Numbers of the old generations that are still in use, oldest first. Those that differ from the current one in
    /// found endpoints only are none.
    pub(super) fn old(&self) -> Vec<u64> {
        let current = self.current.borrow().config.generation;
        let old = self.old.borrow();
        let living = old.iter().filter(|(number, it)| *number != current && it.strong_count() > 0);
        let mut numbers: Vec<u64> = living.map(|(number, _)| *number).collect();
        numbers.dedup();
        numbers
    }

    /// Everything of before that is still in use, revisions of one generation counted each.
    pub(super) fn living(&self) -> usize {
        self.old.borrow().iter().filter(|(_, generation)| generation.strong_count() > 0).count()
    }

    pub(super) fn set_last_reload(&self, result: Result<String, String>) {
        *self.last_reload.borrow_mut() = Some(LastReload { at: SystemTime::now(), result });
    }

    pub(super) fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.borrow().clone()
    }
}
