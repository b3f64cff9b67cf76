//! What is made from the table of settings and flags for other programs: completion for shells, manual pages, and the
//! schema for editors.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ArgMatches;
use clap_complete::Shell;

use super::args;

/// `ringway completion SHELL`
pub(super) fn completion(given: &ArgMatches) -> ExitCode {
    // clap has refused anything else.
    let Some(shell) = given.get_one::<Shell>("shell") else { return ExitCode::from(2) };
    let mut text = Vec::new();
    clap_complete::generate(*shell, &mut args::command(), "ringway", &mut text);
    print(&text)
}

/// `ringway man [COMMAND]`
pub(super) fn man(given: &ArgMatches) -> ExitCode {
    let mut command = args::command();
    command.build();
    let page = match given.get_one::<String>("command") {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            // Built, it has the name of its page: ringway-run(1).
            Some(found) => found.clone(),
            None => {
                eprintln!("error: there is no command `{name}`: `ringway --help` lists them");
                return ExitCode::from(2);
            }
        },
    };
    let mut text = Vec::new();
    match clap_mangen::Man::new(page).render(&mut text) {
        Ok(()) => print(&text),
        Err(_) => ExitCode::FAILURE,
    }
}

/// `ringway schema [config|tests]`
pub(super) fn schema(given: &ArgMatches) -> ExitCode {
    let schema = match given.get_one::<String>("of").map(String::as_str) {
        Some("tests") => crate::config::expectations::schema(),
        _ => crate::config::schema(),
    };
    print(format!("{schema:#}\n").as_bytes())
}

/// A pipe that was closed is not worth a panic.
fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
