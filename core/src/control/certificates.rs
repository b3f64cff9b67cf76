//! Follows the files of certificates, and puts what they say in force.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::lifecycle::Control;
use crate::tls::{Swap, Watcher};
use crate::{log_error, log_info, log_warning};

/// Time between two looks. A change is in force after two of them at most.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Looks at the files of the current configuration until the control thread ends.
pub(super) fn follow(control: &Rc<Control>) {
    let control = Rc::downgrade(control);
    tokio::task::spawn_local(async move {
        let mut watcher = Watcher::default();
        let mut ticks = tokio::time::interval(LOOK_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(control) = control.upgrade() else { return };
            let config = control.generations.current().config.clone();
            // Reading files may block: not on this thread, where others are answered.
            let looked = tokio::task::spawn_blocking(move || {
                let swaps = watcher.look(&config);
                (watcher, swaps)
            });
            watcher = match looked.await {
                Ok((watcher, swaps)) => {
                    swaps.iter().for_each(|swap| report(&control, swap));
                    watcher
                }
                Err(_) => Watcher::default(),
            };
        }
    });
}

fn report(control: &Control, swap: &Swap) {
    let stats = &control.stats.process;
    match &swap.result {
        Ok(warnings) => {
            stats.certificate_swaps.increment();
            log_info!("certificates read again of={}", swap.of);
            for warning in warnings {
                log_warning!("  {warning}");
            }
        }
        Err(problems) => {
            stats.certificate_failures.increment();
            log_error!(
                "certificates have changed and cannot be used, those of before stay in force of={}",
                swap.of
            );
            for problem in problems {
                log_error!("  {problem}");
            }
        }
    }
}
