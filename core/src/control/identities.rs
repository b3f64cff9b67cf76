//! Identities that come from outside while the proxy runs: certificates by ACME, and the SPIFFE Workload API.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::lifecycle::Control;
use crate::config::Config;
use crate::stats::Stats;
#[cfg(feature = "spiffe")]
use crate::{log_warning, tls::spiffe::Agents};

/// What is asked for identities.
pub(super) struct Identities {
    #[cfg(feature = "acme")]
    renewals: Rc<crate::acme::Renewals>,
    #[cfg(feature = "spiffe")]
    agents: Rc<Agents>,
}

impl Identities {
    pub(super) fn new(stats: &Arc<Stats>) -> Self {
        let _ = stats;
        Identities {
            #[cfg(feature = "acme")]
            renewals: crate::acme::Renewals::new(Arc::clone(stats)),
            #[cfg(feature = "spiffe")]
            agents: Agents::new(Arc::clone(stats)),
        }
    }

    /// Has what is new put in force in the configuration in use. Certificates need nothing: their files are watched.
    pub(super) fn serve(&self, control: &Rc<Control>) {
        let _ = control;
        #[cfg(feature = "spiffe")]
        {
            let control = Rc::downgrade(control);
            self.agents.on_news(move |socket| {
                if let Some(control) = control.upgrade() {
                    put_in_force(&control.generations.current().config, socket);
                }
            });
        }
    }

    /// Asks for the identities of `config`, and no others.
    pub(super) fn follow(&self, config: &Config) {
        let _ = config;
        #[cfg(feature = "acme")]
        self.renewals.follow(config);
        #[cfg(feature = "spiffe")]
        self.agents.follow(config);
    }

    /// Asks for what a new configuration needs besides, and waits for it a little: handshakes need it.
    pub(super) async fn prepare(&self, config: &Config, timeout: Duration) {
        let _ = (config, timeout);
        #[cfg(feature = "spiffe")]
        {
            self.agents.follow_more(config);
            self.agents.tried(config, timeout).await;
            for socket in self.agents.sockets() {
                put_in_force(config, &socket);
            }
        }
    }

    /// Why the process is not ready; `None`: it is.
    pub(super) fn missing(&self) -> Option<String> {
        #[cfg(feature = "spiffe")]
        return self.agents.missing();
        #[cfg(not(feature = "spiffe"))]
        None
    }
}

/// Has everything read again that has its identity from this agent.
#[cfg(feature = "spiffe")]
fn put_in_force(config: &Config, socket: &str) {
    let listeners =
        config.listeners.iter().filter_map(|listener| Some((&listener.name, listener.tls.as_ref()?)));
    for (name, tls) in listeners.filter(|(_, tls)| tls.settings().workload.as_deref() == Some(socket)) {
        if let Err(problems) = tls.reread() {
            refused(&format!("listener {name}"), &problems);
        }
    }
    let clusters = config.clusters.iter().filter_map(|cluster| Some((&cluster.name, cluster.tls.as_ref()?)));
    for (name, tls) in clusters.filter(|(_, tls)| tls.settings().workload.as_deref() == Some(socket)) {
        if let Err(problems) = tls.reread() {
            refused(&format!("cluster {name}"), &problems);
        }
    }
}

#[cfg(feature = "spiffe")]
fn refused(of: &str, problems: &[crate::tls::TlsProblem]) {
    let first = problems.iter().find(|problem| !problem.warning).map(ToString::to_string).unwrap_or_default();
    log_warning!("an identity cannot be used, the one before stays in force of={of} error={first}");
}
