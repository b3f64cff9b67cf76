//! Seconds since 1970 → dates as text, in UTC.
//!
//! The conversion is `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use std::fmt::Write;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A date and time of day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

fn civil(seconds: u64) -> Civil {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that a leap day ends its year.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    Civil {
        year: year_of_era + era * 400 + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted + 2) / 5 + 1,
        hour: rest / 3_600,
        minute: rest / 60 % 60,
        second: rest % 60,
    }
}

/// Appends `2026-01-02T03:04:05.678Z` (RFC 3339).
pub fn push_iso(out: &mut String, seconds: u64, millis: u32) {
    let Civil { year, month, day, hour, minute, second } = civil(seconds);
    // Writing to a String cannot fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z");
}

/// Appends `02/Jan/2026:03:04:05 +0000`, the time of the combined log format.
pub fn push_clf(out: &mut String, seconds: u64) {
    let Civil { year, month, day, hour, minute, second } = civil(seconds);
    let month = MONTHS.get(month as usize - 1).copied().unwrap_or("Jan");
    let _ = write!(out, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
}

/// Appends `Sun, 06 Nov 1994 08:49:37 GMT`, the date of HTTP (RFC 9110 section 5.6.7).
pub fn push_http(out: &mut String, seconds: u64) {
    let Civil { year, month, day, hour, minute, second } = civil(seconds);
    let month = MONTHS.get(month as usize - 1).copied().unwrap_or("Jan");
    // 1970 began on a Thursday.
    let weekday = WEEKDAYS.get((seconds / 86_400 % 7) as usize).copied().unwrap_or("Thu");
    let _ = write!(out, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        // Made with `date -u -d @SECONDS`.
        let table = [
            (0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000"),
            (951_782_399, "2000-02-28T23:59:59.000Z", "28/Feb/2000:23:59:59 +0000"),
            (951_782_400, "2000-02-29T00:00:00.000Z", "29/Feb/2000:00:00:00 +0000"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z", "31/Dec/2025:23:59:59 +0000"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z", "01/Mar/2100:00:00:00 +0000"),
        ];
        for (seconds, iso, clf) in table {
            let (mut a, mut b) = (String::new(), String::new());
            push_iso(&mut a, seconds, 0);
            push_clf(&mut b, seconds);
            assert_eq!((a.as_str(), b.as_str()), (iso, clf));
        }
    }

    #[test]
    fn seconds_become_dates_of_http() {
        // The first is the example of RFC 9110 section 5.6.7.
        for (seconds, date) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
        ] {
            let mut text = String::new();
            push_http(&mut text, seconds);
            assert_eq!(text, date);
        }
    }
}
