//! The command line of `ringway-load`.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::affinity;
use crate::client::ClientConfig;
use crate::engine::{Engine, RunConfig};
use crate::idle::{self, IdleConfig};
use crate::load::args::{self, LoadArgs};
use crate::load::codec::Protocol;
use crate::load::compare::{self, AddedArgs};
use crate::load::idle as holders;
use crate::load::origin::faults::{self, Delay, Faults};
use crate::load::origin::{self as faulty, OriginConfig as FaultyConfig};
use crate::load::scenario::{self, ScenarioArgs};
use crate::load::summary;
use crate::load::tls::config as tls;
use crate::origin::OriginConfig;
use crate::slow_read::{self, SlowReadConfig};
use crate::socket;

/// Load tester for HTTP servers and proxies, with latencies that can be believed.
#[derive(Debug, Parser)]
#[command(name = "ringway-load", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Client and origin in this process: the proxy under test forwards from one to the other.
    #[command(hide = true)]
    Both {
        #[command(flatten)]
        origin: OriginArgs,
        #[command(flatten)]
        client: ClientArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// The client alone.
    #[command(hide = true)]
    Client {
        /// Length that every response body must have, in bytes. Default: any.
        #[arg(long)]
        body_bytes: Option<u64>,
        #[command(flatten)]
        client: ClientArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// The origin alone, until it is ended.
    Origin {
        #[command(flatten)]
        origin: OriginArgs,
        #[command(flatten)]
        faults: FaultArgs,
        /// CPU to run on.
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// What a proxy adds to the latency of its origin: both side by side, in interleaved rounds.
    Added(AddedArgs),
    /// Runs a file: several kinds of requests with weights, assertions and thresholds.
    Scenario(ScenarioArgs),
    /// Opens idle keep-alive connections and reports what they cost the process under test.
    #[command(hide = true)]
    Idle {
        /// Address of the proxy.
        #[arg(long)]
        target: SocketAddr,
        /// Idle connections to open, each with a descriptor of this process.
        #[arg(long, default_value_t = 15_000)]
        connections: u32,
        /// Opens only, without a request on each connection.
        #[arg(long)]
        no_request: bool,
        /// Speaks HTTP/2 with prior knowledge.
        #[arg(long)]
        http2: bool,
        /// Speaks TLS, and verifies no certificate.
        #[arg(long, conflicts_with = "no_request")]
        tls: bool,
        /// The local address to connect from.
        #[arg(long)]
        source: Option<IpAddr>,
        /// Holds them until the end of standard input, for `--idle` of another process.
        #[arg(long, hide = true)]
        hold: bool,
        /// How long the memory may take to settle, in seconds.
        #[arg(long, default_value_t = 4.0)]
        settle: f64,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Reads one large body slowly and reports how the memory of the process under test moves.
    #[command(hide = true)]
    SlowRead {
        /// Address of the proxy.
        #[arg(long)]
        target: SocketAddr,
        /// Bytes read per second.
        #[arg(long, default_value_t = 1_000_000)]
        bytes_per_second: u64,
        /// Seconds to read for.
        #[arg(long, default_value_t = 15.0)]
        seconds: f64,
        #[command(flatten)]
        common: CommonArgs,
    },
}

#[derive(Debug, Args)]
struct OriginArgs {
    /// Address that the origin listens on; `:9000` is every address of this machine.
    #[arg(long, default_value = "127.0.0.1:9000", value_parser = faults::parse_listen)]
    listen: SocketAddr,
    /// Length of the body that the origin answers with: 64, 1KiB, 2MiB.
    #[arg(long, default_value = "64", visible_alias = "body", value_parser = faults::parse_bytes)]
    body_bytes: u64,
}

#[derive(Debug, Args)]
struct FaultArgs {
    /// How long answers take: 2ms, exponential:2ms (mean), lognormal:2ms (median).
    #[arg(long, value_parser = faults::parse_delay)]
    latency: Option<Delay>,
    /// The share of requests that are answered 503: 0.1%.
    #[arg(long, default_value = "0", value_parser = faults::parse_share)]
    error_rate: f64,
    /// The share of requests on which the connection is reset; with HTTP/2, the stream.
    #[arg(long, default_value = "0", value_parser = faults::parse_share)]
    reset_rate: f64,
    /// The share of requests that are answered with bytes that break the protocol.
    #[arg(long, default_value = "0", value_parser = faults::parse_share)]
    garbage_rate: f64,
    /// The share of requests that get less of a body than was announced.
    #[arg(long, default_value = "0", value_parser = faults::parse_share)]
    short_rate: f64,
    /// HTTP/2: the share of requests that are the last of their connection (GOAWAY).
    #[arg(long, default_value = "0", value_parser = faults::parse_share)]
    goaway_rate: f64,
    /// Bodies are sent with so many bytes a second: 10KiB.
    #[arg(long, value_parser = faults::parse_bytes)]
    body_rate: Option<u64>,
    /// What the origin speaks: ws sends every message back, grpc answers any method.
    #[arg(long, value_enum, default_value = "http1")]
    protocol: Protocol,
    /// gRPC: messages of each answer; --body is the length of each.
    #[arg(long, default_value_t = 1)]
    messages: u32,
    /// Speaks TLS with CERT,KEY (PEM files), or with a certificate of its own for localhost.
    #[arg(long, value_name = "CERT,KEY", num_args = 0..=1, default_missing_value = "")]
    tls: Option<String>,
    /// TLS: clients must show a certificate of these authorities (PEM).
    #[arg(long, value_name = "FILE", requires = "tls")]
    client_ca: Option<PathBuf>,
    /// Writes what was served as JSON when the origin is ended.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The random numbers of the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads, each with connections of its own.
    #[arg(long, short = 't', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
}

#[derive(Debug, Args)]
struct ClientArgs {
    /// Address of the proxy.
    #[arg(long, default_value = "127.0.0.1:8080")]
    target: SocketAddr,
    /// Connections, each with at most one request at a time.
    #[arg(long, short = 'c', default_value_t = 64)]
    connections: u32,
    /// Host header.
    #[arg(long, default_value = "bench.test")]
    host: String,
    /// Request target.
    #[arg(long, default_value = "/")]
    path: String,
    /// A header field, as `Name: value`. May be repeated.
    #[arg(long, short = 'H')]
    header: Vec<String>,
    /// Open loop: requests per second, whatever the answers take; latencies count from the intended start.
    /// Default: closed loop.
    #[arg(long)]
    rate: Option<f64>,
    /// A new connection for each request.
    #[arg(long)]
    new_connection: bool,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct CommonArgs {
    /// CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// Process under test, for its CPU time and memory. May be repeated; they are summed.
    #[arg(long)]
    pid: Vec<u32>,
    /// Report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    main_from(std::env::args_os())
}

/// Runs a command line; the first argument is the name of the program. Exit status 1 means that it could not run,
/// 3 that there were requests without a correct answer.
pub fn main_from(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(args);
    let outcome = cli.command.map_or_else(|| args::execute(&cli.load), run);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringway-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> io::Result<ExitCode> {
    match command {
        Command::Both { origin, client, common } => {
            common.pin()?;
            let body_bytes = Some(origin.body_bytes);
            let engine = Engine::new(client.connections)?.with_origin(origin.config())?;
            run_client(engine, client, body_bytes, &common)
        }
        Command::Client { body_bytes, client, common } => {
            common.pin()?;
            run_client(Engine::new(client.connections)?, client, body_bytes, &common)
        }
        Command::Origin { origin, faults, cpu } => {
            cpu.map_or(Ok(()), affinity::pin)?;
            if faults.is_plain() && faults.threads > 1 {
                faults.serve_plain(&origin)?;
            } else if faults.is_plain() {
                Engine::new(4096)?.with_origin(origin.config())?.serve()?;
            } else {
                faults.serve(&origin)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Idle { target, connections, no_request, http2, tls, source, hold, settle, common } => {
            common.pin()?;
            let settle = seconds("--settle", settle)?;
            let pids = common.pid.clone();
            let request = !no_request;
            let config = IdleConfig { target, connections, request, http2, tls, source, pids, settle };
            if hold {
                return holders::hold_open(&config).map(|()| ExitCode::SUCCESS);
            }
            let report = idle::run(&config)?;
            common.print(&report, || {
                format!(
                    "{:.0} bytes per idle connection ({} connections, {} still open; anonymous memory {} → {} KiB)",
                    report.bytes_per_connection,
                    report.connections,
                    report.still_open,
                    report.before.anonymous_bytes / 1024,
                    report.after.anonymous_bytes / 1024
                )
            })?;
            Ok(ExitCode::from(if report.still_open == report.connections { 0 } else { 3 }))
        }
        Command::Added(args) => compare::added(&args),
        Command::Scenario(args) => scenario::execute(&args),
        Command::SlowRead { target, bytes_per_second, seconds: time, common } => {
            common.pin()?;
            let duration = seconds("--seconds", time)?;
            let pids = common.pid.clone();
            let report = slow_read::run(&SlowReadConfig { target, bytes_per_second, duration, pids })?;
            common.print(&report, || {
                format!(
                    "{} bytes in {:.1} s; resident KiB: {} before, {} to {} while reading",
                    report.bytes_read,
                    report.seconds,
                    report.before_bytes / 1024,
                    report.lowest_bytes / 1024,
                    report.highest_bytes / 1024
                )
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_client(
    mut engine: Engine,
    args: ClientArgs,
    body_bytes: Option<u64>,
    common: &CommonArgs,
) -> io::Result<ExitCode> {
    let run = RunConfig {
        warmup: seconds("--warmup", args.warmup)?,
        duration: seconds("--seconds", args.seconds)?,
        pids: common.pid.clone(),
    };
    if args.rate.is_some_and(|rate| !rate.is_finite() || rate < 1.0) {
        return Err(invalid("--rate: expected at least 1 request per second".to_owned()));
    }
    let client = ClientConfig {
        target: args.target,
        connections: args.connections,
        host: args.host,
        path: args.path,
        headers: args.header,
        body_bytes,
        rate: args.rate,
        new_connection: args.new_connection,
    };
    let report = engine.run(client, &run)?;
    common.print(&report, || report.to_string().trim_end().to_owned())?;
    Ok(ExitCode::from(if report.errors.total() == 0 { 0 } else { 3 }))
}

impl FaultArgs {
    fn faults(&self) -> Faults {
        Faults {
            latency: self.latency,
            errors: self.error_rate,
            resets: self.reset_rate,
            garbage: self.garbage_rate,
            short: self.short_rate,
            goaways: self.goaway_rate,
            body_rate: self.body_rate,
        }
    }

    /// Whether the lightest origin will do.
    fn is_plain(&self) -> bool {
        self.protocol == Protocol::Http1 && !self.faults().any() && self.json.is_none() && self.tls.is_none()
    }

    /// A socket for each thread.
    fn listen(&self, origin: &OriginArgs) -> io::Result<Vec<OwnedFd>> {
        let listeners = match self.threads {
            1 => socket::listen(origin.listen).map(|listener| vec![listener]),
            threads => socket::listen_shared(origin.listen, threads),
        };
        let listeners = listeners
            .map_err(|error| io::Error::new(error.kind(), format!("origin on {}: {error}", origin.listen)))?;
        if let Some(first) = listeners.first() {
            eprintln!("listening on {}", TcpListener::from(first.try_clone()?).local_addr()?);
        }
        Ok(listeners)
    }

    /// Serves without faults until it is ended.
    fn serve_plain(&self, origin: &OriginArgs) -> io::Result<()> {
        let (ended, first_end) = mpsc::channel();
        for listener in self.listen(origin)? {
            let (ended, body_bytes) = (ended.clone(), origin.body_bytes);
            std::thread::spawn(move || {
                let engine = Engine::new(4096).and_then(|engine| engine.with_listener(listener, body_bytes));
                // Nobody listens when the process ends anyhow.
                let _ = ended.send(engine.and_then(|mut engine| engine.serve()));
            });
        }
        first_end.recv().map_err(io::Error::other)?
    }

    /// Serves until Ctrl-C, and says what was served.
    fn serve(&self, origin: &OriginArgs) -> io::Result<()> {
        args::catch_interrupt();
        let listeners = self.listen(origin)?;
        let files = self.tls.as_deref();
        let tls =
            files.map(|files| tls::server(files, self.client_ca.as_deref(), self.protocol)).transpose()?;
        let config = FaultyConfig {
            protocol: self.protocol,
            body_bytes: origin.body_bytes,
            messages: self.messages,
            faults: self.faults(),
            tls: tls.map(Arc::new),
            seed: self.seed,
        };
        let report = faulty::serve_all(listeners, &config, &args::shared().stop)?.report();
        eprintln!(
            "{} requests on {} connections: {} right, {} errors, {} resets, {} garbage, {} short, {} GOAWAY, {} lost",
            report.requests,
            report.connections,
            report.right,
            report.errors,
            report.resets,
            report.garbage,
            report.short,
            report.goaways,
            report.lost
        );
        if let Some(path) = &self.json {
            summary::write("--json", path, &serde_json::to_string_pretty(&report)?)?;
        }
        Ok(())
    }
}

impl OriginArgs {
    fn config(&self) -> OriginConfig {
        OriginConfig { listen: self.listen, body_bytes: self.body_bytes }
    }
}

impl CommonArgs {
    fn pin(&self) -> io::Result<()> {
        self.cpu.map_or(Ok(()), affinity::pin)
    }

    fn print(&self, report: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        } else {
            println!("{}", text());
        }
        Ok(())
    }
}

fn seconds(flag: &str, value: f64) -> io::Result<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| invalid(format!("{flag}: expected a number of seconds of at least 0, found {value}")))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
