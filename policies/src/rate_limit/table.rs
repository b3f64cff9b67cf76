//! One timestamp per key, in a bounded table that all workers share without a lock.
//!
//! # The rule
//! GCRA (the generic cell rate algorithm, ITU-T I.371 Annex A, as a virtual schedule): a key has one theoretical arrival
//! time, `tat`. A request at `now` makes it `max(tat, now) + interval`, and is allowed where that is at most
//! `now + burst * interval`. It follows that of the requests dated in any stretch `t` at most `burst + t / interval`
//! are allowed: the first moves `tat` to `interval` after it at least, each further one by `interval`, and the last leaves
//! it at most `burst * interval` ahead. The order in which workers come does not matter, nor that their clocks are
//! read at different moments. A key whose `tat` has passed has a full bucket: forgetting it changes nothing.
//!
//! # The table
//! A key may stand in one of sixteen places, which are chosen by its hash. A place is two words:
//!
//! - `time`: a moment, and whether the place is *live*;
//! - `owner`: whose it is, and in which *incarnation*: some low bits of the moment at which it became free.
//!
//! ```text
//!            free it: a full bucket only               claim it                     first request
//!   live ────────────────────────────▶ free ────────────────────────▶ claimed ────────────────▶ live
//!                         time: tat+1         owner: (key, tat+1)        │           time: now+interval
//!                                        ▲                               │
//!                                        └── withdraw: time + 1 ─────────┘
//! ```
//!
//! `time` only ever grows, so that a compare-and-swap of it that succeeds proves that nothing has happened to the place
//! since it was read, its owner included. `owner` changes once per incarnation: whoever claims a free place first has it.
//!
//! Two workers may claim two places for the same key at the same time. A claim becomes live only after the
//! worker has looked at *all* places of the key *after* it saw the claim, and has withdrawn every other claim of the key. Of two
//! claims that became live, each would have to have been made after the last look at its place by the worker that brought
//! the other to life, so each after the other: there cannot be two. All workers prefer the first claim in the order of
//! places, so one of them always gets on.
//!
//! All of it is sequentially consistent: the argument above is about one order of events.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Parts of a nanosecond in which moments and intervals are counted: 2^63 of them are 18 years.
pub const PARTS: u64 = 16;

/// Places in a row: two lines of a cache. A key has two rows.
const GROUP: usize = 8;
/// A bucket has to have been full for this long before its place is given away: by then no worker dates a request
/// before the moment at which it was full.
const FULL_FOR: u64 = 100_000_000 * PARTS;

const LIVE: u64 = 1;
/// The incarnation in `owner`; the rest is of the hash.
const INCARNATION: u64 = 0xffff;

/// How much a key may do, in [`PARTS`] of a nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Time that one request costs. At least 1.
    pub interval: u64,
    /// `burst * interval`: as far ahead of the clock as the timestamp may be.
    pub capacity: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// It may pass. `ahead`: how far the timestamp is ahead of now, which is what has been used of the capacity.
    Allowed { ahead: u64 },
    /// It may not; it could after `wait`.
    Denied { ahead: u64, wait: u64 },
    /// There is no place for another key: all are in use.
    NoPlace,
}

/// The timestamps of all keys of one policy.
pub struct Table {
    places: Box<[Place]>,
    /// Groups less one; a power of two less one.
    mask: u64,
}

#[derive(Default)]
struct Place {
    time: AtomicU64,
    owner: AtomicU64,
}

/// `time` as it was read: what a compare-and-swap of it expects.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen(u64);

impl Seen {
    fn new(moment: u64, live: bool) -> Seen {
        Seen(moment << 1 | u64::from(live))
    }

    fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }

    fn moment(self) -> u64 {
        self.0 >> 1
    }

    fn incarnation(self) -> u64 {
        self.moment() & INCARNATION
    }
}

/// Where the key stands, as one look at its places shows it.
enum Found<'a> {
    Live(&'a Place, Seen),
    /// The first claim. The other claims of the key have been withdrawn since.
    Claimed(&'a Place, Seen),
    /// Nowhere; this place may be had.
    Vacant(&'a Place, Seen),
    /// Nowhere, and no bucket is full.
    NoPlace,
    /// Something changed meanwhile.
    Again,
}

/// What is vacant in one of the groups of a key.
#[derive(Default)]
struct Row<'a> {
    count: u32,
    rank: u32,
    best: Option<(&'a Place, Seen)>,
}

impl Table {
    /// A table for this many keys whose buckets are not full. It has twice as many places, so that the keys of
    /// one row run out of them only when the table is as good as full.
    pub fn new(keys_max: u64) -> Table {
        let groups = (keys_max.max(1) as usize * 2).div_ceil(GROUP).next_power_of_two().max(2);
        Table {
            places: std::iter::repeat_with(Place::default).take(groups * GROUP).collect(),
            mask: groups as u64 - 1,
        }
    }

    /// Draws one request of the key with this hash at this moment, in [`PARTS`] of a nanosecond.
    pub fn draw(&self, hash: u64, now: u64, allowance: Allowance) -> Drawn {
        // 0 is the owner of places that nobody has had yet.
        let key = (hash | 1 << 63) & !INCARNATION;
        // The claim that was seen when the last look began.
        let mut claim: Option<(*const Place, Seen)> = None;
        loop {
            match self.find(hash, key, now) {
                Found::Live(place, seen) => {
                    if let Some(drawn) = place.advance(seen, now, allowance) {
                        return drawn;
                    }
                    claim = None;
                }
                Found::Claimed(place, seen) => {
                    let this = (std::ptr::from_ref(place), seen);
                    if claim != Some(this) {
                        // Seen for the first time: everything has to be looked at once more.
                        claim = Some(this);
                        continue;
                    }
                    if let Some(drawn) = place.advance(seen, now, allowance) {
                        return drawn;
                    }
                    claim = None;
                }
                Found::Vacant(place, seen) => {
                    place.claim(seen, key);
                    claim = None;
                }
                Found::NoPlace => return Drawn::NoPlace,
                Found::Again => claim = None,
            }
        }
    }

    /// Keys whose buckets are not full at this moment. For tests and statistics: it looks at every place.
    pub fn used(&self, now: u64) -> usize {
        let used = |place: &&Place| {
            let seen = place.seen();
            seen.is_live() && seen.moment() > now
        };
        self.places.iter().filter(used).count()
    }

    /// The two groups of a key.
    fn groups(&self, hash: u64) -> [&[Place]; 2] {
        // The first from bits that the owner's word does not hold. The second must differ from it, and must not be the
        // same function of it for all keys.
        let first = (hash ^ hash >> 32) & self.mask;
        let step = (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & self.mask;
        let second = (first + step.max(1)) & self.mask;
        [first, second].map(|group| {
            let start = group as usize * GROUP;
            self.places.get(start..start + GROUP).unwrap_or_default()
        })
    }

    fn find(&self, hash: u64, key: u64, now: u64) -> Found<'_> {
        let groups = self.groups(hash);
        let mut claimed: Option<(&Place, Seen)> = None;
        let mut rows: [Row<'_>; 2] = Default::default();
        for (group, row) in groups.into_iter().zip(&mut rows) {
            for place in group {
                let seen = place.seen();
                let owner = place.owner.load(SeqCst);
                let decided = is_decided(owner, seen);
                if decided && owner & !INCARNATION == key {
                    if seen.is_live() {
                        return Found::Live(place, seen);
                    }
                    match claimed {
                        None => claimed = Some((place, seen)),
                        Some(_) if !place.withdraw(seen) => return Found::Again,
                        Some(_) => {}
                    }
                    continue;
                }
                // Best is what is free; then what has been full for a while; the claim of another key only in need.
                let rank = match (seen.is_live(), decided) {
                    (false, false) => 3,
                    (true, _) if seen.moment().saturating_add(FULL_FOR) < now => 2,
                    (true, _) => continue,
                    (false, true) => 1,
                };
                row.count += 1;
                if rank > row.rank {
                    (row.rank, row.best) = (rank, Some((place, seen)));
                }
            }
        }
        if let Some((place, seen)) = claimed {
            return Found::Claimed(place, seen);
        }
        // Of two groups the emptier: with two choices rows fill evenly (Azar et al., "Balanced Allocations", 1994).
        let [first, second] = rows;
        let place =
            if second.count > first.count { second.best.or(first.best) } else { first.best.or(second.best) };
        place.map_or(Found::NoPlace, |(place, seen)| Found::Vacant(place, seen))
    }

    #[cfg(test)]
    pub(super) fn ways() -> usize {
        2 * GROUP
    }
}

impl Place {
    fn seen(&self) -> Seen {
        #[cfg(test)]
        super::tests::disturb();
        Seen(self.time.load(SeqCst))
    }

    fn replace(&self, seen: Seen, by: Seen) -> bool {
        #[cfg(test)]
        super::tests::disturb();
        self.time.compare_exchange(seen.0, by.0, SeqCst, SeqCst).is_ok()
    }

    /// Draws a request. `None`: the place has changed meanwhile.
    fn advance(&self, seen: Seen, now: u64, allowance: Allowance) -> Option<Drawn> {
        let tat = seen.moment().max(now);
        let next = tat + allowance.interval;
        let ahead = next - now;
        if ahead > allowance.capacity {
            return Some(Drawn::Denied { ahead: tat - now, wait: ahead - allowance.capacity });
        }
        self.replace(seen, Seen::new(next, true)).then_some(Drawn::Allowed { ahead })
    }

    /// Takes the place for a key, or the first step towards it. Whether that worked shows at the next look.
    fn claim(&self, seen: Seen, key: u64) {
        let mut free = seen;
        if seen.is_live() {
            free = Seen::new(seen.moment() + 1, false);
            if !self.replace(seen, free) {
                return;
            }
        }
        let owner = self.owner.load(SeqCst);
        if is_decided(owner, free) {
            // Another key's, which has not become live. Without this a worker that stops in between could keep the place.
            self.withdraw(free);
        } else if self.seen() == free {
            // As long as nobody has claimed this incarnation it cannot end, and a claim would change the owner.
            let _ = self.owner.compare_exchange(owner, key | free.incarnation(), SeqCst, SeqCst);
        }
    }

    /// Makes a claim void. `false`: the place has changed meanwhile.
    fn withdraw(&self, seen: Seen) -> bool {
        self.replace(seen, Seen::new(seen.moment() + 1, false))
    }
}

/// Whether the owner is that of this incarnation. 0: there has been none yet.
fn is_decided(owner: u64, seen: Seen) -> bool {
    owner != 0 && (seen.is_live() || owner & INCARNATION == seen.incarnation())
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("places", &self.places.len()).finish_non_exhaustive()
    }
}
