//! `--idle N`: connections that are open and quiet, spread over processes, and what each costs the target.
//!
//! A process may have only so many open files, and an address only so many ports. What is in the way of so many
//! connections is named before any is opened.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::args::{self, LoadArgs, invalid};
use super::codec::Protocol;
use super::config::LoadConfig;
use super::summary;
use super::target::Address;
use crate::idle::{self, IdleConfig};
use crate::process::{self, Memory};

/// The bounds that idle connections meet.
#[derive(Clone, Debug)]
struct Limits {
    /// Open files of one process of ours.
    files: u64,
    /// Open files that the target may have, where its process is known.
    target_files: Option<u64>,
    /// Open files that the machine has left.
    system_files: u64,
    /// Ports of one local address; `None` where there are none to use up.
    ports: Option<u64>,
}

/// The share of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    connections: u64,
    /// By position; `None`: whatever the kernel chooses.
    source: Option<usize>,
}

/// What idle connections cost.
#[derive(Clone, Debug, Serialize)]
struct IdleDocument {
    tool: &'static str,
    mode: &'static str,
    targets: Vec<String>,
    connections: u64,
    processes: usize,
    still_open: u64,
    before: Memory,
    after: Memory,
    bytes_per_connection: Option<f64>,
}

/// Files of a process that are no connections of ours.
const FILES_OTHER: u64 = 64;
/// A target has a listener, a ring and connections to its origin besides.
const TARGET_FILES_OTHER: u64 = 100;
/// Ports of an address that are left to others, or wait for their end.
const PORTS_OTHER: u64 = 2_000;
/// Addresses of 127.0.0.0/8 that are used without being asked for.
const LOOPBACK_SOURCES_MAX: usize = 64;
const SETTLE: Duration = Duration::from_secs(4);
const HOLD_MIN: Duration = Duration::from_millis(100);

/// Opens `count` connections to the targets, tells what each costs, and holds them for `--duration`.
pub fn execute(args: &LoadArgs, config: &LoadConfig, count: u32) -> io::Result<ExitCode> {
    if !matches!(config.protocol, Protocol::Http1 | Protocol::Http2) {
        return Err(invalid("--idle: only HTTP/1.1 and HTTP/2".into()));
    }
    let mut plans = Vec::new();
    let targets = config.targets.len() as u64;
    for (position, target) in config.targets.iter().enumerate() {
        let Address::Socket(address) = target.address else {
            return Err(invalid("--idle: expected targets with an address and a port".into()));
        };
        let share = u64::from(count) / targets + u64::from((position as u64) < u64::from(count) % targets);
        let sources = sources(address, &args.source);
        let limits = Limits::read(address, &config.pids);
        limits.check_system(u64::from(count)).map_err(invalid)?;
        let parts = limits.plan(share, sources.len()).map_err(invalid)?;
        let like = IdleConfig {
            target: address,
            connections: 0,
            request: true,
            http2: config.protocol == Protocol::Http2,
            tls: target.tls,
            source: None,
            pids: config.pids.clone(),
            settle: SETTLE,
        };
        plans.push((like, sources, parts));
    }
    for (like, _, _) in &plans {
        idle::warm_up(like)?;
    }
    let before = process::memory(&config.pids)?;
    let mut holders = Vec::new();
    for (like, sources, parts) in &plans {
        for part in parts {
            let source = part.source.and_then(|position| sources.get(position)).copied();
            holders.push(Holder::start(like, part.connections, source)?);
        }
    }
    for holder in &mut holders {
        holder.wait_open()?;
    }
    if let Some((like, _, _)) = plans.first() {
        idle::wait_settled(like)?;
    }
    let after = process::memory(&config.pids)?;
    hold(args.duration.unwrap_or_default());
    let processes = holders.len();
    let mut still_open = 0;
    for holder in holders {
        still_open += holder.finish()?;
    }
    let grown = after.anonymous_bytes.saturating_sub(before.anonymous_bytes) as f64;
    let document = IdleDocument {
        tool: "ringway-load",
        mode: "idle",
        targets: config.targets.iter().map(|target| target.url.clone()).collect(),
        connections: u64::from(count),
        processes,
        still_open,
        before,
        after,
        bytes_per_connection: (!config.pids.is_empty()).then(|| grown / f64::from(count.max(1))),
    };
    print!("{}", document.text());
    if let Some(path) = &args.output.json {
        summary::write("--json", path, &serde_json::to_string_pretty(&document)?)?;
    }
    Ok(ExitCode::from(if still_open == u64::from(count) { 0 } else { 3 }))
}

/// Waits, until Ctrl-C.
fn hold(time: Duration) {
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end && !args::shared().stop.load(Ordering::Relaxed) {
        std::thread::sleep(HOLD_MIN.min(time));
    }
}

/// The local addresses: those given, or on loopback as many as there may be need of.
fn sources(target: SocketAddr, given: &[IpAddr]) -> Vec<IpAddr> {
    if !given.is_empty() || target.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return given.to_vec();
    }
    let first = u32::from(Ipv4Addr::new(127, 0, 1, 1));
    (0..LOOPBACK_SOURCES_MAX as u32).map(|number| Ipv4Addr::from(first + number).into()).collect()
}

impl Limits {
    fn read(target: SocketAddr, pids: &[u32]) -> Limits {
        let numbers = |path: &str| -> Vec<u64> {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let (file_nr, range) =
            (numbers("/proc/sys/fs/file-nr"), numbers("/proc/sys/net/ipv4/ip_local_port_range"));
        let system_files = match file_nr.as_slice() {
            // Each connection has a file at each end, where the target is on this machine.
            [used, _, most] if target.ip().is_loopback() => most.saturating_sub(*used) / 2,
            [used, _, most] => most.saturating_sub(*used),
            _ => u64::MAX,
        };
        let ports = match range.as_slice() {
            [low, high] => high.saturating_sub(*low) + 1,
            _ => 28_232,
        };
        Limits {
            files: process::files_limit_max(),
            target_files: pids.iter().filter_map(|&pid| process::files_limit_of(pid)).max(),
            system_files,
            ports: Some(ports.saturating_sub(PORTS_OTHER).max(1)),
        }
    }

    /// Whether the machine has files for so many, over all targets.
    fn check_system(&self, count: u64) -> Result<(), String> {
        if count <= self.system_files {
            return Ok(());
        }
        Err(format!(
            "{count} connections are too many: the machine has files left for {} (fs.file-max): raise it with sysctl",
            self.system_files
        ))
    }

    /// Spreads the connections of one target over processes, or says what is in their way and what to do about it.
    fn plan(&self, count: u64, sources: usize) -> Result<Vec<Part>, String> {
        let stops = |limit: String| Err(format!("{count} connections are too many: {limit}"));
        if let Some(files) = self.target_files
            && count.saturating_add(TARGET_FILES_OTHER) > files
        {
            return stops(format!(
                "the target may have {files} open files: start it with `ulimit -n {}`, or several of it and give all \
                 their URLs",
                count + TARGET_FILES_OTHER
            ));
        }
        let each = self.files.saturating_sub(FILES_OTHER);
        if each == 0 {
            return stops(format!("a process may have {} open files: raise `ulimit -Hn`", self.files));
        }
        let by_ports = self.ports.map(|ports| ports.saturating_mul(sources.max(1) as u64));
        if let Some(room) = by_ports.filter(|room| count > *room) {
            return stops(format!(
                "{} local address(es) have ports for {room}: give more with --source 127.0.0.2,…, or widen \
                 net.ipv4.ip_local_port_range",
                sources.max(1)
            ));
        }
        let mut parts = Vec::new();
        let mut left = count;
        let mut source = 0;
        let mut ports_left = self.ports.unwrap_or(u64::MAX);
        while left > 0 {
            if ports_left == 0 {
                source += 1;
                ports_left = self.ports.unwrap_or(u64::MAX);
            }
            let connections = left.min(each).min(ports_left);
            parts.push(Part { connections, source: (sources > 0).then_some(source) });
            left -= connections;
            ports_left -= connections;
        }
        Ok(parts)
    }
}

impl IdleDocument {
    fn text(&self) -> String {
        let first = format!(
            "{}: {} idle connections of {} processes, {} still open\n",
            self.targets.join(" "),
            self.connections,
            self.processes,
            self.still_open
        );
        let kib = |memory: Memory| memory.anonymous_bytes / 1024;
        match self.bytes_per_connection {
            Some(bytes) => format!(
                "{first}  target     {bytes:.0} bytes per connection (anonymous memory {} → {} KiB)\n",
                kib(self.before),
                kib(self.after)
            ),
            None => format!("{first}  target     give --pid for its memory per connection\n"),
        }
    }
}

/// A process that holds connections open until its standard input ends.
struct Holder {
    child: Child,
    /// Closing it ends the holder, also when this process is killed.
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
}

impl Holder {
    fn start(like: &IdleConfig, connections: u64, source: Option<IpAddr>) -> io::Result<Holder> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        // Within `ringway-bench` the load tester is a subcommand.
        if program.file_name().is_some_and(|name| name == "ringway-bench") {
            command.arg("load");
        }
        command.args(["idle", "--hold", "--target", &like.target.to_string()]);
        command.args(["--connections", &connections.to_string()]);
        if let Some(source) = source {
            command.args(["--source", &source.to_string()]);
        }
        for (flag, given) in [("--http2", like.http2), ("--tls", like.tls)] {
            if given {
                command.arg(flag);
            }
        }
        // Ctrl-C is ours: the holders end when we let go of them.
        command.process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| io::Error::other("a process without its output"))?;
        Ok(Holder { child, input, output: BufReader::new(output) })
    }

    fn wait_open(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim() == OPEN {
            return Ok(());
        }
        // It has said why on standard error, which is ours.
        Err(io::Error::other("a process of --idle could not open its connections"))
    }

    /// Ends it, and returns how many connections were open until then.
    fn finish(mut self) -> io::Result<u64> {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest)?;
        self.child.wait()?;
        rest.trim().parse().map_err(|_| io::Error::other("a process of --idle has ended early"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself; so that it is no zombie.
        let _ = self.child.wait();
    }
}

const OPEN: &str = "open";

/// The side of a holder: opens, says so, and waits for the end of standard input.
pub fn hold_open(config: &IdleConfig) -> io::Result<()> {
    process::raise_files_limit(u64::from(config.connections) + FILES_OTHER);
    let mut open = idle::open_many(config, config.connections)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{OPEN}")?;
    stdout.flush()?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    let still_open = open.iter_mut().map(idle::is_open).filter(|&open| open).count();
    writeln!(stdout, "{still_open}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Limits =
        Limits { files: 20_064, target_files: Some(1 << 20), system_files: 1 << 20, ports: Some(26_000) };

    #[test]
    fn connections_are_spread_over_processes_and_addresses() {
        let parts = ROOMY.plan(60_000, 4).expect("room");
        assert_eq!(parts.iter().map(|part| part.connections).sum::<u64>(), 60_000);
        assert!(parts.iter().all(|part| part.connections <= 20_000));
        for source in 0..4 {
            let of_source = parts.iter().filter(|part| part.source == Some(source));
            assert!(of_source.map(|part| part.connections).sum::<u64>() <= 26_000);
        }
        assert_eq!(ROOMY.plan(10, 0).expect("room"), [Part { connections: 10, source: None }]);
    }

    #[test]
    fn the_limit_that_is_in_the_way_is_named() {
        for (limits, sources, name) in [
            (Limits { target_files: Some(1024), ..ROOMY }, 4, "the target may have 1024 open files"),
            (Limits { files: 64, ..ROOMY }, 4, "ulimit -Hn"),
            (ROOMY, 0, "--source"),
            (ROOMY, 2, "ip_local_port_range"),
        ] {
            let said = limits.plan(60_000, sources).expect_err(name);
            assert!(said.contains(name), "{said}");
        }
        let full = Limits { system_files: 500, ..ROOMY };
        assert!(full.check_system(501).expect_err("too many").contains("fs.file-max"));
        assert_eq!(full.check_system(500), Ok(()));
    }
}
