//! The tables: Markdown on standard output, single measurements as JSON lines and CSV.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use ringway_loadtest::idle::IdleReport;
use ringway_loadtest::process::Memory;
use ringway_loadtest::report::Report;
use ringway_loadtest::slow_read::SlowReadReport;

use super::flood::Flooded;
use super::half::Half;
use super::http2::Shape;
use super::measure::Run;
use super::peers::Peer;
use super::{CompareArgs, Workload};

/// What was measured, how often and how long.
pub(super) fn title(
    workload: Workload,
    shape: Option<Shape>,
    rate: Option<f64>,
    args: &CompareArgs,
) -> String {
    let rate = rate.map(|rate| format!(" at {rate} requests/s")).unwrap_or_default();
    let connections = shape.map_or_else(|| workload.connections(args), |shape| shape.connections);
    let streams = shape.filter(|shape| shape.streams > 1);
    let streams = streams.map(|shape| format!(" × {} streams", shape.streams)).unwrap_or_default();
    let (name, rounds, seconds) = (workload.title(), args.rounds, args.seconds);
    format!("{name}{rate}, {connections} connections{streams} ({rounds} rounds of {seconds} s)")
}

/// What each proxy can do, before all are asked for half of the least.
pub(super) fn print_saturations(half: &Half) {
    let rates = half.saturations.iter().map(|(peer, rate)| format!("{} {rate:.0}", peer.name()));
    println!("\nIn closed loop, requests/s: {}.", rates.collect::<Vec<_>>().join(", "));
}

/// Medians over the rounds, the spread of the CPU time, and ratios against the first proxy of the table: Ringway on
/// io_uring where it runs.
pub(super) fn print_runs(title: &str, runs: &[Run]) {
    println!("\n### {title}\n");
    println!(
        "| proxy | requests/s | CPU µs/request (user + kernel) | lowest–highest | CPU ratio | requests/s ratio \
         | p50 µs | p99 µs | p99.9 µs | tester µs | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    print_rows(
        runs,
        &[&|report| report.latency.p50_us, &|report| report.latency.p99_us, &|report| report.latency.p999_us],
    );
}

type Value<'a> = &'a dyn Fn(&Report) -> f64;

/// One row for each proxy; `latencies` are the columns between the ratios and the tester's time.
fn print_rows(runs: &[Run], latencies: &[Value<'_>]) {
    let of = |peer: Peer, value: Value<'_>| {
        let mut values: Vec<f64> =
            runs.iter().filter(|run| run.peer == peer).map(|run| value(&run.report)).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let cpu: Value<'_> = &|report| report.proxy.map_or(0.0, |proxy| proxy.us_per_request);
    let per_second: Value<'_> = &|report| report.requests_per_second;
    // Ringway on io_uring where it runs, else the first of those that do.
    let base = runs.iter().map(|run| run.peer).min_by_key(|&peer| peer as usize).unwrap_or(Peer::Ringway);
    let (own_cpu, own_per_second) = (median(&of(base, cpu)), median(&of(base, per_second)));
    for &peer in Peer::value_variants() {
        let spread = of(peer, cpu);
        let (Some(lowest), Some(highest)) = (spread.first(), spread.last()) else { continue };
        let middle = |value: Value<'_>| median(&of(peer, value));
        let latencies: String =
            latencies.iter().map(|latency| format!("| {:.0} ", middle(*latency))).collect();
        println!(
            "| {} | {:.0} | {:.2} ({:.2} + {:.2}) | {lowest:.2}–{highest:.2} | {:.2} | {:.2} {latencies}| {:.2} | {:.0} |",
            peer.name(),
            middle(per_second),
            middle(cpu),
            middle(&|report| report.proxy.map_or(0.0, |proxy| proxy.user_us_per_request)),
            middle(&|report| report.proxy.map_or(0.0, |proxy| proxy.kernel_us_per_request)),
            middle(cpu) / own_cpu,
            middle(per_second) / own_per_second,
            middle(&|report| report.tester_us_per_request),
            of(peer, &|report| report.errors.total() as f64).iter().sum::<f64>(),
        );
    }
}

pub(super) fn print_idle(workload: Workload, reports: &[(Peer, IdleReport)]) {
    println!("\n### {}\n", workload.title());
    println!("| proxy | bytes per connection | connections (still open) | anonymous KiB before | after |");
    println!("|---|---|---|---|---|");
    for (peer, report) in reports {
        println!(
            "| {} | {:.0} | {} ({}) | {} | {} |",
            peer.name(),
            report.bytes_per_connection,
            report.connections,
            report.still_open,
            report.before.anonymous_bytes / 1024,
            report.after.anonymous_bytes / 1024
        );
    }
}

/// Prints what a flood of handshakes does to plain traffic: medians over the rounds, and the worst round of the p99.
pub(super) fn print_flood(args: &CompareArgs, runs: &[Flooded]) {
    let title = Workload::TlsFlood.title();
    println!("\n### {title}, {} requests/s ({} rounds of {} s)\n", args.rate, args.rounds, args.seconds);
    println!(
        "| proxy | p50 µs alone | p50 µs flooded | p99 µs alone | p99 µs flooded (worst round) | p99.9 µs alone \
         | p99.9 µs flooded | requests/s flooded | handshakes/s | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &peer in Peer::value_variants() {
        let of = |value: &dyn Fn(&Flooded) -> f64| {
            let mut values: Vec<f64> = runs.iter().filter(|run| run.peer == peer).map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let flooded_p99 = of(&|run| run.flooded.latency.p99_us);
        let Some(worst) = flooded_p99.last() else { continue };
        let middle = |value: &dyn Fn(&Flooded) -> f64| median(&of(value));
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} ({worst:.0}) | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            peer.name(),
            middle(&|run| run.quiet.latency.p50_us),
            middle(&|run| run.flooded.latency.p50_us),
            middle(&|run| run.quiet.latency.p99_us),
            median(&flooded_p99),
            middle(&|run| run.quiet.latency.p999_us),
            middle(&|run| run.flooded.latency.p999_us),
            middle(&|run| run.flooded.requests_per_second),
            middle(&|run| run.handshakes_per_second),
            of(&|run| (run.quiet.errors.total() + run.flooded.errors.total()) as f64).iter().sum::<f64>(),
        );
    }
}

pub(super) fn print_start(memories: &[(Peer, Memory)]) {
    println!("\n### {}\n", Workload::Start.title());
    println!("| proxy | resident MiB | of which anonymous |");
    println!("|---|---|---|");
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for (peer, memory) in memories {
        let (resident, anonymous) = (mebibytes(memory.rss_bytes), mebibytes(memory.anonymous_bytes));
        println!("| {} | {resident:.1} | {anonymous:.1} |", peer.name());
    }
}

pub(super) fn print_slow(reports: &[(Peer, SlowReadReport)]) {
    println!("\n### {}\n", Workload::Slow.title());
    println!("| proxy | read | resident KiB before | lowest | highest |");
    println!("|---|---|---|---|---|");
    for (peer, report) in reports {
        println!(
            "| {} | {:.1} MB in {:.1} s | {} | {} | {} |",
            peer.name(),
            report.bytes_read as f64 / 1e6,
            report.seconds,
            report.before_bytes / 1024,
            report.lowest_bytes / 1024,
            report.highest_bytes / 1024
        );
    }
}

/// Appends single measurements to the files that were asked for.
pub(super) fn append_files(args: &CompareArgs, runs: &[Run]) -> io::Result<()> {
    if let Some(path) = &args.json {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        for run in runs {
            let line = serde_json::json!({
                "workload": run.workload.title(),
                "peer": run.peer.name(),
                "round": run.round,
                "report": run.report,
            });
            writeln!(file, "{line}")?;
        }
    }
    args.csv.as_deref().map_or(Ok(()), |path| append_csv(path, runs))
}

fn append_csv(path: &Path, runs: &[Run]) -> io::Result<()> {
    let fresh = !path.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    if fresh {
        writeln!(
            file,
            "workload,peer,round,requests_per_second,user_us,kernel_us,p50_us,p99_us,p999_us,tester_us,errors"
        )?;
    }
    for Run { workload, peer, round, report } in runs {
        let (user, kernel) =
            report.proxy.map_or((0.0, 0.0), |proxy| (proxy.user_us_per_request, proxy.kernel_us_per_request));
        writeln!(
            file,
            "\"{}\",\"{}\",{round},{:.0},{user:.3},{kernel:.3},{:.1},{:.1},{:.1},{:.3},{}",
            workload.title(),
            peer.name(),
            report.requests_per_second,
            report.latency.p50_us,
            report.latency.p99_us,
            report.latency.p999_us,
            report.tester_us_per_request,
            report.errors.total()
        )?;
    }
    Ok(())
}

/// Of sorted values; NaN of none.
pub(super) fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 3.0, 9.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
