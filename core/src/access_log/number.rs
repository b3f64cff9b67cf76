//! Numbers and addresses as text, without the cost of `format!`.

use std::io::Write;
use std::net::IpAddr;

/// Appends `value` in decimal.
#[inline]
pub(super) fn push_number(out: &mut Vec<u8>, mut value: u64) {
    // 20 digits hold every u64.
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        used += 1;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// Appends milliseconds as three digits.
#[inline]
pub(super) fn push_millis(out: &mut Vec<u8>, millis: u32) {
    let digit = |n: u32| b'0' + (n % 10) as u8;
    out.extend_from_slice(&[digit(millis / 100), digit(millis / 10), digit(millis)]);
}

#[inline]
pub(super) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            for (index, part) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, u64::from(part));
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_format_writes_them() {
        for value in [0, 1, 9, 10, 99, 100, 1_234_567, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
        for millis in [0, 7, 42, 999] {
            let mut out = Vec::new();
            push_millis(&mut out, millis);
            assert_eq!(out, format!("{millis:03}").as_bytes());
        }
    }

    #[test]
    fn addresses_read_as_format_writes_them_and_mapped_ones_as_ipv4() {
        for (ip, expected) in
            [("127.0.0.1", "127.0.0.1"), ("2001:db8::1", "2001:db8::1"), ("::ffff:10.2.0.255", "10.2.0.255")]
        {
            let mut out = Vec::new();
            push_ip(&mut out, ip.parse().expect("an address"));
            assert_eq!(out, expected.as_bytes());
        }
    }
}
