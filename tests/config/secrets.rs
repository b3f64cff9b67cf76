//! Secrets by reference: they are in the configuration, and in nothing that is shown of it.

use std::collections::HashMap;

use ringway_core::config::{Config, ConfigSource, Variables, restart_needed};
use ringway_tests::temp::TempDir;

use super::{file_source, file_with};

const SECRET: &str = "correct-horse-battery";

fn source(directory: &TempDir, lines: &str) -> ConfigSource {
    let given = [("TOKEN", SECRET), ("PIN", "7x9"), ("TIME", "3s")];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ConfigSource {
        variables: Variables::Given(HashMap::from(given)),
        ..file_source(file_with(directory, lines))
    }
}

#[test]
fn values_come_from_variables_and_files() {
    let directory = TempDir::new();
    directory.write("token", format!("{SECRET}\n"));
    for (lines, token, drain) in [
        ("admin: { token: \"${TOKEN}\" }\ndrain_timeout: ${TIME}", SECRET, 3),
        ("admin: { token: \"${file:token}\" }\ndrain_timeout: ${NOT_SET:-9s}", SECRET, 9),
        ("admin: { token: \"a-${PIN}-b\" }", "a-7x9-b", 30),
        ("admin: { token: \"$${TOKEN}\" }", "${TOKEN}", 30),
    ] {
        let config = Config::load(&source(&directory, lines)).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(config.process.admin_token.as_deref(), Some(token), "{lines}");
        assert_eq!(config.process.drain_timeout.as_secs(), drain, "{lines}");
    }
}

#[test]
fn dumps_show_the_reference() {
    let directory = TempDir::new();
    let lines = "access_log: { target: \"/var/log/${TOKEN}\", format: \"{status} ${TOKEN} ${PIN}\" }\n\
                 admin: { token: \"${TOKEN}\" }";
    let config = Config::load(&source(&directory, lines)).unwrap_or_else(|errors| panic!("{errors:?}"));
    let dump = config.to_json();
    assert_eq!(dump["process"]["access_log.format"]["value"], "{status} ${TOKEN} ${PIN}");
    assert_eq!(dump["process"]["access_log.target"]["value"], "/var/log/${TOKEN}");
    assert!(!dump.to_string().contains(SECRET) && !format!("{:?}", config.sources.secrets).contains(SECRET));
    let old =
        Config::load(&source(&directory, "access_log: { format: \"${PIN}\" }")).expect("a configuration");
    let changes = restart_needed(&old, &config).join("\n");
    assert!(changes.contains("${PIN} → {status} ${TOKEN}") && !changes.contains(SECRET), "{changes}");
}

#[test]
fn messages_show_the_reference() {
    let directory = TempDir::new();
    for lines in [
        "workers: ${TOKEN}",
        "workers: [\"${TOKEN}\"]",
        "admin: ${TOKEN}",
        "io: ${TOKEN}-${TOKEN}",
        "grpc: { methods: [\"${TOKEN}\"] }",
        "defaults: { listeners: { forwarded: { trusted_proxies: [\"${TOKEN}\"] } } }",
        "access_log: { target: stdout, format: \"{${TOKEN}}\" }",
        "defaults: { clusters: { balance: \"${TOKEN}\" } }",
        "workers: \"${PIN}\"",
    ] {
        let errors = Config::load(&source(&directory, lines)).map(drop).expect_err(lines);
        for error in errors {
            let shown = format!("{error}\n{}\n{}", error.one_line(), error.to_json());
            assert!(!shown.contains(SECRET) && !shown.contains("7x9"), "{lines}: {shown}");
            assert!(shown.contains("${TOKEN}") || shown.contains("${PIN}"), "{lines}: {shown}");
        }
    }
}

/// What is written into the file itself is masked by its key.
#[test]
fn secrets_written_in_place_are_masked_in_messages() {
    let directory = TempDir::new();
    for lines in ["admin: { token: hunter2, wrong: 1 }", "admin: { \"token\" : hunter2, wrong: 1 }"] {
        let errors = Config::load(&source(&directory, lines)).map(drop).expect_err(lines);
        let shown = errors[0].to_string();
        assert!(shown.contains("*******") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn what_cannot_be_resolved_is_one_error_that_says_what_to_do() {
    let directory = TempDir::new();
    directory.write("empty", "\n");
    directory.write("two-lines", "a\nb\n");
    for (value, want) in [
        ("${NOT_SET}", "the variable `NOT_SET` is not set; set it, or write `${NOT_SET:-default}`"),
        ("${file:nowhere}", "cannot be read: No such file or directory"),
        ("${file:empty}", "empty is empty"),
        ("${file:two-lines}", "two-lines has more than one line"),
        ("${file:.}", "it is not a regular file"),
        ("${1}", "found `${1}`; write `$${` for `${` itself"),
    ] {
        let errors = Config::load(&source(&directory, &format!("workers: \"{value}\""))).map(drop);
        let errors = errors.expect_err(value);
        let line = errors[0].one_line();
        assert!(errors.len() == 1 && line.contains(want), "{value}: {errors:?}");
        assert!(line.contains("ringway.yaml:1:10: workers: "), "{line}");
    }
}
