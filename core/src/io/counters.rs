//! What the runtime counts about itself.

use std::cell::Cell;

use super::runtime::Runtime;

/// A count that one thread writes and reads.
#[derive(Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    #[inline]
    pub(super) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    #[inline]
    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(super) $name: Count,)*
        }

        /// Counts since the runtime's start, and a few levels of this moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CountersSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Tasks that live now.
            pub tasks: u64,
            /// Streams that live now, closing ones included.
            pub streams: u64,
            /// Receive buffers that chunks refer to now.
            pub buffers_in_use: u64,
            /// The most there ever were.
            pub buffers_in_use_peak: u64,
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.0.get(),)* ..CountersSnapshot::default() }
            }
        }
    };
}

counters! {
    /// Turns of the loop: entries into the kernel to wait, mostly.
    turns,
    /// Completions (io_uring) or readiness events (epoll) handled.
    completions,
    /// Receives that found no buffer offered and were armed again.
    enobufs,
    /// Turns that found the completion queue overflown; nothing is lost by it.
    cq_overflows,
    /// Entries into the kernel in mid-turn because the submission queue was full.
    sq_full,
    /// Tasks that panicked.
    panics,
    /// Streams that were reset because the worker's buffers had run out.
    memory_resets,
    /// Receives stopped because a stream held all that it may.
    recv_pauses,
    /// Errors of accept, connections that were closed for want of a descriptor included.
    accept_errors,
    /// Connections closed at once because no descriptor was left.
    accept_refused,
    /// Messages that a full mailbox refused; counted where they were sent.
    mailbox_full,
    /// Bytes that went from socket to socket without entering user space.
    spliced_bytes,
}

/// This worker's counts.
///
/// # Panics
/// Outside of a runtime.
pub fn counters() -> CountersSnapshot {
    Runtime::with(Runtime::snapshot)
}
