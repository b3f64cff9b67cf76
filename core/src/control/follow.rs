//! Follows files: looks at them once a second, on a thread that may block, and hands on what was found.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::lifecycle::Control;
use crate::config::Config;
use crate::tls::{Stamp, stamp};

/// Time between two looks. A change is in force after two of them at most.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Has `look` look at the files of the configuration in use until the control thread ends, and `report` told what came
/// of it. `W` is what a look remembers for the next one; a look that panics forgets it.
pub(super) fn follow<W, F>(control: &Rc<Control>, look: fn(&mut W, &Config) -> F, report: fn(&Rc<Control>, F))
where
    W: Default + Send + 'static,
    F: Send + 'static,
{
    let control = Rc::downgrade(control);
    tokio::task::spawn_local(async move {
        let mut watcher = W::default();
        let mut ticks = tokio::time::interval(LOOK_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(control) = control.upgrade() else { return };
            let config = control.generations.current().config.clone();
            // Reading files may block: not on this thread, where others are answered.
            let looked = tokio::task::spawn_blocking(move || {
                let found = look(&mut watcher, &config);
                (watcher, found)
            });
            watcher = match looked.await {
                Ok((watcher, found)) => {
                    report(&control, found);
                    watcher
                }
                Err(_) => W::default(),
            };
        }
    });
}

/// What files looked like, of one generation of the configuration: each was read when that was loaded.
#[derive(Debug, Default)]
pub(super) struct Seen {
    generation: u64,
    files: HashMap<PathBuf, SeenFile>,
}

#[derive(Debug, Default)]
struct SeenFile {
    /// In the last look.
    last: Stamp,
    /// When it was last read; `None`: with the configuration, and it may have changed since.
    read: Option<Stamp>,
}

/// Why a file is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It may have changed after the configuration was loaded and before the first look.
    First,
    Changed,
}

impl Seen {
    /// Forgets everything where another configuration was loaded.
    pub(super) fn begin(&mut self, config: &Config) {
        if self.generation != config.generation {
            *self = Seen { generation: config.generation, files: HashMap::new() };
        }
    }

    /// Whether a file is to be read now: once it has been still since the last look and is not as it was when it was
    /// read, whatever came of that. It counts as read then.
    pub(super) fn due(&mut self, path: &Path) -> Option<Due> {
        let now = stamp(path);
        let first = !self.files.contains_key(path);
        let seen = self.files.entry(path.to_owned()).or_default();
        let still = !first && seen.last == now;
        seen.last = now;
        if !still || seen.read == Some(now) {
            return None;
        }
        Some(if seen.read.replace(now).is_some() { Due::Changed } else { Due::First })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_it_is_still_and_once_for_each_change() {
        let path = std::env::temp_dir().join(format!("ringway-follow-{}", std::process::id()));
        let mut seen = Seen::default();
        let mut look = |expected: &[Option<Due>]| {
            let found: Vec<_> = expected.iter().map(|_| seen.due(&path)).collect();
            assert_eq!(found, expected);
        };
        std::fs::write(&path, "a").expect("written");
        look(&[None, Some(Due::First), None, None]);
        std::fs::write(&path, "bb").expect("written");
        look(&[None, Some(Due::Changed), None]);
        // While it is written it differs from look to look.
        for length in 3..6 {
            std::fs::write(&path, "c".repeat(length)).expect("written");
            look(&[None]);
        }
        look(&[Some(Due::Changed), None]);
        std::fs::remove_file(&path).expect("removed");
        look(&[None, Some(Due::Changed), None]);
    }
}
