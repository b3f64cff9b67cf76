//! Address blocks, and sets of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses such as `10.0.0.0/8` or `fd00::/8`.
///
/// IPv4 addresses that arrive mapped into IPv6 (`::ffff:10.0.0.1`, as dual-stack sockets report them) count as the
/// IPv4 addresses that they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub network: IpAddr,
    pub prefix_length: u8,
}

impl Cidr {
    /// Whether the block has this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = mask_v4(self.prefix_in_family());
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = mask_v6(self.prefix_length);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }

    /// The prefix length of the canonical network: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
    fn prefix_in_family(&self) -> u8 {
        if self.network.is_ipv6() { self.prefix_length.saturating_sub(96) } else { self.prefix_length }
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128u32.saturating_sub(prefix.into())).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or one address. Bits beyond the prefix have to be zero.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected =
            || format!("expected an address block such as 10.0.0.0/8, fd00::/8 or 192.0.2.1, found {text:?}");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix_length = match prefix {
            None => longest,
            Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) => {
                prefix.parse().ok().filter(|length| *length <= longest).ok_or_else(expected)?
            }
            Some(_) => return Err(expected()),
        };
        let network = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(prefix_length))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(prefix_length))),
        };
        if network != address {
            return Err(format!(
                "expected no address bits beyond the prefix, found {text:?}: did you mean {network}/{prefix_length}?"
            ));
        }
        Ok(Cidr { network, prefix_length })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_length)
    }
}

/// Many blocks, looked up in one binary search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CidrSet {
    /// Disjoint ranges of addresses, both ends included, in ascending order.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl CidrSet {
    pub fn new(blocks: &[Cidr]) -> CidrSet {
        let mut set = CidrSet::default();
        for block in blocks {
            match block.network.to_canonical() {
                IpAddr::V4(network) => {
                    let mask = mask_v4(block.prefix_in_family());
                    let first = network.to_bits() & mask;
                    set.v4.push((first, first | !mask));
                }
                IpAddr::V6(network) => {
                    let mask = mask_v6(block.prefix_length);
                    let first = network.to_bits() & mask;
                    set.v6.push((first, first | !mask));
                }
            }
        }
        merge(&mut set.v4);
        merge(&mut set.v6);
        set
    }

    /// Whether any block has this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// Sorts ranges and joins those that overlap.
fn merge<T: Copy + Ord>(ranges: &mut Vec<(T, T)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlap = next.0 <= kept.1;
        if overlap {
            kept.1 = kept.1.max(next.1);
        }
        overlap
    });
}

fn within<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|range| range.0 <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| address <= range.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_block_has_the_addresses_of_its_prefix_and_no_other() {
        for (block, address, expected) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "1.2.3.4", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
        ] {
            let address: IpAddr = address.parse().expect("test address");
            assert_eq!(cidr(block).contains(address), expected, "{block} {address}");
            assert_eq!(CidrSet::new(&[cidr(block)]).contains(address), expected, "set of {block}, {address}");
        }
    }

    #[test]
    fn a_set_has_what_any_of_its_blocks_has() {
        let blocks = ["10.0.0.0/8", "10.1.0.0/16", "9.0.0.0/8", "fd00::/8", "::1"].map(cidr);
        let set = CidrSet::new(&blocks);
        for text in
            ["8.255.255.255", "9.0.0.0", "10.1.2.3", "10.255.255.255", "11.0.0.0", "::1", "::2", "fd00::5"]
        {
            let address: IpAddr = text.parse().expect("test address");
            assert_eq!(set.contains(address), blocks.iter().any(|b| b.contains(address)), "{text}");
        }
        assert!(!CidrSet::default().contains(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn refuses_what_is_not_a_block() {
        for text in [
            "",
            "/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "10/8",
            "a/8",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "::1/0",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text:?}");
        }
        assert!("10.0.0.1/8".parse::<Cidr>().unwrap_err().contains("10.0.0.0/8"));
    }

    #[test]
    fn reads_what_it_writes() {
        for text in ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32", "::/0"] {
            assert_eq!(cidr(text).to_string(), text);
        }
    }
}
