//! The `ringway` binary.

fn main() -> std::process::ExitCode {
    ringway_core::cli::main()
}
