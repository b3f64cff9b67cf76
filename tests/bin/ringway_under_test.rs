//! The binary `ringway`, built where the end-to-end tests find it.

fn main() -> std::process::ExitCode {
    ringway_core::cli::main()
}
