//! Files of policies that change while the proxy runs. Who watches them is for others to know: here is what they say now.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::fields::{Field, Problem, Values};

/// A file that a policy was built from, and that may say something else later.
pub trait WatchedFile: Send + Sync {
    fn path(&self) -> &Path;

    /// The shape of the file.
    fn fields(&self) -> &'static [Field];

    /// Puts what the file says now in force, on all workers at once.
    ///
    /// # Errors
    /// All that is wrong with it; what was in force stays.
    fn replace(&self, values: &Values) -> Result<(), Vec<Problem>>;
}

/// What a file of this type says now.
#[derive(Debug)]
pub struct Watched<T> {
    path: PathBuf,
    current: ArcSwap<T>,
}

impl<T> Watched<T> {
    pub fn new(path: PathBuf, value: T) -> Watched<T> {
        Watched { path, current: ArcSwap::from_pointee(value) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in force; it stays whole while it is held.
    pub fn get(&self) -> arc_swap::Guard<Arc<T>> {
        self.current.load()
    }

    pub fn set(&self, value: T) {
        self.current.store(Arc::new(value));
    }
}

impl WatchedFile for Watched<crate::credentials::Credentials> {
    fn path(&self) -> &Path {
        self.path()
    }

    fn fields(&self) -> &'static [Field] {
        crate::credentials::FIELDS
    }

    fn replace(&self, values: &Values) -> Result<(), Vec<Problem>> {
        self.set(crate::credentials::Credentials::build(values)?);
        Ok(())
    }
}
