//! `cors`: preflights are answered, answers are marked, the origin server's own marks are replaced.

use ringway_tests::{Io, Origin, each_driver};

use crate::with_policies;

each_driver! {
    a_preflight_is_answered_before_anything_asks_for_credentials,
    answers_and_refusals_can_be_read_by_allowed_pages,
    what_the_origin_server_says_of_cors_is_replaced,
}

const CORS: &str = "{ cors: { allow_origins: [\"https://shop.test\", \"https://*.shop.test\"], allow_methods: [PUT], \
                    allow_headers: [x-api-key], credentials: true } }";

fn preflight(origin: &str) -> String {
    format!(
        "OPTIONS /a HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\
         Access-Control-Request-Headers: x-api-key\r\n\r\n"
    )
}

fn a_preflight_is_answered_before_anything_asks_for_credentials(io: Io) {
    let origin = Origin::ok();
    let policies = format!("[{CORS}, {{ ip_access: {{ deny: [127.0.0.0/8] }} }}]");
    let proxy = with_policies(&origin, "", "", &policies).io(io).start();
    let mut client = proxy.connect();
    for (from, allowed) in [
        ("https://shop.test", true),
        ("https://a.shop.test", true),
        ("https://evil.test", false),
        ("null", false),
    ] {
        let response = client.exchange(preflight(from));
        assert_eq!(response.status, if allowed { 204 } else { 403 }, "{from}");
        assert_eq!(response.field("access-control-allow-origin"), allowed.then_some(from));
        assert_eq!(response.field("access-control-allow-credentials"), allowed.then_some("true"));
        assert_eq!(response.field("access-control-allow-methods"), allowed.then_some("PUT"));
        assert_eq!(response.field("access-control-allow-headers"), allowed.then_some("x-api-key"));
        assert!(response.field("vary").is_some_and(|vary| vary.contains("origin")), "{from}");
    }
    origin.assert_saw_nothing();
}

fn answers_and_refusals_can_be_read_by_allowed_pages(io: Io) {
    let origin = Origin::ok();
    for (more, status) in [("", 200), (", { ip_access: { deny: [127.0.0.0/8] } }", 403)] {
        let proxy = with_policies(&origin, "", "", &format!("[{CORS}{more}]")).io(io).start();
        for (from, allowed) in [("https://shop.test", true), ("https://evil.test", false)] {
            let response = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nOrigin: {from}\r\n\r\n"));
            assert_eq!(response.status, status);
            assert_eq!(
                response.field("access-control-allow-origin"),
                allowed.then_some(from),
                "{status} {from}"
            );
            assert_eq!(response.fields_named("vary"), ["origin"]);
        }
    }
}

fn what_the_origin_server_says_of_cors_is_replaced(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
         Vary: accept\r\nContent-Length: 0\r\n\r\n",
    );
    let proxy = with_policies(&origin, "", "", &format!("[{CORS}]")).io(io).start();
    for (line, expected) in [
        ("", vec![]),
        ("Origin: https://evil.test\r\n", vec![]),
        ("Origin: https://shop.test\r\n", vec!["https://shop.test"]),
    ] {
        let response = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n"));
        assert_eq!(response.fields_named("access-control-allow-origin"), expected, "{line}");
        assert_eq!(response.fields_named("vary"), ["accept", "origin"]);
    }
}
