//! Child processes that never outlive the comparison, however it ends.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A running child. Dropping it ends it by its own id: TERM, and KILL when it does not obey.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
const TERM_WAIT_MAX: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(10);

/// Makes INT and TERM end the comparison by way of its destructors.
pub(super) fn watch_signals() {
    extern "C" fn interrupted(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        unsafe { libc::signal(signal, interrupted as *const () as libc::sighandler_t) };
    }
}

/// An error when a signal asked for the end.
pub(super) fn check_interrupted() -> io::Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted; every child was ended"));
    }
    Ok(())
}

impl Running {
    /// Starts a program on one CPU, with its output in a file.
    pub(super) fn start(program: &Path, args: &[OsString], cpu: usize, log: PathBuf) -> io::Result<Running> {
        let output = File::create(&log)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = pinned(&mut command, cpu).spawn()?;
        Ok(Running { child, log })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs; else what it said last.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = said.lines().collect();
                let last = lines[lines.len().saturating_sub(5)..].join("\n  ");
                Err(io::Error::other(format!("ended with {status}:\n  {last}")))
            }
        }
    }

    fn wait_until(&mut self, end: Instant) -> bool {
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // SAFETY: no pointers; the child is not yet waited for, so the id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        if !self.wait_until(Instant::now() + TERM_WAIT_MAX) {
            // Both can fail only when it has ended meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program on one CPU to its end and returns what it printed, whatever its status.
pub(super) fn output(program: &Path, args: &[OsString], cpu: usize) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = pinned(&mut command, cpu).output()?;
    check_interrupted()?;
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// CPU time of all children that have ended and were waited for.
pub(super) fn children_cpu_us() -> f64 {
    // SAFETY: the structure is plain numbers, which the kernel fills.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let us = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    us(usage.ru_utime) + us(usage.ru_stime)
}

fn pinned(command: &mut Command, cpu: usize) -> &mut Command {
    let parent = std::process::id();
    let prepare = move || {
        ringway_loadtest::affinity::pin(cpu)?;
        // SAFETY: no pointers. The child is killed when the thread that made it ends, even by KILL.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // SAFETY: no arguments.
        if unsafe { libc::getppid() } as u32 != parent {
            return Err(io::Error::other("the parent has ended"));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls without allocation are made.
    unsafe { command.pre_exec(prepare) }
}
