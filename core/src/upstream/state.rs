//! What all workers know of a cluster.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// State of one cluster over all workers and configurations.
#[derive(Default)]
pub struct ClusterShared {
    /// Rises whenever another set of endpoints may come into question, so that workers look again.
    changes: AtomicU32,
}

impl ClusterShared {
    /// An endpoint's health changed.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Relaxed);
    }

    pub(super) fn changes(&self) -> u32 {
        self.changes.load(Relaxed)
    }
}
