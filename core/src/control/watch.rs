//! Watches the files of the configuration, and reloads it when they have changed and are still.
//!
//! Looking is asking for inode, time and size, which works on every file system and through the symbolic links by which
//! containers swap configurations. A change counts once two looks in a row see the same, so that no file is read while it
//! is written. A configuration that was refused is not tried again as it is.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::lifecycle::{Control, Phase};
use super::reload::Reloader;
use crate::config::Inputs;
use crate::log_info;

/// Time between two looks. A change is in force after two of them at most.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// What the last load read, or was to read: written by whoever loads, read by the watcher.
#[derive(Debug, Clone, Default)]
pub struct Tried(Arc<Mutex<Inputs>>);

impl Tried {
    pub fn set(&self, inputs: Inputs) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = inputs;
    }

    fn get(&self) -> Inputs {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks at the files until the control thread ends, wherever the configuration in use asks for it.
pub(super) fn follow(control: &Rc<Control>, reloader: &Rc<Reloader>, tried: Tried) {
    let (control, reloader) = (Rc::downgrade(control), Rc::downgrade(reloader));
    tokio::task::spawn_local(async move {
        let mut last: Option<Inputs> = None;
        let mut ticks = tokio::time::interval(LOOK_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (Some(control), Some(reloader)) = (control.upgrade(), reloader.upgrade()) else { return };
            let running = control.phase() == Phase::Running;
            if !running || !control.generations.current().config.process.watch {
                last = None;
                continue;
            }
            let read = tried.get();
            // Files may be on a file system that hangs: not on this thread, where others are answered.
            let looked = tokio::task::spawn_blocking(move || (read.look(), read)).await;
            let Ok((now, read)) = looked else { continue };
            if now == read || last.as_ref() != Some(&now) {
                last = Some(now);
                continue;
            }
            log_info!("reload asked for by=watch");
            let (sender, answer) = oneshot::channel();
            reloader.spawn(Some(sender));
            // Whatever came of it is logged, and in `/config`; until it has, there is nothing to look at.
            let _ = answer.await;
            last = None;
        }
    });
}
