//! `ringway doctor`: what this machine offers and what holds Ringway back, each with what to do.
//!
//! A check is a pure function over files below a root (which tests replace) and a few facts asked from the kernel.
//! **Invariant:** `fail` means that `ringway run` cannot work here; all else is `warn` at most.

mod certificates;
mod checks;
mod facts;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use facts::Facts;

use crate::config::ConfigSource;

/// What one check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    /// Ringway runs, and something could be better.
    Warn,
    /// Ringway cannot run.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq)]
struct Finding {
    name: &'static str,
    level: Level,
    found: String,
    /// What to do; there for everything that is not ok.
    advice: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Finding { name, level: Level::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { name, level: Level::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { name, level: Level::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {:<13} {}", self.level.name(), self.name, self.found)?;
        if let Some(advice) = &self.advice {
            write!(f, "\n{:20}→ {advice}", "")?;
        }
        Ok(())
    }
}

/// Prints the report; the exit status is 1 only when Ringway cannot run here.
pub fn main(json: bool, config: Option<PathBuf>) -> ExitCode {
    let mut findings = checks::all(&Facts::gather());
    if let Some(path) = config {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        findings.extend(certificates::all(&ConfigSource::file(path), now));
    }
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if json {
        println!("{}", to_json(&findings, worst));
    } else {
        for finding in &findings {
            println!("{finding}");
        }
        println!("\n{}", verdict(&findings, worst));
    }
    if worst == Level::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn verdict(findings: &[Finding], worst: Level) -> String {
    let warnings = findings.iter().filter(|finding| finding.level == Level::Warn).count();
    match (worst, warnings) {
        (Level::Fail, _) => "Ringway cannot run here.".to_owned(),
        (_, 0) => "Ringway runs here.".to_owned(),
        (_, 1) => "Ringway runs here; one thing could be better.".to_owned(),
        (_, count) => format!("Ringway runs here; {count} things could be better."),
    }
}

fn to_json(findings: &[Finding], worst: Level) -> serde_json::Value {
    let show = |finding: &Finding| {
        let mut json = json!({ "name": finding.name, "level": finding.level.name(), "found": finding.found });
        if let Some(advice) = &finding.advice {
            json["advice"] = json!(advice);
        }
        json
    };
    json!({ "can_run": worst != Level::Fail, "findings": findings.iter().map(show).collect::<Vec<_>>() })
}
