//! The numbers of a connection, by whose it is.

use std::sync::Arc;

use ringway_protocols::http2::Role;

use crate::stats::{Counter, Gauge, WorkerStats};

/// Where one connection counts. While it lives it is counted as open.
pub(super) struct Counts {
    stats: Arc<WorkerStats>,
    role: Role,
}

macro_rules! counts {
    ($($name:ident: $kind:ty;)*) => {
        impl Counts {
            $(#[inline]
            pub(super) fn $name(&self) -> &$kind {
                match self.role {
                    Role::Server => &self.stats.http2.$name,
                    Role::Client => &self.stats.upstream_http2.$name,
                }
            })*
        }
    };
}

counts! {
    connections: Counter;
    connections_open: Gauge;
    streams: Counter;
    streams_open: Gauge;
    resets_in: Counter;
    resets_out: Counter;
    goaways_in: Counter;
    goaways_out: Counter;
    errors: Counter;
}

impl Counts {
    pub(super) fn new(stats: &Arc<WorkerStats>, role: Role) -> Counts {
        let counts = Counts { stats: Arc::clone(stats), role };
        counts.connections().increment();
        counts.connections_open().increment();
        counts
    }

    pub(super) fn malformed(&self) {
        self.stats.http2.malformed.increment();
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        self.connections_open().decrement();
    }
}
