//! What a run must keep to succeed: `p99: 50ms`, `errors: 0.1%`, `rate: 1000`, `browse.p99: 20ms`.

use std::time::Duration;

use serde::Serialize;

use crate::load::args::parse_duration;
use crate::load::origin::faults::parse_share;
use crate::load::summary::{Document, Latency, time};

/// One limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    pub name: String,
    /// The kind of requests that it is about; `None`: all.
    pub kind: Option<usize>,
    pub limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// A latency may be at most so long.
    Latency(LatencyValue, Duration),
    /// So many errors, or such a share of the requests, at most.
    Errors(Count),
    /// So many arrivals may be missed.
    Missed(Count),
    /// Requests per second, at least.
    Rate(f64),
    /// Answers, at least.
    Requests(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    Number(u64),
    Share(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyValue {
    Mean,
    P50,
    P75,
    P90,
    P99,
    P999,
    P9999,
    Max,
}

/// How a limit was kept.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub name: String,
    pub expected: String,
    pub found: String,
    pub holds: bool,
}

/// What may be limited.
pub(super) const NAMES: &[&str] =
    &["mean", "p50", "p75", "p90", "p99", "p99.9", "p99.99", "max", "errors", "missed", "rate", "requests"];

impl Limit {
    /// Reads the limit of a name in [`NAMES`].
    pub(super) fn parse(name: &str, text: &str) -> Result<Limit, String> {
        let latency = |value| parse_duration(text).map(|most| Limit::Latency(value, most));
        match name {
            "mean" => latency(LatencyValue::Mean),
            "p50" => latency(LatencyValue::P50),
            "p75" => latency(LatencyValue::P75),
            "p90" => latency(LatencyValue::P90),
            "p99" => latency(LatencyValue::P99),
            "p99.9" => latency(LatencyValue::P999),
            "p99.99" => latency(LatencyValue::P9999),
            "max" => latency(LatencyValue::Max),
            "errors" => Count::parse(text).map(Limit::Errors),
            "missed" => Count::parse(text).map(Limit::Missed),
            "rate" => match text.parse::<f64>() {
                Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(Limit::Rate(rate)),
                _ => Err(format!("expected requests per second, found `{text}`")),
            },
            _ => text.parse().map(Limit::Requests).map_err(|_| format!("expected a number, found `{text}`")),
        }
    }
}

impl Count {
    fn parse(text: &str) -> Result<Count, String> {
        match text.parse() {
            Ok(number) => Ok(Count::Number(number)),
            Err(_) if text.ends_with('%') => parse_share(text).map(Count::Share),
            Err(_) => Err(format!("expected a number such as 10 or a share such as 0.1%, found `{text}`")),
        }
    }

    fn judge(self, counted: u64, of: u64) -> (String, String, bool) {
        match self {
            Count::Number(most) => (format!("at most {most}"), counted.to_string(), counted <= most),
            Count::Share(most) => {
                let share = counted as f64 / of.max(1) as f64;
                let percent = |share: f64| format!("{:.3} %", share * 100.0);
                (format!("at most {}", percent(most)), percent(share), share <= most)
            }
        }
    }
}

impl LatencyValue {
    fn of(self, latency: &Latency) -> f64 {
        match self {
            LatencyValue::Mean => latency.mean_us,
            LatencyValue::P50 => latency.p50_us,
            LatencyValue::P75 => latency.p75_us,
            LatencyValue::P90 => latency.p90_us,
            LatencyValue::P99 => latency.p99_us,
            LatencyValue::P999 => latency.p999_us,
            LatencyValue::P9999 => latency.p9999_us,
            LatencyValue::Max => latency.max_us,
        }
    }
}

impl Threshold {
    /// Nothing may go wrong: holds where a file does not say how much may.
    pub(super) fn none(name: &str) -> Threshold {
        let limit = match name {
            "missed" => Limit::Missed(Count::Number(0)),
            _ => Limit::Errors(Count::Number(0)),
        };
        Threshold { name: name.to_owned(), kind: None, limit }
    }

    pub fn judge(&self, document: &Document) -> Verdict {
        let whole = (document.summary.requests, document.summary.errors, &document.latency);
        let (requests, errors, latency) = match self.kind.map(|kind| document.kinds.get(kind)) {
            Some(Some(kind)) => (kind.requests, kind.errors, &kind.latency),
            // A single kind is not counted apart from the whole.
            Some(None) | None => whole,
        };
        // Requests without an answer are errors and no answers: a share is of all that were started.
        let started = requests + errors;
        let seconds = document.summary.seconds.max(1e-9);
        let (expected, found, holds) = match self.limit {
            // No answer is no good latency.
            Limit::Latency(..) if requests == 0 => ("an answer".to_owned(), "none".to_owned(), false),
            Limit::Latency(value, most) => {
                let (found, most) = (value.of(latency), most.as_secs_f64() * 1e6);
                (format!("at most {}", time(most)), time(found), found <= most)
            }
            Limit::Errors(count) => count.judge(errors, started),
            Limit::Missed(count) => {
                let missed = document.summary.missed;
                count.judge(missed, started + missed)
            }
            Limit::Rate(least) => {
                let found = match self.kind {
                    None => document.summary.requests_per_second,
                    Some(_) => requests as f64 / seconds,
                };
                (format!("at least {least}"), format!("{found:.1}"), found >= least)
            }
            Limit::Requests(least) => (format!("at least {least}"), requests.to_string(), requests >= least),
        };
        Verdict { name: self.name.clone(), expected, found, holds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_units() {
        for (name, text, expected) in [
            ("p99", "50ms", Some(Limit::Latency(LatencyValue::P99, Duration::from_millis(50)))),
            ("p99", "fast", None),
            ("errors", "0.1%", Some(Limit::Errors(Count::Share(0.001)))),
            ("errors", "3", Some(Limit::Errors(Count::Number(3)))),
            ("errors", "0.1", None),
            ("rate", "99.5", Some(Limit::Rate(99.5))),
            ("rate", "-1", None),
            ("requests", "7", Some(Limit::Requests(7))),
        ] {
            assert_eq!(Limit::parse(name, text).ok(), expected, "{name}: {text}");
        }
    }

    #[test]
    fn every_name_has_a_limit() {
        for name in NAMES {
            let read = Limit::parse(name, "1").is_ok();
            assert!(read, "{name}");
        }
    }

    #[test]
    fn a_share_is_of_all_and_a_number_is_exact() {
        assert!(Count::Share(0.01).judge(1, 100).2 && !Count::Share(0.01).judge(2, 100).2);
        assert!(Count::Number(2).judge(2, 1).2 && !Count::Number(2).judge(3, 1000).2);
    }
}
