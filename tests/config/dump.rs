//! The effective configuration as JSON.

use ringway_core::config::Config;

use super::{data, expect_file, file_source};

#[test]
fn the_full_file_is_dumped_with_origins_and_without_secrets() {
    let config = Config::load(&file_source(data("corpus/good-full.yaml"))).expect("a configuration");
    let mut json = config.to_json();
    assert!(!json.to_string().contains("hunter2"), "the admin token is masked");
    json["file"] = "good-full.yaml".into();
    let pretty = serde_json::to_string_pretty(&json).expect("JSON") + "\n";
    expect_file(&data("corpus/good-full.json"), &pretty);
}

#[test]
fn the_examples_of_the_documentation_are_right() {
    let examples = data("../../docs/examples");
    let entries = std::fs::read_dir(examples).expect("the examples");
    let directory = ringway_tests::temp::TempDir::new();
    let keys = directory.write("keys.yaml", format!("salt: {}\n", "0".repeat(64))).display().to_string();
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("an example");
        let text = text.replace("/etc/ringway/keys.yaml", &keys);
        let config = Config::load(&file_source(directory.write("example.yaml", text)));
        let config = config.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
        assert!(config.warnings.is_empty(), "{}: {:?}", path.display(), config.warnings);
        count += 1;
    }
    assert!(count >= 8, "{count} examples");
}
