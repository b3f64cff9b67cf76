//! One run: workers on their threads, what is watched meanwhile, and the result.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::config::{LoadConfig, Shared};
use super::totals::Totals;
use super::worker::{Outcome, Share, Worker};
use crate::affinity;
use crate::process::{self, CpuTime, Memory};

/// What a run has measured.
pub struct RunResult {
    pub totals: Totals,
    /// The measured time, and when it began.
    pub seconds: f64,
    pub start: SystemTime,
    /// CPU of the tester's workers in the whole run, and the share of the busiest.
    pub tester_cpu: Duration,
    pub busiest_share: f64,
    pub target: Option<TargetUse>,
    pub interrupted: bool,
    pub connect_errno: i32,
    pub tls_error: Option<String>,
    /// Why the figures may say more about the tester than about the target.
    pub warnings: Vec<String>,
}

/// What the local process under test has used in the measured time.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct TargetUse {
    pub user_us_per_request: f64,
    pub kernel_us_per_request: f64,
    pub us_per_request: f64,
    pub cpu_share: f64,
    pub memory: Memory,
}

/// Told how a run goes on: seconds since the start, answers and errors so far.
pub type Progress<'a> = &'a mut dyn FnMut(f64, u64, u64);

const START_AFTER: Duration = Duration::from_millis(10);
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// A thread that is busier than that has nothing left.
const BUSY_SHARE: f64 = 0.93;
/// So many late starts of a hundred are worth a word.
const LATE_PERCENT: f64 = 1.0;

/// Runs to the end, or until `shared.stop`.
pub fn run(config: &LoadConfig, shared: &Shared, progress: Progress<'_>) -> io::Result<RunResult> {
    check_limits(config)?;
    let start = Instant::now() + START_AFTER;
    let wall_start = SystemTime::now() + START_AFTER + config.warmup;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..config.threads {
            let share = share_of(config, number, start);
            let cpu = config.cpus.get(number as usize % config.cpus.len().max(1)).copied();
            let thread = std::thread::Builder::new().name(format!("load-{number}"));
            threads.push(thread.spawn_scoped(scope, move || -> io::Result<Outcome> {
                cpu.map_or(Ok(()), affinity::pin)?;
                let outcome = Worker::new(config, shared, share).and_then(Worker::run);
                // A worker that cannot go on ends the run.
                shared.stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
                outcome
            })?);
        }
        let mut watch = Watch::new(config, start);
        while threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(watch.next(Instant::now()));
            watch.look(Instant::now())?;
            let (requests, errors) =
                (shared.requests.load(Ordering::Relaxed), shared.errors.load(Ordering::Relaxed));
            progress(start.elapsed().as_secs_f64(), requests, errors);
        }
        let (requests, errors) =
            (shared.requests.load(Ordering::Relaxed), shared.errors.load(Ordering::Relaxed));
        progress(start.elapsed().as_secs_f64(), requests, errors);
        watch.finish(Instant::now())?;
        let mut outcomes = Vec::new();
        for thread in threads {
            let outcome =
                thread.join().map_err(|_panic| io::Error::other("a worker of the tester panicked"))?;
            outcomes.push(outcome?);
        }
        Ok(result(config, &outcomes, &watch, shared.stop.load(Ordering::Relaxed), wall_start))
    })
}

fn share_of(config: &LoadConfig, number: u32, start: Instant) -> Share {
    let part = |whole: u64| {
        let threads = u64::from(config.threads.max(1));
        whole / threads + u64::from(u64::from(number) < whole % threads)
    };
    Share {
        number,
        connections: part(u64::from(config.connections)) as u32,
        requests_max: config.requests_max.map(part),
        queue_max: (config.queue_max / config.threads.max(1) as usize).max(1),
        start,
    }
}

/// Says which limit is in the way before it is.
fn check_limits(config: &LoadConfig) -> io::Result<()> {
    let needed = u64::from(config.connections) + 64;
    let files = process::raise_files_limit(needed);
    if files < needed {
        return Err(io::Error::other(format!(
            "{} connections need {needed} open files, the limit is {files}: raise it with `ulimit -n {needed}`",
            config.connections
        )));
    }
    Ok(())
}

/// The process under test, at the edges of the measured time.
struct Watch<'a> {
    config: &'a LoadConfig,
    begin_at: Instant,
    end_at: Option<Instant>,
    begin: Option<(Instant, CpuTime)>,
    end: Option<(Instant, CpuTime, Memory)>,
}

impl<'a> Watch<'a> {
    fn new(config: &'a LoadConfig, start: Instant) -> Watch<'a> {
        let begin_at = start + config.warmup;
        let end_at = config.duration.map(|duration| begin_at + duration);
        Watch { config, begin_at, end_at, begin: None, end: None }
    }

    fn next(&self, now: Instant) -> Duration {
        let edge = if self.begin.is_none() {
            Some(self.begin_at)
        } else {
            self.end_at.filter(|_| self.end.is_none())
        };
        let left = edge.map_or(PROGRESS_EVERY, |edge| edge.saturating_duration_since(now));
        // A run of few requests ends soon.
        let most =
            if self.config.requests_max.is_some() { Duration::from_millis(10) } else { PROGRESS_EVERY };
        left.clamp(Duration::from_millis(1), most)
    }

    fn look(&mut self, now: Instant) -> io::Result<()> {
        let pids = &self.config.pids;
        if self.begin.is_none() && now >= self.begin_at {
            self.begin = Some((now, process::cpu_time(pids).map_err(gone)?));
        }
        if self.end.is_none() && self.end_at.is_some_and(|end| now >= end) {
            self.end =
                Some((now, process::cpu_time(pids).map_err(gone)?, process::memory(pids).map_err(gone)?));
        }
        Ok(())
    }

    fn finish(&mut self, now: Instant) -> io::Result<()> {
        self.end_at = self.end_at.map(|end| end.min(now)).or(Some(now));
        self.begin_at = self.begin_at.min(now);
        self.look(now)
    }

    fn target(&self, requests: u64) -> Option<TargetUse> {
        let ((from, before), (to, after, memory)) = (self.begin?, self.end?);
        if self.config.pids.is_empty() {
            return None;
        }
        let (used, requests) = (after - before, requests.max(1) as f64);
        let seconds = (to - from).as_secs_f64().max(1e-9);
        Some(TargetUse {
            user_us_per_request: used.user_us / requests,
            kernel_us_per_request: used.kernel_us / requests,
            us_per_request: used.total_us() / requests,
            cpu_share: used.total_us() / 1e6 / seconds,
            memory,
        })
    }
}

fn gone(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("--pid: no such process, or not ours to look at: {error}"))
}

fn result(
    config: &LoadConfig,
    outcomes: &[Outcome],
    watch: &Watch<'_>,
    interrupted: bool,
    start: SystemTime,
) -> RunResult {
    let mut totals = Totals::new(config.requests.len());
    outcomes.iter().for_each(|outcome| totals.merge(&outcome.totals));
    let busiest_share = outcomes.iter().map(|outcome| outcome.busy_share).fold(0.0, f64::max);
    let seconds = outcomes.iter().map(|outcome| outcome.measured.as_secs_f64()).fold(0.0, f64::max).max(1e-9);
    let warnings = warnings(config, &totals, busiest_share);
    RunResult {
        target: watch.target(totals.in_time),
        seconds,
        start,
        tester_cpu: outcomes.iter().map(|outcome| outcome.cpu).sum(),
        busiest_share,
        interrupted,
        connect_errno: outcomes
            .iter()
            .map(|outcome| outcome.connect_errno)
            .find(|&errno| errno != 0)
            .unwrap_or(0),
        tls_error: outcomes.iter().find_map(|outcome| outcome.tls_error.clone()),
        warnings,
        totals,
    }
}

/// Why the figures may say more about the tester than about the target.
fn warnings(config: &LoadConfig, totals: &Totals, busiest_share: f64) -> Vec<String> {
    let mut warnings = Vec::new();
    if busiest_share > BUSY_SHARE {
        warnings.push(format!(
            "the tester was the bottleneck: a worker used {:.0} % of its CPU, so the target may be faster than this; \
             use more --threads, other --cpus, or another machine",
            busiest_share * 100.0
        ));
    }
    let late = totals.late_starts as f64 * 100.0 / (totals.requests.max(1)) as f64;
    if config.rate.is_some() && late > LATE_PERCENT {
        warnings.push(format!(
            "{late:.1} % of the requests started more than 1 ms late although a connection was free: the tester could \
             not keep its rate, and the latencies hold its own delays; use more --threads or other --cpus"
        ));
    }
    if totals.missed > 0 {
        warnings.push(format!(
            "{} arrivals were missed: every connection was busy and the queue full, or the run over; the target did \
             not keep up with this rate on {} connections",
            totals.missed, config.connections
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tester_that_was_the_bottleneck_says_so() {
        let closed = LoadConfig::new(Vec::new());
        let open = LoadConfig { rate: Some(1000.0), ..closed.clone() };
        let totals = |late_starts, missed| Totals { requests: 1000, late_starts, missed, ..Totals::new(1) };
        for (config, totals, busiest_share, expected) in [
            (&closed, totals(0, 0), 0.5, None),
            (&closed, totals(0, 0), 0.97, Some("a worker used 97 % of its CPU")),
            (&open, totals(10, 0), 0.5, None),
            (&open, totals(11, 0), 0.5, Some("1.1 % of the requests started more than 1 ms late")),
            (&open, totals(0, 3), 0.5, Some("3 arrivals were missed")),
        ] {
            let said = warnings(config, &totals, busiest_share);
            assert_eq!(said.len(), usize::from(expected.is_some()), "{said:?}");
            assert!(said.iter().all(|line| line.contains(expected.unwrap_or_default())), "{said:?}");
        }
    }
}
