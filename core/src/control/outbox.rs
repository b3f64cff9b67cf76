//! Commands on their way to the workers.
//!
//! A mailbox that is full does not lose a command: it waits here, in order, and is tried again. What can wait is
//! bounded: one configuration, one news for each name, and the two commands that end a worker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Command, SendCommand};
use crate::log_warning;
use crate::stats::Stats;

/// Pause before a full mailbox is tried again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// One queue for each worker.
pub(super) struct Outbox {
    workers: Vec<RefCell<Line>>,
    stats: Arc<Stats>,
}

struct Line {
    send: SendCommand,
    waiting: VecDeque<Command>,
    /// Whether it was said that this worker's mailbox is full; said again only after it had room.
    said: bool,
}

impl Outbox {
    pub(super) fn new(mailboxes: Vec<SendCommand>, stats: Arc<Stats>) -> Outbox {
        let line = |send| RefCell::new(Line { send, waiting: VecDeque::new(), said: false });
        Outbox { workers: mailboxes.into_iter().map(line).collect(), stats }
    }

    /// Number of workers.
    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Sends to one worker, after what waits for it already.
    pub(super) fn send(&self, worker: usize, command: Command) {
        let Some(line) = self.workers.get(worker) else { return };
        let mut line = line.borrow_mut();
        if let Command::Resolved(news) = &command {
            // Later news of a name replace earlier ones that nobody saw.
            line.waiting.retain(|other| !matches!(other, Command::Resolved(old) if old.host == news.host));
        }
        if line.waiting.is_empty() {
            let Err(command) = (line.send)(command) else { return };
            self.stats.process.mailbox_full.increment();
            line.waiting.push_back(command);
        } else {
            line.waiting.push_back(command);
        }
        if !line.said {
            line.said = true;
            log_warning!("the mailbox of a worker is full, its commands wait worker={worker}");
        }
    }

    /// Sends to every worker what `make` makes for it.
    pub(super) fn send_all(&self, make: impl Fn(usize) -> Command) {
        for worker in 0..self.workers.len() {
            self.send(worker, make(worker));
        }
    }

    /// Tries again what waits; returns whether some of it still does.
    pub(super) fn retry(&self) -> bool {
        let mut waits = false;
        for line in &self.workers {
            let mut line = line.borrow_mut();
            while let Some(command) = line.waiting.pop_front() {
                if let Err(command) = (line.send)(command) {
                    line.waiting.push_front(command);
                    break;
                }
            }
            line.said &= !line.waiting.is_empty();
            waits |= !line.waiting.is_empty();
        }
        waits
    }

    /// Whether any command waits.
    pub(super) fn waits(&self) -> bool {
        self.workers.iter().any(|line| !line.borrow().waiting.is_empty())
    }

    /// The first worker that did not yet take its last configuration.
    pub(super) fn unconfigured(&self) -> Option<usize> {
        let behind = |line: &RefCell<Line>| {
            line.borrow().waiting.iter().any(|command| matches!(command, Command::Configure { .. }))
        };
        self.workers.iter().position(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Resolved;
    use std::net::IpAddr;
    use std::sync::Mutex;

    type Mailbox = Arc<Mutex<Vec<Command>>>;

    /// A mailbox of two places.
    fn mailbox() -> (SendCommand, Mailbox) {
        let taken = Mailbox::default();
        let inner = taken.clone();
        let send = move |command| {
            let mut taken = inner.lock().expect("not poisoned");
            if taken.len() >= 2 {
                return Err(command);
            }
            taken.push(command);
            Ok(())
        };
        (Box::new(send), taken)
    }

    fn news(host: &str, last: u8) -> Command {
        Command::Resolved(Resolved { host: host.into(), addresses: [IpAddr::from([10, 0, 0, last])].into() })
    }

    fn shown(taken: &Mailbox) -> Vec<String> {
        taken
            .lock()
            .expect("not poisoned")
            .drain(..)
            .map(|command| match command {
                Command::Resolved(news) => format!("{}={}", news.host, news.addresses[0]),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_full_mailbox_delays_and_never_reorders_or_loses() {
        let (send, taken) = mailbox();
        let stats = Stats::new(1);
        let outbox = Outbox::new(vec![send], stats.clone());
        for (host, last) in [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("c", 2)] {
            outbox.send(0, news(host, last));
        }
        outbox.send(0, Command::StopNow);
        assert!(outbox.retry() && outbox.waits());
        assert_eq!(shown(&taken), ["a=10.0.0.1", "b=10.0.0.1"]);
        assert!(outbox.retry());
        assert_eq!(shown(&taken), ["d=10.0.0.1", "c=10.0.0.2"], "only the last news of c");
        assert!(!outbox.retry() && !outbox.waits());
        assert_eq!(shown(&taken), ["StopNow"]);
        assert_eq!(stats.process.mailbox_full.get(), 1);
    }
}
