//! The command line of `ringway-bench`.
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
