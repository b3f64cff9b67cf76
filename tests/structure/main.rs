//! The shape of the tree that docs/architecture.md promises: which package may depend on which, and where `unsafe` may be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

#[test]
fn packages_depend_on_each_other_only_in_one_direction() {
    let allowed = |package: &str| -> BTreeSet<&str> {
        let all = ["ringway-protocols", "ringway-policies", "ringway-core", "ringway-loadtest"];
        match package {
            "ringway-protocols" => BTreeSet::new(),
            "ringway-policies" => all[..1].iter().copied().collect(),
            "ringway-core" => all[..2].iter().copied().collect(),
            "ringway-loadtest" => all[..3].iter().copied().collect(),
            "ringway-bench" | "ringway-tests" => all.into(),
            other => panic!("{other} is not a package of docs/architecture.md"),
        }
    };
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert_eq!(packages.len(), 6, "the workspace has six packages");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            if on.starts_with("ringway-") {
                assert!(allowed(name).contains(on), "{name} must not depend on {on}");
            }
        }
    }
}

#[test]
fn unsafe_code_stays_where_the_kernel_is_talked_to() {
    let allowed = ["core/src/io/", "loadtest/src/", "bench/src/", "tests/bin/", "tests/harness/"];
    let mut files = Vec::new();
    for package in ["core", "protocols", "policies", "loadtest", "bench", "tests"] {
        rust_files(&root().join(package), &mut files);
    }
    assert!(files.len() > 100, "found only {} files", files.len());
    for file in files {
        let name = file.strip_prefix(root()).expect("a file of the workspace").display().to_string();
        if allowed.iter().any(|place| name.starts_with(place)) || name.starts_with("tests/structure/") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (number, line) in code.enumerate() {
            let block = ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| line.contains(word));
            assert!(!block, "{name}, about line {}: unsafe belongs to core::io: {line}", number + 1);
        }
    }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
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
