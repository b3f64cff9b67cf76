use std::collections::HashSet;

use super::*;

const ALL: [Balance; 6] = [
    Balance::RoundRobin,
    Balance::LeastRequest,
    Balance::Ewma,
    Balance::Random,
    Balance::RingHash,
    Balance::Maglev,
];
const IDLE: EndpointState = EndpointState { usable: true, active: 0, cost: 0 };
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn candidate(weight: u32, priority: u32, healthy: bool) -> Candidate {
    Candidate { reachable: true, healthy, weight, warmth: 1.0, priority, near: true }
}

fn random_values() -> impl Iterator<Item = u64> {
    println!("seed {SEED:#x}");
    let mut state = SEED;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

/// One cluster, as a worker has it.
struct Cluster {
    balance: Balance,
    plan: Plan,
    table: Option<HashTable>,
    turns: Turns,
}

impl Cluster {
    fn new(balance: Balance, candidates: &[Candidate]) -> Cluster {
        let names: Vec<String> = (0..candidates.len()).map(|n| format!("10.0.0.{n}:80")).collect();
        let endpoints: Vec<(&str, u32)> =
            names.iter().zip(candidates).map(|(name, candidate)| (name.as_str(), candidate.weight)).collect();
        let table = HashTable::build(balance, &endpoints, 4_099);
        Cluster { balance, plan: Plan::build(candidates, 50), table, turns: Turns::default() }
    }

    fn even(balance: Balance, count: usize) -> Cluster {
        Cluster::new(balance, &vec![candidate(1, 0, true); count])
    }

    fn pick(&mut self, random: u64, state: impl Fn(usize) -> EndpointState) -> Option<usize> {
        let question = Question { random, key: Some(hash::mix(random)), pinned: None };
        pick(self.balance, &self.plan, self.table.as_ref(), &mut self.turns, question, state)
    }

    /// How often each endpoint is picked.
    fn hits(&mut self, picks: usize, state: impl Fn(usize) -> EndpointState) -> Vec<usize> {
        let mut hits = vec![0; 16];
        for random in random_values().take(picks) {
            hits[self.pick(random, &state).expect("an endpoint")] += 1;
        }
        hits
    }
}

/// Whether counts are what weights ask for: within five standard deviations of a binomial draw, and for hashes, whose
/// tables are not drawn anew for each request, within a tenth more.
fn assert_shares(balance: Balance, hits: &[usize], weights: &[u32]) {
    let (picks, total): (usize, u32) = (hits.iter().sum(), weights.iter().sum());
    for (at, weight) in weights.iter().enumerate() {
        let share = f64::from(*weight) / f64::from(total);
        let expected = picks as f64 * share;
        let mut allowed = 5.0 * (expected * (1.0 - share)).sqrt() + 1.0;
        if balance.is_hash() {
            allowed += expected * 0.1;
        }
        let off = (hits[at] as f64 - expected).abs();
        assert!(off <= allowed, "{balance:?}: {hits:?} for weights {weights:?}, endpoint {at}");
    }
}

#[test]
fn round_robin_gives_each_endpoint_its_turn() {
    let mut cluster = Cluster::even(Balance::RoundRobin, 3);
    cluster.turns = Turns::starting_at(5);
    let picks: Vec<_> = (0..6).filter_map(|_| cluster.pick(0, |_| IDLE)).collect();
    assert_eq!(picks, [2, 0, 1, 2, 0, 1]);
}

#[test]
fn weighted_turns_are_smooth() {
    // nginx's example: 5, 1, 1 gives a a b a c a a.
    let candidates = [candidate(5, 0, true), candidate(1, 0, true), candidate(1, 0, true)];
    let mut cluster = Cluster::new(Balance::RoundRobin, &candidates);
    cluster.turns.credits = vec![0; 3];
    let picks: Vec<_> = (0..14).filter_map(|_| cluster.pick(0, |_| IDLE)).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn unusable_endpoints_are_never_picked() {
    for balance in ALL {
        let (mut cluster, mut none, mut one) =
            (Cluster::even(balance, 5), Cluster::even(balance, 0), Cluster::even(balance, 1));
        for random in random_values().take(1000) {
            let only_3 = |index| EndpointState { usable: index == 3, active: 100, cost: 100 };
            assert_eq!(cluster.pick(random, only_3), Some(3), "{balance:?}");
            assert_eq!(
                cluster.pick(random, |_| EndpointState { usable: false, ..IDLE }),
                None,
                "{balance:?}"
            );
            assert_eq!(none.pick(random, |_| IDLE), None, "{balance:?}");
            assert_eq!(one.pick(random, |_| IDLE), Some(0), "{balance:?}");
        }
    }
}

#[test]
fn shares_are_as_the_weights() {
    for balance in ALL {
        for weights in [vec![1; 7], vec![5, 1, 1], vec![1, 2, 3, 4], vec![100, 1]] {
            let candidates: Vec<_> = weights.iter().map(|weight| candidate(*weight, 0, true)).collect();
            let hits = Cluster::new(balance, &candidates).hits(20_000, |_| IDLE);
            assert_shares(balance, &hits, &weights);
        }
    }
}

#[test]
fn the_load_of_an_unusable_endpoint_is_spread_over_all_others() {
    for balance in ALL {
        let without_2 = |index| EndpointState { usable: index != 2, ..IDLE };
        let hits = Cluster::even(balance, 5).hits(20_000, without_2);
        // With the keys of a hash the heirs are as even as the detours are; far from one heir for all.
        let (low, high) = if balance == Balance::RoundRobin { (4_000, 7_000) } else { (4_300, 5_700) };
        let others = [0, 1, 3, 4].map(|index: usize| hits[index]);
        assert!(others.iter().all(|hits| (low..high).contains(hits)), "{balance:?}: {hits:?}");
    }
}

#[test]
fn least_request_of_two_is_the_less_busy_one_for_its_weight() {
    let busy = |index| EndpointState { active: if index == 0 { 9 } else { 3 }, ..IDLE };
    let mut cluster = Cluster::even(Balance::LeastRequest, 2);
    let mut heavy = Cluster::new(Balance::LeastRequest, &[candidate(4, 0, true), candidate(1, 0, true)]);
    for random in random_values().take(1000) {
        assert_eq!(cluster.pick(random, busy), Some(1));
        assert_eq!(heavy.pick(random, busy), Some(0), "9 of 4 are fewer than 3 of 1");
    }
}

#[test]
fn least_request_fills_endpoints_evenly_where_requests_stay() {
    let mut active = [0u32; 4];
    let mut cluster =
        Cluster::new(Balance::LeastRequest, &[3, 1, 1, 1].map(|weight| candidate(weight, 0, true)));
    for random in random_values().take(6_000) {
        let index = cluster.pick(random, |index| EndpointState { active: active[index], ..IDLE });
        active[index.expect("an endpoint")] += 1;
    }
    assert!((2_900..3_100).contains(&active[0]), "{active:?}");
    assert!(active[1..].iter().all(|active| (950..1_050).contains(active)), "{active:?}");
}

#[test]
fn ewma_avoids_the_slow_one_of_two() {
    let cost = |index| EndpointState { cost: if index == 1 { 900 } else { 100 }, ..IDLE };
    let mut cluster = Cluster::even(Balance::Ewma, 3);
    let hits = cluster.hits(3_000, cost);
    assert_eq!(hits[1], 0, "{hits:?}");
}

#[test]
fn a_key_always_comes_to_the_same_endpoint_whatever_the_dice() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let mut cluster = Cluster::even(balance, 5);
        for key in random_values().take(200) {
            let picks: HashSet<_> = random_values()
                .take(20)
                .map(|random| {
                    let question = Question { random, key: Some(key), pinned: None };
                    pick(balance, &cluster.plan, cluster.table.as_ref(), &mut cluster.turns, question, |_| {
                        IDLE
                    })
                })
                .collect();
            assert_eq!(picks.len(), 1, "{balance:?}");
        }
    }
}

#[test]
fn a_request_without_a_key_goes_anywhere() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let mut cluster = Cluster::even(balance, 4);
        let mut hits = vec![0; 4];
        for random in random_values().take(8_000) {
            let question = Question { random, ..Question::default() };
            let table = cluster.table.as_ref();
            hits[pick(balance, &cluster.plan, table, &mut cluster.turns, question, |_| IDLE)
                .expect("one")] += 1;
        }
        assert_shares(balance, &hits, &[1; 4]);
    }
}

#[test]
fn a_pinned_endpoint_is_picked_while_it_is_healthy_and_usable() {
    for balance in ALL {
        let sick =
            [candidate(1, 0, true), candidate(1, 0, true), candidate(1, 1, true), candidate(1, 0, false)];
        let mut cluster = Cluster::new(balance, &sick);
        for random in random_values().take(100) {
            let mut to = |pinned, usable: fn(usize) -> bool| {
                let question = Question { random, key: None, pinned: Some(pinned) };
                let state = |index| EndpointState { usable: usable(index), ..IDLE };
                pick(balance, &cluster.plan, cluster.table.as_ref(), &mut cluster.turns, question, state)
            };
            assert_eq!(to(1, |_| true), Some(1), "{balance:?}");
            assert_eq!(to(2, |_| true), Some(2), "{balance:?}: it failed over once and stays");
            assert_ne!(to(3, |_| true), Some(3), "{balance:?}: not healthy");
            assert_ne!(to(1, |index| index != 1), Some(1), "{balance:?}: not usable");
            assert_ne!(to(99, |_| true), Some(99), "{balance:?}: gone");
        }
    }
}

#[test]
fn the_next_level_takes_what_the_first_does_not_carry() {
    for balance in ALL {
        // Two of four are healthy: they carry 70 %.
        let candidates = [(0, true), (0, true), (0, false), (0, false), (1, true), (1, true)];
        let candidates = candidates.map(|(priority, healthy)| candidate(1, priority, healthy));
        let hits = Cluster::new(balance, &candidates).hits(20_000, |_| IDLE);
        let (first, second) = (hits[0] + hits[1], hits[4] + hits[5]);
        assert!(first.abs_diff(14_000) < 400 && second.abs_diff(6_000) < 400, "{balance:?}: {hits:?}");
    }
}

#[test]
fn another_level_is_better_than_no_endpoint() {
    for balance in ALL {
        let candidates = [candidate(1, 0, true), candidate(1, 1, true)];
        let mut cluster = Cluster::new(balance, &candidates);
        for random in random_values().take(100) {
            let tried_0 = |index| EndpointState { usable: index != 0, ..IDLE };
            assert_eq!(cluster.pick(random, tried_0), Some(1), "{balance:?}");
        }
    }
}
