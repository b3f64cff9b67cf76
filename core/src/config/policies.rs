//! Policies of a file → policies of the configuration, and what they keep over a reload.

use std::sync::Arc;

use ringway_policies::policy::{Level, PolicyConfig, Scope};

use super::Config;
use super::error::{ConfigError, Findings};
use super::file::FilePolicy;
use super::tree::SourceFile;

/// Builds the policies of one list; what they refuse is an error at its place.
pub(super) fn build(
    policies: &[FilePolicy],
    level: Level,
    name: &str,
    file: &SourceFile,
    findings: &mut Findings,
) -> Vec<PolicyConfig> {
    let mut built = Vec::with_capacity(policies.len());
    for policy in policies {
        match policy.kind.build(&policy.values, Scope { level, name }) {
            Ok(config) => built.push(config),
            Err(problems) => {
                for problem in problems {
                    let named = problem.named();
                    let written = |name: &str| policy.marks.iter().find(|(known, _)| known == name);
                    // What is within a file of the policy's is shown where that file is named.
                    let first = problem.field.split('.').next().unwrap_or_default();
                    let mark = written(&named).or_else(|| written(&problem.field)).or_else(|| written(first));
                    let place = file.place(mark.map_or(policy.at, |(_, at)| *at));
                    let path = if named.is_empty() {
                        policy.path.clone()
                    } else {
                        format!("{}.{named}", policy.path)
                    };
                    let error = ConfigError::mismatch(place, path, problem.expected, problem.found);
                    findings.push(error.hint(problem.hint));
                }
            }
        }
    }
    built
}

impl Config {
    /// All policies, wherever they stand.
    pub fn policy_configs(&self) -> impl Iterator<Item = &PolicyConfig> {
        let listeners = self.listeners.iter().flat_map(|listener| &listener.policies);
        let routes = self.routes.iter().flat_map(|route| &route.policies);
        let targets = self.routes.iter().flat_map(|route| &route.targets.list);
        self.policies.iter().chain(listeners).chain(routes).chain(targets.flat_map(|target| &target.policies))
    }

    /// Takes over what policies have counted: those of the same place, by the names of what they belong to.
    pub fn keep_policies(&mut self, old: &Config) {
        adopt(&mut self.policies, &old.policies);
        for listener in &mut self.listeners {
            let before = old.listeners.iter().find(|before| before.name == listener.name);
            if let (Some(listener), Some(before)) = (Arc::get_mut(listener), before) {
                adopt(&mut listener.policies, &before.policies);
            }
        }
        let before: std::collections::HashMap<&str, &Arc<super::RouteConfig>> =
            old.routes.iter().map(|route| (route.name.as_str(), route)).collect();
        let names: Vec<&str> = self.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let old_names: Vec<&str> = old.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        for route in &mut self.routes {
            if let Some(route) = Arc::get_mut(route)
                && let Some(before) = before.get(route.name.as_str())
            {
                adopt(&mut route.policies, &before.policies);
                // Targets are told apart by their clusters, whose order may have changed with their names kept.
                if let Some(targets) = Arc::get_mut(&mut route.targets) {
                    for target in &mut targets.list {
                        let name = names.get(target.cluster);
                        let mut known = before.targets.list.iter();
                        let before = known.find(|known| old_names.get(known.cluster) == name);
                        adopt(&mut target.policies, before.map_or(&[][..], |before| &before.policies));
                    }
                }
            }
        }
    }
}

/// The first of a kind takes over from the first of that kind, and so on.
fn adopt(new: &mut [PolicyConfig], old: &[PolicyConfig]) {
    for at in 0..new.len() {
        let (before, rest) = new.split_at_mut(at);
        let Some(policy) = rest.first_mut() else { return };
        let nth = before.iter().filter(|other| other.name() == policy.name()).count();
        if let Some(old) = old.iter().filter(|other| other.name() == policy.name()).nth(nth) {
            policy.adopt(old);
        }
    }
}
