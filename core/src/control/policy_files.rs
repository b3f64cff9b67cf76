//! Follows the files that policies are built from, and puts what they say in force without a reload.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use ringway_policies::watched::WatchedFile;

use super::follow::{self, Due, Seen};
use super::lifecycle::Control;
use crate::config::{Config, policy_file};
use crate::{log_error, log_info};

/// Looks at the files of the current configuration until the control thread ends.
pub(super) fn follow(control: &Rc<Control>) {
    follow::follow(control, look, |_, ()| ());
}

/// Reads those files again that have changed and been still since the last look.
fn look(seen: &mut Seen, config: &Config) {
    seen.begin(config);
    let mut files: HashMap<&Path, Vec<&dyn WatchedFile>> = HashMap::new();
    for file in config.policy_configs().filter_map(|policy| policy.watched()) {
        files.entry(file.path()).or_default().push(file);
    }
    for (path, of) in files {
        if let Some(due) = seen.due(path) {
            // What was read with the configuration is not worth a line in the log.
            put_in_force(path, &of, due == Due::Changed);
        }
    }
}

fn put_in_force(path: &Path, of: &[&dyn WatchedFile], changed: bool) {
    let mut wrong: Vec<String> = Vec::new();
    let Some(first) = of.first() else { return };
    match policy_file::read(path, first.fields()) {
        Ok(values) => {
            for file in of {
                if let Err(problems) = file.replace(&values) {
                    wrong =
                        problems.iter().map(|p| format!("{}: expected {}", p.named(), p.expected)).collect();
                }
            }
        }
        Err(errors) => wrong = errors.iter().map(ToString::to_string).collect(),
    }
    if !wrong.is_empty() {
        log_error!(
            "a file of credentials cannot be used, what it said before stays in force file={}",
            path.display()
        );
        for line in wrong.iter().flat_map(|text| text.lines()) {
            log_error!("  {line}");
        }
    } else if changed {
        log_info!("credentials read again file={}", path.display());
    }
}
