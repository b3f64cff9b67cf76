//! The HTTP/2 workloads: the load tester in front and its origin behind, both on the CPU that the proxies do not have.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ringway_loadtest::process;
use ringway_loadtest::report::{Errors, Latency, ProxyUse, Report};
use serde::Deserialize;

use super::child::{self, Running};
use super::tls::Tls;
use super::{CompareArgs, Workload};

/// The protocols on the two sides of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) client_http2: bool,
    pub(super) origin_http2: bool,
    pub(super) tls: Tls,
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
        Sides { client_http2, origin_http2, tls: self.tls() }
    }

    /// The shapes that it is measured in: those asked for, or the one that it has.
    pub(super) fn shapes(self, args: &CompareArgs) -> Vec<Shape> {
        match self {
            Workload::Http1ToHttp2 => vec![Shape { connections: 64, streams: 1 }],
            Workload::Tls | Workload::TlsUpstream => vec![Shape { connections: 64, streams: 1 }],
            Workload::Tls128K => vec![Shape { connections: 32, streams: 1 }],
            Workload::TlsNew | Workload::TlsNewRsa | Workload::TlsNewHybrid | Workload::TlsResumed => {
                vec![Shape { connections: 16, streams: 1 }]
            }
            Workload::GrpcStream => vec![Shape { connections: 8, streams: 8 }],
            _ => args.shapes.clone(),
        }
    }
}

/// What is sent.
pub(super) struct Files {
    dir: PathBuf,
}

/// So much protobuf as a small call has.
const UNARY_MESSAGE_BYTES: u32 = 64;
const STREAM_MESSAGE_BYTES: u32 = 1024;
/// Messages of one streaming call: 256 KiB and their prefixes.
const STREAM_MESSAGES: u32 = 256;

/// Bytes of the body that every response must have.
fn response_bytes(workload: Workload) -> u64 {
    // A flag and the length in four bytes are in front.
    let message = |bytes: u32| 5 + u64::from(bytes);
    match workload {
        Workload::Grpc => message(UNARY_MESSAGE_BYTES),
        Workload::GrpcStream => message(STREAM_MESSAGE_BYTES) * u64::from(STREAM_MESSAGES),
        _ => workload.body_bytes(),
    }
}

impl Files {
    pub(super) fn new(dir: &Path) -> io::Result<Files> {
        let dir = dir.join("sent");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("message"), vec![b'x'; UNARY_MESSAGE_BYTES as usize])?;
        Ok(Files { dir })
    }

    /// The protocol of a workload's client, the path, and the arguments that make its requests.
    fn request(&self, workload: Workload) -> (&'static str, &'static str, Vec<String>) {
        let call = || vec!["--data".to_owned(), format!("@{}", self.dir.join("message").display())];
        match workload {
            Workload::Grpc => ("grpc", "bench.Echo/Unary", call()),
            Workload::GrpcStream => ("grpc", "bench.Echo/Stream", call()),
            _ if workload.sides().client_http2 => ("h2", "small", Vec::new()),
            _ => ("http1", "small", self::words(workload.tls_client_args())),
        }
    }

    /// Starts the origin. Calls of gRPC end with trailers, which cost some proxies twice as much as a response without.
    pub(super) fn start_origin(
        &self,
        workload: Workload,
        listen: SocketAddr,
        cpu: usize,
    ) -> io::Result<Running> {
        let (protocol, body, messages) = match workload {
            Workload::Grpc => ("grpc", UNARY_MESSAGE_BYTES, 1),
            Workload::GrpcStream => ("grpc", STREAM_MESSAGE_BYTES, STREAM_MESSAGES),
            _ => ("h2", workload.body_bytes() as u32, 1),
        };
        let (listen, body, messages) = (listen.to_string(), body.to_string(), messages.to_string());
        let args =
            ["load", "origin", "--listen", &listen, "--protocol", protocol, "--body", &body, "--messages"];
        let args: Vec<_> = args.into_iter().chain([messages.as_str()]).map(Into::into).collect();
        Running::start(&std::env::current_exe()?, &args, cpu, self.dir.join("origin.log"))
    }
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
            self.load(proxy, self.args.warmup)?;
        }
        let (proxy_before, origin_before) =
            (process::cpu_time(&[pid])?, process::cpu_time(&[self.origin_pid])?);
        let tester_before = child::children_cpu_us();
        let said = self.load(proxy, self.args.seconds)?;
        let used = process::cpu_time(&[pid])? - proxy_before;
        let origin = process::cpu_time(&[self.origin_pid])? - origin_before;
        let tester_us = child::children_cpu_us() - tester_before + origin.total_us();
        let Said { summary, latency, errors } = said;
        let (requests, seconds) = (summary.requests, summary.seconds.max(1e-3));
        // What has no place of its own in the table counts as malformed.
        let mut counted = Errors { malformed: errors.values().sum(), ..Errors::default() };
        // A refused call is a 200 too.
        if summary.body_bytes < requests * response_bytes(self.workload) {
            counted.length = requests;
        }
        Ok(Report {
            target: proxy.to_string(),
            connections: self.shape.connections,
            seconds,
            rate: None,
            requests,
            requests_per_second: summary.requests_per_second,
            body_bytes_per_second: summary.body_bytes as f64 / seconds,
            connects: summary.connects,
            errors: counted,
            latency,
            proxy: Some(ProxyUse::new(used, requests, seconds, process::memory(&[pid])?)),
            tester_us_per_request: tester_us / requests.max(1) as f64,
            tester_cpu_share: tester_us / 1e6 / seconds,
        })
    }

    /// Runs the load tester, which is this same program.
    fn load(&self, proxy: SocketAddr, seconds: f64) -> io::Result<Said> {
        let (protocol, path, more) = self.files.request(self.workload);
        let json = self.files.dir.join("load.json");
        let (connections, streams) = (self.shape.connections.to_string(), self.shape.streams.to_string());
        let duration = format!("{}ms", (seconds * 1000.0).max(100.0) as u64);
        let scheme = if matches!(self.workload.tls(), Tls::Client(_)) { "https" } else { "http" };
        let (url, written) = (format!("{scheme}://{proxy}/{path}"), json.display().to_string());
        let args =
            ["load", "--quiet", "--threads", "1", "--protocol", protocol, "--connections", &connections];
        let rest = ["--duration", &duration, "--json", &written, &url];
        let streams =
            ["--streams".to_owned(), streams].into_iter().take(if protocol == "http1" { 0 } else { 2 });
        let open_loop = self.workload == Workload::TlsFlood;
        let rate = ["--rate".to_owned(), self.args.rate.to_string()].into_iter().filter(|_| open_loop);
        let args = args.into_iter().map(String::from).chain(streams).chain(rate).chain(more);
        let args: Vec<_> = args.chain(rest.map(String::from)).map(Into::into).collect();
        let printed = child::output(&std::env::current_exe()?, &args, self.cpu)?;
        read_said(&json, &printed)
    }
}

/// Takes what the load tester has written; `printed` is shown where that is nothing.
pub(super) fn read_said(json: &Path, printed: &str) -> io::Result<Said> {
    let text = fs::read_to_string(json)
        .map_err(|error| io::Error::other(format!("the load tester wrote nothing ({error}): {printed}")))?;
    fs::remove_file(json)?;
    serde_json::from_str(&text).map_err(|error| io::Error::other(format!("load tester: {error}: {text}")))
}

/// What the load tester writes, as far as it is shown here.
#[derive(Debug, Deserialize)]
pub(super) struct Said {
    pub(super) summary: Summary,
    latency: Latency,
    errors: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    requests: u64,
    pub(super) seconds: f64,
    requests_per_second: f64,
    body_bytes: u64,
    pub(super) connects: u64,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_shapes() {
        assert_eq!("8x32".parse(), Ok(Shape { connections: 8, streams: 32 }));
        for wrong in ["", "8", "0x1", "1x0", "8x", "ax3"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
