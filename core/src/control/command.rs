//! What the control thread tells the workers, and what they tell it.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use crate::config::Config;
use crate::stats::{Labels, Stats};

/// Control thread → worker.
#[derive(Debug)]
pub enum Command {
    /// Use this configuration for what comes next; running exchanges keep theirs.
    Configure {
        generation: Arc<Generation>,
        /// Sockets of listeners that are new in this generation: index into `Config::listeners`, and the worker's own
        /// listening socket. Listeners that are in both generations keep their sockets.
        sockets: Vec<(usize, OwnedFd)>,
    },
    /// The addresses of a name changed.
    Resolved(Resolved),
    /// Stop accepting, let exchanges finish, end the worker when none is left or at the deadline.
    Drain { deadline: Instant },
    /// End the worker at once.
    StopNow,
}

/// One generation of the configuration as the workers get it.
///
/// Whoever runs under a generation holds its `Arc`; the control thread counts the generations that still live and
/// refuses a reload when there are too many.
#[derive(Debug)]
pub struct Generation {
    pub config: Arc<Config>,
    pub labels: Arc<Labels>,
    /// What is known of the names of this configuration; a name may be missing. Later news come by
    /// [`Command::Resolved`].
    pub resolved: Vec<Resolved>,
    /// Workers that have it in use.
    pub taken: Taken,
}

/// Counts the workers that have put a generation into use.
#[derive(Debug, Default)]
pub struct Taken {
    workers: AtomicUsize,
    more: Notify,
}

impl Taken {
    /// To be called once by each worker.
    pub fn add(&self) {
        self.workers.fetch_add(1, Ordering::AcqRel);
        self.more.notify_waiters();
    }

    /// Waits until so many workers have it.
    pub async fn by(&self, workers: usize) {
        loop {
            // Registered before the look, so that nothing between the two is missed.
            let more = self.more.notified();
            if self.workers.load(Ordering::Acquire) >= workers {
                return;
            }
            more.await;
        }
    }
}

impl Generation {
    /// The generation of the start, before any name is resolved.
    pub fn first(config: Arc<Config>, stats: &Stats) -> Arc<Generation> {
        let labels = stats.labels(&config);
        Arc::new(Generation { config, labels, resolved: Vec::new(), taken: Taken::default() })
    }
}

/// The addresses of a name at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// As in `EndpointConfig::Name`.
    pub host: Arc<str>,
    /// In the order in which to try them (RFC 8305 section 4). Never empty: an answer without addresses does not
    /// replace what is known.
    pub addresses: Arc<[IpAddr]>,
}

/// Puts a command into the mailbox of one worker; gives it back when the mailbox is full. Must not block.
pub type SendCommand = Box<dyn Fn(Command) -> Result<(), Command> + Send>;

/// Worker → control thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The worker takes traffic.
    Ready { worker: usize },
    /// The worker's thread ends: as it was told to, or not.
    Ended { worker: usize, orderly: bool },
}

/// Where workers send their events; see [`channel`].
#[derive(Debug, Clone)]
pub struct Events(mpsc::Sender<Event>);

/// A channel with room for every event that so many workers can send.
pub fn channel(workers: usize) -> (Events, mpsc::Receiver<Event>) {
    // One Ready and one Ended for each worker: it can never be full.
    let (sender, receiver) = mpsc::channel(workers.max(1) * 2);
    (Events(sender), receiver)
}

impl Events {
    /// To be held by the thread of the worker for as long as it runs.
    pub fn worker(&self, worker: usize) -> WorkerGuard {
        WorkerGuard { events: self.clone(), worker, orderly: false }
    }
}

/// Reports the end of a worker, however it ends: dropped by a panic it reports a dead worker, which ends the process.
#[derive(Debug)]
pub struct WorkerGuard {
    events: Events,
    worker: usize,
    orderly: bool,
}

impl WorkerGuard {
    /// The worker takes traffic now. To be called once.
    pub fn ready(&self) {
        let _ = self.events.0.try_send(Event::Ready { worker: self.worker });
    }

    /// The worker ends as it was told to.
    pub fn finished(mut self) {
        self.orderly = true;
    }
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        let _ = self.events.0.try_send(Event::Ended { worker: self.worker, orderly: self.orderly });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_panics_is_reported_dead() {
        let (events, mut receiver) = channel(2);
        let guards = [events.worker(0), events.worker(1)];
        let threads = guards.map(|guard| {
            std::thread::spawn(move || {
                guard.ready();
                if guard.worker == 1 {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                guard.finished();
            })
        });
        let results = threads.map(|t| t.join().is_ok());
        assert_eq!(results, [true, false]);
        let mut seen = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            seen.push(event);
        }
        for event in [
            Event::Ready { worker: 0 },
            Event::Ready { worker: 1 },
            Event::Ended { worker: 0, orderly: true },
            Event::Ended { worker: 1, orderly: false },
        ] {
            assert!(seen.contains(&event), "{event:?} in {seen:?}");
        }
    }
}
