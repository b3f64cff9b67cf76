//! One run: the proxy's workers between model clients and model origins, and what has to hold at its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ringway_core::access_log::AccessLog;
use ringway_core::config::{
    BufferConfig, ClusterConfig, Config, ConfigSource, EndpointConfig, ListenerConfig, RouteConfig,
};
use ringway_core::control::{self, Command, Generation, Resolved};
use ringway_core::io::sim::{self, Report, SimConfig};
use ringway_core::io::{self as rt, Address, Listener, RuntimeConfig, TaskId, mailbox};
use ringway_core::shared::Shared;
use ringway_core::stats::Stats;
use ringway_core::worker::{self, Message, WorkerStart};

use crate::peer::Signal;
use crate::plan::{Body, Plan, Weather};
use crate::{client, origin};

/// Where the workers listen.
pub const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 80);

/// Of all endpoints, where they are named.
const NAME: &str = "origin.test";

const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// After the last client, everything has to come to its end within this time: the slowest stalls are 40 s long.
const END_TIMEOUT: Duration = Duration::from_secs(600);

/// What is known of a run while it goes on.
pub struct World {
    pub plan: Plan,
    violations: RefCell<Vec<String>>,
    seen: RefCell<BTreeMap<u64, Seen>>,
    clients: Cell<u64>,
    clients_gone: Signal,
}

/// What was seen of one exchange.
#[derive(Default)]
struct Seen {
    sent: Option<Instant>,
    /// Heads that reached an origin: whether the connection had carried a request before.
    origin_heads: Vec<bool>,
    began_response: bool,
    answered: Option<(u16, Option<String>)>,
}

impl World {
    fn new(plan: Plan) -> World {
        let clients = Cell::new(plan.connections.len() as u64);
        World {
            plan,
            violations: RefCell::default(),
            seen: RefCell::default(),
            clients,
            clients_gone: Signal::default(),
        }
    }

    pub fn violation(&self, what: String) {
        self.violations.borrow_mut().push(what);
    }

    pub fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violation(what());
        }
    }

    /// Something that must not happen in fair weather.
    pub fn expect_foul(&self, what: impl FnOnce() -> String) {
        self.check(self.plan.weather == Weather::Foul, what);
    }

    pub fn sent_by_client(&self, id: u64) {
        self.seen.borrow_mut().entry(id).or_default().sent = Some(rt::now());
    }

    pub fn reached_origin(&self, id: u64, reused: bool) {
        let mut seen = self.seen.borrow_mut();
        let seen = seen.entry(id).or_default();
        seen.origin_heads.push(reused);
        let request = &self.plan.exchanges[&id].request;
        match seen.origin_heads.as_slice() {
            [_] => {}
            [first, _] => {
                let idempotent = request.method != "POST";
                self.check(idempotent, || format!("{id}: a {} was sent twice", request.method));
                // The second may overtake the first, which nobody waits for any more.
                self.check(*first != reused, || {
                    format!("{id}: sent again, used connections: {first}, {reused}")
                });
                // A reset may have overtaken what the origin had sent.
                let began = seen.began_response && self.plan.faults.resets == 0;
                self.check(!began, || format!("{id}: sent again behind a response"));
            }
            _ => self.violation(format!("{id}: sent {} times", seen.origin_heads.len())),
        }
    }

    pub fn began_response(&self, id: u64) {
        self.seen.borrow_mut().entry(id).or_default().began_response = true;
    }

    /// The client has a whole response.
    pub fn answered(&self, id: u64, status: u16, reason: Option<&str>) {
        let mut seen = self.seen.borrow_mut();
        let seen = seen.entry(id).or_default();
        if let (Some(reason), Some(sent)) = (reason, seen.sent) {
            self.check_deadline(id, reason, rt::now() - sent);
        }
        self.check(seen.answered.is_none(), || format!("{id}: answered twice"));
        seen.answered = Some((status, reason.map(str::to_owned)));
        let connection_broke = matches!(reason, Some("upstream_closed" | "upstream_reset"));
        let began = seen.began_response && self.plan.faults.resets == 0;
        self.check(!(connection_broke && self.plan.weather == Weather::Fair && began), || {
            format!("{id}: {reason:?} although the origin answers")
        });
    }

    /// A deadline never passes early, and is kept where nothing stalls the way to it.
    fn check_deadline(&self, id: u64, reason: &str, waited: Duration) {
        let limit = match reason {
            "header_timeout" | "response_head_timeout" => HEAD_TIMEOUT,
            "connect_timeout" => CONNECT_TIMEOUT,
            "request_body_timeout" => BODY_TIMEOUT,
            _ => return,
        };
        self.check(waited >= limit, || format!("{id}: {reason} after only {waited:?}"));
        let exchange = &self.plan.exchanges[&id];
        let connection = self.plan.connections.iter().find(|connection| connection.exchanges.contains(&id));
        let alone = connection.is_some_and(|connection| !connection.pipelined);
        if alone && self.plan.faults.stalls == 0 && exchange.request.body == Body::None {
            // Each endpoint may have been tried in vain before.
            let limit = limit + CONNECT_TIMEOUT * 2 + Duration::from_secs(2);
            self.check(waited <= limit, || format!("{id}: {reason} after {waited:?}"));
        }
    }

    fn client_gone(&self) {
        self.clients.set(self.clients.get() - 1);
        if self.clients.get() == 0 {
            self.clients_gone.raise(1);
        }
    }
}

/// Runs one seed.
///
/// # Errors
/// Everything that did not hold.
pub fn run(seed: u64) -> Result<Report, Vec<String>> {
    let world = Rc::new(World::new(Plan::new(seed)));
    let plan = &world.plan;
    let runtime = RuntimeConfig {
        buffers: BufferConfig {
            buffer_bytes: plan.buffer_bytes,
            ring_buffers: plan.ring_buffers,
            worker_bytes_max: plan.worker_bytes_max,
            connection_bytes_max: plan.connection_bytes_max,
        },
        ..RuntimeConfig::default()
    };
    let verbose = std::env::var_os("RINGWAY_SIM_TRACE").is_some();
    if verbose {
        eprintln!("{plan:#?}");
    }
    let sim = SimConfig { seed, faults: plan.faults.clone(), verbose };
    let (_, report) = sim::run(&sim, &runtime, scenario(Rc::clone(&world), seed))
        .map_err(|error| vec![error.to_string()])?;
    world.check(report.open_descriptors == 0, || format!("{} descriptors leak", report.open_descriptors));
    world.check(report.open_operations == 0, || format!("{} operations leak", report.open_operations));
    let violations = world.violations.take();
    if violations.is_empty() { Ok(report) } else { Err(violations) }
}

async fn scenario(world: Rc<World>, seed: u64) {
    let plan = &world.plan;
    let config = Arc::new(config(plan, 1));
    let origins: Vec<TaskId> = endpoints(plan)
        .iter()
        .map(|address| {
            let fd = sim::listen(&Address::Tcp(*address)).expect("a descriptor");
            let listener = Listener::from_fd(fd).expect("a listener");
            rt::spawn(origin::run(Rc::clone(&world), listener))
        })
        .collect();
    let proxy = Proxy::start(plan, &config, seed);
    drop(config);
    if let Some((after, changed)) = plan.reload_at {
        rt::spawn(proxy.reload(plan, after, changed));
    }
    for index in 0..plan.connections.len() {
        let world = Rc::clone(&world);
        rt::spawn(async move {
            client::run(Rc::clone(&world), index).await;
            world.client_gone();
        });
    }
    if let Some(after) = plan.drain_at {
        rt::sleep_until(rt::now() + after).await;
        proxy.drain();
    }
    if rt::timeout_at(rt::now() + END_TIMEOUT * 4, world.clients_gone.reaches(1)).await.is_err() {
        world.violation(format!("{} clients wait for ever", world.clients.get()));
    }
    if plan.drain_at.is_none() {
        proxy.drain();
    }
    proxy.check_end(&world, origins.len() as u64).await;
    origins.into_iter().for_each(rt::abort);
}

fn generation(plan: &Plan, config: Arc<Config>, stats: &Stats) -> Arc<Generation> {
    let addresses: Arc<[IpAddr]> = endpoints(plan).iter().map(SocketAddr::ip).collect();
    let labels = stats.labels(&config);
    let resolved = vec![Resolved { host: NAME.into(), addresses }];
    Arc::new(Generation { config, labels, resolved, taken: Default::default() })
}

fn endpoints(plan: &Plan) -> Vec<SocketAddr> {
    (0..plan.endpoints).map(|i| SocketAddr::from(([10, 0, 1, i as u8 + 1], 80))).collect()
}

/// The proxy as `server.rs` starts it, without threads: the workers are tasks of one loop.
struct Proxy {
    config: Arc<Config>,
    shared: Arc<Shared>,
    stats: Arc<Stats>,
    generation: Arc<Generation>,
    ended: Rc<Signal>,
    endpoints: Vec<Arc<ringway_core::upstream::EndpointShared>>,
}

impl Proxy {
    fn start(plan: &Plan, config: &Arc<Config>, seed: u64) -> Proxy {
        let stats = Stats::new(plan.workers);
        let generation = generation(plan, Arc::clone(config), &stats);
        let (events, _receiver) = control::channel(plan.workers);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..plan.workers).map(|_| mailbox::channel(64)).unzip();
        let shared = Arc::new(Shared::new(senders));
        let cluster = &config.clusters[0].name;
        let names = if plan.named {
            vec![format!("{NAME}:80")]
        } else {
            endpoints(plan).iter().map(SocketAddr::to_string).collect()
        };
        let held = names.iter().map(|name| shared.endpoint(cluster, name)).collect();
        let (ended, running) = (Rc::new(Signal::default()), Rc::new(Cell::new(plan.workers)));
        for (id, receiver) in receivers.into_iter().enumerate() {
            let worker_stats = Arc::clone(&stats.workers()[id]);
            let start = WorkerStart {
                id,
                shared: Arc::clone(&shared),
                access_log: AccessLog::off(Arc::clone(&worker_stats)),
                stats: worker_stats,
                generation: Arc::clone(&generation),
                sockets: vec![(0, sim::listen(&Address::Tcp(PROXY)).expect("a descriptor"))],
                receiver,
                random_seed: seed.wrapping_add(id as u64),
            };
            let (guard, ended, running) = (events.worker(id), Rc::clone(&ended), Rc::clone(&running));
            rt::spawn(async move {
                worker::run(start, &guard).await;
                guard.finished();
                running.set(running.get() - 1);
                if running.get() == 0 {
                    ended.raise(1);
                }
            });
        }
        Proxy { config: Arc::clone(config), shared, stats, generation, ended, endpoints: held }
    }

    /// Brings a new configuration into use, as a reload does.
    fn reload(&self, plan: &Plan, after: Duration, changed: bool) -> impl Future<Output = ()> + use<> {
        let mut config = config(plan, 2);
        if changed {
            for cluster in &mut config.clusters {
                let mut changed = ClusterConfig::clone(cluster);
                changed.pool.idle_timeout = Duration::from_secs(3);
                *cluster = Arc::new(changed);
            }
        }
        let generation = generation(plan, Arc::new(config), &self.stats);
        let shared = Arc::clone(&self.shared);
        async move {
            rt::sleep_until(rt::now() + after).await;
            for slot in &shared.workers {
                let generation = Arc::clone(&generation);
                let command = Command::Configure { generation, sockets: Vec::new() };
                // After a drain there is nobody to take it.
                let _ = slot.sender.try_send(Message::Command(command));
            }
        }
    }

    fn drain(&self) {
        for slot in &self.shared.workers {
            let deadline = rt::now() + DRAIN_TIMEOUT;
            // The mailbox of a worker that has ended refuses it, which is as well.
            let _ = slot.sender.try_send(Message::Command(Command::Drain { deadline }));
        }
    }

    /// Waits until everything has ended and looks whether anything is left.
    async fn check_end(&self, world: &World, tasks: u64) {
        let limit = rt::now() + END_TIMEOUT;
        if rt::timeout_at(limit, self.ended.reaches(1)).await.is_err() {
            world.violation("the workers do not end".to_owned());
        }
        let left = |counters: &rt::CountersSnapshot| {
            counters.tasks > tasks || counters.streams > 0 || counters.buffers_in_use > 0
        };
        while left(&rt::counters()) && rt::now() < limit {
            rt::sleep_until(rt::now() + Duration::from_millis(50)).await;
        }
        let counters = rt::counters();
        world.check(!left(&counters), || {
            let rt::CountersSnapshot { tasks: left, streams, buffers_in_use, .. } = counters;
            format!("left: {left} tasks ({tasks} expected), {streams} streams, {buffers_in_use} buffers")
        });
        world.check(counters.panics == 0, || format!("{} tasks panicked", counters.panics));
        self.check_counts(world);
        self.check_exchanges(world);
    }

    fn check_counts(&self, world: &World) {
        for (id, slot) in self.shared.workers.iter().enumerate() {
            let open = slot.connections.load(Relaxed);
            world.check(open == 0, || format!("worker {id} counts {open} connections at the end"));
        }
        let open = self.shared.listener_count(&Address::Tcp(PROXY)).load(Relaxed);
        world.check(open == 0, || format!("the listener counts {open} connections at the end"));
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let (open, idle) = (endpoint.connections.load(Relaxed), endpoint.idle.load(Relaxed));
            world.check((open, idle) == (0, 0), || format!("endpoint {index}: {open} open, {idle} idle"));
        }
        for stats in self.stats.workers() {
            let open = (
                stats.connections.open.get(),
                stats.exchanges.open.get(),
                stats.connections.tunnels_open.get(),
            );
            world.check(open == (0, 0, 0), || format!("connections, exchanges, tunnels open: {open:?}"));
        }
        world
            .check(Arc::strong_count(&self.generation) == 1, || "the configuration is still held".to_owned());
        world.check(Arc::strong_count(&self.config) <= 3, || "the configuration is still held".to_owned());
    }

    /// Every exchange is accounted for exactly once.
    fn check_exchanges(&self, world: &World) {
        let (mut started, mut accounted) = (0, 0);
        let mut by_status: BTreeMap<u16, u64> = BTreeMap::new();
        for stats in self.stats.workers() {
            started += stats.exchanges.started.get();
            for (status, count) in stats.statuses.read() {
                *by_status.entry(status.unwrap_or(0)).or_default() += count;
                accounted += count;
            }
        }
        let seen = world.seen.borrow();
        let sent = seen.values().filter(|seen| seen.sent.is_some()).count() as u64;
        let drained = world.plan.drain_at.is_some();
        world.check(started == accounted || drained, || {
            format!("{started} started, {accounted} accounted for")
        });
        world.check(started <= sent, || format!("{started} exchanges of {sent} requests"));
        let mut answered: BTreeMap<u16, u64> = BTreeMap::new();
        let answers = seen.values().filter_map(|seen| seen.answered.as_ref());
        // A connection that is refused has no exchange.
        let refused = |reason: &Option<String>| {
            matches!(reason.as_deref(), Some("connection_limit" | "client_connection_limit"))
        };
        for (status, _) in answers.filter(|(_, reason)| !refused(reason)) {
            *answered.entry(*status).or_default() += 1;
        }
        for (status, count) in answered {
            let known = by_status.get(&status).copied().unwrap_or(0);
            world.check(count <= known, || format!("{count} answers {status}, {known} accounted for"));
        }
    }
}

fn config(plan: &Plan, generation: u64) -> Config {
    let upstream: Vec<String> = endpoints(plan).iter().map(|address| format!("http://{address}")).collect();
    let upstream: Vec<&str> = upstream.iter().map(String::as_str).collect();
    let source = ConfigSource::simple(&[&PROXY.to_string()], &upstream);
    let mut config = Config::load(&source).expect("a configuration");
    config.process.buffers.connection_bytes_max = plan.connection_bytes_max;
    config.generation = generation;
    config.process.splice_bytes_min = 0;
    for listener in &mut config.listeners {
        let mut changed = ListenerConfig::clone(listener);
        changed.limits.header_timeout = HEAD_TIMEOUT;
        changed.limits.idle_timeout = IDLE_TIMEOUT;
        changed.limits.request_body_timeout = BODY_TIMEOUT;
        changed.limits.response_body_timeout = BODY_TIMEOUT;
        if plan.connections_max > 0 {
            changed.limits.connections_max = plan.connections_max;
        }
        changed.limits.connections_per_client_max = plan.connections_per_client_max;
        *listener = Arc::new(changed);
    }
    for cluster in &mut config.clusters {
        let mut changed = ClusterConfig::clone(cluster);
        changed.connect_timeout = CONNECT_TIMEOUT;
        changed.response_head_timeout = HEAD_TIMEOUT;
        changed.response_body_timeout = BODY_TIMEOUT;
        changed.pool.requests_max = plan.pool_requests_max;
        changed.pool.connections_max = plan.upstream_connections_max;
        if plan.named {
            changed.endpoints = vec![EndpointConfig::Name { host: NAME.to_owned(), port: 80 }];
        }
        *cluster = Arc::new(changed);
    }
    for route in &mut config.routes {
        let mut changed = RouteConfig::clone(route);
        changed.tunnel_idle_timeout = BODY_TIMEOUT;
        *route = Arc::new(changed);
    }
    config
}
