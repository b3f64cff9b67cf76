//! What io_uring offers here, found out by trying it: containers and hardened hosts refuse more than the version tells.

use std::io;

use super::Driver;
use super::uring::try_out;
use crate::config::IoChoice;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Why there is no ring at all, in plain words.
    pub setup_error: Option<String>,
    /// What the driver needs and this kernel lacks, by name.
    pub missing: Vec<&'static str>,
    /// What the driver would use and does without.
    pub optional_missing: Vec<&'static str>,
}

impl Probe {
    /// Whether the io_uring driver can run.
    pub fn is_usable(&self) -> bool {
        self.setup_error.is_none() && self.missing.is_empty()
    }

    /// Why the driver cannot run, in one sentence; `None` when it can.
    pub fn obstacle(&self) -> Option<String> {
        match &self.setup_error {
            Some(error) => Some(error.clone()),
            None if self.missing.is_empty() => None,
            None => Some(format!("this kernel lacks {}", self.missing.join(", "))),
        }
    }
}

/// Tries what the io_uring driver needs, on a small ring of its own. Takes about a millisecond.
pub fn probe() -> Probe {
    // The ring belongs to the thread that sets it up, which then must not be a worker with a ring already registered.
    std::thread::Builder::new()
        .name("io-probe".to_owned())
        .spawn(try_out::run)
        .and_then(|thread| thread.join().map_err(|_| io::Error::other("the probe panicked")))
        .unwrap_or_else(|error| Probe { setup_error: Some(error.to_string()), ..Probe::default() })
}

/// The driver for a choice, and why `auto` fell back to epoll if it did.
///
/// # Errors
/// When io_uring was asked for by name and cannot be had: why.
pub fn choose(choice: IoChoice) -> Result<(Driver, Option<String>), String> {
    choose_from(choice, probe)
}

fn choose_from(choice: IoChoice, probe: impl FnOnce() -> Probe) -> Result<(Driver, Option<String>), String> {
    match choice {
        IoChoice::Epoll => Ok((Driver::Epoll, None)),
        IoChoice::Uring => match probe().obstacle() {
            None => Ok((Driver::Uring, None)),
            Some(why) => {
                Err(format!("io_uring was asked for, but {why}; with `auto`, epoll is used instead"))
            }
        },
        #[cfg(feature = "monoio")]
        IoChoice::Monoio => Ok((Driver::Monoio, None)),
        #[cfg(feature = "glommio")]
        IoChoice::Glommio => Ok((Driver::Glommio, None)),
        IoChoice::Auto => Ok(match probe().obstacle() {
            None => (Driver::Uring, None),
            Some(why) => (Driver::Epoll, Some(why)),
        }),
    }
}

/// Why io_uring_setup(2) failed, for a person.
pub(super) fn explain_setup(error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::EPERM) => match std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
            Ok(value) if value.trim() != "0" => {
                format!(
                    "kernel.io_uring_disabled is {}: `sysctl kernel.io_uring_disabled=0` allows it",
                    value.trim()
                )
            }
            _ => "a seccomp filter refuses it, as the default profiles of Docker and containerd do: run the \
                  container with a profile that allows io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned(),
        },
        Some(libc::ENOSYS) => {
            "the kernel is built without it, or a seccomp filter pretends so: allow io_uring_setup, \
             io_uring_enter and io_uring_register"
                .to_owned()
        }
        Some(libc::ENOMEM) => {
            "the limit on locked memory is too low: raise it (`ulimit -l`, LimitMEMLOCK=)".to_owned()
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptor is left: raise the limit (`ulimit -n`)".to_owned()
        }
        Some(libc::EINVAL) => {
            "the kernel is older than 6.1, which brought IORING_SETUP_DEFER_TASKRUN".to_owned()
        }
        _ => "that is unexpected".to_owned(),
    };
    format!("io_uring_setup fails ({error}): {why}")
}

#[cfg(test)]
mod tests {
    use super::{Probe, choose_from};
    use crate::config::IoChoice;
    use crate::io::Driver;

    #[test]
    fn auto_falls_back_and_says_why_and_uring_fails() {
        let lacking = || Probe { missing: vec!["multishot recv"], ..Probe::default() };
        let refused = || Probe { setup_error: Some("refused".to_owned()), ..Probe::default() };
        assert_eq!(choose_from(IoChoice::Auto, Probe::default), Ok((Driver::Uring, None)));
        assert_eq!(
            choose_from(IoChoice::Auto, lacking),
            Ok((Driver::Epoll, Some("this kernel lacks multishot recv".to_owned())))
        );
        assert_eq!(choose_from(IoChoice::Auto, refused), Ok((Driver::Epoll, Some("refused".to_owned()))));
        assert_eq!(
            choose_from(IoChoice::Epoll, || unreachable!("epoll needs no probe")),
            Ok((Driver::Epoll, None))
        );
        assert_eq!(choose_from(IoChoice::Uring, Probe::default), Ok((Driver::Uring, None)));
        for probe in [lacking(), refused()] {
            let why = probe.obstacle().unwrap();
            assert!(choose_from(IoChoice::Uring, || probe).unwrap_err().contains(&why));
        }
    }
}
