//! Which of several weighted targets a request goes to: by chance, or always the same one for the same key.

use ringway_protocols::message::RequestHead;
use std::net::IpAddr;

/// What decides where a request belongs, so that a client stays with one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitKey {
    /// The value of a header, by its lower-case name.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The address of the client.
    Client,
}

impl SplitKey {
    /// The hash of the request's key; `None` where the request does not bring one.
    pub fn hash(&self, head: &RequestHead, bytes: &[u8], client: Option<IpAddr>) -> Option<u64> {
        match self {
            SplitKey::Header(name) => {
                let mut fields = head.fields.iter();
                let field =
                    fields.find(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))?;
                Some(hash(field.value.of(bytes)))
            }
            SplitKey::Cookie(name) => cookie(head, bytes, name).map(hash),
            SplitKey::Client => Some(match client? {
                IpAddr::V4(address) => hash(&address.octets()),
                IpAddr::V6(address) => hash(&address.octets()),
            }),
        }
    }
}

/// The value of the first cookie of that name.
pub(crate) fn cookie<'a>(head: &RequestHead, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let cookies = head.fields.iter().filter(|field| field.name.of(bytes).eq_ignore_ascii_case(b"cookie"));
    let mut crumbs = cookies.flat_map(|field| crumbs(field.value.of(bytes)));
    crumbs.find(|(crumb, _)| *crumb == name.as_bytes()).map(|(_, value)| value)
}

/// The pairs of a `Cookie` field (RFC 6265 4.2.1).
fn crumbs(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|c| *c == b';').filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|c| *c == b'=')?;
        Some((pair.get(..equals)?, pair.get(equals + 1..)?))
    })
}

/// The target for a fresh random value, each as often as its weight says; `None` where every weight is 0.
pub fn by_chance(random: u64, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    // Maps the random value to 0..total without a division (Lemire 2019); the bias is below total / 2^64.
    let mut point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    for (index, weight) in weights.enumerate() {
        let weight = u64::from(weight);
        if point < weight {
            return Some(index);
        }
        point -= weight;
    }
    None
}

/// The target of a key, by weighted rendezvous hashing (Schindelhauer and Schomaker 2005): each target draws a number from
/// the key and its own name, and the largest wins. A weight that changes moves keys only to or from that target.
/// `targets` are salts ([`hash`] of a name) and weights; `None` where every weight is 0.
pub fn by_key(key: u64, targets: impl Iterator<Item = (u64, u32)>) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for (index, (salt, weight)) in targets.enumerate().filter(|(_, (_, weight))| *weight > 0) {
        // 53 random bits in (0, 1), of which the logarithm is below 0.
        let drawn = ((mix(key ^ salt) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let score = f64::from(weight) / -drawn.ln();
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, index));
        }
    }
    best.map(|(_, index)| index)
}

/// A hash that is the same in every process: FNV-1a, then stirred.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests;
