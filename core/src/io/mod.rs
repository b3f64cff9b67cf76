//! The runtime: one event loop per worker, `!Send` tasks, timers, sockets and buffers.
//!
//! One face, several drivers, chosen when the runtime starts: io_uring, or epoll where that is not to be had. The face has
//! plain signatures; nothing above this module knows which driver runs.
//!
//! What it is deliberately not: a general-purpose runtime. There is no work stealing, no file I/O, no datagrams.
//!
//! **Invariant:** memory that the kernel may write to or read from belongs to the runtime's tables until the operation's
//! last completion, so dropping any future, stream or task at any time is sound.

pub mod address;
mod chunk;
mod counters;
mod driver;
mod epoll;
mod error;
mod executor;
#[cfg(any(feature = "monoio", feature = "glommio"))]
mod guest;
mod listener;
pub mod mailbox;
mod parts;
mod pool;
mod probe;
mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
mod slab;
mod slot;
mod socket;
mod splice;
mod stream;
#[cfg(test)]
mod tests;
mod timer;
mod uring;
mod waker;

pub use address::Address;
pub use chunk::Chunk;
pub use counters::{CountersSnapshot, counters};
pub use driver::{Driver, moves_descriptors};
pub use error::is_memory_reset;
pub use executor::{TaskId, abort, spawn};
pub use listener::Listener;
pub use parts::{PARTS_MAX, Part, Parts, give_vec, take_vec};
pub use probe::{Probe, choose, probe};
pub use runtime::{next_turn, run, turn};
pub use socket::{bind, socket_address};
pub use splice::{SpliceError, splice_body};
pub use stream::{NotIdle, Stream, wake_receivers};
pub use timer::{Elapsed, Timer, now, sleep_until, timeout_at};

use crate::config::BufferConfig;

/// What a runtime is built with.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    pub driver: Driver,
    /// The CPU that the thread is bound to.
    pub cpu: Option<usize>,
    /// Submission entries of the ring; the completion queue has four times as many.
    pub ring_entries: u32,
    pub buffers: BufferConfig,
    /// Completions that one turn waits for, as long as `min_wait_usec` has not passed. 1 is no batching.
    pub wait_nr: u32,
    pub min_wait_usec: u32,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig {
            driver: Driver::Uring,
            cpu: None,
            ring_entries: 1024,
            buffers: BufferConfig {
                buffer_bytes: 32 * 1024,
                ring_buffers: 64,
                worker_bytes_max: 256 << 20,
                connection_bytes_max: 128 * 1024,
            },
            wait_nr: 1,
            min_wait_usec: 0,
        }
    }
}

/// What one stream, one task (its future excepted) and one timer take up in the runtime's tables.
#[cfg(test)]
fn table_bytes() -> (usize, usize, usize) {
    (slab::entry_bytes::<slot::Slot>(), executor::task_bytes(), timer::timer_bytes())
}
