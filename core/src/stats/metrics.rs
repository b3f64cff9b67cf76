//! Statistics → Prometheus text (exposition format 0.0.4).
//!
//! Numbers of workers carry the label `worker`; what is counted for names of the configuration is summed over the
//! workers. Labels come from the configuration and from closed lists only: a client cannot make a new series.

use std::fmt::Write;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::counter::{Kind, Row};
use super::grpc::MethodReading;
use super::histogram::{Histogram, Snapshot, upper_micros};
use super::labels::Labels;
use super::process::Usage;
use super::reading::{Numbered, Reading};
use super::worker::{
    CLASS_NAMES, ClusterStats, ConnectionStats, EndpointStats, ExchangeStats, Http2Stats, IoStats,
    ListenerStats, PoolStats, RouteStats, TlsStats, UpstreamHttp2Stats, UpstreamTlsStats, WorkerStats,
};
use super::{ProcessStats, Stats};
use crate::access_log::LogStats;
use crate::config::Config;
use crate::error::{REASONS, Reason};
use crate::tls::CertificateFacts;

/// Value of `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `le` of the histograms of the process: every power of two from 16 µs to 67 s.
const FINE: [usize; 23] = bounds(2, 1);
/// `le` of the histograms of one route or cluster: every fourth power from 256 µs to 67 s.
const COARSE: [usize; 10] = bounds(6, 2);

/// Buckets whose upper bound is a power of two, from `octave` on, every `step` octaves.
const fn bounds<const N: usize>(octave: usize, step: usize) -> [usize; N] {
    let mut bounds = [0; N];
    let mut index = 0;
    while index < N {
        bounds[index] = 4 * (octave + index * step) + 3;
        index += 1;
    }
    bounds
}

/// Refusals of connections that are shown even while they are zero.
const REFUSALS: [Reason; 4] =
    [Reason::ConnectionLimit, Reason::ClientConnectionLimit, Reason::MemoryLimit, Reason::Draining];

/// Everything that is counted, for the names of `labels`.
pub fn render(stats: &Stats, labels: &Labels) -> String {
    let mut text = Text { out: String::with_capacity(32 * 1024) };
    text.process(stats);
    text.group(&stats.process, ProcessStats::ROWS);
    text.workers(stats, ConnectionStats::ROWS, |worker| &worker.connections);
    text.workers(stats, ExchangeStats::ROWS, |worker| &worker.exchanges);
    text.workers(stats, PoolStats::ROWS, |worker| &worker.pool);
    text.workers(stats, Http2Stats::ROWS, |worker| &worker.http2);
    text.workers(stats, UpstreamHttp2Stats::ROWS, |worker| &worker.upstream_http2);
    text.workers(stats, TlsStats::ROWS, |worker| &worker.tls);
    text.workers(stats, UpstreamTlsStats::ROWS, |worker| &worker.upstream_tls);
    text.workers(stats, IoStats::ROWS, |worker| &worker.io);
    text.group(&*stats.access_log, LogStats::ROWS);
    text.outcomes(stats);
    text.durations(stats, "exchange_duration", "First byte of the request to the end of the exchange", |w| {
        &w.duration
    });
    text.durations(stats, "first_byte", "Complete request head to the first byte of the response", |w| {
        &w.first_byte
    });
    text.durations(
        stats,
        "connect",
        "Complete request head to an upstream connection, where one was made",
        |w| &w.connect,
    );
    let readings = stats.read(labels);
    let listeners = readings.listeners.iter().map(|(name, reading)| (label("listener", name), reading));
    text.named::<ListenerStats>(&listeners.collect::<Vec<_>>());
    let routes = readings.routes.iter().map(|(name, reading)| (label("route", name), reading));
    text.named::<RouteStats>(&routes.collect::<Vec<_>>());
    let clusters = readings.clusters.iter().map(|(name, reading)| (label("cluster", name), reading));
    text.named::<ClusterStats>(&clusters.collect::<Vec<_>>());
    let endpoints = readings.endpoints.iter().map(|(cluster, endpoint, reading)| {
        (format!("{},{}", label("cluster", cluster), label("endpoint", endpoint)), reading)
    });
    text.named::<EndpointStats>(&endpoints.collect::<Vec<_>>());
    text.methods(stats);
    text.out
}

/// When the certificates of listeners and clusters expire, and how many are in force.
pub fn certificates(config: &Config) -> String {
    let mut text = Text { out: String::new() };
    let help = "End of the validity of a certificate, in seconds since the epoch";
    text.family("certificate_expiry_timestamp_seconds", "gauge", help);
    let mut sample = |kind: &str, name: &str, file: &Path, facts: &CertificateFacts| {
        let labels = format!("{},{}", label(kind, name), label("file", &file.to_string_lossy()));
        let expiry = u64::try_from(facts.not_after).unwrap_or(0);
        text.sample("certificate_expiry_timestamp_seconds", &labels, expiry);
    };
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        for (file, facts) in tls.certificate_files() {
            sample("listener", &listener.name, file, &facts);
        }
    }
    for cluster in &config.clusters {
        let Some(tls) = &cluster.tls else { continue };
        if let (Some(files), Some(facts)) = (&tls.settings().certificate, tls.certificate()) {
            sample("cluster", &cluster.name, &files.cert, &facts);
        }
    }
    text.out
}

/// The text as it grows. Writing to a `String` cannot fail.
struct Text {
    out: String,
}

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.out, "# HELP ringway_{name} {help}.\n# TYPE ringway_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = if labels.is_empty() {
            writeln!(self.out, "ringway_{name} {value}")
        } else {
            writeln!(self.out, "ringway_{name}{{{labels}}} {value}")
        };
    }

    /// What Prometheus expects of every process, by its usual names, and the version.
    fn process(&mut self, stats: &Stats) {
        let version = label("version", env!("CARGO_PKG_VERSION"));
        self.family("build_info", "gauge", "1, with the version as a label");
        self.sample("build_info", &version, 1);
        let started = stats.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = seconds(u64::try_from(started.as_nanos()).unwrap_or(0));
        let usage = Usage::read();
        let cpu = seconds(usage.cpu_micros.saturating_mul(1_000));
        for (name, kind, help, value) in [
            ("start_time_seconds", "gauge", "Start of the process since the epoch", started),
            ("cpu_seconds_total", "counter", "User and system CPU time of the process", cpu),
            (
                "resident_memory_bytes",
                "gauge",
                "Resident memory of the process",
                usage.resident_bytes.to_string(),
            ),
        ] {
            let name = format!("process_{name}");
            let _ = writeln!(self.out, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}");
        }
    }

    /// Opens the family of a number and returns the name of its samples.
    fn number(&mut self, name: &str, rises: bool, help: &str) -> String {
        let (name, kind) =
            if rises { (format!("{name}_total"), "counter") } else { (name.to_owned(), "gauge") };
        self.family(&name, kind, help);
        name
    }

    fn group<G>(&mut self, group: &G, rows: &[Row<G>]) {
        for row in rows {
            let name = self.number(row.name, row.kind == Kind::Counter, row.help);
            self.sample(&name, "", (row.read)(group));
        }
    }

    fn workers<G>(&mut self, stats: &Stats, rows: &[Row<G>], group: fn(&WorkerStats) -> &G) {
        for row in rows {
            let name = self.number(row.name, row.kind == Kind::Counter, row.help);
            for worker in stats.workers() {
                self.sample(&name, &format!("worker=\"{}\"", worker.index()), (row.read)(group(worker)));
            }
        }
    }

    /// How exchanges ended.
    fn outcomes(&mut self, stats: &Stats) {
        let name =
            self.number("responses", true, "Responses by exact status; 499: the client went away before one");
        for (status, count) in stats.statuses() {
            let status = status.map_or("other".to_owned(), |code| code.to_string());
            self.sample(&name, &label("status", &status), count);
        }
        let name = self.number("reasons", true, "Exchanges that the proxy answered itself or cut, by reason");
        for (reason, count) in stats.reasons(|worker| &worker.reasons) {
            self.sample(&name, &label("reason", reason), count);
        }
        let name = self.number("connections_refused", true, "Connections closed unserved, by reason");
        for (info, (reason, count)) in REASONS.iter().zip(stats.reasons(|worker| &worker.refused)) {
            if count > 0 || REFUSALS.contains(&info.reason) {
                self.sample(&name, &label("reason", reason), count);
            }
        }
    }

    fn durations(
        &mut self,
        stats: &Stats,
        name: &str,
        help: &str,
        histogram: fn(&WorkerStats) -> &Histogram,
    ) {
        let sum = stats.durations(histogram);
        self.family(&format!("{name}_seconds"), "histogram", help);
        self.histogram(&format!("{name}_seconds"), "", &sum, &FINE);
    }

    fn histogram(&mut self, name: &str, labels: &str, snapshot: &Snapshot, bounds: &[usize]) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut cumulated: u64 = 0;
        let mut buckets = snapshot.buckets.iter();
        let mut next = 0;
        for bound in bounds {
            cumulated += buckets.by_ref().take(bound + 1 - next).sum::<u64>();
            next = bound + 1;
            let Some(micros) = upper_micros(*bound) else { continue };
            let le = seconds(micros * 1_000);
            self.sample(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{le}\""), cumulated);
        }
        let count = cumulated + buckets.sum::<u64>();
        self.sample(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"+Inf\""), count);
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.out, "ringway_{name}_sum{braces} {}", seconds(snapshot.sum_nanos));
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// What is counted for each gRPC method.
    fn methods(&mut self, stats: &Stats) {
        let readings = stats.methods();
        let labels = |reading: &MethodReading| {
            format!("{},{}", label("service", &reading.service), label("method", &reading.method))
        };
        let name = self.number("grpc_calls", true, "gRPC calls by status");
        for reading in &readings {
            for (status, count) in reading.statuses() {
                self.sample(&name, &format!("{},status=\"{status}\"", labels(reading)), count);
            }
        }
        let name = self.number("grpc_messages_received", true, "gRPC messages received from clients");
        for reading in &readings {
            self.sample(&name, &labels(reading), reading.messages_in);
        }
        let name = self.number("grpc_messages_sent", true, "gRPC messages sent to clients");
        for reading in &readings {
            self.sample(&name, &labels(reading), reading.messages_out);
        }
        self.family("grpc_duration_seconds", "histogram", "First byte of a gRPC call to its end");
        for reading in &readings {
            self.histogram("grpc_duration_seconds", &labels(reading), &reading.durations, &COARSE);
        }
    }

    /// What is counted for each name of one kind.
    fn named<T: Numbered>(&mut self, names: &[(String, &Reading)]) {
        let kind = T::KIND;
        let name = self.number(&format!("{kind}_responses"), true, "Exchanges by class of their status");
        for (labels, reading) in names {
            // A name without traffic has no series: thousands of idle routes would make a scrape long.
            if reading.exchanges() > 0 {
                for (class, count) in CLASS_NAMES.iter().zip(reading.responses) {
                    self.sample(&name, &format!("{labels},class=\"{class}\""), count);
                }
            }
        }
        for (index, number) in T::NUMBERS.iter().enumerate() {
            let name = self.number(&format!("{kind}_{}", number.name), number.rises, number.help);
            for (labels, reading) in names {
                let value = reading.numbers.get(index).copied().unwrap_or(0);
                if value > 0 || reading.exchanges() > 0 {
                    self.sample(&name, labels, value);
                }
            }
        }
        if let Some((what, help)) = T::DURATIONS {
            let name = format!("{kind}_{what}_seconds");
            self.family(&name, "histogram", help);
            for (labels, reading) in names {
                if let Some(durations) = &reading.durations {
                    self.histogram(&name, labels, durations, &COARSE);
                }
            }
        }
    }
}

/// A label whose value is escaped as the format wants it: backslash, quote, line feed.
fn label(name: &str, value: &str) -> String {
    let mut text = format!("{name}=\"");
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Nanoseconds as seconds, exactly.
fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
