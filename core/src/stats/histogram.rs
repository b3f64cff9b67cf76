//! Durations in fixed log-linear buckets: four to an octave, so a value is known to within 25 %.
//!
//! The scheme is that of HDR histograms (G. Tene) with two significant bits. Bucket `i` holds the durations in
//! `(lower(i), upper(i)]` microseconds: closed above, which is what a Prometheus `le` bucket means.

use std::time::Duration;

use super::counter::Counter;

/// Linear sub-buckets of one octave.
const SUB: usize = 4;
/// Durations above 2^27 µs (134 s) share the last bucket.
const OCTAVES: usize = 26;
/// Number of buckets, the unbounded last one included.
pub const BUCKETS: usize = SUB * OCTAVES + 1;

/// A histogram of durations with one writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_nanos: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { Counter::new() }; BUCKETS], sum_nanos: Counter::new() }
    }
}

impl Histogram {
    /// Counts one duration; only for the owning worker.
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.add(Measured::of(duration));
    }

    /// Counts one duration that is counted in several histograms.
    #[inline]
    pub fn add(&self, measured: Measured) {
        if let Some(bucket) = self.buckets.get(measured.bucket) {
            bucket.increment();
        }
        self.sum_nanos.add(measured.nanos);
    }

    /// Adds what was counted so far to `snapshot`.
    pub fn add_to(&self, snapshot: &mut Snapshot) {
        for (sum, bucket) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *sum = sum.wrapping_add(bucket.get());
        }
        snapshot.sum_nanos = snapshot.sum_nanos.wrapping_add(self.sum_nanos.get());
    }
}

/// A duration and its bucket.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    bucket: usize,
    nanos: u64,
}

impl Measured {
    #[inline]
    pub fn of(duration: Duration) -> Measured {
        // 584 years fit in 64 bits of nanoseconds.
        let nanos =
            duration.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(duration.subsec_nanos()));
        Measured { bucket: bucket_of(nanos), nanos }
    }
}

/// The bucket of a duration in nanoseconds.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    // Rounds up to whole microseconds and counts from zero, so that exactly `upper(i)` still belongs to `i`.
    let micros = nanos.saturating_sub(1) / 1_000;
    if micros < SUB as u64 {
        return micros as usize;
    }
    let octave = micros.ilog2() as usize - 1;
    let sub = (micros >> (octave - 1)) as usize & (SUB - 1);
    (octave * SUB + sub).min(BUCKETS - 1)
}

/// Upper bound of a bucket in microseconds; `None` for the unbounded last one.
pub fn upper_micros(bucket: usize) -> Option<u64> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    let (octave, sub) = (bucket / SUB, (bucket % SUB) as u64);
    Some(if octave == 0 { sub + 1 } else { (SUB as u64 + sub + 1) << (octave - 1) })
}

/// A sum of histograms at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub buckets: [u64; BUCKETS],
    pub sum_nanos: u64,
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot { buckets: [0; BUCKETS], sum_nanos: 0 }
    }
}

impl Snapshot {
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Takes away what `earlier` holds: what was counted since.
    pub fn subtract(&mut self, earlier: &Snapshot) {
        for (now, then) in self.buckets.iter_mut().zip(&earlier.buckets) {
            *now = now.wrapping_sub(*then);
        }
        self.sum_nanos = self.sum_nanos.wrapping_sub(earlier.sum_nanos);
    }

    /// Upper bound in microseconds of the bucket in which the quantile `q` (0 to 1) lies; 0 when nothing was counted.
    pub fn quantile_micros(&self, q: f64) -> u64 {
        let count = self.count();
        if count == 0 {
            return 0;
        }
        let rank = ((count as f64 * q).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        let mut bound = 0;
        for (bucket, n) in self.buckets.iter().enumerate() {
            seen += n;
            bound = upper_micros(bucket).unwrap_or(bound);
            if seen >= rank {
                break;
            }
        }
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow definition: the first bucket whose upper bound is not below the duration.
    fn oracle(nanos: u64) -> usize {
        (0..BUCKETS - 1).find(|b| nanos <= upper_micros(*b).expect("bounded") * 1_000).unwrap_or(BUCKETS - 1)
    }

    #[test]
    fn every_duration_falls_into_the_bucket_that_the_bounds_say() {
        let bounds = (0..BUCKETS - 1).filter_map(upper_micros).map(|us| us * 1_000);
        let around = bounds.flat_map(|ns| [ns - 1, ns, ns + 1]);
        let spread = (0..63).flat_map(|bit| [1_u64 << bit, (1 << bit) + 1, 3 << bit.min(60)]);
        for nanos in around.chain(spread).chain([0, 1, 999, 1_000, 1_001, u64::MAX]) {
            assert_eq!(bucket_of(nanos), oracle(nanos), "{nanos} ns");
        }
    }

    #[test]
    fn bounds_rise_and_are_at_most_a_quarter_apart() {
        let bounds: Vec<u64> = (0..BUCKETS).filter_map(upper_micros).collect();
        assert_eq!(bounds.len(), BUCKETS - 1);
        assert_eq!(bounds[..6], [1, 2, 3, 4, 5, 6]);
        assert_eq!(bounds.last(), Some(&(1 << 27)));
        for pair in bounds.windows(2).skip(3) {
            assert!(pair[1] > pair[0] && (pair[1] - pair[0]) * 4 <= pair[0], "{pair:?}");
        }
    }

    #[test]
    fn quantiles_and_sums_add_up_over_workers() {
        let (a, b) = (Histogram::default(), Histogram::default());
        for ms in 1..=50 {
            a.record(Duration::from_millis(ms));
            b.record(Duration::from_millis(ms + 50));
        }
        let mut sum = Snapshot::default();
        a.add_to(&mut sum);
        let first = sum.clone();
        b.add_to(&mut sum);
        assert_eq!(sum.count(), 100);
        assert_eq!(sum.sum_nanos, 5_050_000_000);
        let median = sum.quantile_micros(0.5);
        assert!((50_000..=62_500).contains(&median), "{median}");
        sum.subtract(&first);
        assert_eq!(sum.count(), 50);
    }
}
