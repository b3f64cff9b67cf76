//! The endpoint for the next attempt.
//!
//! Who comes into question is worked out when something changed and kept until then ([`Plan`]); one pick is a few loads.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ringway_policies::balance::{self, Balance, Candidate, EndpointState, Plan, Question, Turns, hash};

use super::{Asked, Cluster, Endpoint};
use crate::config::ClusterConfig;
use crate::io as rt;
use crate::worker::Worker;

/// Parts in which a new endpoint gets its share.
const SLOW_START_STEPS: u32 = 20;

/// What of a request decides among the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PickKey {
    /// What the request is told apart by, hashed; for the balancers that go by it.
    pub hash: Option<NonZeroU64>,
    /// The endpoint that the client was with, by the hash of its name. It is picked whatever the balancer, while it is healthy.
    pub endpoint: Option<NonZeroU64>,
}

/// The memory of one worker's picks in one cluster.
pub(super) struct Choice {
    plan: RefCell<Rc<Plan>>,
    /// `changes` of the shared state that the plan was made for; `None`: never, or an address changed.
    made_for: Cell<Option<u32>>,
    /// When time alone makes another plan.
    until: Cell<Option<Instant>>,
    turns: RefCell<Turns>,
    /// The hash of each endpoint's name.
    pub(super) ids: Vec<u64>,
}

impl PickKey {
    /// Nothing decides.
    pub const NONE: PickKey = PickKey { hash: None, endpoint: None };
}

impl Choice {
    pub(super) fn new(worker: usize, endpoints: &[Rc<Endpoint>]) -> Choice {
        Choice {
            plan: RefCell::default(),
            made_for: Cell::new(None),
            until: Cell::new(None),
            turns: RefCell::new(Turns::starting_at(worker)),
            ids: endpoints.iter().map(|endpoint| hash::hash(endpoint.name.as_bytes())).collect(),
        }
    }

    /// The addresses of an endpoint changed.
    pub(super) fn forget_plan(&self) {
        self.made_for.set(None);
    }
}

impl Cluster {
    /// The endpoint for the next request, skipping those in `tried`, and those to be avoided where there are others.
    pub(super) fn pick(&self, worker: &Worker, asked: &Asked<'_>, tried: &[usize]) -> Option<usize> {
        let plan = self.plan(worker);
        let choice = &self.choice;
        let spread = &self.config.spread;
        let question = Question {
            random: worker.random(),
            key: asked.key.hash.map(NonZeroU64::get),
            pinned: asked.key.endpoint.and_then(|id| choice.ids.iter().position(|own| *own == id.get())),
        };
        let by_cost = spread.balance == Balance::Ewma;
        let (now, decay) = (worker.shared.nanos(rt::now()), spread.ewma_decay.as_nanos() as u64);
        let pick = |also: &[usize]| {
            let state = |index: usize| match self.endpoints.get(index) {
                Some(endpoint) => EndpointState {
                    usable: !tried.contains(&index)
                        && !also.contains(&index)
                        && endpoint.shared.has_room(self.config.breakers.endpoint_requests_max),
                    active: endpoint.active.get(),
                    cost: if by_cost {
                        endpoint.ewma.get().cost(now, endpoint.active.get(), decay)
                    } else {
                        0
                    },
                },
                None => EndpointState { usable: false, active: 0, cost: 0 },
            };
            let mut turns = choice.turns.borrow_mut();
            balance::pick(spread.balance, &plan, spread.table.get(), &mut turns, question, state)
        };
        let first = pick(asked.avoid);
        if first.is_some() || asked.avoid.is_empty() { first } else { pick(&[]) }
    }

    /// Who comes into question at the moment.
    fn plan(&self, worker: &Worker) -> Rc<Plan> {
        let (choice, changes) = (&self.choice, self.shared.changes());
        let current = choice.made_for.get() == Some(changes);
        if current && choice.until.get().is_none_or(|until| rt::now() < until) {
            return Rc::clone(&choice.plan.borrow());
        }
        let now = rt::now();
        let now_ms = worker.shared.millis(now);
        let mut until: Option<Duration> = None;
        let candidates: Vec<Candidate> = (self.endpoints.iter().enumerate())
            .map(|(index, endpoint)| {
                let traits = self.config.traits(index);
                let (warmth, next) = warmth(&self.config, endpoint, now_ms);
                let ejected_until = endpoint.shared.ejected_until(now_ms);
                let back = ejected_until.map(|until| Duration::from_millis(until - now_ms));
                until = until.into_iter().chain(next).chain(back).min();
                Candidate {
                    reachable: endpoint.has_address(),
                    healthy: (self.config.health.is_none() || endpoint.is_healthy())
                        && (self.config.outlier.is_none() || ejected_until.is_none()),
                    weight: traits.weight,
                    warmth,
                    priority: traits.priority,
                    near: self.config.spread.zone.is_none() || traits.zone == self.config.spread.zone,
                }
            })
            .collect();
        let plan = Rc::new(Plan::build(&candidates, self.config.spread.panic_percent));
        *choice.plan.borrow_mut() = Rc::clone(&plan);
        choice.made_for.set(Some(changes));
        choice.until.set(until.map(|until| now + until));
        plan
    }
}

/// How an endpoint stands at the moment, for whoever looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub name: String,
    pub state: StandingState,
}

/// Why an endpoint gets requests or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingState {
    /// It gets requests.
    Used,
    /// It gets what those before it cannot take: by priority, or because it is far.
    Later,
    /// It gets requests because so few are healthy that health is ignored.
    Panic,
    Unhealthy,
    Ejected,
    /// Its name has no address.
    Unresolved,
    /// It has as many requests as it may.
    Full,
}

impl StandingState {
    pub fn text(self) -> &'static str {
        match self {
            StandingState::Used => "used",
            StandingState::Later => "for what those before it cannot take",
            StandingState::Panic => "used, because too few are healthy",
            StandingState::Unhealthy => "not healthy",
            StandingState::Ejected => "ejected",
            StandingState::Unresolved => "without an address",
            StandingState::Full => "at its limit",
        }
    }
}

impl Cluster {
    /// How each endpoint stands.
    pub fn standings(&self, worker: &Worker) -> Vec<Standing> {
        let (plan, now_ms) = (self.plan(worker), worker.shared.millis(rt::now()));
        let ejected = |endpoint: &Endpoint| {
            self.config.outlier.is_some() && endpoint.shared.ejected_until(now_ms).is_some()
        };
        let each = self.endpoints.iter().enumerate().map(|(index, endpoint)| {
            let full = !endpoint.shared.has_room(self.config.breakers.endpoint_requests_max);
            let state = match plan.level_of(index) {
                _ if !endpoint.has_address() => StandingState::Unresolved,
                Some(_) if full => StandingState::Full,
                Some(_) if plan.panics() => StandingState::Panic,
                Some(0) => StandingState::Used,
                Some(_) => StandingState::Later,
                None if ejected(endpoint) => StandingState::Ejected,
                None => StandingState::Unhealthy,
            };
            Standing { name: endpoint.name.clone(), state }
        });
        each.collect()
    }
}

/// How much of its share an endpoint gets, and when that is more.
fn warmth(config: &ClusterConfig, endpoint: &Endpoint, now_ms: u64) -> (f64, Option<Duration>) {
    let window = config.spread.slow_start.as_millis() as u64;
    let age = now_ms.saturating_sub(endpoint.shared.since.load(Relaxed));
    if age >= window {
        return (1.0, None);
    }
    // A tenth to begin with: an endpoint without any requests would never get warm.
    let warmth = (age as f64 / window as f64).max(0.1);
    (warmth, Some((config.spread.slow_start / SLOW_START_STEPS).max(Duration::from_millis(1))))
}
