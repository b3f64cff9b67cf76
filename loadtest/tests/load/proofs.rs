//! Whether the figures are right: against what the origin itself has measured, and not against a clock.

use std::io::Write;
use std::time::Duration;

use ringway_loadtest::load::codec::Protocol;
use ringway_loadtest::load::origin::OriginTotals;
use ringway_loadtest::load::origin::faults::{Delay, Faults};
use serde_json::Value;

use crate::harness::{OK, count, each_request, load, server};
use crate::origins::{Origin, config};

fn number(document: &Value, pointer: &str) -> f64 {
    document.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// The reported percentiles over those of the origin.
fn ratios(document: &Value, totals: &OriginTotals) -> Vec<f64> {
    let quantiles = [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99)];
    let of = |(name, quantile): (&str, f64)| {
        let served = totals.service_ns.value_at_quantile(quantile) as f64 / 1e3;
        number(document, &format!("/latency/{name}")) / served
    };
    quantiles.into_iter().map(of).collect()
}

#[test]
fn percentiles_are_those_of_a_known_distribution() {
    const ATTEMPTS: usize = 8;
    // Both histograms keep three digits.
    const PRECISION: f64 = 0.002;
    // The way there and back, in shares of delays of 100 ms.
    const WAY: f64 = 0.03;
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let delay = Delay::Exponential(Duration::from_millis(100));
        let faults = Faults { latency: Some(delay), ..Faults::default() };
        let origin = Origin::start(config(Protocol::Http1, faults));
        let (code, document, text) =
            load(&["-c", "100", "-n", "1500", &format!("http://127.0.0.1:{}/", origin.port)]);
        let totals = origin.totals();
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(totals.service_ns.len(), 1500);
        let ratios = ratios(&document, &totals);
        // Every request takes longer for who asks than for who answers: never less, however busy the machine is.
        assert!(ratios.iter().all(|ratio| *ratio > 1.0 - PRECISION), "seed 7: {ratios:?} {text}");
        if ratios.iter().all(|ratio| *ratio < 1.0 + PRECISION + WAY) {
            return;
        }
        // A busy machine can only add to it; a wrong figure would be wrong each time.
        seen.push(ratios);
    }
    panic!("never within the precision, seed 7: {seen:?}");
}

#[test]
fn a_rate_is_kept_to_the_last_request() {
    for (rate, arrivals, low, high) in
        [("300", "fixed", 600, 600), ("1500", "fixed", 3000, 3000), ("1500", "poisson", 2700, 3300)]
    {
        let origin = Origin::start(config(Protocol::Http1, Faults::default()));
        let url = format!("http://127.0.0.1:{}/", origin.port);
        let (code, document, text) = load(&["-d", "2s", "-R", rate, "--arrivals", arrivals, &url]);
        let totals = origin.totals();
        assert_eq!(code, Some(0), "{rate} {arrivals}: {text}");
        assert!((low..=high).contains(&totals.right), "{rate} {arrivals}, seed 1: {} {text}", totals.right);
        assert_eq!(count(&document, "/summary/requests"), totals.right, "{rate} {arrivals}: {text}");
    }
}

#[test]
fn an_open_loop_shows_a_stall_that_a_closed_loop_hides() {
    let stalling = || {
        server(|stream, count| {
            each_request(stream, count, |stream, number| {
                if number == 100 {
                    // The stall is what is tested; nothing waits for it to be long enough.
                    std::thread::sleep(Duration::from_secs(1));
                }
                stream.write_all(OK).is_ok()
            });
        })
    };
    let (address, _) = stalling();
    let url = format!("http://{address}/");
    let (_, open, text) = load(&["-c", "1", "-d", "2s", "-R", "300", &url]);
    // 600 arrivals, of which 300 fall into the stall: the hundredth part of them waits for nearly all of it.
    assert!(number(&open, "/latency/p99_us") > 900_000.0, "{text}");
    let (address, _) = stalling();
    let (_, closed, text) = load(&["-c", "1", "-d", "2s", &format!("http://{address}/")]);
    // One request of all waits for the stall, and the others are not even asked: only the maximum shows it.
    let hidden = if count(&closed, "/summary/requests") > 500 { "p99_us" } else { "p90_us" };
    assert!(number(&closed, &format!("/latency/{hidden}")) < 300_000.0, "{text}");
    assert!(number(&closed, "/latency/max_us") > 990_000.0, "{text}");
}
