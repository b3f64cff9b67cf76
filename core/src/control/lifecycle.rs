//! From start to end of the process: signals, readiness, drain.
//!
//! ```text
//! Starting ──every worker ready, every name tried once──▶ Running ──TERM, INT, POST /drain──▶ Draining
//!     │                                                                                         │ deadline + grace,
//!     └────────────────TERM, INT────────────────▶ Draining            second signal, ──────────▼ then no answer
//!                                                                                           Stopping ──▶ exit
//! ```
//! From every phase: the last worker's orderly end exits, a dead worker exits with a failure.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::admin;
use super::certificates;
use super::command::{Command, Event, Generation, Taken};
use super::discovery::{self, Discovery};
use super::generations::Generations;
use super::identities::Identities;
use super::names::{Names, Servers};
use super::outbox::{Outbox, RETRY_PAUSE};
use super::reload::Reloader;
use super::{Setup, Sockets, notify, policy_files, watch};
use crate::access_log::LogWriter;
use crate::config::Config;
use crate::stats::Stats;
use crate::{log_error, log_info, log_warning};

/// After a drain's deadline, the time in which workers cut what is left and end.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// After `StopNow`, the time that workers have to end before the process ends without them.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// Time to write the rest of the access log at the end.
const LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests of the admin listeners that may wait for the control loop.
const ASKS_MAX: usize = 16;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Running,
    Draining,
    Stopping,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }
}

/// What an admin listener asks of the control loop.
pub(super) enum Ask {
    Reload(oneshot::Sender<Result<String, String>>),
    Drain,
}

/// State of the control thread, shared by its tasks.
pub(super) struct Control {
    pub(super) stats: Arc<Stats>,
    pub(super) outbox: Outbox,
    pub(super) generations: Generations,
    pub(super) names: Rc<Names>,
    pub(super) discovery: Discovery,
    pub(super) identities: Identities,
    pub(super) started: Instant,
    phase: Cell<Phase>,
    /// When the phase ends by itself.
    phase_ends: Cell<Option<Instant>>,
    workers: RefCell<Vec<WorkerState>>,
    log: RefCell<Option<LogWriter>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct WorkerState {
    ready: bool,
    ended: bool,
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Success,
    Failure,
}

/// Runs until the process is to end; the error is for a person.
pub(super) async fn run(setup: Setup) -> Result<Exit, String> {
    let signals = Signals::new().map_err(|error| format!("signals cannot be received: {error}"))?;
    let listeners = admin::Listeners::bind(&setup.generation.config.process)?;
    Ok(serve(setup, listeners, signals).await)
}

/// As [`run`], once everything that can fail has been done.
pub(super) async fn serve(setup: Setup, listeners: admin::Listeners, mut signals: Signals) -> Exit {
    let config = setup.generation.config.clone();
    let workers = setup.mailboxes.len();
    let servers = match config.process.dns_servers.as_slice() {
        [] => Servers::System,
        these => Servers::These(these.to_vec()),
    };
    let control = Rc::new(Control {
        outbox: Outbox::new(setup.mailboxes, setup.stats.clone()),
        generations: Generations::new(setup.generation),
        names: Names::new(setup.stats.clone(), servers),
        discovery: Discovery::default(),
        identities: Identities::new(&setup.stats),
        started: Instant::now(),
        phase: Cell::new(Phase::Starting),
        phase_ends: Cell::new(None),
        workers: RefCell::new(vec![WorkerState::default(); workers]),
        log: RefCell::new(setup.log),
        stats: setup.stats,
    });
    let can_load = setup.load.is_some();
    let reloader = Reloader::new(control.clone(), setup.load, setup.bind);
    if can_load {
        watch::follow(&control, &reloader, setup.tried);
    }
    let (asks_sender, asks) = mpsc::channel(ASKS_MAX);
    let _admin = listeners.serve(control.clone(), asks_sender);
    control.follow_names();
    certificates::follow(&control);
    policy_files::follow(&control);
    discovery::follow(&control);
    control.names.follow(&config);
    control.identities.serve(&control);
    control.identities.follow(&config);
    let exit =
        Loop { control: control.clone(), reloader, asks, events: setup.events }.run(&mut signals).await;
    if let Some(log) = control.log.take()
        && !log.close(LOG_CLOSE_TIMEOUT)
    {
        log_warning!("the access log could not be written to its end");
    }
    exit
}

/// The loop and what only it reads.
struct Loop {
    control: Rc<Control>,
    reloader: Rc<Reloader>,
    asks: mpsc::Receiver<Ask>,
    events: mpsc::Receiver<Event>,
}

impl Loop {
    async fn run(mut self, signals: &mut Signals) -> Exit {
        let control = self.control.clone();
        let watchdog_pause = notify::watchdog_pause();
        // A pause of a day stands for "never".
        let mut watchdog = tokio::time::interval(watchdog_pause.unwrap_or(Duration::from_secs(86_400)));
        loop {
            tokio::select! {
                signal = signals.next() => self.on_signal(signal),
                Some(event) = self.events.recv() => {
                    if let Some(exit) = control.on_event(event) {
                        return exit;
                    }
                }
                Some(ask) = self.asks.recv() => self.on_ask(ask),
                () = control.endpoints_known(), if control.phase() == Phase::Starting && control.workers_ready() => {
                    control.run_now();
                }
                () = control.phase_end() => {
                    if let Some(exit) = control.on_phase_end() {
                        return exit;
                    }
                }
                () = tokio::time::sleep(RETRY_PAUSE), if control.outbox.waits() => {
                    control.outbox.retry();
                }
                _ = watchdog.tick(), if watchdog_pause.is_some() => notify::watchdog(),
            }
        }
    }

    fn on_signal(&self, signal: SignalOf) {
        match signal {
            SignalOf::End(name) => match self.control.phase() {
                Phase::Starting | Phase::Running => self.control.drain(name),
                Phase::Draining => self.control.stop_now(&format!("second {name}")),
                Phase::Stopping => {}
            },
            SignalOf::Hup => {
                log_info!("reload asked for by=SIGHUP");
                self.reloader.spawn(None);
            }
            SignalOf::Usr1 => match &*self.control.log.borrow() {
                Some(log) => log.reopen(),
                None => log_info!("SIGUSR1: there is no access log to reopen"),
            },
        }
    }

    fn on_ask(&self, ask: Ask) {
        match ask {
            Ask::Reload(answer) => {
                log_info!("reload asked for by=admin");
                self.reloader.spawn(Some(answer));
            }
            Ask::Drain => match self.control.phase() {
                Phase::Starting | Phase::Running => self.control.drain("POST /drain"),
                Phase::Draining | Phase::Stopping => {}
            },
        }
    }
}

impl Control {
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether the process takes traffic.
    pub(super) fn is_ready(&self) -> bool {
        self.phase() == Phase::Running
    }

    /// Makes a configuration the one in use, and tells the workers. `sockets` are those of new listeners.
    pub(super) fn put_in_use(&self, mut config: Config, mut sockets: Sockets) {
        config.revision = self.generations.current().config.revision + 1;
        sockets.resize_with(self.outbox.workers(), Vec::new);
        let labels = self.stats.labels(&config);
        let resolved = self.names.known(&config);
        let next =
            Arc::new(Generation { config: Arc::new(config), labels, resolved, taken: Taken::default() });
        self.generations.replace(next.clone());
        for (worker, sockets) in sockets.into_iter().enumerate() {
            self.outbox.send(worker, Command::Configure { generation: next.clone(), sockets });
        }
        self.stats.process.generation.set(next.config.generation);
    }

    /// Brings the count of living generations up to date; for readers of the statistics.
    pub(super) fn count_generations(&self) {
        self.count_stale();
        self.stats.process.generations.set(self.generations.old().len() as u64 + 1);
    }

    fn workers_ready(&self) -> bool {
        self.workers.borrow().iter().all(|worker| worker.ready)
    }

    fn run_now(&self) {
        self.phase.set(Phase::Running);
        self.stats.process.ready.set(1);
        let generation = self.generations.current();
        self.stats.process.generation.set(generation.config.generation);
        let (workers, listeners) = (self.outbox.workers(), generation.config.listeners.len());
        log_info!(
            "ready workers={workers} listeners={listeners} generation={}",
            generation.config.generation
        );
        notify::ready(&format!("{workers} workers, {listeners} listeners"));
    }

    /// Returns the exit status when the process is to end.
    fn on_event(&self, event: Event) -> Option<Exit> {
        let mut workers = self.workers.borrow_mut();
        match event {
            Event::Ready { worker } => {
                if let Some(state) = workers.get_mut(worker) {
                    state.ready = true;
                }
                None
            }
            Event::Ended { worker, orderly } => {
                if let Some(state) = workers.get_mut(worker) {
                    state.ended = true;
                }
                let expected = matches!(self.phase(), Phase::Draining | Phase::Stopping);
                if !orderly || !expected {
                    // A process that goes on with one worker less looks alive and is not: the supervisor restarts it.
                    self.stats.process.ready.set(0);
                    log_error!("a worker died, the process ends worker={worker}");
                    notify::stopping("a worker died");
                    return Some(Exit::Failure);
                }
                if workers.iter().all(|state| state.ended) {
                    log_info!("stopped");
                    return Some(Exit::Success);
                }
                None
            }
        }
    }

    fn drain(&self, by: &str) {
        let timeout = self.generations.current().config.process.drain_timeout;
        let deadline = Instant::now() + timeout;
        self.phase.set(Phase::Draining);
        self.phase_ends.set(Some(deadline + DRAIN_GRACE));
        self.stats.process.ready.set(0);
        log_info!("draining by={by} timeout_ms={}", timeout.as_millis());
        notify::stopping("draining");
        self.outbox.send_all(|_| Command::Drain { deadline });
    }

    fn stop_now(&self, why: &str) {
        self.phase.set(Phase::Stopping);
        self.phase_ends.set(Some(Instant::now() + STOP_GRACE));
        log_warning!("stopping at once, what is open is cut why={why}");
        self.outbox.send_all(|_| Command::StopNow);
    }

    async fn phase_end(&self) {
        match self.phase_ends.get() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }

    fn on_phase_end(&self) -> Option<Exit> {
        if self.phase() == Phase::Draining {
            self.stop_now("the drain's deadline has passed");
            return None;
        }
        let workers = self.workers.borrow();
        let stuck: Vec<usize> =
            (0..workers.len()).filter(|w| workers.get(*w).is_some_and(|s| !s.ended)).collect();
        log_error!("workers did not end, the process ends without them workers={stuck:?}");
        Some(Exit::Failure)
    }

    /// Passes on what is resolved.
    fn follow_names(self: &Rc<Self>) {
        let control = Rc::downgrade(self);
        self.names.on_news(move |news| {
            if let Some(control) = control.upgrade() {
                control.outbox.send_all(|_| Command::Resolved(news.clone()));
            }
        });
    }
}

/// The signals that the process handles.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
}

enum SignalOf {
    End(&'static str),
    Hup,
    Usr1,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> SignalOf {
        tokio::select! {
            _ = self.term.recv() => SignalOf::End("SIGTERM"),
            _ = self.int.recv() => SignalOf::End("SIGINT"),
            _ = self.hup.recv() => SignalOf::Hup,
            _ = self.usr1.recv() => SignalOf::Usr1,
        }
    }
}
