//! The examples of the documentation: each is right, and does what its file of expectations says.

use std::path::PathBuf;
use std::process::{Command, Output};

use ringway_core::config::Config;
use ringway_tests::proxy::binary;
use ringway_tests::temp::TempDir;

use super::{data, file_source};

const KEYS: &str = "/etc/ringway/keys.yaml";

/// The configurations of `docs/examples`, without the files of expectations beside them.
fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data("../../docs/examples")).expect("the examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut examples: Vec<PathBuf> =
        paths.filter(|path| !path.to_string_lossy().ends_with(".tests.yaml")).collect();
    examples.sort();
    assert!(examples.len() >= 8, "{examples:?}");
    examples
}

/// The program, without what the environment of the test says.
fn ringway(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("ringway-under-test"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGWAY_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().expect("it runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

#[test]
fn the_examples_of_the_documentation_are_right() {
    let directory = TempDir::new();
    let keys = directory.write("keys.yaml", format!("salt: {}\n", "0".repeat(64))).display().to_string();
    for path in examples() {
        let text = std::fs::read_to_string(&path).expect("an example").replace(KEYS, &keys);
        let config = Config::load(&file_source(directory.write("example.yaml", text)));
        let config = config.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
        assert!(config.warnings.is_empty(), "{}: {:?}", path.display(), config.warnings);
    }
}

#[test]
fn each_example_does_what_is_expected_of_it() {
    let directory = TempDir::new();
    let keys = directory.path().join("keys.yaml").display().to_string();
    let (output, text) =
        run(&mut ringway(&["keys", "add", "--file", &keys, "--consumer", "acme", "--groups", "partners"]));
    assert!(output.status.success(), "{text}");
    let key = text.split_whitespace().max_by_key(|word| word.len()).expect("a key").to_owned();
    for path in examples() {
        let text = std::fs::read_to_string(&path).expect("an example").replace(KEYS, &keys);
        let config = directory.write("example.yaml", text).display().to_string();
        let tests = path.with_extension("tests.yaml").display().to_string();
        let (output, text) = run(ringway(&["test", &tests, "--config", &config]).env("PARTNER_KEY", &key));
        assert!(output.status.success(), "{tests}\n{text}");
        assert!(text.ends_with(" tests: ok\n"), "{text}");
    }
}

#[test]
fn an_example_that_is_changed_fails_its_expectations() {
    let directory = TempDir::new();
    let path = data("../../docs/examples/canary.yaml");
    let text = std::fs::read_to_string(path).expect("an example").replace("weight: 90", "weight: 50");
    let config = directory.write("example.yaml", text).display().to_string();
    let tests = data("../../docs/examples/canary.tests.yaml").display().to_string();
    let (output, text) = run(&mut ringway(&["test", &tests, "--config", &config]));
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("cluster: expected api-v1 90%, api-v2 10%; found api-v1 83.3333%, api-v2 16.6667%"),
        "{text}"
    );
}
