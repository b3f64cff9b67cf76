//! Names of the configuration → slots in the workers' tables.
//!
//! A slot is given to a name once and stays its own over reloads. It is free again when no living generation of the
//! configuration names it; its next owner starts from zero by subtracting what the slot held then (only the worker may
//! write a number, so nothing is reset).

use std::sync::{Arc, OnceLock, Weak};

use ahash::AHashMap;

use super::WorkerStats;
use crate::config::{Config, EndpointConfig};

/// Slots of the first block; each next block has twice as many.
const FIRST_BLOCK: usize = 32;
const BLOCKS: usize = 12;
/// Names of one kind that are told apart at once; what is beyond is counted together as [`OVERFLOW`].
pub const LABELS_MAX: usize = FIRST_BLOCK * ((1 << BLOCKS) - 1);
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

    /// Makes room up to `slot`.
    fn reserve(&self, slot: u32) {
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

#[derive(Default)]
struct Names {
    slots: AHashMap<Arc<str>, u32>,
    used: u32,
}

impl Names {
    fn slot(&mut self, name: &str) -> Label {
        if let Some((name, slot)) = self.slots.get_key_value(name) {
            return Label { name: name.clone(), slot: *slot };
        }
        let name: Arc<str> = name.into();
        if self.used as usize + 1 >= LABELS_MAX {
            return Label { name, slot: 0 };
        }
        self.used += 1;
        self.slots.insert(name.clone(), self.used);
        Label { name, slot: self.used }
    }
}

impl Registry {
    pub(super) fn assign(&mut self, config: &Config, workers: &[Arc<WorkerStats>]) -> Arc<Labels> {
        let listeners = config.listeners.iter().map(|l| self.listeners.slot(&l.name)).collect();
        let routes = config.routes.iter().map(|r| self.routes.slot(&r.name)).collect();
        let mut clusters = Vec::with_capacity(config.clusters.len());
        for cluster in &config.clusters {
            let mut endpoints = Vec::with_capacity(cluster.endpoints.len());
            for endpoint in &cluster.endpoints {
                let text = endpoint_text(endpoint);
                let key = format!("{}\0{text}", cluster.name);
                endpoints.push(Label { name: text.into(), slot: self.endpoints.slot(&key).slot });
            }
            clusters.push(ClusterLabel { label: self.clusters.slot(&cluster.name), endpoints });
        }
        for worker in workers {
            worker.listeners.reserve(self.listeners.used);
            worker.routes.reserve(self.routes.used);
            worker.clusters.reserve(self.clusters.used);
            worker.endpoints.reserve(self.endpoints.used);
        }
        let labels = Arc::new(Labels { generation: config.generation, listeners, routes, clusters });
        self.living.retain(|weak| weak.strong_count() > 0);
        self.living.push(Arc::downgrade(&labels));
        labels
    }
}

/// An endpoint as the configuration writes it.
pub fn endpoint_text(endpoint: &EndpointConfig) -> String {
    match endpoint {
        EndpointConfig::Address(address) => address.to_string(),
        EndpointConfig::Name { host, port } => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        assert_eq!(place(1), (0, 1));
        assert_eq!(place(31), (0, 31));
        assert_eq!(place(32), (1, 0));
        assert_eq!(place(95), (1, 63));
        assert_eq!(place(96), (2, 0));
        assert_eq!(place(LABELS_MAX as u32 - 1), (BLOCKS - 1, (FIRST_BLOCK << (BLOCKS - 1)) - 1));
    }
}
