//! The control thread: signals, reloads, names, the admin listener.
//!
//! Everything that may block or wait for the outside world and is not a request runs here, on one tokio thread; the
//! workers are told by [`Command`]s and never asked for anything.

mod admin;
mod certificates;
pub mod command;
mod discovery;
mod follow;
mod generations;
mod identities;
mod lifecycle;
mod names;
mod notify;
mod outbox;
mod policy_files;
mod reload;
mod watch;

pub use watch::Tried;

pub use command::{Command, Event, Events, Generation, Resolved, SendCommand, WorkerGuard, channel};

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::access_log::LogWriter;
use crate::config::Config;
use crate::log_error;
use crate::stats::Stats;

/// Loads the configuration again for a reload; the error is for a person (file, line, expected, found).
pub type Load = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// Listening sockets of one reload: for each worker, pairs of an index into `Config::listeners` and its socket.
pub type Sockets = Vec<Vec<(usize, OwnedFd)>>;

/// Binds the listeners that are in the second configuration and not in the first: all of them or none. The error
/// names the address.
pub type Bind = Arc<dyn Fn(&Config, &Config) -> Result<Sockets, String> + Send + Sync>;

/// What the control thread works with.
pub struct Setup {
    /// What the workers started with.
    pub generation: Arc<Generation>,
    pub stats: Arc<Stats>,
    /// Mailbox of each worker, by index.
    pub mailboxes: Vec<SendCommand>,
    /// From [`channel`].
    pub events: mpsc::Receiver<Event>,
    /// `None` where there is no file to load again: a reload is refused and says so.
    pub load: Option<Load>,
    /// What `load` reads, or tried to read the last time.
    pub tried: Tried,
    pub bind: Bind,
    /// The writer of the access log, if there is one: told to reopen its file, and flushed at the end.
    pub log: Option<LogWriter>,
}

/// Runs the control thread on the calling thread until the process is to end; returns its exit status.
///
/// Fails (with a message on stderr) when an admin address cannot be bound. Must be called once.
pub fn run(setup: Setup) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log_error!("the control thread cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = tokio::task::LocalSet::new().block_on(&runtime, lifecycle::run(setup));
    // A load that hangs on a dead file system must not keep the process.
    runtime.shutdown_background();
    match exit {
        Ok(lifecycle::Exit::Success) => ExitCode::SUCCESS,
        Ok(lifecycle::Exit::Failure) => ExitCode::FAILURE,
        Err(message) => {
            log_error!("{message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
