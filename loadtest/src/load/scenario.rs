//! `ringway-load scenario FILE`: several kinds of requests with weights, assertions and thresholds, from one file.
//!
//! Reading order: [`read`] → [`thresholds`]; [`tree`] is YAML with the places for messages.

mod read;
mod thresholds;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

pub use thresholds::{Threshold, Verdict};

use super::args::{self, OutputArgs, invalid, parse_duration};
use super::config::LoadConfig;
use super::summary::Document;
use super::tls::config::TlsArgs;

/// `ringway-load scenario`.
#[derive(Clone, Debug, Args)]
pub struct ScenarioArgs {
    /// The scenario, as docs/load-testing.md describes it.
    file: PathBuf,
    /// Another target than the file's. May be repeated.
    #[arg(long)]
    target: Vec<String>,
    /// Another duration than the file's.
    #[arg(long, short = 'd', value_parser = parse_duration)]
    duration: Option<Duration>,
    /// A local process under test, for its CPU time and memory. May be repeated; they are summed.
    #[arg(long)]
    pid: Vec<u32>,
    /// Reads the file, says what is wrong in it, and sends nothing.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    secure: TlsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a file asks for.
pub struct Scenario {
    pub config: LoadConfig,
    pub thresholds: Vec<Threshold>,
}

impl Scenario {
    /// Reads a file; files that it names are looked for beside it.
    pub fn read(path: &Path, targets: &[String]) -> io::Result<Scenario> {
        let name = path.display().to_string();
        let length = std::fs::metadata(path).map_err(|error| named(&name, &error))?.len();
        if length > tree::FILE_BYTES_MAX as u64 {
            return Err(invalid(format!(
                "{name}: expected at most {} bytes, found {length}",
                tree::FILE_BYTES_MAX
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| named(&name, &error))?;
        let beside = path.parent().unwrap_or(Path::new(""));
        read::scenario(&name, &text, beside, targets)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// Runs a scenario. Exit status 0: every threshold holds; 3: one does not.
pub fn execute(args: &ScenarioArgs) -> io::Result<ExitCode> {
    args::catch_interrupt();
    let mut scenario = Scenario::read(&args.file, &args.target)?;
    scenario.config.pids.clone_from(&args.pid);
    scenario.config.tls = args.secure.clone();
    scenario.config.duration = args.duration.or(scenario.config.duration);
    if args.check {
        let (kinds, limits) = (scenario.config.requests.len(), scenario.thresholds.len());
        println!("{}: {kinds} kinds of requests, {limits} thresholds, nothing wrong", args.file.display());
        return Ok(ExitCode::SUCCESS);
    }
    args::reach(&mut scenario.config)?;
    let result = args::run_shown(&scenario.config, &args.output)?;
    let mut document = Document::new(&scenario.config, &result);
    document.thresholds = scenario.thresholds.iter().map(|threshold| threshold.judge(&document)).collect();
    print!("{}", document.text());
    args::explain_connect(&result);
    args.output.write(&document, &result)?;
    Ok(ExitCode::from(if document.thresholds.iter().all(|verdict| verdict.holds) { 0 } else { 3 }))
}
