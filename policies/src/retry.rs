//! Whether a request that came to nothing is sent again, and when. Pure: time and randomness are parameters, and what is
//! counted over all workers is two atomic numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use ringway_protocols::grpc::Status;
use ringway_protocols::message::Method;

/// What a route says about sending a request again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryConfig {
    pub on: Conditions,
    /// Statuses of a gRPC response without messages after which a call is sent again.
    pub grpc: Vec<Status>,
    /// How often a request is sent, the first time included.
    pub attempts_max: u32,
    /// Also requests whose method does not say that doing them twice is doing them once (RFC 9110 9.2.2).
    pub any_method: bool,
    /// The wait before the first retry, before jitter; it doubles with each.
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// The longest `Retry-After` that is waited for. A response that asks for more is passed on.
    pub retry_after_max: Duration,
    /// Bytes of a request body that are kept to be sent again.
    pub body_bytes_max: usize,
}

/// What a request is sent again after.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    pub connect_failure: bool,
    pub reset: bool,
    pub refused_stream: bool,
    pub timeout: bool,
    /// A 429 or 503 that says when to come back.
    pub retry_after: bool,
    /// Statuses, as ranges.
    pub statuses: Vec<(u16, u16)>,
}

/// The words of [`Conditions`] besides statuses such as `503` and classes such as `5xx`.
pub const WORDS: &[&str] =
    &["connect_failure", "reset", "refused_stream", "timeout", "gateway_error", "retry_after"];

impl Conditions {
    /// Adds one condition; `false` where the word is none.
    pub fn add(&mut self, word: &str) -> bool {
        match word {
            "connect_failure" => self.connect_failure = true,
            "reset" => self.reset = true,
            "refused_stream" => self.refused_stream = true,
            "timeout" => self.timeout = true,
            "gateway_error" => self.statuses.push((502, 504)),
            "retry_after" => self.retry_after = true,
            "4xx" => self.statuses.push((400, 499)),
            "5xx" => self.statuses.push((500, 599)),
            digits => match digits.parse() {
                Ok(status @ 400..=599) => self.statuses.push((status, status)),
                _ => return false,
            },
        }
        true
    }

    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }
}

/// How a try came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// No connection was made: the request was not sent.
    ConnectFailure,
    /// The connection or the stream ended before a response began.
    Reset,
    /// The origin says that it did nothing with the request.
    RefusedStream,
    /// No response head in the time of one try.
    Timeout,
    /// A final response, with the time that its `Retry-After` asks for.
    Status(u16, Option<Duration>),
    Grpc(Status),
}

impl RetryConfig {
    /// What to wait before the next try after `tries` tries; `None`: there is none. `random` is a fresh random value.
    pub fn wait(&self, event: Event, tries: u32, method: Method, random: u64) -> Option<Duration> {
        if tries >= self.attempts_max || !self.is_listed(event) || !self.is_safe(event, method) {
            return None;
        }
        let backoff = self.backoff(tries, random);
        match event {
            Event::Status(_, Some(asked)) if asked > self.retry_after_max => None,
            // The jitter on top keeps those who were told the same from coming back at once.
            Event::Status(_, Some(asked)) => Some(asked + backoff),
            _ => Some(backoff),
        }
    }

    /// Whether a response of this status may be worth another try, as far as the status tells.
    pub fn considers(&self, status: u16) -> bool {
        status >= 400 && (self.lists(status) || (self.on.retry_after && matches!(status, 429 | 503)))
    }

    fn lists(&self, status: u16) -> bool {
        self.on.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    fn is_listed(&self, event: Event) -> bool {
        match event {
            Event::ConnectFailure => self.on.connect_failure,
            Event::Reset => self.on.reset,
            Event::RefusedStream => self.on.refused_stream,
            Event::Timeout => self.on.timeout,
            Event::Status(status, after) => {
                self.lists(status) || (self.on.retry_after && matches!(status, 429 | 503) && after.is_some())
            }
            Event::Grpc(status) => self.grpc.contains(&status),
        }
    }

    /// Whether nothing is done twice, or it is the same to do it twice.
    fn is_safe(&self, event: Event, method: Method) -> bool {
        // Who lists a status of gRPC knows what it means for the methods of the route: all calls are POST.
        matches!(event, Event::ConnectFailure | Event::RefusedStream | Event::Grpc(_))
            || self.any_method
            || method.is_idempotent()
    }

    /// "Full jitter" (Brooker, "Exponential Backoff and Jitter", 2015): anything from 0 to the doubled wait.
    fn backoff(&self, tries: u32, random: u64) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << tries.saturating_sub(1).min(16));
        let ceiling = doubled.min(self.backoff_max).as_nanos();
        Duration::from_nanos(((u128::from(random) * ceiling) >> 64) as u64)
    }
}

/// The time that a `Retry-After` asks for (RFC 9110 10.2.3). `unix_secs` is the time now; `None` where the field makes no
/// sense.
pub fn parse_retry_after(value: &[u8], unix_secs: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large for us is a time that is too far away.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    parse_date(text).map(|at| Duration::from_secs(at.saturating_sub(unix_secs)))
}

/// An IMF-fixdate (RFC 9110 5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`, in seconds since 1970.
fn parse_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|n| *n <= 60));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if words.next()? != "GMT" {
        return None;
    }
    // `days_from_civil` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// How many of a route's requests may be retries at a time, over all workers.
///
/// A share of what is under way, and not of what was: when an origin slows down or fails, requests pile up or fall away,
/// and retries with them. They can never be more than the share, whatever happens.
#[derive(Debug)]
pub struct RetryBudget {
    pub percent: u32,
    /// Retries that may run whatever the share comes to.
    pub retries_min: u32,
    counts: Arc<Counts>,
}

/// Two numbers that all workers change, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    /// Requests under way, those that are being retried among them.
    active: AtomicU32,
    retrying: AtomicU32,
}

/// A request under way; not any more when dropped.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Counts>);

/// A place in the budget; free again when dropped.
#[derive(Debug)]
pub struct BudgetPlace(Arc<Counts>);

impl RetryBudget {
    pub fn new(percent: u32, retries_min: u32) -> RetryBudget {
        RetryBudget { percent, retries_min, counts: Arc::default() }
    }

    /// Goes on counting where `old` is, so that a reload does not open the budget anew.
    pub fn adopt(&mut self, old: &RetryBudget) {
        self.counts = Arc::clone(&old.counts);
    }

    /// Counts a request in.
    pub fn enter(&self) -> ActiveRequest {
        self.counts.active.fetch_add(1, Relaxed);
        ActiveRequest(Arc::clone(&self.counts))
    }

    /// A place for a request that is to be sent again; `None` when the budget is used up.
    pub fn begin_retry(&self) -> Option<BudgetPlace> {
        let Counts { active, retrying } = &*self.counts;
        let admit = |now: u32| {
            let share = u64::from(active.load(Relaxed)) * u64::from(self.percent) / 100;
            (u64::from(now) < share.max(u64::from(self.retries_min))).then_some(now + 1)
        };
        // The count goes up in one step with the comparison: two workers never take the last place both.
        retrying.fetch_update(Relaxed, Relaxed, admit).ok()?;
        Some(BudgetPlace(Arc::clone(&self.counts)))
    }

    /// Requests under way, and how many of them are retries.
    pub fn in_use(&self) -> (u32, u32) {
        (self.counts.active.load(Relaxed), self.counts.retrying.load(Relaxed))
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

impl Drop for BudgetPlace {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
