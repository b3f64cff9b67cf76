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
