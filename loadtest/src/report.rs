//! What a run has measured, for people and as JSON.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::process::{CpuTime, Memory};

/// The result of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub target: String,
    pub connections: u32,
    pub seconds: f64,
    /// Requests per second asked for; `None` is closed loop.
    pub rate: Option<f64>,
    pub requests: u64,
    pub requests_per_second: f64,
    pub body_bytes_per_second: f64,
    /// Connections opened during the window.
    pub connects: u64,
    pub errors: Errors,
    pub latency: Latency,
    /// The process under test, when its id was given.
    pub proxy: Option<ProxyUse>,
    /// CPU that client and origin together used per request: below the proxy's, or the tester is measured.
    pub tester_us_per_request: f64,
    pub tester_cpu_share: f64,
}

/// Requests without a correct answer, by kind. Those of the warm-up are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Connections refused or failed.
    pub connect: u64,
    /// Connections reset with a request on them.
    pub reset: u64,
    /// Connections that ended before the whole response.
    pub early_close: u64,
    /// Statuses other than 200.
    pub status: u64,
    /// Responses that are not HTTP/1.1, or bytes that nobody asked for.
    pub malformed: u64,
    /// Bodies of another length than expected.
    pub length: u64,
    /// Requests without an end when the run was over.
    pub unanswered: u64,
}

impl Errors {
    pub fn total(&self) -> u64 {
        self.connect
            + self.reset
            + self.early_close
            + self.status
            + self.malformed
            + self.length
            + self.unanswered
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Latency {
            mean_us: histogram.mean() / 1000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1000.0,
        }
    }
}

/// What the process under test used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ProxyUse {
    pub user_us_per_request: f64,
    pub kernel_us_per_request: f64,
    pub us_per_request: f64,
    /// 1 is one CPU.
    pub cpu_share: f64,
    pub memory: Memory,
}

impl ProxyUse {
    pub fn new(used: CpuTime, requests: u64, seconds: f64, memory: Memory) -> ProxyUse {
        let per = |us: f64| us / requests.max(1) as f64;
        ProxyUse {
            user_us_per_request: per(used.user_us),
            kernel_us_per_request: per(used.kernel_us),
            us_per_request: per(used.total_us()),
            cpu_share: used.total_us() / 1e6 / seconds,
            memory,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.0} requests/s ({} in {:.2} s, {} connections, {:.1} MB/s of bodies, {} connects)",
            self.requests_per_second,
            self.requests,
            self.seconds,
            self.connections,
            self.body_bytes_per_second / 1e6,
            self.connects
        )?;
        let l = &self.latency;
        writeln!(
            f,
            "latency µs: mean {:.0}, p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}{}",
            l.mean_us,
            l.p50_us,
            l.p90_us,
            l.p99_us,
            l.p999_us,
            l.max_us,
            if self.rate.is_some() { " (open loop, from the intended start)" } else { "" }
        )?;
        if let Some(proxy) = &self.proxy {
            writeln!(
                f,
                "proxy: {:.2} µs CPU per request ({:.2} user + {:.2} kernel), {:.0} % of one CPU, {:.1} MiB resident",
                proxy.us_per_request,
                proxy.user_us_per_request,
                proxy.kernel_us_per_request,
                proxy.cpu_share * 100.0,
                proxy.memory.rss_bytes as f64 / f64::from(1 << 20)
            )?;
        }
        writeln!(
            f,
            "tester: {:.2} µs CPU per request, {:.0} % of one CPU",
            self.tester_us_per_request,
            self.tester_cpu_share * 100.0
        )?;
        if self.errors.total() > 0 {
            writeln!(f, "ERRORS: {} of them: {:?}", self.errors.total(), self.errors)?;
        }
        Ok(())
    }
}
