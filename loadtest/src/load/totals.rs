//! What is counted: by each worker for itself, merged at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringway_protocols::tls::Facts;

use super::codec::Protocol;
use super::tls::config::alpn;

macro_rules! failures {
    ($($variant:ident $name:literal $text:literal,)+) => {
        /// Why a request has no correct answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Failure { $(#[doc = $text] $variant,)+ }

        impl Failure {
            pub const ALL: &[Failure] = &[$(Failure::$variant,)+];

            /// The key in reports.
            pub fn name(self) -> &'static str {
                match self { $(Failure::$variant => $name,)+ }
            }

            /// For people.
            pub fn text(self) -> &'static str {
                match self { $(Failure::$variant => $text,)+ }
            }
        }
    };
}

failures! {
    Connect "connect" "connections refused or failed",
    Handshake "handshake" "WebSocket handshakes refused",
    Tls "tls" "TLS handshakes or records that failed",
    Reset "reset" "connections reset with a request on them",
    EarlyClose "early_close" "connections closed before the whole response",
    Closed "closed" "WebSocket messages without an answer when the peer said Close",
    Timeout "timeout" "requests that took longer than --timeout",
    Status "status" "statuses of 400 and above, or not as expected",
    Malformed "malformed" "answers that break the protocol, or that nobody asked for",
    Http2 "http2" "HTTP/2 connections ended by an error of the peer",
    Stream "stream" "HTTP/2 streams reset",
    Refused "refused" "HTTP/2 requests that the peer did not act on (REFUSED_STREAM, GOAWAY)",
    Grpc "grpc" "gRPC statuses other than OK",
    Assertion "assertion" "answers that fail an expectation of the scenario",
    Unanswered "unanswered" "requests without an end when the run was over",
}

/// Counts and latencies of one worker, or of all of them.
#[derive(Clone)]
pub struct Totals {
    /// Answers to requests that started in the measured time, right or wrong.
    pub requests: u64,
    /// Those that came within it; the others came while it was waited for the last ones.
    pub in_time: u64,
    /// Requests of the warm-up.
    pub warmup: u64,
    pub body_bytes: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub connects: u64,
    /// TLS handshakes that were done, and those of them that resumed a session.
    pub handshakes: u64,
    pub resumed: u64,
    /// Version, suite and key exchange group of the first, `None` without TLS.
    pub tls: Option<String>,
    /// Arrivals that found the queue full, or no connection until the end.
    pub missed: u64,
    /// Requests that a connection waited for and the tester started late.
    pub late_starts: u64,
    pub errors: BTreeMap<Failure, u64>,
    pub statuses: BTreeMap<u16, u64>,
    pub latency_ns: Histogram<u64>,
    /// By kind of request, where there are several.
    pub kinds: Vec<KindTotals>,
    pub series: Series,
}

#[derive(Clone)]
pub struct KindTotals {
    pub requests: u64,
    pub errors: u64,
    pub latency_ns: Histogram<u64>,
}

/// Counts over time. When there are too many intervals, they are joined in pairs.
#[derive(Clone)]
pub struct Series {
    pub interval: Duration,
    pub points: Vec<Point>,
}

#[derive(Clone)]
pub struct Point {
    pub requests: u64,
    pub errors: u64,
    pub latency_ns: Histogram<u64>,
}

const POINTS_MAX: usize = 200;
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A histogram of nanoseconds: 1 µs to an hour.
pub fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 3_600_000_000_000, digits).expect("constant bounds are valid")
}

impl Totals {
    pub fn new(kinds: usize) -> Totals {
        let kinds = if kinds > 1 { kinds } else { 0 };
        let kind = KindTotals { requests: 0, errors: 0, latency_ns: histogram(3) };
        Totals {
            requests: 0,
            in_time: 0,
            warmup: 0,
            body_bytes: 0,
            sent_bytes: 0,
            received_bytes: 0,
            connects: 0,
            handshakes: 0,
            resumed: 0,
            tls: None,
            missed: 0,
            late_starts: 0,
            errors: BTreeMap::new(),
            statuses: BTreeMap::new(),
            latency_ns: histogram(3),
            kinds: vec![kind; kinds],
            series: Series { interval: INTERVAL_MIN, points: Vec::new() },
        }
    }

    pub fn fail(&mut self, failure: Failure) {
        *self.errors.entry(failure).or_default() += 1;
    }

    /// Counts a TLS handshake; an error where it led to another protocol than the one that is spoken here.
    pub fn secured(&mut self, facts: &Facts, protocol: Protocol) -> Result<(), String> {
        self.handshakes += 1;
        self.resumed += u64::from(facts.resumed);
        if self.tls.is_none() {
            let group = facts.group.map_or_else(|| "none".into(), |group| format!("{group:?}"));
            self.tls = Some(format!("{:?} {:?} {group}", facts.version, facts.suite.suite()));
        }
        let wanted = alpn(protocol);
        match &facts.alpn {
            Some(agreed) if agreed != wanted => Err(format!(
                "the server chose {} by ALPN, asked for {}",
                String::from_utf8_lossy(agreed),
                String::from_utf8_lossy(wanted)
            )),
            // HTTP/2 on TLS must be agreed on (RFC 9113 3.2).
            None if wanted == b"h2" => Err("the server speaks no ALPN, and HTTP/2 needs it".to_owned()),
            _ => Ok(()),
        }
    }

    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    pub fn merge(&mut self, other: &Totals) {
        self.requests += other.requests;
        self.in_time += other.in_time;
        self.warmup += other.warmup;
        self.body_bytes += other.body_bytes;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.connects += other.connects;
        self.handshakes += other.handshakes;
        self.resumed += other.resumed;
        self.tls = self.tls.take().or_else(|| other.tls.clone());
        self.missed += other.missed;
        self.late_starts += other.late_starts;
        other.errors.iter().for_each(|(&failure, count)| *self.errors.entry(failure).or_default() += count);
        other.statuses.iter().for_each(|(&status, count)| *self.statuses.entry(status).or_default() += count);
        add(&mut self.latency_ns, &other.latency_ns);
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            mine.requests += theirs.requests;
            mine.errors += theirs.errors;
            add(&mut mine.latency_ns, &theirs.latency_ns);
        }
        self.series.merge(other.series.clone());
    }
}

impl Series {
    /// Counts an answer, or an error, at a time since the beginning.
    pub fn record(&mut self, since: Duration, latency_ns: Option<u64>) {
        let mut position = (since.as_nanos() / self.interval.as_nanos()) as usize;
        while position >= POINTS_MAX {
            self.join_pairs();
            position /= 2;
        }
        while self.points.len() <= position {
            self.points.push(Point { requests: 0, errors: 0, latency_ns: histogram(2) });
        }
        let Some(point) = self.points.get_mut(position) else { return };
        match latency_ns {
            Some(latency) => {
                point.requests += 1;
                point.latency_ns.saturating_record(latency);
            }
            None => point.errors += 1,
        }
    }

    fn join_pairs(&mut self) {
        self.interval *= 2;
        let mut points = std::mem::take(&mut self.points).into_iter();
        while let Some(mut first) = points.next() {
            if let Some(second) = points.next() {
                first.add(&second);
            }
            self.points.push(first);
        }
    }

    fn merge(&mut self, mut other: Series) {
        while self.interval < other.interval {
            self.join_pairs();
        }
        while other.interval < self.interval {
            other.join_pairs();
        }
        for (position, point) in other.points.into_iter().enumerate() {
            match self.points.get_mut(position) {
                Some(mine) => mine.add(&point),
                None => self.points.push(point),
            }
        }
    }
}

impl Point {
    fn add(&mut self, other: &Point) {
        self.requests += other.requests;
        self.errors += other.errors;
        add(&mut self.latency_ns, &other.latency_ns);
    }
}

fn add(into: &mut Histogram<u64>, other: &Histogram<u64>) {
    into.add(other).expect("histograms of the same bounds can be added");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_up_and_keeps_the_percentiles() {
        let (mut all, mut one, mut two) = (Totals::new(1), Totals::new(1), Totals::new(1));
        for value in 1..=1000u64 {
            let totals = if value % 2 == 0 { &mut one } else { &mut two };
            totals.requests += 1;
            totals.latency_ns.saturating_record(value * 1_000_000);
        }
        one.fail(Failure::Reset);
        two.fail(Failure::Reset);
        all.merge(&one);
        all.merge(&two);
        assert_eq!((all.requests, all.errors_total()), (1000, 2));
        let p99 = all.latency_ns.value_at_quantile(0.99) as f64 / 1e6;
        assert!((p99 - 990.0).abs() < 1.0, "{p99}");
    }

    #[test]
    fn a_long_series_joins_its_intervals_and_loses_nothing() {
        let mut series = Totals::new(1).series;
        let seconds = 100;
        (0..seconds * 100).for_each(|tick| series.record(Duration::from_millis(tick * 10), Some(5_000)));
        assert!(series.points.len() <= POINTS_MAX);
        assert_eq!(series.points.iter().map(|point| point.requests).sum::<u64>(), seconds * 100);
        let mut short = Totals::new(1).series;
        short.record(Duration::from_millis(50), None);
        short.merge(series.clone());
        assert_eq!(short.interval, series.interval);
        assert_eq!(short.points.iter().map(|point| point.errors).sum::<u64>(), 1);
    }
}
