//! The HTTP/2 workloads: `h2load` in front, `nghttpd` or the load tester's origin behind, both on the CPU that the
//! proxies do not have.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ringway_loadtest::process;
use ringway_loadtest::report::{Errors, Latency, ProxyUse, Report};

use super::child::{self, Running};
use super::peers;
use super::{CompareArgs, Workload};

/// The protocols on the two sides of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) client_http2: bool,
    pub(super) origin_http2: bool,
}

/// Connections, and streams at once on each: `8x32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) connections: u32,
    pub(super) streams: u32,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        let numbers = text.split_once('x').and_then(|(c, s)| Some((c.parse().ok()?, s.parse().ok()?)));
        match numbers {
            Some((connections @ 1.., streams @ 1..)) => Ok(Shape { connections, streams }),
            _ => Err(format!("expected connections and streams, as `8x32`; found `{text}`")),
        }
    }
}

impl Workload {
    /// The protocols that the proxies have to speak for it.
    pub(super) fn sides(self) -> Sides {
        let (client_http2, origin_http2) = match self {
            Workload::Http2 | Workload::Grpc | Workload::GrpcStream => (true, true),
            Workload::Http2ToHttp1 | Workload::Http2Idle => (true, false),
            Workload::Http1ToHttp2 => (false, true),
            _ => (false, false),
        };
        Sides { client_http2, origin_http2 }
    }

    /// The shapes that it is measured in: those asked for, or the one that it has.
    pub(super) fn shapes(self, args: &CompareArgs) -> Vec<Shape> {
        match self {
            Workload::Http1ToHttp2 => vec![Shape { connections: 64, streams: 1 }],
            Workload::GrpcStream => vec![Shape { connections: 8, streams: 8 }],
            _ => args.shapes.clone(),
        }
    }
}

/// What `nghttpd` serves, and what `h2load` sends.
pub(super) struct Files {
    dir: PathBuf,
}

/// A gRPC message: a flag, its length in four bytes, and so much protobuf as a small call has.
const UNARY_MESSAGE_BYTES: u32 = 64;
const STREAM_MESSAGE_BYTES: u32 = 1024;
/// Messages of one streaming call: 256 KiB and their prefixes.
const STREAM_MESSAGES: usize = 256;

/// Files are methods, whose paths have a service in front; by the ending `nghttpd` knows the content type.
const UNARY: &str = "bench.Echo/Unary.grpc";
const STREAM: &str = "bench.Echo/Stream.grpc";

/// Bytes of the body that every response must have.
fn response_bytes(workload: Workload) -> u64 {
    let message = |bytes: u32| 5 + u64::from(bytes);
    match workload {
        Workload::Grpc => message(UNARY_MESSAGE_BYTES),
        Workload::GrpcStream => message(STREAM_MESSAGE_BYTES) * STREAM_MESSAGES as u64,
        _ => workload.body_bytes(),
    }
}

impl Files {
    pub(super) fn new(dir: &Path) -> io::Result<Files> {
        let dir = dir.join("htdocs");
        fs::create_dir_all(dir.join("bench.Echo"))?;
        fs::write(dir.join("small"), vec![b'x'; Workload::Http2.body_bytes() as usize])?;
        fs::write(dir.join(UNARY), message(UNARY_MESSAGE_BYTES))?;
        fs::write(dir.join(STREAM), message(STREAM_MESSAGE_BYTES).repeat(STREAM_MESSAGES))?;
        fs::write(dir.join("mime"), "application/grpc grpc\n")?;
        Ok(Files { dir })
    }

    /// The path of a workload, and the arguments of `h2load` that make its requests.
    fn request(&self, workload: Workload) -> (&'static str, Vec<String>) {
        let file = |name: &str| self.dir.join(name).display().to_string();
        let grpc = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"];
        let grpc = grpc.map(String::from).to_vec();
        match workload {
            Workload::Grpc => (UNARY, [grpc, vec![file(UNARY)]].concat()),
            // The windows of a gRPC client: large enough for a whole call.
            Workload::GrpcStream => {
                let windows = ["-w", "20", "-W", "24"].map(String::from).to_vec();
                (STREAM, [grpc, vec![file(UNARY)], windows].concat())
            }
            Workload::Http1ToHttp2 => ("small", vec!["--h1".into()]),
            _ => ("small", Vec::new()),
        }
    }

    /// Starts the origin. For calls of gRPC it ends each response with trailers, which cost some proxies twice as much as a
    /// response without.
    pub(super) fn start_origin(
        &self,
        workload: Workload,
        listen: SocketAddr,
        cpu: usize,
    ) -> io::Result<Running> {
        let program = peers::find(None, "nghttpd", "apt-get install nghttp2-server")?;
        let mime = format!("--mime-types-file={}", self.dir.join("mime").display());
        let dir = self.dir.display().to_string();
        let (address, port) = (listen.ip().to_string(), listen.port().to_string());
        let calls = matches!(workload, Workload::Grpc | Workload::GrpcStream);
        let trailer: &[&str] = if calls { &["--trailer", "grpc-status: 0"] } else { &[] };
        let args = ["--no-tls", "-m", "256", "-w", "20", "-W", "24", &mime];
        let args = args
            .into_iter()
            .chain(trailer.iter().copied())
            .chain(["-a", &address, "-d", &dir, &port])
            .map(Into::into);
        Running::start(&program, &args.collect::<Vec<_>>(), cpu, self.dir.join("nghttpd.log"))
    }
}

fn message(length: u32) -> Vec<u8> {
    [&[0][..], &length.to_be_bytes(), &vec![b'x'; length as usize]].concat()
}

/// The parts of one measurement that stay the same while the proxies take turns.
pub(super) struct Load<'a> {
    pub(super) files: &'a Files,
    pub(super) workload: Workload,
    pub(super) shape: Shape,
    pub(super) args: &'a CompareArgs,
    pub(super) cpu: usize,
    pub(super) origin_pid: u32,
}

impl Load<'_> {
    /// Measures one proxy: first the warm-up, then the run whose CPU time counts.
    pub(super) fn measure(&self, proxy: SocketAddr, pid: u32) -> io::Result<Report> {
        if self.args.warmup > 0.0 {
            self.h2load(proxy, self.args.warmup)?;
        }
        let (proxy_before, origin_before) =
            (process::cpu_time(&[pid])?, process::cpu_time(&[self.origin_pid])?);
        let tester_before = child::children_cpu_us();
        let said = self.h2load(proxy, self.args.seconds)?;
        let used = process::cpu_time(&[pid])? - proxy_before;
        let origin = process::cpu_time(&[self.origin_pid])? - origin_before;
        let tester_us = child::children_cpu_us() - tester_before + origin.total_us();
        let mut result = parse(&said)
            .ok_or_else(|| io::Error::other(format!("h2load said something unexpected:\n{said}")))?;
        // A refused call is a 200 too.
        if result.body_bytes < result.requests * response_bytes(self.workload) {
            result.errors.length = result.requests;
        }
        let seconds = result.requests as f64 / result.requests_per_second.max(1.0);
        Ok(Report {
            target: proxy.to_string(),
            connections: self.shape.connections,
            seconds,
            rate: None,
            requests: result.requests,
            requests_per_second: result.requests_per_second,
            body_bytes_per_second: result.body_bytes as f64 / seconds.max(1e-3),
            connects: u64::from(self.shape.connections),
            errors: result.errors,
            latency: result.latency,
            proxy: Some(ProxyUse::new(used, result.requests, seconds, process::memory(&[pid])?)),
            tester_us_per_request: tester_us / result.requests.max(1) as f64,
            tester_cpu_share: tester_us / 1e6 / seconds.max(1e-3),
        })
    }

    fn h2load(&self, proxy: SocketAddr, seconds: f64) -> io::Result<String> {
        let program = peers::find(None, "h2load", "apt-get install nghttp2-client")?;
        let (path, more) = self.files.request(self.workload);
        // It takes whole seconds, or milliseconds by name.
        let args = [
            "-D".to_owned(),
            format!("{}ms", (seconds * 1000.0).max(100.0) as u64),
            format!("-c{}", self.shape.connections),
            format!("-m{}", self.shape.streams),
        ];
        let url = format!("http://{proxy}/{path}");
        let args: Vec<_> = args.into_iter().chain(more).chain([url]).map(Into::into).collect();
        child::output(&program, &args, self.cpu)
    }
}

/// What `h2load` says at its end.
#[derive(Debug)]
struct Said {
    requests: u64,
    requests_per_second: f64,
    body_bytes: u64,
    errors: Errors,
    latency: Latency,
}

fn parse(text: &str) -> Option<Said> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let count = |line: &str, what: &str| -> Option<u64> {
        let part = line.split(',').find(|part| part.trim_end().ends_with(what))?;
        part.split_whitespace().next()?.parse().ok()
    };
    let requests_line = line("requests:")?;
    let statuses = line("status codes:")?;
    let finished = line("finished in ")?;
    let per_second = finished.split(',').nth(1)?.split_whitespace().next()?.parse().ok()?;
    let times = line("time for request:")?;
    let mut times = times.split_whitespace();
    let (_min, max, mean) = (times.next()?, microseconds(times.next()?)?, microseconds(times.next()?)?);
    let traffic = line("traffic:")?;
    let body_bytes = traffic.rsplit_once('(')?.1.split_once(')')?.0.parse().ok()?;
    let refused =
        ["3xx", "4xx", "5xx"].into_iter().map(|class| count(statuses, class)).sum::<Option<u64>>()?;
    Some(Said {
        requests: count(requests_line, "done")?,
        requests_per_second: per_second,
        body_bytes,
        errors: Errors {
            status: refused,
            reset: count(requests_line, "errored")?,
            unanswered: count(requests_line, "timeout")?,
            ..Errors::default()
        },
        latency: Latency { mean_us: mean, max_us: max, ..Latency::default() },
    })
}

/// `155us`, `26.94ms`, `1.20s`.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, unit) = units.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    number.parse::<f64>().ok().map(|number| number * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_h2load_says() {
        let text = "finished in 1.00s, 127680.00 req/s, 12.54MB/s\n\
            requests: 127680 total, 127936 started, 127680 done, 127677 succeeded, 3 failed, 2 errored, 1 timeout\n\
            status codes: 127677 2xx, 0 3xx, 0 4xx, 4 5xx\n\
            traffic: 12.54MB (13152208) total, 1.34MB (1405368) headers (space savings 93.60%), 7.79MB (8171520) data\n\
            \x20                    min         max         mean         sd        +/- sd\n\
            time for request:      155us     26.94ms      1.82ms      2.02ms    91.23%\n";
        let said = parse(text).expect("complete");
        assert_eq!(
            (said.requests, said.requests_per_second, said.body_bytes),
            (127_680, 127_680.0, 8_171_520)
        );
        assert_eq!((said.errors.status, said.errors.reset, said.errors.unanswered), (4, 2, 1));
        assert_eq!((said.latency.mean_us, said.latency.max_us), (1_820.0, 26_940.0));
        assert!(parse("finished in 1.00s").is_none());
    }

    #[test]
    fn reads_shapes() {
        assert_eq!("8x32".parse(), Ok(Shape { connections: 8, streams: 32 }));
        for wrong in ["", "8", "0x1", "1x0", "8x", "ax3"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
