//! What a reload can change and what has to wait for a restart.

use super::settings::{Change, Id, Scope, Setting};
use super::value::Kind;
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
        changes.push(match setting.kind {
            Kind::Secret => format!("{}: changed", setting.key),
            _ => format!("{}: {} → {}", setting.key, before.show(), after.show()),
        });
    }
    // The file of the token may say something else under the same name.
    if changes.is_empty() && old.process.admin_token != new.process.admin_token {
        changes.push("admin.token: changed".to_owned());
    }
    changes
}

impl Config {
    /// Takes over what only a restart changes, so that a reloaded configuration describes the running process.
    pub fn keep_process(&mut self, old: &Config) {
        let reloaded = ProcessConfig {
            drain_timeout: self.process.drain_timeout,
            generations_max: self.process.generations_max,
            grpc_methods: self.process.grpc_methods.clone(),
            ..old.process.clone()
        };
        self.process = reloaded;
        for setting in Setting::of_scope(Scope::Process).filter(|setting| setting.change == Change::Restart) {
            self.sources.base.copy(setting.id, &old.sources.base);
        }
        debug_assert!(matches!(Setting::of(Id::DrainTimeout).change, Change::Reload));
    }
}
