//! Sending a request again: whether it may be, and what it waits for. How often and when is worked out in
//! [`ringway_policies::retry`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway_policies::retry::{ActiveRequest, BudgetPlace, Event, RetryConfig, parse_retry_after};
use ringway_protocols::message::{BodyLength, ResponseHead};

use super::attempt::AttemptError;
use super::{Exchange, Failure};
use crate::config::{ResilienceConfig, RouteConfig};
use crate::error::Reason;
use crate::io as rt;
use crate::upstream::RetryPermit;

/// What is known of the tries of one exchange, on routes that send requests again.
pub(super) struct Tries {
    config: Arc<ResilienceConfig>,
    /// Tries begun.
    begun: u32,
    place: Option<(BudgetPlace, RetryPermit)>,
    _active: ActiveRequest,
}

impl Exchange<'_> {
    /// Counts the request towards the budget of its route, where that has one.
    pub(super) fn begin_tries(&self, route: &RouteConfig) {
        let Some(config) = &route.resilience else { return };
        let tries =
            Tries { config: Arc::clone(config), begun: 0, place: None, _active: config.budget.enter() };
        self.tries.replace(Some(Box::new(tries)));
    }

    /// A try begins: its time runs.
    pub(super) fn begin_try(&self) {
        let mut tries = self.tries.borrow_mut();
        let Some(tries) = tries.as_mut() else { return };
        if tries.begun > 0 {
            // What the last one left behind says nothing about this one.
            self.record.first_byte.set(None);
        }
        tries.begun += 1;
        self.try_deadline.set(tries.config.per_try_timeout.map(|timeout| rt::now() + timeout));
    }

    /// Whether the body of the request has to be kept so that it can be sent again, here or to a mirror; if so, how much
    /// of it.
    pub(super) fn kept_body_bytes(&self) -> Option<usize> {
        let again = self.tries.borrow().as_ref().map(|tries| tries.config.retry.body_bytes_max);
        let copied = self.mirrored.get().and_then(|route| route.mirror.as_ref());
        again.into_iter().chain(copied.map(|mirror| mirror.body_bytes_max)).max()
    }

    /// When a response head has to be there that is waited for from now on.
    pub(super) fn head_limit(&self, timeout: Duration) -> Instant {
        let mut at = self.until(rt::now() + timeout);
        if self.head.body != BodyLength::Empty
            && let Some(tries) = &*self.tries.borrow()
        {
            // The origin cannot be blamed for how long the client takes to send its body.
            self.try_deadline.set(tries.config.per_try_timeout.map(|timeout| rt::now() + timeout));
        }
        if let Some(deadline) = self.try_deadline.get() {
            at = at.min(deadline);
        }
        at
    }

    /// When a connection has to be there.
    pub(super) fn checkout_limit(&self) -> Instant {
        let limit = self.deadline.get().unwrap_or_else(|| rt::now() + crate::config::FOREVER);
        self.try_deadline.get().map_or(limit, |deadline| deadline.min(limit))
    }

    pub(super) fn is_try_over(&self) -> bool {
        self.try_deadline.get().is_some_and(|deadline| rt::now() >= deadline)
    }

    /// What becomes of a try that ended without a response: another one, where that is allowed.
    pub(super) fn failed_try(&self, error: AttemptError) -> AttemptError {
        let AttemptError::Failed(failure) = &error else { return error };
        if self.tries.borrow().is_none() || self.answered.get() || self.is_past_deadline() {
            return error;
        }
        match self.event_of(failure.reason).and_then(|event| self.may_retry(event)) {
            Some(wait) => AttemptError::Again { wait, clean: false },
            None => error,
        }
    }

    fn event_of(&self, reason: Reason) -> Option<Event> {
        Some(match reason {
            Reason::UpstreamReset | Reason::UpstreamRefused | Reason::UpstreamClosed => Event::Reset,
            Reason::ResponseHeadTimeout | Reason::PerTryTimeout => Event::Timeout,
            Reason::ConnectTimeout if self.is_try_over() => Event::Timeout,
            Reason::ConnectFailed
            | Reason::ConnectTimeout
            | Reason::NoEndpoint
            | Reason::UpstreamTlsHandshake
            | Reason::UpstreamTlsProtocol
            | Reason::UpstreamNotTls => Event::ConnectFailure,
            _ => return None,
        })
    }

    /// What a failure to get a connection is called, seen from the try.
    pub(super) fn checkout_failure(&self, failure: Failure) -> AttemptError {
        let late = failure.reason == Reason::ConnectTimeout && self.is_try_over() && !self.is_past_deadline();
        let error = if late { Reason::PerTryTimeout.into() } else { AttemptError::Failed(failure) };
        self.failed_try(error)
    }

    /// Whether a response is not passed on because the request is sent again. `rest`: bytes that came behind the head.
    ///
    /// # Errors
    /// [`AttemptError::Again`].
    pub(super) fn consider(
        &self,
        response: &ResponseHead,
        bytes: &[u8],
        rest: usize,
    ) -> Result<(), AttemptError> {
        let after = {
            let tries = self.tries.borrow();
            let Some(tries) = &*tries else { return Ok(()) };
            if !tries.config.retry.considers(response.status) {
                return Ok(());
            }
            self.retry_after(response, bytes)
        };
        let Some(wait) = self.may_retry(Event::Status(response.status, after)) else { return Ok(()) };
        // A connection that has nothing left on it is used again, although its response is not.
        let body = match response.body {
            BodyLength::Empty => Some(0),
            BodyLength::Exact(length) => Some(length),
            _ => None,
        };
        let clean = response.keep_alive && self.uploaded.get() && body == Some(rest as u64);
        Err(AttemptError::Again { wait, clean })
    }

    fn retry_after(&self, response: &ResponseHead, bytes: &[u8]) -> Option<Duration> {
        let mut fields = response.fields.iter();
        let field = fields.find(|field| field.name.of(bytes).eq_ignore_ascii_case(b"retry-after"))?;
        parse_retry_after(field.value.of(bytes), self.unix_secs())
    }

    /// What to wait before the request is sent again after `event`; `None`: it is not. Takes a place in the budget.
    pub(super) fn may_retry(&self, event: Event) -> Option<Duration> {
        let mut tries = self.tries.borrow_mut();
        let tries = tries.as_mut()?;
        if self.body_taken.get() || self.answered.get() {
            return None;
        }
        let config = &tries.config;
        let wait = config.retry.wait(event, tries.begun, self.head.method, self.worker.random())?;
        if self.deadline.get().is_some_and(|deadline| rt::now() + wait >= deadline) {
            return None;
        }
        self.take_place(tries).then_some(wait)
    }

    /// Takes a place in the budget; an exchange holds one, however often it is sent again.
    fn take_place(&self, tries: &mut Tries) -> bool {
        if tries.place.is_none() {
            let cluster = self.record.cluster.get().and_then(|index| self.view.clusters.get(index));
            tries.place =
                tries.config.budget.begin_retry().zip(cluster.and_then(|cluster| cluster.begin_retry()));
            if tries.place.is_none() {
                self.worker.stats.exchanges.retries_denied.increment();
            }
        }
        tries.place.is_some()
    }

    pub(super) fn is_first_try(&self) -> bool {
        self.tries.borrow().as_ref().is_some_and(|tries| tries.begun == 1)
    }

    /// Whether there may be a second copy of the request: it counts as a retry.
    pub(super) fn may_hedge(&self) -> bool {
        let mut tries = self.tries.borrow_mut();
        let allowed = tries.as_mut().is_some_and(|tries| self.take_place(tries));
        if allowed {
            self.worker.stats.exchanges.hedges.increment();
        }
        allowed
    }

    /// What of a gRPC call's statuses sends it again.
    pub(super) fn retry_config(&self, reader: impl FnOnce(&RetryConfig) -> bool) -> bool {
        self.tries.borrow().as_ref().is_some_and(|tries| reader(&tries.config.retry))
    }
}
