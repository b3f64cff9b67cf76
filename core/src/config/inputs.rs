//! Which files and directories a configuration was read from, and what they looked like: what watching looks at.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Inode, time of the last change in seconds and nanoseconds, and size; `None` where there was nothing.
type Stamp = Option<(u64, i64, i64, u64)>;

/// What was read, each with how it looked before it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inputs {
    seen: Vec<(PathBuf, Stamp)>,
}

impl Inputs {
    /// Notes a path. To be called before it is read: what changes meanwhile is a change then.
    pub(super) fn add(&mut self, path: &Path) {
        if self.seen.iter().all(|(known, _)| known != path) {
            self.seen.push((path.to_owned(), stamp(path)));
        }
    }

    /// The same files as they look now. It blocks: not for a worker.
    pub fn look(&self) -> Inputs {
        Inputs { seen: self.seen.iter().map(|(path, _)| (path.clone(), stamp(path))).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// Symbolic links are followed: containers swap configurations and secrets by them.
fn stamp(path: &Path) -> Stamp {
    let facts = fs::metadata(path).ok()?;
    Some((facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.size()))
}
