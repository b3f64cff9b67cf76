//! Keeps the certificates of a configuration issued and renewed: a task for each, on the control thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use tokio::task::JoinHandle;

use super::{AcmeConfig, order, schedule};
use crate::config::Config;
use crate::stats::Stats;
use crate::tls::{CertificateFacts, acme_certificate, date, roots_for, unix_now};
use crate::{log_info, log_warning};

/// The certificates that are kept.
pub struct Renewals {
    stats: Arc<Stats>,
    tasks: RefCell<Vec<(AcmeConfig, JoinHandle<()>)>>,
    random: RandomState,
}

impl Renewals {
    pub fn new(stats: Arc<Stats>) -> Rc<Self> {
        Rc::new(Renewals { stats, tasks: RefCell::default(), random: RandomState::new() })
    }

    /// Keeps the certificates of `config`, and no others. Must be called in a `LocalSet`.
    pub fn follow(self: &Rc<Self>, config: &Config) {
        let wanted: Vec<&AcmeConfig> = config
            .listeners
            .iter()
            .filter_map(|listener| listener.tls.as_ref()?.settings().acme.as_ref())
            .collect();
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|(kept, task)| {
            let stays = wanted.contains(&kept);
            if !stays {
                task.abort();
            }
            stays
        });
        for config in wanted {
            // Listeners may share a certificate.
            if !tasks.iter().any(|(kept, _)| kept == config) {
                let task = tokio::task::spawn_local(Rc::clone(self).keep(config.clone()));
                tasks.push((config.clone(), task));
            }
        }
    }

    async fn keep(self: Rc<Self>, config: AcmeConfig) {
        let hosts = config.hosts.join(",");
        let mut failures = 0_u32;
        for round in 0_u64.. {
            let random = self.random.hash_one((&hosts, round));
            wait(|| remaining(&config, random)).await;
            let result = match roots_for(config.ca.as_deref()) {
                Ok(roots) => order::run(&config, roots).await,
                Err(error) => Err(error),
            };
            let pause = match result.and_then(|()| fits_or_why(&config)) {
                Ok(facts) => {
                    failures = 0;
                    self.stats.process.acme_issued.increment();
                    log_info!("a certificate was issued hosts={hosts} not_after={}", date(facts.not_after));
                    if !remaining(&config, random).is_zero() {
                        continue;
                    }
                    // It would be ordered again at once, and again.
                    log_warning!("the new certificate is due already: is the clock right? hosts={hosts}");
                    schedule::failure_wait(1, random)
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.stats.process.acme_failures.increment();
                    let pause = schedule::failure_wait(failures, random);
                    let pause_s = pause.as_secs();
                    log_warning!(
                        "a certificate could not be had, what is there stays in use hosts={hosts} \
                         retry_s={pause_s} error={error}"
                    );
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Sleeps until nothing remains. The clock of the machine is asked again and again: it may be set.
async fn wait(remaining: impl Fn() -> Duration) {
    loop {
        let left = remaining();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(schedule::SLEEP_MAX)).await;
    }
}

/// How long what is on disk does.
fn remaining(config: &AcmeConfig, random: u64) -> Duration {
    match fits(config) {
        Some(facts) => schedule::renewal_wait(facts.not_before, facts.not_after, unix_now(), random),
        None => Duration::ZERO,
    }
}

/// The certificate on disk, if it is for the names that are wanted.
fn fits(config: &AcmeConfig) -> Option<CertificateFacts> {
    let facts = acme_certificate(config)?;
    config.hosts.iter().all(|host| facts.dns.contains(host)).then_some(facts)
}

fn fits_or_why(config: &AcmeConfig) -> Result<CertificateFacts, String> {
    fits(config).ok_or_else(|| "what the authority has issued is not what was ordered".to_owned())
}
