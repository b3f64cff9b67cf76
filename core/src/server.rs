//! Starts the proxy: sockets, worker threads, and the control thread that this thread becomes.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::access_log::{AccessLog, LogWriter};
use crate::config::{
    ClusterConfig, Config, ConfigError, ConfigSource, EndpointConfig, Inputs, ListenerConfig, ProcessConfig,
};
use crate::control::{self, Events, Generation, SendCommand, Setup, Sockets, Tried};
use crate::io::{self as rt, Address, Driver, RuntimeConfig, mailbox};
use crate::shared::Shared;
use crate::stats::Stats;
use crate::worker::{self, Message, WorkerStart};
use crate::{log_info, log_warning};

/// Messages that may wait for one worker. What does not fit is refused to its sender, which has another way.
const MAILBOX_MESSAGES_MAX: usize = 4096;
/// Connections that the kernel keeps for us until they are accepted; `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Runs the proxy with `config` until it is told to stop; `source` is what a reload reads again.
pub fn run(config: Config, source: ConfigSource) -> ExitCode {
    match start(config, source) {
        Ok(code) => code,
        Err(message) => {
            crate::log_error!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn start(mut config: Config, source: ConfigSource) -> Result<ExitCode, String> {
    if source.wants_demo_origin() {
        add_demo_origin(&mut config)?;
    }
    let config = Arc::new(config);
    let process = &config.process;
    let (driver, fallback) = rt::choose(process.io)?;
    if let Some(why) = fallback {
        log_warning!("io_uring is not used, epoll is: {why}");
    }
    let sockets = bind_all(&config)?;
    let stats = Stats::new(process.workers);
    let log = start_access_log(&config, &stats)?;
    let generation = Generation::first(Arc::clone(&config), &stats);
    let (events, event_receiver) = control::channel(process.workers);
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..process.workers).map(|_| mailbox::channel(MAILBOX_MESSAGES_MAX)).unzip();
    let shared = Arc::new(Shared::new(senders));
    announce(&config, &sockets, driver);
    if source.wants_demo_origin() {
        suggest(&config, &sockets);
    }
    let mut threads = Vec::new();
    for ((id, receiver), sockets) in receivers.into_iter().enumerate().zip(sockets) {
        let worker_stats = Arc::clone(&stats.workers()[id]);
        let access_log = match &log {
            Some(writer) => writer.handle(Arc::clone(&worker_stats)),
            None => AccessLog::off(Arc::clone(&worker_stats)),
        };
        let start = WorkerStart {
            id,
            shared: Arc::clone(&shared),
            stats: worker_stats,
            access_log,
            generation: Arc::clone(&generation),
            sockets,
            receiver,
            random_seed: ahash::RandomState::new().hash_one(id),
        };
        threads.push(spawn_worker(start, runtime_config(process, driver, id), events.clone())?);
    }
    drop(events);
    let tried = Tried::default();
    tried.set(config.sources.inputs.clone());
    let mailboxes = (0..process.workers).map(|id| send_command(&shared, id)).collect();
    let code = control::run(Setup {
        generation,
        stats,
        mailboxes,
        events: event_receiver,
        load: source.path.is_some().then(|| loader(source, tried.clone())),
        tried,
        bind: Arc::new(bind_new),
        log,
    });
    for thread in threads {
        // The control thread has seen the end of each worker, and how it ended, before it returned.
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
    Ok(code)
}

/// Starts the demo origin as the only endpoint of every cluster, and says what to try.
fn add_demo_origin(config: &mut Config) -> Result<(), String> {
    let origin =
        crate::demo_origin::start().map_err(|error| format!("cannot start the demo origin: {error}"))?;
    for cluster in &mut config.clusters {
        let endpoints = vec![EndpointConfig::Address(Address::Tcp(origin))];
        *cluster = Arc::new(ClusterConfig { endpoints, ..(**cluster).clone() });
    }
    log_info!("no upstream given: requests go to the embedded demo origin at {origin}");
    Ok(())
}

/// Reads the configuration again, for a reload. All errors make one message, each a line of it.
fn loader(source: ConfigSource, tried: Tried) -> control::Load {
    Arc::new(move || {
        let mut inputs = Inputs::default();
        let loaded = Config::load_noting(&source, &mut inputs);
        tried.set(inputs);
        let config = loaded
            .map_err(|errors| errors.iter().map(ConfigError::one_line).collect::<Vec<_>>().join("\n"))?;
        for warning in &config.warnings {
            log_warning!("{}", warning.one_line());
        }
        Ok(config)
    })
}

fn start_access_log(config: &Config, stats: &Stats) -> Result<Option<LogWriter>, String> {
    let Some(log) = &config.process.access_log else { return Ok(None) };
    LogWriter::start(log, Arc::clone(&stats.access_log))
        .map(Some)
        .map_err(|error| format!("cannot open the access log: {error}"))
}

fn runtime_config(process: &ProcessConfig, driver: Driver, worker: usize) -> RuntimeConfig {
    RuntimeConfig {
        cpu: process.cpus.get(worker).copied(),
        buffers: process.buffers,
        wait_nr: process.wait_nr,
        min_wait_usec: process.min_wait_usec,
        driver,
        ..RuntimeConfig::default()
    }
}

fn spawn_worker(
    start: WorkerStart,
    runtime: RuntimeConfig,
    events: Events,
) -> Result<thread::JoinHandle<()>, String> {
    let id = start.id;
    thread::Builder::new()
        .name(format!("worker-{id}"))
        .spawn(move || {
            let guard = events.worker(id);
            match rt::run(&runtime, worker::run(start, &guard)) {
                Ok(()) => guard.finished(),
                // Dropping the guard reports a dead worker, and that ends the process.
                Err(error) => crate::log_error!("worker {id} cannot run: {error}"),
            }
        })
        .map_err(|error| format!("cannot start the thread of worker {id}: {error}"))
}

fn send_command(shared: &Arc<Shared>, worker: usize) -> SendCommand {
    let sender = shared.workers[worker].sender.clone();
    Box::new(move |command| {
        sender.try_send(Message::Command(command)).map_err(|full| match full.0 {
            Message::Command(command) => command,
            _ => unreachable!("what does not fit is given back unchanged"),
        })
    })
}

/// One line per listener, which also is how a person or a test learns a port that the kernel chose.
fn announce(config: &Config, sockets: &Sockets, driver: Driver) {
    let first = sockets.first().map(Vec::as_slice).unwrap_or_default();
    for (listener, (_, fd)) in config.listeners.iter().zip(first) {
        let address = rt::socket_address(fd).unwrap_or_else(|_| listener.bind.clone());
        log_info!("listening name={} address={address}", listener.name);
    }
    log_info!("started workers={} io={driver}", config.process.workers);
}

/// What to try on a fresh machine.
fn suggest(config: &Config, sockets: &Sockets) {
    let first = sockets.first().and_then(|of_worker| of_worker.first());
    let Some(Ok(address)) = first.map(|(_, fd)| rt::socket_address(fd)) else { return };
    log_info!("try: curl -i http://{address}/");
    if let Some(admin) = config.process.admin.filter(|admin| admin.port() != 0) {
        log_info!("try: curl http://{admin}/stats");
    }
    log_info!("try: ringway run --upstream http://HOST:PORT, ringway run --help, ringway doctor");
}

/// The listening sockets of all listeners, for each worker.
fn bind_all(config: &Config) -> Result<Sockets, String> {
    bind_listeners(config, |_| true)
}

/// The sockets of listeners that are new in `new`: those that stay keep theirs.
fn bind_new(old: &Config, new: &Config) -> Result<Sockets, String> {
    bind_listeners(new, |listener| !old.listeners.iter().any(|kept| kept.bind == listener.bind))
}

fn bind_listeners(config: &Config, wanted: impl Fn(&ListenerConfig) -> bool) -> Result<Sockets, String> {
    let workers = config.process.workers;
    let mut sockets: Sockets = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in config.listeners.iter().enumerate().filter(|(_, listener)| wanted(listener)) {
        let bound = bind_for_workers(&listener.bind, workers).map_err(|error| {
            format!("cannot listen on {} (listener {}): {}", listener.bind, listener.name, explain(&error))
        })?;
        for (of_worker, fd) in sockets.iter_mut().zip(bound) {
            of_worker.push((index, fd));
        }
    }
    Ok(sockets)
}

/// A socket for each worker. SO_REUSEPORT would let a second process share the port in silence, so the address
/// is first bound without it, which fails if anybody has it.
fn bind_for_workers(bind: &Address, workers: usize) -> io::Result<Vec<OwnedFd>> {
    match bind {
        Address::Tcp(_) => {
            let probe = bind_exclusively(bind)?;
            // Port 0: all workers have to share the port that the kernel chose for the first.
            let chosen = rt::socket_address(&probe)?;
            drop(probe);
            (0..workers).map(|_| rt::bind(&chosen, true, BACKLOG)).collect()
        }
        Address::Unix(_) => {
            let socket = rt::bind(bind, false, BACKLOG)?;
            let copies: io::Result<Vec<OwnedFd>> = (1..workers).map(|_| socket.try_clone()).collect();
            let mut all = copies?;
            all.push(socket);
            Ok(all)
        }
    }
}

/// How long an address may take to be free after its last owner was killed.
const RELEASE_MAX: Duration = Duration::from_millis(200);

/// Fails if anybody has the address, and still has it a moment later: of a predecessor that was killed, the kernel takes
/// down the ring after the process is gone, and with it, some milliseconds late, the listeners that the ring accepted on.
fn bind_exclusively(address: &Address) -> io::Result<OwnedFd> {
    let started = Instant::now();
    loop {
        match rt::bind(address, false, BACKLOG) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && started.elapsed() < RELEASE_MAX => {
                thread::sleep(RELEASE_MAX / 20);
            }
            result => return result,
        }
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        _ => error.to_string(),
    }
}
