//! Durations, sizes and percentages as people write them: `1m30s`, `64KiB`, `50%`.
//!
//! Reading is strict: one spelling of each unit, whole numbers, units from large to small, each once.

use std::time::Duration;

/// Why a text is not a quantity: a sentence about what to write instead.
pub type Hint = Option<String>;

const SECOND: u64 = 1_000_000;
/// Units of a duration in microseconds, from large to small.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000),
    ("us", 1),
];

/// Units of a size in bytes; what is shown uses the binary ones.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `5s`, `200ms`, `1m30s`, `0`. The error says what to write instead, where that can be guessed.
pub fn parse_duration(text: &str) -> Result<Duration, Hint> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut micros: u64 = 0;
    let mut rest = text;
    let mut units = DURATION_UNITS.iter();
    if rest.is_empty() {
        return Err(None);
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(|| duration_hint(text))?;
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (name, next) = after.split_at(unit_len);
        // Searching onwards from the last unit refuses repeated and rising units.
        let (_, scale) = units.find(|(unit, _)| *unit == name).ok_or_else(|| duration_hint(text))?;
        let part = number.checked_mul(*scale).ok_or(None)?;
        micros = micros.checked_add(part).ok_or(None)?;
        rest = next;
    }
    Ok(Duration::from_micros(micros))
}

/// Writes a duration so that [`parse_duration`] reads the same again.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0".to_owned();
    }
    let mut out = String::new();
    for (unit, scale) in DURATION_UNITS {
        if rest >= scale {
            out.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    out
}

fn duration_hint(text: &str) -> Hint {
    if let Ok(number) = text.parse::<u64>() {
        return Some(format!("write the unit: `{number}s` or `{number}ms`"));
    }
    if let Some((number, "s" | "sec" | "secs" | "second" | "seconds")) = split_fraction(text) {
        return (number > 0.0 && number < 1e9).then(|| {
            format!("write `{}`", format_duration(Duration::from_millis((number * 1000.0) as u64)))
        });
    }
    let lower = text.to_ascii_lowercase();
    (lower != text && parse_duration(&lower).is_ok()).then(|| format!("write `{lower}`"))
}

fn split_fraction(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Reads `64KiB`, `1MiB`, `10MB`, or a bare number of bytes.
pub fn parse_size(text: &str) -> Result<u64, Hint> {
    let (number, unit) = split_number(text).ok_or_else(|| size_hint(text))?;
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, scale) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| size_hint(text))?;
    number.checked_mul(*scale).ok_or(None)
}

/// Writes a size so that [`parse_size`] reads the same again.
pub fn format_size(bytes: u64) -> String {
    for (unit, scale) in &SIZE_UNITS[..4] {
        if bytes >= *scale && bytes.is_multiple_of(*scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    if bytes == 0 { "0".to_owned() } else { format!("{bytes}B") }
}

fn size_hint(text: &str) -> Hint {
    let (number, unit) = split_number(text)?;
    let letter = unit.trim_start().chars().next()?.to_ascii_uppercase();
    let unit = match letter {
        'K' | 'M' | 'G' | 'T' => format!("{letter}iB"),
        'B' => "B".to_owned(),
        _ => return None,
    };
    Some(format!("write `{number}{unit}`"))
}

/// Reads `50%`.
pub fn parse_percent(text: &str) -> Result<u8, Hint> {
    let Some(number) = text.strip_suffix('%') else {
        let hint = text.parse::<u8>().ok().map(|number| format!("write `{number}%`"));
        return Err(hint);
    };
    match split_number(number) {
        Some((value @ 0..=100, "")) => Ok(value as u8),
        _ => Err(None),
    }
}

/// Splits a whole number off the front.
pub fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        let table: &[(&str, Result<u64, Option<&str>>)] = &[
            ("5s", Ok(5_000_000)),
            ("200ms", Ok(200_000)),
            ("50us", Ok(50)),
            ("1m30s", Ok(90_000_000)),
            ("1d2h3m4s5ms6us", Ok(93_784_005_006)),
            ("0", Ok(0)),
            ("0s", Ok(0)),
            ("", Err(None)),
            ("10", Err(Some("write the unit: `10s` or `10ms`"))),
            ("1.5s", Err(Some("write `1s500ms`"))),
            ("10 seconds", Err(Some("write `10s`"))),
            ("10S", Err(Some("write `10s`"))),
            ("1s1m", Err(None)),
            ("1s1s", Err(None)),
            ("-1s", Err(None)),
            ("s", Err(None)),
            ("5s ", Err(None)),
            ("99999999999999999999s", Err(None)),
            ("999999999999999999d", Err(None)),
            ("١s", Err(None)),
        ];
        for (text, want) in table {
            let want = want.map(Duration::from_micros).map_err(|hint| hint.map(str::to_owned));
            assert_eq!(parse_duration(text), want, "{text:?}");
        }
    }

    #[test]
    fn reads_sizes() {
        let table: &[(&str, Result<u64, Option<&str>>)] = &[
            ("64KiB", Ok(65_536)),
            ("1MiB", Ok(1 << 20)),
            ("10MB", Ok(10_000_000)),
            ("512", Ok(512)),
            ("512B", Ok(512)),
            ("0", Ok(0)),
            ("", Err(None)),
            ("64k", Err(Some("write `64KiB`"))),
            ("64 KiB", Err(Some("write `64KiB`"))),
            ("64m", Err(Some("write `64MiB`"))),
            ("big", Err(None)),
            ("-1", Err(None)),
            ("18446744073709551615TiB", Err(None)),
        ];
        for (text, want) in table {
            assert_eq!(parse_size(text), want.map_err(|hint| hint.map(str::to_owned)), "{text:?}");
        }
    }

    #[test]
    fn reads_percentages() {
        let table: &[(&str, Result<u8, Option<&str>>)] = &[
            ("0%", Ok(0)),
            ("50%", Ok(50)),
            ("100%", Ok(100)),
            ("101%", Err(None)),
            ("50", Err(Some("write `50%`"))),
            ("%", Err(None)),
            ("5.5%", Err(None)),
        ];
        for (text, want) in table {
            assert_eq!(parse_percent(text), want.map_err(|hint| hint.map(str::to_owned)), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let seed = std::process::id() as u64 | 1;
        println!("seed {seed}");
        let mut state = seed;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = state >> (state % 64);
            let duration = Duration::from_micros(value);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration), "seed {seed}: {value}us");
            assert_eq!(parse_size(&format_size(value)), Ok(value), "seed {seed}: {value}B");
        }
    }
}
