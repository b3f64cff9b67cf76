//! Documents name tests and reason codes; they are there.

use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file of the project, by its path.
pub(crate) fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether `module::test` is a function of a file `module.rs` or in a directory `module`.
fn exists(module: &str, test: &str, files: &[(PathBuf, String)]) -> bool {
    let declaration = format!("fn {test}(");
    files.iter().any(|(path, text)| {
        let of_module =
            path.iter().any(|part| Path::new(part).file_stem().is_some_and(|stem| stem == module));
        of_module && text.contains(&declaration)
    })
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let text = std::fs::read_to_string(root().join("docs/threat-model.md")).expect("the threat model");
    let mut paths = Vec::new();
    sources(&root(), &mut paths);
    let files: Vec<(PathBuf, String)> = paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            (path, text)
        })
        .collect();
    let mut named = 0;
    // Only the tables name tests; the text around them explains.
    for line in text.lines().filter(|line| line.starts_with('|')) {
        for quoted in line.split('`').skip(1).step_by(2) {
            if let Some((module, test)) = quoted.split_once("::") {
                named += 1;
                assert!(exists(module, test, &files), "{quoted} is named and does not exist");
            } else if quoted.ends_with(".vtc") {
                assert!(root().join(quoted).is_file(), "{quoted} is named and does not exist");
            }
        }
    }
    assert!(named > 50, "{named}");
}

#[test]
fn no_test_is_switched_off_and_none_sleeps() {
    let mut paths = Vec::new();
    sources(&root().join("tests"), &mut paths);
    // Written so that this file does not find itself.
    let forbidden = [concat!("#[", "ignore"), concat!("thread::", "sleep")];
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a source file");
        for word in forbidden {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
    }
}

/// Every reason code is explained to the operator, with its status.
#[test]
fn every_reason_code_is_documented() {
    let docs = std::fs::read_to_string(root().join("docs/operations.md")).expect("docs/operations.md");
    for info in ringway_core::error::REASONS {
        let row = format!("| `{}` | {} |", info.code, info.status);
        assert!(docs.contains(&row), "docs/operations.md has no row that starts with {row}");
    }
}
