//! Endpoints that are found while the proxy runs, by DNS and in files: they come into use as another revision of the
//! configuration in use, in which everything else is the same.
//!
//! **Invariant:** what was found is only replaced by what is found later. A resolver that fails and a file that cannot be
//! used leave the endpoints in use, and that is said: in the log, by a gauge, and at `/endpoints`.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ahash::{AHashMap, AHashSet};

use super::follow::{self, Due, Seen};
use super::lifecycle::Control;
use crate::config::discovery::Endpoints;
use crate::config::{ClusterConfig, Config, DiscoveryConfig, endpoints_file};
use crate::{log_error, log_info, log_warning};

/// Between two revisions: several answers that come together make one.
const RENEW_PAUSE: Duration = Duration::from_millis(100);
/// Before a revision that had to wait is tried again.
const HELD_BACK_PAUSE: Duration = Duration::from_secs(1);
/// How long new hosts of a service wait for their addresses before they come into use without.
const ADDRESSES_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the start waits until the workers have what was found.
const TAKEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Old revisions that running exchanges may still use before another one waits.
const REVISIONS_MAX: usize = 256;

/// What was found in files, and what of it cannot be used.
#[derive(Default)]
pub(super) struct Discovery {
    /// What changed files say and is not in use yet.
    files: RefCell<AHashMap<PathBuf, Endpoints>>,
    /// Files that cannot be used as they are, with why.
    refused: RefCell<AHashMap<PathBuf, String>>,
    held_back: Cell<bool>,
}

/// Follows names and files until the control thread ends.
pub(super) fn follow(control: &Rc<Control>) {
    follow::follow(control, look, |control, found| found.into_iter().for_each(|file| report(control, file)));
    let control = Rc::downgrade(control);
    tokio::task::spawn_local(async move {
        loop {
            let Some(names) = control.upgrade().map(|control| control.names.clone()) else { return };
            names.changed().await;
            let Some(control) = control.upgrade() else { return };
            control.renew_endpoints().await;
            let held_back = control.discovery.held_back.get();
            drop(control);
            tokio::time::sleep(if held_back { HELD_BACK_PAUSE } else { RENEW_PAUSE }).await;
        }
    });
}

impl Control {
    /// Waits until every name was asked for, whatever came of it, and what was found is in use.
    pub(super) async fn endpoints_known(&self) {
        self.names.tried_all().await;
        while self.renew_endpoints().await {
            self.names.tried_all().await;
        }
        let current = self.generations.current();
        if current.config.revision > 1 {
            // A worker that is busy gets them all the same, a little later.
            let _ = tokio::time::timeout(TAKEN_TIMEOUT, current.taken.by(self.outbox.workers())).await;
        }
    }

    /// Puts what was found since in use; says whether there was anything.
    pub(super) async fn renew_endpoints(&self) -> bool {
        let (config, changed) = self.with_found();
        if changed.is_empty() {
            self.discovery.files.borrow_mut().clear();
            return false;
        }
        // Hosts of services are names: while their addresses are asked for, the endpoints of before stay in use.
        self.names.follow_more(&config);
        self.names.tried(&config, ADDRESSES_TIMEOUT).await;
        let (config, changed) = self.with_found();
        if changed.is_empty() || self.holds_back() {
            return false;
        }
        self.discovery.files.borrow_mut().clear();
        self.names.follow_more(&config);
        for name in &changed {
            if let Some(cluster) = config.clusters.iter().find(|cluster| cluster.name == *name) {
                log_info!("endpoints have changed cluster={name} count={}", cluster.endpoints.len());
            }
        }
        self.stats.process.endpoint_changes.increment();
        self.put_in_use(config, Vec::new());
        self.names.follow(&self.generations.current().config);
        true
    }

    /// The configuration in use with what was found, and the clusters that differ.
    fn with_found(&self) -> (Config, Vec<String>) {
        let mut config = Config::clone(&self.generations.current().config);
        let changed = config.set_endpoints(|cluster| match cluster.discovery.as_ref()? {
            DiscoveryConfig::File { path } => self.discovery.files.borrow().get(path).cloned(),
            by_name => self.names.endpoints(by_name),
        });
        (config, changed)
    }

    /// Whether another revision has to wait; it is tried again.
    fn holds_back(&self) -> bool {
        let revisions = self.generations.living();
        let waits = revisions >= REVISIONS_MAX || self.outbox.unconfigured().is_some();
        if waits && !self.discovery.held_back.get() {
            log_warning!(
                "changed endpoints wait: workers are busy, or too many old configurations are in use count={revisions}"
            );
        }
        self.discovery.held_back.set(waits);
        if waits {
            self.names.change_again();
        }
        waits
    }

    /// Gives a configuration that is being loaded the endpoints that are known by name. What its files say it has read.
    pub(super) fn set_known_endpoints(&self, config: &mut Config) {
        config.set_endpoints(|cluster| self.names.endpoints(cluster.discovery.as_ref()?));
    }

    /// Forgets what files have said: a configuration that has read them itself is in use.
    pub(super) fn forget_files(&self) {
        self.discovery.files.borrow_mut().clear();
        self.discovery.refused.borrow_mut().clear();
    }

    /// Why what a cluster uses is what was found earlier; `None`: it is not.
    pub(super) fn stale(&self, cluster: &ClusterConfig) -> Option<String> {
        match cluster.discovery.as_ref()? {
            DiscoveryConfig::File { path } => self.discovery.refused.borrow().get(path).cloned(),
            by_name => self.names.stale(by_name),
        }
    }

    /// Brings the number of names and files whose last answer is of no use up to date; for readers of the statistics.
    pub(super) fn count_stale(&self) {
        let count = self.names.stale_count() + self.discovery.refused.borrow().len();
        self.stats.process.discovery_stale.set(count as u64);
    }
}

/// A file that was read again.
struct Read {
    path: PathBuf,
    due: Due,
    /// What it says; or why it cannot be used, in lines.
    result: Result<Endpoints, String>,
}

fn look(seen: &mut Seen, config: &Config) -> Vec<Read> {
    seen.begin(config);
    let files = config.clusters.iter().filter_map(|cluster| match &cluster.discovery {
        Some(DiscoveryConfig::File { path }) => Some(path.as_path()),
        _ => None,
    });
    let files: AHashSet<&Path> = files.collect();
    let due = files.into_iter().filter_map(|path| Some((path, seen.due(path)?)));
    due.map(|(path, due)| Read { path: path.to_owned(), due, result: read(path, config) }).collect()
}

fn read(path: &Path, config: &Config) -> Result<Endpoints, String> {
    let endpoints = endpoints_file::read(path)
        .map_err(|errors| errors.iter().map(|error| error.one_line()).collect::<Vec<_>>().join("\n"))?;
    for cluster in &config.clusters {
        let uses = matches!(&cluster.discovery, Some(DiscoveryConfig::File { path: of }) if of == path);
        if let Some(tls) = cluster.tls.as_ref().filter(|_| uses)
            && let Some((nameless, _)) = endpoints.iter().find(|(it, _)| tls.name_for(it).is_none())
        {
            let cluster = &cluster.name;
            return Err(format!(
                "{nameless:?} has no name to verify: cluster {cluster} needs `tls.server_name`"
            ));
        }
    }
    Ok(endpoints)
}

fn report(control: &Rc<Control>, file: Read) {
    let Read { path, due, result } = file;
    let shown = path.display().to_string();
    match result {
        Ok(endpoints) => {
            if due == Due::Changed {
                log_info!("endpoints read again file={shown} count={}", endpoints.len());
            }
            control.discovery.refused.borrow_mut().remove(&path);
            control.discovery.files.borrow_mut().insert(path, endpoints);
            control.names.change_again();
        }
        Err(problems) => {
            log_error!(
                "a file of endpoints cannot be used, the endpoints of before stay in use file={shown}"
            );
            problems.lines().for_each(|line| log_error!("  {line}"));
            control.discovery.refused.borrow_mut().insert(path, problems);
        }
    }
}
