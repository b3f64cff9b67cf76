//! `without-io-uring PROGRAM ARGUMENTS…`: runs PROGRAM where `io_uring_setup` fails with EPERM, as it does under
//! the default seccomp profiles of Docker and containerd.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// The number of `io_uring_setup`, the same on every architecture.
const IO_URING_SETUP: i64 = 425;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: without-io-uring PROGRAM ARGUMENTS…");
        return ExitCode::FAILURE;
    };
    if let Err(error) = refuse_io_uring() {
        eprintln!("cannot install the filter: {error}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("cannot run the program: {error}");
    ExitCode::FAILURE
}

fn refuse_io_uring() -> Result<(), Box<dyn std::error::Error>> {
    const EPERM: u32 = 1;
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    // No condition: the call is refused whatever its arguments.
    let rules = BTreeMap::from([(IO_URING_SETUP, Vec::new())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(EPERM), arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}
