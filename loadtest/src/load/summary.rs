//! The result of a run for people, and as JSON, CSV and an HdrHistogram log.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::config::LoadConfig;
use super::run::{RunResult, TargetUse};
use super::scenario::Verdict;
use super::totals::Failure;

/// Everything that the JSON file holds; the text is made from it, too.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    pub tool: &'static str,
    pub version: &'static str,
    pub command: Vec<String>,
    pub targets: Vec<String>,
    pub protocol: String,
    pub connections: u32,
    pub streams: u32,
    pub threads: u32,
    pub rate: Option<f64>,
    pub summary: Summary,
    pub latency: Latency,
    /// `[quantile, microseconds]`, dense enough to draw the curve.
    pub percentiles: Vec<(f64, f64)>,
    pub errors: BTreeMap<&'static str, u64>,
    pub statuses: BTreeMap<u16, u64>,
    pub kinds: Vec<Kind>,
    pub series: Vec<SeriesPoint>,
    pub target_process: Option<TargetUse>,
    pub tester: Tester,
    pub warnings: Vec<String>,
    /// Of a scenario.
    pub thresholds: Vec<Verdict>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// All answers to requests that started in the measured time.
    pub requests: u64,
    pub warmup_requests: u64,
    pub errors: u64,
    pub missed: u64,
    pub seconds: f64,
    pub requests_per_second: f64,
    pub body_bytes: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub received_bytes_per_second: f64,
    pub connects: u64,
    pub tls_handshakes: u64,
    pub tls_resumed: u64,
    /// Version, cipher suite and key exchange group.
    pub tls: Option<String>,
    pub interrupted: bool,
}

/// In microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    pub min_us: f64,
    pub mean_us: f64,
    pub deviation_us: f64,
    pub p50_us: f64,
    pub p75_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub max_us: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Kind {
    pub name: String,
    pub requests: u64,
    pub errors: u64,
    pub latency: Latency,
}

#[derive(Clone, Debug, Serialize)]
pub struct SeriesPoint {
    pub seconds: f64,
    pub requests_per_second: f64,
    pub errors: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tester {
    pub cpu_us_per_request: f64,
    pub busiest_worker_share: f64,
    pub late_starts: u64,
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        if histogram.is_empty() {
            return Latency::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            min_us: histogram.min() as f64 / 1e3,
            mean_us: histogram.mean() / 1e3,
            deviation_us: histogram.stdev() / 1e3,
            p50_us: at(0.5),
            p75_us: at(0.75),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

impl Document {
    pub fn new(config: &LoadConfig, result: &RunResult) -> Document {
        let totals = &result.totals;
        let interval = totals.series.interval.as_secs_f64();
        let series = totals.series.points.iter().enumerate().map(|(position, point)| {
            let at = |quantile| point.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
            let seconds = position as f64 * interval;
            // The last interval may be cut short.
            let width = interval.min(result.seconds - seconds).max(interval / 10.0);
            SeriesPoint {
                seconds,
                requests_per_second: point.requests as f64 / width,
                errors: point.errors,
                p50_us: at(0.5),
                p99_us: at(0.99),
                max_us: point.latency_ns.max() as f64 / 1e3,
            }
        });
        let kinds = config.requests.iter().zip(&totals.kinds).map(|(kind, counted)| Kind {
            name: kind.name.clone(),
            requests: counted.requests,
            errors: counted.errors,
            latency: Latency::of(&counted.latency_ns),
        });
        Document {
            tool: "ringway-load",
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            targets: config.targets.iter().map(|target| target.url.clone()).collect(),
            protocol: clap::ValueEnum::to_possible_value(&config.protocol)
                .map_or_else(String::new, |value| value.get_name().to_owned()),
            connections: config.connections,
            streams: config.streams,
            threads: config.threads,
            rate: config.rate,
            summary: Summary {
                requests: totals.requests,
                warmup_requests: totals.warmup,
                errors: totals.errors_total(),
                missed: totals.missed,
                seconds: result.seconds,
                requests_per_second: totals.in_time as f64 / result.seconds,
                body_bytes: totals.body_bytes,
                received_bytes: totals.received_bytes,
                sent_bytes: totals.sent_bytes,
                received_bytes_per_second: totals.received_bytes as f64 / result.seconds,
                connects: totals.connects,
                tls_handshakes: totals.handshakes,
                tls_resumed: totals.resumed,
                tls: totals.tls.clone(),
                interrupted: result.interrupted,
            },
            latency: Latency::of(&totals.latency_ns),
            percentiles: percentiles(&totals.latency_ns),
            errors: totals.errors.iter().map(|(failure, &count)| (failure.name(), count)).collect(),
            statuses: totals.statuses.clone(),
            kinds: kinds.collect(),
            // What came after the measured time belongs to no interval of it.
            series: series.filter(|point| point.seconds < result.seconds).collect(),
            target_process: result.target,
            tester: Tester {
                cpu_us_per_request: result.tester_cpu.as_secs_f64() * 1e6
                    / (totals.requests + totals.warmup).max(1) as f64,
                busiest_worker_share: result.busiest_share,
                late_starts: totals.late_starts,
            },
            warnings: result.warnings.clone(),
            thresholds: Vec::new(),
        }
    }

    /// The summary for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let s = &self.summary;
        let loop_name = match self.rate {
            Some(rate) => format!("open loop at {rate} requests/s"),
            None => "closed loop".into(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{}: {}, {} connections{}, {loop_name}, {} worker{}{}\n",
            self.targets.join(" "),
            self.protocol,
            self.connections,
            if self.streams > 1 { format!(" × {} at a time", self.streams) } else { String::new() },
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            if s.interrupted { " (interrupted: what there is so far)" } else { "" },
        );
        let _ = writeln!(
            out,
            "  requests   {} in {:.2} s: {:.1} requests/s, {}/s received ({} of bodies), {} connects",
            s.requests,
            s.seconds,
            s.requests_per_second,
            bytes(s.received_bytes_per_second),
            bytes(s.body_bytes as f64),
            s.connects
        );
        if let Some(tls) = &s.tls {
            let _ = writeln!(
                out,
                "  TLS        {tls}; {} handshakes, {} resumed",
                s.tls_handshakes, s.tls_resumed
            );
        }
        let l = &self.latency;
        let from = if self.rate.is_some() { " (from the intended start)" } else { "" };
        let _ = writeln!(
            out,
            "  latency    min {}  mean {}  deviation {}  max {}{from}",
            time(l.min_us),
            time(l.mean_us),
            time(l.deviation_us),
            time(l.max_us)
        );
        let _ = writeln!(
            out,
            "             p50 {}  p75 {}  p90 {}  p99 {}  p99.9 {}  p99.99 {}",
            time(l.p50_us),
            time(l.p75_us),
            time(l.p90_us),
            time(l.p99_us),
            time(l.p999_us),
            time(l.p9999_us)
        );
        let statuses: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        // Messages of WebSocket have none.
        if self.protocol != "ws" {
            let statuses = if statuses.is_empty() { "none".into() } else { statuses.join(", ") };
            let _ = writeln!(out, "  statuses   {statuses}");
        }
        for failure in Failure::ALL {
            if let Some(count) = self.errors.get(failure.name()) {
                let _ = writeln!(out, "  ERRORS     {count} {}", failure.text());
            }
        }
        for kind in &self.kinds {
            let (p50, p99) = (time(kind.latency.p50_us), time(kind.latency.p99_us));
            let _ = writeln!(
                out,
                "  {:10} {} requests, {} errors, p50 {p50}, p99 {p99}",
                kind.name, kind.requests, kind.errors
            );
        }
        if let Some(target) = &self.target_process {
            let _ = writeln!(
                out,
                "  target     {:.2} µs CPU per request ({:.2} user + {:.2} kernel), {:.0} % of one CPU, {} resident",
                target.us_per_request,
                target.user_us_per_request,
                target.kernel_us_per_request,
                target.cpu_share * 100.0,
                bytes(target.memory.rss_bytes as f64)
            );
        }
        let _ = writeln!(
            out,
            "  tester     {:.2} µs CPU per request, busiest worker {:.0} %",
            self.tester.cpu_us_per_request,
            self.tester.busiest_worker_share * 100.0
        );
        for verdict in &self.thresholds {
            let Verdict { name, expected, found, holds } = verdict;
            let word = if *holds { "holds" } else { "BROKEN" };
            let _ = writeln!(out, "  {word:10} {name}: {found}, expected {expected}");
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "  WARNING    {warning}");
        }
        out
    }

    /// One line for each interval.
    pub fn csv(&self) -> String {
        let mut out = String::from("seconds,requests_per_second,errors,p50_us,p99_us,max_us\n");
        for p in &self.series {
            let _ = writeln!(
                out,
                "{:.3},{:.1},{},{:.1},{:.1},{:.1}",
                p.seconds, p.requests_per_second, p.errors, p.p50_us, p.p99_us, p.max_us
            );
        }
        out
    }
}

/// The percentile table in the text form that HdrHistogram's plotter reads (`.hgrm`), in milliseconds.
pub fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for value in histogram.iter_quantiles(5) {
        let quantile = value.quantile_iterated_to();
        let _ = write!(
            out,
            "{:12.3} {quantile:14.12} {:10}",
            value.value_iterated_to() as f64 / 1e6,
            histogram.count_between(0, value.value_iterated_to())
        );
        match 1.0 - quantile {
            left if left > 0.0 => {
                let _ = writeln!(out, " {:14.2}", 1.0 / left);
            }
            _ => out.push('\n'),
        }
    }
    let _ = writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]",
        histogram.mean() / 1e6,
        histogram.stdev() / 1e6,
        histogram.max() as f64 / 1e6,
        histogram.len()
    );
    out
}

/// Points of the curve: even on the scale of 1/(1 - quantile).
fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    const STEPS_PER_DECADE: f64 = 12.0;
    if histogram.is_empty() {
        return Vec::new();
    }
    let decades = (histogram.len() as f64).log10().clamp(1.0, 6.0);
    let steps = (decades * STEPS_PER_DECADE) as u32;
    (0..=steps)
        .map(|step| {
            let quantile = 1.0 - 10f64.powf(-f64::from(step) / STEPS_PER_DECADE);
            (quantile, histogram.value_at_quantile(quantile) as f64 / 1e3)
        })
        .collect()
}

/// Microseconds for people.
pub fn time(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{value:.0} {name}") } else { format!("{value:.1} {name}") }
}

/// Writes a file that a flag names.
pub fn write(flag: &str, path: &std::path::Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text).map_err(|error| {
        io::Error::new(error.kind(), format!("{flag} {}: cannot be written: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::totals;

    #[test]
    fn times_and_sizes_are_read_easily() {
        assert_eq!(
            (time(12.4), time(1_234.0), time(2_500_000.0)),
            ("12 µs".into(), "1.23 ms".into(), "2.50 s".into())
        );
        assert_eq!((bytes(512.0), bytes(1536.0)), ("512 B".into(), "1.5 KiB".into()));
    }

    #[test]
    fn the_percentile_curve_ends_near_the_maximum() {
        let mut histogram = totals::histogram(3);
        (1..=100_000u64).for_each(|value| histogram.saturating_record(value * 1000));
        let curve = percentiles(&histogram);
        assert!(curve.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        let (quantile, value) = *curve.last().expect("points");
        assert!(quantile > 0.9999 && value > 99_000.0, "{quantile} {value}");
        assert!(hgrm(&histogram).contains("Total count    =       100000"));
    }
}
