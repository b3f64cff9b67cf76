//! `api_key`, `basic_auth` and `ringway keys`: who a client is, told to the origin by the proxy alone.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ringway_tests::http2::Http2Client;
use ringway_tests::proxy::binary;
use ringway_tests::temp::TempDir;
use ringway_tests::{Client, Io, Origin, each_driver, wait};

use crate::with_policies;

each_driver! {
    the_origin_is_told_the_consumer_and_never_the_key,
    a_key_is_asked_for_and_a_wrong_one_refused,
    who_a_client_says_it_is_is_never_passed_on,
    keys_that_are_added_and_revoked_count_without_a_reload,
    a_file_that_goes_wrong_changes_nothing,
    users_are_asked_for_their_password,
}

/// `ringway keys …`, with this on its standard input.
fn keys(arguments: &[&str], file: &Path, input: &str) -> Output {
    let mut command = Command::new(binary("ringway-under-test"));
    command.arg("keys").args(arguments).arg("--file").arg(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

/// Makes a key.
fn key(file: &Path, arguments: &[&str]) -> String {
    let output = keys(&[&["add"], arguments].concat(), file, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr })
        .into_owned()
}

fn policy(file: &Path, more: &str) -> String {
    format!("[{{ api_key: {{ keys_file: \"{}\"{more} }} }}]", file.display())
}

fn the_origin_is_told_the_consumer_and_never_the_key(io: Io) {
    let directory = TempDir::new();
    let file = directory.path().join("keys.yaml");
    let key = key(&file, &["--consumer", "shop", "--groups", "gold,eu"]);
    for (more, request) in [
        ("", format!("GET /a?b=1 HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n")),
        (", bearer: true", format!("GET /a?b=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n")),
        (", query: key", format!("GET /a?key={key}&b=1 HTTP/1.1\r\nHost: a\r\n\r\n")),
        (", cookie: key", format!("GET /a?b=1 HTTP/1.1\r\nHost: a\r\nCookie: x=y; key={key}\r\n\r\n")),
        // RFC 9110 7.6.1: naming the field for the connection hides it from nobody who has to see it here.
        ("", format!("GET /a?b=1 HTTP/1.1\r\nHost: a\r\nConnection: x-api-key\r\nX-API-Key: {key}\r\n\r\n")),
    ] {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", "", &policy(&file, more)).io(io).start();
        assert_eq!(proxy.exchange(&request).status, 200, "{more}");
        let received = origin.only_request();
        assert_eq!(received.target, "/a?b=1");
        assert_eq!(received.fields_named("x-consumer-name"), ["shop"]);
        assert_eq!(received.fields_named("x-consumer-groups"), ["gold,eu"]);
        assert!(!String::from_utf8_lossy(&received.head).contains(&key), "{more}");
    }
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", &policy(&file, "")).io(io).start();
    let mut client = Http2Client::begin(Client::connect(proxy.address()), &[]);
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x-api-key", &key)];
    let id = client.open(&fields, true);
    assert_eq!(client.response(id).status, 200);
    assert_eq!(origin.only_request().field("x-consumer-name"), Some("shop"));
    assert_eq!(origin.only_request().field("x-api-key"), None);
}

fn a_key_is_asked_for_and_a_wrong_one_refused(io: Io) {
    let directory = TempDir::new();
    let file = directory.path().join("keys.yaml");
    let key = key(&file, &["--consumer", "shop"]);
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", &policy(&file, ", groups: [gold]")).io(io).start();
    let mut client = proxy.connect();
    for (lines, status, reason) in [
        (String::new(), 401, "unauthenticated"),
        ("X-API-Key: rw_wrong\r\n".to_owned(), 401, "unauthenticated"),
        (format!("X-API-Key: {key}x\r\n"), 401, "unauthenticated"),
        (format!("X_API_Key: {key}\r\n"), 401, "unauthenticated"),
        (format!("X-API-Key: {key}\r\nX-API-Key: rw_wrong\r\n"), 401, "unauthenticated"),
        (format!("X-API-Key: {key}\r\n"), 403, "forbidden"),
    ] {
        let response = client.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        assert_eq!((response.status, response.field("x-ringway-reason")), (status, Some(reason)), "{lines}");
        let challenge = (status == 401).then_some("ApiKey realm=\"ringway\"");
        assert_eq!(response.field("www-authenticate"), challenge);
    }
    origin.assert_saw_nothing();
}

const SPOOFED: &str = "X-Consumer-Name: root\r\nX_Consumer_Name: root\r\nX-Consumer-Groups: admin\r\n\
                       x-consumer_groups: admin\r\nX-Consumer-Custom-Id: 1\r\n";

/// CVE-2026-49230 and its kind. It holds on routes that ask for nothing, too: the origin cannot tell them apart.
fn who_a_client_says_it_is_is_never_passed_on(io: Io) {
    let directory = TempDir::new();
    let file = directory.path().join("keys.yaml");
    let key = key(&file, &["--consumer", "shop"]);
    let open = policy(&file, ", required: false");
    let asks = policy(&file, "");
    for (policies, line, name) in [
        ("", String::new(), None),
        (open.as_str(), String::new(), None),
        (open.as_str(), format!("X-API-Key: {key}\r\n"), Some("shop")),
        (asks.as_str(), format!("Connection: x-consumer-name\r\nX-API-Key: {key}\r\n"), Some("shop")),
    ] {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", "", policies).io(io).start();
        let response = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{SPOOFED}{line}\r\n"));
        assert_eq!(response.status, 200);
        let request = origin.only_request();
        let told: Vec<_> = request
            .fields
            .iter()
            .filter(|(name, _)| {
                name.to_lowercase().starts_with(['x'])
                    && name.to_lowercase().replace('_', "-").starts_with("x-consumer")
            })
            .collect();
        let expected: Vec<(String, String)> =
            name.iter().map(|name| ("x-consumer-name".to_owned(), (*name).to_owned())).collect();
        assert_eq!(told, expected.iter().collect::<Vec<_>>(), "{policies} {line}");
    }
}

fn status_with(proxy: &ringway_tests::Proxy, key: &str) -> u16 {
    proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n")).status
}

fn keys_that_are_added_and_revoked_count_without_a_reload(io: Io) {
    let directory = TempDir::new();
    let file = directory.path().join("keys.yaml");
    let first = key(&file, &["--consumer", "shop"]);
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", &policy(&file, "")).io(io).workers(2).start();
    assert_eq!(status_with(&proxy, &first), 200);
    let second = key(&file, &["--consumer", "shop", "--expires", "90d"]);
    wait::eventually("the new key counts", || (status_with(&proxy, &second) == 200).then_some(()));
    assert_eq!(status_with(&proxy, &first), 200, "both count while one follows the other");
    let listed = said(&keys(&["list"], &file, ""));
    let id = listed.split_whitespace().next().expect("an identifier");
    assert_eq!(said(&keys(&["revoke", id], &file, "")), "revoked: 1\n");
    wait::eventually("the first key counts no more", || (status_with(&proxy, &first) == 401).then_some(()));
    assert_eq!(status_with(&proxy, &second), 200);
}

fn a_file_that_goes_wrong_changes_nothing(io: Io) {
    let directory = TempDir::new();
    let file = directory.path().join("keys.yaml");
    let key = key(&file, &["--consumer", "shop"]);
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "", "", &policy(&file, "")).io(io).start();
    assert_eq!(status_with(&proxy, &key), 200);
    directory.write("keys.yaml", "salt: x\nkeyz: []\n");
    proxy.wait_for_log("cannot be used");
    assert_eq!(status_with(&proxy, &key), 200);
    // A start without a file of keys is refused: nobody is let in by mistake.
    let (_, said) = with_policies(&origin, "", "", &policy(&file, "")).io(io).start_refused();
    assert!(said.contains("keyz") && said.contains("keys.yaml:2"), "{said}");
    let missing = directory.path().join("none.yaml");
    let (_, said) = with_policies(&origin, "", "", &policy(&missing, "")).io(io).start_refused();
    assert!(said.contains("none.yaml"), "{said}");
}

fn users_are_asked_for_their_password(io: Io) {
    let directory = TempDir::new();
    let file = directory.path().join("users.yaml");
    let added =
        keys(&["add", "--user", "alice", "--groups", "staff", "--iterations", "1000"], &file, "secret\n");
    assert!(added.status.success(), "{}", said(&added));
    let origin = Origin::ok();
    let policies = format!("[{{ basic_auth: {{ users_file: \"{}\", realm: inside }} }}]", file.display());
    let proxy = with_policies(&origin, "", "", &policies).io(io).start();
    let ask = |value: &str| {
        proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{SPOOFED}Authorization: {value}\r\n\r\n"))
    };
    // alice:wrong, bob:secret, and nothing that means anything.
    for value in ["Basic YWxpY2U6d3Jvbmc=", "Basic Ym9iOnNlY3JldA==", "Bearer x", "Basic"] {
        let response = ask(value);
        assert_eq!(response.status, 401, "{value}");
        assert_eq!(response.field("www-authenticate"), Some("Basic realm=\"inside\", charset=\"UTF-8\""));
    }
    origin.assert_saw_nothing();
    // alice:secret
    assert_eq!(ask("Basic YWxpY2U6c2VjcmV0").status, 200);
    let request = origin.only_request();
    assert_eq!(request.fields_named("x-consumer-name"), ["alice"]);
    assert_eq!(request.fields_named("x-consumer-groups"), ["staff"]);
    assert_eq!(request.field("authorization"), None);
}

#[test]
fn a_consumer_has_two_keys_at_most_and_the_file_has_none_of_them() {
    let directory = TempDir::new();
    let file = directory.path().join("keys.yaml");
    let (one, two) = (key(&file, &["--consumer", "shop"]), key(&file, &["--consumer", "shop"]));
    assert_ne!(one, two);
    let third = keys(&["add", "--consumer", "shop"], &file, "");
    assert!(!third.status.success() && said(&third).contains("revoke one of them first"), "{}", said(&third));
    let other = key(&file, &["--consumer", "other", "--expires", "2999-01-01"]);
    let content = std::fs::read_to_string(&file).expect("the file");
    for key in [one, two, other] {
        assert!(!content.contains(key.trim_start_matches("rw_")), "a key is in the file");
    }
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    assert_eq!(said(&keys(&["list"], &file, "")).lines().count(), 3);
    let json: serde_json::Value =
        serde_json::from_slice(&keys(&["list", "--format", "json"], &file, "").stdout).expect("JSON");
    assert_eq!(json["keys"][2]["consumer"], "other");
    assert_eq!(json["keys"][2]["expires"], "2999-01-01T00:00:00Z");
    assert_eq!(said(&keys(&["revoke", "--consumer", "shop"], &file, "")), "revoked: 2\n");
    assert!(!keys(&["revoke", "--consumer", "shop"], &file, "").status.success());
}

#[test]
fn a_key_of_another_gateway_can_be_taken_over() {
    let directory = TempDir::new();
    let file = directory.path().join("keys.yaml");
    let add = |key: &str| keys(&["add", "--consumer", "shop", "--stdin"], &file, key);
    for (key, taken) in [
        ("short\n", false),
        ("", false),
        ("with spaces in between them\n", false),
        ("0123456789abcdef0123\n", true),
    ] {
        assert_eq!(add(key).status.success(), taken, "{key:?}");
    }
    assert_eq!(said(&keys(&["list"], &file, "")).lines().count(), 1);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    let directory = TempDir::new();
    let file = directory.path().join("keys.yaml");
    for (arguments, expected) in [
        (vec!["add", "--consumer", "a b"], "letters"),
        (vec!["add", "--consumer", "shop", "--expires", "2020-01-01"], "over already"),
        (vec!["add", "--consumer", "shop", "--expires", "soon"], "expected a date"),
        (vec!["list"], "cannot be read"),
        (vec!["revoke", "--user", "alice"], "cannot be read"),
    ] {
        let output = keys(&arguments, &file, "");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0, "{arguments:?}");
    }
}
