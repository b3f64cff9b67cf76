//! The order in which the addresses of a name are tried.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Sorts out what no connection can be made to, and brings the rest into the order of RFC 8305 section 4: the
/// families take turns, IPv6 first. Destinations for which this host has no route come last (RFC 6724 section 6
/// rule 1). The same set gives the same order whatever the order of the answer, so that a server which rotates its
/// answers makes no news.
pub(super) fn order(
    mut found: Vec<IpAddr>,
    max: usize,
    is_reachable: impl Fn(IpAddr) -> bool,
) -> Vec<IpAddr> {
    for address in &mut found {
        *address = address.to_canonical();
    }
    found.retain(|address| {
        !(address.is_unspecified() || address.is_multicast() || *address == IpAddr::V4(Ipv4Addr::BROADCAST))
    });
    found.sort_unstable();
    found.dedup();
    let (reachable, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| is_reachable(*address));
    let mut ordered = interleave(reachable);
    ordered.extend(interleave(rest));
    ordered.truncate(max);
    ordered
}

fn interleave(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let count = addresses.len();
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut ordered = Vec::with_capacity(count);
    while ordered.len() < count {
        ordered.extend(v6.next());
        ordered.extend(v4.next());
    }
    ordered
}

/// Whether the kernel knows a route. Connecting a datagram socket sends nothing.
pub(super) fn is_reachable(address: IpAddr) -> bool {
    let any: SocketAddr = if address.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0_u8; 4], 0).into() };
    UdpSocket::bind(any).and_then(|socket| socket.connect((address, 9))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &[&str], unreachable: &[&str], max: usize, expected: &[&str]) {
        let parse = |text: &&str| text.parse::<IpAddr>().expect("an address");
        let unreachable: Vec<IpAddr> = unreachable.iter().map(parse).collect();
        let ordered = order(found.iter().map(parse).collect(), max, |a| !unreachable.contains(&a));
        assert_eq!(ordered, expected.iter().map(parse).collect::<Vec<_>>(), "{found:?}");
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        check(&[], &[], 9, &[]);
        check(&["10.0.0.2", "10.0.0.1"], &[], 9, &["10.0.0.1", "10.0.0.2"]);
        check(
            &["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"],
            &[],
            9,
            &["2001:db8::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"],
        );
        check(
            &["10.0.0.1", "2001:db8::1", "2001:db8::2"],
            &[],
            9,
            &["2001:db8::1", "10.0.0.1", "2001:db8::2"],
        );
        check(&["10.0.0.1", "2001:db8::1"], &["2001:db8::1"], 9, &["10.0.0.1", "2001:db8::1"]);
    }

    #[test]
    fn what_cannot_be_connected_to_is_left_out_and_the_rest_bounded() {
        check(&["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"], &[], 9, &[]);
        check(&["::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1"], &[], 9, &["10.0.0.1"]);
        check(&["10.0.0.3", "10.0.0.2", "10.0.0.1"], &[], 2, &["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn loopback_is_reachable() {
        assert!(is_reachable(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
