//! Peak EWMA: how long an endpoint takes to answer, by an average that forgets with time and rises at once (Finagle's
//! `peakEwma`). Times are nanoseconds of one clock.

/// What an endpoint costs that has never answered and has requests under way: more than any that has.
const UNKNOWN_COST: u64 = u64::MAX >> 16;

/// The average of one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PeakEwma {
    average: f64,
    at: u64,
}

impl PeakEwma {
    /// Takes in how long an answer took. An old observation weighs 1/e after `decay`.
    pub fn observe(&mut self, now: u64, took: u64, decay: u64) {
        let took = took.max(1) as f64;
        let average = self.decayed(now, decay);
        self.average =
            if took > average { took } else { average + (took - average) * (1.0 - self.kept(now, decay)) };
        self.at = now;
    }

    /// What another request costs beside the `active` ones.
    pub fn cost(&self, now: u64, active: u32, decay: u64) -> u64 {
        if self.average == 0.0 {
            // The first request finds out; more would all go to the one that is not known yet.
            return if active == 0 { 0 } else { UNKNOWN_COST + u64::from(active) };
        }
        (self.decayed(now, decay) * f64::from(active.saturating_add(1))) as u64
    }

    /// Without news it falls, so that an endpoint that was slow gets another chance.
    fn decayed(&self, now: u64, decay: u64) -> f64 {
        self.average * self.kept(now, decay)
    }

    fn kept(&self, now: u64, decay: u64) -> f64 {
        if self.at == 0 {
            return 1.0;
        }
        (-(now.saturating_sub(self.at) as f64) / decay.max(1) as f64).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const DECAY: u64 = 10_000 * MS;

    #[test]
    fn it_rises_at_once_and_falls_with_time() {
        let mut ewma = PeakEwma::default();
        ewma.observe(MS, 10 * MS, DECAY);
        assert_eq!(ewma.cost(MS, 0, DECAY), 10 * MS);
        ewma.observe(2 * MS, 500 * MS, DECAY);
        assert_eq!(ewma.cost(2 * MS, 0, DECAY), 500 * MS, "a peak counts at once");
        ewma.observe(3 * MS, 10 * MS, DECAY);
        assert!(ewma.cost(3 * MS, 0, DECAY) > 490 * MS, "one good answer does not make it good");
        let later = ewma.cost(3 * MS + DECAY, 0, DECAY);
        assert!((150 * MS..200 * MS).contains(&later), "{later}: about 1/e after the decay");
    }

    #[test]
    fn requests_under_way_multiply_the_cost() {
        let mut ewma = PeakEwma::default();
        ewma.observe(MS, 10 * MS, DECAY);
        assert_eq!(ewma.cost(MS, 3, DECAY), 40 * MS);
    }

    #[test]
    fn one_that_is_not_known_gets_one_request_and_no_more() {
        let mut slow = PeakEwma::default();
        slow.observe(MS, 60_000 * MS, DECAY);
        let new = PeakEwma::default();
        assert_eq!(new.cost(MS, 0, DECAY), 0);
        assert!(new.cost(MS, 1, DECAY) > slow.cost(MS, 100, DECAY));
    }
}
