//! Files of certificates that change while the proxy runs: looked at now and then, and read again once they are still.
//!
//! Looking is asking for the inode, the time and the size, which works on every file system and through the symbolic
//! links by which secrets are swapped in containers. A change counts once two looks in a row see the same, so that
//! a file is not read while it is written, nor a certificate without its key.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::{TlsProblem, unix_now};
use crate::config::Config;

/// What a file looked like; `None` where it was not there.
pub(crate) type Stamp = Option<(u64, i64, i64, u64)>;

/// What files look like now. It is asked before they are read: what changes meanwhile is seen as a change later.
pub(super) fn stamps(files: &[&Path]) -> Vec<Stamp> {
    files.iter().map(|path| stamp(path)).collect()
}

/// What the files of each listener and cluster looked like.
#[derive(Debug, Default)]
pub struct Watcher {
    seen: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// In the last look.
    last: Vec<Stamp>,
    /// When they could not be used: they are not tried again as they are.
    failed: Option<Vec<Stamp>>,
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
            let (files, in_force, lapsed) = (&tls.files()[..], tls.stamps(), tls.has_lapsed(unix_now()));
            let look = Look { files, in_force, lapsed, reread: &|| tls.reread() };
            now.insert(of.clone(), self.follow(of, &look, &mut swaps));
        }
        for cluster in &config.clusters {
            let Some(tls) = &cluster.tls else { continue };
            let of = format!("cluster {}", cluster.name);
            let (files, in_force, lapsed) = (&tls.files()[..], tls.stamps(), false);
            let look = Look { files, in_force, lapsed, reread: &|| tls.reread() };
            now.insert(of.clone(), self.follow(of, &look, &mut swaps));
        }
        // Those of listeners and clusters that are gone are forgotten.
        self.seen = now;
        swaps
    }

    /// Reads the files again where they differ from those in force, or those have ended, and have been still since the last
    /// look.
    fn follow(&mut self, of: String, look: &Look<'_>, swaps: &mut Vec<Swap>) -> Seen {
        let now = stamps(look.files);
        let before = self.seen.remove(&of);
        let still = before.as_ref().is_some_and(|before| before.last == now);
        let mut failed = before.and_then(|before| before.failed).filter(|failed| *failed == now);
        if still && (now != look.in_force || look.lapsed) && failed.is_none() {
            let result = (look.reread)();
            failed = result.is_err().then(|| now.clone());
            swaps.push(Swap { of, result });
        }
        Seen { last: now, failed }
    }
}

/// The files of one listener or cluster.
struct Look<'a> {
    files: &'a [&'a Path],
    /// What they looked like when they were read.
    in_force: Vec<Stamp>,
    /// Something of them has ended: what they say now is something else than it was.
    lapsed: bool,
    reread: &'a dyn Fn() -> Result<Vec<TlsProblem>, Vec<TlsProblem>>,
}

/// What a file looks like now.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let facts = fs::metadata(path).ok()?;
    Some((facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.size()))
}
