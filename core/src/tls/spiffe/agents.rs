//! The agents of the SPIFFE Workload API: a task per socket, on the control thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use futures_util::StreamExt;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::{WorkloadApiClient, X509Context};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Identity;
use crate::config::Config;
use crate::stats::Stats;
use crate::tls::{date, unix_now};
use crate::{log_error, log_info, log_warning};

/// Pause after the first failure, doubled with each further one.
const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(1);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// An agent that takes the connection has to answer within this.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the expiry of what is in use is looked at.
const EXPIRY_PAUSE: Duration = Duration::from_secs(1);

/// Is told of every socket whose identity is new.
type OnNews = Box<dyn Fn(&str)>;

/// All agents of the configuration.
pub(crate) struct Agents {
    stats: Arc<Stats>,
    provider: Arc<CryptoProvider>,
    entries: RefCell<Vec<Entry>>,
    /// Something has come, or has failed to.
    tried: Notify,
    on_news: RefCell<OnNews>,
    random: RandomState,
}

struct Entry {
    socket: String,
    state: Rc<State>,
    task: JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct State {
    tried: Cell<bool>,
    failures: Cell<u32>,
    expiry_told: Cell<bool>,
}

impl Agents {
    pub(crate) fn new(stats: Arc<Stats>) -> Rc<Self> {
        Rc::new(Agents {
            stats,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            entries: RefCell::default(),
            tried: Notify::new(),
            on_news: RefCell::new(Box::new(|_| {})),
            random: RandomState::new(),
        })
    }

    /// Has `tell` called for every socket whose identity is new.
    pub(crate) fn on_news(&self, tell: impl Fn(&str) + 'static) {
        *self.on_news.borrow_mut() = Box::new(tell);
    }

    /// The sockets that are listened to.
    pub(crate) fn sockets(&self) -> Vec<String> {
        self.entries.borrow().iter().map(|entry| entry.socket.clone()).collect()
    }

    /// Listens to the agents of `config`, and no others. Must be called in a `LocalSet`.
    pub(crate) fn follow(self: &Rc<Self>, config: &Config) {
        self.follow_more(config);
        let wanted: Vec<&str> = sockets(config).into_iter().collect();
        self.entries.borrow_mut().retain(|entry| wanted.contains(&entry.socket.as_str()));
        super::forget_others(&wanted);
        self.show();
    }

    /// Listens to the agents of `config` as well.
    pub(crate) fn follow_more(self: &Rc<Self>, config: &Config) {
        for socket in sockets(config) {
            if self.entries.borrow().iter().any(|entry| entry.socket == socket) {
                continue;
            }
            let (socket, state) = (socket.to_owned(), Rc::new(State::default()));
            let task = tokio::task::spawn_local(Rc::clone(self).listen(socket.clone(), Rc::clone(&state)));
            self.entries.borrow_mut().push(Entry { socket, state, task });
        }
    }

    /// Waits until every agent of `config` has answered or failed once, for at most `timeout`.
    pub(crate) async fn tried(&self, config: &Config, timeout: Duration) {
        let sockets = sockets(config);
        let tried = || {
            let entries = self.entries.borrow();
            entries
                .iter()
                .filter(|entry| sockets.contains(entry.socket.as_str()))
                .all(|entry| entry.state.tried.get())
        };
        let all = async {
            loop {
                // Registered before the look, so that nothing between the two is missed.
                let changed = self.tried.notified();
                if tried() {
                    return;
                }
                changed.await;
            }
        };
        // Those that take longer follow when they answer.
        let _ = tokio::time::timeout(timeout, all).await;
    }

    /// Why the process cannot say who it is; `None`: it can, or need not.
    pub(crate) fn missing(&self) -> Option<String> {
        let entries = self.entries.borrow();
        entries.iter().find_map(|entry| match super::current(&entry.socket) {
            None => Some(format!("no identity from the SPIFFE Workload API at {}", entry.socket)),
            Some(identity) if identity.not_after() < unix_now() => {
                Some(format!("the identity {} has expired", identity.id()))
            }
            Some(_) => None,
        })
    }

    async fn listen(self: Rc<Self>, socket: String, state: Rc<State>) {
        let expiry = self.watch_expiry(&socket, &state);
        let stream = async {
            for round in 0_u64.. {
                let error = match self.stream(&socket, &state).await {
                    Ok(()) => "it has closed the stream".to_owned(),
                    Err(error) => error,
                };
                let pause = self.failed(&socket, &state, &error);
                // Up to half less, so that a fleet does not come back to its agent at one moment.
                let part = self.random.hash_one((&socket, round)) % 500;
                tokio::time::sleep(pause - pause * part as u32 / 1_000).await;
            }
        };
        tokio::join!(expiry, stream);
    }

    /// Takes in what the agent sends until it ends or fails.
    async fn stream(&self, socket: &str, state: &State) -> Result<(), String> {
        let words = |error: spiffe::WorkloadApiError| error.to_string();
        let late = |_| "it does not answer".to_owned();
        let begin = async {
            let client = WorkloadApiClient::connect_to(socket).await.map_err(words)?;
            let mut contexts = client.stream_x509_contexts().await.map_err(words)?;
            let first = contexts.next().await;
            Ok::<_, String>((client, contexts, first))
        };
        let (_client, mut contexts, mut next) =
            tokio::time::timeout(FIRST_ANSWER_TIMEOUT, begin).await.map_err(late)??;
        while let Some(context) = next {
            let identity = identity(&context.map_err(words)?, &self.provider)?;
            self.received(socket, state, identity);
            next = contexts.next().await;
        }
        Ok(())
    }

    fn received(&self, socket: &str, state: &State, identity: Identity) {
        let process = &self.stats.process;
        process.workload_updates.increment();
        state.failures.set(0);
        state.expiry_told.set(false);
        let (id, until, domains) = (identity.id(), date(identity.not_after()), identity.bundles_count());
        log_info!("identity received id={id} not_after={until} trust_domains={domains} agent={socket}");
        super::replace(socket, identity);
        (self.on_news.borrow())(socket);
        self.first_try(state);
        self.show();
    }

    fn failed(&self, socket: &str, state: &State, error: &str) -> Duration {
        self.stats.process.workload_failures.increment();
        let failures = state.failures.get();
        state.failures.set(failures.saturating_add(1));
        if failures == 0 {
            let then = match super::current(socket) {
                Some(identity) => {
                    format!("what it sent last stays in use until {}", date(identity.not_after()))
                }
                None => "there is no identity yet, handshakes that need one fail".to_owned(),
            };
            log_warning!(
                "the SPIFFE Workload API fails, {then}; it is tried again agent={socket} error={error}"
            );
        }
        self.first_try(state);
        FAILURE_PAUSE_MIN.saturating_mul(1 << failures.min(8)).min(FAILURE_PAUSE_MAX)
    }

    fn first_try(&self, state: &State) {
        state.tried.set(true);
        self.tried.notify_waiters();
    }

    /// Says once that an identity has expired.
    async fn watch_expiry(&self, socket: &str, state: &State) {
        loop {
            tokio::time::sleep(EXPIRY_PAUSE).await;
            let Some(identity) = super::current(socket) else { continue };
            if identity.not_after() < unix_now() && !state.expiry_told.replace(true) {
                log_error!(
                    "the identity has expired and no other one came: peers refuse it id={} agent={socket}",
                    identity.id()
                );
                self.show();
            }
        }
    }

    /// Brings the metrics up to date.
    fn show(&self) {
        let entries = self.entries.borrow();
        let held: Vec<_> = entries.iter().filter_map(|entry| super::current(&entry.socket)).collect();
        let now = unix_now();
        let valid = held.iter().filter(|identity| identity.not_after() >= now).count();
        let process = &self.stats.process;
        process.workload_identities.set(valid as u64);
        let first = held.iter().map(|identity| identity.not_after()).min().unwrap_or(0);
        process.workload_expiry.set(u64::try_from(first).unwrap_or(0));
    }
}

/// The sockets that a configuration names.
fn sockets(config: &Config) -> BTreeSet<&str> {
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let clusters = config.clusters.iter().filter_map(|cluster| cluster.tls.as_ref());
    listeners
        .filter_map(|tls| tls.settings().workload.as_deref())
        .chain(clusters.filter_map(|tls| tls.settings().workload.as_deref()))
        .collect()
}

/// The first identity of those that the agent has for this workload, which is the default one (Workload API, 5.3).
fn identity(context: &X509Context, provider: &CryptoProvider) -> Result<Identity, String> {
    let svid = context.default_svid().ok_or("the agent has no identity for this workload")?;
    let chain = svid.cert_chain().iter().map(|der| CertificateDer::from(der.as_bytes().to_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec()));
    let bundles = context.bundle_set().iter().map(|(domain, bundle)| {
        let authorities = bundle.authorities().iter();
        let authorities = authorities.map(|der| CertificateDer::from(der.as_bytes().to_vec())).collect();
        (domain.to_string(), authorities)
    });
    Identity::new(chain, key, bundles, provider)
}
