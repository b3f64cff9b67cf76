//! The ring, or the simulated kernel in its place (feature `sim`).

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::{IoUring, squeue};

use super::ring::{self, BATCH, Completion};
use crate::io::sim;

#[expect(clippy::large_enum_variant, reason = "one value per worker, and the small variant is for tests")]
pub(super) enum Ring {
    Kernel(ring::Ring),
    Simulated,
}

impl Ring {
    pub(super) fn new(entries: u32) -> io::Result<Ring> {
        if sim::with(|_| ()).is_some() {
            return Ok(Ring::Simulated);
        }
        ring::Ring::new(entries).map(Ring::Kernel)
    }

    pub(super) fn fd(&self) -> RawFd {
        match self {
            Ring::Kernel(ring) => ring.fd(),
            Ring::Simulated => -1,
        }
    }

    /// # Panics
    /// In a simulation: there is nothing to ask a kernel for.
    pub(super) fn with<R>(&self, f: impl FnOnce(&IoUring) -> R) -> R {
        match self {
            Ring::Kernel(ring) => ring.with(f),
            Ring::Simulated => panic!("the simulated kernel offers what the driver uses and nothing more"),
        }
    }

    pub(super) fn optional_missing(&self) -> Vec<&'static str> {
        match self {
            Ring::Kernel(ring) => ring.optional_missing(),
            Ring::Simulated => Vec::new(),
        }
    }

    /// See [`ring::Ring::register_buffers`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn register_buffers(&self, entries: u64, len: u16, group: u16) -> io::Result<()> {
        match self {
            // SAFETY: the caller's promise.
            Ring::Kernel(ring) => unsafe { ring.register_buffers(entries, len, group) },
            Ring::Simulated => {
                sim::with(|kernel| kernel.register_buffers(entries, len));
                Ok(())
            }
        }
    }

    pub(super) fn sq_full(&self) -> u64 {
        match self {
            Ring::Kernel(ring) => ring.sq_full(),
            Ring::Simulated => 0,
        }
    }

    /// See [`ring::Ring::push`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn push(&self, entry: &squeue::Entry) {
        match self {
            // SAFETY: the caller's promise.
            Ring::Kernel(ring) => unsafe { ring.push(entry) },
            Ring::Simulated => {
                // SAFETY: an entry is a `struct io_uring_sqe` of 64 initialised bytes without padding.
                let sqe = unsafe { std::mem::transmute_copy::<squeue::Entry, [u8; 64]>(entry) };
                sim::with(|kernel| kernel.push(sqe));
            }
        }
    }

    pub(super) fn has_recv_limit(&self) -> bool {
        match self {
            Ring::Kernel(ring) => ring.has_recv_limit(),
            Ring::Simulated => false,
        }
    }

    pub(super) fn enter_and_wait(&self, timeout: Option<Duration>, wait_nr: u32, min_wait_usec: u32) -> bool {
        match self {
            Ring::Kernel(ring) => ring.enter_and_wait(timeout, wait_nr, min_wait_usec),
            Ring::Simulated => {
                sim::with(|kernel| kernel.enter(timeout));
                false
            }
        }
    }

    pub(super) fn reap(&self, batch: &mut [Completion; BATCH]) -> usize {
        if let Ring::Kernel(ring) = self {
            return ring.reap(batch);
        }
        let mut n = 0;
        while n < BATCH
            && let Some(cqe) = sim::with(|kernel| kernel.reap()).flatten()
        {
            batch[n] = Completion { user_data: cqe.user_data, result: cqe.result, flags: cqe.flags };
            n += 1;
        }
        n
    }
}
