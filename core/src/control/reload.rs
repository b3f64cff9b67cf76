//! A reload: load, check, resolve, bind, and only then tell the workers. What fails before that changes nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};

use super::command::Generation;
use super::lifecycle::{Control, Phase};
use super::{Bind, Load, notify};
use crate::config::{Config, restart_needed};
use crate::{log_error, log_info, log_warning};

/// How long a reload waits for names that are new in it; those that take longer follow when they are known.
const NEW_NAMES_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a reload waits for workers that are busy before it is answered without them.
const LIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Reloads that may wait for the one that runs; what is beyond is refused.
const WAITING_MAX: usize = 4;

/// Runs reloads, one at a time.
pub(super) struct Reloader {
    control: Rc<Control>,
    load: Option<Load>,
    bind: Bind,
    turn: Mutex<()>,
    waiting: Cell<usize>,
}

impl Reloader {
    pub(super) fn new(control: Rc<Control>, load: Option<Load>, bind: Bind) -> Rc<Reloader> {
        Rc::new(Reloader { control, load, bind, turn: Mutex::new(()), waiting: Cell::new(0) })
    }

    /// Starts a reload (after the one that runs, if any) and answers what came of it.
    pub(super) fn spawn(self: &Rc<Self>, answer: Option<oneshot::Sender<Result<String, String>>>) {
        if self.waiting.get() >= WAITING_MAX {
            if let Some(answer) = answer {
                // Nobody may be listening any more.
                let _ = answer.send(Err("too many reloads wait already".to_owned()));
            }
            return;
        }
        self.waiting.set(self.waiting.get() + 1);
        let this = self.clone();
        tokio::task::spawn_local(async move {
            let result = {
                let _turn = this.turn.lock().await;
                this.waiting.set(this.waiting.get() - 1);
                this.reload().await
            };
            if let Some(answer) = answer {
                let _ = answer.send(result);
            }
        });
    }

    async fn reload(&self) -> Result<String, String> {
        let begin = Instant::now();
        let stats = &self.control.stats.process;
        if matches!(self.control.phase(), Phase::Draining | Phase::Stopping) {
            return Err("the proxy is shutting down".to_owned());
        }
        notify::reloading();
        let result = self.try_reload().await;
        let took = begin.elapsed().as_millis();
        match &result {
            Ok(message) => {
                stats.reloads.increment();
                log_info!("configuration reloaded {message} took_ms={took}");
            }
            Err(message) => {
                stats.reload_failures.increment();
                let kept = self.control.generations.current().config.generation;
                log_error!("reload refused, generation {kept} stays in use:");
                // One log line for each line of the message: errors name file, line and column.
                for line in message.lines() {
                    log_error!("  {line}");
                }
            }
        }
        self.control.generations.set_last_reload(result.clone());
        if self.control.is_ready() {
            let generation = self.control.generations.current().config.generation;
            notify::ready(&format!(
                "generation {generation}{}",
                if result.is_err() { ", reload refused" } else { "" }
            ));
        }
        result
    }

    async fn try_reload(&self) -> Result<String, String> {
        let control = &self.control;
        let load = self
            .load
            .clone()
            .ok_or("there is no configuration file to load again (started with --config?)")?;
        self.check_bounds()?;
        let current = control.generations.current();
        let old = current.config.clone();
        // Reading files may block: not on this thread, where others are answered.
        let loaded = tokio::task::spawn_blocking(move || {
            let mut config = load()?;
            config.keep_tls(&old);
            config.keep_budgets(&old);
            config.keep_policies(&old);
            Ok::<_, String>(config)
        });
        let loaded = loaded.await;
        let mut config = loaded.map_err(|_| "loading the configuration panicked".to_owned())??;
        config.generation = current.config.generation + 1;
        let kept = restart_needed(&current.config, &config);
        for change in &kept {
            log_warning!("a change needs a restart, the old value stays in use change={change}");
        }
        config.keep_process(&current.config);
        control.names.follow_more(&config);
        control.names.tried(&config, NEW_NAMES_TIMEOUT).await;
        // Hosts of services are names themselves.
        control.set_known_endpoints(&mut config);
        control.names.follow_more(&config);
        control.names.tried(&config, NEW_NAMES_TIMEOUT).await;
        control.identities.prepare(&config, NEW_NAMES_TIMEOUT).await;
        if matches!(control.phase(), Phase::Draining | Phase::Stopping) {
            return Err("the proxy is shutting down".to_owned());
        }
        let begin = Instant::now();
        let applied = self.apply(&current, config);
        // Whichever configuration is in use now: its names, and no others.
        control.names.follow(&control.generations.current().config);
        control.identities.follow(&control.generations.current().config);
        applied?;
        let live = self.live(begin).await;
        let number = control.generations.current().config.generation;
        Ok(match kept.as_slice() {
            [] => format!("generation={number} {live}"),
            kept => format!("generation={number} {live} needs_restart=[{}]", kept.join(", ")),
        })
    }

    /// Waits until every worker uses the new generation, and says how long that took.
    async fn live(&self, sent: Instant) -> String {
        let generation = self.control.generations.current();
        let workers = self.control.outbox.workers();
        match tokio::time::timeout(LIVE_TIMEOUT, generation.taken.by(workers)).await {
            Ok(()) => format!("live_us={}", sent.elapsed().as_micros()),
            // Commands are not lost: it takes effect there as soon as the worker comes to it.
            Err(_) => "live=not yet on every worker".to_owned(),
        }
    }

    fn check_bounds(&self) -> Result<(), String> {
        let control = &self.control;
        let max = control.generations.current().config.process.generations_max;
        let old = control.generations.old();
        if old.len() >= max {
            return Err(format!(
                "{} old generations are still in use by running exchanges ({old:?}), at most {max} may be \
                 (setting `generations`): wait for them to end, then reload again",
                old.len()
            ));
        }
        match control.outbox.unconfigured() {
            Some(worker) => {
                Err(format!("worker {worker} did not take the last configuration yet: reload again"))
            }
            None => Ok(()),
        }
    }

    /// The point of no return lies after the sockets are bound.
    fn apply(&self, current: &Generation, mut config: Config) -> Result<(), String> {
        let control = &self.control;
        let sockets = (self.bind)(&current.config, &config)?;
        let workers = control.outbox.workers();
        if sockets.len() > workers {
            return Err(format!("sockets for {} workers were bound, there are {workers}", sockets.len()));
        }
        config.keep_weights(&current.config);
        control.set_known_endpoints(&mut config);
        control.forget_files();
        control.put_in_use(config, sockets);
        Ok(())
    }
}
