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
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("an entry").path();
        let config = Config::load(&file_source(&path));
        let config = config.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
        assert!(config.warnings.is_empty(), "{}: {:?}", path.display(), config.warnings);
        count += 1;
    }
    assert!(count >= 4, "{count} examples");
}
