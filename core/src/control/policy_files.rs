//! Follows the files that policies are built from, and puts what they say in force without a reload.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ringway_policies::watched::WatchedFile;
use tokio::time::MissedTickBehavior;

use super::lifecycle::Control;
use crate::config::{Config, policy_file};
use crate::tls::{Stamp, stamp};
use crate::{log_error, log_info};

/// Time between two looks. A change is in force after two of them at most.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Looks at the files of the current configuration until the control thread ends.
pub(super) fn follow(control: &Rc<Control>) {
    let control = Rc::downgrade(control);
    tokio::task::spawn_local(async move {
        let mut followed = Followed::default();
        let mut ticks = tokio::time::interval(LOOK_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(control) = control.upgrade() else { return };
            let config = control.generations.current().config.clone();
            // Reading files may block: not on this thread, where others are answered.
            let looked = tokio::task::spawn_blocking(move || {
                followed.look(&config);
                followed
            });
            followed = looked.await.unwrap_or_default();
        }
    });
}

/// The files of one generation of the configuration.
#[derive(Debug, Default)]
struct Followed {
    generation: u64,
    seen: HashMap<PathBuf, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// In the last look.
    last: Stamp,
    /// When it was last read; `None`: with the configuration, and it may have changed since.
    read: Option<Stamp>,
}

impl Followed {
    /// Reads those files again that have changed and been still since the last look.
    fn look(&mut self, config: &Config) {
        if self.generation != config.generation {
            *self = Followed { generation: config.generation, seen: HashMap::new() };
        }
        let mut files: HashMap<&Path, Vec<&dyn WatchedFile>> = HashMap::new();
        for file in config.policy_configs().filter_map(|policy| policy.watched()) {
            files.entry(file.path()).or_default().push(file);
        }
        for (path, of) in files {
            let now = stamp(path);
            let first = !self.seen.contains_key(path);
            let seen = self.seen.entry(path.to_owned()).or_default();
            let still = !first && seen.last == now;
            seen.last = now;
            if still && seen.read != Some(now) {
                // What was read with the configuration is not worth a line in the log.
                let changed = seen.read.replace(now).is_some();
                put_in_force(path, &of, changed);
            }
        }
    }
}

fn put_in_force(path: &Path, of: &[&dyn WatchedFile], changed: bool) {
    let mut wrong: Vec<String> = Vec::new();
    let Some(first) = of.first() else { return };
    match policy_file::read(path, first.fields()) {
        Ok(values) => {
            for file in of {
                if let Err(problems) = file.replace(&values) {
                    wrong =
                        problems.iter().map(|p| format!("{}: expected {}", p.named(), p.expected)).collect();
                }
            }
        }
        Err(errors) => wrong = errors.iter().map(ToString::to_string).collect(),
    }
    if !wrong.is_empty() {
        log_error!(
            "a file of credentials cannot be used, what it said before stays in force file={}",
            path.display()
        );
        for line in wrong.iter().flat_map(|text| text.lines()) {
            log_error!("  {line}");
        }
    } else if changed {
        log_info!("credentials read again file={}", path.display());
    }
}
