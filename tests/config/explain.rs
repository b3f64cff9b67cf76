//! `ringway explain` and `ringway test`: what they say.

use std::fmt::Write as _;
use std::process::{Command, Output};

use ringway_tests::proxy::binary;
use ringway_tests::temp::TempDir;

use super::{data, expect_file};

fn ringway(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("ringway-under-test"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGWAY_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the program runs")
}

fn explain(arguments: &[&str]) -> Output {
    let config = data("explain.yaml").display().to_string();
    ringway(&[&["explain", "--config", &config, "--at", "2026-11-21T12:00:00Z"], arguments].concat())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_request_is_explained_from_listener_to_response() {
    const SHOP: &str = "http://shop.example.com:8080";
    let at = |path: &str| format!("{SHOP}{path}");
    let cases: &[(&str, String, &[&str])] = &[
        ("GET", at("/"), &[]),
        ("GET", at("/checkout/%70ay?x=1"), &["-H", "x-debug: 1", "-H", "x-user: 7"]),
        ("POST", at("/checkout"), &["--client-ip", "10.0.0.9", "-H", "x-forwarded-for: 203.0.113.9"]),
        ("GET", at("/admin"), &["-H", "x-admin: nobody"]),
        ("GET", at("/old/place"), &[]),
        ("GET", at("/found"), &[]),
        ("GET", "http://nobody.example.com:8080/".to_owned(), &[]),
        ("GET", at("/a/%2e%2e/b"), &[]),
        ("GET", "http://shop.example.com:8081/x?y".to_owned(), &[]),
        ("GET", "https://db.example.com/".to_owned(), &["--listener", "database"]),
        ("CONNECT", at("/"), &[]),
        ("POST", at("/shop.v1.Cart/Add"), &["-H", "content-type: application/grpc", "-H", "te: trailers"]),
    ];
    let mut told = String::new();
    for (method, url, more) in cases {
        let output = explain(&[&[*method, url], *more].concat());
        assert!(output.status.success(), "{url}: {}", text(&output));
        let _ = writeln!(told, "$ ringway explain {method} {url} {}\n{}", more.join(" "), text(&output));
    }
    let told: String = told.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    expect_file(&data("explain.expected"), &told);
}

#[test]
fn programs_are_told_the_same() {
    let output = explain(&["--format", "json", "GET", "http://shop.example.com:8080/old"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let outcome = &told["outcomes"][0];
    assert_eq!(
        (&told["listener"], &outcome["route"], &outcome["match"]),
        (&"web".into(), &"old".into(), &1.into())
    );
    assert_eq!(outcome["policies"][1]["policy"], "redirect");
    assert_eq!(outcome["policies_not_asked"][0]["policy"], "request_headers");
    assert_eq!(outcome["response"]["status"], 302);
    assert!(outcome["sent"].is_null() && outcome["chance"] == 1.0, "{outcome}");
}

#[test]
fn what_cannot_be_asked_is_an_error_of_the_command_line() {
    for (arguments, part) in [
        (&["GET", "shop.example.com/"][..], "expected a URL"),
        (&["GET", "http://x/", "--listener", "wbe"], "there is no listener `wbe`; there are web, "),
        (&["GET", "http://x/", "-H", "no header"], "expected a header such as `x-user: 7`"),
        (&["GET", "http://x/", "--client-ip", "somebody"], "invalid value 'somebody'"),
    ] {
        let output = explain(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(part), "{arguments:?}: {}", text(&output));
    }
    let output = ringway(&["explain", "GET", "http://x/", "--at", "noon"]);
    assert!(
        output.status.code() == Some(2) && text(&output).contains("expected a moment"),
        "{}",
        text(&output)
    );
    let output = ringway(&["explain", "--config", "/nowhere.yaml", "GET", "http://x/"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn all_that_comes_otherwise_than_expected_is_said_at_once() {
    let directory = TempDir::new();
    directory.write("ringway.yaml", std::fs::read(data("explain.yaml")).expect("a file"));
    let file = directory.write("wrong.tests.yaml", std::fs::read(data("wrong.tests.yaml")).expect("a file"));
    let output = ringway(&["test", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output).replace(&format!("{}/", directory.path().display()), "");
    expect_file(&data("wrong.tests.expected"), &said);

    let output = ringway(&["test", &file.display().to_string(), "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["ok"], &report["tests"][0]["wrong"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(report["tests"][1]["wrong"].as_array().map(Vec::len), Some(3), "{report}");
}

#[test]
fn what_is_wrong_with_a_file_of_expectations_is_said_with_its_place() {
    let file = data("broken.tests.yaml").display().to_string();
    let output = ringway(&["test", &file]);
    assert_eq!(output.status.code(), Some(1));
    let directory = format!("{}/", data("").display()).replace("//", "/");
    expect_file(&data("broken.tests.expected"), &text(&output).replace(&directory, ""));

    let directory = TempDir::new();
    let file =
        directory.write("no-config.yaml", "tests: [{ request: \"http://x/\", expect: { status: 200 } }]\n");
    let output = ringway(&["test", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("nothing says which configuration it is about"), "{}", text(&output));
}

#[test]
fn secrets_that_the_configuration_refers_to_are_not_shown() {
    let directory = TempDir::new();
    let config = super::file_with(
        &directory,
        "policies: [{ request_headers: { set: { x-secret: \"${file:secret}\" } } }]",
    );
    directory.write("secret", "hunter2-hunter2");
    let config = config.display().to_string();
    for format in ["text", "json"] {
        let output = ringway(&["explain", "--config", &config, "--format", format, "GET", "http://x/"]);
        let said = text(&output);
        assert!(said.contains("${file:secret}") && !said.contains("hunter2"), "{said}");
    }
    let tests = directory.write(
        "secret.tests.yaml",
        "config: ringway.yaml\ntests: [{ request: \"http://x/\", expect: { sent: { headers: { x-secret: none } } } }]\n",
    );
    let said = text(&ringway(&["test", &tests.display().to_string()]));
    assert!(said.contains("${file:secret}") && !said.contains("hunter2"), "{said}");
}

#[test]
fn the_schema_of_expectations_is_printed() {
    let schema: serde_json::Value =
        serde_json::from_slice(&ringway(&["schema", "tests"]).stdout).expect("JSON");
    let case = &schema["properties"]["tests"]["items"];
    assert_eq!(case["required"], serde_json::json!(["request", "expect"]));
    assert!(case["properties"]["expect"]["properties"]["sent"].is_object());
    let config: serde_json::Value = serde_json::from_slice(&ringway(&["schema"]).stdout).expect("JSON");
    assert!(config["properties"]["listeners"].is_object());
}
