//! `grpc-timeout`: at most eight digits and a unit.

use std::time::Duration;

const DIGITS_MAX: usize = 8;
const VALUE_MAX: u128 = 99_999_999;

/// Reads a timeout; `None` where it is not one.
pub fn parse_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Appends a timeout in the finest unit that has room for it, rounded down: what is passed on is never more than is left.
pub fn push_timeout(out: &mut Vec<u8>, timeout: Duration) {
    let units: [(u128, u8); 6] = [
        (timeout.as_nanos(), b'n'),
        (timeout.as_micros(), b'u'),
        (timeout.as_millis(), b'm'),
        (u128::from(timeout.as_secs()), b'S'),
        (u128::from(timeout.as_secs() / 60), b'M'),
        (u128::from(timeout.as_secs() / 3600), b'H'),
    ];
    let (value, unit) = units.into_iter().find(|(value, _)| *value <= VALUE_MAX).unwrap_or((VALUE_MAX, b'H'));
    out.extend_from_slice(value.to_string().as_bytes());
    out.push(unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("2M", Some(Duration::from_secs(120))),
            ("3H", Some(Duration::from_secs(10_800))),
            ("0m", Some(Duration::ZERO)),
            ("100000000n", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("5.5S", None),
            (" 5S", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_never_more() {
        for nanos in [0, 1, 99_999_999, 100_000_000, 123_456_789_012, u64::MAX] {
            let timeout = Duration::from_nanos(nanos);
            let mut text = Vec::new();
            push_timeout(&mut text, timeout);
            let read = parse_timeout(&text).unwrap();
            assert!(read <= timeout, "{nanos}");
            assert!(timeout - read <= timeout / 1000, "{nanos}: {text:?}");
        }
    }
}
