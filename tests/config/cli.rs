//! What the program prints: help, and reports for programs.

use std::fmt::Write as _;
use std::process::{Command, Output};

use ringway_tests::proxy::binary;

use super::{data, expect_file};

fn ringway(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("ringway-under-test"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGWAY_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the program runs")
}

/// The line of a check with its advice.
fn line<'a>(report: &'a serde_json::Value, name: &str) -> (&'a str, &'a str) {
    let findings = report["findings"].as_array().expect("findings");
    let finding = findings.iter().find(|finding| finding["name"] == name).expect("the check");
    (finding["level"].as_str().unwrap_or_default(), finding["advice"].as_str().unwrap_or_default())
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
}

#[test]
fn help_is_what_it_was() {
    let mut text = String::new();
    for arguments in [&["--help"][..], &["run", "--help"], &["check", "--help"], &["doctor", "--help"]] {
        let output = ringway(arguments);
        assert!(output.status.success(), "{arguments:?}");
        let help = String::from_utf8(output.stdout).expect("UTF-8");
        // Experimental drivers are there in builds with their features.
        let help = help.replace("|monoio", "").replace("|glommio", "");
        let _ = writeln!(text, "$ ringway {}\n{help}", arguments.join(" "));
    }
    let text: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    expect_file(&data("help.expected"), &text);
}

#[test]
fn check_reports_to_programs() {
    let bad = data("corpus/values-durations.yaml").display().to_string();
    let output = ringway(&["check", "--config", &bad, "--format", "json", "--workers", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    assert_eq!(report["ok"], false);
    let findings = report["findings"].as_array().expect("findings");
    assert_eq!(findings[0]["flag"], "--workers");
    let in_file = &findings[1];
    assert_eq!(
        (&in_file["file"], &in_file["line"], &in_file["column"]),
        (&bad.into(), &1.into(), &16.into())
    );
    assert_eq!((&in_file["key"], &in_file["severity"]), (&"drain_timeout".into(), &"error".into()));
    assert_eq!(
        (&in_file["found"], &in_file["hint"]),
        (&"`30`".into(), &"write the unit: `30s` or `30ms`".into())
    );

    let good = data("corpus/good-short.yaml").display().to_string();
    let output = ringway(&["check", "--config", &good, "--format", "json"]);
    assert!(output.status.success());
    let report = json(&output);
    assert_eq!(
        (&report["ok"], &report["routes"], &report["findings"]),
        (&true.into(), &1.into(), &serde_json::json!([]))
    );
}

#[test]
fn check_says_in_one_line_what_is_fine() {
    let good = data("corpus/good-short.yaml").display().to_string();
    let output = ringway(&["check", "--config", &good, "--workers", "2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, format!("{good}: ok: 1 listener, 1 cluster, 1 route, 2 workers, 0 warnings\n"));
}

#[test]
fn doctor_reports_to_programs() {
    let report = json(&ringway(&["doctor", "--format", "json"]));
    assert_eq!(report["can_run"], true);
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|finding| finding["level"] == "ok" || finding["advice"].is_string()));
}

#[test]
fn doctor_names_hosts_of_routes_that_no_certificate_is_for() {
    let file = data("corpus/warnings-passthrough.yaml").display().to_string();
    let report = json(&ringway(&["doctor", "--format", "json", "--config", &file]));
    let findings = report["findings"].as_array().expect("findings");
    let about = findings.iter().filter(|finding| finding["name"] == "certificate");
    let found: Vec<&str> = about.filter_map(|finding| finding["found"].as_str()).collect();
    let all = ["is for shop.example.com", "is for *.other.example", "is for *.other.example"];
    assert_eq!(found.len(), all.len(), "{found:?}");
    for (found, part) in found.iter().zip(all) {
        assert!(found.starts_with("no certificate of the listener ") && found.contains(part), "{found}");
    }
}

#[test]
fn doctor_names_the_filter_that_blocks_io_uring() {
    let mut command = Command::new(binary("without-io-uring"));
    command.arg(binary("ringway-under-test")).args(["doctor", "--format", "json"]);
    let output = command.env_remove("RINGWAY_IO").output().expect("the program runs");
    assert!(output.status.success(), "epoll is there");
    let report = json(&output);
    let (level, advice) = line(&report, "io_uring");
    assert!(level == "warn" && advice.contains("seccomp"), "{report}");
    let output = command.env("RINGWAY_IO", "uring").output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "what was asked for by name is not there");
}

#[test]
fn doctor_fails_where_nothing_can_run() {
    let script = "ulimit -n 40; exec \"$0\" doctor --format json";
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(binary("ringway-under-test")).env_remove("RINGWAY_IO");
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    assert_eq!((&report["can_run"], line(&report, "nofile").0), (&false.into(), "fail"));
}

#[test]
fn diff_says_what_changes_and_fails_only_where_a_file_is_wrong() {
    let good = data("corpus/good-short.yaml").display().to_string();
    let bad = data("corpus/keys-unknown.yaml").display().to_string();
    let output = ringway(&["diff", &good, &good]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nothing changes\n");
    let output = ringway(&["diff", &good, &bad]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown key `workres`"));
    let directory = ringway_tests::temp::TempDir::new();
    let text = std::fs::read_to_string(&good).expect("a file");
    let new = directory.write("new.yaml", format!("drain_timeout: 2s\n{text}")).display().to_string();
    let output = ringway(&["diff", &good, &new]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "~ process\n    drain_timeout: 30s → 2s\n");
    let report = json(&ringway(&["diff", &good, &new, "--format", "json"]));
    assert_eq!(report["changes"][0]["keys"][0]["new"], "2s");
}

#[test]
fn schema_completion_and_manual_come_from_the_table_of_settings() {
    use ringway_core::config::settings::SETTINGS;
    let text = |arguments: &[&str]| {
        let output = ringway(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let schema: serde_json::Value = serde_json::from_str(&text(&["schema"])).expect("JSON");
    assert_eq!(schema["properties"]["drain_timeout"]["default"], "30s");
    let bash = text(&["completion", "bash"]);
    let manual = text(&["man", "run"]).replace("\\-", "-");
    for setting in SETTINGS.iter().filter(|setting| !setting.flag.is_empty()) {
        let flag = format!("--{}", setting.flag);
        assert!(bash.contains(&flag), "completion has no {flag}");
        assert!(manual.contains(&flag), "the manual has no {flag}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(text(&["completion", shell]).contains("drain-timeout"), "{shell}");
    }
    assert!(text(&["man"]).contains(".TH ringway 1"));
    assert_eq!(ringway(&["man", "nothing"]).status.code(), Some(2));
}

#[test]
fn reload_says_where_it_looked() {
    let output = ringway(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing says where the admin socket is"));
    let output = ringway(&["reload", "--admin-socket", "/nowhere/admin.sock"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("/nowhere/admin.sock does not answer") && text.contains("is Ringway running"),
        "{text}"
    );
}
