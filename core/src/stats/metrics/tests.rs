use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::config::{Config, EndpointConfig, ProcessConfig};
use crate::outcome::{Outcome, Phases, WallClock};

/// A strict reader of the text format: what Prometheus itself would refuse, it refuses.
#[derive(Default)]
struct Parsed {
    /// Name → type.
    families: BTreeMap<String, String>,
    /// Name with labels → value.
    samples: BTreeMap<String, f64>,
}

fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut current, mut helped) = (String::new(), BTreeSet::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(helped.insert(name.to_owned()), "{name} is helped twice");
            assert!(!help.is_empty() && !help.contains('\\'));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(helped.contains(name), "{name}: HELP comes first");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{line}");
            assert!(parsed.families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            current = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{line}"
            );
            let histogram = parsed.families.get(&current).is_some_and(|kind| kind == "histogram");
            let of = ["_bucket", "_sum", "_count"]
                .iter()
                .filter(|_| histogram)
                .find_map(|end| name.strip_suffix(end));
            assert_eq!(of.unwrap_or(name), current, "{line}");
            let value: f64 = value.parse().expect("a number");
            assert!(parsed.samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    parsed
}

fn stats() -> (Arc<Stats>, Arc<Labels>) {
    let endpoint = EndpointConfig::Name { host: "origin.test".to_owned(), port: 81 };
    let mut config =
        Config::simple(&["127.0.0.1:1".parse().expect("an address")], &[endpoint], ProcessConfig::default());
    let mut route = (*config.routes[0]).clone();
    route.name = "odd \"name\" \\ \n".to_owned();
    config.routes = vec![Arc::new(route)];
    let stats = Stats::new(2);
    let labels = stats.labels(&config);
    (stats, labels)
}

fn exchange(status: u16, micros: u64) -> Outcome<'static> {
    let started = Instant::now();
    let after = |us| started + Duration::from_micros(us);
    Outcome {
        listener: 0,
        route: Some(0),
        cluster: Some(0),
        worker: 0,
        endpoint: "127.0.0.1:81",
        endpoint_index: Some(0),
        client: None,
        method: b"GET",
        target: b"/secret-path",
        host: b"client-chosen.test",
        protocol: "HTTP/1.1",
        user_agent: b"",
        referer: b"",
        request_id: b"",
        status,
        reason: (status == 502).then_some(Reason::ConnectFailed),
        request_body_bytes: 3,
        response_body_bytes: 100,
        attempts: 2,
        upstream_reused: false,
        grpc: None,
        tls: None,
        phases: Phases {
            clock: WallClock::new(started, SystemTime::now()),
            started,
            head_received: started,
            connected: Some(after(micros / 4)),
            first_byte: Some(after(micros / 2)),
            ended: after(micros),
        },
    }
}

#[test]
fn the_text_says_what_was_counted() {
    let (stats, labels) = stats();
    for (worker, status, micros) in [(0, 200, 100), (0, 200, 1_000), (1, 204, 1_025), (1, 502, 90_000_000)] {
        let worker = &stats.workers()[worker];
        worker.on_exchange_started();
        worker.on_exchange(&labels, &exchange(status, micros));
    }
    stats.workers()[1].on_exchange_started();
    stats.workers()[1].refused.count(Reason::ConnectionLimit);
    let text = render(&stats, &labels);
    assert!(!text.contains("secret-path") && !text.contains("client-chosen"), "no label comes from a client");
    let parsed = parse(&text);
    let route = "route=\"odd \\\"name\\\" \\\\ \\n\"";
    for (series, expected) in [
        ("ringway_requests_total{worker=\"0\"}", 2.0),
        ("ringway_requests_total{worker=\"1\"}", 3.0),
        ("ringway_exchanges_open{worker=\"0\"}", 0.0),
        ("ringway_exchanges_open{worker=\"1\"}", 1.0),
        ("ringway_responses_total{status=\"200\"}", 2.0),
        ("ringway_responses_total{status=\"502\"}", 1.0),
        ("ringway_reasons_total{reason=\"connect_failed\"}", 1.0),
        ("ringway_reasons_total{reason=\"no_route\"}", 0.0),
        ("ringway_connections_refused_total{reason=\"connection_limit\"}", 1.0),
        ("ringway_retries_total{worker=\"1\"}", 2.0),
        ("ringway_exchange_duration_seconds_bucket{le=\"0.000064\"}", 0.0),
        ("ringway_exchange_duration_seconds_bucket{le=\"0.000128\"}", 1.0),
        ("ringway_exchange_duration_seconds_bucket{le=\"0.001024\"}", 2.0),
        ("ringway_exchange_duration_seconds_bucket{le=\"0.002048\"}", 3.0),
        ("ringway_exchange_duration_seconds_bucket{le=\"67.108864\"}", 3.0),
        ("ringway_exchange_duration_seconds_bucket{le=\"+Inf\"}", 4.0),
        ("ringway_exchange_duration_seconds_count", 4.0),
        ("ringway_exchange_duration_seconds_sum", 90.002_125),
        ("ringway_listener_responses_total{listener=\"listen-1\",class=\"2xx\"}", 3.0),
        (&format!("ringway_route_responses_total{{{route},class=\"5xx\"}}"), 1.0),
        (&format!("ringway_route_duration_seconds_bucket{{{route},le=\"0.001024\"}}"), 2.0),
        (&format!("ringway_route_duration_seconds_count{{{route}}}"), 4.0),
        ("ringway_cluster_retries_total{cluster=\"upstream\"}", 4.0),
        (
            "ringway_endpoint_responses_total{cluster=\"upstream\",endpoint=\"origin.test:81\",class=\"2xx\"}",
            3.0,
        ),
    ] {
        let found = parsed.samples.get(series);
        assert!(
            found.is_some_and(|value| (value - expected).abs() < 1e-9),
            "{series}: {found:?}, expected {expected}"
        );
    }
    for kind in ["exchange_duration", "first_byte", "connect"] {
        let buckets: Vec<f64> = text
            .lines()
            .filter(|line| line.starts_with(&format!("ringway_{kind}_seconds_bucket")))
            .map(|line| line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok()).expect("a number"))
            .collect();
        assert!(buckets.len() == FINE.len() + 1 && buckets.is_sorted(), "{kind}: {buckets:?}");
    }
}

#[test]
fn the_report_sums_what_the_workers_say() {
    let (stats, labels) = stats();
    for worker in stats.workers() {
        worker.on_exchange_started();
        worker.on_exchange(&labels, &exchange(200, 1_000));
    }
    let report = crate::stats::report::render(&stats, &labels);
    assert_eq!(report["sum"]["requests"], 2);
    assert_eq!(report["workers"][1]["requests"], 1);
    assert_eq!(report["workers"][1]["worker"], 1);
    assert_eq!(report["sum"]["worker"], serde_json::Value::Null);
    assert_eq!(report["responses"]["200"], 2);
    assert_eq!(report["durations_us"]["exchange"]["p50"], 1_024);
    assert_eq!(report["durations_us"]["exchange"]["mean"], 1_000);
    assert_eq!(report["clusters"]["upstream"]["endpoints"]["origin.test:81"]["responses"]["2xx"], 2);
    assert_eq!(report["listeners"]["listen-1"]["responses"]["2xx"], 2);
}

#[test]
fn names_without_traffic_make_no_series() {
    let (stats, labels) = stats();
    let text = render(&stats, &labels);
    assert!(!text.contains("ringway_route_responses_total{"));
    assert!(text.contains("# TYPE ringway_route_responses_total counter\n"));
    parse(&text);
}

/// The table of metrics in the operator's handbook, as it has to be.
fn table() -> String {
    let (stats, labels) = stats();
    let config = Config::simple(&[], &[], ProcessConfig::default());
    let text = render(&stats, &labels) + &certificates(&config);
    let mut rows = String::from("| metric | type | meaning |\n| --- | --- | --- |\n");
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help.trim_end_matches('.'));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            rows.push_str(&format!("| `{name}` | {kind} | {help} |\n"));
        }
    }
    rows
}

#[test]
fn the_handbook_lists_every_metric() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let handbook = std::fs::read_to_string(path).expect("docs/operations.md");
    assert!(handbook.contains(&table()), "docs/operations.md does not hold this table:\n{}", table());
}

#[test]
fn the_handbook_lists_every_variable_of_the_access_log() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let handbook = std::fs::read_to_string(path).expect("docs/operations.md");
    let rows: String = crate::access_log::VARIABLES
        .iter()
        .map(|(name, meaning)| format!("| `{name}` | {meaning} |\n"))
        .collect();
    assert!(handbook.contains(&rows), "docs/operations.md does not hold these rows:\n{rows}");
}

/// What counting an exchange costs: `cargo test --profile quick -p ringway-core cost_of -- --ignored --nocapture`.
#[test]
#[ignore = "prints a figure"]
fn cost_of_counting_an_exchange() {
    let (stats, labels) = stats();
    let worker = &stats.workers()[0];
    let outcome = exchange(200, 100);
    let begin = Instant::now();
    for _ in 0..10_000_000 {
        worker.on_exchange_started();
        worker.on_exchange(&labels, std::hint::black_box(&outcome));
    }
    println!("{} ns", begin.elapsed().as_nanos() / 10_000_000);
}
