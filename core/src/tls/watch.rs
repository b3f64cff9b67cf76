//! Files of certificates that change while the proxy runs: looked at now and then, and read again once they are still.
//!
//! Looking is asking for the inode, the time and the size, which works on every file system and through the symbolic
//! links by which secrets are swapped in containers. A change counts once two looks in a row see the same, so that
//! a file is not read while it is written, nor a certificate without its key.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::TlsProblem;
use crate::config::Config;

/// What a file looked like; `None` where it was not there.
type Stamp = Option<(u64, i64, i64, u64)>;

/// What the files of each listener and cluster looked like.
#[derive(Debug, Default)]
pub struct Watcher {
    seen: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// In the last look.
    last: Vec<Stamp>,
    /// When they were read.
    read: Vec<Stamp>,
}

/// What came of files that had changed.
#[derive(Debug)]
pub struct Swap {
    /// Whose they are, such as `listener web`.
    pub of: String,
    /// Warnings about what is in force now, or why it stays as it was.
    pub result: Result<Vec<TlsProblem>, Vec<TlsProblem>>,
}

impl Watcher {
    /// Looks at the files of a configuration and reads those again that have changed. It blocks: not for a worker.
    pub fn look(&mut self, config: &Config) -> Vec<Swap> {
        let mut swaps = Vec::new();
        let mut now = HashMap::new();
        for listener in &config.listeners {
            let Some(tls) = &listener.tls else { continue };
            let of = format!("listener {}", listener.name);
            let (seen, changed) = self.changed(&of, &tls.files());
            if changed {
                swaps.push(Swap { of: of.clone(), result: tls.reread() });
            }
            now.insert(of, seen);
        }
        for cluster in &config.clusters {
            let Some(tls) = &cluster.tls else { continue };
            let of = format!("cluster {}", cluster.name);
            let (seen, changed) = self.changed(&of, &tls.files());
            if changed {
                swaps.push(Swap { of: of.clone(), result: tls.reread() });
            }
            now.insert(of, seen);
        }
        // Those of listeners and clusters that are gone are forgotten.
        self.seen = now;
        swaps
    }

    /// What the files look like now, and whether they are to be read again. The first look only remembers: they were
    /// read a moment ago.
    fn changed(&mut self, of: &str, files: &[&Path]) -> (Seen, bool) {
        let stamps: Vec<Stamp> = files.iter().map(|path| stamp(path)).collect();
        match self.seen.remove(of) {
            Some(before) if before.read.len() == stamps.len() => {
                let changed = stamps != before.read && stamps == before.last;
                let read = if changed { stamps.clone() } else { before.read };
                (Seen { last: stamps, read }, changed)
            }
            _ => (Seen { last: stamps.clone(), read: stamps }, false),
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let facts = fs::metadata(path).ok()?;
    Some((facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.size()))
}
