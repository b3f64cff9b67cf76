//! The table against a single-threaded oracle, and against the rule itself.

use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use super::table::{Allowance, Drawn, PARTS, Table};
use super::*;

const MS: u64 = 1_000_000 * PARTS;
const SECOND: u64 = 1_000 * MS;

/// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016).
struct Random(u64);

impl Random {
    /// A seed that is printed when the test fails.
    fn seeded() -> Random {
        let seed = RandomState::new().build_hasher().finish() | 1;
        println!("seed {seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

thread_local! {
    /// How a test disturbs its threads: the state of a generator, 0 for not at all.
    static DISTURBED: Cell<u64> = const { Cell::new(0) };
}

/// Called between any two steps that other workers may see: lets another thread run, now and then.
pub(super) fn disturb() {
    let mut random = Random(DISTURBED.get());
    if random.0 != 0 {
        if random.below(4) == 0 {
            thread::yield_now();
        }
        DISTURBED.set(random.0);
    }
}

/// GCRA as its definition has it, for one key and one thread.
struct Oracle {
    tat: u64,
    allowance: Allowance,
}

impl Oracle {
    fn draw(&mut self, now: u64) -> bool {
        let next = self.tat.max(now) + self.allowance.interval;
        let allowed = next <= now + self.allowance.capacity;
        if allowed {
            self.tat = next;
        }
        allowed
    }
}

fn allowance(rate: &str, burst: u64) -> Allowance {
    Allowance::new(Rate::parse(rate).expect("a rate"), burst).expect("an allowance")
}

fn is_allowed(drawn: Drawn) -> bool {
    matches!(drawn, Drawn::Allowed { .. })
}

/// Of `total`, what each of four workers gets when `skew` percent go to the first and the rest to all alike.
fn spread(total: u64, skew: u64) -> [u64; 4] {
    let skewed = total * skew / 100;
    let mut shares = [(total - skewed) / 4; 4];
    shares[0] += total - shares.iter().sum::<u64>();
    shares
}

/// In rounds of one moment each, so that the order of workers cannot matter: as many pass as with the oracle, in each round.
#[test]
fn workers_together_allow_what_one_would_whatever_the_skew() {
    for skew in [0, 50, 100] {
        let mut random = Random::seeded();
        let allowance = allowance("100/s", 20);
        let table = Table::new(64);
        let mut oracle = Oracle { tat: 0, allowance };
        let mut now = SECOND;
        let rounds: Vec<(u64, [u64; 4], u64)> = (0..400)
            .map(|_| {
                now += random.below(60) * MS;
                let total = random.below(40);
                let allowed = (0..total).filter(|_| oracle.draw(now)).count() as u64;
                (now, spread(total, skew), allowed)
            })
            .collect();
        let barrier = Barrier::new(4);
        let passed: Vec<AtomicU64> = rounds.iter().map(|_| AtomicU64::new(0)).collect();
        thread::scope(|scope| {
            for worker in 0..4 {
                let (barrier, rounds, passed, table) = (&barrier, &rounds, &passed, &table);
                scope.spawn(move || {
                    for ((now, shares, _), passed) in rounds.iter().zip(passed) {
                        barrier.wait();
                        let allowed =
                            (0..shares[worker]).filter(|_| is_allowed(table.draw(7, *now, allowance)));
                        passed.fetch_add(allowed.count() as u64, Relaxed);
                    }
                });
            }
        });
        for ((now, shares, expected), passed) in rounds.iter().zip(&passed) {
            assert_eq!(passed.load(Relaxed), *expected, "skew {skew}, at {now}, of {shares:?}");
        }
    }
}

/// Without rounds: workers date their requests by clocks of their own, which come and go. Whatever order they come in, of
/// the requests dated in any stretch `t` at most `burst + t / interval` pass.
#[test]
fn no_stretch_of_time_has_more_than_the_burst_and_its_share() {
    for (skew, rate, burst) in
        [(0, "1000/s", 5), (50, "1000/s", 50), (100, "7/s", 3), (0, "333/m", 1), (50, "1000000/s", 100)]
    {
        let mut random = Random::seeded();
        let allowance = allowance(rate, burst);
        let table = Table::new(64);
        let clock = AtomicU64::new(SECOND);
        let mut allowed: Vec<u64> = thread::scope(|scope| {
            let workers: Vec<_> = spread(40_000, skew)
                .into_iter()
                .map(|share| {
                    let (table, clock, seed) = (&table, &clock, random.next() | 1);
                    scope.spawn(move || {
                        let mut random = Random(seed);
                        let mut dates = Vec::new();
                        for _ in 0..share {
                            let now = clock.fetch_add(random.below(allowance.interval), Relaxed);
                            // As far behind as a worker may be whose loop turns slowly.
                            let now = now - random.below(MS.min(allowance.interval * 4));
                            if is_allowed(table.draw(7, now, allowance)) {
                                dates.push(now);
                            }
                        }
                        dates
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
        });
        allowed.sort_unstable();
        assert!(allowed.len() as u64 > burst, "{rate}: something passes");
        // With `later(i) = date(i) - i * interval`: a stretch from i to j has too many where
        // (j - i + 1) * interval > date(j) - date(i) + capacity. The worst i has the greatest `later`.
        let mut worst = i128::MIN;
        for (index, date) in allowed.iter().enumerate() {
            let later = i128::from(*date) - index as i128 * i128::from(allowance.interval);
            worst = worst.max(later);
            let over = worst - later + i128::from(allowance.interval) - i128::from(allowance.capacity);
            assert!(over <= 0, "{rate}, burst {burst}, skew {skew}: {over} too much at request {index}");
        }
    }
}

/// Keys that come for the first time at several workers at once have one bucket each, and one only, while others
/// are forgotten all the time.
#[test]
fn a_key_has_one_bucket_however_many_workers_meet_it_first() {
    const ROUNDS: u64 = 4_000;
    let seed = Random::seeded().next();
    let allowance = allowance("1/s", 3);
    let table = Table::new(8);
    let barrier = Barrier::new(4);
    let (passed, wrong) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (table, barrier, passed, wrong) = (&table, &barrier, &passed, &wrong);
            scope.spawn(move || {
                DISTURBED.set(seed.wrapping_add(worker) | 1);
                for round in 0..ROUNDS {
                    // Each round is long after the one before: all places may be had again, and every key is a new one.
                    let now = (round + 1) * 10 * SECOND;
                    barrier.wait();
                    for turn in 0..16 {
                        let key = round * 4 + (turn + worker) % 4;
                        let hash = (seed ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
                        if is_allowed(table.draw(hash, now, allowance)) {
                            passed.fetch_add(1, Relaxed);
                        }
                    }
                    // Four keys of three requests each.
                    if barrier.wait().is_leader() && passed.swap(0, Relaxed) != 4 * 3 {
                        wrong.fetch_add(1, Relaxed);
                    }
                    barrier.wait();
                }
            });
        }
    });
    assert_eq!(wrong.into_inner(), 0, "rounds of {ROUNDS} in which not exactly twelve requests passed");
}

#[test]
fn many_keys_are_kept_apart() {
    let mut random = Random::seeded();
    let allowance = allowance("10/s", 4);
    let table = Table::new(1_000);
    let mut oracles: Vec<(u64, Oracle)> =
        (0..1_000).map(|_| (random.next(), Oracle { tat: 0, allowance })).collect();
    let mut now = SECOND;
    for step in 0..200_000 {
        now += random.below(MS);
        let which = random.below(1_000) as usize;
        let (hash, oracle) = &mut oracles[which];
        assert_eq!(is_allowed(table.draw(*hash, now, allowance)), oracle.draw(now), "step {step}");
    }
    assert!(table.used(now) <= 1_000);
}

#[test]
fn only_full_buckets_are_forgotten() {
    let allowance = allowance("1/h", 1);
    let table = Table::new(1);
    let now = SECOND;
    let hashes: Vec<u64> = (1..=64_u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let placed: Vec<u64> =
        hashes.iter().copied().filter(|hash| is_allowed(table.draw(*hash, now, allowance))).collect();
    assert_eq!(placed.len(), Table::ways(), "the two rows of the smallest table");
    // None of them has a full bucket within the hour: no other key gets a place, and none of them gets more.
    for later in [now, now + 1_000 * SECOND, now + 3_599 * SECOND] {
        for hash in &hashes {
            let drawn = table.draw(*hash, later, allowance);
            if placed.contains(hash) {
                assert!(matches!(drawn, Drawn::Denied { .. }), "{drawn:?}");
            } else {
                assert_eq!(drawn, Drawn::NoPlace);
            }
        }
    }
    let after = now + 3_601 * SECOND;
    let strangers = hashes.iter().filter(|hash| !placed.contains(hash));
    assert!(strangers.copied().any(|hash| is_allowed(table.draw(hash, after, allowance))));
}

#[test]
fn a_table_has_room_for_the_keys_that_it_promises() {
    let mut random = Random::seeded();
    let allowance = allowance("1/h", 1);
    let table = Table::new(10_000);
    for key in 0..10_000 {
        assert!(is_allowed(table.draw(random.next(), SECOND, allowance)), "key {key}");
    }
    assert_eq!(table.used(SECOND), 10_000);
}

#[test]
fn a_refusal_says_when_to_come_again() {
    let allowance = allowance("60/m", 2);
    let table = Table::new(16);
    let now = SECOND;
    assert_eq!(table.draw(1, now, allowance), Drawn::Allowed { ahead: SECOND });
    assert_eq!(table.draw(1, now, allowance), Drawn::Allowed { ahead: 2 * SECOND });
    let half = now + SECOND / 2;
    assert_eq!(table.draw(1, half, allowance), Drawn::Denied { ahead: 3 * SECOND / 2, wait: SECOND / 2 });
    // At that moment, and not before.
    assert!(!is_allowed(table.draw(1, now + SECOND - 1, allowance)));
    assert!(is_allowed(table.draw(1, now + SECOND, allowance)));
    // Refusals cost nothing.
    assert!(is_allowed(table.draw(1, now + 2 * SECOND, allowance)));
}

#[test]
fn an_interval_is_rounded_up_and_bounded() {
    for (rate, burst, interval) in [
        ("100/s", 1, 10 * MS),
        ("60/m", 1, SECOND),
        ("24/d", 1, 3_600 * SECOND),
        ("1000000000/s", 1, PARTS),
        // 16e9 / 7 is 2285714285.7...
        ("7/s", 1, 2_285_714_286),
    ] {
        let allowance = Allowance::new(Rate::parse(rate).expect("a rate"), burst).expect(rate);
        assert_eq!(allowance.interval, interval, "{rate}");
    }
    let daily = Rate::parse("1/d").expect("a rate");
    assert!(Allowance::new(daily, 366).is_some());
    assert!(Allowance::new(daily, 367).is_none());
    assert!(Allowance::new(daily, u64::MAX).is_none());
}

#[test]
fn fields_tell_the_quota_what_remains_and_when() {
    let (rate, burst) = (Rate::parse("100/m").expect("a rate"), 20);
    let allowance = Allowance::new(rate, burst).expect("an allowance");
    for (which, used, expected) in [
        ("ietf", 1, "ratelimit-policy: \"a\";q=20;w=12\r\nratelimit: \"a\";r=19;t=1\r\n"),
        ("ietf", 20, "ratelimit-policy: \"a\";q=20;w=12\r\nratelimit: \"a\";r=0;t=12\r\n"),
        ("x", 1, "x-ratelimit-limit: 20\r\nx-ratelimit-remaining: 19\r\nx-ratelimit-reset: 1\r\n"),
        ("none", 1, ""),
    ] {
        let headers = Headers::new(which, "a", allowance, burst);
        let mut out = Vec::new();
        let ahead = used * allowance.interval;
        headers.render(&mut out, allowance.remaining(ahead), seconds(ahead));
        assert_eq!(String::from_utf8_lossy(&out), expected, "{which}");
    }
}

#[test]
fn numbers_are_written_in_decimal() {
    for number in [0, 7, 10, 1_234_567, u64::MAX] {
        let mut out = Vec::new();
        push_number(&mut out, number);
        assert_eq!(out, number.to_string().as_bytes());
    }
}
