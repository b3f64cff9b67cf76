//! `rewrite`: what the origin gets instead.

use ringway_tests::http2::Http2Client;
use ringway_tests::{Client, Io, Origin, each_driver};

use crate::with_policies;

each_driver! {
    the_origin_gets_the_rewritten_target,
    over_http2_too,
    what_would_leave_its_place_is_refused,
    an_escaped_path_stays_escaped,
}

fn the_origin_gets_the_rewritten_target(io: Io) {
    for (policy, target, expected) in [
        ("{ strip_prefix: /api }", "/api/users?x=1", "/users?x=1"),
        ("{ strip_prefix: /api }", "/api", "/"),
        ("{ strip_prefix: /api }", "/apis", "/apis"),
        ("{ strip_prefix: /api }", "/%61pi/./users", "/users"),
        ("{ prefix: { from: /v1, to: /v2 } }", "/v1/a", "/v2/a"),
        (
            "{ regex: { pattern: \"^/u/([0-9]+)$\", with: \"/users/{1}/profile\" } }",
            "/u/7",
            "/users/7/profile",
        ),
        (
            "{ path: \"/x{path}\", query: { set: { from: \"{host}\" }, remove: [utm] } }",
            "/a?utm=1&b=2",
            "/x/a?b=2&from=a",
        ),
        ("{ query: { remove: [\"*\"] } }", "/a?utm=1&b=2", "/a"),
    ] {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", "", &format!("[{{ rewrite: {policy} }}]")).io(io).start();
        assert_eq!(proxy.exchange(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).status, 200);
        assert_eq!(origin.only_request().target, expected, "{policy}: {target}");
    }
}

fn over_http2_too(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ rewrite: { strip_prefix: /api, host: app.internal } }, { request_headers: { set: { x-was: \"{path}\" } } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    let mut client = Http2Client::begin(Client::connect(proxy.address()), &[]);
    let id = client.get("/api/users?x=1");
    assert_eq!(client.response(id).status, 200);
    let request = origin.only_request();
    assert_eq!(request.target, "/users?x=1");
    assert_eq!(request.fields_named("host"), ["app.internal"]);
    assert_eq!(request.field("x-was"), Some("/api/users"));
}

fn what_would_leave_its_place_is_refused(io: Io) {
    for (policy, target) in [
        ("{ path: \"/tenants/7/{query.dir}/data\" }", "/?dir=.."),
        ("{ regex: { pattern: \"^/(.*)x$\", with: \"/tenants/7/{1}/data\" } }", "/..x"),
        ("{ host: \"{query.to}\" }", "/?to=evil.test%2Fx"),
        ("{ host: \"{query.to}\" }", "/"),
        (
            "{ path: \"/{query.a}\", bytes_max: 64B }",
            "/?a=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
    ] {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", "", &format!("[{{ rewrite: {policy} }}]")).io(io).start();
        let response = proxy.exchange(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(
            (response.status, response.field("x-ringway-reason")),
            (400, Some("bad_rewrite")),
            "{policy}"
        );
        origin.assert_saw_nothing();
    }
}

/// CVE-2023-25690 and its kind: what is captured is never decoded.
fn an_escaped_path_stays_escaped(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ rewrite: { regex: { pattern: \"^/old/(.*)$\", with: \"/new?{1}\" } } }]";
    let refused = with_policies(&origin, "", "", policies).io(io).start_refused();
    assert!(refused.1.contains("regex.with"), "{}", refused.1);
    let policies = "[{ rewrite: { regex: { pattern: \"^/old/(.*)$\", with: \"/new/{1}\" } } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    for target in ["/old/a%0d%0aHost:%20evil", "/old/a%00", "/old/%2e%2e/a", "/old/a%5c..%5cb"] {
        assert_eq!(
            proxy.exchange(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).status,
            400,
            "{target}"
        );
    }
    origin.assert_saw_nothing();
    let long = format!("/old/{}%20b", "a".repeat(4000));
    assert_eq!(proxy.exchange(format!("GET {long} HTTP/1.1\r\nHost: a\r\n\r\n")).status, 200);
    assert_eq!(origin.only_request().target, long.replace("/old", "/new"));
}
