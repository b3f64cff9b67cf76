//! What a route does about requests that come to nothing.

use std::sync::Arc;
use std::time::Duration;

use ringway_policies::retry::{Conditions, RetryBudget, RetryConfig};
use ringway_protocols::grpc::Status;

use super::Config;
use super::layer::View;
use super::settings::Id;

/// Copies of a route's requests for other clusters.
#[derive(Debug, Clone)]
pub struct MirrorConfig {
    /// At least one, and at most 8.
    pub targets: Vec<MirrorTarget>,
    pub timeout: Duration,
    /// Bytes of a request body that are kept for the copy.
    pub body_bytes_max: usize,
    /// Copies under way on each worker.
    pub requests_max: u32,
}

/// A cluster that copies go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorTarget {
    /// Index into [`Config::clusters`].
    pub cluster: usize,
    /// How many of a million requests are copied.
    pub share_ppm: u32,
}

/// Builds the mirrors of a route, if it has any: which these are comes from the file.
pub(super) fn mirror(targets: Vec<MirrorTarget>, view: &View<'_>) -> Option<MirrorConfig> {
    (!targets.is_empty()).then(|| MirrorConfig {
        targets,
        timeout: view.duration(Id::MirrorTimeout),
        body_bytes_max: view.number_as(Id::MirrorBodyBytes),
        requests_max: view.number_as(Id::MirrorRequests),
    })
}

/// Retries of one route.
#[derive(Debug)]
pub struct ResilienceConfig {
    pub retry: RetryConfig,
    /// Time of one try from its begin to the response head.
    pub per_try_timeout: Option<Duration>,
    /// When a second copy is sent.
    pub hedge_delay: Option<Duration>,
    /// Drawn on by all workers.
    pub budget: RetryBudget,
}

/// `None` where the route asks for nothing of it.
pub(super) fn build(view: &View<'_>) -> Option<ResilienceConfig> {
    let mut on = Conditions::default();
    for word in view.tokens(Id::RetryOn) {
        // Words that are no conditions were refused when the value was read.
        let _ = on.add(&word);
    }
    let grpc: Vec<Status> =
        view.tokens(Id::GrpcRetryOn).iter().filter_map(|word| Status::find(word)).collect();
    let positive = |id: Id| Some(view.duration(id)).filter(|timeout| !timeout.is_zero());
    let (per_try_timeout, hedge_delay) = (positive(Id::RetryPerTryTimeout), positive(Id::HedgeDelay));
    if on.is_empty() && grpc.is_empty() && per_try_timeout.is_none() && hedge_delay.is_none() {
        return None;
    }
    // Who bounds a try and sends requests again means that one, too, that ran out of its time.
    on.timeout |= per_try_timeout.is_some() && !on.is_empty();
    let retry = RetryConfig {
        on,
        grpc,
        attempts_max: view.number_as(Id::RetryAttempts),
        any_method: view.word(Id::RetryMethods) == Some("any"),
        backoff: view.duration(Id::RetryBackoff),
        backoff_max: view.duration(Id::RetryBackoffMax),
        retry_after_max: view.duration(Id::RetryAfter),
        body_bytes_max: view.number_as(Id::RetryBodyBytes),
    };
    let budget = RetryBudget::new(view.number_as(Id::RetryBudget), view.number_as(Id::RetryBudgetMin));
    Some(ResilienceConfig { retry, per_try_timeout, hedge_delay, budget })
}

impl Config {
    /// Goes on counting the retries of routes that there were before.
    pub fn keep_budgets(&mut self, old: &Config) {
        for route in &mut self.routes {
            let before = old.routes.iter().find(|before| before.name == route.name);
            let Some(before) = before.and_then(|before| before.resilience.as_ref()) else { continue };
            // Nobody has seen the new configuration yet, so it can still be changed.
            if let Some(route) = Arc::get_mut(route)
                && let Some(resilience) = route.resilience.as_mut().and_then(Arc::get_mut)
            {
                resilience.budget.adopt(&before.budget);
            }
        }
    }
}
