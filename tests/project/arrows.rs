//! Which package may use which: calls go down, values come up.

use std::process::Command;

use serde_json::Value;

use crate::documents::{root, sources};

/// Package, and those of ours that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("ringway-protocols", &[]),
    ("ringway-policies", &["ringway-protocols"]),
    ("ringway-core", &["ringway-protocols", "ringway-policies"]),
    ("ringway-loadtest", &["ringway-protocols", "ringway-policies", "ringway-core"]),
    ("ringway-bench", &["ringway-protocols", "ringway-policies", "ringway-core", "ringway-loadtest"]),
    ("ringway-tests", &["ringway-protocols", "ringway-policies", "ringway-core", "ringway-loadtest"]),
];

fn metadata() -> Value {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn packages_depend_downwards_only() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let (_, allowed) =
            ARROWS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("new package {name}"));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            assert!(!on.starts_with("ringway-") || allowed.contains(&on), "{name} must not depend on {on}");
        }
    }
    assert_eq!(packages.len(), ARROWS.len());
}

#[test]
fn the_program_is_the_only_binary_that_runs_by_default() {
    let metadata = metadata();
    let members = metadata["workspace_default_members"].as_array().expect("default members");
    assert_eq!(members.len(), 1);
    let core = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .find(|package| package["name"] == "ringway-core");
    let targets = core.expect("core")["targets"].as_array().expect("targets");
    let binaries = targets.iter().filter(|target| target["kind"][0] == "bin").count();
    assert_eq!(binaries, 1);
}

/// `protocols` and `policies` hold no unsafe code, open no socket, start nothing, and never read a clock.
#[test]
fn pure_packages_forbid_unsafe_code() {
    for package in ["protocols", "policies"] {
        let path = format!("{}/../{package}/src/lib.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("the library");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{package}");
    }
}

#[test]
fn unsafe_code_stays_where_the_kernel_is_talked_to() {
    let allowed = ["core/src/io/", "loadtest/src/", "bench/src/", "tests/bin/", "tests/harness/"];
    let root = root();
    let mut files = Vec::new();
    for package in ["core", "protocols", "policies", "loadtest", "bench", "tests"] {
        sources(&root.join(package), &mut files);
    }
    assert!(files.len() > 100, "found only {} files", files.len());
    for file in files {
        let name = file.strip_prefix(&root).expect("a file of the workspace").display().to_string();
        if allowed.iter().any(|place| name.starts_with(place)) || name.starts_with("tests/project/") {
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
