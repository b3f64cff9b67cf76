//! The command line of `ringway-bench`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bare_relay::{self, RelayArgs};
use crate::compare::testers::{self, TestersArgs};
use crate::compare::{self, CompareArgs};
use crate::relay::{self, RuntimeRelayArgs};
use crate::reload::{self, ReloadArgs};

/// Side-by-side benchmarks of Ringway.
#[derive(Debug, Parser)]
#[command(name = "ringway-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares Ringway with other proxies: pinned, interleaved, CPU time per request.
    Compare(Box<CompareArgs>),
    /// Compares the runtime's drivers and the bare relay, each under the same simple relay.
    Runtimes(Box<CompareArgs>),
    /// Compares the load testers themselves: CPU per request of ringway-load, wrk and h2load.
    Testers(TestersArgs),
    /// Measures how long a reload of many routes takes until every worker has it.
    Reload(ReloadArgs),
    /// Runs the simple relay on one of the runtime's drivers.
    Relay(RuntimeRelayArgs),
    /// Runs the bare relay, the floor of the comparison.
    BareRelay(RelayArgs),
    /// Runs the load tester: the same command line as `ringway-load`.
    #[command(disable_help_flag = true)]
    Load {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Runtimes(args) => compare::run(&args.for_runtimes()),
        Command::Testers(args) => testers::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Relay(args) => relay::run(&args),
        Command::BareRelay(args) => bare_relay::run(&args).map(|never| match never {}),
        Command::Load { args } => {
            let name = OsString::from("ringway-bench load");
            return ringway_loadtest::cli::main_from(std::iter::once(name).chain(args));
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringway-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
