//! `ringway test`: requests from files, each with what is expected of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value as Json, json};

use super::explain::{CLIENT_DEFAULT, now, print};
use super::{args, check};
use crate::config::expectations::{Case, Expectations};
use crate::config::{Config, ConfigSource, Secrets};
use crate::explain::expected::differences;

pub(super) fn command() -> Command {
    Command::new("test")
        .about("Try requests against a configuration, without sending them, and say what comes otherwise than expected")
        .long_about(
            "Try requests against a configuration, without sending them, and say what comes otherwise than expected, \
             everything at once.\nThe exit status is 1 when something does, and when a file is wrong.",
        )
        .after_help("Example:\n  ringway test shop.tests.yaml\n\ndocs/explain.md says what such a file holds; `ringway schema tests` prints its schema.")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .action(ArgAction::Append)
                .required(true)
                .help("Files of expectations"),
        )
        .arg(
            Arg::new("config")
                .short('c')
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The configuration, instead of the one that each file names. [env: RINGWAY_CONFIG]"),
        )
        .arg(args::format_arg())
}

/// How one test ended.
struct Tried {
    name: String,
    place: String,
    request: String,
    wrong: Vec<String>,
}

/// `source`: what the environment says.
pub(super) fn main(source: &ConfigSource, given: &ArgMatches) -> ExitCode {
    let mut tried = Vec::new();
    let mut readable = true;
    for path in given.get_many::<PathBuf>("file").unwrap_or_default() {
        let config = given.get_one::<PathBuf>("config").or(source.path.as_ref());
        match try_file(source, path, config) {
            Ok(mut some) => tried.append(&mut some),
            Err(()) => readable = false,
        }
    }
    let failed = tried.iter().filter(|tried| !tried.wrong.is_empty()).count();
    let text = if args::wants_json(given) {
        let tests = tried.iter().map(Tried::to_json).collect::<Vec<_>>();
        format!("{:#}\n", json!({ "ok": readable && failed == 0, "failed": failed, "tests": tests }))
    } else {
        let mut text: String =
            tried.iter().filter(|tried| !tried.wrong.is_empty()).map(Tried::to_text).collect();
        text.push_str(&match failed {
            0 if tried.is_empty() => String::new(),
            0 => format!("{}: ok\n", counted(tried.len())),
            failed => format!("{failed} of {} failed\n", counted(tried.len())),
        });
        text
    };
    let printed = print(&text);
    if readable && failed == 0 { printed } else { ExitCode::FAILURE }
}

/// What is wrong with a file has been said where this is an error.
fn try_file(source: &ConfigSource, path: &Path, config: Option<&PathBuf>) -> Result<Vec<Tried>, ()> {
    let expectations =
        Expectations::load(path, &source.variables).map_err(|errors| check::print_text(&errors))?;
    let Some(config) = config.or(expectations.config.as_ref()) else {
        eprintln!(
            "error: {}: nothing says which configuration it is about\n   = help: `config: FILE` in it, or `--config FILE`",
            path.display()
        );
        return Err(());
    };
    let source = ConfigSource {
        path: Some(config.clone()),
        listen: Vec::new(),
        upstream: Vec::new(),
        ..source.clone()
    };
    let load = || Config::load(&source).map_err(|errors| check::print_text(&errors));
    let mut config = load()?;
    let at = now();
    let mut tried = Vec::with_capacity(expectations.cases.len());
    for case in &expectations.cases {
        // Limits count the requests of one test only.
        if !tried.is_empty() && counts(&config) {
            config = load()?;
        }
        let wrong = differences(&config, case, CLIENT_DEFAULT, at).unwrap_or_else(|problem| vec![problem]);
        tried.push(Tried::of(case, wrong, &[&expectations.secrets, &config.sources.secrets]));
    }
    Ok(tried)
}

/// Whether a request changes what becomes of the next.
fn counts(config: &Config) -> bool {
    config.policy_configs().any(|policy| matches!(policy.name(), "rate_limit" | "basic_auth"))
}

impl Tried {
    fn of(case: &Case, wrong: Vec<String>, secrets: &[&Secrets]) -> Tried {
        let hide = |text: String| secrets.iter().fold(text, |text, secrets| secrets.hide(&text).into_owned());
        Tried {
            name: case.name.clone(),
            place: case.place.clone(),
            request: hide(format!("{} {}", case.request.method, case.request.url)),
            wrong: wrong.into_iter().map(hide).collect(),
        }
    }

    fn to_text(&self) -> String {
        let mut out = format!("{}: {}: {}\n", self.place, self.name, self.request);
        for line in &self.wrong {
            out.push_str(&format!("    {}\n", line.replace(char::is_control, "\u{fffd}")));
        }
        out
    }

    fn to_json(&self) -> Json {
        json!({ "name": self.name, "place": self.place, "request": self.request, "wrong": self.wrong })
    }
}

fn counted(count: usize) -> String {
    format!("{count} test{}", if count == 1 { "" } else { "s" })
}
