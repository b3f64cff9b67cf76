//! One line for each exchange, formatted on the worker, written by a thread of its own.
//!
//! A worker formats into a buffer of its own and hands it to the writer when it is full or has waited long enough.
//! **Invariant:** a worker never waits for the log. Lines that the writer cannot take are dropped and counted.

mod clock;
pub mod date;
mod escape;
mod format;
mod number;
mod target;
mod writer;

pub use format::{FIELD_BYTES_MAX, Format, VARIABLES};
pub use writer::LogWriter;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::outcome::Outcome;
use crate::stats::counter::group;
use crate::stats::{Labels, WorkerStats};
use clock::Clock;
use writer::{Batch, Shared};

/// A buffer of at least this size goes to the writer.
pub const BATCH_BYTES: usize = 32 * 1024;
/// Buffers that may wait for the writer, over all workers: what is beyond is dropped.
pub const BATCHES_MAX: usize = 128;
/// A line waits no longer than this in its worker, give or take the worker's tick.
pub const LINE_AGE_MAX: Duration = Duration::from_millis(150);

group! {
    /// What the writer thread counts.
    pub struct LogStats {
        lines: Counter "access_log_lines" "Access log lines written";
        bytes: Counter "access_log_written_bytes" "Access log bytes written";
        errors: Counter "access_log_write_errors" "Failures to open or write the access log; it is tried again";
        reopened: Counter "access_log_reopened" "Times the access log file was opened again";
        blocked: Gauge "access_log_blocked" "1 while the target of the access log takes nothing";
        lost: Counter "access_log_lost_lines" "Access log lines that the writer gave up at the end of the process";
    }
}

/// The access log of one worker.
pub struct AccessLog {
    stats: Arc<WorkerStats>,
    on: Option<On>,
}

struct On {
    format: Arc<Format>,
    shared: Arc<Shared>,
    clock: Clock,
    batch: Batch,
    /// When the oldest line of the batch was added.
    since: Instant,
}

impl AccessLog {
    /// A log that is switched off: it does nothing.
    pub fn off(stats: Arc<WorkerStats>) -> AccessLog {
        AccessLog { stats, on: None }
    }

    fn on(stats: Arc<WorkerStats>, format: Arc<Format>, shared: Arc<Shared>) -> AccessLog {
        let batch = shared.empty_batch();
        let on = On { format, shared, clock: Clock::default(), batch, since: Instant::now() };
        AccessLog { stats, on: Some(on) }
    }

    /// Adds the line of one finished exchange to the worker's buffer. `labels` are those of the configuration that
    /// the exchange ran under.
    #[inline]
    pub fn on_exchange(&mut self, labels: &Labels, outcome: &Outcome<'_>) {
        let Some(on) = &mut self.on else { return };
        if on.batch.lines == 0 {
            on.since = outcome.phases.ended;
        }
        on.format.push_line(&mut on.batch.bytes, &mut on.clock, labels, outcome);
        on.batch.lines += 1;
        if on.batch.bytes.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands the buffer to the writer when its oldest line has waited for long enough; for the worker's tick
    /// (every 100 ms or so).
    #[inline]
    pub fn flush_if_old(&mut self, now: Instant) {
        if let Some(on) = &self.on
            && on.batch.lines > 0
            && now.saturating_duration_since(on.since) >= LINE_AGE_MAX
        {
            self.flush();
        }
    }

    /// Hands over what there is: also at the end of a worker, where dropping does it.
    pub fn flush(&mut self) {
        let Some(on) = &mut self.on else { return };
        if on.batch.lines == 0 {
            return;
        }
        let full = std::mem::replace(&mut on.batch, on.shared.empty_batch());
        if let Err(refused) = on.shared.push(full) {
            self.stats.exchanges.access_log_dropped.add(refused.lines);
            // The refused buffer serves again: no allocation while the target is stuck.
            on.batch = refused.emptied();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
