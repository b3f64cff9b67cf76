//! Where a route leads: clusters with weights, which the admin listener may change while the proxy runs.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ringway_policies::policy::PolicyConfig;
use ringway_policies::split;

use super::{Config, RouteConfig};

/// The largest weight, as in the Gateway API.
pub(super) const WEIGHT_MAX: u32 = 1_000_000;

/// The targets of one route. Routes that were made of several matches of one share them.
#[derive(Debug, Default)]
pub struct Targets {
    pub list: Vec<TargetConfig>,
}

/// A cluster that a share of a route's requests goes to.
#[derive(Debug)]
pub struct TargetConfig {
    /// Index into [`Config::clusters`].
    pub cluster: usize,
    /// The weight of the file.
    pub written: u32,
    /// The weight in force.
    weight: AtomicU32,
    /// Tells this target from the others when keys are spread; the same in every process.
    salt: u64,
    /// Policies of the requests that go here.
    pub policies: Vec<PolicyConfig>,
}

impl TargetConfig {
    /// The weight in force.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }
}

impl Targets {
    /// Clusters by index and name, with weights and policies.
    pub fn new<'n>(targets: impl IntoIterator<Item = (usize, &'n str, u32, Vec<PolicyConfig>)>) -> Targets {
        let target =
            |(cluster, name, weight, policies): (usize, &str, u32, Vec<PolicyConfig>)| TargetConfig {
                cluster,
                policies,
                written: weight,
                weight: AtomicU32::new(weight),
                salt: split::hash(name.as_bytes()),
            };
        Targets { list: targets.into_iter().map(target).collect() }
    }

    /// Everything to one cluster.
    pub fn one(cluster: usize) -> Targets {
        Targets::new([(cluster, "", 1, Vec::new())])
    }

    /// The clusters, by index.
    pub fn clusters(&self) -> impl Iterator<Item = usize> {
        self.list.iter().map(|target| target.cluster)
    }

    /// The target of a request, by index: that of its key where it has one, else by chance.
    pub fn choose(&self, key: Option<u64>, random: impl FnOnce() -> u64) -> Option<usize> {
        if self.list.len() == 1 {
            return Some(0);
        }
        let weights = self.list.iter().map(TargetConfig::weight);
        match key {
            Some(key) => split::by_key(key, self.list.iter().map(|target| (target.salt, target.weight()))),
            None => split::by_chance(random(), weights),
        }
    }

    /// Puts new weights in force, one for each target. Those that grow go first: at no moment is there nowhere to go.
    fn set(&self, weights: &[u32]) {
        for grows in [true, false] {
            for (target, weight) in self.list.iter().zip(weights) {
                if (*weight > target.weight()) == grows {
                    target.weight.store(*weight, Relaxed);
                }
            }
        }
    }
}

impl Config {
    /// The targets of a route, by its name: what the admin listener changes.
    pub fn targets_of(&self, route: &str) -> Option<&Targets> {
        self.routes.iter().find(|it| it.name == route).map(|it| &*it.targets)
    }

    /// Names and weights of a route's targets, those that are in force and those of the file.
    pub fn weights(&self, targets: &Targets) -> Vec<(String, u32, u32)> {
        let name = |index: usize| self.clusters.get(index).map_or("", |cluster| &cluster.name);
        let each = targets.list.iter();
        each.map(|target| (name(target.cluster).to_owned(), target.weight(), target.written)).collect()
    }

    /// Changes weights of a route at once: `wanted` are names of clusters with their new weights; the others keep theirs.
    /// With `only`, the others get 0 instead.
    ///
    /// # Errors
    /// A sentence for the operator; then nothing has changed.
    pub fn set_weights(&self, targets: &Targets, wanted: &[(&str, u32)], only: bool) -> Result<(), String> {
        let before = self.weights(targets);
        let mut weights: Vec<u32> =
            before.iter().map(|(_, weight, _)| if only { 0 } else { *weight }).collect();
        for (cluster, weight) in wanted {
            if *weight > WEIGHT_MAX {
                return Err(format!("expected a weight from 0 to {WEIGHT_MAX}; found {weight}"));
            }
            let Some(index) = before.iter().position(|(name, ..)| name == cluster) else {
                let mut message = "expected one of the route's clusters:".to_owned();
                for (name, ..) in &before {
                    let _ = write!(message, " {name}");
                }
                return Err(message);
            };
            if let Some(slot) = weights.get_mut(index) {
                *slot = *weight;
            }
        }
        if weights.iter().all(|weight| *weight == 0) {
            return Err("at least one weight has to be above 0".to_owned());
        }
        targets.set(&weights);
        Ok(())
    }

    /// Takes over weights that were changed while the proxy ran, for routes whose targets are written as they were.
    pub fn keep_weights(&self, old: &Config) {
        let written = |config: &Config, route: &RouteConfig| -> Vec<(String, u32)> {
            config.weights(&route.targets).into_iter().map(|(name, _, written)| (name, written)).collect()
        };
        let changed = old
            .routes
            .iter()
            .filter(|route| route.targets.list.iter().any(|target| target.weight() != target.written));
        for before in changed {
            let Some(after) = self.routes.iter().find(|route| route.name == before.name) else { continue };
            if written(self, after) == written(old, before) {
                let weights: Vec<u32> = before.targets.list.iter().map(TargetConfig::weight).collect();
                after.targets.set(&weights);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_weights_change_there_is_always_a_target() {
        let targets = Targets::new([(0, "blue", 1, Vec::new()), (1, "green", 0, Vec::new())]);
        std::thread::scope(|scope| {
            let switching = scope.spawn(|| {
                for turn in 0..20_000u32 {
                    targets.set(&[turn % 2, (turn + 1) % 2]);
                }
            });
            let mut random = 0u64;
            while !switching.is_finished() {
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                // Two reads of one weight may differ, in which case the caller takes the first target.
                let sum: u32 = targets.list.iter().map(TargetConfig::weight).sum();
                assert!(sum <= 2);
            }
        });
        assert_eq!(targets.choose(None, || 0), Some(0));
    }

    #[test]
    fn the_only_target_is_taken_whatever_its_weight() {
        let targets = Targets::one(3);
        assert_eq!(targets.choose(None, || unreachable!()), Some(0));
    }
}
