//! The grammar of `host [ ":" port ]` (RFC 3986 3.2, RFC 9110 4.2), as narrow as names in use are.
//!
//! Narrower than the RFC on purpose, because hops differ in what they make of the rest: no user information, no
//! percent-encoding, none of the sub-delimiters (a comma joins what two readers split), no empty label but the
//! one after a trailing dot, no IPv6 zone and no IPvFuture.

use std::net::Ipv6Addr;

/// A checked authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address within brackets.
    pub host: &'a [u8],
    /// `None` also where a colon is followed by nothing (RFC 3986 3.2.3).
    pub port: Option<u16>,
}

/// Longest host that is accepted: a DNS name has at most 253 bytes and a trailing dot.
pub const HOST_BYTES_MAX: usize = 255;

/// Splits and checks an authority; `None` where it is not one.
pub fn parse(authority: &[u8]) -> Option<Authority<'_>> {
    let end = if authority.first() == Some(&b'[') { address_end(authority)? } else { name_end(authority)? };
    let (host, rest) = authority.split_at_checked(end)?;
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(parse_port(digits)?),
        _ => return None,
    };
    Some(Authority { host, port })
}

/// Where an IPv6 address in brackets ends.
fn address_end(authority: &[u8]) -> Option<usize> {
    let close = authority.iter().position(|b| *b == b']')?;
    let address = std::str::from_utf8(authority.get(1..close)?).ok()?;
    address.parse::<Ipv6Addr>().ok().map(|_| close + 1)
}

/// Where a name or an IPv4 address ends: at the colon or at the end. In one pass, as this runs for every request.
fn name_end(authority: &[u8]) -> Option<usize> {
    let mut end = authority.len();
    let mut before = Byte::Dot;
    for (at, byte) in authority.iter().enumerate() {
        let class = BYTES.get(usize::from(*byte)).copied().unwrap_or(Byte::Other);
        // Comparisons, and the usual first: what a jump table would lead to is hard to foresee.
        if class != Byte::Name {
            if class == Byte::Colon {
                end = at;
                break;
            }
            if class != Byte::Dot || before == Byte::Dot {
                return None;
            }
        }
        before = class;
    }
    (1..=HOST_BYTES_MAX).contains(&end).then_some(end)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Byte {
    Other,
    Name,
    Dot,
    Colon,
}

const BYTES: [Byte; 256] = {
    let mut table = [Byte::Other; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Byte::Name,
            b'.' => Byte::Dot,
            b':' => Byte::Colon,
            _ => Byte::Other,
        };
        byte += 1;
    }
    table
};

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 {
        return None;
    }
    let mut port = 0u32;
    for digit in digits {
        port = port * 10 + u32::from(digit.checked_sub(b'0').filter(|d| *d < 10)?);
    }
    u16::try_from(port).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_addresses_and_ports() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("example.com.", "example.com.", None),
            ("example.com:", "example.com", None),
            ("my_service:65535", "my_service", Some(65535)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:8080", "[::1]", Some(8080)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("a", "a", None),
        ] {
            let authority = parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} must be accepted"));
            assert_eq!((authority.host, authority.port), (host.as_bytes(), port), "{text}");
        }
    }

    #[test]
    fn refuses_everything_that_two_readers_could_read_differently() {
        for text in [
            "",
            ":80",
            "a,b",
            "a b",
            "user@a",
            "user:pw@a",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:000080",
            "a:+80",
            "a:-1",
            "a: 80",
            "a:80 ",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a%2e",
            "a..b",
            ".a",
            "..",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[::1]]",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "a;b",
            "a&b",
            "a\"",
            "<a>",
            "a\0",
            "ä",
            "a\tb",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(&[b'a'; HOST_BYTES_MAX + 1]), None);
    }
}
