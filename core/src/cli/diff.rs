//! `ringway diff`: what a new configuration changes.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::check::print_text;
use crate::config::{Change, Config, ConfigSource, What};

/// Names that are listed where several sections change in the same way.
const NAMES_SHOWN: usize = 3;

/// Compares two files under the same flags and variables. The status is 0 whatever has changed, and 1 where a file is wrong.
pub(super) fn diff(source: &ConfigSource, old: &Path, new: &Path, json: bool) -> ExitCode {
    let load = |path: &Path| Config::load(&ConfigSource { path: Some(path.to_owned()), ..source.clone() });
    let (old, new) = match (load(old), load(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            for errors in [old.err(), new.err()].into_iter().flatten() {
                print_text(&errors);
            }
            return ExitCode::FAILURE;
        }
    };
    let changes = old.changes(&new);
    if json {
        println!("{:#}", json!({ "changes": changes.iter().map(to_json).collect::<Vec<_>>() }));
    } else if changes.is_empty() {
        println!("nothing changes");
    } else {
        changes.iter().for_each(|change| print!("{}", show(change)));
    }
    ExitCode::SUCCESS
}

fn show(change: &Change) -> String {
    let sign = match change.what {
        What::Added => '+',
        What::Removed => '-',
        What::Changed => '~',
    };
    let plural = if change.names.len() > 1 { "s" } else { "" };
    let shown = change.names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = change.names.len().saturating_sub(NAMES_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let mut out = format!("{sign} {}{plural} {shown}{more}", change.section).trim_end().to_owned() + "\n";
    for key in &change.keys {
        let restart = if key.restart { " (needs a restart)" } else { "" };
        let change = match (&key.old, &key.new) {
            (Some(old), Some(new)) => format!("{old} → {new}"),
            (None, Some(new)) => format!("{new}, was not there"),
            (Some(old), None) => format!("{old}, is gone"),
            (None, None) => "changed".to_owned(),
        };
        out.push_str(&format!("    {}: {change}{restart}\n", key.key));
    }
    out
}

fn to_json(change: &Change) -> serde_json::Value {
    let what = match change.what {
        What::Added => "added",
        What::Removed => "removed",
        What::Changed => "changed",
    };
    let keys = change
        .keys
        .iter()
        .map(|key| json!({ "key": key.key, "old": key.old, "new": key.new, "needs_restart": key.restart }));
    json!({ "section": change.section, "names": change.names, "what": what, "keys": keys.collect::<Vec<_>>() })
}
