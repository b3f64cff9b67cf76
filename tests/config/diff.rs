//! `ringway diff`: what a new file changes.

use ringway_core::config::{Change, Config, What};
use ringway_tests::temp::TempDir;

use super::file_source;

const OLD: &str = "listeners: [{ name: web, bind: \"127.0.0.1:0\" }]\n\
    clusters: [{ name: app, endpoints: [\"127.0.0.1:9\"] }, { name: spare, endpoints: [\"127.0.0.1:8\"] }]\n\
    routes:\n  - { name: one, hosts: [one.test], to: app }\n  - { name: two, hosts: [two.test], to: app }\n  \
    - { name: three, hosts: [three.test], to: spare }\n";

fn changes(old: &str, new: &str) -> Vec<Change> {
    let directory = TempDir::new();
    let load = |name: &str, text: &str| {
        Config::load(&file_source(directory.write(name, text)))
            .unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
    };
    load("old.yaml", old).changes(&load("new.yaml", new))
}

/// Each change in one line.
fn lines(changes: &[Change]) -> Vec<String> {
    let show = |change: &Change| {
        let sign = match change.what {
            What::Added => "+",
            What::Removed => "-",
            What::Changed => "~",
        };
        let keys = change.keys.iter().map(|key| {
            let text = |side: &Option<String>| side.clone().unwrap_or("none".to_owned());
            let restart = if key.restart { " restart" } else { "" };
            format!(" {}: {} → {}{restart}", key.key, text(&key.old), text(&key.new))
        });
        format!("{sign}{} {}{}", change.section, change.names.join(","), keys.collect::<String>())
    };
    changes.iter().map(show).collect()
}

#[test]
fn what_is_in_effect_is_compared() {
    let edits: &[(&str, &str, &[&str])] = &[
        ("", "", &[]),
        // The same in other words.
        ("to: app }\n  - { name: two", "to: [app] }\n  - { name: two", &[]),
        ("hosts: [one.test]", "hosts: [ONE.test]", &[]),
        ("to: spare", "to: app", &["~route three to: spare → app"]),
        (
            "hosts: [two.test], to: app",
            "hosts: [two.test], to: app, timeout: 5s",
            &["~route two timeout: 0 → 5s"],
        ),
        ("listeners:", "workers: 3\nlisteners:", &["~process  workers: auto → 3 restart"]),
        ("listeners:", "drain_timeout: 1s\nlisteners:", &["~process  drain_timeout: 30s → 1s"]),
        ("listeners:", "admin: { token: abc }\nlisteners:", &["~process  admin.token: off → *** restart"]),
        // A default shows where it counts, once for all that it changes.
        (
            "listeners:",
            "defaults: { routes: { timeout: 9s } }\nlisteners:",
            &["~route one,two,three timeout: 0 → 9s"],
        ),
        ("name: three", "name: four", &["+route four", "-route three"]),
        (
            "to: spare }",
            "to: spare, policies: [{ request_headers: { set: { a: b } } }] }",
            &["~route three policies[0].request_headers.set.a: none → b"],
        ),
    ];
    for (from, to, want) in edits {
        let new = if from.is_empty() { OLD.to_owned() } else { OLD.replacen(from, to, 1) };
        let found = lines(&changes(OLD, &new));
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, *want, "{from} to {to}");
    }
}

#[test]
fn a_secret_that_differs_is_named_and_not_shown() {
    let with = |token: &str| format!("admin: {{ token: {token} }}\n{OLD}");
    let found = changes(&with("hunter2"), &with("hunter3"));
    assert_eq!(lines(&found), ["~process  admin.token: none → none restart"]);
    assert!(!format!("{found:?}").contains("hunter"));
}
