//! A simulated kernel: sockets in memory, a virtual clock, and faults, all from one seed.
//!
//! It takes the place of the kernel *under* the io_uring driver: the driver, the executor, the slots and everything above
//! run unchanged. Submission entries are executed here, completions are posted late, in pieces and out of order across
//! streams, buffers come out of the provided-buffer ring that the driver fills, and memory that entries point to is
//! read when the bytes are taken and not before, as a kernel would.
//!
//! A socket is named by a descriptor like anywhere else: a *token*, an unconnected UNIX socket that is never used but
//! as a name. So ownership of descriptors is real, and a leaked one is found at the end of a run.
//!
//! **Invariant:** nothing here reads a clock, an address or a hash order. Time stands still while anything can run, and
//! then jumps to the next event.
//!
//! Built with the feature `sim` only, which `ringway-tests` switches on.

mod events;
mod kernel;
mod network;
mod operations;
mod rng;
mod socket;
mod syscalls;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub use rng::Rng;
pub(super) use syscalls::*;

use super::{Address, Driver, RuntimeConfig};
pub(super) use kernel::with;
use kernel::{Installed, Kernel};

/// How often things go wrong, each in cases of 1000.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A send that takes only a part of what it was given.
    pub short_sends: u32,
    /// Arriving bytes that are delivered in pieces.
    pub splits: u32,
    /// Connections that are reset after a random number of bytes.
    pub resets: u32,
    /// Segments that take seconds.
    pub stalls: u32,
    /// Completions that are posted late; those of other operations overtake them.
    pub late_completions: u32,
    /// Cancellations that take effect late: the operation goes on meanwhile.
    pub late_cancels: u32,
    /// Receives that find no buffer although there are some.
    pub no_buffers: u32,
    /// Multishot operations that end by themselves.
    pub ended_multishots: u32,
    /// Connects that are refused.
    pub refused_connects: u32,
    /// Connects that are never answered.
    pub silent_connects: u32,
    /// Accepts that fail: descriptors ran out, or the connection was gone.
    pub failed_accepts: u32,
    /// Connections with socket buffers of a few hundred bytes.
    pub small_windows: u32,
}

/// What a run is made of.
#[derive(Clone, Debug, Default)]
pub struct SimConfig {
    pub seed: u64,
    pub faults: Faults,
    /// Prints what happens on the network.
    pub verbose: bool,
}

/// What is left of a run, and what happened in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A digest of every completion with its time: equal for two runs of one seed.
    pub trace: u64,
    /// Virtual time that passed.
    pub elapsed: Duration,
    /// Completions posted.
    pub completions: u64,
    /// Faults injected.
    pub faults: u64,
    /// Sockets that somebody still holds a descriptor of.
    pub open_descriptors: usize,
    /// Operations that nobody ended.
    pub open_operations: usize,
}

/// Runs `main` on this thread on a simulated kernel.
///
/// # Errors
/// Those of [`super::run`].
///
/// # Panics
/// When nothing can happen any more and `main` still waits, or when the loop turns without end at one moment.
pub fn run<F: Future>(sim: &SimConfig, runtime: &RuntimeConfig, main: F) -> io::Result<(F::Output, Report)> {
    let installed = Installed::new(Kernel::new(sim.clone()));
    let runtime = RuntimeConfig { driver: Driver::Uring, cpu: None, ..runtime.clone() };
    let output = super::run(&runtime, main)?;
    Ok((output, installed.finish()))
}

/// A listening socket in the simulated network. Several may share an address: each connection goes to one of them.
///
/// # Errors
/// When no descriptor is to be had.
///
/// # Panics
/// Outside of a simulation.
pub fn listen(address: &Address) -> io::Result<OwnedFd> {
    with(|kernel| kernel.listen(address)).expect("listen is called within sim::run")
}

/// Virtual time, when the calling thread is in a simulation.
pub(super) fn now() -> Option<Instant> {
    with(|kernel| kernel.instant())
}
