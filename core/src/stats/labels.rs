//! Names of the configuration → slots in the workers' tables.
//!
//! A name keeps its slot, and so its counts, over reloads. When a new name needs a slot, it gets that of a name which
//! no living generation of the configuration holds any more: it then starts from zero by subtracting what the slot
//! held (only the worker may write a number, so nothing is reset). So there are never more slots than names were
//! in use at once.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};

use ahash::{AHashMap, AHashSet};

use super::WorkerStats;
use super::reading::{Numbered, Reading};
use super::worker::{ClusterStats, EndpointStats, ListenerStats, RouteStats};
use crate::config::{Config, EndpointConfig};

/// Slots of the first block; each next block has twice as many.
const FIRST_BLOCK: usize = 32;
const BLOCKS: usize = 12;
/// Names of one kind that are told apart at once; what is beyond is counted together as [`OVERFLOW`].
pub const LABELS_MAX: usize = FIRST_BLOCK * ((1 << BLOCKS) - 1) - 1;
/// Name of slot 0, which takes what has no slot of its own.
pub const OVERFLOW: &str = "_other";

/// A table that only grows and never moves: workers write to it while the control thread adds blocks.
#[derive(Debug)]
pub struct Slots<T> {
    blocks: [OnceLock<Box<[T]>>; BLOCKS],
    /// Takes what has no slot.
    overflow: T,
}

impl<T: Default> Default for Slots<T> {
    fn default() -> Self {
        Slots { blocks: [const { OnceLock::new() }; BLOCKS], overflow: T::default() }
    }
}

impl<T: Default> Slots<T> {
    /// The entry of `slot`; the shared one when there is no such slot.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> &T {
        if slot == 0 {
            return &self.overflow;
        }
        let (block, offset) = place(slot);
        self.blocks.get(block).and_then(OnceLock::get).and_then(|b| b.get(offset)).unwrap_or(&self.overflow)
    }

    /// The entry of `slot`, where room was made for it; not the shared one.
    pub(super) fn find(&self, slot: u32) -> Option<&T> {
        let (block, offset) = place(slot);
        if slot == 0 { Some(&self.overflow) } else { self.blocks.get(block)?.get()?.get(offset) }
    }

    /// Makes room up to `slot`.
    pub(super) fn reserve(&self, slot: u32) {
        let (last, _) = place(slot);
        for (index, block) in self.blocks.iter().enumerate().take(last + 1) {
            block.get_or_init(|| (0..FIRST_BLOCK << index).map(|_| T::default()).collect());
        }
    }
}

/// Block and offset of a slot.
#[inline]
fn place(slot: u32) -> (usize, usize) {
    let position = slot as usize + FIRST_BLOCK;
    let block = (position.ilog2() - FIRST_BLOCK.ilog2()) as usize;
    (block, position - (FIRST_BLOCK << block))
}

/// A name and its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub name: Arc<str>,
    pub slot: u32,
}

/// A cluster's label and those of its endpoints, by their index in `ClusterConfig::endpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterLabel {
    pub label: Label,
    pub endpoints: Vec<Label>,
}

/// The names of one generation of the configuration, by index.
#[derive(Debug, Default)]
pub struct Labels {
    pub generation: u64,
    pub listeners: Vec<Label>,
    pub routes: Vec<Label>,
    pub clusters: Vec<ClusterLabel>,
}

/// Which slot belongs to which name; only the control thread uses it.
#[derive(Default)]
pub(super) struct Registry {
    listeners: Names,
    routes: Names,
    clusters: Names,
    /// By `cluster` NUL `endpoint`.
    endpoints: Names,
    living: Vec<Weak<Labels>>,
}

/// The slots of one kind of name.
#[derive(Default)]
struct Names {
    slots: AHashMap<Arc<str>, u32>,
    /// Slots that were ever given out are 1 to this.
    used: u32,
    /// What a slot held when its present owner got it.
    held_before: AHashMap<u32, Reading>,
}

/// How to find the entry of a slot in a worker.
type Entry<T> = fn(&WorkerStats) -> &Slots<T>;

impl Names {
    /// Gives a slot to each of `names`; `in_use` are the slots that may still be written.
    fn assign<T: Numbered + Default>(
        &mut self,
        names: Vec<String>,
        in_use: &AHashSet<u32>,
        workers: &[Arc<WorkerStats>],
        entry: Entry<T>,
    ) -> Vec<u32> {
        let wanted: AHashSet<&str> = names.iter().map(String::as_str).collect();
        let missing = wanted.iter().filter(|name| !self.slots.contains_key(**name)).count();
        let is_free = |name: &str, slot: &u32| !wanted.contains(name) && !in_use.contains(slot);
        let mut free: Vec<(u32, Arc<str>)> = Vec::new();
        if missing > 0 {
            let names = self.slots.iter().filter(|(name, slot)| is_free(name, slot));
            free = names.map(|(name, slot)| (*slot, name.clone())).collect();
            free.sort_unstable();
        }
        let slots = names.iter().map(|name| {
            if let Some(slot) = self.slots.get(name.as_str()) {
                return *slot;
            }
            let slot = if let Some((slot, old)) = free.pop() {
                self.slots.remove(&old);
                let mut held = Reading::default();
                workers.iter().for_each(|worker| entry(worker).get(slot).add_to(&mut held));
                self.held_before.insert(slot, held);
                slot
            } else if (self.used as usize) < LABELS_MAX {
                self.used += 1;
                self.used
            } else {
                return 0;
            };
            self.slots.insert(name.as_str().into(), slot);
            slot
        });
        let slots = slots.collect();
        workers.iter().for_each(|worker| entry(worker).reserve(self.used));
        slots
    }

    fn read<T: Numbered + Default>(
        &self,
        slot: u32,
        workers: &[Arc<WorkerStats>],
        entry: Entry<T>,
    ) -> Reading {
        let mut sum = Reading::default();
        workers.iter().for_each(|worker| entry(worker).get(slot).add_to(&mut sum));
        if let Some(held) = self.held_before.get(&slot) {
            sum.subtract(held);
        }
        sum
    }
}

const LISTENERS: Entry<ListenerStats> = |worker| &worker.listeners;
const ROUTES: Entry<RouteStats> = |worker| &worker.routes;
const CLUSTERS: Entry<ClusterStats> = |worker| &worker.clusters;
const ENDPOINTS: Entry<EndpointStats> = |worker| &worker.endpoints;

impl Registry {
    pub(super) fn assign(&mut self, config: &Config, workers: &[Arc<WorkerStats>]) -> Arc<Labels> {
        self.living.retain(|weak| weak.strong_count() > 0);
        // Pairs with the release by which the last holder of a dead generation let go of it: its counts are final.
        fence(Ordering::Acquire);
        let living: Vec<Arc<Labels>> = self.living.iter().filter_map(Weak::upgrade).collect();
        let in_use =
            |slots: fn(&Labels) -> Vec<u32>| living.iter().flat_map(|l| slots(l)).collect::<AHashSet<u32>>();
        let label = |(name, slot): (&str, u32)| Label { name: name.into(), slot };

        let names = config.listeners.iter().map(|l| l.name.clone()).collect();
        let used = in_use(|l| l.listeners.iter().map(|label| label.slot).collect());
        let slots = self.listeners.assign(names, &used, workers, LISTENERS);
        let listeners = config.listeners.iter().map(|l| l.name.as_str()).zip(slots).map(label).collect();

        let names = config.routes.iter().map(|r| r.name.clone()).collect();
        let used = in_use(|l| l.routes.iter().map(|label| label.slot).collect());
        let slots = self.routes.assign(names, &used, workers, ROUTES);
        let routes = config.routes.iter().map(|r| r.name.as_str()).zip(slots).map(label).collect();

        let names = config.clusters.iter().map(|c| c.name.clone()).collect();
        let used = in_use(|l| l.clusters.iter().map(|cluster| cluster.label.slot).collect());
        let slots = self.clusters.assign(names, &used, workers, CLUSTERS);
        let labels = config.clusters.iter().map(|c| c.name.as_str()).zip(slots).map(label);

        let texts =
            |c: &crate::config::ClusterConfig| c.endpoints.iter().map(endpoint_text).collect::<Vec<_>>();
        let key = |c: &crate::config::ClusterConfig, text: String| format!("{}\0{text}", c.name);
        let names =
            config.clusters.iter().flat_map(|c| texts(c).into_iter().map(move |text| key(c, text))).collect();
        let used =
            in_use(|l| l.clusters.iter().flat_map(|c| c.endpoints.iter().map(|label| label.slot)).collect());
        let mut slots = self.endpoints.assign(names, &used, workers, ENDPOINTS).into_iter();
        let clusters = labels.zip(&config.clusters).map(|(label, cluster)| {
            let endpoints = texts(cluster).into_iter().zip(slots.by_ref());
            let endpoints = endpoints.map(|(name, slot)| Label { name: name.into(), slot }).collect();
            ClusterLabel { label, endpoints }
        });

        let labels = Arc::new(Labels {
            generation: config.generation,
            listeners,
            routes,
            clusters: clusters.collect(),
        });
        self.living.push(Arc::downgrade(&labels));
        labels
    }

    /// Reads what is counted for the names of `labels`.
    pub(super) fn read(&self, labels: &Labels, workers: &[Arc<WorkerStats>]) -> Readings {
        let named = |label: &Label| if label.slot == 0 { OVERFLOW.into() } else { label.name.clone() };
        let mut readings = Readings::default();
        for label in once(labels.listeners.iter()) {
            readings.listeners.push((named(label), self.listeners.read(label.slot, workers, LISTENERS)));
        }
        for label in once(labels.routes.iter()) {
            readings.routes.push((named(label), self.routes.read(label.slot, workers, ROUTES)));
        }
        for label in once(labels.clusters.iter().map(|cluster| &cluster.label)) {
            readings.clusters.push((named(label), self.clusters.read(label.slot, workers, CLUSTERS)));
        }
        for cluster in &labels.clusters {
            for label in once(cluster.endpoints.iter()) {
                let reading = self.endpoints.read(label.slot, workers, ENDPOINTS);
                readings.endpoints.push((named(&cluster.label), named(label), reading));
            }
        }
        readings
    }
}

/// Leaves out labels that share a slot with an earlier one.
fn once<'a>(labels: impl Iterator<Item = &'a Label>) -> impl Iterator<Item = &'a Label> {
    let mut seen = AHashSet::new();
    labels.filter(move |label| seen.insert(label.slot))
}

/// What is counted for each name of the current configuration, summed over the workers.
#[derive(Debug, Default)]
pub struct Readings {
    pub listeners: Vec<(Arc<str>, Reading)>,
    pub routes: Vec<(Arc<str>, Reading)>,
    pub clusters: Vec<(Arc<str>, Reading)>,
    /// Cluster, endpoint.
    pub endpoints: Vec<(Arc<str>, Arc<str>, Reading)>,
}

/// An endpoint as the configuration writes it.
pub fn endpoint_text(endpoint: &EndpointConfig) -> String {
    match endpoint {
        EndpointConfig::Address(address) => address.to_string(),
        EndpointConfig::Name { host, port } => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests;
