//! The command line: one file for each command, `ringway run` here.

mod args;
mod check;
mod diff;
mod explain;
mod generate;
mod keys;
mod reload;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;

use crate::config::{Config, ConfigSource};

/// Runs the command line of this process and returns its exit status: 0, 1 when something is wrong with the
/// configuration or the machine, 2 when the command line itself cannot be understood.
pub fn main() -> ExitCode {
    let matches = match args::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are "errors" with exit status 0. A closed pipe is not worth a panic.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match matches.subcommand() {
        Some(("run", given)) => run(given),
        Some(("check", given)) => check::check(&source(given), args::wants_json(given)),
        Some(("doctor", given)) => {
            crate::doctor::main(args::wants_json(given), given.get_one::<PathBuf>("config").cloned())
        }
        Some(("reload", given)) => {
            let path = |name: &str| given.get_one::<PathBuf>(name).cloned();
            reload::reload(&with_env(reload::source(path("config"), path("admin-socket"))))
        }
        Some(("diff", given)) => {
            let (Some(old), Some(new)) = (given.get_one::<PathBuf>("old"), given.get_one::<PathBuf>("new"))
            else {
                // clap requires both.
                return ExitCode::from(2);
            };
            // Which file counts is said here, and not by the environment.
            let (listen, upstream) = (Vec::new(), Vec::new());
            let source = ConfigSource { listen, upstream, ..with_env(ConfigSource::default()) };
            diff::diff(&source, old, new, args::wants_json(given))
        }
        Some(("explain", given)) => explain::main(&source(given), given),
        Some(("test", given)) => test::main(&with_env(ConfigSource::default()), given),
        Some(("schema", given)) => generate::schema(given),
        Some(("completion", given)) => generate::completion(given),
        Some(("man", given)) => generate::man(given),
        Some(("keys", given)) => keys::main(given),
        // clap requires one of the subcommands above.
        _ => ExitCode::from(2),
    }
}

fn run(given: &ArgMatches) -> ExitCode {
    let source = source(given);
    match Config::load(&source) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("{warning}");
            }
            serve(config, source)
        }
        Err(errors) => {
            check::print_text(&errors);
            ExitCode::FAILURE
        }
    }
}

/// Hands over to the proxy.
fn serve(config: Config, source: ConfigSource) -> ExitCode {
    crate::server::run(config, source)
}

/// What flags and environment say.
fn source(given: &ArgMatches) -> ConfigSource {
    with_env(args::source(given))
}

fn with_env(mut source: ConfigSource) -> ConfigSource {
    let vars = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
    for name in source.take_env(vars) {
        if let Some(hint) = args::near_variable(&name) {
            eprintln!("warning: {name} is not a setting; {hint}");
        }
    }
    source
}

fn lossy(text: std::ffi::OsString) -> String {
    text.to_string_lossy().into_owned()
}
