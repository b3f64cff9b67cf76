//! `--plots DIR`: each table as a drawing, for pages.

use std::fs;
use std::io;
use std::path::Path;

use clap::ValueEnum;
use ringway_loadtest::load::compare::Spread;
use ringway_loadtest::load::html::chart::{Bar, Chart, Panel};
use ringway_loadtest::report::Report;

use super::Workload;
use super::flood::Flooded;
use super::http2::Shape;
use super::measure::Run;
use super::peers::Peer;

/// Draws the medians of runs with their spread. Proxies with errors are left out: what a failed request costs is no figure.
pub(super) fn write_runs(
    dir: &Path,
    workload: Workload,
    shape: Option<Shape>,
    title: &str,
    runs: &[Run],
) -> io::Result<()> {
    type Quantity = (&'static str, fn(&Report) -> f64);
    const LATENCY: [Quantity; 2] = [
        ("p99.9 in ms, from the intended start (less is better)", |report| report.latency.p999_us / 1e3),
        ("p99 in ms", |report| report.latency.p99_us / 1e3),
    ];
    const COST: [Quantity; 2] = [
        ("CPU of the proxy in µs per request (less is better)", |report| {
            report.proxy.map_or(0.0, |proxy| proxy.us_per_request)
        }),
        ("requests per second on one CPU (more is better)", |report| report.requests_per_second),
    ];
    let quantities = if matches!(workload, Workload::Rate | Workload::Half) { LATENCY } else { COST };
    let panels = quantities.map(|(title, of)| Panel {
        title,
        bars: measured(runs)
            .map(|peer| {
                let values = runs.iter().filter(|run| run.peer == peer).map(|run| of(&run.report)).collect();
                bar(peer, spread(values))
            })
            .collect(),
    });
    let shape = shape.map(|shape| format!("-{}x{}", shape.connections, shape.streams)).unwrap_or_default();
    write(dir, &format!("{}{shape}", name(workload)), Chart { title, panels: panels.into() })
}

/// Draws what a flood of handshakes does to the others.
pub(super) fn write_flood(dir: &Path, title: &str, runs: &[Flooded]) -> io::Result<()> {
    type Quantity = (&'static str, fn(&Flooded) -> f64);
    const QUANTITIES: [Quantity; 2] = [
        ("p99 in ms beside the flood (less is better)", |run| run.flooded.latency.p99_us / 1e3),
        ("p99 in ms without it", |run| run.quiet.latency.p99_us / 1e3),
    ];
    let panels = QUANTITIES.map(|(title, of)| {
        let bars = Peer::value_variants().iter().filter_map(|&peer| {
            let values: Vec<f64> = runs.iter().filter(|run| run.peer == peer).map(of).collect();
            (!values.is_empty()).then(|| bar(peer, spread(values)))
        });
        Panel { title, bars: bars.collect() }
    });
    write(dir, &name(Workload::TlsFlood), Chart { title, panels: panels.into() })
}

/// Draws one value for each proxy.
pub(super) fn write_values(
    dir: &Path,
    workload: Workload,
    quantity: &str,
    values: &[(Peer, f64)],
) -> io::Result<()> {
    let bars = values.iter().map(|&(peer, value)| bar(peer, spread(vec![value]))).collect();
    let chart = Chart { title: workload.title(), panels: vec![Panel { title: quantity, bars }] };
    write(dir, &name(workload), chart)
}

/// Those that have answered everything right, in the order of the tables.
fn measured(runs: &[Run]) -> impl Iterator<Item = Peer> {
    Peer::value_variants().iter().copied().filter(|&peer| {
        let mut own = runs.iter().filter(|run| run.peer == peer).peekable();
        own.peek().is_some() && own.all(|run| run.report.errors.total() == 0)
    })
}

fn bar(peer: Peer, spread: Spread) -> Bar<'static> {
    Bar { name: peer.name(), spread, ours: peer.is_ringway() }
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let (min, max) = (values.first().copied(), values.last().copied());
    Spread { median: super::table::median(&values), min: min.unwrap_or(0.0), max: max.unwrap_or(0.0) }
}

/// As on the command line.
fn name(workload: Workload) -> String {
    workload.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn write(dir: &Path, name: &str, chart: Chart<'_>) -> io::Result<()> {
    let path = dir.join(format!("{name}.svg"));
    let written = fs::create_dir_all(dir).and_then(|()| fs::write(&path, chart.svg()));
    written.map_err(|error| io::Error::new(error.kind(), format!("--plots {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use ringway_loadtest::report::{Errors, Latency};

    use super::*;

    fn run(peer: Peer, rate: f64, errors: u64) -> Run {
        let report = Report {
            target: String::new(),
            connections: 1,
            seconds: 1.0,
            rate: None,
            requests: 1,
            requests_per_second: rate,
            body_bytes_per_second: 0.0,
            connects: 1,
            errors: Errors { status: errors, ..Errors::default() },
            latency: Latency::default(),
            proxy: None,
            tester_us_per_request: 0.0,
            tester_cpu_share: 0.0,
        };
        Run { workload: Workload::Small, peer, round: 0, report }
    }

    #[test]
    fn a_drawing_has_the_medians_of_those_without_errors() {
        let dir = std::env::temp_dir().join(format!("ringway-bench-plots-{}", std::process::id()));
        let runs = [
            run(Peer::Nginx, 100.0, 0),
            run(Peer::Ringway, 300.0, 0),
            run(Peer::Nginx, 200.0, 0),
            run(Peer::Envoy, 400.0, 1),
        ];
        write_runs(&dir, Workload::Small, None, "64 B", &runs).expect("a folder of our own");
        let svg = fs::read_to_string(dir.join("small.svg")).expect("the drawing");
        fs::remove_dir_all(&dir).expect("our own folder");
        assert!(svg.contains(">150</text>") && svg.contains(">300</text>"), "{svg}");
        assert!(svg.contains("nginx") && !svg.contains("Envoy"), "{svg}");
    }
}
