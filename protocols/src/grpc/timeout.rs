//! `grpc-timeout`: at most eight digits and a unit (the protocol, "Timeout").

use std::time::Duration;

const DIGITS_MAX: usize = 8;

/// Units from the finest to the coarsest, in nanoseconds.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60 * 1_000_000_000),
    (b'H', 3_600 * 1_000_000_000),
];

/// `None` for what is not a time-out.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'));
    let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    // Eight digits of hours are more nanoseconds than 64 bits hold.
    let nanos = u128::from(count) * u128::from(*nanos);
    Some(Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32))
}

/// The finest unit that has room, rounded down so that time is never added.
pub fn render_timeout(timeout: Duration) -> String {
    let nanos = timeout.as_nanos();
    let fits = |(_, unit): &&(u8, u64)| nanos / u128::from(*unit) < 10_u128.pow(DIGITS_MAX as u32);
    match UNITS.iter().find(fits) {
        Some((letter, unit)) => format!("{}{}", nanos / u128::from(*unit), char::from(*letter)),
        None => "99999999H".to_owned(),
    }
}
