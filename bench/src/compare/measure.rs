//! Starts the proxies and measures each of them in turn.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringway_loadtest::idle::IdleReport;
use ringway_loadtest::process::{self, Memory};
use ringway_loadtest::report::Report;
use ringway_loadtest::slow_read::SlowReadReport;

use super::child::{self, Running};
use super::flood::{Flood, Flooded};
use super::http2::{Files, Load, Shape, Sides};
use super::peers::{Peer, Place};
use super::tls::{self, Certificate, Tls};
use super::{CompareArgs, Workload};

/// The proxies that run, and where.
pub(super) struct Bench<'a> {
    args: &'a CompareArgs,
    // Before `dir`: the proxies end before their files go.
    proxies: Vec<Proxy>,
    dir: TemporaryFolder,
    origin: SocketAddr,
    sides: Sides,
    certificate: Certificate,
    proxy_cpu: usize,
    load_cpu: usize,
}

struct Proxy {
    peer: Peer,
    running: Running,
    listen: SocketAddr,
    /// A second listener, where the workload has one.
    beside: SocketAddr,
    header: Option<String>,
    /// After the start, before any traffic.
    started: Memory,
}

/// One measurement of one proxy.
pub(super) struct Run {
    pub(super) workload: Workload,
    pub(super) peer: Peer,
    pub(super) round: u32,
    pub(super) report: Report,
}

const READY_WAIT_MAX: Duration = Duration::from_secs(10);
/// A proxy without traffic has its final size after that.
const START_SETTLE: Duration = Duration::from_millis(500);

impl<'a> Bench<'a> {
    pub(super) fn new(args: &'a CompareArgs, sides: Sides) -> io::Result<Bench<'a>> {
        let mut cpus = allowed_cpus().into_iter();
        let default = (cpus.next(), cpus.next());
        let proxy_cpu = args.proxy_cpu.or(default.0);
        let load_cpu = args.load_cpu.or(default.1);
        let (Some(proxy_cpu), Some(load_cpu)) = (proxy_cpu, load_cpu) else {
            return Err(io::Error::other("expected two CPUs: one for the proxy, one for client and origin"));
        };
        let dir = TemporaryFolder::new()?;
        let certificate = Certificate::make(sides.tls.key(), &dir.0)?;
        let origin = free_address()?;
        Ok(Bench { args, proxies: Vec::new(), dir, origin, sides, certificate, proxy_cpu, load_cpu })
    }

    /// Starts a proxy and waits until it listens.
    pub(super) fn start(&mut self, peer: Peer) -> io::Result<()> {
        let (listen, beside) = (free_address()?, free_address()?);
        let certificate = &self.certificate;
        let place = Place { listen, beside, origin: self.origin, sides: self.sides, certificate };
        let launch = peer.launch(self.args, &self.dir.0, place)?;
        let log = self.dir.0.join(format!("{}.log", listen.port()));
        let mut running = Running::start(&launch.program, &launch.args, self.proxy_cpu, log)?;
        wait_for_listener(listen, &mut running)?;
        std::thread::sleep(START_SETTLE);
        let started = process::memory(&[running.id()])?;
        self.proxies.push(Proxy { peer, running, listen, beside, header: launch.header, started });
        Ok(())
    }

    /// Measures every proxy in every round.
    pub(super) fn rounds(&mut self, workload: Workload, rate: Option<f64>) -> io::Result<Vec<Run>> {
        self.each_round(workload, self.args.rounds, |bench, position| bench.measure(position, workload, rate))
    }

    /// Measures every proxy in every round, with an origin that stays for all of them.
    pub(super) fn shaped_rounds(&mut self, workload: Workload, shape: Shape) -> io::Result<Vec<Run>> {
        let files = Files::new(&self.dir.0)?;
        let origin = if workload.sides().origin_http2 {
            let mut origin = files.start_origin(workload, self.origin, self.load_cpu)?;
            wait_for_listener(self.origin, &mut origin)?;
            origin
        } else if workload.tls() == Tls::Origin {
            let mut origin = tls::start_origin(self.origin, &self.certificate, self.load_cpu, &self.dir.0)?;
            wait_for_listener(self.origin, &mut origin)?;
            origin
        } else {
            self.start_origin(workload.body_bytes())?
        };
        let load = Load {
            files: &files,
            workload,
            shape,
            args: self.args,
            cpu: self.load_cpu,
            origin_pid: origin.id(),
        };
        self.each_round(workload, self.args.rounds, |bench, position| {
            let proxy = &mut bench.proxies[position];
            proxy.running.check()?;
            load.measure(proxy.listen, proxy.running.id())
        })
    }

    /// Measures every proxy in every round, left alone and then beside a flood of handshakes.
    pub(super) fn flooded_rounds(&mut self) -> io::Result<Vec<Flooded>> {
        let files = Files::new(&self.dir.0)?;
        let origin = self.start_origin(Workload::TlsFlood.body_bytes())?;
        let (workload, cpu, origin_pid) = (Workload::TlsFlood, self.load_cpu, origin.id());
        let shape = Shape { connections: 64, streams: 1 };
        let load = Load { files: &files, workload, shape, args: self.args, cpu, origin_pid };
        let flood = Flood::new(self.args, &self.dir.0, cpu)?;
        let mut results = Vec::new();
        let count = self.proxies.len();
        for round in 0..self.args.rounds {
            for turn in 0..count {
                let proxy = &mut self.proxies[(turn + round as usize) % count];
                proxy.running.check()?;
                let (peer, pid) = (proxy.peer, proxy.running.id());
                let quiet = load.measure(proxy.listen, pid)?;
                let (flooded, handshakes_per_second) =
                    flood.during(proxy.beside, || load.measure(proxy.listen, pid))?;
                eprintln!(
                    "{workload:?} round {round} {:16} p99 {:.0} µs, beside {handshakes_per_second:.0} handshakes/s {:.0} µs, {} errors",
                    peer.name(),
                    quiet.latency.p99_us,
                    flooded.latency.p99_us,
                    quiet.errors.total() + flooded.errors.total()
                );
                results.push(Flooded { peer, round, quiet, flooded, handshakes_per_second });
            }
        }
        Ok(results)
    }

    pub(super) fn each_round(
        &mut self,
        workload: Workload,
        rounds: u32,
        measure: impl Fn(&mut Self, usize) -> io::Result<Report>,
    ) -> io::Result<Vec<Run>> {
        let mut runs = Vec::new();
        let count = self.proxies.len();
        let mut left_out = vec![false; count];
        for round in 0..rounds {
            for turn in 0..count {
                let position = (turn + round as usize) % count;
                if left_out[position] {
                    continue;
                }
                let report = measure(self, position)?;
                let peer = self.proxies[position].peer;
                if report.requests == 0 {
                    // Such as a group that its TLS does not know.
                    eprintln!("{workload:?}: {} is left out: not one request was answered", peer.name());
                    left_out[position] = true;
                    continue;
                }
                let proxy = report.proxy.map_or(0.0, |proxy| proxy.us_per_request);
                eprintln!(
                    "{workload:?} round {round} {:16} {:8.0} requests/s {proxy:7.2} µs, tester {:.2} µs, {} errors",
                    peer.name(),
                    report.requests_per_second,
                    report.tester_us_per_request,
                    report.errors.total()
                );
                runs.push(Run { workload, peer, round, report });
            }
        }
        Ok(runs)
    }

    /// One measurement of one proxy; with a rate in open loop.
    pub(super) fn measure(
        &mut self,
        position: usize,
        workload: Workload,
        rate: Option<f64>,
    ) -> io::Result<Report> {
        let proxy = &mut self.proxies[position];
        proxy.running.check()?;
        let (origin, target, pid) =
            (self.origin.to_string(), proxy.listen.to_string(), proxy.running.id().to_string());
        let (body_bytes, connections) =
            (workload.body_bytes().to_string(), workload.connections(self.args).to_string());
        let (seconds, warmup) = (self.args.seconds.to_string(), self.args.warmup.to_string());
        let mut args =
            words(&["load", "both", "--json", "--listen", &origin, "--target", &target, "--pid", &pid]);
        args.extend(words(&["--body-bytes", &body_bytes, "--connections", &connections]));
        args.extend(words(&["--seconds", &seconds, "--warmup", &warmup]));
        if let Some(header) = &proxy.header {
            args.extend(words(&["--header", header]));
        }
        if let Some(rate) = rate {
            args.extend(words(&["--rate", &rate.to_string()]));
        }
        if workload == Workload::New {
            args.extend(words(&["--new-connection"]));
        }
        self.load(&args)
    }

    /// Memory per idle connection, each proxy in turn, with the origin in a process of its own.
    pub(super) fn idle(&mut self, workload: Workload) -> io::Result<Vec<(Peer, IdleReport)>> {
        let _origin = self.start_origin(64)?;
        let connections = self.args.idle_connections.to_string();
        let more = match (workload.sides().client_http2, workload.tls()) {
            (true, _) => "--http2",
            (false, Tls::Client(_)) => "--tls",
            (false, _) => "",
        };
        self.each(|listen, pid| {
            let mut args = words(&["load", "idle", "--json", "--target", listen, "--pid", pid]);
            args.extend(words(&["--connections", &connections]));
            args.extend(more.split_whitespace().map(OsString::from));
            args
        })
    }

    /// Memory while a large body flows to a slow reader.
    pub(super) fn slow(&mut self) -> io::Result<Vec<(Peer, SlowReadReport)>> {
        let _origin = self.start_origin(Workload::Slow.body_bytes())?;
        let seconds = (self.args.seconds * 3.0).to_string();
        self.each(|listen, pid| {
            words(&["load", "slow-read", "--json", "--target", listen, "--pid", pid, "--seconds", &seconds])
        })
    }

    /// Memory after the start.
    pub(super) fn started(&self) -> Vec<(Peer, Memory)> {
        self.proxies.iter().map(|proxy| (proxy.peer, proxy.started)).collect()
    }

    /// Relays have a descriptor on each side of every connection, more than a usual limit allows; they are left out.
    fn each<T: serde::de::DeserializeOwned>(
        &mut self,
        command: impl Fn(&str, &str) -> Vec<OsString>,
    ) -> io::Result<Vec<(Peer, T)>> {
        let mut results = Vec::new();
        for position in 0..self.proxies.len() {
            let proxy = &mut self.proxies[position];
            if Peer::RELAYS.contains(&proxy.peer) {
                continue;
            }
            proxy.running.check()?;
            let (peer, listen, pid) = (proxy.peer, proxy.listen.to_string(), proxy.running.id().to_string());
            match self.load(&command(&listen, &pid)) {
                Ok(result) => results.push((peer, result)),
                Err(error) => {
                    child::check_interrupted()?;
                    eprintln!("{}: {error}", peer.name());
                }
            }
        }
        Ok(results)
    }

    fn start_origin(&self, body_bytes: u64) -> io::Result<Running> {
        let mut args = words(&["load", "origin", "--listen", &self.origin.to_string()]);
        args.extend(words(&["--body-bytes", &body_bytes.to_string()]));
        let program = std::env::current_exe()?;
        let mut running = Running::start(&program, &args, self.load_cpu, self.dir.0.join("origin.log"))?;
        let end = Instant::now() + READY_WAIT_MAX;
        while !answers(self.origin) {
            child::check_interrupted()?;
            running.check()?;
            if Instant::now() > end {
                return Err(io::Error::other(format!("the origin does not answer on {}", self.origin)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(running)
    }

    /// Runs the load tester, which is this same program, on its own CPU.
    fn load<T: serde::de::DeserializeOwned>(&self, args: &[OsString]) -> io::Result<T> {
        child::check_interrupted()?;
        let text = child::output(&std::env::current_exe()?, args, self.load_cpu)?;
        serde_json::from_str(&text)
            .map_err(|error| io::Error::other(format!("load tester: {error}: {text:?}")))
    }
}

pub(super) fn wait_for_listener(address: SocketAddr, running: &mut Running) -> io::Result<()> {
    let end = Instant::now() + READY_WAIT_MAX;
    while TcpStream::connect(address).is_err() {
        child::check_interrupted()?;
        running.check()?;
        if Instant::now() > end {
            return Err(io::Error::other(format!("does not listen on {address} after {READY_WAIT_MAX:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether a request is answered: a listener alone may be the remains of a process that has just ended.
fn answers(address: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ready.test\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A loopback address whose port was free a moment ago.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

pub(super) fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all zeroes is the empty set, which the kernel fills.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        set
    };
    // SAFETY: each number is within the set's 1024 bits.
    (0..1024).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// A folder that goes with its owner.
pub(super) struct TemporaryFolder(pub(super) PathBuf);

impl TemporaryFolder {
    pub(super) fn new() -> io::Result<TemporaryFolder> {
        let path = std::env::temp_dir().join(format!("ringway-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(TemporaryFolder(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        eprintln!("{} stays: {error}", path.display());
    }
}
