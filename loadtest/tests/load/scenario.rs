//! `ringway-load scenario`: kinds by weight, expectations, thresholds as exit status, messages with places.

use std::io::Write;
use std::net::TcpStream;

use crate::harness::{count, load, server, tempfile};

/// Reads requests with bodies; answers with what was asked for, or 404 under `/missing`.
fn echo(stream: &mut TcpStream, served: &std::sync::atomic::AtomicU64) {
    crate::harness::each_whole_request(stream, served, |stream, head, body| {
        let status = if head.contains(" /missing") { "404 Not Found" } else { "200 OK" };
        let answer = format!("{}|{body}", head.lines().next().unwrap_or_default());
        let length = answer.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{answer}").is_ok()
    });
}

fn file(ending: &str, text: &str) -> String {
    let name = tempfile(ending);
    std::fs::write(&name, text).expect("a file");
    name
}

fn run(scenario: &str) -> (Option<i32>, serde_json::Value, String) {
    let name = file(".yaml", scenario);
    let result = load(&["scenario", &name]);
    let _ = std::fs::remove_file(&name);
    result
}

#[test]
fn kinds_come_by_weight_with_their_bodies_and_rows() {
    let (address, served) = server(echo);
    let rows = file(".csv", "user,city\nann,Ulm\nbob,\"Bad, Ems\"\n");
    let (code, document, text) = run(&format!(
        "
target: http://{address}/
connections: 3
requests_max: 900
data_file: {rows}
requests:
  - name: read
    weight: 2
    path: /read
    expect: {{status: 200, body_contains: GET /read}}
  - name: write
    body: '{{\"user\": \"{{user}}\"}}'
    path: /write/{{counter}}
    expect: {{body_contains: '{{\"user\": \"'}}
  - name: lost
    path: /missing
    expect: {{status: [404]}}
thresholds: {{requests: 900, read.errors: 0, p99: 60s}}
"
    ));
    let _ = std::fs::remove_file(rows);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(served.load(std::sync::atomic::Ordering::SeqCst), 900);
    let of = |kind: usize| count(&document, &format!("/kinds/{kind}/requests"));
    assert_eq!(of(0) + of(1) + of(2), 900, "{text}");
    // Six deviations of a count of 900 with a share of a half.
    assert!((360..=540).contains(&of(0)), "seed 1: {text}");
    assert!(text.contains("holds      requests"), "{text}");
}

#[test]
fn a_broken_threshold_or_expectation_fails_the_run() {
    let (address, _) = server(echo);
    for (expectation, thresholds, broken) in [
        ("{}", "{max: 0ms}", "BROKEN     max"),
        ("{}", "{requests: 51}", "BROKEN     requests"),
        ("{status: 201}", "{}", "BROKEN     errors"),
        ("{body_contains: nowhere}", "{errors: 49}", "BROKEN     errors"),
        ("{latency: 0ms}", "{kind.errors: 10%}", "BROKEN     kind.errors"),
    ] {
        let (code, _, text) = run(&format!(
            "{{target: 'http://{address}/', requests_max: 50, connections: 2, thresholds: {thresholds}, \
             requests: [{{name: kind, expect: {expectation}}}]}}"
        ));
        assert_eq!(code, Some(3), "{expectation} {thresholds}: {text}");
        assert!(text.contains(broken), "{expectation} {thresholds}: {text}");
    }
    let (code, _, text) = run(&format!(
        "{{target: 'http://{address}/', requests_max: 50, thresholds: {{errors: 100%}}, \
         requests: [{{expect: {{status: 201}}}}]}}"
    ));
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_connection_thinks_between_its_requests() {
    let (address, _) = server(echo);
    let (code, document, text) = run(&format!(
        "{{target: 'http://{address}/', requests_max: 10, connections: 1, think: 20ms, requests: [{{path: /}}]}}"
    ));
    assert_eq!(code, Some(0), "{text}");
    let seconds = document.pointer("/summary/seconds").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    // Nine pauses lie between ten requests.
    assert!(seconds >= 0.18, "{text}");
}

#[test]
fn a_wrong_file_is_pointed_at_and_nothing_is_sent() {
    let (address, served) = server(echo);
    let name = file(".yaml", &format!("target: http://{address}/\nrequests:\n  - pth: /\n"));
    for args in [&["scenario", &name][..], &["scenario", "--check", &name]] {
        let (code, _, text) = load(args);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("{name}:3:5: `pth` is no key")), "{text}");
        assert!(text.contains("did you mean `path`?"), "{text}");
    }
    let _ = std::fs::remove_file(&name);
    let (code, _, text) = load(&["scenario", "/nonexistent.yaml"]);
    assert!(code == Some(1) && text.contains("/nonexistent.yaml"), "{text}");
    assert_eq!(served.load(std::sync::atomic::Ordering::SeqCst), 0);
}
