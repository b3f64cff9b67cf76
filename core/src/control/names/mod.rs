//! Names of endpoints, kept resolved: at start, and again when an answer's time to live has passed.
//!
//! **Invariant:** addresses that worked are only replaced by other addresses. A resolver that fails, times out, says
//! NXDOMAIN or sends nonsense leaves what is known in use, and is asked again with a growing pause.

mod lookup;
mod order;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::{AHashMap, AHashSet, RandomState};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::command::Resolved;
use crate::config::{Config, EndpointConfig};
use crate::stats::Stats;
use crate::{log_info, log_warning};
use lookup::Lookup;
pub(super) use lookup::Servers;

/// Names that are asked for at the same time.
const LOOKUPS_MAX: usize = 16;
/// One lookup, all servers and attempts together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(8);
/// A time to live of less is taken for this: 0 must not make a flood of queries.
const TTL_MIN: Duration = Duration::from_secs(1);
/// A time to live of more is taken for this: a wrong answer must not stay for days.
const TTL_MAX: Duration = Duration::from_secs(300);
/// Pause after the first failure, doubled with each further one.
const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(1);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Addresses of one name that are used; more are left out.
const ADDRESSES_MAX: usize = 64;
/// Addresses of one name that a log line shows.
const SHOWN_MAX: usize = 8;

/// Is told of every name whose addresses changed.
type OnNews = Box<dyn Fn(&Resolved)>;

/// All names of the configuration.
pub(super) struct Names {
    stats: Arc<Stats>,
    entries: RefCell<AHashMap<Arc<str>, Entry>>,
    lookup: Lookup,
    /// Bounds the lookups that run.
    running: Semaphore,
    /// Somebody's first try has ended.
    tried: Notify,
    on_news: RefCell<OnNews>,
    jitter: RandomState,
}

struct Entry {
    state: Rc<State>,
    task: JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is known of one name.
#[derive(Default)]
struct State {
    tried: Cell<bool>,
    failures: Cell<u32>,
    addresses: RefCell<Option<Arc<[IpAddr]>>>,
}

impl Names {
    pub(super) fn new(stats: Arc<Stats>) -> Rc<Names> {
        Names::with_servers(stats, Servers::System)
    }

    pub(super) fn with_servers(stats: Arc<Stats>, servers: Servers) -> Rc<Names> {
        Rc::new(Names {
            stats,
            entries: RefCell::default(),
            lookup: Lookup::new(servers),
            running: Semaphore::new(LOOKUPS_MAX),
            tried: Notify::new(),
            on_news: RefCell::new(Box::new(|_| {})),
            jitter: RandomState::new(),
        })
    }

    /// Has `tell` called with the addresses of every name that changed.
    pub(super) fn on_news(&self, tell: impl Fn(&Resolved) + 'static) {
        *self.on_news.borrow_mut() = Box::new(tell);
    }

    /// Keeps the names of `config` resolved, and no others.
    pub(super) fn follow(self: &Rc<Self>, config: &Config) {
        self.follow_more(config);
        let hosts: AHashSet<&str> = hosts(config).collect();
        self.entries.borrow_mut().retain(|host, _| hosts.contains(&**host));
    }

    /// Keeps the names of `config` resolved as well.
    pub(super) fn follow_more(self: &Rc<Self>, config: &Config) {
        for host in hosts(config) {
            if self.entries.borrow().contains_key(host) {
                continue;
            }
            let host: Arc<str> = host.into();
            let state = Rc::new(State::default());
            let task = tokio::task::spawn_local(self.clone().keep_resolved(host.clone(), state.clone()));
            self.entries.borrow_mut().insert(host, Entry { state, task });
        }
    }

    /// What is known of the names of `config`.
    pub(super) fn known(&self, config: &Config) -> Vec<Resolved> {
        let entries = self.entries.borrow();
        let mut seen = AHashSet::new();
        let known = |host: &str| {
            let (host, entry) = entries.get_key_value(host)?;
            let addresses = entry.state.addresses.borrow().clone()?;
            Some(Resolved { host: host.clone(), addresses })
        };
        hosts(config).filter(|host| seen.insert(*host)).filter_map(known).collect()
    }

    /// Waits until every name was asked for at least once, whatever came of it.
    pub(super) async fn tried_all(&self) {
        self.wait_until(|| self.entries.borrow().values().all(|entry| entry.state.tried.get())).await;
    }

    /// As [`Self::tried_all`] for the names of `config`, for at most `timeout`.
    pub(super) async fn tried(&self, config: &Config, timeout: Duration) {
        let tried = |host: &str| self.entries.borrow().get(host).is_none_or(|entry| entry.state.tried.get());
        // Names that take longer follow when they are known.
        let _ = tokio::time::timeout(timeout, self.wait_until(|| hosts(config).all(tried))).await;
    }

    async fn wait_until(&self, so: impl Fn() -> bool) {
        loop {
            // Registered before the look, so that nothing between the two is missed.
            let changed = self.tried.notified();
            if so() {
                return;
            }
            changed.await;
        }
    }

    async fn keep_resolved(self: Rc<Self>, host: Arc<str>, state: Rc<State>) {
        for round in 0_u64.. {
            let pause = {
                let Ok(_permit) = self.running.acquire().await else { return };
                let answer = tokio::time::timeout(LOOKUP_TIMEOUT, self.lookup.addresses(&host)).await;
                let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                self.on_answer(&host, &state, answer)
            };
            state.tried.set(true);
            self.tried.notify_waiters();
            // Up to a tenth less, so that names which were resolved together do not stay together.
            let part = self.jitter.hash_one((&host, round)) % 100;
            tokio::time::sleep(pause - pause * part as u32 / 1_000).await;
        }
    }

    /// Returns how long the answer may be used.
    fn on_answer(
        &self,
        host: &Arc<str>,
        state: &State,
        answer: Result<(Vec<IpAddr>, Duration), String>,
    ) -> Duration {
        let (addresses, ttl) = match answer {
            Ok((found, ttl)) => (order::order(found, ADDRESSES_MAX, order::is_reachable), ttl),
            Err(error) => return self.failed(host, state, &error),
        };
        if addresses.is_empty() {
            return self.failed(host, state, "the answer has no usable address");
        }
        self.stats.process.resolutions.increment();
        if state.failures.replace(0) > 0 {
            log_info!("resolved again host={host}");
        }
        let addresses: Arc<[IpAddr]> = addresses.into();
        let known = state.addresses.replace(Some(addresses.clone()));
        if known.as_ref() != Some(&addresses) {
            let shown = addresses.get(..SHOWN_MAX).unwrap_or(&addresses);
            let (count, ttl) = (addresses.len(), ttl.as_secs());
            log_info!("resolved host={host} count={count} addresses={shown:?} ttl_s={ttl}");
            (self.on_news.borrow())(&Resolved { host: host.clone(), addresses });
        }
        ttl.clamp(TTL_MIN, TTL_MAX)
    }

    fn failed(&self, host: &str, state: &State, error: &str) -> Duration {
        self.stats.process.resolution_failures.increment();
        let failures = state.failures.get();
        state.failures.set(failures.saturating_add(1));
        if failures == 0 {
            let then = match &*state.addresses.borrow() {
                Some(_) => "what was known stays in use",
                None => "nothing is known of it yet",
            };
            log_warning!("a name cannot be resolved, {then}; it is tried again host={host} error={error}");
        }
        FAILURE_PAUSE_MIN.saturating_mul(1 << failures.min(8)).min(FAILURE_PAUSE_MAX)
    }
}

/// The names in a configuration; some more than once.
fn hosts(config: &Config) -> impl Iterator<Item = &str> {
    let endpoints = config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
    endpoints.filter_map(|endpoint| match endpoint {
        EndpointConfig::Name { host, .. } => Some(host.as_str()),
        EndpointConfig::Address(_) => None,
    })
}

#[cfg(test)]
mod tests;
