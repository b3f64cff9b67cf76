//! When a match holds: days, hours of the day, and a span of dates.

use std::fmt;

/// A window of time. What is not given does not restrict it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TimeWindow {
    /// Seconds since 1970 from which on, and before which, it holds.
    pub start: Option<u64>,
    pub end: Option<u64>,
    /// Bit 0 is Monday; 0: every day.
    pub days: u8,
    /// Seconds of the day. Where `to` is not after `from`, the window goes over midnight and belongs to the day on which
    /// it begins.
    pub from: Option<u32>,
    pub to: Option<u32>,
    /// Of `days`, `from` and `to`; seconds east of UTC. There are no daylight-saving rules.
    pub utc_offset: i32,
}

/// Names of days, from Monday.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const DAY: i64 = 86_400;

impl TimeWindow {
    /// Whether it holds at this moment, in seconds since 1970.
    pub fn holds(&self, unix_secs: u64) -> bool {
        if self.start.is_some_and(|start| unix_secs < start) || self.end.is_some_and(|end| unix_secs >= end) {
            return false;
        }
        let local = i64::try_from(unix_secs).unwrap_or(i64::MAX / 2) + i64::from(self.utc_offset);
        // 1970-01-01 was a Thursday.
        let weekday = (local.div_euclid(DAY) + 3).rem_euclid(7) as u32;
        let second = local.rem_euclid(DAY) as u32;
        let from = self.from.unwrap_or(0);
        let to = self.to.unwrap_or(DAY as u32);
        if from < to {
            return self.has_day(weekday) && (from..to).contains(&second);
        }
        (self.has_day(weekday) && second >= from) || (self.has_day((weekday + 6) % 7) && second < to)
    }

    fn has_day(&self, weekday: u32) -> bool {
        self.days == 0 || self.days & (1 << weekday) != 0
    }

    /// Reads `2026-11-27T18:00:00Z`, or with an offset such as `+01:00` (RFC 3339).
    pub fn parse_moment(text: &str) -> Option<u64> {
        let (date, rest) = text.split_once(['T', 't'])?;
        let mut parts = date.splitn(3, '-');
        let (year, month, day) =
            (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
        let (time, offset) = rest.split_at_checked(8)?;
        let mut parts = time.splitn(3, ':');
        let (hour, minute, second) =
            (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
        let offset = if matches!(offset, "Z" | "z") { 0 } else { TimeWindow::parse_offset(offset)? };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=12).contains(&month) || !(1..=last).contains(&day) || hour > 23 || minute > 59 || second > 59
        {
            return None;
        }
        let days = days_since_1970(i64::from(year), i64::from(month), i64::from(day));
        let seconds = days * DAY + i64::from(hour * 3600 + minute * 60 + second) - i64::from(offset);
        u64::try_from(seconds).ok()
    }

    /// Reads `09:30` or `24:00`, in seconds.
    pub fn parse_clock(text: &str) -> Option<u32> {
        let (hours, minutes) = text.split_once(':')?;
        let seconds = digits(hours, 2)? * 3600 + digits(minutes, 2).filter(|minutes| *minutes < 60)? * 60;
        (seconds <= DAY as u32).then_some(seconds)
    }

    /// Reads `+02:00`, in seconds.
    pub fn parse_offset(text: &str) -> Option<i32> {
        let (sign, rest) = match text.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let seconds = TimeWindow::parse_clock(rest).filter(|seconds| *seconds <= 18 * 3600)?;
        Some(sign * i32::try_from(seconds).ok()?)
    }
}

fn digits(text: &str, count: usize) -> Option<u32> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.days != 0 {
            let days = DAYS.iter().enumerate().filter(|(bit, _)| self.days & (1 << bit) != 0);
            parts.push(days.map(|(_, day)| *day).collect::<Vec<_>>().join(" "));
        }
        let clock = |seconds: u32| format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
        parts.extend(self.from.map(|from| format!("from {}", clock(from))));
        parts.extend(self.to.map(|to| format!("to {}", clock(to))));
        if self.utc_offset != 0 {
            let sign = if self.utc_offset < 0 { '-' } else { '+' };
            parts.push(format!("at UTC{sign}{}", clock(self.utc_offset.unsigned_abs())));
        }
        parts.extend(self.start.map(|start| format!("since {start}")));
        parts.extend(self.end.map(|end| format!("until {end}")));
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(day: u64, hour: u64, minute: u64) -> u64 {
        // 2026-11-23 is a Monday.
        1_795_392_000 + day * 86_400 + hour * 3600 + minute * 60
    }

    #[test]
    fn moments_are_read_strictly() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-11-23T00:00:00Z", Some(at(0, 0, 0))),
            ("2026-11-23T02:00:00+02:00", Some(at(0, 0, 0))),
            ("2026-11-22T19:00:00-05:00", Some(at(0, 0, 0))),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-23T24:00:00Z", None),
            ("2026-11-23", None),
            ("2026-11-23T00:00:00", None),
            ("1969-12-31T23:59:59Z", None),
            ("26-11-23T00:00:00Z", None),
        ] {
            assert_eq!(TimeWindow::parse_moment(text), expected, "{text}");
        }
        for (text, expected) in [
            ("09:30", Some(34_200)),
            ("24:00", Some(86_400)),
            ("24:01", None),
            ("9:30", None),
            ("09:60", None),
        ] {
            assert_eq!(TimeWindow::parse_clock(text), expected, "{text}");
        }
        assert_eq!(TimeWindow::parse_offset("-05:30"), Some(-19_800));
        assert_eq!(TimeWindow::parse_offset("05:30"), None);
    }

    #[test]
    fn a_window_holds_on_its_days_within_its_hours() {
        let hours = |days, from: &str, to: &str, utc_offset| TimeWindow {
            days,
            from: TimeWindow::parse_clock(from),
            to: TimeWindow::parse_clock(to),
            utc_offset,
            ..TimeWindow::default()
        };
        let weekdays = 0b001_1111;
        for (window, moment, expected) in [
            (hours(weekdays, "09:00", "17:00", 0), at(0, 9, 0), true),
            (hours(weekdays, "09:00", "17:00", 0), at(0, 8, 59), false),
            (hours(weekdays, "09:00", "17:00", 0), at(0, 17, 0), false),
            (hours(weekdays, "09:00", "17:00", 0), at(5, 12, 0), false),
            (hours(weekdays, "09:00", "17:00", 3600), at(0, 8, 0), true),
            // Friday night belongs to Friday until it ends.
            (hours(0b001_0000, "22:00", "06:00", 0), at(4, 23, 0), true),
            (hours(0b001_0000, "22:00", "06:00", 0), at(5, 5, 59), true),
            (hours(0b001_0000, "22:00", "06:00", 0), at(5, 6, 0), false),
            (hours(0b001_0000, "22:00", "06:00", 0), at(4, 5, 0), false),
            (hours(0, "00:00", "24:00", 0), at(3, 23, 59), true),
            (TimeWindow::default(), 0, true),
            (TimeWindow { start: Some(10), end: Some(20), ..TimeWindow::default() }, 9, false),
            (TimeWindow { start: Some(10), end: Some(20), ..TimeWindow::default() }, 10, true),
            (TimeWindow { start: Some(10), end: Some(20), ..TimeWindow::default() }, 20, false),
        ] {
            assert_eq!(window.holds(moment), expected, "{window} at {moment}");
        }
    }
}
