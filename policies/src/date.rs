//! Dates of a configuration and of HTTP, as seconds since 1970. Days are counted as Howard Hinnant's
//! `days_from_civil` does ("chrono-Compatible Low-Level Date Algorithms").

/// Reads `2026-11-30` (its start) or `2026-11-30T12:00:00Z`: RFC 3339 in UTC, from 1970 to 9999.
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let days = days_in(year, month)?;
    if year < 1970 || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// `Wed, 15 Nov 2023 00:00:00 GMT` (RFC 9110 5.6.7).
pub fn http(unix_secs: u64) -> String {
    let (year, month, day) = civil(unix_secs / 86_400);
    let pick =
        |names: &str, at: u64| names.get(at as usize * 3..at as usize * 3 + 3).unwrap_or_default().to_owned();
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        pick("ThuFriSatSunMonTueWed", unix_secs / 86_400 % 7),
        pick("JanFebMarAprMayJunJulAugSepOctNovDec", month - 1),
        unix_secs / 3600 % 24,
        unix_secs / 60 % 60,
        unix_secs % 60
    )
}

/// `2026-11-30T12:00:00Z`.
pub fn rfc3339(unix_secs: u64) -> String {
    let (year, month, day) = civil(unix_secs / 86_400);
    let (hour, minute, second) = (unix_secs / 3600 % 24, unix_secs / 60 % 60, unix_secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Three numbers of exactly these lengths.
fn numbers(text: &str, between: char, lengths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut read = [0; 3];
    for (slot, length) in read.iter_mut().zip(lengths) {
        let part =
            parts.next().filter(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))?;
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(read)
}

fn days_in(year: u64, month: u64) -> Option<u64> {
    let leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(leap),
        _ => return None,
    })
}

/// For years from 1970 on. Years start in March, so that the leap day is the last one.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        for (text, secs, http_date) in [
            ("1970-01-01", 0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("1994-11-06T08:49:37Z", 784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("2000-02-29", 951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            ("2023-06-30T23:59:59Z", 1_688_169_599, "Fri, 30 Jun 2023 23:59:59 GMT"),
            ("2026-12-31T23:59:59Z", 1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            ("2100-03-01", 4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(parse(text), Some(secs), "{text}");
            assert_eq!(http(secs), http_date);
            assert_eq!(parse(&rfc3339(secs)), Some(secs), "{text}");
        }
    }

    #[test]
    fn every_day_comes_back() {
        for days in (0..2_932_897).step_by(13) {
            assert_eq!(parse(&rfc3339(days * 86_400 + 5)), Some(days * 86_400 + 5));
        }
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2026-04-31",
            "2026-01-00",
            "1969-12-31",
            "26-01-01",
            "2026-1-1",
            "2026-01-01T",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+01:00",
            "2026-01-01 00:00:00Z",
            "2026-01-01-01",
            "+026-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
