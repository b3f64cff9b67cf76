//! What the workers count, and how others read it.
//!
//! Each worker owns one [`WorkerStats`] and is the only one that writes it; the control thread reads all of them
//! whenever somebody asks. Nothing is locked and no worker ever waits for a reader.
//!
//! Names in labels come from the configuration only. [`Stats::labels`] gives each name of a generation a slot; a name
//! keeps its slot, and so its counts, over reloads.

pub mod counter;
pub mod grpc;
pub mod histogram;
pub mod labels;
pub mod metrics;
mod process;
pub mod reading;
pub mod report;
pub mod worker;

pub use counter::{Counter, Gauge};
pub use histogram::Histogram;
pub use labels::{Label, Labels, Readings};
pub use reading::Reading;
pub use worker::{ClusterStats, EndpointStats, ListenerStats, RouteStats, WorkerStats};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::config::Config;
use counter::group;
use grpc::MethodNames;
use labels::Registry;

group! {
    /// Numbers of the process, written by the control thread.
    pub struct ProcessStats {
        generation: Gauge "config_generation" "Generation of the configuration in use";
        generations: Gauge "config_generations" "Generations of the configuration that are still in use";
        reloads: Counter "config_reloads" "Reloads that took effect";
        reload_failures: Counter "config_reload_failures" "Reloads that were refused";
        certificate_swaps: Counter "certificate_swaps" "Times that changed files of certificates were read and put in force";
        certificate_failures: Counter "certificate_failures" "Times that changed files of certificates could not be used";
        acme_issued: Counter "acme_certificates_issued" "Certificates that an authority has issued (ACME)";
        acme_failures: Counter "acme_failures" "Orders of certificates that failed (ACME)";
        workload_identities: Gauge "workload_identities" "Identities from the SPIFFE Workload API that are valid now";
        workload_expiry: Gauge "workload_identity_expiry_seconds" "When the first of the identities from the SPIFFE Workload API expires, in seconds since 1970";
        workload_updates: Counter "workload_identity_updates" "Identities received from the SPIFFE Workload API";
        workload_failures: Counter "workload_api_failures" "Times that the SPIFFE Workload API could not be reached or ended its stream";
        resolutions: Counter "dns_resolutions" "Names resolved";
        resolution_failures: Counter "dns_resolution_failures" "Names that could not be resolved";
        endpoint_changes: Counter "endpoint_changes" "Times that endpoints which were found by DNS or in a file replaced others";
        discovery_stale: Gauge "discovery_stale" "Names and files of endpoints whose last answer is of no use, so that an earlier one is in use";
        mailbox_full: Counter "control_mailbox_full" "Commands that had to wait because a worker's mailbox was full";
        admin_requests: Counter "admin_requests" "Requests to the admin listeners";
        admin_refused: Counter "admin_refused" "Requests and connections that the admin listeners refused";
        ready: Gauge "ready" "1 while the proxy takes traffic, 0 while it starts and drains";
    }
}

/// The statistics of the whole process.
pub struct Stats {
    workers: Vec<Arc<WorkerStats>>,
    started: SystemTime,
    pub process: ProcessStats,
    pub access_log: Arc<crate::access_log::LogStats>,
    registry: Mutex<Registry>,
    methods: Arc<MethodNames>,
}

impl Stats {
    /// Statistics for so many workers.
    pub fn new(workers: usize) -> Arc<Stats> {
        let methods = Arc::<MethodNames>::default();
        Arc::new(Stats {
            workers: (0..workers)
                .map(|index| Arc::new(WorkerStats::new(index, Arc::clone(&methods))))
                .collect(),
            methods,
            started: SystemTime::now(),
            process: ProcessStats::default(),
            access_log: Arc::default(),
            registry: Mutex::default(),
        })
    }

    /// All workers, by index.
    pub fn workers(&self) -> &[Arc<WorkerStats>] {
        &self.workers
    }

    /// Gives every name of `config` its slot and makes room for it in every worker.
    ///
    /// Called on the control thread at start and at each reload, before a worker sees the configuration. The slots of
    /// a name stay its own as long as any holder of a [`Labels`] that names it lives.
    pub fn labels(&self, config: &Config) -> Arc<Labels> {
        for method in &config.process.grpc_methods {
            self.methods.add(format!("/{method}").as_bytes());
        }
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.assign(config, &self.workers)
    }
    /// What is counted for the names of `labels`, summed over the workers.
    pub fn read(&self, labels: &Labels) -> Readings {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.read(labels, &self.workers)
    }
}
