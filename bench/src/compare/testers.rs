//! `ringway-bench testers`: what the load testers themselves cost, `ringway-load` beside wrk and h2load, each in every round
//! against the same origin.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::child::{self, Running};
use super::measure::{TemporaryFolder, allowed_cpus, free_address, wait_for_listener};
use super::peers;

/// How long, how often, and where.
#[derive(Clone, Debug, Args)]
pub struct TestersArgs {
    /// Rounds: each runs every tester once.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of one run, whole ones.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// CPU of the origin. Default: the first that this process may use.
    #[arg(long)]
    origin_cpu: Option<usize>,
    /// CPU of the testers. Default: the second that this process may use.
    #[arg(long)]
    load_cpu: Option<usize>,
}

/// What the testers ask for.
#[derive(Clone, Copy, Debug)]
struct Workload {
    title: &'static str,
    http2: bool,
    tls: bool,
}

const WORKLOADS: [Workload; 4] = [
    Workload { title: "HTTP/1.1, 64 B, 64 connections", http2: false, tls: false },
    Workload { title: "HTTP/1.1 over TLS, 64 B, 64 connections", http2: false, tls: true },
    Workload { title: "HTTP/2, 64 B, 8 connections x 32 streams", http2: true, tls: false },
    Workload { title: "HTTP/2 over TLS, 64 B, 8 connections x 32 streams", http2: true, tls: true },
];

/// One tester with its measurements: CPU µs per request.
struct Tester {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    cpu_us: Vec<f64>,
    requests: u64,
}

/// Runs every workload and prints its table.
pub fn run(args: &TestersArgs) -> io::Result<()> {
    child::watch_signals();
    let mut cpus = allowed_cpus().into_iter();
    let default = (cpus.next(), cpus.next());
    let (Some(origin_cpu), Some(load_cpu)) = (args.origin_cpu.or(default.0), args.load_cpu.or(default.1))
    else {
        return Err(io::Error::other("expected two CPUs: one for the origin, one for the testers"));
    };
    let folder = TemporaryFolder::new()?;
    for workload in WORKLOADS {
        let address = free_address()?;
        let log = folder.0.join("origin.log");
        let mut origin =
            Running::start(&std::env::current_exe()?, &workload.origin(address), origin_cpu, log)?;
        wait_for_listener(address, &mut origin)?;
        let mut testers = workload.testers(address, args.seconds)?;
        for round in 0..args.rounds as usize {
            for position in 0..testers.len() {
                let position = (round + position) % testers.len();
                if let Some(tester) = testers.get_mut(position) {
                    tester.measure(load_cpu)?;
                }
            }
        }
        print(workload, args, &testers);
    }
    Ok(())
}

impl Workload {
    fn origin(self, address: SocketAddr) -> Vec<OsString> {
        let listen = address.to_string();
        let mut args = vec!["load", "origin", "--listen", &listen, "--body", "64"];
        if self.http2 {
            args.extend(["--protocol", "h2"]);
        }
        if self.tls {
            args.push("--tls");
        }
        args.into_iter().map(OsString::from).collect()
    }

    /// Ours first, and beside it the one that is found.
    fn testers(self, address: SocketAddr, seconds: u32) -> io::Result<Vec<Tester>> {
        let url = format!("{}://{address}/", if self.tls { "https" } else { "http" });
        let shape: &[&str] = if self.http2 { &["-c", "8", "-m", "32"] } else { &["-c", "64"] };
        let protocol = if self.http2 { "h2" } else { "http1" };
        let duration = format!("{seconds}s");
        let own = ["load", "-q", "-k", "-t", "1", "--protocol", protocol, "-d", &duration];
        let mut testers =
            vec![Tester::new("ringway-load", std::env::current_exe()?, &[&own[..], shape, &[&url]].concat())];
        let whole = seconds.to_string();
        let (name, how, args) = if self.http2 {
            ("h2load", "apt-get install nghttp2-client", ["-t1", "-D", &whole])
        } else {
            ("wrk", "apt-get install wrk", ["-t1", "-d", &duration])
        };
        match peers::find(None, name, how) {
            Ok(program) => testers.push(Tester::new(name, program, &[&args[..], shape, &[&url]].concat())),
            Err(missing) => eprintln!("skipping {name}: {missing}"),
        }
        Ok(testers)
    }
}

impl Tester {
    fn new(name: &'static str, program: PathBuf, args: &[&str]) -> Tester {
        let args = args.iter().map(OsString::from).collect();
        Tester { name, program, args, cpu_us: Vec::new(), requests: 0 }
    }

    fn measure(&mut self, cpu: usize) -> io::Result<()> {
        let before = child::children_cpu_us();
        let said = child::output(&self.program, &self.args, cpu)?;
        let used = child::children_cpu_us() - before;
        let requests = requests(&said)
            .ok_or_else(|| io::Error::other(format!("{} said something unexpected:\n{said}", self.name)))?;
        self.requests += requests;
        self.cpu_us.push(used / requests.max(1) as f64);
        Ok(())
    }

    fn median(&self) -> f64 {
        let mut sorted = self.cpu_us.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// The count of requests in what a tester says, right ones only where it tells them apart:
/// `requests   123 in 1.00 s` (ours), `123 requests in 1.00s` (wrk), `requests: 1 total, …, 123 succeeded, …` (h2load).
fn requests(said: &str) -> Option<u64> {
    said.lines().find_map(|line| {
        let line = line.trim();
        if let Some(counts) = line.strip_prefix("requests:") {
            let succeeded = counts.split(',').find(|part| part.trim_end().ends_with("succeeded"))?;
            return succeeded.split_whitespace().next()?.parse().ok();
        }
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["requests", count, "in", ..] | [count, "requests", "in", ..] => count.parse().ok(),
            _ => None,
        }
    })
}

fn print(workload: Workload, args: &TestersArgs, testers: &[Tester]) {
    println!("\n#### {} ({} rounds of {} s)\n", workload.title, args.rounds, args.seconds);
    println!(
        "| tester | CPU µs/request | lowest–highest | requests | ringway-load ÷ it |\n|---|---|---|---|---|"
    );
    let ours = testers.first().map_or(f64::NAN, Tester::median);
    for tester in testers {
        let low = tester.cpu_us.iter().copied().fold(f64::INFINITY, f64::min);
        let high = tester.cpu_us.iter().copied().fold(0.0, f64::max);
        let (name, median) = (tester.name, tester.median());
        println!(
            "| {name} | {median:.2} | {low:.2}–{high:.2} | {} | {:.2} |",
            tester.requests,
            ours / median
        );
    }
}

#[cfg(test)]
mod tests {
    use super::requests;

    #[test]
    fn counts_are_read_from_what_each_tester_says() {
        for (said, expected) in [
            ("x\n  requests   62144 in 3.00 s: 20693.3 requests/s", Some(62_144)),
            ("Running 2s test\n  81234 requests in 2.00s, 14.02MB read", Some(81_234)),
            ("requests: 9 total, 9 started, 9 done, 8 succeeded, 1 failed, 0 errored, 0 timeout", Some(8)),
            ("nothing", None),
        ] {
            assert_eq!(requests(said), expected, "{said}");
        }
    }
}
