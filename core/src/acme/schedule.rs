//! When a certificate is to be renewed, and when to try again.

use std::time::Duration;

/// Pause after the first failure, doubled with each further one. Authorities count failed validations by the hour.
const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(60);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(6 * 3600);
/// The longest sleep: the clock of the machine may be set meanwhile.
pub(super) const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// How long to wait (all times in seconds since 1970) until a certificate is renewed: at two thirds of its lifetime, less
/// up to a tenth of what is left then, so that certificates that were issued together are not renewed together. `random`
/// is spread over all its values.
pub(super) fn renewal_wait(not_before: i64, not_after: i64, now: i64, random: u64) -> Duration {
    let lifetime = not_after.saturating_sub(not_before).max(0);
    let spread = lifetime / 30;
    let earlier = i64::try_from(random % (spread.unsigned_abs() + 1)).unwrap_or(0);
    let due = not_before.saturating_add(lifetime / 3 * 2).saturating_sub(earlier);
    Duration::from_secs(u64::try_from(due.saturating_sub(now)).unwrap_or(0))
}

/// How long to wait after so many failures in a row (at least one): between half of the pause and all of it.
pub(super) fn failure_wait(failures: u32, random: u64) -> Duration {
    let doubled = FAILURE_PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let pause = doubled.min(FAILURE_PAUSE_MAX);
    let half = pause / 2;
    half + Duration::from_millis(random % (half.as_millis() as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_lifetime_or_a_little_earlier() {
        let cases = [(90 * DAY, 60 * DAY, 57 * DAY), (6 * DAY, 4 * DAY, 4 * DAY - DAY / 5), (30, 20, 19)];
        for (lifetime, latest, earliest) in cases {
            for random in [0, 1, 12_345_678, u64::MAX] {
                let wait = renewal_wait(1_000, 1_000 + lifetime, 1_000, random).as_secs() as i64;
                assert!((earliest..=latest).contains(&wait), "{lifetime} {random}: {wait}");
            }
        }
    }

    #[test]
    fn a_certificate_that_is_due_or_nonsense_is_renewed_now() {
        for (not_before, not_after, now) in
            [(0, 90, 61), (0, 90, 1_000), (100, 50, 200), (i64::MIN, i64::MAX, i64::MAX)]
        {
            assert_eq!(renewal_wait(not_before, not_after, now, 0), Duration::ZERO);
        }
    }

    #[test]
    fn failures_are_repeated_with_growing_pauses_and_never_at_once() {
        let mut before = Duration::ZERO;
        for failures in 1..40 {
            let (least, most) = (failure_wait(failures, 0), failure_wait(failures, u64::MAX / 2));
            assert!(least >= FAILURE_PAUSE_MIN / 2 && most <= FAILURE_PAUSE_MAX, "{failures}");
            assert!(least >= before, "{failures}");
            before = least;
        }
    }
}
