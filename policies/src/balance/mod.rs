//! Which endpoint of a cluster gets the next attempt. Pure: the caller knows the endpoints and brings the dice.
//!
//! A [`Plan`] says which endpoints come into question at the moment (health, priorities, locality); it changes seldom. A
//! [`Balance`] picks one of them for each attempt.

pub mod ewma;
pub mod hash;
mod plan;

pub use plan::{Candidate, Level, Plan};

use hash::HashTable;

/// How a cluster spreads its requests. Each of them heeds the weights of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// In turn; with weights, as smoothly as they allow (nginx's smooth weighted round robin).
    #[default]
    RoundRobin,
    /// The less busy of two that are drawn at random (Mitzenmacher, "The Power of Two Choices", 2001).
    LeastRequest,
    /// Of two that are drawn at random, the one that promises to answer sooner (Finagle's peak EWMA).
    Ewma,
    Random,
    /// The next point of a ring after the key (Karger et al., "Consistent Hashing and Random Trees", 1997).
    RingHash,
    /// The slot of a table that the key leads to (Eisenbud et al., "Maglev", NSDI 2016, 3.4).
    Maglev,
}

impl Balance {
    /// Whether the key of a request decides.
    pub fn is_hash(self) -> bool {
        matches!(self, Balance::RingHash | Balance::Maglev)
    }
}

/// What a picker has to know of one endpoint at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointState {
    /// Whether it may be picked at all: not yet tried by this exchange, not at its limit.
    pub usable: bool,
    /// Requests that are under way.
    pub active: u32,
    /// What [`ewma::PeakEwma::cost`] says, where that decides.
    pub cost: u64,
}

/// What one pick goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Question {
    /// A fresh random value.
    pub random: u64,
    /// What the request is told apart by, hashed. Without one, a hash balancer picks at random.
    pub key: Option<u64>,
    /// The endpoint that the request has to go to if it can (a sticky cookie).
    pub pinned: Option<usize>,
}

/// Whose turn it is. One for each cluster and worker.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    next: usize,
    /// Of smooth weighted round robin, by endpoint.
    credits: Vec<i64>,
}

impl Turns {
    /// Start workers at different values, so that they do not all begin with the same endpoint.
    pub fn starting_at(worker: usize) -> Turns {
        Turns { next: worker, credits: Vec::new() }
    }
}

/// Picks an endpoint by its index; `None` where none of the plan is usable.
pub fn pick(
    balance: Balance,
    plan: &Plan,
    table: Option<&HashTable>,
    turns: &mut Turns,
    question: Question,
    state: impl Fn(usize) -> EndpointState,
) -> Option<usize> {
    if let Some(index) = question.pinned
        && plan.level_of(index).is_some()
        && state(index).usable
    {
        return Some(index);
    }
    let levels = plan.levels();
    // The same key always comes to the same level.
    let dice = question.key.filter(|_| balance.is_hash()).map_or(question.random, hash::mix);
    let first = plan.choose_level(dice);
    let chosen = levels
        .get(first)
        .and_then(|level| pick_of(balance, plan, first, level, table, turns, question, &state));
    chosen.or_else(|| {
        // All that are tried or at their limit: better an endpoint of another level than none.
        let others = levels.iter().enumerate().filter(|(at, _)| *at != first);
        let mut picks =
            others.map(|(at, level)| pick_of(balance, plan, at, level, table, turns, question, &state));
        picks.find_map(|pick| pick)
    })
}

#[expect(clippy::too_many_arguments, reason = "private, and all of them are the caller's")]
fn pick_of(
    balance: Balance,
    plan: &Plan,
    at: usize,
    level: &Level,
    table: Option<&HashTable>,
    turns: &mut Turns,
    question: Question,
    state: &impl Fn(usize) -> EndpointState,
) -> Option<usize> {
    let random = question.random;
    match (balance, question.key, table) {
        (Balance::RoundRobin, ..) if level.is_even() => in_turn(level, turns, state),
        (Balance::RoundRobin, ..) => smooth(level, turns, state),
        (Balance::LeastRequest, ..) => of_two(level, random, state, |state, weight| {
            // Requests per weight, as a fraction that needs no division.
            (u64::from(state.active), weight)
        }),
        (Balance::Ewma, ..) => of_two(level, random, state, |state, weight| (state.cost, weight)),
        (Balance::RingHash | Balance::Maglev, Some(key), Some(table)) => table.find(
            key,
            |index| plan.level_of(index) == Some(at) && state(index).usable,
            || level.indices().any(|index| state(index).usable),
        ),
        (Balance::Random | Balance::RingHash | Balance::Maglev, ..) => {
            draw(level, random as u32, state).map(|at| level.index(at))
        }
    }
}

/// The first usable endpoint from the next turn on, around the end.
fn in_turn(level: &Level, turns: &mut Turns, state: &impl Fn(usize) -> EndpointState) -> Option<usize> {
    let count = level.len();
    let start = turns.next.checked_rem(count)?;
    let at = (start..count).chain(0..start).find(|at| state(level.index(*at)).usable)?;
    turns.next = at + 1;
    Some(level.index(at))
}

/// Smooth weighted round robin: each endpoint earns its weight at each pick, the richest is picked and pays for all.
fn smooth(level: &Level, turns: &mut Turns, state: &impl Fn(usize) -> EndpointState) -> Option<usize> {
    let needed = level.indices().max().map_or(0, |last| last + 1);
    if turns.credits.len() < needed {
        // Workers begin at different places here too.
        let seed = turns.next as u64;
        let (had, credits) = (turns.credits.len(), &mut turns.credits);
        credits.extend((had..needed).map(|index| (hash::mix(seed ^ index as u64) & 0xff) as i64));
    }
    let (mut best, mut paid): (Option<usize>, i64) = (None, 0);
    for at in 0..level.len() {
        let (index, weight) = (level.index(at), level.weight(at) as i64);
        if !state(index).usable {
            continue;
        }
        let Some(credit) = turns.credits.get_mut(index) else { continue };
        *credit += weight;
        paid += weight;
        let credit = *credit;
        if best.and_then(|best| turns.credits.get(best)).is_none_or(|best| credit > *best) {
            best = Some(index);
        }
    }
    let best = best?;
    if let Some(credit) = turns.credits.get_mut(best) {
        *credit -= paid;
    }
    Some(best)
}

/// Draws two and takes the one with less load for its weight.
fn of_two(
    level: &Level,
    random: u64,
    state: &impl Fn(usize) -> EndpointState,
    load: impl Fn(EndpointState, u64) -> (u64, u64),
) -> Option<usize> {
    let first = draw(level, random as u32, state)?;
    // The second differs from the first, so that with two endpoints the less busy one always wins.
    let not_first = |index: usize| {
        let state = state(index);
        EndpointState { usable: state.usable && index != level.index(first), ..state }
    };
    let Some(second) = draw(level, (random >> 32) as u32, &not_first) else {
        return Some(level.index(first));
    };
    let of = |at: usize| load(state(level.index(at)), level.weight(at));
    let ((load_1, weight_1), (load_2, weight_2)) = (of(first), of(second));
    let (load_1, load_2) =
        (u128::from(load_1) * u128::from(weight_2), u128::from(load_2) * u128::from(weight_1));
    Some(level.index(if load_2 < load_1 { second } else { first }))
}

/// A position of a level at random, by weight, among the usable ones.
fn draw(level: &Level, random: u32, state: &impl Fn(usize) -> EndpointState) -> Option<usize> {
    if level.is_empty() {
        return None;
    }
    let at = level.at_share(random);
    if state(level.index(at)).usable {
        return Some(at);
    }
    // Not the next one: it would get the load of two.
    let usable = |at: &usize| state(level.index(*at)).usable;
    let total: u64 = (0..level.len()).filter(usable).map(|at| level.weight(at)).sum();
    let mut rest = scale(hash::mix(u64::from(random)) as u32, total);
    for at in (0..level.len()).filter(usable) {
        let weight = level.weight(at);
        if rest < weight {
            return Some(at);
        }
        rest -= weight;
    }
    None
}

/// Maps 32 random bits to `0..count` without a division (Lemire 2019); the bias is below count / 2^32.
pub(crate) fn scale(random: u32, count: u64) -> u64 {
    ((u128::from(random) * u128::from(count)) >> 32) as u64
}

#[cfg(test)]
mod tests;
