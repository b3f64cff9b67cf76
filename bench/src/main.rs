//! The binary `ringway-bench`.
use std::process::ExitCode;

fn main() -> ExitCode {
    ringway_bench::cli::main()
}
