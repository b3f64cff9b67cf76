//! `--find-knee`: where does latency begin to grow? First a closed loop finds the highest rate, then open loops step
//! up to it.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::args::{self, LoadArgs};
use super::config::LoadConfig;
use super::html;
use super::summary::{self, Document, time};

/// One step of the curve.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub rate: f64,
    pub achieved: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub errors: u64,
    pub missed: u64,
    pub kept_up: bool,
}

/// Shares of the closed loop's rate.
const SHARES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1];
/// A step keeps up while its p99 is at most so many times the lightest load's, or below the floor.
const P99_FACTOR: f64 = 5.0;
const P99_FLOOR_US: f64 = 1_000.0;
const ACHIEVED_SHARE: f64 = 0.98;

pub fn execute(load: &LoadArgs, config: &LoadConfig) -> io::Result<ExitCode> {
    let step_time = load.duration.unwrap_or(Duration::from_secs(3));
    let closed = LoadConfig { duration: Some(step_time), requests_max: None, rate: None, ..config.clone() };
    let first = args::run_shown(&closed, &load.output)?;
    let highest = first.totals.in_time as f64 / first.seconds;
    println!("closed loop: {highest:.0} requests/s; now open loops, {:.1} s each\n", step_time.as_secs_f64());
    println!("{:>10} {:>10} {:>10} {:>10} {:>10}  errors  missed", "rate", "achieved", "p50", "p99", "p99.9");
    let mut steps: Vec<Step> = Vec::new();
    let mut documents = Vec::new();
    for share in SHARES {
        let rate = (highest * share).max(1.0).round();
        let open = LoadConfig { rate: Some(rate), ..closed.clone() };
        let result = args::run_shown(&open, &load.output)?;
        let document = Document::new(&open, &result);
        let lightest = steps.first().map(|step| step.p99_us);
        let step = step(rate, &document, lightest);
        println!(
            "{:>10.0} {:>10.0} {:>10} {:>10} {:>10}  {:>6}  {:>6}{}",
            step.rate,
            step.achieved,
            time(step.p50_us),
            time(step.p99_us),
            time(step.p999_us),
            step.errors,
            step.missed,
            if step.kept_up { "" } else { "  ← beyond the knee" }
        );
        steps.push(step);
        documents.push((format!("{rate:.0}/s"), document));
        if args::shared().stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let verdict = verdict(&steps);
    println!("\n{verdict}");
    if let Some(path) = &load.output.json {
        let requests = documents.iter().map(|(_, document)| document.summary.requests).sum::<u64>();
        let errors = steps.iter().map(|step| step.errors).sum::<u64>();
        let json = serde_json::json!({
            "tool": "ringway-load", "mode": "find-knee",
            "summary": { "requests": requests + first.totals.requests, "errors": errors }, "closed_loop_requests_per_second": highest,
            "knee_requests_per_second": knee(&steps), "steps": steps,
        });
        summary::write("--json", path, &serde_json::to_string_pretty(&json)?)?;
    }
    if let Some(path) = &load.output.report {
        let named: Vec<(String, &Document)> =
            documents.iter().map(|(name, doc)| (name.clone(), doc)).collect();
        summary::write("--report", path, &html::page("The knee", &named, &html::paragraph(&verdict)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn step(rate: f64, document: &Document, lightest_p99: Option<f64>) -> Step {
    let achieved = document.summary.requests_per_second;
    let p99_us = document.latency.p99_us;
    let p99_max = lightest_p99.map_or(f64::INFINITY, |lightest| (lightest * P99_FACTOR).max(P99_FLOOR_US));
    let right = document.summary.errors + document.summary.missed == 0;
    // By Little's law so many are still on their way when a step ends: they are no lag.
    let on_their_way = rate * document.latency.p50_us / 1e6 / document.summary.seconds.max(1e-9);
    Step {
        rate,
        achieved,
        p50_us: document.latency.p50_us,
        p99_us,
        p999_us: document.latency.p999_us,
        errors: document.summary.errors,
        missed: document.summary.missed,
        kept_up: right && achieved + on_their_way >= rate * ACHIEVED_SHARE && p99_us <= p99_max,
    }
}

/// The highest rate before the first that was not kept up with.
fn knee(steps: &[Step]) -> Option<f64> {
    steps.iter().take_while(|step| step.kept_up).last().map(|step| step.rate)
}

fn verdict(steps: &[Step]) -> String {
    let beyond = steps.iter().find(|step| !step.kept_up);
    match (knee(steps), beyond) {
        (Some(rate), Some(beyond)) => {
            format!(
                "the knee is between {rate:.0} and {:.0} requests/s; at {:.0}, p99 is {}",
                beyond.rate,
                beyond.rate,
                time(beyond.p99_us)
            )
        }
        (Some(rate), None) => {
            format!("no knee up to {rate:.0} requests/s: the tester or its connections are the bound")
        }
        (None, _) => "already the lightest load is beyond the knee".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_before_the_first_step_that_falls_behind() {
        let step = |rate, kept_up| Step {
            rate,
            achieved: rate,
            p50_us: 1.0,
            p99_us: 1.0,
            p999_us: 1.0,
            errors: 0,
            missed: 0,
            kept_up,
        };
        let steps = [step(10.0, true), step(20.0, true), step(30.0, false), step(40.0, true)];
        assert_eq!(knee(&steps), Some(20.0));
        assert!(verdict(&steps).contains("between 20 and 30"));
        assert_eq!(knee(&steps[2..]), None);
    }
}
