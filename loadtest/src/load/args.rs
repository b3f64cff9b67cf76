//! The command line of `ringway-load URL`, and what it does.

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::arrivals::Spacing;
use super::codec::Protocol;
use super::config::{LoadConfig, Shared};
use super::proto::Schema;
use super::request::RequestConfig;
use super::run::{self, RunResult};
use super::summary::{self, Document};
use super::target::{Address, Target};
use super::template::{Data, Template};
use super::tls::config::TlsArgs;
use super::{compare, hdr_log, html, idle, knee};

/// Flags are named as in wrk, hey and h2load where they mean the same.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// What to test: http(s)://host:port/path, unix:/socket:/path, ws(s)://…, grpc(s)://…; several are asked in turn.
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// Connections.
    #[arg(long, short = 'c', default_value_t = 64, help_heading = "How much")]
    pub connections: u32,
    /// How long to measure: 10s, 500ms, 2m. Default: 10s, or no bound with --requests.
    #[arg(long, short = 'd', visible_short_aliases = ['z', 'D'], value_parser = parse_duration, help_heading = "How much")]
    pub duration: Option<Duration>,
    /// How many requests to send.
    #[arg(long, short = 'n', conflicts_with = "find_knee", help_heading = "How much")]
    pub requests: Option<u64>,
    /// Open loop: requests per second, whatever the answers take. Default: closed loop.
    #[arg(long, short = 'R', conflicts_with = "find_knee", help_heading = "How much")]
    pub rate: Option<f64>,
    /// How the requests of an open loop are spread.
    #[arg(long, value_enum, default_value_t = Spacing::Fixed, help_heading = "How much")]
    pub arrivals: Spacing,
    /// Arrivals that may wait for a connection; what comes on top is counted as missed.
    #[arg(long, default_value_t = 100_000, help_heading = "How much")]
    pub queue: usize,
    /// Threads. Default: one for each CPU that this process may use, at most one for each connection.
    #[arg(long, short = 't', help_heading = "How much")]
    pub threads: Option<u32>,
    /// CPUs to pin the threads to: 0,2-3.
    #[arg(long, help_heading = "How much")]
    pub cpus: Option<String>,
    /// What to speak.
    #[arg(long, value_enum, help_heading = "What is asked")]
    pub protocol: Option<Protocol>,
    /// Requests at a time on one connection: streams of HTTP/2, messages of WebSocket.
    #[arg(long, short = 'm', help_heading = "What is asked")]
    pub streams: Option<u32>,
    /// Requests at a time on one HTTP/1.1 connection.
    #[arg(long, conflicts_with = "streams", help_heading = "What is asked")]
    pub pipeline: Option<u32>,
    /// A new connection for each request.
    #[arg(long, help_heading = "What is asked")]
    pub new_connection: bool,
    /// The method. Default: GET, or POST with --data.
    #[arg(long, short = 'X', help_heading = "What is asked")]
    pub method: Option<String>,
    /// A header field, as `Name: value`; fields as in --data. May be repeated.
    #[arg(long, short = 'H', help_heading = "What is asked")]
    pub header: Vec<String>,
    /// The body, or @FILE, with {counter}, {random:1-100}, {hex:16} and columns of --data-file.
    #[arg(long, help_heading = "What is asked")]
    pub data: Option<String>,
    /// The path, with the same fields. Default: that of the URL.
    #[arg(long, help_heading = "What is asked")]
    pub path: Option<String>,
    /// A CSV file with a header line; each request takes a random row.
    #[arg(long, help_heading = "What is asked")]
    pub data_file: Option<PathBuf>,
    /// gRPC: a .proto file, so that --data is JSON. May be repeated.
    #[arg(long, requires = "call", value_name = "FILE", help_heading = "What is asked")]
    pub proto: Vec<PathBuf>,
    /// gRPC: where the .proto files' imports are, besides the files' own directories. May be repeated.
    #[arg(long, short = 'I', requires = "proto", value_name = "DIR", help_heading = "What is asked")]
    pub import_path: Vec<PathBuf>,
    /// gRPC: the method, as package.Service/Method. Without --proto, --data is the encoded message.
    #[arg(long, help_heading = "What is asked")]
    pub call: Option<String>,
    /// gRPC: messages sent in each call.
    #[arg(long, default_value_t = 1, help_heading = "What is asked")]
    pub messages: u32,
    /// Left out of the measurement at the beginning.
    #[arg(long, visible_alias = "warm-up-time", value_parser = parse_duration, default_value = "0s", help_heading = "How much")]
    pub warmup: Duration,
    /// The load grows for so long.
    #[arg(long, value_parser = parse_duration, default_value = "0s", help_heading = "How much")]
    pub ramp_up: Duration,
    /// The load shrinks for so long at the end.
    #[arg(long, value_parser = parse_duration, default_value = "0s", help_heading = "How much")]
    pub ramp_down: Duration,
    /// A request that takes longer is an error.
    #[arg(long, value_parser = parse_duration, default_value = "30s", help_heading = "How much")]
    pub timeout: Duration,
    /// Local addresses to connect from, for more than 28,000 connections. May be repeated, or split by commas.
    #[arg(long, value_delimiter = ',', help_heading = "How it is reached")]
    pub source: Vec<IpAddr>,
    /// Begins each connection with a PROXY protocol header of this version.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2), help_heading = "How it is reached")]
    pub proxy_protocol: Option<u8>,
    /// A local process under test, for its CPU time and memory. May be repeated; they are summed.
    #[arg(long, help_heading = "What is shown")]
    pub pid: Vec<u32>,
    /// The random numbers of templates, Poisson arrivals and weights.
    #[arg(long, default_value_t = 1, help_heading = "How much")]
    pub seed: u64,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Steps the rate up until the target is saturated, and prints the latency curve.
    #[arg(long, help_heading = "Other modes")]
    pub find_knee: bool,
    /// Opens so many connections, asks once on each, leaves them idle for --duration, and tells what each costs the --pid.
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "requests", "find_knee", "compare"], help_heading = "Other modes")]
    pub idle: Option<u32>,
    /// Compares targets in interleaved rounds: "a=URL,b=URL".
    #[arg(long, value_name = "NAME=URL,…", conflicts_with_all = ["urls", "find_knee"], help_heading = "Other modes")]
    pub compare: Option<String>,
    /// Rounds of --compare.
    #[arg(long, default_value_t = 5, help_heading = "Other modes")]
    pub rounds: u32,
    /// TLS also where the URL does not say so: on a UNIX socket.
    #[arg(long, help_heading = "How it is reached")]
    pub tls: bool,
    #[command(flatten)]
    pub secure: TlsArgs,
    /// As wrk has it; latencies are always shown.
    #[arg(long, hide = true)]
    pub latency: bool,
}

/// Where results go besides the terminal.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What is shown")]
pub struct OutputArgs {
    /// Writes the result as JSON; the total is at `summary.requests`.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes rate and latency over time as CSV.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Writes the percentiles in the form of HdrHistogram's plotter, in milliseconds.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Writes the histogram of each interval as a log that HdrHistogram's tools read, in nanoseconds.
    #[arg(long, value_name = "FILE")]
    pub hdr_log: Option<PathBuf>,
    /// Writes a page with plots that needs no network.
    #[arg(long, visible_alias = "html", value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// No progress on standard error.
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// What all runs of this process share: one Ctrl-C ends all of them.
pub fn shared() -> &'static Shared {
    SHARED.get_or_init(Shared::default)
}

/// Runs what the flags ask for. Exit status 0: every answer was right; 3: there were errors or missed arrivals.
pub fn execute(args: &LoadArgs) -> io::Result<ExitCode> {
    catch_interrupt();
    if let Some(list) = &args.compare {
        return compare::execute(args, &compare::parse_list(list)?);
    }
    let mut config = args.config(&args.urls)?;
    if let Some(count) = args.idle {
        args.output.refuse_files_of_one_run("--idle")?;
        reach(&mut config)?;
        return idle::execute(args, &config, count);
    }
    if args.find_knee {
        args.output.refuse_files_of_one_run("--find-knee")?;
        reach(&mut config)?;
        return knee::execute(args, &config);
    }
    reach(&mut config)?;
    let result = run_shown(&config, &args.output)?;
    let document = Document::new(&config, &result);
    print!("{}", document.text());
    explain_connect(&result);
    args.output.write(&document, &result)?;
    let wrong = document.summary.errors + document.summary.missed > 0;
    Ok(ExitCode::from(if wrong { 3 } else { 0 }))
}

impl OutputArgs {
    /// What several runs have no one curve for; a file that is not written would be missed too late.
    pub fn refuse_files_of_one_run(&self, mode: &str) -> io::Result<()> {
        let files = [("--csv", &self.csv), ("--hdr", &self.hdr), ("--hdr-log", &self.hdr_log)];
        let report = [("--report", &self.report)];
        let unused = files.iter().chain(report.iter().filter(|_| mode == "--idle"));
        match unused.filter(|(_, path)| path.is_some()).map(|(flag, _)| *flag).next() {
            Some(flag) => Err(invalid(format!("{flag}: not with {mode}, which is not one run; use --json"))),
            None => Ok(()),
        }
    }

    pub fn write(&self, document: &Document, result: &RunResult) -> io::Result<()> {
        if let Some(path) = &self.json {
            summary::write("--json", path, &serde_json::to_string_pretty(document)?)?;
        }
        if let Some(path) = &self.csv {
            summary::write("--csv", path, &document.csv())?;
        }
        if let Some(path) = &self.hdr {
            summary::write("--hdr", path, &summary::hgrm(&result.totals.latency_ns))?;
        }
        if let Some(path) = &self.hdr_log {
            let log = hdr_log::log(&result.totals.series, result.start, result.seconds)?;
            summary::write("--hdr-log", path, &String::from_utf8_lossy(&log))?;
        }
        if let Some(path) = &self.report {
            let page = html::page("Load test", &[("this run".to_owned(), document)], "");
            summary::write("--report", path, &page)?;
        }
        Ok(())
    }
}

/// Runs with a live line on a terminal, and a line a second elsewhere.
pub fn run_shown(config: &LoadConfig, output: &OutputArgs) -> io::Result<RunResult> {
    let shared = shared();
    let mut line = ProgressLine::new(shared, !output.quiet);
    let result =
        run::run(config, shared, &mut |seconds, requests, errors| line.show(seconds, requests, errors));
    line.end();
    result
}

struct ProgressLine {
    enabled: bool,
    terminal: bool,
    base: (u64, u64),
    last: (f64, u64),
}

impl ProgressLine {
    fn new(shared: &Shared, enabled: bool) -> ProgressLine {
        let base = (shared.requests.load(Ordering::Relaxed), shared.errors.load(Ordering::Relaxed));
        ProgressLine { enabled, terminal: io::stderr().is_terminal(), base, last: (0.0, 0) }
    }

    fn show(&mut self, seconds: f64, requests: u64, errors: u64) {
        let (requests, errors) = (requests - self.base.0, errors - self.base.1);
        let every = if self.terminal { 0.5 } else { 1.0 };
        if !self.enabled || seconds - self.last.0 < every {
            return;
        }
        let rate = (requests - self.last.1) as f64 / (seconds - self.last.0);
        self.last = (seconds, requests);
        let (begin, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let mut stderr = io::stderr();
        // Progress that cannot be shown is not worth an error.
        let _ = write!(
            stderr,
            "{begin}{seconds:6.1} s  {requests} requests  {rate:.0} requests/s  {errors} errors{end}"
        );
        let _ = stderr.flush();
    }

    fn end(&self) {
        if self.enabled && self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// For the defaults of the flags, which stand with them.
#[derive(clap::Parser)]
struct Plain {
    #[command(flatten)]
    load: LoadArgs,
}

impl LoadArgs {
    /// No flag at all.
    pub fn plain() -> LoadArgs {
        <Plain as clap::Parser>::parse_from(["ringway-load"]).load
    }

    /// The configuration of a run against these URLs.
    pub fn config(&self, urls: &[String]) -> io::Result<LoadConfig> {
        if urls.is_empty() {
            return Err(invalid(
                "expected a URL, as in `ringway-load http://127.0.0.1:8080/`; see --help".into(),
            ));
        }
        let mut targets = urls.iter().map(|url| Target::parse(url)).collect::<io::Result<Vec<_>>>()?;
        targets.iter_mut().for_each(|target| target.tls |= self.tls);
        let of_url = match urls.first().and_then(|url| url.split_once("://")) {
            Some(("h2c", _)) => Protocol::Http2,
            Some(("grpc" | "grpcs", _)) => Protocol::Grpc,
            Some(("ws" | "wss", _)) => Protocol::WebSocket,
            _ if self.call.is_some() => Protocol::Grpc,
            _ => Protocol::Http1,
        };
        let protocol = self.protocol.unwrap_or(of_url);
        let at_least_one = |flag: &str, value: u32| {
            if value == 0 { Err(invalid(format!("{flag}: expected at least 1, found 0"))) } else { Ok(value) }
        };
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(invalid("--rate: expected a number of requests per second above 0".into()));
        }
        if self.new_connection && protocol != Protocol::Http1 {
            return Err(invalid(
                "--new-connection: only with HTTP/1.1; with others, use --requests and -c".into(),
            ));
        }
        if self.pipeline.is_some() && protocol != Protocol::Http1 {
            return Err(invalid("--pipeline: only with HTTP/1.1; others have --streams".into()));
        }
        let grpc_only = [("--messages", self.messages != 1), ("--call", self.call.is_some())];
        if let Some((flag, _)) = grpc_only.iter().find(|(_, given)| *given && protocol != Protocol::Grpc) {
            return Err(invalid(format!("{flag}: only with --protocol grpc")));
        }
        if self.proxy_protocol.is_some() && targets.iter().any(|target| target.is_unix()) {
            return Err(invalid("--proxy-protocol: a UNIX socket has no addresses to tell of".into()));
        }
        if !self.source.is_empty() && targets.iter().any(|target| target.is_unix()) {
            return Err(invalid("--source: a UNIX socket is reached from no address".into()));
        }
        let connections = at_least_one("--connections", self.connections)?;
        let cpus = self.cpus.as_deref().map(parse_cpus).transpose()?.unwrap_or_default();
        let available = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        let default_threads = if cpus.is_empty() { available } else { cpus.len() as u32 };
        let threads = at_least_one("--threads", self.threads.unwrap_or(default_threads))?.min(connections);
        let streams = at_least_one("--streams", self.streams.or(self.pipeline).unwrap_or(1))?;
        let bounded = self.requests.is_some();
        let duration = self.duration.or((!bounded).then_some(Duration::from_secs(10)));
        Ok(LoadConfig {
            sources: self.source.clone(),
            protocol,
            connections,
            streams,
            new_connection: self.new_connection,
            requests: vec![self.request(protocol)?],
            rate: self.rate,
            spacing: self.arrivals,
            queue_max: self.queue,
            requests_max: self.requests,
            duration,
            warmup: self.warmup,
            ramp_up: self.ramp_up,
            ramp_down: self.ramp_down,
            timeout: self.timeout,
            threads,
            cpus,
            proxy_protocol: self.proxy_protocol,
            tls: self.secure.clone(),
            seed: self.seed,
            pids: self.pid.clone(),
            ..LoadConfig::new(targets)
        })
    }

    fn request(&self, protocol: Protocol) -> io::Result<RequestConfig> {
        let data = match &self.data_file {
            Some(path) => Data::parse_csv(&read("--data-file", path)?),
            None => Data::default(),
        };
        let template = |flag: &str, text: &str| {
            Template::parse(text, &data).map_err(|error| invalid(format!("{flag}: {error}")))
        };
        let headers = self.header.iter().map(|line| {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| invalid(format!("--header {line}: expected `Name: value`")))?;
            if line.contains(['\r', '\n']) {
                return Err(invalid(format!("--header {name}: a header field is one line")));
            }
            Ok((name.trim().to_owned(), template("--header", value.trim())?))
        });
        let call = match &self.call {
            Some(name) if !self.proto.is_empty() => {
                Some(Schema::compile(&self.proto, &self.import_path)?.call(name)?)
            }
            _ => None,
        };
        let body = match self.data.as_deref().map(|data| (data, data.strip_prefix('@'))) {
            None => Template::default(),
            Some((_, Some(path))) => {
                let bytes = std::fs::read(path)
                    .map_err(|error| io::Error::new(error.kind(), format!("--data @{path}: {error}")))?;
                // What is not text has no fields: an encoded message, for instance.
                match String::from_utf8(bytes) {
                    Ok(text) if protocol != Protocol::Grpc || call.is_some() => template("--data", &text)?,
                    Ok(text) => Template::literal(text.into_bytes()),
                    Err(error) => Template::literal(error.into_bytes()),
                }
            }
            Some((text, None)) => template("--data", text)?,
        };
        let posts = self.data.is_some() || protocol == Protocol::Grpc;
        let path = match (&self.path, &self.call) {
            (Some(path), _) => Some(template("--path", path)?),
            (None, Some(call)) => {
                Some(Template::literal(format!("/{}", call.trim_start_matches('/')).into_bytes()))
            }
            (None, None) => None,
        };
        let method = self.method.clone().unwrap_or_else(|| if posts { "POST" } else { "GET" }.to_owned());
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(invalid(format!("--method {method}: expected a word such as GET")));
        }
        let request = RequestConfig {
            method,
            path,
            headers: headers.collect::<io::Result<_>>()?,
            body,
            has_body: self.data.is_some(),
            messages: self.messages,
            data: data.clone(),
            call,
            ..RequestConfig::default()
        };
        request.check_messages().map_err(|error| invalid(format!("--data: {error}")))?;
        Ok(request)
    }
}

/// Tries each target once before the run: a run of refused connections tells nothing. Of several addresses of a name, the
/// first that answers is taken.
pub fn reach(config: &mut LoadConfig) -> io::Result<()> {
    for target in &mut config.targets {
        let tried = match &target.address {
            Address::Socket(first) => {
                let mut tried = try_connect(first);
                for other in &target.others {
                    if tried.is_ok() {
                        break;
                    }
                    if try_connect(other).is_ok() {
                        target.address = Address::Socket(*other);
                        tried = Ok(());
                        break;
                    }
                }
                tried
            }
            Address::Unix(path) => std::os::unix::net::UnixStream::connect(path).map(drop),
        };
        tried.map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "nothing listens there; is the server up, and the port right?"
                }
                io::ErrorKind::NotFound => "there is no such socket; is the server up, and the path right?",
                io::ErrorKind::TimedOut => "no answer within 5 s; is a firewall in between?",
                _ => "check the address, and `ip route`",
            };
            io::Error::new(error.kind(), format!("{}: cannot connect: {error}: {advice}", target.url))
        })?;
    }
    Ok(())
}

fn try_connect(address: &SocketAddr) -> io::Result<()> {
    TcpStream::connect_timeout(address, Duration::from_secs(5)).map(drop)
}

/// Says what to do about connects that the kernel has refused.
pub fn explain_connect(result: &RunResult) {
    if let Some(error) = &result.tls_error {
        println!("  TLS        the first failure: {error}");
    }
    let advice = match result.connect_errno {
        0 => return,
        libc::EADDRNOTAVAIL => {
            "the local ports are used up: give more addresses with --source 127.0.0.2,127.0.0.3, or widen \
             net.ipv4.ip_local_port_range"
        }
        libc::ECONNREFUSED => "refused: the target's backlog was full (net.core.somaxconn), or it went away",
        libc::ETIMEDOUT => "no answer: the target's backlog was full, or a firewall is in between",
        libc::EMFILE | libc::ENFILE => "too many open files: raise `ulimit -n`",
        _ => "see connect(2) for this error",
    };
    println!("  connect    {}: {advice}", io::Error::from_raw_os_error(result.connect_errno));
}

/// The first Ctrl-C ends the run and shows what there is; the second ends the process.
pub fn catch_interrupt() {
    extern "C" fn stop(_signal: libc::c_int) {
        if let Some(shared) = SHARED.get()
            && shared.stop.swap(true, Ordering::Relaxed)
        {
            // SAFETY: ends the process without running anything: allowed in a signal handler.
            unsafe { libc::_exit(130) };
        }
    }
    shared();
    let handler = stop as extern "C" fn(libc::c_int);
    // SAFETY: the handler touches one atomic that is initialised above, or ends the process.
    unsafe {
        libc::signal(libc::SIGINT, handler as libc::sighandler_t);
        libc::signal(libc::SIGTERM, handler as libc::sighandler_t);
    }
}

pub fn read(flag: &str, path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{flag} {}: {error}", path.display())))
}

/// A time with its unit; without one, seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("expected us, ms, s, m or h, found {unit}")),
    };
    let number: f64 =
        digits.parse().map_err(|_| format!("expected a time such as 10s or 500ms, found {text}"))?;
    Duration::try_from_secs_f64(number * unit)
        .map_err(|_| format!("expected a time of at least 0, found {text}"))
}

/// `0,2-3`.
fn parse_cpus(text: &str) -> io::Result<Vec<usize>> {
    let wrong = || invalid(format!("--cpus: expected numbers and ranges such as 0,2-3, found {text}"));
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (usize, usize) =
            (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
        if low > high || high >= 1024 {
            return Err(wrong());
        }
        cpus.extend(low..=high);
    }
    Ok(cpus)
}

pub fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expected) in [
            ("10s", Ok(10_000_000)),
            ("10", Ok(10_000_000)),
            ("1.5ms", Ok(1_500)),
            ("20us", Ok(20)),
            ("2m", Ok(120_000_000)),
            ("1d", Err(())),
            ("s", Err(())),
            ("-1s", Err(())),
        ] {
            let parsed = parse_duration(text).map(|duration| duration.as_micros()).map_err(|_| ());
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn cpus_are_numbers_and_ranges() {
        assert_eq!(parse_cpus("0,2-4").expect("valid"), [0, 2, 3, 4]);
        for text in ["", "a", "3-1", "0,", "9999"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }
}
