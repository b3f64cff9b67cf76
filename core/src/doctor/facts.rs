//! What the checks look at.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::PathBuf;

use crate::config::cpus::Host;
use crate::io::{self, Probe};

/// What is asked from the kernel, and where its files are.
#[derive(Debug)]
pub(super) struct Facts {
    /// Where `/proc` and `/sys` are.
    pub(super) root: PathBuf,
    pub(super) host: Host,
    pub(super) probe: Probe,
    /// Why a socket cannot be bound on loopback.
    pub(super) ipv4_error: Option<String>,
    pub(super) ipv6_error: Option<String>,
    /// `RINGWAY_IO`, which says what has to work.
    pub(super) io_choice: Option<String>,
}

impl Facts {
    pub(super) fn gather() -> Facts {
        let root = PathBuf::from("/");
        Facts {
            host: Host::read(&root),
            probe: io::probe(),
            ipv4_error: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).err().map(|error| error.to_string()),
            ipv6_error: TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).err().map(|error| error.to_string()),
            io_choice: std::env::var("RINGWAY_IO").ok().filter(|choice| !choice.is_empty()),
            root,
        }
    }

    /// A file of one line.
    pub(super) fn line(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// A number in a file.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.line(path)?.parse().ok()
    }

    /// A field of `/proc/self/status`.
    pub(super) fn status(&self, field: &str) -> Option<String> {
        let text = self.line("proc/self/status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }

    /// Soft and hard limit out of `/proc/self/limits`; `None` inside is unlimited.
    pub(super) fn limit(&self, name: &str) -> Option<(Option<u64>, Option<u64>)> {
        let text = self.line("proc/self/limits")?;
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = rest.split_whitespace();
        let mut next = || match words.next()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        };
        Some((next()?, next()?))
    }
}
