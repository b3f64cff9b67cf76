//! When an endpoint is ejected because of how it answers, and for how long. Pure: counts and times are parameters.

use std::time::Duration;

/// What makes an outlier of an endpoint. 0 switches a detection off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierRules {
    /// Answers of 500 and more, or none at all, in a row.
    pub consecutive_5xx: u32,
    /// Answers of 502, 503 and 504, or none at all, in a row.
    pub consecutive_gateway: u32,
    /// Percentage points by which the share of successes may be below that of the others.
    pub success_rate: u32,
    /// How many times the mean response time of the others the own one may be.
    pub latency: u32,
    /// Requests within an interval below which an endpoint is not judged by success rate or latency.
    pub requests_min: u32,
    pub interval: Duration,
    /// For how long an endpoint is ejected the first time.
    pub eject_for: Duration,
    /// And at most, whatever came before.
    pub eject_for_max: Duration,
    /// Share of the endpoints that may be ejected at the same time, in percent; one of several always may.
    pub eject_percent_max: u32,
}

/// Why an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlier {
    Consecutive5xx,
    ConsecutiveGateway,
    SuccessRate,
    Latency,
}

impl Outlier {
    pub fn name(self) -> &'static str {
        match self {
            Outlier::Consecutive5xx => "consecutive_5xx",
            Outlier::ConsecutiveGateway => "consecutive_gateway_errors",
            Outlier::SuccessRate => "success_rate",
            Outlier::Latency => "latency",
        }
    }
}

/// How one endpoint answered within an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    pub requests: u64,
    pub failures: u64,
    /// Of all requests together.
    pub nanos: u64,
}

impl OutlierRules {
    /// Whether an endpoint is one after so many failures in a row.
    pub fn after_failure(&self, in_a_row_5xx: u32, in_a_row_gateway: u32) -> Option<Outlier> {
        if self.consecutive_gateway > 0 && in_a_row_gateway >= self.consecutive_gateway {
            Some(Outlier::ConsecutiveGateway)
        } else if self.consecutive_5xx > 0 && in_a_row_5xx >= self.consecutive_5xx {
            Some(Outlier::Consecutive5xx)
        } else {
            None
        }
    }

    /// Whether endpoints are compared with each other.
    pub fn compares(&self) -> bool {
        self.success_rate > 0 || self.latency > 0
    }

    /// Compares each endpoint with the others that had enough requests; the index of each outlier.
    pub fn compare(&self, samples: &[Sample]) -> Vec<(usize, Outlier)> {
        let enough = |sample: &&Sample| sample.requests >= u64::from(self.requests_min.max(1));
        let (mut all, mut count) = (Sample::default(), 0);
        for sample in samples.iter().filter(enough) {
            all.requests += sample.requests;
            all.failures += sample.failures;
            all.nanos += sample.nanos;
            count += 1;
        }
        let judged = samples.iter().enumerate().filter(|(_, sample)| enough(sample) && count > 1);
        judged.filter_map(|(index, sample)| Some((index, self.against(sample, &all)?))).collect()
    }

    fn against(&self, own: &Sample, all: &Sample) -> Option<Outlier> {
        let others = Sample {
            requests: all.requests - own.requests,
            failures: all.failures - own.failures,
            nanos: all.nanos - own.nanos,
        };
        let failed = |sample: &Sample| sample.failures as f64 / sample.requests.max(1) as f64;
        let mean = |sample: &Sample| sample.nanos as f64 / sample.requests.max(1) as f64;
        if self.success_rate > 0 && (failed(own) - failed(&others)) * 100.0 >= f64::from(self.success_rate) {
            Some(Outlier::SuccessRate)
        } else if self.latency > 0 && mean(own) >= mean(&others) * f64::from(self.latency) && own.nanos > 0 {
            Some(Outlier::Latency)
        } else {
            None
        }
    }

    /// Whether one more endpoint may be ejected where `ejected` of `count` are.
    pub fn may_eject(&self, ejected: usize, count: usize) -> bool {
        let share = count * self.eject_percent_max as usize / 100;
        ejected < share.max(usize::from(count > 1))
    }

    /// How often in a row an endpoint is ejected now that was `before` times, the last time until `calm` ago: each interval
    /// in peace makes up for one.
    pub fn times(&self, before: u32, calm: Duration) -> u32 {
        let forgiven = calm.as_millis() / self.interval.as_millis().max(1);
        before.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX)).saturating_add(1)
    }

    /// For how long an endpoint is ejected that is so for the n-th time in a row.
    pub fn duration(&self, times: u32) -> Duration {
        self.eject_for.saturating_mul(times.max(1)).min(self.eject_for_max.max(self.eject_for))
    }
}

/// Whether a status is one that a gateway gives where the origin behind it does not answer.
pub fn is_gateway_error(status: u16) -> bool {
    matches!(status, 502..=504)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> OutlierRules {
        OutlierRules {
            consecutive_5xx: 5,
            consecutive_gateway: 3,
            success_rate: 20,
            latency: 3,
            requests_min: 100,
            interval: Duration::from_secs(10),
            eject_for: Duration::from_secs(30),
            eject_for_max: Duration::from_secs(100),
            eject_percent_max: 50,
        }
    }

    #[test]
    fn failures_in_a_row_make_an_outlier() {
        let off = OutlierRules { consecutive_5xx: 0, consecutive_gateway: 0, ..rules() };
        for (in_a_row, gateway, expected) in [
            (4, 2, None),
            (5, 0, Some(Outlier::Consecutive5xx)),
            (4, 3, Some(Outlier::ConsecutiveGateway)),
            (9, 9, Some(Outlier::ConsecutiveGateway)),
        ] {
            assert_eq!(rules().after_failure(in_a_row, gateway), expected, "{in_a_row} {gateway}");
            assert_eq!(off.after_failure(in_a_row, gateway), None);
        }
    }

    /// Samples as requests, failures, mean milliseconds.
    fn check(samples: &[(u64, u64, u64)], expected: &[(usize, Outlier)]) {
        let sample = |(requests, failures, mean): &(u64, u64, u64)| Sample {
            requests: *requests,
            failures: *failures,
            nanos: requests * mean * 1_000_000,
        };
        let samples: Vec<Sample> = samples.iter().map(sample).collect();
        assert_eq!(rules().compare(&samples), expected, "{samples:?}");
    }

    #[test]
    fn an_endpoint_is_compared_with_the_others() {
        check(&[(100, 0, 5), (100, 19, 5), (100, 0, 5)], &[]);
        check(&[(100, 0, 5), (100, 20, 5), (100, 0, 5)], &[(1, Outlier::SuccessRate)]);
        // All are bad: none of them is an outlier.
        check(&[(100, 60, 5), (100, 70, 5), (100, 65, 5)], &[]);
        check(&[(100, 0, 5), (100, 0, 14), (100, 0, 5)], &[]);
        check(&[(100, 0, 5), (100, 0, 15), (100, 0, 5)], &[(1, Outlier::Latency)]);
        // Too few requests to say, of itself or of the others.
        check(&[(100, 0, 5), (99, 99, 99), (100, 0, 5)], &[]);
        check(&[(99, 0, 5), (100, 100, 99), (3, 0, 5)], &[]);
        check(&[], &[]);
        check(&[(100, 100, 5)], &[]);
    }

    #[test]
    fn only_a_share_is_ejected_and_one_of_several_always_may_be() {
        for (ejected, count, expected) in [
            (0, 1, false),
            (0, 2, true),
            (1, 2, false),
            (1, 4, true),
            (2, 4, false),
            (1, 3, false),
            (0, 0, false),
        ] {
            assert_eq!(rules().may_eject(ejected, count), expected, "{ejected} of {count}");
        }
        let tenth = OutlierRules { eject_percent_max: 10, ..rules() };
        assert!(tenth.may_eject(0, 3) && !tenth.may_eject(1, 3));
    }

    #[test]
    fn each_ejection_in_a_row_lasts_longer_and_peace_is_remembered() {
        let rules = rules();
        let seconds = |times| rules.duration(times).as_secs();
        assert_eq!([0, 1, 2, 3, 4, u32::MAX].map(seconds), [30, 30, 60, 90, 100, 100]);
        for (before, calm, expected) in [(0, 0, 1), (2, 5, 3), (2, 10, 2), (2, 25, 1), (2, 1_000_000, 1)] {
            assert_eq!(rules.times(before, Duration::from_secs(calm)), expected, "{before} {calm}");
        }
    }
}
