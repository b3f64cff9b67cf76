//! What a policy answers in the place of an origin, and the body that comes with the request all the same (threat row 29):
//! nothing of it is ever taken for a request, and none of it reaches an origin.

use ringway_tests::http2::{Frame, Http2Client};
use ringway_tests::temp::TempDir;
use ringway_tests::{Io, Origin, Proxy, each_driver};

use crate::with_policies;

each_driver! {
    no_body_is_left_behind_by_who_answers_instead,
    over_http2_a_body_that_follows_is_nobodys,
    a_body_is_not_left_behind_where_no_route_matches,
    no_body_is_left_behind_where_a_limit_is_reached,
    what_follows_a_connect_that_is_refused_is_no_request,
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// Each policy that answers instead of an origin, and with what.
fn answering(directory: &TempDir) -> Vec<(String, u16)> {
    let keys = directory
        .write("keys.yaml", "salt: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
    let users = directory
        .write("users.yaml", "salt: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
    vec![
        ("ip_access: { deny: [127.0.0.0/8] }".to_owned(), 403),
        (format!("api_key: {{ keys_file: \"{}\" }}", keys.display()), 401),
        (format!("basic_auth: {{ users_file: \"{}\" }}", users.display()), 401),
        ("fault: { abort: { status: 503, percent: 100% } }".to_owned(), 503),
        (
            "fault: { delay: { time: 1ms, percent: 100% }, abort: { status: 503, percent: 100% } }"
                .to_owned(),
            503,
        ),
        ("body_size: { request: 3B }".to_owned(), 413),
        ("fixed_response: { status: 202, body: here }".to_owned(), 202),
        ("redirect: { scheme: https }".to_owned(), 302),
        ("api_version: { from: header, versions: [{ name: v1 }] }".to_owned(), 400),
        ("rewrite: { host: \"{query.to}\" }".to_owned(), 400),
    ]
}

/// Requests whose bodies are requests to who does not know them for bodies.
fn requests() -> [(&'static str, String); 4] {
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    [
        ("whole", format!("{head}Content-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len())),
        ("begun", format!("{head}Content-Length: 1000000\r\n\r\n{HIDDEN}")),
        (
            "chunked",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
        ),
        (
            "expected",
            format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()),
        ),
    ]
}

/// Sends each of the requests, and another one behind it where the connection stays.
fn mount(proxy: &Proxy, expected: u16, policy: &str) {
    for (what, request) in requests() {
        // A limit on bodies lets bodies of unknown length begin.
        if what == "chunked" && policy.starts_with("body_size") {
            continue;
        }
        let mut client = proxy.connect();
        let response = client.exchange(&request);
        assert_eq!(response.status, expected, "{policy}: {what}");
        if response.says_close() {
            client.expect_closed();
            continue;
        }
        // Whoever took the body for a request would have answered it by now.
        client.send("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlast");
        let last = client.response();
        assert_eq!(last.status, expected, "{policy}: {what}");
        assert!(last.says_close(), "{policy}: {what}: the answer to the last request");
        client.expect_closed();
    }
}

fn no_body_is_left_behind_by_who_answers_instead(io: Io) {
    let directory = TempDir::new();
    for (policy, status) in answering(&directory) {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", "", &format!("[{{ {policy} }}]")).io(io).start();
        mount(&proxy, status, &policy);
        origin.assert_saw_nothing();
    }
}

fn over_http2_a_body_that_follows_is_nobodys(io: Io) {
    let directory = TempDir::new();
    for (policy, status) in answering(&directory) {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", "", &format!("[{{ {policy} }}]")).io(io).start();
        let mut client = Http2Client::connect(proxy.address());
        client.settled();
        for rounds in 1..=3 {
            let id = client.open(
                &[
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "a"),
                    ("content-length", "34"),
                ],
                false,
            );
            assert_eq!(client.response(id).status, status, "{policy} {rounds}");
            // Too late for anybody but the counters of the connection.
            client.send(&Frame::data(id, HIDDEN, true));
        }
        let other = client.open(
            &[
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
                ("content-length", "4"),
            ],
            false,
        );
        client.send(&Frame::data(other, "last", true));
        assert_eq!(client.response(other).status, status, "{policy}");
        assert!(client.goaways.is_empty(), "{policy}");
        origin.assert_saw_nothing();
    }
}

fn a_body_is_not_left_behind_where_no_route_matches(io: Io) {
    let directory = TempDir::new();
    let passing = ("response_headers: { set: { x-a: b } }".to_owned(), 404);
    for (policy, status) in answering(&directory).into_iter().chain([passing]) {
        let origin = Origin::ok();
        let yaml = format!(
            "policies: [{{ {policy} }}]\nlisteners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  \
             - {{ name: origin, endpoints: [\"{}\"] }}\nroutes:\n  - {{ name: other, hosts: [other.test], to: origin }}\n",
            origin.address()
        );
        let proxy = ringway_tests::Ringway::to(&origin).config(yaml).io(io).start();
        mount(&proxy, status, &policy);
        origin.assert_saw_nothing();
    }
}

fn no_body_is_left_behind_where_a_limit_is_reached(io: Io) {
    for policy in
        ["concurrency_limit: { limit: 1 }", "concurrency_limit: { limit: 1, queue: 1, queue_timeout: 20ms }"]
    {
        let origin = Origin::start(|conn| {
            conn.request();
            conn.until_closed();
        });
        let proxy = with_policies(&origin, "", "", &format!("[{{ {policy} }}]")).io(io).start();
        let mut held = proxy.connect();
        held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
        origin.wait_for_requests(1);
        mount(&proxy, 503, policy);
        assert_eq!(origin.only_request().target, "/held");
    }
}

/// Threat row 49, RFC 9931: bytes behind a CONNECT were meant for the other end of a tunnel.
fn what_follows_a_connect_that_is_refused_is_no_request(io: Io) {
    let origin = Origin::ok();
    let connect = format!("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n{HIDDEN}");
    for (policies, route, status) in [
        ("[]", "", 405),
        ("[{ ip_access: { deny: [127.0.0.0/8] } }]", ", connect: true", 403),
        ("[{ fixed_response: { status: 407 } }]", ", connect: true", 407),
    ] {
        let yaml = format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"] }}\n\
             routes:\n  - {{ name: all, to: origin, policies: {policies}{route} }}\n",
            origin.address()
        );
        let proxy = ringway_tests::Ringway::to(&origin).config(yaml).io(io).start();
        for early in [connect.as_str(), connect.strip_suffix(HIDDEN).unwrap_or_default()] {
            let mut client = proxy.connect();
            let response = client.send(early).response();
            assert_eq!(response.status, status, "{policies}");
            assert!(response.says_close(), "{policies}");
            client.expect_closed();
        }
        let mut client = Http2Client::connect(proxy.address());
        let id = client.open(&[(":method", "CONNECT"), (":authority", "example.com:443")], false);
        client.send(&Frame::data(id, HIDDEN, false));
        assert_eq!(client.response(id).status, status, "{policies}");
    }
    origin.assert_saw_nothing();
}
