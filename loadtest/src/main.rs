//! The binary `ringway-load`.
use std::process::ExitCode;

fn main() -> ExitCode {
    ringway_loadtest::cli::main()
}
