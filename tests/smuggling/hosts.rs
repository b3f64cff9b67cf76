//! Host and authority: one, valid, and the same wherever it stands (RFC 9112 section 3.2, RFC 3986 section 3.2).

use ringway_tests::{Io, each_driver};

use crate::Stage;

each_driver! {
    refuses_a_missing_or_repeated_host,
    refuses_a_host_that_is_none,
    a_target_and_a_host_that_disagree_reach_no_origin_as_two,
    refuses_a_connect_target_that_is_no_authority,
}

fn refuses_a_missing_or_repeated_host(io: Io) {
    Stage::new(io).refuses([
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Host: a\r\n\r\n",
    ]);
}

/// Threat row 15.
fn refuses_a_host_that_is_none(io: Io) {
    let hosts = [
        "a,b",
        "a, b",
        "a b",
        "a\tb",
        "a/b",
        "a/",
        "/a",
        "a?b",
        "a#b",
        "a@b",
        "@a",
        "user@a",
        "user:pw@a",
        "http://a",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:+80",
        "a:65536",
        "a:99999999999",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:x",
        "[]",
        "[zz]",
        "a\\b",
        "a\"b",
        "a<b",
        "a>b",
        "a{b",
        "a|b",
        "a^b",
        "a`b",
        "\u{e9}.test",
        "a\0",
        "a\u{7f}",
        "a%",
        "a%zz",
        "a b.test",
        "[::1%eth0]",
        ":80",
        "a;b",
    ];
    Stage::new(io).refuses(hosts.map(|host| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")));
}

/// Threat row 15: the target's authority wins and replaces the Host, or the request is refused; never both go on.
fn a_target_and_a_host_that_disagree_reach_no_origin_as_two(io: Io) {
    let stage = Stage::new(io);
    for (target, host) in [
        ("http://a.test/x", "b.test"),
        ("http://a.test:81/x", "a.test:82"),
        ("http://a.test/x", "a.test:8080"),
        ("http://a.test/x", ""),
    ] {
        let before = stage.origin.requests().len();
        let mut client = stage.proxy.connect();
        let response = client.exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(matches!(response.status, 200 | 400), "{target} {host}: {}", response.status);
        for request in stage.origin.requests().iter().skip(before) {
            assert_eq!(request.target, "/x");
            let authority = target.trim_start_matches("http://").trim_end_matches("/x");
            assert_eq!(request.fields_named("host"), [authority]);
            assert!(
                host.is_empty()
                    || !String::from_utf8_lossy(&request.head).contains(host)
                    || authority.contains(host)
            );
        }
    }
    stage.saw_nothing_hidden();
}

fn refuses_a_connect_target_that_is_no_authority(io: Io) {
    let targets = [
        "/",
        "*",
        "http://test/",
        "test",
        "test:",
        "test:x",
        ":80",
        "test:80/",
        "user@test:80",
        "test:80?x",
        "test:99999",
    ];
    // 405 where the form is fine and CONNECT is not allowed.
    Stage::new(io).refuses_with(
        &[400],
        targets.map(|target| format!("CONNECT {target} HTTP/1.1\r\nHost: test\r\n\r\n")),
    );
}
