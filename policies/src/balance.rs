//! Which endpoint of a cluster gets the next attempt. Pure: the caller knows the endpoints and brings the dice.

/// How a cluster spreads its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    #[default]
    RoundRobin,
    /// The less busy of two that are drawn at random (Mitzenmacher, "The Power of Two Choices", 2001).
    LeastRequest,
    Random,
}

/// What a picker has to know of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointState {
    /// Whether it may be picked at all: not ejected, not yet tried by this exchange, not at its limit.
    pub usable: bool,
    /// Requests that are under way.
    pub active: u32,
}

/// The turn of round robin. One for each cluster and worker; start workers at different values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn(pub usize);

/// Picks one of `count` endpoints; `None` where none is usable. `random` is a fresh random value.
pub fn pick(
    balance: Balance,
    turn: &mut Turn,
    random: u64,
    count: usize,
    state: impl Fn(usize) -> EndpointState,
) -> Option<usize> {
    match balance {
        _ if count == 0 => None,
        Balance::RoundRobin => {
            let index = next_usable(turn.0 % count, count, &state)?;
            turn.0 = index + 1;
            Some(index)
        }
        Balance::Random => next_usable(scale(random as u32, count), count, &state),
        Balance::LeastRequest => {
            let first = scale(random as u32, count);
            // The second differs from the first, so that with two endpoints the less busy one always wins.
            let second = (first + 1 + scale((random >> 32) as u32, count.saturating_sub(1).max(1))) % count;
            let first = next_usable(first, count, &state)?;
            let second = next_usable(second, count, &state)?;
            Some(if state(second).active < state(first).active { second } else { first })
        }
    }
}

/// The first usable endpoint from `start` on, around the end.
fn next_usable(start: usize, count: usize, state: &impl Fn(usize) -> EndpointState) -> Option<usize> {
    (start..count).chain(0..start).find(|index| state(*index).usable)
}

/// Maps 32 random bits to `0..count` without a division (Lemire 2019); the bias is below count / 2^32.
fn scale(random: u32, count: usize) -> usize {
    ((u64::from(random) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_usable(_: usize) -> EndpointState {
        EndpointState { usable: true, active: 0 }
    }

    fn random_values() -> impl Iterator<Item = u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        })
    }

    #[test]
    fn round_robin_gives_each_endpoint_its_turn() {
        let mut turn = Turn(5);
        let picks: Vec<_> =
            (0..6).filter_map(|_| pick(Balance::RoundRobin, &mut turn, 0, 3, all_usable)).collect();
        assert_eq!(picks, [2, 0, 1, 2, 0, 1]);
    }

    #[test]
    fn unusable_endpoints_are_never_picked() {
        for balance in [Balance::RoundRobin, Balance::LeastRequest, Balance::Random] {
            let mut turn = Turn::default();
            for random in random_values().take(1000) {
                let state = |index| EndpointState { usable: index == 3, active: 100 };
                assert_eq!(pick(balance, &mut turn, random, 5, state), Some(3));
                let none = |_| EndpointState { usable: false, active: 0 };
                assert_eq!(pick(balance, &mut turn, random, 5, none), None);
                assert_eq!(pick(balance, &mut turn, random, 0, all_usable), None);
                assert_eq!(pick(balance, &mut turn, random, 1, all_usable), Some(0));
            }
        }
    }

    #[test]
    fn least_request_of_two_is_the_less_busy_one() {
        for random in random_values().take(1000) {
            let state = |index| EndpointState { usable: true, active: if index == 0 { 9 } else { 3 } };
            assert_eq!(pick(Balance::LeastRequest, &mut Turn::default(), random, 2, state), Some(1));
        }
    }

    #[test]
    fn random_and_least_request_reach_every_endpoint() {
        for balance in [Balance::LeastRequest, Balance::Random] {
            let mut hits = [0u32; 7];
            for random in random_values().take(7000) {
                if let Some(index) = pick(balance, &mut Turn::default(), random, 7, all_usable) {
                    hits[index] += 1;
                }
            }
            assert!(hits.iter().all(|hits| (700..1300).contains(hits)), "{balance:?} {hits:?}");
        }
    }
}
