//! `ringway check`: is this configuration right?

use std::process::ExitCode;

use serde_json::json;

use crate::config::{Config, ConfigError, ConfigSource, Severity};

/// Loads a configuration and says what is wrong with it.
pub(super) fn check(source: &ConfigSource, json: bool) -> ExitCode {
    let result = Config::load(source);
    if json {
        println!("{}", to_json(&result));
    } else {
        match &result {
            Ok(config) => {
                print_text(&config.warnings);
                println!("{}: ok: {}", what(source), summary(config));
            }
            Err(errors) => print_text(errors),
        }
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints findings for people, and how many there were.
pub(super) fn print_text(findings: &[ConfigError]) {
    for finding in findings {
        eprintln!("{finding}");
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors > 0 {
        eprintln!("{}", counted(errors, "error"));
    }
}

fn what(source: &ConfigSource) -> String {
    source.path.as_ref().map_or("flags and environment".to_owned(), |path| path.display().to_string())
}

fn summary(config: &Config) -> String {
    [
        counted(config.listeners.len(), "listener"),
        counted(config.clusters.len(), "cluster"),
        counted(config.routes.len(), "route"),
        counted(config.process.workers, "worker"),
        counted(config.warnings.len(), "warning"),
    ]
    .join(", ")
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn to_json(result: &Result<Config, Vec<ConfigError>>) -> serde_json::Value {
    let all = |findings: &[ConfigError]| findings.iter().map(ConfigError::to_json).collect::<Vec<_>>();
    match result {
        Ok(config) => json!({
            "ok": true,
            "listeners": config.listeners.len(),
            "clusters": config.clusters.len(),
            "routes": config.routes.len(),
            "workers": config.process.workers,
            "findings": all(&config.warnings),
        }),
        Err(errors) => json!({ "ok": false, "findings": all(errors) }),
    }
}
