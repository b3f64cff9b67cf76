//! What a reload can change and what has to wait for a restart.

use std::sync::Arc;

use super::settings::{Change, Id, Scope, Setting};
use super::value::{Kind, Value};
use super::{Config, ProcessConfig};

/// The settings that differ and need a restart, each as `key: old → new`.
pub fn restart_needed(old: &Config, new: &Config) -> Vec<String> {
    let rows = Setting::of_scope(Scope::Process).filter(|setting| setting.change == Change::Restart);
    let mut changes = Vec::new();
    for setting in rows {
        let ((before, _), (after, _)) = (old.sources.base.get(setting.id), new.sources.base.get(setting.id));
        if before == after {
            continue;
        }
        let show = |config: &Config, value: &Value| config.sources.secrets.hide(&value.show()).into_owned();
        changes.push(match setting.kind {
            Kind::Secret => format!("{}: changed", setting.key),
            _ => format!("{}: {} → {}", setting.key, show(old, before), show(new, after)),
        });
    }
    // The file of the token may say something else under the same name.
    if changes.is_empty() && old.process.admin_token != new.process.admin_token {
        changes.push("admin.token: changed".to_owned());
    }
    changes
}

impl Config {
    /// Takes over what TLS has in memory: keys of tickets, and sessions with the endpoints of clusters that stay as they
    /// are.
    pub fn keep_tls(&mut self, old: &Config) {
        for listener in &mut self.listeners {
            let before = old.listeners.iter().find(|before| before.name == listener.name);
            if let (Some(tls), Some(before)) = (&listener.tls, before.and_then(|before| before.tls.as_ref()))
            {
                // Where the files have changed since, what was read a moment ago stays in force, with new keys.
                let _ = tls.continue_from(before);
            }
        }
        for cluster in &mut self.clusters {
            let before = old.clusters.iter().find(|before| before.name == cluster.name);
            let Some(before) = before.and_then(|before| before.tls.as_ref()) else { continue };
            let same = cluster.tls.as_ref().is_some_and(|tls| **tls == **before);
            // Workers keep the clusters that have not changed: these and the new ones share one state.
            if same
                && before.reread().is_ok()
                && let Some(cluster) = Arc::get_mut(cluster)
            {
                cluster.tls = Some(before.clone());
            }
        }
    }

    /// Takes over what only a restart changes, so that a reloaded configuration describes the running process.
    pub fn keep_process(&mut self, old: &Config) {
        let reloaded = ProcessConfig {
            drain_timeout: self.process.drain_timeout,
            watch: self.process.watch,
            explain_token: self.process.explain_token.clone(),
            generations_max: self.process.generations_max,
            grpc_methods: self.process.grpc_methods.clone(),
            ..old.process.clone()
        };
        self.process = reloaded;
        for setting in Setting::of_scope(Scope::Process).filter(|setting| setting.change == Change::Restart) {
            Arc::make_mut(&mut self.sources).base.copy(setting.id, &old.sources.base);
        }
        debug_assert!(matches!(Setting::of(Id::DrainTimeout).change, Change::Reload));
    }
}
