//! The binary `ringway-bare-relay`: see [`ringway_bench::bare_relay`].
use std::process::ExitCode;

use clap::Parser;
use ringway_bench::bare_relay::{self, RelayArgs};

fn main() -> ExitCode {
    match bare_relay::run(&RelayArgs::parse()) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("ringway-bare-relay: {error}");
            ExitCode::FAILURE
        }
    }
}
