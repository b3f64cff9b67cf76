//! Which endpoints come into question, and with which share: health, priorities, locality, panic.
//!
//! A level is all endpoints of one priority and one nearness: those of priority 0 nearby, those of priority 0 elsewhere,
//! those of priority 1 nearby, and so on. Each level takes the load that its healthy endpoints can carry, and the rest goes
//! to the next; that is counted as Envoy does, with 140 % for the health of a level, so that a level is full until less
//! than 72 % of it is healthy.

use super::scale;

/// What a level is taken to carry of its healthy share, in percent.
const OVERPROVISIONED: u64 = 140;
/// Of shares: the whole.
const WHOLE: u64 = 10_000;
/// Weights are counted in hundredths, so that a slow start has steps.
const WEIGHT_UNITS: u64 = 100;

/// What is known of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// It has an address: no other can be picked.
    pub reachable: bool,
    /// Neither its health nor what became of requests speaks against it.
    pub healthy: bool,
    pub weight: u32,
    /// How much of its weight counts while it is new, from 0 to 1.
    pub warmth: f64,
    /// 0 comes first.
    pub priority: u32,
    /// It is in the proxy's own zone, or zones do not count.
    pub near: bool,
}

/// Who gets requests at the moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    levels: Vec<Level>,
    /// The level of each endpoint; `None`: it gets nothing.
    level_of: Vec<Option<u32>>,
    panics: bool,
}

/// Endpoints that come into question at the same time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Level {
    /// Indices of endpoints, with the sum of the weights up to and with each.
    members: Vec<(u32, u64)>,
    even: bool,
    /// Up to which share of all requests, of [`WHOLE`], this level and those before it are meant.
    up_to: u64,
}

impl Plan {
    /// `panic_percent`: below this share of healthy endpoints, health is ignored.
    pub fn build(candidates: &[Candidate], panic_percent: u32) -> Plan {
        let reachable = || candidates.iter().enumerate().filter(|(_, candidate)| candidate.reachable);
        let mut keys: Vec<(u32, bool)> = reachable().map(|(_, it)| (it.priority, !it.near)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut plan = Plan { levels: Vec::new(), level_of: vec![None; candidates.len()], panics: false };
        let mut given = 0;
        for key in &keys {
            let of_level = || reachable().filter(|(_, it)| (it.priority, !it.near) == *key);
            let (all, healthy) =
                (of_level().count() as u64, of_level().filter(|(_, it)| it.healthy).count() as u64);
            if healthy == 0 {
                continue;
            }
            let carries = (WHOLE * OVERPROVISIONED / 100 * healthy / all.max(1)).min(WHOLE);
            given = (given + carries).min(WHOLE);
            plan.add(of_level().filter(|(_, it)| it.healthy), given);
        }
        let (all, healthy) =
            (reachable().count() as u64, reachable().filter(|(_, it)| it.healthy).count() as u64);
        if given < WHOLE && healthy * 100 < all * u64::from(panic_percent) {
            // So few are healthy that all the load on them would take them down too.
            plan = Plan { levels: Vec::new(), level_of: vec![None; candidates.len()], panics: true };
            plan.add(reachable(), WHOLE);
        } else if given > 0 && given < WHOLE {
            // Less than everything can be carried: it is spread as the levels can.
            plan.levels.iter_mut().for_each(|level| level.up_to = level.up_to * WHOLE / given);
        }
        plan
    }

    fn add<'a>(&mut self, members: impl Iterator<Item = (usize, &'a Candidate)>, up_to: u64) {
        let at = self.levels.len() as u32;
        let mut level = Level { up_to, even: true, ..Level::default() };
        let (mut sum, mut first) = (0, None);
        for (index, candidate) in members {
            let whole = u64::from(candidate.weight.max(1)) * WEIGHT_UNITS;
            let weight = ((whole as f64 * candidate.warmth) as u64).clamp(1, whole);
            level.even &= *first.get_or_insert(weight) == weight;
            sum += weight;
            level.members.push((index as u32, sum));
            if let Some(of) = self.level_of.get_mut(index) {
                *of = Some(at);
            }
        }
        self.levels.push(level);
    }

    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The level of an endpoint, where it gets requests.
    pub fn level_of(&self, index: usize) -> Option<usize> {
        self.level_of.get(index).copied().flatten().map(|level| level as usize)
    }

    /// Whether health is ignored.
    pub fn panics(&self) -> bool {
        self.panics
    }

    /// The level that takes a request.
    pub(super) fn choose_level(&self, random: u64) -> usize {
        if self.levels.first().is_none_or(|level| level.up_to >= WHOLE) {
            return 0;
        }
        // The upper half, because the lower one draws the endpoint.
        let drawn = scale((random >> 32) as u32 ^ (random as u32).rotate_left(16), WHOLE);
        self.levels.iter().position(|level| drawn < level.up_to).unwrap_or(0)
    }
}

impl Level {
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The endpoints by index.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.members.iter().map(|(index, _)| *index as usize)
    }

    /// All have the same weight.
    pub(super) fn is_even(&self) -> bool {
        self.even
    }

    /// The endpoint at a position, which is below [`Level::len`].
    pub(super) fn index(&self, at: usize) -> usize {
        self.members.get(at).map_or(0, |(index, _)| *index as usize)
    }

    pub(super) fn weight(&self, at: usize) -> u64 {
        let before = at.checked_sub(1).and_then(|at| self.members.get(at)).map_or(0, |(_, sum)| *sum);
        self.members.get(at).map_or(0, |(_, sum)| sum - before)
    }

    /// The position whose share of the weights `random` falls into.
    pub(super) fn at_share(&self, random: u32) -> usize {
        if self.even {
            return scale(random, self.members.len() as u64) as usize;
        }
        let total = self.members.last().map_or(0, |(_, sum)| *sum);
        let drawn = scale(random, total);
        self.members.partition_point(|(_, sum)| *sum <= drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Candidate =
        Candidate { reachable: true, healthy: true, weight: 1, warmth: 1.0, priority: 0, near: true };

    /// Endpoints as `0h` (priority, healthy), `1s` (sick), `0H` (healthy, in another zone), `0-` (no address).
    fn candidates(text: &str) -> Vec<Candidate> {
        let one = |text: &str| {
            let (priority, state) = text.split_at(1);
            Candidate {
                reachable: state != "-",
                healthy: state.eq_ignore_ascii_case("h"),
                near: state.chars().all(|c| c.is_ascii_lowercase()),
                priority: priority.parse().expect("a priority"),
                ..NEW
            }
        };
        text.split_whitespace().map(one).collect()
    }

    /// Levels as `endpoints: share in percent`.
    fn check(text: &str, expected: &[(&[usize], u64)], panics: bool) {
        let plan = Plan::build(&candidates(text), 50);
        let mut before = 0;
        let shown: Vec<(Vec<usize>, u64)> = plan
            .levels()
            .iter()
            .map(|level| {
                let share = (level.up_to - before) / 100;
                before = level.up_to;
                (level.indices().collect(), share)
            })
            .collect();
        let expected: Vec<(Vec<usize>, u64)> =
            expected.iter().map(|(indices, share)| (indices.to_vec(), *share)).collect();
        assert_eq!((shown, plan.panics()), (expected, panics), "{text}");
    }

    #[test]
    fn a_level_takes_what_it_carries_and_the_next_one_the_rest() {
        check("0h 0h", &[(&[0, 1], 100)], false);
        check("0h 0h 1h", &[(&[0, 1], 100), (&[2], 0)], false);
        check("0h 0h 0h 0s 1h 1h", &[(&[0, 1, 2], 100), (&[4, 5], 0)], false);
        check("0h 0s 1h 1h", &[(&[0], 70), (&[2, 3], 30)], false);
        check("0s 0s 1h 1h", &[(&[2, 3], 100)], false);
        check("0s 0s 0s 1s 2h", &[(&[4], 100)], false);
        check("0h 0- 0-", &[(&[0], 100)], false);
        check("", &[], false);
        check("0-", &[], false);
    }

    #[test]
    fn endpoints_nearby_come_before_those_elsewhere() {
        check("0H 0h 0h", &[(&[1, 2], 100), (&[0], 0)], false);
        check("0H 0h 0s", &[(&[1], 70), (&[0], 30)], false);
        check("1h 0H", &[(&[1], 100), (&[0], 0)], false);
    }

    #[test]
    fn health_is_ignored_where_few_are_healthy_and_they_cannot_carry_the_load() {
        check("0h 0s", &[(&[0], 100)], false);
        check("0h 0s 0s", &[(&[0, 1, 2], 100)], true);
        check("0s 0s", &[(&[0, 1], 100)], true);
        // One endpoint of the next level carries everything: there is no reason to panic.
        check("0s 0s 0s 1h", &[(&[3], 100)], false);
    }

    #[test]
    fn what_cannot_be_carried_is_spread_as_the_levels_can() {
        // 42 % and 42 % of the load, of which each gets half.
        check("0h 0s 0s 1h 1s", &[(&[0], 46), (&[3], 53)], false);
    }

    #[test]
    fn a_new_endpoint_counts_for_a_part_of_its_weight() {
        let plan = Plan::build(&[NEW, Candidate { warmth: 0.25, ..NEW }, Candidate { weight: 3, ..NEW }], 50);
        let level = &plan.levels()[0];
        assert_eq!([level.weight(0), level.weight(1), level.weight(2)], [100, 25, 300]);
        assert!(!level.is_even());
        let plan = Plan::build(&[Candidate { warmth: 0.0, ..NEW }], 50);
        assert_eq!(plan.levels()[0].weight(0), 1, "never nothing");
    }
}
