use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use ringway_protocols::grpc::Status;

use crate::error::Reason;
use crate::grpc::CallOutcome;
use crate::outcome::{Phases, WallClock};
use crate::stats::Label;
use crate::stats::labels::ClusterLabel;

fn labels() -> Labels {
    let label = |name: &str| Label { name: name.into(), slot: 1 };
    Labels {
        generation: 1,
        listeners: vec![label("web")],
        routes: vec![label("shop \"quoted\"")],
        clusters: vec![ClusterLabel { label: label("origin"), endpoints: vec![label("10.0.0.1:9000")] }],
    }
}

fn outcome() -> Outcome<'static> {
    let started = Instant::now();
    let after = |us| started + Duration::from_micros(us);
    Outcome {
        listener: 0,
        route: Some(0),
        cluster: Some(0),
        worker: 3,
        endpoint: "10.0.0.1:9000",
        endpoint_index: Some(0),
        client: "192.0.2.7".parse().ok(),
        method: b"GET",
        target: b"/a?b=c",
        host: b"example.com",
        protocol: "HTTP/1.1",
        user_agent: b"curl/8",
        referer: b"",
        request_id: b"0190-1",
        status: 200,
        reason: None,
        request_body_bytes: 5,
        response_body_bytes: 1234,
        attempts: 1,
        upstream_reused: true,
        grpc: None,
        tls: None,
        phases: Phases {
            clock: WallClock::new(started, UNIX_EPOCH + Duration::from_millis(951_782_400_042)),
            started,
            head_received: after(10),
            connected: Some(after(30)),
            first_byte: Some(after(510)),
            ended: after(2_000_010),
        },
    }
}

fn line(format: &AccessLogFormat, outcome: &Outcome<'_>) -> String {
    let mut out = Vec::new();
    let format = Format::compile(format).expect("the format compiles");
    format.push_line(&mut out, &mut Clock::default(), &labels(), outcome);
    String::from_utf8(out).expect("a line is UTF-8")
}

fn template(text: &str, outcome: &Outcome<'_>) -> String {
    line(&AccessLogFormat::Template(text.into()), outcome)
}

#[test]
fn combined_is_what_log_readers_expect() {
    assert_eq!(
        line(&AccessLogFormat::Combined, &outcome()),
        "192.0.2.7 - - [29/Feb/2000:00:00:00 +0000] \"GET /a?b=c HTTP/1.1\" 200 1234 \"-\" \"curl/8\"\n"
    );
}

#[test]
fn a_quote_in_a_target_does_not_end_its_field() {
    let hostile = Outcome { target: b"/\" 200 0 \"x\" \"y\"\n1.2.3.4 - -", ..outcome() };
    assert_eq!(
        line(&AccessLogFormat::Combined, &hostile),
        "192.0.2.7 - - [29/Feb/2000:00:00:00 +0000] \"GET /\\x22 200 0 \\x22x\\x22 \\x22y\\x22\\x0a1.2.3.4 - - HTTP/1.1\" \
         200 1234 \"-\" \"curl/8\"\n"
    );
}

#[test]
fn json_has_every_variable_and_null_for_what_is_absent() {
    let bare = Outcome {
        route: None,
        cluster: None,
        endpoint: "",
        endpoint_index: None,
        client: None,
        method: b"",
        target: b"",
        host: b"",
        user_agent: b"\"\\\xff\n",
        request_id: b"",
        status: 400,
        reason: Some(Reason::BadRequest),
        attempts: 0,
        phases: Phases { connected: None, first_byte: None, ..outcome().phases },
        ..outcome()
    };
    let call = CallOutcome {
        path: b"/a.S/M",
        service: b"a.S",
        method: b"M",
        status: Status::DeadlineExceeded,
        known: true,
        messages_in: 1,
        messages_out: 0,
    };
    for (outcome, expected) in [
        (
            Outcome { grpc: Some(call), ..outcome() },
            serde_json::json!({
                "time": "2000-02-29T00:00:00.042Z", "client": "192.0.2.7", "method": "GET", "target": "/a?b=c",
                "host": "example.com", "protocol": "HTTP/1.1", "status": 200, "reason": null, "listener": "web",
                "route": "shop \"quoted\"", "cluster": "origin", "endpoint": "10.0.0.1:9000", "worker": 3,
                "request_id": "0190-1", "user_agent": "curl/8", "referer": null, "request_body_bytes": 5,
                "response_body_bytes": 1234, "head_us": 10, "connect_us": 20, "first_byte_us": 500,
                "duration_us": 2_000_010, "attempts": 1, "upstream_reused": true, "grpc_service": "a.S", "grpc_method": "M",
                "grpc_status": "DEADLINE_EXCEEDED", "tls_version": null, "tls_cipher": null, "tls_group": null,
                "tls_server_name": null, "tls_resumed": null, "client_cert_subject": null,
                "client_cert_names": null, "client_cert_fingerprint": null, "client_spiffe_id": null
            }),
        ),
        (
            bare,
            serde_json::json!({
                "time": "2000-02-29T00:00:00.042Z", "client": null, "method": null, "target": null, "host": null,
                "protocol": "HTTP/1.1", "status": 400, "reason": "bad_request", "listener": "web", "route": null,
                "cluster": null, "endpoint": null, "worker": 3, "request_id": null, "user_agent": "\"\\\u{fffd}\n",
                "referer": null, "request_body_bytes": 5, "response_body_bytes": 1234, "head_us": 10,
                "connect_us": null, "first_byte_us": null, "duration_us": 2_000_010, "attempts": 0,
                "upstream_reused": true, "grpc_service": null, "grpc_method": null, "grpc_status": null,
                "tls_version": null, "tls_cipher": null, "tls_group": null, "tls_server_name": null,
                "tls_resumed": null, "client_cert_subject": null, "client_cert_names": null,
                "client_cert_fingerprint": null, "client_spiffe_id": null
            }),
        ),
    ] {
        let line = line(&AccessLogFormat::Json, &outcome);
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!(parsed, expected);
        assert_eq!(line.matches('\n').count(), 1);
    }
}

#[test]
fn a_huge_path_is_cut_and_says_so() {
    let long = vec![b'a'; 65_536];
    let huge = Outcome { target: &long, ..outcome() };
    let expected = format!("{}[+{} bytes]\n", "a".repeat(FIELD_BYTES_MAX), 65_536 - FIELD_BYTES_MAX);
    assert_eq!(template("{target}", &huge), expected);
    let line = line(&AccessLogFormat::Json, &huge);
    assert!(line.len() < FIELD_BYTES_MAX + 1_000 && serde_json::from_str::<serde_json::Value>(&line).is_ok());
}

#[test]
fn templates_know_every_variable_and_doubled_braces() {
    for (text, expected) in [
        ("", "\n"),
        ("{status}", "200\n"),
        ("{{{status}}}", "{200}\n"),
        ("a{worker}b{worker}", "a3b3\n"),
        ("{client}\t{duration_us}", "192.0.2.7\t2000010\n"),
        ("{time} [{time_local}]", "2000-02-29T00:00:00.042Z [29/Feb/2000:00:00:00 +0000]\n"),
        ("é {referer} {reason}", "é - -\n"),
        ("{route}", "shop \\x22quoted\\x22\n"),
    ] {
        assert_eq!(template(text, &outcome()), expected, "{text:?}");
    }
    for (name, _) in VARIABLES {
        assert!(template(&format!("{{{name}}}"), &outcome()).len() > 1, "{name}");
    }
}

#[test]
fn a_wrong_template_says_what_was_expected_and_where() {
    for (text, expected) in [
        ("{status", "expected } after {status (character 0 of the format)"),
        ("ab{", "expected } after { (character 2 of the format)"),
        ("a}b", "expected {name} or }} at character 1 of the format, found }"),
        ("{nothing}", "expected one of time, time_local, client"),
        ("{}", "expected one of time"),
        ("a\nb", "expected one line without control characters, found '\\n' at character 1"),
    ] {
        let error = Format::compile(&AccessLogFormat::Template(text.into())).expect_err(text);
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}

/// What a line costs, for a person to read: `cargo test --profile quick -p ringway-core cost_of -- --ignored --nocapture`.
#[test]
#[ignore = "prints a figure"]
fn cost_of_a_line() {
    let (mut labels, outcome) = (labels(), outcome());
    labels.routes[0].name = "shop".into();
    for format in [AccessLogFormat::Combined, AccessLogFormat::Json] {
        let compiled = Format::compile(&format).expect("compiles");
        let (mut out, mut clock) = (Vec::with_capacity(64 * 1024), Clock::default());
        let begin = Instant::now();
        for _ in 0..1_000_000 {
            if out.len() > 60_000 {
                out.clear();
            }
            compiled.push_line(&mut out, &mut clock, &labels, std::hint::black_box(&outcome));
        }
        println!("{format:?}: {} ns", begin.elapsed().as_nanos() / 1_000_000);
    }
}
