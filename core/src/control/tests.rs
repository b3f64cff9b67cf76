//! The control thread with workers of the test's own: what they are told, what the admin listeners answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use crate::config::{EndpointConfig, ProcessConfig};
use crate::control::lifecycle::Exit;
use crate::io::Address;

const WAIT: Duration = Duration::from_secs(10);

/// What the next load is to give: a change of a fresh configuration, or an error.
type Next = Arc<Mutex<Result<fn(&mut Config), String>>>;

/// A running control thread.
struct Running {
    tcp: SocketAddr,
    socket: PathBuf,
    stats: Arc<Stats>,
    commands: Vec<std_mpsc::Receiver<Command>>,
    guards: Vec<Option<WorkerGuard>>,
    next: Next,
    loads: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Exit>>,
}

fn config(change: fn(&mut Config)) -> Config {
    let address = |text: &str| text.parse::<Address>().expect("an address");
    let process = ProcessConfig { admin: "127.0.0.1:0".parse().ok(), ..ProcessConfig::default() };
    let endpoint = EndpointConfig::Address(address("127.0.0.1:9"));
    let mut config = Config::simple(&[address("127.0.0.1:1")], &[endpoint], process);
    change(&mut config);
    config
}

impl Running {
    fn start(name: &str, workers: usize, change: fn(&mut Config)) -> Running {
        let socket = std::env::temp_dir().join(format!("ringway-control-{}-{name}", std::process::id()));
        let mut first = config(change);
        first.process.admin_socket = Some(socket.clone());
        let stats = Stats::new(workers);
        let generation = Generation::first(Arc::new(first), &stats);
        let (events, receiver) = channel(workers);
        let (mailboxes, commands) = (0..workers).map(|_| mailbox()).unzip();
        let next: Next = Arc::new(Mutex::new(Ok(|_| {})));
        let loads = Arc::new(AtomicUsize::new(0));
        let (address_sender, address) = std_mpsc::channel();
        let thread = {
            let (stats, next, loads, socket) = (stats.clone(), next.clone(), loads.clone(), socket.clone());
            std::thread::spawn(move || {
                let load: Load = Arc::new(move || {
                    loads.fetch_add(1, Ordering::Relaxed);
                    let mut config = config(next.lock().expect("not poisoned").clone()?);
                    config.process.admin_socket = Some(socket.clone());
                    Ok(config)
                });
                let bind: Bind = Arc::new(|old, new| {
                    let is_new = |l: &&Arc<crate::config::ListenerConfig>| {
                        !old.listeners.iter().any(|o| o.bind == l.bind)
                    };
                    match new.listeners.iter().find(is_new) {
                        Some(listener) => Err(format!("{} cannot be bound", listener.bind)),
                        None => Ok(Vec::new()),
                    }
                });
                let setup = Setup {
                    generation,
                    stats,
                    mailboxes,
                    events: receiver,
                    load: Some(load),
                    tried: Tried::default(),
                    bind,
                    log: None,
                };
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                tokio::task::LocalSet::new().block_on(&runtime, async move {
                    let signals = lifecycle::Signals::new().expect("signals");
                    let listeners = admin::Listeners::bind(&setup.generation.config.process).expect("bound");
                    address_sender
                        .send(listeners.tcp_address().expect("an address"))
                        .expect("the test waits");
                    lifecycle::serve(setup, listeners, signals).await
                })
            })
        };
        let guards = (0..workers).map(|worker| Some(events.worker(worker))).collect();
        let tcp = address.recv_timeout(WAIT).expect("the control thread starts");
        Running { tcp, socket, stats, commands, guards, next, loads, thread: Some(thread) }
    }

    fn all_ready(&self) {
        self.guards.iter().flatten().for_each(WorkerGuard::ready);
        self.wait_for("GET /ready HTTP/1.1\r\nHost: localhost\r\n", "HTTP/1.1 200");
    }

    /// Sends a request over TCP until the answer begins as it should.
    fn wait_for(&self, head: &str, expected: &str) {
        let deadline = Instant::now() + WAIT;
        while !self.tcp(head).starts_with(expected) {
            assert!(Instant::now() < deadline, "never came: {head:?} → {expected:?}");
        }
    }

    fn tcp(&self, head: &str) -> String {
        let stream = TcpStream::connect(self.tcp).expect("connected");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        exchange(stream, head)
    }

    fn unix(&self, head: &str) -> String {
        let stream = UnixStream::connect(&self.socket).expect("connected");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        exchange(stream, &format!("{head}Host: ringway\r\n"))
    }

    fn command(&self, worker: usize) -> Command {
        self.commands[worker].recv_timeout(WAIT).expect("a command")
    }

    fn configured(&self, worker: usize) -> Arc<Generation> {
        match self.command(worker) {
            Command::Configure { generation, .. } => generation,
            other => panic!("expected a configuration, found {other:?}"),
        }
    }

    fn set_next(&self, next: Result<fn(&mut Config), String>) {
        *self.next.lock().expect("not poisoned") = next;
    }

    fn finish(&mut self, worker: usize) {
        self.guards[worker].take().expect("not finished yet").finished();
    }

    fn exit(&mut self) -> Exit {
        self.thread.take().expect("runs").join().expect("the control thread did not panic")
    }
}

fn mailbox() -> (SendCommand, std_mpsc::Receiver<Command>) {
    let (sender, receiver) = std_mpsc::sync_channel(64);
    let send = move |command| {
        // As a worker says once it uses it.
        if let Command::Configure { generation, .. } = &command {
            generation.taken.add();
        }
        sender.try_send(command).map_err(|error| match error {
            std_mpsc::TrySendError::Full(command) | std_mpsc::TrySendError::Disconnected(command) => command,
        })
    };
    (Box::new(send), receiver)
}

fn exchange(mut stream: impl Read + Write, head: &str) -> String {
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).expect("sent");
    let mut answer = Vec::new();
    // A reset after the answer does not matter here.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

#[test]
fn ready_when_every_worker_is_and_gone_when_every_worker_has_ended() {
    let mut running = Running::start("ready", 2, |_| {});
    let ready = "GET /ready HTTP/1.1\r\nHost: localhost\r\n";
    assert!(running.tcp(ready).starts_with("HTTP/1.1 503"), "starting");
    running.guards[0].as_ref().expect("a worker").ready();
    assert!(running.tcp(ready).ends_with("starting\n"));
    running.all_ready();
    assert!(running.tcp("GET /live HTTP/1.1\r\nHost: localhost\r\n").starts_with("HTTP/1.1 200"));
    assert!(running.unix("POST /drain HTTP/1.1\r\n").starts_with("HTTP/1.1 202"));
    for worker in 0..2 {
        assert!(matches!(running.command(worker), Command::Drain { deadline } if deadline > Instant::now()));
    }
    assert!(running.tcp(ready).ends_with("draining\n"));
    assert!(running.unix("POST /reload HTTP/1.1\r\n").contains("shutting down"));
    running.finish(0);
    running.finish(1);
    assert_eq!(running.exit(), Exit::Success);
    assert!(!running.socket.exists(), "the admin socket goes with the process");
}

#[test]
fn a_dead_worker_ends_the_process_with_a_failure() {
    for while_draining in [false, true] {
        let mut running = Running::start(&format!("dead{while_draining}"), 2, |_| {});
        running.all_ready();
        if while_draining {
            running.unix("POST /drain HTTP/1.1\r\n");
            running.command(0);
        }
        drop(running.guards[1].take());
        assert_eq!(running.exit(), Exit::Failure);
    }
}

#[test]
fn a_worker_that_leaves_unasked_ends_the_process_with_a_failure() {
    let mut running = Running::start("unasked", 2, |_| {});
    running.all_ready();
    running.finish(0);
    assert_eq!(running.exit(), Exit::Failure);
}

#[test]
fn after_the_deadline_of_a_drain_the_workers_are_stopped() {
    let mut running = Running::start("deadline", 1, |config| config.process.drain_timeout = Duration::ZERO);
    running.all_ready();
    running.unix("POST /drain HTTP/1.1\r\n");
    assert!(matches!(running.command(0), Command::Drain { .. }));
    assert!(matches!(running.command(0), Command::StopNow));
    running.finish(0);
    assert_eq!(running.exit(), Exit::Success);
}

#[test]
fn a_reload_reaches_every_worker_and_a_bad_one_none() {
    let mut running = Running::start("reload", 2, |_| {});
    running.all_ready();
    running.set_next(Ok(|config| {
        config.process.drain_timeout = Duration::ZERO;
        config.routes = Vec::new();
    }));
    let answer = running.unix("POST /reload HTTP/1.1\r\n");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("generation=2"), "{answer}");
    for worker in 0..2 {
        let generation = running.configured(worker);
        assert_eq!((generation.config.generation, generation.config.routes.len()), (2, 0));
    }
    // Refused by the loader, then by the binder: the second generation stays.
    running.set_next(Err("ringway.yaml:3:7: listeners[0].bind: expected ADDRESS:PORT".to_owned()));
    let answer = running.unix("POST /reload HTTP/1.1\r\n");
    assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("ringway.yaml:3:7"), "{answer}");
    let shown = json(&running.tcp("GET /config HTTP/1.1\r\nHost: localhost\r\n"));
    assert_eq!(shown["generation"], 2);
    assert_eq!(shown["last_reload"]["ok"], false);
    assert!(shown["last_reload"]["error"].as_str().is_some_and(|error| error.contains("ringway.yaml:3:7")));
    assert_eq!(shown["config"]["generation"], 2);
    running.set_next(Ok(|config| {
        let mut listener = (*config.listeners[0]).clone();
        listener.bind = "127.0.0.1:2".parse().expect("an address");
        config.listeners.push(Arc::new(listener));
    }));
    let answer = running.unix("POST /reload HTTP/1.1\r\n");
    assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("127.0.0.1:2 cannot be bound"), "{answer}");
    assert_eq!((running.stats.process.reloads.get(), running.stats.process.reload_failures.get()), (1, 2));
    assert!(running.commands.iter().all(|commands| commands.try_recv().is_err()), "no worker heard of it");
    assert_eq!(running.loads.load(Ordering::Relaxed), 3);
    // The drain uses what the reload brought.
    running.unix("POST /drain HTTP/1.1\r\n");
    assert!(matches!(running.command(0), Command::Drain { deadline } if deadline <= Instant::now()));
    running.finish(0);
    running.finish(1);
    assert_eq!(running.exit(), Exit::Success);
}

#[test]
fn old_generations_in_use_are_bounded() {
    let running = Running::start("bounded", 1, |config| config.process.generations_max = 2);
    running.set_next(Ok(|config| config.process.generations_max = 2));
    running.all_ready();
    let reload = || running.unix("POST /reload HTTP/1.1\r\n");
    // A worker holds all of what it gets, as long exchanges would; the test holds none of the first generation.
    let mut held = Vec::new();
    for number in 2..=4 {
        assert!(reload().contains(&format!("generation={number}")));
        held.push(running.configured(0));
    }
    let refused = reload();
    assert!(refused.contains("[2, 3]") && refused.contains("`generations`"), "{refused}");
    let shown = json(&running.unix("GET /config HTTP/1.1\r\n"));
    assert_eq!(shown["old_generations_in_use"], serde_json::json!([2, 3]));
    drop(held.remove(0));
    assert!(reload().contains("generation=5"));
    let metrics = running.unix("GET /metrics HTTP/1.1\r\n");
    assert!(
        metrics.contains("\nringway_config_generation 5\n")
            && metrics.contains("\nringway_config_generations 3\n")
    );
}

#[test]
fn over_tcp_it_is_read_only_and_for_this_host_only() {
    let running = Running::start("tcp", 1, |config| config.process.admin_token = Some("secret".to_owned()));
    running.set_next(Ok(|config| config.process.admin_token = Some("secret".to_owned())));
    running.all_ready();
    let cases = [
        ("GET /stats HTTP/1.1\r\nHost: localhost\r\n", "200"),
        ("HEAD /stats HTTP/1.1\r\nHost: localhost\r\n", "200"),
        ("GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n", "403"),
        ("GET /metrics HTTP/1.1\r\n", "403"),
        ("GET /metrics HTTP/1.0\r\n", "403"),
        ("GET /config HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n", "403"),
        ("POST /drain HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 0\r\n", "403"),
        ("POST /drain HTTP/1.1\r\nHost: localhost\r\n", "401"),
        ("POST /drain HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n", "401"),
        ("POST /reload HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer secret\r\n", "403"),
        ("POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n", "200"),
        ("GET /drain HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n", "405"),
        ("POST /stats HTTP/1.1\r\nHost: localhost\r\n", "405"),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n", "404"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n", "200"),
    ];
    for (head, status) in cases {
        let answer = running.tcp(head);
        assert!(
            answer.starts_with(&format!("HTTP/1.{} {status}", u8::from(!head.contains("HTTP/1.0")))),
            "{head}\n{answer}"
        );
    }
    assert!(
        !running.tcp("GET /config HTTP/1.1\r\nHost: localhost\r\n").contains("secret"),
        "the token is not shown"
    );
    assert!(
        running.tcp("GET /ready HTTP/1.1\r\nHost: localhost\r\n").starts_with("HTTP/1.1 200"),
        "not drained"
    );
}

#[test]
fn heads_and_connections_are_bounded() {
    let running = Running::start("bounds", 1, |_| {});
    let long = format!("GET /live HTTP/1.1\r\nHost: localhost\r\nx: {}\r\n", "a".repeat(100_000));
    assert!(running.tcp(&long).starts_with("HTTP/1.1 431"));
    let many = format!("GET /live HTTP/1.1\r\nHost: localhost\r\n{}", "x: a\r\n".repeat(1_000));
    assert!(running.tcp(&many).starts_with("HTTP/1.1 431"));
    // Silent connections hold nobody out: the oldest of them go.
    let held: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(running.tcp).expect("connected");
            stream.write_all(b"GET /li").expect("sent");
            stream
        })
        .collect();
    assert!(running.tcp("GET /live HTTP/1.1\r\nHost: localhost\r\n").starts_with("HTTP/1.1 200"));
    assert!(running.unix("GET /live HTTP/1.1\r\n").starts_with("HTTP/1.1 200"));
    assert!(
        running.stats.process.admin_refused.get() >= 136,
        "{}",
        running.stats.process.admin_refused.get()
    );
    drop(held);
}
