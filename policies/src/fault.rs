//! `fault`: delays and refusals on purpose, to see what clients make of them.

use std::sync::Arc;
use std::time::Duration;

use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::policy::{Configure, Denied, Hooks, Reply, RequestContext, Scope, Verdict};

pub const HELP: &str = "Delays or refuses a share of the requests, to test what their senders make of it.";

const DELAY: &[Field] = &[
    Field {
        name: "time",
        kind: Kind::Duration { min: Duration::from_millis(1), max: Duration::from_secs(3_600) },
        need: Need::Required,
        help: "How long a request waits before it goes on.",
    },
    Field {
        name: "percent",
        kind: Kind::Percent,
        need: Need::Default("100%"),
        help: "The share of requests that wait.",
    },
];

const ABORT: &[Field] = &[
    Field {
        name: "status",
        kind: Kind::Status,
        need: Need::Default("503"),
        help: "The status of the response.",
    },
    Field {
        name: "percent",
        kind: Kind::Percent,
        need: Need::Default("100%"),
        help: "The share of requests that are refused.",
    },
];

pub const FIELDS: &[Field] = &[
    Field {
        name: "delay",
        kind: Kind::Group(DELAY),
        need: Need::Optional,
        help: "Lets requests wait. Each draws anew.",
    },
    Field {
        name: "abort",
        kind: Kind::Group(ABORT),
        need: Need::Optional,
        help: "Answers requests in place of their origin, after the delay where they draw both.",
    },
];

#[derive(Debug)]
pub struct FaultConfig {
    delay: Option<(Duration, Share)>,
    abort: Option<(u16, Share)>,
}

/// A share in millionths.
#[derive(Debug, Clone, Copy)]
struct Share(u32);

impl Share {
    /// Whether one of so many is meant. `random`: any 32 bits.
    fn draws(self, random: u32) -> bool {
        u64::from(random) * 1_000_000 < u64::from(self.0) << 32
    }
}

impl Configure for FaultConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let share = |group: &Values| Share(group.ppm("percent"));
        let delay = values.group("delay").map(|group| (group.duration("time"), share(group)));
        let abort = values.group("abort").map(|group| (group.number("status") as u16, share(group)));
        if delay.is_none() && abort.is_none() {
            return Err(vec![Problem::new("", "`delay`, `abort` or both", "neither")]);
        }
        Ok(FaultConfig { delay, abort })
    }
}

pub struct Fault(Arc<FaultConfig>);

impl Fault {
    pub fn new(config: &Arc<FaultConfig>) -> Self {
        Fault(Arc::clone(config))
    }
}

impl Hooks for Fault {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        self.0.decide(request.random)
    }
}

impl FaultConfig {
    /// The two halves of `random` are independent draws.
    fn decide(&self, random: u64) -> Verdict {
        let delay = self.delay.filter(|(_, share)| share.draws(random as u32)).map(|(time, _)| time);
        let abort =
            self.abort.filter(|(_, share)| share.draws((random >> 32) as u32)).map(|(status, _)| status);
        let Some(status) = abort else {
            return delay.map_or(Verdict::Continue, Verdict::Delay);
        };
        let reply = Reply {
            status,
            lines: b"content-type: text/plain; charset=utf-8\r\n".to_vec(),
            body: b"fault injected\n".to_vec(),
            denied: Some(Denied::FaultInjected),
        };
        match delay {
            Some(time) => Verdict::DelayedReply(time, reply),
            None => Verdict::Reply(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ALL: Share = Share(1_000_000);
    const NONE: Share = Share(0);

    fn name(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Continue => "continue",
            Verdict::Delay(_) => "delay",
            Verdict::Reply(_) => "reply",
            Verdict::DelayedReply(..) => "delayed reply",
            _ => "another",
        }
    }

    #[test]
    fn a_request_gets_what_it_draws() {
        for (delay, abort, expected) in [
            (None, Some((503, ALL)), "reply"),
            (Some((SECOND, ALL)), None, "delay"),
            (Some((SECOND, ALL)), Some((503, ALL)), "delayed reply"),
            (Some((SECOND, ALL)), Some((503, NONE)), "delay"),
            (Some((SECOND, NONE)), Some((503, ALL)), "reply"),
            (Some((SECOND, NONE)), Some((503, NONE)), "continue"),
        ] {
            for random in [0, 1 << 31, u64::MAX] {
                assert_eq!(name(&FaultConfig { delay, abort }.decide(random)), expected);
            }
        }
    }

    #[test]
    fn a_share_is_as_large_as_it_says() {
        for (ppm, of_a_thousand) in [(0, 0), (1_000, 1), (250_000, 250), (999_000, 999), (1_000_000, 1_000)] {
            let drawn = (0..1_000_u64).filter(|n| Share(ppm).draws((n << 32).div_ceil(1_000) as u32)).count();
            assert_eq!(drawn, of_a_thousand, "{ppm}");
        }
        assert!(!Share(1).draws(u32::MAX));
        assert!(Share(1_000_000).draws(u32::MAX));
    }
}
