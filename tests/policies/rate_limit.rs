//! `rate_limit` from outside. Limits by the hour and the day: no test depends on how long it takes.

use std::thread;

use ringway_tests::http::Response;
use ringway_tests::http2::Http2Client;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::with_policies;

each_driver! {
    a_client_gets_its_burst_and_is_told_when_to_come_again,
    a_client_over_http2_is_told_the_same,
    workers_share_one_bucket,
    a_key_is_what_the_policy_says,
    what_has_no_key_shares_one_bucket,
    a_network_of_ipv6_is_one_client,
    requests_that_are_refused_leave_no_body_to_be_read_as_a_request,
    counts_outlive_a_reload_and_a_new_rate,
    another_key_begins_anew,
    a_full_table_refuses_or_allows,
    several_limits_are_told_each,
}

fn limited(origin: &Origin, limit: &str) -> Ringway {
    with_policies(origin, "", "", &format!("[{{ rate_limit: {{ {limit} }} }}]"))
}

/// The statuses of so many requests with these lines in their heads.
fn statuses(client: &mut Client, requests: usize, lines: &str) -> Vec<u16> {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    (0..requests).map(|_| client.exchange(&request).status).collect()
}

fn number(response: &Response, name: &str) -> u64 {
    response
        .field(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{name} of {response:?}"))
}

fn a_client_gets_its_burst_and_is_told_when_to_come_again(io: Io) {
    let origin = Origin::ok();
    let proxy = limited(&origin, "limit: 24/d, burst: 3").io(io).start();
    let mut client = proxy.connect();
    for remaining in [2, 1, 0] {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        assert_eq!(response.field("ratelimit-policy"), Some("\"default\";q=3;w=10800"));
        assert_eq!(number(&response, "x-ratelimit-limit"), 3);
        assert_eq!(number(&response, "x-ratelimit-remaining"), remaining);
        let reset = number(&response, "x-ratelimit-reset");
        assert!(reset > 3_600 * (2 - remaining) && reset <= 3_600 * (3 - remaining), "{reset}");
        assert_eq!(response.field("ratelimit"), Some(&*format!("\"default\";r={remaining};t={reset}")));
    }
    let refused = client.get("/");
    assert_eq!((refused.status, refused.reason_code()), (429, Some("rate_limited")));
    let wait = number(&refused, "retry-after");
    assert!(wait > 3_000 && wait <= 3_600, "{wait}");
    assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
    assert!(refused.body_text().contains("24/d"), "{}", refused.body_text());
    assert_eq!(origin.requests().len(), 3);
    // The connection is as good as before.
    assert_eq!(client.get("/").status, 429);
}

fn a_client_over_http2_is_told_the_same(io: Io) {
    let origin = Origin::ok();
    let proxy = limited(&origin, "limit: 1/d").io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    let first = client.get("/");
    let first = client.response(first);
    assert_eq!((first.status, first.field("x-ratelimit-remaining")), (200, Some("0")));
    let second = client.get("/");
    let second = client.response(second);
    assert_eq!((second.status, second.field("x-ringway-reason")), (429, Some("rate_limited")));
    assert!(second.field("retry-after").is_some());
    assert_eq!(second.field("ratelimit-policy"), Some("\"default\";q=1;w=86400"));
}

fn workers_share_one_bucket(io: Io) {
    const CLIENTS: usize = 16;
    let origin = Origin::ok();
    let proxy = limited(&origin, "limit: 30/d, headers: none").io(io).workers(3).start();
    let passed: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let statuses = statuses(&mut proxy.connect(), 8, "");
                    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
                    statuses.into_iter().filter(|status| *status == 200).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    assert_eq!(passed, 30, "of {} requests", CLIENTS * 8);
    assert_eq!(origin.requests().len(), 30);
}

fn a_key_is_what_the_policy_says(io: Io) {
    let origin = Origin::ok();
    for (key, allowed) in [
        // Each header on its own, each pair of header and route, and all together.
        ("\"header:X-Tenant\"", [true, true, true, false]),
        ("[\"header:x-tenant\", route]", [true, true, true, false]),
        ("route", [true, false, false, false]),
        ("listener", [true, false, false, false]),
        ("client_ip", [true, false, false, false]),
    ] {
        let proxy = limited(&origin, &format!("limit: 1/d, key: {key}")).io(io).start();
        let mut client = proxy.connect();
        let tenants = ["x-tenant: a", "x-tenant: b", "x-tenant: a\r\nx-tenant: b", "X-Tenant:  a "];
        let statuses = tenants.map(|tenant| statuses(&mut client, 1, &format!("{tenant}\r\n"))[0] == 200);
        assert_eq!(statuses, allowed, "{key}");
    }
}

fn what_has_no_key_shares_one_bucket(io: Io) {
    let origin = Origin::ok();
    for key in ["consumer", "\"header:x-tenant\""] {
        let proxy = limited(&origin, &format!("limit: 2/d, key: {key}")).io(io).start();
        let mut client = proxy.connect();
        assert_eq!(statuses(&mut client, 3, ""), [200, 200, 429], "{key}");
    }
}

fn a_network_of_ipv6_is_one_client(io: Io) {
    let origin = Origin::ok();
    let proxy =
        limited(&origin, "limit: 1/d, ipv6_prefix: 56").io(io).set("trusted-proxies", "127.0.0.1").start();
    let mut client = proxy.connect();
    for (address, status) in [
        ("2001:db8:0:1100::1", 200),
        ("2001:db8:0:1100::2", 429),
        ("2001:db8:0:11ff:ffff::", 429),
        ("2001:db8:0:1200::1", 200),
        ("192.0.2.1", 200),
        ("::ffff:192.0.2.1", 429),
        ("192.0.2.2", 200),
    ] {
        let lines = format!("X-Forwarded-For: {address}\r\n");
        assert_eq!(statuses(&mut client, 1, &lines), [status], "{address}");
    }
}

/// What a client sends behind the head of a request that is refused is its body, not another request.
fn requests_that_are_refused_leave_no_body_to_be_read_as_a_request(io: Io) {
    let origin = Origin::ok();
    let proxy = limited(&origin, "limit: 1/d").io(io).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status, 200);
    let evil = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    let short = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{evil}", evil.len());
    let long = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n{evil}");
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{evil}\r\n0\r\n\r\n",
        evil.len()
    );
    for request in [short, long, chunked] {
        let mut client = proxy.connect();
        let refused = client.exchange(&request);
        assert_eq!(refused.status, 429);
        if refused.says_close() {
            client.expect_closed();
        } else {
            assert_eq!(client.get("/").status, 429);
        }
    }
    assert_eq!(origin.requests().len(), 1);
}

fn counts_outlive_a_reload_and_a_new_rate(io: Io) {
    let origin = Origin::ok();
    let before = limited(&origin, "limit: 3/d");
    let proxy = before.clone().io(io).start();
    assert_eq!(statuses(&mut proxy.connect(), 2, ""), [200, 200]);
    let said = proxy.reload(before.yaml() + "# the same\n");
    assert!(said.contains("configuration reloaded"), "{said}");
    assert_eq!(statuses(&mut proxy.connect(), 2, ""), [200, 429]);
    // A day's worth has been used: of a larger burst at the same pace the rest is left.
    let said = proxy.reload(limited(&origin, "limit: 3/d, burst: 5").yaml());
    assert!(said.contains("configuration reloaded"), "{said}");
    assert_eq!(statuses(&mut proxy.connect(), 3, ""), [200, 200, 429]);
}

fn another_key_begins_anew(io: Io) {
    let origin = Origin::ok();
    let proxy = limited(&origin, "limit: 1/d").io(io).start();
    assert_eq!(statuses(&mut proxy.connect(), 2, ""), [200, 429]);
    let said = proxy.reload(limited(&origin, "limit: 1/d, key: route").yaml());
    assert!(said.contains("configuration reloaded"), "{said}");
    assert_eq!(statuses(&mut proxy.connect(), 2, ""), [200, 429]);
}

fn a_full_table_refuses_or_allows(io: Io) {
    let origin = Origin::ok();
    for (on_full, status) in [("deny", 503), ("allow", 200)] {
        let limit = format!("limit: 1/d, key: \"header:x-tenant\", keys_max: 1, on_full: {on_full}");
        let proxy = limited(&origin, &limit).io(io).start();
        let mut client = proxy.connect();
        // The smallest table has sixteen places.
        for tenant in 0..16 {
            assert_eq!(statuses(&mut client, 1, &format!("x-tenant: {tenant}\r\n")), [200]);
        }
        let stranger = client.exchange("GET / HTTP/1.1\r\nHost: a\r\nx-tenant: another\r\n\r\n");
        assert_eq!(stranger.status, status, "{on_full}");
        if status == 503 {
            assert_eq!(stranger.reason_code(), Some("rate_limit_full"));
            assert_eq!(number(&stranger, "retry-after"), 86_400);
        }
        // Nobody whose bucket is not full was forgotten for it.
        assert_eq!(statuses(&mut client, 1, "x-tenant: 0\r\n"), [429]);
    }
}

fn several_limits_are_told_each(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ rate_limit: { limit: 5/d, name: day, headers: ietf } }, \
                    { rate_limit: { limit: 2/h, name: hour, headers: ietf } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    let response = proxy.get("/");
    assert_eq!(response.fields_named("ratelimit-policy"), ["\"day\";q=5;w=86400", "\"hour\";q=2;w=3600"]);
    let limits = response.fields_named("ratelimit");
    assert_eq!(limits.len(), 2);
    assert!(
        limits[0].starts_with("\"day\";r=4;t=") && limits[1].starts_with("\"hour\";r=1;t="),
        "{limits:?}"
    );
    assert_eq!(response.field("x-ratelimit-limit"), None);
}
