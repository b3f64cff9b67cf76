//! Names of endpoints and of services, kept resolved: at start, and again when an answer's time to live has passed.
//!
//! **Invariant:** answers that worked are only replaced by other answers. A resolver that fails, times out, says
//! NXDOMAIN or sends nonsense leaves what is known in use, and is asked again with a growing pause.

mod lookup;
mod order;
mod services;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::{AHashMap, AHashSet, RandomState};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::command::Resolved;
use crate::config::discovery::Endpoints;
use crate::config::{Config, DiscoveryConfig, EndpointConfig, EndpointTraits};
use crate::io::Address;
use crate::stats::Stats;
use crate::{log_info, log_warning};
use lookup::Lookup;
pub(super) use lookup::Servers;
use services::Service;

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
    entries: RefCell<AHashMap<Query, Entry>>,
    lookup: Lookup,
    /// Bounds the lookups that run.
    running: Semaphore,
    /// Somebody's first try has ended.
    tried: Notify,
    on_news: RefCell<OnNews>,
    /// Some answer has changed.
    changed: Notify,
    jitter: RandomState,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Query {
    /// The addresses of a host.
    Host(Arc<str>),
    /// The hosts of a service.
    Service(Arc<str>),
}

impl Query {
    fn name(&self) -> &Arc<str> {
        match self {
            Query::Host(name) | Query::Service(name) => name,
        }
    }
}

/// What an answer says, in an order that is the same for the same content.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Addresses(Arc<[IpAddr]>),
    Services(Arc<[Service]>),
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
    answer: RefCell<Option<Answer>>,
    /// What the last question came to, if it failed.
    error: RefCell<Option<String>>,
}

impl Names {
    pub(super) fn new(stats: Arc<Stats>, servers: Servers) -> Rc<Names> {
        Rc::new(Names {
            stats,
            entries: RefCell::default(),
            lookup: Lookup::new(servers),
            running: Semaphore::new(LOOKUPS_MAX),
            tried: Notify::new(),
            on_news: RefCell::new(Box::new(|_| {})),
            changed: Notify::new(),
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
        let queries: AHashSet<Query> = queries(config).collect();
        self.entries.borrow_mut().retain(|query, _| queries.contains(query));
    }

    /// Keeps the names of `config` resolved as well.
    pub(super) fn follow_more(self: &Rc<Self>, config: &Config) {
        for query in queries(config) {
            if self.entries.borrow().contains_key(&query) {
                continue;
            }
            let state = Rc::new(State::default());
            let task = tokio::task::spawn_local(self.clone().keep_resolved(query.clone(), state.clone()));
            self.entries.borrow_mut().insert(query, Entry { state, task });
        }
    }

    /// What is known of the names of `config`.
    pub(super) fn known(&self, config: &Config) -> Vec<Resolved> {
        let entries = self.entries.borrow();
        let mut seen = AHashSet::new();
        let known = |query: Query| match entries.get(&query)?.state.answer.borrow().clone()? {
            Answer::Addresses(addresses) => Some(Resolved { host: query.name().clone(), addresses }),
            Answer::Services(_) => None,
        };
        queries(config).filter(|query| seen.insert(query.clone())).filter_map(known).collect()
    }

    /// The endpoints that a name stands for; `None`: nothing is known of it yet.
    pub(super) fn endpoints(&self, discovery: &DiscoveryConfig) -> Option<Endpoints> {
        let (query, port) = question(discovery)?;
        match self.entries.borrow().get(&query)?.state.answer.borrow().as_ref()? {
            Answer::Services(found) => Some(services::endpoints(found)),
            Answer::Addresses(found) => Some(each_address(found, port)),
        }
    }

    /// Why what is in use is an earlier answer; `None`: it is not.
    pub(super) fn stale(&self, discovery: &DiscoveryConfig) -> Option<String> {
        let (query, _) = question(discovery)?;
        self.entries.borrow().get(&query)?.state.error.borrow().clone()
    }

    /// Names whose last question failed while an earlier answer is in use.
    pub(super) fn stale_count(&self) -> usize {
        let is_stale = |state: &State| state.failures.get() > 0 && state.answer.borrow().is_some();
        self.entries.borrow().values().filter(|entry| is_stale(&entry.state)).count()
    }

    /// Waits for an answer that differs from the one before. One that came since the last call counts.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Has [`Self::changed`] end again: something was not put in use.
    pub(super) fn change_again(&self) {
        self.changed.notify_one();
    }

    /// Waits until every name was asked for at least once, whatever came of it.
    pub(super) async fn tried_all(&self) {
        self.wait_until(|| self.entries.borrow().values().all(|entry| entry.state.tried.get())).await;
    }

    /// As [`Self::tried_all`] for the names of `config`, for at most `timeout`.
    pub(super) async fn tried(&self, config: &Config, timeout: Duration) {
        let tried =
            |query: Query| self.entries.borrow().get(&query).is_none_or(|entry| entry.state.tried.get());
        // Names that take longer follow when they are known.
        let _ = tokio::time::timeout(timeout, self.wait_until(|| queries(config).all(tried))).await;
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

    async fn keep_resolved(self: Rc<Self>, query: Query, state: Rc<State>) {
        for round in 0_u64.. {
            let pause = {
                let Ok(_permit) = self.running.acquire().await else { return };
                let answer = tokio::time::timeout(LOOKUP_TIMEOUT, self.ask(&query)).await;
                let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                self.on_answer(&query, &state, answer)
            };
            state.tried.set(true);
            self.tried.notify_waiters();
            // Up to a tenth less, so that names which were resolved together do not stay together.
            let part = self.jitter.hash_one((&query, round)) % 100;
            tokio::time::sleep(pause - pause * part as u32 / 1_000).await;
        }
    }

    async fn ask(&self, query: &Query) -> Result<(Answer, Duration), String> {
        let (answer, ttl) = match query {
            Query::Host(host) => {
                let (found, ttl) = self.lookup.addresses(host).await?;
                let addresses = order::order(found, ADDRESSES_MAX, order::is_reachable);
                ((!addresses.is_empty()).then(|| Answer::Addresses(addresses.into())), ttl)
            }
            Query::Service(service) => {
                let (found, ttl) = self.lookup.services(service).await?;
                let services = services::order(found);
                ((!services.is_empty()).then(|| Answer::Services(services.into())), ttl)
            }
        };
        let answer = answer.ok_or("the answer has no usable address")?;
        Ok((answer, ttl))
    }

    /// Returns how long the answer may be used.
    fn on_answer(
        &self,
        query: &Query,
        state: &State,
        answer: Result<(Answer, Duration), String>,
    ) -> Duration {
        let (answer, ttl) = match answer {
            Ok(answer) => answer,
            Err(error) => return self.failed(query, state, error),
        };
        self.stats.process.resolutions.increment();
        state.error.replace(None);
        if state.failures.replace(0) > 0 {
            log_info!("resolved again host={}", query.name());
        }
        let known = state.answer.replace(Some(answer.clone()));
        if known.as_ref() != Some(&answer) {
            self.log_news(query, &answer, ttl);
            if let Answer::Addresses(addresses) = answer {
                (self.on_news.borrow())(&Resolved { host: query.name().clone(), addresses });
            }
            self.changed.notify_one();
        }
        ttl.clamp(TTL_MIN, TTL_MAX)
    }

    fn log_news(&self, query: &Query, answer: &Answer, ttl: Duration) {
        let (name, ttl) = (query.name(), ttl.as_secs());
        match answer {
            Answer::Addresses(addresses) => {
                let shown = addresses.get(..SHOWN_MAX).unwrap_or(addresses);
                let count = addresses.len();
                log_info!("resolved host={name} count={count} addresses={shown:?} ttl_s={ttl}");
            }
            Answer::Services(services) => {
                let hosts: Vec<String> = services.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
                let count = services.len();
                log_info!("resolved service={name} count={count} hosts=[{}] ttl_s={ttl}", hosts.join(", "));
            }
        }
    }

    fn failed(&self, query: &Query, state: &State, error: String) -> Duration {
        self.stats.process.resolution_failures.increment();
        let failures = state.failures.get();
        state.failures.set(failures.saturating_add(1));
        if failures == 0 {
            let then = match &*state.answer.borrow() {
                Some(_) => "what was known stays in use",
                None => "nothing is known of it yet",
            };
            let name = query.name();
            log_warning!("a name cannot be resolved, {then}; it is tried again host={name} error={error}");
        }
        state.error.replace(Some(error));
        FAILURE_PAUSE_MIN.saturating_mul(1 << failures.min(8)).min(FAILURE_PAUSE_MAX)
    }
}

/// What is asked of the names in a configuration; some more than once.
fn queries(config: &Config) -> impl Iterator<Item = Query> {
    let endpoints = config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
    let named = endpoints.filter_map(|endpoint| match endpoint {
        EndpointConfig::Name { host, .. } => Some(Query::Host(host.as_str().into())),
        EndpointConfig::Address(_) => None,
    });
    let discovered = config.clusters.iter().filter_map(|cluster| cluster.discovery.as_ref());
    named.chain(discovered.filter_map(question).map(|(query, _)| query))
}

/// What to ask to discover endpoints, and their port where the answer does not say it.
fn question(discovery: &DiscoveryConfig) -> Option<(Query, u16)> {
    match discovery {
        DiscoveryConfig::Dns { host, port } => Some((Query::Host(host.as_str().into()), *port)),
        DiscoveryConfig::Srv { service } => Some((Query::Service(service.as_str().into()), 0)),
        DiscoveryConfig::File { .. } => None,
    }
}

/// An endpoint for each address. Those that this host has no route to are left out, unless it has none to any.
fn each_address(addresses: &[IpAddr], port: u16) -> Endpoints {
    let reachable = addresses.iter().filter(|address| order::is_reachable(**address));
    let mut chosen: Vec<IpAddr> = reachable.copied().collect();
    if chosen.is_empty() {
        chosen = addresses.to_vec();
    }
    let endpoint = |ip| EndpointConfig::Address(Address::Tcp((ip, port).into()));
    chosen.into_iter().map(|ip| (endpoint(ip), EndpointTraits::default())).collect()
}

#[cfg(test)]
mod tests;
