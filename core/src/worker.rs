//! One worker: an event loop on one core with its own listeners, pools, statistics and view of the
//! configuration.
//!
//! **Invariant:** workers meet only in [`Shared`] (counts) and through mailboxes (messages). A message is
//! handled to its end before the next one; what takes longer is spawned.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use crate::access_log::AccessLog;
use crate::config::Config;
use crate::control::{Command, Generation, WorkerGuard};
use crate::exchange::Policies;
use crate::handshakes::{ClientRates, Turns};
use crate::http2::{self, server::Runners};
use crate::io::{self as rt, Address, TaskId, mailbox};
use crate::listener::{self, Handover, ListenerSlot};
use crate::outcome::{Outcome, WallClock};
use crate::shared::Shared;
use crate::stats::grpc::MethodSlots;
use crate::stats::{Labels, WorkerStats};
use crate::upstream::borrow::{self, BorrowRequest, Loan, Tickets};
use crate::upstream::{Cluster, Endpoint, health};

/// How often expired connections are swept, logs are flushed, and a drain looks whether it is done.
const TICK: Duration = Duration::from_millis(100);

/// Between two log lines about clients.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What a worker is told by other workers and by the control thread.
pub enum Message {
    /// A connection that another worker accepted.
    Accepted(Handover),
    Borrow(BorrowRequest),
    Loan(Loan),
    Command(Command),
}

/// What a worker thread starts with.
pub struct WorkerStart {
    pub id: usize,
    pub shared: Arc<Shared>,
    pub stats: Arc<WorkerStats>,
    pub access_log: AccessLog,
    pub generation: Arc<Generation>,
    /// Index of a listener and the worker's own socket for it.
    pub sockets: Vec<(usize, OwnedFd)>,
    pub receiver: mailbox::Receiver<Message>,
    /// Of the numbers that spread load and make identifiers.
    pub random_seed: u64,
}

/// State of one worker. It lives on its thread and is never shared.
pub struct Worker {
    pub id: usize,
    pub shared: Arc<Shared>,
    pub stats: Arc<WorkerStats>,
    pub tickets: Tickets,
    /// Tasks for the exchanges of HTTP/2 streams.
    pub runners: Runners,
    /// When TLS handshakes may compute.
    pub turns: Turns,
    /// How often clients begin TLS handshakes.
    pub client_rates: ClientRates,
    methods: MethodSlots,
    access_log: RefCell<AccessLog>,
    view: RefCell<Rc<View>>,
    listeners: RefCell<Vec<ActiveListener>>,
    draining: Cell<bool>,
    window: usize,
    held_bytes_max: usize,
    /// Refused connections that are taking their answer.
    pub refusals: Cell<u32>,
    /// Copies of requests for mirrors that are under way.
    pub mirrors: Cell<u32>,
    random: Cell<u64>,
    /// When a line about a client was last logged.
    logged_at: Cell<Option<Instant>>,
    /// Renewed at each tick.
    clock: Cell<WallClock>,
}

/// A generation of the configuration together with the state that this worker keeps for it.
pub struct View {
    pub generation: Arc<Generation>,
    pub clusters: Vec<Rc<Cluster>>,
    pub policies: Rc<Policies>,
}

impl View {
    pub fn config(&self) -> &Config {
        &self.generation.config
    }
}

struct ActiveListener {
    slot: Rc<ListenerSlot>,
    accept: TaskId,
}

/// Lets go of the connections of endpoints that are in use no more: running exchanges may hold those for long.
fn retire(old: &[Rc<Cluster>], new: &[Rc<Cluster>]) {
    let kept: HashSet<*const Endpoint> =
        new.iter().flat_map(|cluster| &cluster.endpoints).map(Rc::as_ptr).collect();
    let gone = old.iter().flat_map(|cluster| &cluster.endpoints);
    gone.filter(|endpoint| !kept.contains(&Rc::as_ptr(endpoint))).for_each(|endpoint| endpoint.retire());
}

/// Runs a worker until it is told to stop, or has drained.
pub async fn run(start: WorkerStart, ready: &WorkerGuard) {
    let WorkerStart { id, shared, stats, access_log, generation, sockets, receiver, random_seed } = start;
    let worker = Rc::new(Worker {
        id,
        stats,
        tickets: Tickets::default(),
        runners: Runners::default(),
        turns: Turns::default(),
        client_rates: ClientRates::default(),
        methods: MethodSlots::default(),
        access_log: RefCell::new(access_log),
        view: RefCell::new(Rc::new(View {
            generation: Arc::clone(&generation),
            clusters: Vec::new(),
            policies: Rc::default(),
        })),
        listeners: RefCell::default(),
        draining: Cell::new(false),
        window: generation.config.process.buffers.connection_bytes_max as usize / 2,
        held_bytes_max: generation.config.process.buffers.worker_bytes_max as usize,
        refusals: Cell::new(0),
        mirrors: Cell::new(0),
        random: Cell::new(random_seed | 1),
        logged_at: Cell::new(None),
        clock: Cell::new(WallClock::new(rt::now(), SystemTime::now())),
        shared,
    });
    worker.configure(generation, sockets);
    ready.ready();
    let mut drain_deadline: Option<Instant> = None;
    let mut next_tick = rt::now() + TICK;
    loop {
        let message = rt::timeout_at(next_tick, receiver.recv()).await.ok().flatten();
        match message {
            Some(Message::Command(Command::StopNow)) => return,
            Some(Message::Command(Command::Drain { deadline })) => {
                worker.start_drain();
                drain_deadline = Some(deadline);
            }
            Some(message) => worker.handle(message),
            None => {
                next_tick = rt::now() + TICK;
                worker.tick();
            }
        }
        if let Some(deadline) = drain_deadline
            && (worker.connections() == 0 || rt::now() >= deadline)
        {
            worker.access_log.borrow_mut().flush();
            return;
        }
    }
}

impl Worker {
    /// The configuration for the next exchange.
    pub fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Downstream connections of this worker, those on their way to it included.
    pub fn connections(&self) -> u32 {
        self.shared.workers.get(self.id).map_or(0, |slot| slot.connections.load(Relaxed))
    }

    /// A pseudo-random number (wyrand); good for spreading load and for identifiers, not for secrets.
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.random.set(state);
        let wide = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
        (wide >> 64) as u64 ^ wide as u64
    }

    /// Whether a line about a client may be logged now: one a second, so that a crowd of bad ones neither fills the log nor
    /// makes the worker wait for it.
    pub fn may_log(&self) -> bool {
        let now = rt::now();
        let may = self.logged_at.get().is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        if may {
            self.logged_at.set(Some(now));
        }
        may
    }

    /// Wall-clock time of a moment of the loop's clock.
    pub fn wall(&self, at: Instant) -> SystemTime {
        self.clock.get().of(at)
    }

    /// What [`Worker::wall`] goes by.
    pub fn clock(&self) -> WallClock {
        self.clock.get()
    }

    /// Seconds since 1970, as of the last tick: good enough for what is said in seconds.
    pub fn unix_secs(&self) -> u64 {
        self.clock.get().unix_secs()
    }

    /// Counts a dial by cluster and endpoint of the current configuration.
    pub fn count_connect(&self, cluster: usize, endpoint: usize, ok: bool) {
        let view = self.view();
        let labels = &view.generation.labels;
        let (of_cluster, of_endpoint) =
            (self.stats.cluster(labels, cluster), self.stats.endpoint(labels, cluster, endpoint));
        if ok {
            self.stats.pool.connects.increment();
            of_cluster.connects.increment();
            of_endpoint.connects.increment();
        } else {
            self.stats.pool.connect_failures.increment();
            of_cluster.connect_failures.increment();
            of_endpoint.connect_failures.increment();
        }
    }

    /// Bytes that may wait to be sent on one connection before its source is read no further.
    pub fn window(&self) -> usize {
        self.window
    }

    /// What may wait on its way through a connection of HTTP/2.
    pub fn queue_limits(&self) -> http2::QueueLimits {
        http2::QueueLimits { unsent_bytes_max: self.window, held_bytes_max: self.held_bytes_max }
    }

    /// Whether a stretch of a body is long enough to leave user space out.
    pub fn splices(&self, bytes: u64) -> bool {
        let min = self.view.borrow().config().process.splice_bytes_min;
        min > 0 && bytes >= min
    }

    /// Accounts for one finished exchange, once.
    pub fn finish(&self, labels: &Labels, outcome: &Outcome<'_>) {
        self.stats.on_exchange(labels, outcome);
        if let Some(call) = &outcome.grpc {
            let slot = self.methods.slot(&self.stats, call);
            self.stats.on_call(
                slot,
                call,
                outcome.phases.ended.saturating_duration_since(outcome.phases.started),
            );
        }
        self.access_log.borrow_mut().on_exchange(labels, outcome);
    }

    fn handle(self: &Rc<Self>, message: Message) {
        match message {
            Message::Accepted(handover) => listener::adopt(self, handover),
            Message::Borrow(request) => {
                rt::spawn(borrow::lend(Rc::clone(self), request));
            }
            Message::Loan(loan) => borrow::receive(self, loan),
            Message::Command(Command::Configure { generation, sockets }) => {
                self.configure(generation, sockets)
            }
            Message::Command(Command::Resolved(resolved)) => {
                for cluster in &self.view().clusters {
                    cluster.resolved(&resolved);
                }
            }
            // These two end or turn the loop and are handled there.
            Message::Command(Command::Drain { .. } | Command::StopNow) => {}
        }
    }

    /// Puts a configuration into use: the next request runs under it, running exchanges keep theirs. Pools of
    /// endpoints that are reached as before stay, and so do the sockets of listeners that are kept.
    fn configure(self: &Rc<Self>, generation: Arc<Generation>, sockets: Vec<(usize, OwnedFd)>) {
        let old = self.view();
        let by_name: HashMap<&str, &Rc<Cluster>> =
            old.clusters.iter().map(|cluster| (cluster.config.name.as_str(), cluster)).collect();
        let clusters = generation.config.clusters.iter().map(|config| {
            let before = by_name.get(config.name.as_str()).copied();
            // Where only endpoints changed, the clusters that did not are the very same.
            match before.filter(|old| Arc::ptr_eq(&old.config, config) || *old.config == **config) {
                Some(kept) => Rc::clone(kept),
                None => {
                    let before = before.map(Rc::as_ref);
                    Rc::new(Cluster::new(Arc::clone(config), self.id, &self.shared, before))
                }
            }
        });
        let clusters: Vec<_> = clusters.collect();
        retire(&old.clusters, &clusters);
        self.shared.forget_unused();
        for resolved in &generation.resolved {
            clusters.iter().for_each(|cluster| cluster.resolved(resolved));
        }
        // Another generation has other policies; with other endpoints only, they are the same.
        let same = !old.clusters.is_empty() && old.config().generation == generation.config.generation;
        let policies =
            if same { Rc::clone(&old.policies) } else { Rc::new(Policies::new(&generation.config)) };
        *self.view.borrow_mut() = Rc::new(View { generation: Arc::clone(&generation), clusters, policies });
        self.configure_listeners(&generation.config, sockets);
        self.watch_health();
        generation.taken.add();
    }

    /// One worker asks endpoints for their health, and all know the answers.
    fn watch_health(self: &Rc<Self>) {
        if self.id != 0 {
            return;
        }
        let view = self.view();
        for cluster in view.clusters.iter().filter(|cluster| cluster.config.health.is_some()) {
            for endpoint in cluster.endpoints.iter().filter(|endpoint| endpoint.begin_watch()) {
                rt::spawn(health::watch(
                    Rc::clone(self),
                    Rc::downgrade(endpoint),
                    cluster.config.name.clone(),
                ));
            }
        }
    }

    fn configure_listeners(self: &Rc<Self>, config: &Config, sockets: Vec<(usize, OwnedFd)>) {
        let mut active = self.listeners.borrow_mut();
        let mut removed = false;
        active.retain(|listener| {
            let index = config.listeners.iter().position(|new| new.bind == listener.slot.bind);
            listener.slot.index.set(index);
            if index.is_none() {
                rt::abort(listener.accept);
                removed = true;
            }
            index.is_some()
        });
        for (index, fd) in sockets {
            let Some(bind) = config.listeners.get(index).map(|listener| listener.bind.clone()) else {
                continue;
            };
            let count = self.shared.listener_count(&bind);
            let slot = Rc::new(ListenerSlot {
                bind,
                index: Cell::new(Some(index)),
                count,
                open: Cell::new(0),
                handshakes: Rc::default(),
            });
            let accept = rt::spawn(listener::accept_loop(Rc::clone(self), Rc::clone(&slot), fd));
            active.push(ActiveListener { slot, accept });
        }
        if removed {
            rt::wake_receivers();
        }
    }

    /// The slot of the listener bound to `bind`, unless it was removed.
    pub fn listener_slot(&self, bind: &Address) -> Option<Rc<ListenerSlot>> {
        let active = self.listeners.borrow();
        active.iter().find(|listener| listener.slot.bind == *bind).map(|listener| Rc::clone(&listener.slot))
    }

    fn start_drain(&self) {
        self.draining.set(true);
        for listener in self.listeners.borrow_mut().drain(..) {
            rt::abort(listener.accept);
        }
        // Idle connections look at `draining` when they are woken, and close.
        rt::wake_receivers();
    }

    fn tick(&self) {
        let now = rt::now();
        self.clock.set(WallClock::new(now, SystemTime::now()));
        for cluster in &self.view().clusters {
            self.stats.pool.discarded.add(cluster.sweep(now) as u64);
            if self.id == 0 {
                cluster.compare_endpoints(self, now);
            }
        }
        self.runners.trim();
        http2::heads::trim();
        self.access_log.borrow_mut().flush_if_old(now);
        self.publish_gauges();
    }

    /// Copies levels that are kept elsewhere to where the control thread reads them.
    fn publish_gauges(&self) {
        let view = self.view();
        let labels = &view.generation.labels;
        for listener in self.listeners.borrow().iter() {
            if let Some(index) = listener.slot.index.get() {
                let open = u64::from(listener.slot.open.get());
                self.stats.listener(labels, index).connections_open.set(open);
            }
        }
        let (mut idle, mut open, mut unhealthy, mut ejected) = (0, 0, 0, 0);
        let now_ms = self.shared.millis(rt::now());
        for (index, cluster) in view.clusters.iter().enumerate() {
            let mut of_cluster = 0;
            for (at, endpoint) in cluster.endpoints.iter().enumerate() {
                let (waiting, busy) = (endpoint.pool.len() as u64, u64::from(endpoint.active()));
                self.stats.endpoint(labels, index, at).connections_open.set(waiting + busy);
                idle += waiting;
                // All workers see the same: one says so.
                let asked = self.id == 0 && cluster.config.health.is_some();
                unhealthy += u64::from(asked && !endpoint.is_healthy());
                let out = self.id == 0 && cluster.config.outlier.is_some();
                ejected += u64::from(out && endpoint.shared.ejected_until(now_ms).is_some());
                of_cluster += waiting + busy;
            }
            self.stats.cluster(labels, index).connections_open.set(of_cluster);
            open += of_cluster;
        }
        self.stats.pool.idle.set(idle);
        self.stats.pool.unhealthy.set(unhealthy);
        self.stats.pool.ejected.set(ejected);
        self.stats.pool.open.set(open);
        self.publish_io(rt::counters());
    }

    fn publish_io(&self, io: rt::CountersSnapshot) {
        let stats = &self.stats.io;
        stats.turns.set(io.turns);
        stats.completions.set(io.completions);
        stats.tasks.set(io.tasks);
        stats.panics.set(io.panics);
        stats.buffers_used.set(io.buffers_in_use);
        stats.buffers_exhausted.set(io.enobufs);
        stats.memory_resets.set(io.memory_resets);
        stats.queue_overflows.set(io.cq_overflows);
        stats.mailbox_full.set(io.mailbox_full);
        self.stats.exchanges.spliced_bytes.set(io.spliced_bytes);
        self.stats.connections.accept_errors.set(io.accept_errors);
    }
}
