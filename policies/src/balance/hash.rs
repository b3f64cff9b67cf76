//! Consistent hashing: the same key comes to the same endpoint, on every worker and in every process, and few keys move
//! when endpoints come and go.

use std::net::IpAddr;

use super::Balance;

/// Points of a ring, or slots of a table, that one cluster may have.
pub const TABLE_MAX: u32 = 1 << 20;
/// Other slots of a Maglev table that are looked at before all endpoints are gone through.
const DETOURS_MAX: u64 = 64;

/// FNV-1a with a finish that spreads it over all bits: quick for the short texts that keys are, and the same everywhere.
pub fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The hash of a client's address.
pub fn of_ip(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => hash(&ip.octets()),
        IpAddr::V6(ip) => hash(&ip.octets()),
    }
}

/// The finish of MurmurHash3 (Appleby): each bit of the input changes about half of the output.
pub fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Leads a key to an endpoint. Made once for all workers.
#[derive(Debug, Clone)]
pub enum HashTable {
    /// Points in order, each with its endpoint.
    Ring(Vec<(u64, u32)>),
    /// Endpoints by slot; a prime number of them.
    Maglev(Vec<u32>),
}

impl HashTable {
    /// For endpoints by name and weight; `None` where there are none, or `balance` needs no table. `size` is the least number
    /// of points or slots.
    pub fn build(balance: Balance, endpoints: &[(&str, u32)], size: u32) -> Option<HashTable> {
        let size = size.clamp(endpoints.len() as u32, TABLE_MAX);
        match balance {
            _ if endpoints.is_empty() => None,
            Balance::RingHash => Some(HashTable::Ring(ring(endpoints, size))),
            Balance::Maglev => Some(HashTable::Maglev(maglev(endpoints, next_prime(size)))),
            _ => None,
        }
    }

    /// The endpoint of a key: of those that `usable` takes, the one that comes first. `any_usable` says whether there is one at
    /// all; it is only asked where the first was none.
    pub(super) fn find(
        &self,
        key: u64,
        usable: impl Fn(usize) -> bool,
        any_usable: impl Fn() -> bool,
    ) -> Option<usize> {
        match self {
            HashTable::Ring(points) => {
                let start = points.partition_point(|(point, _)| *point < key);
                let from_start = points.get(start..).into_iter().chain(points.get(..start)).flatten();
                let mut endpoints = from_start.map(|(_, index)| *index as usize);
                let first = endpoints.next()?;
                if usable(first) {
                    return Some(first);
                }
                any_usable().then(|| endpoints.find(|index| usable(*index))).flatten()
            }
            HashTable::Maglev(slots) => {
                let at = |hash: u64| {
                    slots.get((hash % slots.len().max(1) as u64) as usize).map(|index| *index as usize)
                };
                let first = at(key)?;
                if usable(first) {
                    return Some(first);
                }
                if !any_usable() {
                    return None;
                }
                // Each key has detours of its own, so that the load of an endpoint that is gone is spread over all others.
                let detours = (1..=DETOURS_MAX).filter_map(|step| at(mix(key ^ mix(step))));
                let mut found = detours.chain(slots.iter().map(|index| *index as usize));
                found.find(|index| usable(*index))
            }
        }
    }
}

fn ring(endpoints: &[(&str, u32)], size: u32) -> Vec<(u64, u32)> {
    let total: u64 = endpoints.iter().map(|(_, weight)| u64::from((*weight).max(1))).sum();
    // Powers of two, so that what an endpoint has seldom changes with who else is there.
    let each = u64::from(size).div_ceil(total.max(1)).next_power_of_two();
    let most = u64::from(TABLE_MAX) * 2;
    let mut points = Vec::with_capacity((total * each).min(most) as usize);
    for (index, (name, weight)) in endpoints.iter().enumerate() {
        let base = hash(name.as_bytes());
        let weight = u64::from((*weight).max(1));
        let own = if total * each <= most { weight * each } else { (most * weight / total).max(1) };
        // The n-th point of an endpoint is where it is whatever its weight and whoever else is there.
        points.extend((0..own).map(|n| (mix(base ^ mix(n + 1)), index as u32)));
    }
    points.sort_unstable();
    points
}

/// Listing 1 of the paper: endpoints take turns in choosing the next free slot of their own permutation. One with a larger
/// weight has more turns.
fn maglev(endpoints: &[(&str, u32)], size: u32) -> Vec<u32> {
    let size = u64::from(size);
    let heaviest = endpoints.iter().map(|(_, weight)| (*weight).max(1)).max().unwrap_or(1);
    let mut choosers: Vec<Chooser> = endpoints
        .iter()
        .enumerate()
        .map(|(index, (name, weight))| Chooser {
            index: index as u32,
            next: hash(name.as_bytes()) % size,
            skip: mix(hash(name.as_bytes()) ^ 0x9e37_79b9_7f4a_7c15) % (size - 1) + 1,
            weight: u64::from((*weight).max(1)),
            turns: 0,
        })
        .collect();
    // In an order of their own, so that adding an endpoint in the middle of a list changes nothing for the others.
    choosers.sort_unstable_by_key(|chooser| (chooser.next, chooser.skip));
    let mut slots = vec![u32::MAX; size as usize];
    let (mut filled, mut round) = (0, 0_u64);
    while filled < size {
        round += 1;
        for chooser in &mut choosers {
            // After n rounds an endpoint has had n × weight / heaviest turns.
            if chooser.turns * u64::from(heaviest) >= round * chooser.weight {
                continue;
            }
            chooser.turns += 1;
            // A prime size and a skip below it: the permutation comes by every slot, so a free one is found.
            while let Some(slot) = slots.get_mut(chooser.next as usize) {
                chooser.next = (chooser.next + chooser.skip) % size;
                if *slot == u32::MAX {
                    *slot = chooser.index;
                    break;
                }
            }
            filled += 1;
            if filled == size {
                break;
            }
        }
    }
    slots
}

struct Chooser {
    index: u32,
    next: u64,
    skip: u64,
    weight: u64,
    turns: u64,
}

/// The first prime from `from` on, at least 3.
fn next_prime(from: u32) -> u32 {
    let is_prime = |n: &u32| {
        *n > 2 && n % 2 == 1 && (3..).step_by(2).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d))
    };
    (from..=u32::MAX).find(is_prime).unwrap_or(65_537)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Balance; 2] = [Balance::RingHash, Balance::Maglev];

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("10.0.0.{n}:9000")).collect()
    }

    fn table(balance: Balance, names: &[String], weights: impl Fn(usize) -> u32) -> HashTable {
        let endpoints: Vec<(&str, u32)> =
            names.iter().enumerate().map(|(at, name)| (name.as_str(), weights(at))).collect();
        HashTable::build(balance, &endpoints, 65_537).expect("a table")
    }

    /// Where each of many keys leads, by name.
    fn where_to<'n>(table: &HashTable, names: &'n [String], usable: impl Fn(usize) -> bool) -> Vec<&'n str> {
        let find = |key: u64| table.find(mix(key), &usable, || true).expect("an endpoint");
        (0..20_000).map(|key| names[find(key)].as_str()).collect()
    }

    fn counts(of: &[&str], names: &[String]) -> Vec<usize> {
        names.iter().map(|name| of.iter().filter(|to| **to == name.as_str()).count()).collect()
    }

    #[test]
    fn keys_are_spread_by_weight() {
        for balance in KINDS {
            let names = names(10);
            let even = counts(&where_to(&table(balance, &names, |_| 1), &names, |_| true), &names);
            assert!(even.iter().all(|hits| (1_700..2_300).contains(hits)), "{balance:?} {even:?}");
            let heavy = |at: usize| if at == 3 { 11 } else { 1 };
            let uneven = counts(&where_to(&table(balance, &names, heavy), &names, |_| true), &names);
            assert!((10_000..12_000).contains(&uneven[3]), "{balance:?} {uneven:?}");
        }
    }

    #[test]
    fn an_endpoint_that_is_added_takes_keys_from_all_and_moves_no_others() {
        for balance in KINDS {
            let (few, many) = (names(10), names(11));
            let before = where_to(&table(balance, &few, |_| 1), &few, |_| true);
            let after = where_to(&table(balance, &many, |_| 1), &many, |_| true);
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            let to_others = before.iter().zip(&after).filter(|(a, b)| a != b && **b != many[10]).count();
            // A ring moves only what the new one takes (1/11); Maglev shuffles a few more (figure 12 of the paper).
            let strays_max = if balance == Balance::RingHash { 0 } else { 600 };
            assert!((1_400..2_800).contains(&moved), "{balance:?}: {moved} moved");
            assert!(to_others <= strays_max, "{balance:?}: {to_others} moved among the old ones");
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        for balance in KINDS {
            let sorted = names(9);
            let mut reversed = sorted.clone();
            reversed.reverse();
            let one = where_to(&table(balance, &sorted, |_| 1), &sorted, |_| true);
            let other = where_to(&table(balance, &reversed, |_| 1), &reversed, |_| true);
            assert_eq!(one, other, "{balance:?}");
        }
    }

    #[test]
    fn an_endpoint_that_cannot_be_used_leaves_its_keys_to_all_others_and_gets_them_back() {
        for balance in KINDS {
            let names = names(8);
            let table = table(balance, &names, |_| 1);
            let before = where_to(&table, &names, |_| true);
            let without = where_to(&table, &names, |index| index != 5);
            for (was, is) in before.iter().zip(&without) {
                assert!(*is != names[5] && (was == is || *was == names[5]), "{balance:?}: {was} to {is}");
            }
            let heirs: Vec<&str> =
                before.iter().zip(&without).filter(|(was, _)| **was == names[5]).map(|(_, is)| *is).collect();
            let heirs = counts(&heirs, &names);
            let each = heirs.iter().sum::<usize>() / 7;
            let fair = |hits: &usize| (each / 2..=each * 2).contains(hits);
            assert!(
                heirs.iter().enumerate().all(|(at, hits)| at == 5 || fair(hits)),
                "{balance:?}: {heirs:?}"
            );
        }
    }

    #[test]
    fn no_endpoint_is_found_where_none_is_usable() {
        for balance in KINDS {
            let names = names(4);
            assert_eq!(table(balance, &names, |_| 1).find(7, |_| false, || false), None);
            assert!(HashTable::build(balance, &[], 1_000).is_none());
            assert_eq!(table(balance, &names[..1], |_| 1).find(7, |_| true, || true), Some(0));
        }
    }

    #[test]
    fn tables_are_as_large_as_the_next_prime() {
        for (from, expected) in [(0, 3), (3, 3), (4, 5), (1_000, 1_009), (65_537, 65_537), (65_538, 65_539)] {
            assert_eq!(next_prime(from), expected, "{from}");
        }
    }

    #[test]
    fn a_hash_stays_what_it_is() {
        // Proxies of different versions in front of the same endpoints must agree.
        assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash(b"10.0.0.1:9000"), hash(b"10.0.0.1:9000"));
        assert_ne!(hash(b"a"), hash(b"b"));
        assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c);
    }
}
