//! The times of a client's connection, on one timer.
//!
//! The timer is armed for the earliest of them, and later ones only write: it is looked at when the old one comes up.

use std::task::Context;
use std::time::{Duration, Instant};

use super::Server;
use crate::config::ListenerConfig;
use crate::http2::driver::{Driver, Ended, TimedOut};
use crate::http2::settings;
use crate::io::{self as rt, Timer};

/// A connection without streams keeps its memory for so long, for the next request of a client that sends one after the
/// other.
const WARM: Duration = Duration::from_millis(50);
/// Between the two steps of a drain, where the peer does not answer the PING of the first: streams that it opened before it
/// knew are on their way for about so long (RFC 9113 6.8).
const ANNOUNCE: Duration = Duration::from_secs(1);

/// How far the connection is with ending in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// The peer was told to open no more streams; those on their way are still taken, until then.
    Announced(Instant),
    /// What is open finishes, nothing else begins.
    Finishing,
}

pub(super) struct Deadlines {
    header_timeout: Duration,
    idle_timeout: Duration,
    pub(super) socket_timeout: Duration,
    settings_timeout: Duration,
    age_grace: Duration,
    pub(super) requests_max: u64,
    /// Our SETTINGS were sent then.
    began: Instant,
    /// When the connection is old.
    ages_at: Option<Instant>,
    /// What is left after an age's grace is cut.
    cut_at: Option<Instant>,
    pub(super) drain: Drain,
    /// A header block is unfinished since then.
    head_since: Option<Instant>,
    /// There is no stream since then.
    idle_since: Option<Instant>,
    shrunk: bool,
    /// Bytes that the peer had not taken then.
    stuck: Option<(u64, Instant)>,
    armed: Option<Instant>,
}

impl Deadlines {
    /// `random` spreads the ages of connections that began at the same time.
    pub(super) fn new(config: &ListenerConfig, random: u64, now: Instant) -> Deadlines {
        let (http2, limits) = (settings::of(config), &config.limits);
        Deadlines {
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            socket_timeout: limits.response_body_timeout,
            settings_timeout: http2.settings_timeout,
            age_grace: http2.age_grace,
            requests_max: limits.requests_max,
            began: now,
            ages_at: (!http2.connection_age.is_zero()).then(|| now + spread(http2.connection_age, random)),
            cut_at: None,
            drain: Drain::No,
            head_since: None,
            idle_since: None,
            shrunk: false,
            stuck: None,
            armed: None,
        }
    }

    /// Arms the timer for what comes first.
    pub(super) fn wait(&mut self, driver: &Driver, timer: &Timer, cx: &Context<'_>) {
        let Some(next) = self.next(driver) else { return };
        if self.armed.is_none_or(|armed| next < armed) {
            timer.arm(next);
            self.armed = Some(next);
        }
        if timer.poll_expired(cx).is_ready() {
            // Due already: seen in the next turn.
            self.armed = None;
            cx.waker().wake_by_ref();
        }
    }

    fn next(&self, driver: &Driver) -> Option<Instant> {
        let state = driver.connection.state.borrow();
        let idle = |since: Instant| if self.shrunk { since + self.idle_timeout } else { since + WARM };
        [
            self.head_since.map(|since| since + self.header_timeout),
            (!state.machine.settings_acked()).then(|| self.began + self.settings_timeout),
            // With something unsent it is the peer's turn, and the time for that runs.
            self.idle_since.filter(|_| !self.shrunk || self.stuck.is_none()).map(idle),
            self.ages_at,
            self.cut_at,
            match self.drain {
                Drain::Announced(until) => Some(until),
                Drain::No | Drain::Finishing => None,
            },
            self.stuck.map(|(_, since)| since + self.socket_timeout),
            state.patience_ends,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// An age up to a tenth more or less.
fn spread(age: Duration, random: u64) -> Duration {
    age.mul_f64(0.9 + 0.2 * (random % 1024) as f64 / 1024.0)
}

impl Server {
    /// Looks at the time, and at what the process wants. Ends the connection when that is due.
    pub(super) fn advance(&mut self) -> Result<(), Ended> {
        let now = rt::now();
        self.note(now);
        self.drain(now);
        self.end_if_due(now)
    }

    /// Takes down since when things are as they are.
    fn note(&mut self, now: Instant) {
        let (driver, deadlines) = (&self.driver, &mut self.deadlines);
        if deadlines.armed.is_some_and(|armed| armed <= now) {
            deadlines.armed = None;
        }
        let (mid_head, idle) = {
            let state = driver.connection.state.borrow();
            (state.machine.is_mid_head(), state.handles == 0)
        };
        deadlines.head_since = mid_head.then(|| deadlines.head_since.unwrap_or(now));
        deadlines.idle_since = idle.then(|| deadlines.idle_since.unwrap_or(now));
        deadlines.shrunk &= idle;
        if let Some(since) = deadlines.idle_since
            && !deadlines.shrunk
            && now >= since + WARM
        {
            driver.connection.shrink();
            deadlines.shrunk = true;
        }
        driver.connection.end_patience(now);
        if driver.stream.unsent() == 0 {
            deadlines.stuck = None;
        } else if deadlines.stuck.is_none() {
            // What the kernel holds is looked at only when time is up.
            deadlines.stuck = Some((u64::MAX, now));
        }
    }

    /// Begins to end the connection where that is wanted, in two steps (RFC 9113 6.8), and goes on with it.
    fn drain(&mut self, now: Instant) {
        let (service, deadlines) = (&mut self.service, &mut self.deadlines);
        let mut state = self.driver.connection.state.borrow_mut();
        let pong = std::mem::take(&mut state.pongs) > 0;
        if !service.removed && service.owner.is_removed() {
            service.removed = true;
            state.counts.goaways_out().increment();
            state.machine.drain_finish();
            deadlines.drain = Drain::Finishing;
        }
        let old = deadlines.ages_at.is_some_and(|at| now >= at);
        let spent = deadlines.requests_max > 0 && service.requests >= deadlines.requests_max;
        if old {
            deadlines.ages_at = None;
            deadlines.cut_at = Some(now + deadlines.age_grace);
        }
        match deadlines.drain {
            Drain::No if old || spent || service.worker.is_draining() => {
                state.counts.goaways_out().increment();
                state.machine.drain_begin();
                deadlines.drain = Drain::Announced(now + ANNOUNCE);
            }
            Drain::Announced(until) if pong || now >= until => {
                state.machine.drain_finish();
                deadlines.drain = Drain::Finishing;
            }
            Drain::No | Drain::Announced(_) | Drain::Finishing => {}
        }
    }

    fn end_if_due(&mut self, now: Instant) -> Result<(), Ended> {
        let (driver, deadlines) = (&self.driver, &mut self.deadlines);
        let passed = |since: Option<Instant>, time: Duration| since.is_some_and(|since| now >= since + time);
        if deadlines.drain == Drain::Finishing && deadlines.idle_since.is_some() {
            return Err(Ended::Finished);
        }
        if passed(deadlines.head_since, deadlines.header_timeout) {
            return Err(Ended::TimedOut(TimedOut::Head));
        }
        let unacknowledged = !driver.connection.state.borrow().machine.settings_acked();
        if unacknowledged && passed(Some(deadlines.began), deadlines.settings_timeout) {
            return Err(Ended::TimedOut(TimedOut::Settings));
        }
        if deadlines.cut_at.is_some_and(|at| now >= at) {
            return Err(Ended::TimedOut(TimedOut::Age));
        }
        if let Some((left, since)) = deadlines.stuck
            && now >= since + deadlines.socket_timeout
        {
            let stream = &driver.stream;
            let now_left = stream.outstanding();
            if now_left >= left {
                return Err(Ended::TimedOut(TimedOut::Socket));
            }
            deadlines.stuck = Some((now_left, now));
        }
        // Idle for us, but the peer may still be reading the last response.
        if passed(deadlines.idle_since, deadlines.idle_timeout) && driver.stream.unsent() == 0 {
            return Err(Ended::Finished);
        }
        Ok(())
    }
}
