//! Ringway beside other proxies: the same client and origin, pinned, interleaved, medians and spread.
//!
//! Every proxy runs with one worker on one CPU for the whole comparison; client and origin share one process on
//! another. A round measures each proxy once, and the order turns with each round, so that a slow minute of the
//! machine hits all of them. Only figures of one comparison may be compared.

mod child;
mod flood;
mod half;
mod http2;
mod measure;
mod peers;
mod plots;
mod table;
pub mod testers;
mod tls;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use flood::Flooded;
use http2::Shape;
use measure::{Bench, Run};
use peers::Peer;

/// The tables of docs/benchmarks.md, in about three quarters of an hour.
const EVERYTHING: &str = "small,16k,128k,1m,half,idle,start,h2,grpc,grpc-stream,h2-h1,h2-idle,h1-h2,tls,tls-128k,tls-new,\
                          tls-new-hybrid,tls-resumed,tls-idle,tls-new-rsa,tls-upstream,tls-flood";

/// What is compared, with what, and for how long.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// Workloads. Default: all but new, rate and slow.
    #[arg(long, value_enum, value_delimiter = ',', default_value = EVERYTHING, hide_default_value = true)]
    only: Vec<Workload>,
    /// Proxies. Default: all that are found.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Rounds: each measures every proxy once.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Seconds before each measurement.
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Connections; 0: 64 for small bodies and 32 for large ones.
    #[arg(long, default_value_t = 0)]
    connections: u32,
    /// Shapes of the HTTP/2 workloads: connections x streams at once on each.
    #[arg(long, value_delimiter = ',', default_value = "8x32,64x1,1x100")]
    shapes: Vec<Shape>,
    /// Requests per second of the workloads `rate` and `tls-flood`.
    #[arg(long, default_value_t = 8000.0)]
    rate: f64,
    /// The `half` workload: proxies by whose slowest the rate is chosen. Default: all that run.
    #[arg(long, value_enum, value_delimiter = ',')]
    half_of: Vec<Peer>,
    /// Idle connections of the `idle` workload.
    #[arg(long, default_value_t = 15_000)]
    idle_connections: u32,
    /// The binary `ringway`. Default: beside this program.
    #[arg(long)]
    ringway: Option<PathBuf>,
    /// More arguments for `ringway run`, split at spaces.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    ringway_args: String,
    /// A second binary, measured as `ringway-b`: before and after in one run.
    #[arg(long)]
    ringway_b: Option<PathBuf>,
    /// More arguments for the second one; it defaults to the first binary when only this is given.
    #[arg(long, allow_hyphen_values = true)]
    ringway_b_args: Option<String>,
    /// The binary `nginx`. Default: from PATH.
    #[arg(long)]
    nginx: Option<PathBuf>,
    /// The binary `haproxy`. Default: from PATH.
    #[arg(long)]
    haproxy: Option<PathBuf>,
    /// The binary `envoy`. Default: from PATH.
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// The proxy on Pingora. Default: where bench/peers/pingora is built, seen from the repository, or from PATH.
    #[arg(long)]
    pingora: Option<PathBuf>,
    /// CPU of the proxies. Default: the first that this process may use.
    #[arg(long)]
    proxy_cpu: Option<usize>,
    /// CPU of client and origin. Default: the second that this process may use.
    #[arg(long)]
    load_cpu: Option<usize>,
    /// Also writes every single measurement as JSON lines.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also writes every single measurement as CSV.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Also draws each table as an SVG file in this folder.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl CompareArgs {
    /// The shoot-out of the runtimes: their relays instead of the proxies, and only workloads that they can do.
    pub fn for_runtimes(&self) -> CompareArgs {
        let mut args = self.clone();
        if args.peers.is_empty() {
            args.peers = Peer::RELAYS.to_vec();
        }
        let plain = Workload::Small.sides();
        args.only.retain(|&workload| workload.sides() == plain && workload != Workload::Idle);
        args
    }
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// 64-byte bodies, 64 keep-alive connections.
    Small,
    /// 16 KiB bodies, 32 connections.
    #[value(name = "16k")]
    Body16K,
    /// 128 KiB bodies, 32 connections.
    #[value(name = "128k")]
    Body128K,
    /// 1 MiB bodies, 32 connections.
    #[value(name = "1m")]
    Body1M,
    /// 64-byte bodies, a new connection for each request.
    New,
    /// 64-byte bodies at a fixed rate: latency from the intended start.
    Rate,
    /// 64-byte bodies at half of what the slowest proxy can do: latency from the intended start.
    Half,
    /// Memory of an idle keep-alive connection.
    Idle,
    /// Memory after the start, with one worker.
    Start,
    /// Memory while 1 GiB flows to a client that reads 1 MB/s.
    Slow,
    /// HTTP/2 to HTTP/2, 64-byte bodies.
    #[value(name = "h2")]
    Http2,
    /// HTTP/2 to HTTP/1.1, 64-byte bodies.
    #[value(name = "h2-h1")]
    Http2ToHttp1,
    /// HTTP/1.1 to HTTP/2, 64-byte bodies, 64 connections.
    #[value(name = "h1-h2")]
    Http1ToHttp2,
    /// gRPC unary calls: messages of 64 bytes both ways, and trailers.
    #[value(name = "grpc")]
    Grpc,
    /// gRPC server streaming: 256 messages of 1 KiB, and trailers.
    #[value(name = "grpc-stream")]
    GrpcStream,
    /// Memory of an idle HTTP/2 connection.
    #[value(name = "h2-idle")]
    Http2Idle,
    /// TLS to the proxy: 64-byte bodies, 64 keep-alive connections.
    Tls,
    /// TLS to the proxy: 128 KiB bodies, 32 connections.
    #[value(name = "tls-128k")]
    Tls128K,
    /// TLS to the proxy: a full handshake for each request, ECDSA P-256.
    TlsNew,
    /// The same with RSA of 2048 bits.
    TlsNewRsa,
    /// The same with ECDSA P-256 and the post-quantum group X25519MLKEM768.
    TlsNewHybrid,
    /// TLS to the proxy: a resumed session for each request.
    TlsResumed,
    /// TLS to the origin: 64-byte bodies, 64 keep-alive connections.
    TlsUpstream,
    /// Memory of an idle TLS connection.
    TlsIdle,
    /// Plain requests at a fixed rate, left alone and beside as many full TLS handshakes (RSA 2048) as the proxy can make.
    TlsFlood,
}

impl Workload {
    fn title(self) -> &'static str {
        match self {
            Workload::Small => "HTTP/1.1, 64 B body",
            Workload::Body16K => "HTTP/1.1, 16 KiB body",
            Workload::Body128K => "HTTP/1.1, 128 KiB body",
            Workload::Body1M => "HTTP/1.1, 1 MiB body",
            Workload::New => "HTTP/1.1, 64 B body, a connection for each request",
            Workload::Rate | Workload::Half => "HTTP/1.1, 64 B body, open loop",
            Workload::Idle => "memory of an idle keep-alive connection, after one request on it",
            Workload::Start => "memory after the start, one worker",
            Workload::Slow => "memory while a large body flows to a client that reads 1 MB/s",
            Workload::Http2 => "HTTP/2 to HTTP/2, 64 B body",
            Workload::Http2ToHttp1 => "HTTP/2 to HTTP/1.1, 64 B body",
            Workload::Http1ToHttp2 => "HTTP/1.1 to HTTP/2, 64 B body",
            Workload::Grpc => "gRPC unary, 64 B messages",
            Workload::GrpcStream => "gRPC server streaming, 256 messages of 1 KiB",
            Workload::Tls => "TLS to the proxy, HTTP/1.1, 64 B body",
            Workload::Tls128K => "TLS to the proxy, HTTP/1.1, 128 KiB body",
            Workload::TlsNew => "full TLS handshakes, ECDSA P-256, X25519",
            Workload::TlsNewRsa => "full TLS handshakes, RSA 2048, X25519",
            Workload::TlsNewHybrid => "full TLS handshakes, ECDSA P-256, X25519MLKEM768",
            Workload::TlsResumed => "resumed TLS handshakes, X25519",
            Workload::TlsUpstream => "TLS to the origin, HTTP/1.1, 64 B body",
            Workload::TlsIdle => "memory of an idle TLS connection, after one request on it",
            Workload::TlsFlood => {
                "HTTP/1.1, 64 B body, open loop, beside a flood of full TLS handshakes, RSA 2048"
            }
            Workload::Http2Idle => "memory of an idle HTTP/2 connection, after one request on it",
        }
    }

    fn body_bytes(self) -> u64 {
        match self {
            Workload::Body16K => 16 << 10,
            Workload::Body128K | Workload::Tls128K => 128 << 10,
            Workload::Body1M => 1 << 20,
            Workload::Slow => 1 << 30,
            _ => 64,
        }
    }

    fn connections(self, args: &CompareArgs) -> u32 {
        match self {
            _ if args.connections > 0 => args.connections,
            Workload::Body16K | Workload::Body128K | Workload::Body1M => 32,
            _ => 64,
        }
    }
}

/// Runs the comparison and prints its tables. Workloads between the same protocols share their proxies.
pub fn run(args: &CompareArgs) -> io::Result<()> {
    child::watch_signals();
    let mut left = args.only.clone();
    let mut skipped = BTreeSet::new();
    while let Some(sides) = left.first().map(|workload| workload.sides()) {
        let mut bench = Bench::new(args, sides)?;
        let wanted = if args.peers.is_empty() { Peer::PROXIES } else { &args.peers };
        for &peer in wanted {
            if let Err(missing) = bench.start(peer) {
                eprintln!("skipping {}: {missing}", peer.name());
                if missing.kind() != io::ErrorKind::Unsupported {
                    skipped.insert(format!("{}: {missing}", peer.name()));
                }
            }
        }
        for workload in left.extract_if(.., |workload| workload.sides() == sides) {
            run_workload(args, &mut bench, workload)?;
        }
    }
    if !skipped.is_empty() {
        eprintln!("\nmissing, and left out:");
        skipped.iter().for_each(|line| eprintln!("  {line}"));
    }
    Ok(())
}

fn run_workload(args: &CompareArgs, bench: &mut Bench<'_>, workload: Workload) -> io::Result<()> {
    match workload {
        Workload::Idle | Workload::Http2Idle | Workload::TlsIdle => {
            let reports = bench.idle(workload)?;
            table::print_idle(workload, &reports);
            let bytes = reports.iter().map(|(peer, report)| (*peer, report.bytes_per_connection)).collect();
            draw(args, workload, "bytes per connection (less is better)", bytes)
        }
        Workload::Start => {
            let memories = bench.started();
            table::print_start(&memories);
            let resident = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let resident =
                memories.iter().map(|(peer, memory)| (*peer, resident(memory.rss_bytes))).collect();
            draw(args, workload, "MiB resident (less is better)", resident)
        }
        Workload::Slow => {
            table::print_slow(&bench.slow()?);
            Ok(())
        }
        Workload::Half => {
            let half = bench.half(&args.half_of, args.rounds)?;
            table::print_saturations(&half);
            show(args, workload, None, Some(half.rate), &half.runs)
        }
        Workload::TlsFlood => {
            let rounds = bench.flooded_rounds()?;
            table::print_flood(args, &rounds);
            if let Some(dir) = &args.plots {
                plots::write_flood(dir, workload.title(), &rounds)?;
            }
            let runs: Vec<Run> = rounds.into_iter().flat_map(Flooded::into_runs).collect();
            table::append_files(args, &runs)
        }
        Workload::Small
        | Workload::Body16K
        | Workload::Body128K
        | Workload::Body1M
        | Workload::New
        | Workload::Rate => {
            let rate = (workload == Workload::Rate).then_some(args.rate);
            let runs = bench.rounds(workload, rate)?;
            show(args, workload, None, rate, &runs)
        }
        Workload::Http2
        | Workload::Http2ToHttp1
        | Workload::Http1ToHttp2
        | Workload::Grpc
        | Workload::GrpcStream
        | Workload::Tls
        | Workload::Tls128K
        | Workload::TlsNew
        | Workload::TlsNewRsa
        | Workload::TlsNewHybrid
        | Workload::TlsResumed
        | Workload::TlsUpstream => {
            for shape in workload.shapes(args) {
                let runs = bench.shaped_rounds(workload, shape)?;
                show(args, workload, Some(shape), None, &runs)?;
            }
            Ok(())
        }
    }
}

/// Prints what was measured, and writes the files that were asked for.
fn show(
    args: &CompareArgs,
    workload: Workload,
    shape: Option<Shape>,
    rate: Option<f64>,
    runs: &[Run],
) -> io::Result<()> {
    let title = table::title(workload, shape, rate, args);
    table::print_runs(&title, runs);
    table::append_files(args, runs)?;
    args.plots.as_deref().map_or(Ok(()), |dir| plots::write_runs(dir, workload, shape, &title, runs))
}

fn draw(args: &CompareArgs, workload: Workload, quantity: &str, values: Vec<(Peer, f64)>) -> io::Result<()> {
    args.plots.as_deref().map_or(Ok(()), |dir| plots::write_values(dir, workload, quantity, &values))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CompareArgs,
    }

    #[test]
    fn one_command_measures_every_protocol() {
        let args = Line::parse_from(["compare"]).args;
        for wanted in [Workload::Small, Workload::Half, Workload::Http2, Workload::Grpc, Workload::Tls] {
            assert!(args.only.contains(&wanted), "{wanted:?}");
        }
        let runtimes = args.for_runtimes();
        assert!(runtimes.only.contains(&Workload::Small) && !runtimes.only.contains(&Workload::Http2));
    }
}
