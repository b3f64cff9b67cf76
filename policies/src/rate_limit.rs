//! `rate_limit`: so many requests in a period for each key, exactly, whatever worker they come to.
//!
//! The state of a key is one moment ([`table`]), drawn from by compare-and-swap. Nothing is counted in windows: `burst`
//! requests may come at once, and after them one for each `period / limit` that passes.

mod key;
mod table;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::fields::{Field, Kind, Need, Problem, Rate, Values};
use crate::policy::{Configure, Denial, Denied, Hooks, RequestContext, Scope, Verdict};
use key::Key;
pub use table::{Allowance, Drawn, PARTS, Table};

pub const HELP: &str = "Allows so many requests in a period for each key, exactly over all workers.";

/// Keys that a table may be made for: 32 bytes each.
const KEYS_MAX: u64 = 1 << 24;
/// The longest time in which an empty bucket may fill.
const REFILL_MAX: Duration = Duration::from_secs(366 * 86_400);

pub const FIELDS: &[Field] = &[
    Field {
        name: "limit",
        kind: Kind::Rate,
        need: Need::Required,
        help: "Requests in a period: a number and `/s`, `/m`, `/h` or `/d`.",
    },
    Field {
        name: "burst",
        kind: Kind::Count { min: 1, max: 1_000_000_000 },
        need: Need::Optional,
        help: "Requests that may come at once after a pause. Without it as many as `limit` has.",
    },
    Field {
        name: "key",
        kind: Kind::Texts,
        need: Need::Default("client_ip"),
        help: "What has a limit of its own: `client_ip`, `consumer`, `route`, `listener`, `header:NAME`, or a list of \
               these for each combination. Requests without a consumer or such a header share one.",
    },
    Field {
        name: "ipv6_prefix",
        kind: Kind::Count { min: 1, max: 128 },
        need: Need::Default("64"),
        help: "Leading bits of an IPv6 address that count as one client: a subscriber has a whole /64.",
    },
    Field {
        name: "ipv4_prefix",
        kind: Kind::Count { min: 1, max: 32 },
        need: Need::Default("32"),
        help: "Leading bits of an IPv4 address that count as one client.",
    },
    Field {
        name: "keys_max",
        kind: Kind::Count { min: 1, max: KEYS_MAX },
        need: Need::Default("65536"),
        help: "Keys that are remembered at a time, of which each takes 32 bytes. Only a key that has its whole burst \
               again is forgotten.",
    },
    Field {
        name: "on_full",
        kind: Kind::Choice(&["deny", "allow"]),
        need: Need::Default("deny"),
        help: "What becomes of a request with a new key when no key can be forgotten.",
    },
    Field {
        name: "name",
        kind: Kind::Text,
        need: Need::Default("default"),
        help: "The name of the limit in the fields `RateLimit` and `RateLimit-Policy`.",
    },
    Field {
        name: "headers",
        kind: Kind::Choice(&["both", "ietf", "x", "none"]),
        need: Need::Default("both"),
        help: "Fields that tell the client where it stands: `RateLimit` and `RateLimit-Policy` (ietf), \
               `X-RateLimit-*` (x), or both.",
    },
];

#[derive(Debug)]
pub struct RateLimitConfig {
    rate: Rate,
    burst: u64,
    allowance: Allowance,
    keys: Vec<Key>,
    prefixes: Prefixes,
    keys_max: u64,
    allow_on_full: bool,
    headers: Headers,
    shared: Arc<Shared>,
}

/// What workers and generations of the configuration share.
#[derive(Debug)]
struct Shared {
    table: Table,
    /// Keyed by chance: nobody can choose keys that share a place.
    hash: RandomState,
}

/// Bits of an address that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefixes {
    v4: u8,
    v6: u8,
}

/// The fields of the response, as far as they do not depend on the request.
#[derive(Debug, Default)]
struct Headers {
    /// `ratelimit-policy` and `x-ratelimit-limit`.
    fixed: Vec<u8>,
    /// `ratelimit: "name"`.
    ietf: Option<Vec<u8>>,
    x: bool,
}

impl Configure for RateLimitConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let rate = values.rate("limit").unwrap_or(Rate { requests: 1, period: Duration::from_secs(1) });
        let burst = values.opt_number("burst").unwrap_or(rate.requests);
        let allowance = Allowance::new(rate, burst);
        if allowance.is_none() {
            let most = "a burst that is there again within 366 days";
            problems.push(Problem::new("burst", most, format!("{burst} at {rate}")));
        }
        let keys = Key::read_all(values.texts("key"), &mut problems);
        let name = values.text("name");
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            problems.push(Problem::new("name", "letters, digits and any of -_.", format!("{name:?}")));
        }
        let keys_max = values.number("keys_max");
        match allowance {
            Some(allowance) if problems.is_empty() => Ok(RateLimitConfig {
                rate,
                burst,
                allowance,
                keys,
                prefixes: Prefixes {
                    v4: values.number("ipv4_prefix") as u8,
                    v6: values.number("ipv6_prefix") as u8,
                },
                keys_max,
                allow_on_full: values.text("on_full") == "allow",
                headers: Headers::new(values.text("headers"), name, allowance, burst),
                shared: Arc::new(Shared { table: Table::new(keys_max), hash: RandomState::new() }),
            }),
            _ => Err(problems),
        }
    }

    /// Timestamps mean the same under another rate. They are those of other keys if those are made in another way.
    fn adopt(&mut self, old: &Self) {
        if (&self.keys, self.prefixes, self.keys_max) == (&old.keys, old.prefixes, old.keys_max) {
            self.shared = Arc::clone(&old.shared);
        }
    }
}

impl Allowance {
    /// `None`: an empty bucket would take longer than [`REFILL_MAX`] to fill.
    pub fn new(rate: Rate, burst: u64) -> Option<Allowance> {
        let period = rate.period.as_nanos() * u128::from(PARTS);
        // Rounded up: never more than was said.
        let interval = period.div_ceil(u128::from(rate.requests.max(1)));
        let capacity = interval * u128::from(burst.max(1));
        let fits = capacity <= REFILL_MAX.as_nanos() * u128::from(PARTS);
        let (interval, capacity) = (u64::try_from(interval).ok()?, u64::try_from(capacity).ok()?);
        fits.then_some(Allowance { interval: interval.max(1), capacity })
    }

    /// Requests that may come at once when so much is used.
    fn remaining(self, ahead: u64) -> u64 {
        self.capacity.saturating_sub(ahead) / self.interval
    }
}

impl Headers {
    /// draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4. The quota is the burst, and its window the time in which that
    /// comes back: so `q` and `w` say the rate, and what remains is never more than `q`.
    fn new(which: &str, name: &str, allowance: Allowance, burst: u64) -> Headers {
        let (ietf, x) = (matches!(which, "both" | "ietf"), matches!(which, "both" | "x"));
        let mut fixed = Vec::new();
        // Writing to a vector cannot fail.
        if ietf {
            let window = seconds(allowance.capacity).max(1);
            let _ = write!(fixed, "ratelimit-policy: \"{name}\";q={burst};w={window}\r\n");
        }
        if x {
            let _ = write!(fixed, "x-ratelimit-limit: {burst}\r\n");
        }
        Headers { fixed, ietf: ietf.then(|| format!("ratelimit: \"{name}\";r=").into_bytes()), x }
    }

    fn render(&self, out: &mut Vec<u8>, remaining: u64, reset: u64) {
        out.extend_from_slice(&self.fixed);
        if let Some(start) = &self.ietf {
            out.extend_from_slice(start);
            push_number(out, remaining);
            out.extend_from_slice(b";t=");
            push_number(out, reset);
            out.extend_from_slice(b"\r\n");
        }
        if self.x {
            out.extend_from_slice(b"x-ratelimit-remaining: ");
            push_number(out, remaining);
            out.extend_from_slice(b"\r\nx-ratelimit-reset: ");
            push_number(out, reset);
            out.extend_from_slice(b"\r\n");
        }
    }
}

pub struct RateLimit(Arc<RateLimitConfig>);

impl RateLimit {
    pub fn new(config: &Arc<RateLimitConfig>) -> Self {
        RateLimit(Arc::clone(config))
    }
}

impl Hooks for RateLimit {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.0;
        let mut hasher = config.shared.hash.build_hasher();
        config.keys.iter().for_each(|key| key.hash(request, config.prefixes, &mut hasher));
        // Saturated after 18 years: then everything passes at the pace of a clock that stands.
        let now = request.now.saturating_mul(PARTS).min(u64::MAX >> 2);
        let drawn = config.shared.table.draw(hasher.finish(), now, config.allowance);
        match drawn {
            Drawn::Allowed { ahead } => {
                config.tell(request, ahead);
                Verdict::Continue
            }
            Drawn::Denied { ahead, wait } => {
                config.tell(request, ahead);
                Verdict::Deny(config.denial(seconds(wait).max(1)))
            }
            Drawn::NoPlace if config.allow_on_full => Verdict::Continue,
            Drawn::NoPlace => Verdict::Deny(Denial {
                kind: Denied::RateLimitFull,
                detail: String::new(),
                lines: retry_after(seconds(config.allowance.capacity).max(1)),
            }),
        }
    }
}

impl RateLimitConfig {
    fn tell(&self, request: &mut RequestContext<'_>, ahead: u64) {
        if self.headers.fixed.is_empty() {
            return;
        }
        let (remaining, reset) = (self.allowance.remaining(ahead), seconds(ahead));
        request.response.headers.add_rendered(|out| self.headers.render(out, remaining, reset));
    }

    fn denial(&self, retry_after_secs: u64) -> Denial {
        Denial {
            kind: Denied::RateLimited,
            detail: format!("{} and {} at once", self.rate, self.burst),
            lines: retry_after(retry_after_secs),
        }
    }
}

/// RFC 9110 10.2.3.
fn retry_after(seconds: u64) -> Vec<u8> {
    format!("retry-after: {seconds}\r\n").into_bytes()
}

/// Whole seconds, rounded up: who waits so long does not come too early.
fn seconds(parts: u64) -> u64 {
    parts.div_ceil(PARTS * 1_000_000_000)
}

/// In decimal: the formatting machinery would cost more than the limit itself.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}
