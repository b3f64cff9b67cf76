//! When the requests of an open loop should start.

use std::time::{Duration, Instant};

use super::random::Random;

/// How requests are spread over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Spacing {
    /// The same gap between all of them.
    #[default]
    Fixed,
    /// Independent users: exponentially distributed gaps.
    Poisson,
}

/// The arrivals of one worker.
pub struct Arrivals {
    spacing: Spacing,
    rate: f64,
    ramp_up: f64,
    ramp_down: f64,
    start: Instant,
    /// Seconds from the start to the next arrival, and to the end of all of them.
    next: f64,
    end: f64,
    /// Arrivals so far, and the worker's shift: a fixed rate is counted, so that no rounding adds up.
    count: u64,
    phase: f64,
    random: Random,
}

/// A ramp begins at this share of the rate: at 0 the first request would never come.
const RAMP_SHARE_MIN: f64 = 0.02;

impl Arrivals {
    /// `rate` is the worker's own; `phase` in `0..1` shifts it against the other workers.
    pub fn new(spacing: Spacing, rate: f64, phase: f64, start: Instant, random: Random) -> Arrivals {
        let next = phase / rate;
        Arrivals {
            spacing,
            rate,
            ramp_up: 0.0,
            ramp_down: 0.0,
            start,
            next,
            end: f64::INFINITY,
            count: 0,
            phase,
            random,
        }
    }

    pub fn with_ramps(mut self, up: Duration, down: Duration) -> Arrivals {
        self.ramp_up = up.as_secs_f64();
        self.ramp_down = down.as_secs_f64();
        self
    }

    /// No request is to start at or after it.
    pub fn end_at(&mut self, end: Instant) {
        self.end = end.saturating_duration_since(self.start).as_secs_f64();
    }

    /// When the next one should start, if there is one.
    pub fn next_at(&self) -> Option<Instant> {
        (self.next < self.end).then(|| self.start + Duration::from_secs_f64(self.next))
    }

    /// The intended start of the next request, if that has come.
    pub fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let at = self.next_at().filter(|&at| at <= now)?;
        self.count += 1;
        if self.spacing == Spacing::Fixed && self.ramp_up + self.ramp_down == 0.0 {
            self.next = (self.count as f64 + self.phase) / self.rate;
            return Some(at);
        }
        let gap = match self.spacing {
            Spacing::Fixed => 1.0,
            Spacing::Poisson => self.random.exponential(),
        };
        self.next += gap / (self.rate * self.share(self.next));
        Some(at)
    }

    /// The share of the rate at a time: the ramps are straight lines.
    fn share(&self, seconds: f64) -> f64 {
        let up = if self.ramp_up > 0.0 { seconds / self.ramp_up } else { 1.0 };
        let down = if self.ramp_down > 0.0 { (self.end - seconds) / self.ramp_down } else { 1.0 };
        up.min(down).clamp(RAMP_SHARE_MIN, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(mut arrivals: Arrivals, start: Instant, seconds: u64) -> usize {
        let end = start + Duration::from_secs(seconds);
        arrivals.end_at(end);
        std::iter::from_fn(|| arrivals.take_due(end)).count()
    }

    #[test]
    fn a_fixed_rate_is_exact() {
        let start = Instant::now();
        let arrivals = Arrivals::new(Spacing::Fixed, 1000.0, 0.0, start, Random::new(1));
        assert_eq!(count(arrivals, start, 10), 10_000);
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_on_average_and_vary() {
        let (start, seed) = (Instant::now(), 5);
        let arrivals = Arrivals::new(Spacing::Poisson, 1000.0, 0.0, start, Random::new(seed));
        let counted = count(arrivals, start, 100);
        // Five deviations of a Poisson count of 100,000.
        assert!((98_400..101_600).contains(&counted), "seed {seed}: {counted}");
        assert_ne!(counted, 100_000);
    }

    #[test]
    fn ramps_halve_the_count_of_their_time() {
        let start = Instant::now();
        let arrivals = Arrivals::new(Spacing::Fixed, 1000.0, 0.0, start, Random::new(1))
            .with_ramps(Duration::from_secs(2), Duration::from_secs(2));
        let counted = count(arrivals, start, 10);
        assert!((7_900..8_100).contains(&counted), "{counted}");
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(Spacing::Fixed, 10.0, 0.0, start, Random::new(1));
        assert_eq!(arrivals.take_due(start), Some(start));
        assert_eq!(arrivals.take_due(start + Duration::from_millis(99)), None);
    }
}
