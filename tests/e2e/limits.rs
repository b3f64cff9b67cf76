//! Limits of a listener: connections, heads, targets, bodies (RFC 6585 section 5, RFC 9110 sections 15.5.14 and 15.5.15).

use ringway_tests::wait::eventually;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

each_driver! {
    heads_up_to_the_limit_pass_and_larger_ones_are_431,
    an_endless_head_is_cut,
    more_fields_than_allowed_are_431,
    longer_targets_than_allowed_are_414,
    larger_bodies_than_allowed_are_413,
    connections_over_the_listeners_limit_are_refused,
    connections_over_the_clients_limit_are_refused,
    response_heads_over_the_limit_are_502,
}

fn head_of(bytes: usize) -> String {
    let frame = "GET /h HTTP/1.1\r\nHost: test\r\nX-Fill: \r\n\r\n".len();
    format!("GET /h HTTP/1.1\r\nHost: test\r\nX-Fill: {}\r\n\r\n", "f".repeat(bytes - frame))
}

fn heads_up_to_the_limit_pass_and_larger_ones_are_431(io: Io) {
    let origin = Origin::ok();
    for limit in [4096, 65_536] {
        let proxy = Ringway::to(&origin).io(io).set("headers-bytes", limit).start();
        let mut client = proxy.connect();
        for bytes in [limit / 2, limit - 1, limit] {
            assert_eq!(client.exchange(head_of(bytes)).status, 200, "{bytes} of {limit}");
        }
        let before = origin.requests().len();
        for bytes in [limit + 1, limit * 2] {
            let mut client = proxy.connect();
            client.try_send(head_of(bytes));
            let response = client.response();
            assert_eq!(
                (response.status, response.reason_code()),
                (431, Some("head_too_large")),
                "{bytes} of {limit}"
            );
            assert!(response.says_close());
            client.expect_closed();
        }
        assert_eq!(origin.requests().len(), before);
    }
}

fn an_endless_head_is_cut(io: Io) {
    // Threat rows 10 and 54.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let line = format!("X-Line: {}\r\n", "e".repeat(1000));
    for start in [
        "GET / HTTP/1.1\r\nHost: test\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        "GET /",
        "X",
    ] {
        let mut client = proxy.connect();
        client.send(start);
        let part = if start.ends_with('\n') { line.clone() } else { "e".repeat(1000) };
        let mut sent = 0;
        while sent < 10_000_000 && client.try_send(&part) {
            sent += part.len();
        }
        assert!(sent < 9_000_000, "it took {sent} bytes of one head");
    }
    origin.assert_saw_nothing();
    assert!(ringway_tests::process::resident_bytes(proxy.pid()) < 200 << 20);
}

fn more_fields_than_allowed_are_431(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let request = |count: usize| {
        let fields: String = (0..count - 1).map(|number| format!("X{number}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
    };
    assert_eq!(proxy.exchange(request(100)).status, 200);
    let mut client = proxy.connect();
    let response = client.exchange(request(101));
    assert_eq!((response.status, response.reason_code()), (431, Some("too_many_fields")));
    client.expect_closed();
    assert_eq!(origin.requests().len(), 1);
}

fn longer_targets_than_allowed_are_414(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("target-bytes", 1024).start();
    assert_eq!(proxy.get(&format!("/{}", "t".repeat(1023))).status, 200);
    for length in [1025, 60_000] {
        let mut client = proxy.connect();
        let response = client.get(&format!("/{}", "t".repeat(length - 1)));
        assert_eq!((response.status, response.reason_code()), (414, Some("target_too_long")), "{length}");
        client.expect_closed();
    }
    assert_eq!(origin.requests().len(), 1);
}

fn larger_bodies_than_allowed_are_413(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("body-bytes", 10).start();
    assert_eq!(
        proxy.exchange("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n0123456789").status,
        200
    );
    assert_eq!(
        proxy.exchange("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n").status,
        200
    );
    let too_large = [
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000000\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n9\r\n012345678\r\n0\r\n\r\n",
    ];
    for request in too_large {
        let mut client = proxy.connect();
        let response = client.exchange(request);
        assert_eq!((response.status, response.reason_code()), (413, Some("body_too_large")), "{request:?}");
        client.expect_closed();
    }
    // What was cut in the middle must not look complete at the origin.
    assert_eq!(origin.requests().len(), 2);
}

fn connections_over_the_listeners_limit_are_refused(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).workers(2).set("connections", 5).start();
    let mut kept: Vec<Client> = (0..5).map(|_| proxy.connect()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/kept").status, 200);
    }
    for _ in 0..3 {
        let mut over = proxy.connect();
        over.try_send("GET /over HTTP/1.1\r\nHost: test\r\n\r\n");
        let rest = over.until_closed();
        let text = String::from_utf8_lossy(&rest);
        assert!(
            rest.is_empty() || (text.starts_with("HTTP/1.1 503 ") && text.contains("connection_limit")),
            "{text}"
        );
    }
    assert!(origin.requests().iter().all(|request| request.target == "/kept"));
    kept.pop();
    eventually("a place to become free", || {
        let mut client = proxy.connect();
        client.try_send("GET /kept HTTP/1.1\r\nHost: test\r\n\r\n");
        client.try_response("GET").ok().filter(|response| response.status == 200)
    });
    for client in &mut kept {
        assert_eq!(client.get("/kept").status, 200, "the others never noticed");
    }
}

fn connections_over_the_clients_limit_are_refused(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).workers(2).set("connections-per-client", 3).start();
    let from = |last: u8| Client::connect_from([127, 0, 0, last].into(), proxy.address());
    let mut kept: Vec<Client> = (0..3).map(|_| from(2)).collect();
    for client in &mut kept {
        assert_eq!(client.get("/").status, 200);
    }
    let mut over = from(2);
    over.try_send("GET /over HTTP/1.1\r\nHost: test\r\n\r\n");
    let rest = over.until_closed();
    let text = String::from_utf8_lossy(&rest);
    assert!(
        rest.is_empty() || (text.starts_with("HTTP/1.1 429 ") && text.contains("client_connection_limit")),
        "{text}"
    );
    assert_eq!(from(3).get("/").status, 200, "another client is not touched");
    drop(kept);
    eventually("a place to become free", || {
        let mut client = from(2);
        client.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        client.try_response("GET").ok().filter(|response| response.status == 200)
    });
}

fn response_heads_over_the_limit_are_502(io: Io) {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 0\r\n\r\n", "l".repeat(70_000));
    let many: String = (0..101).map(|number| format!("X{number}: y\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n");
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(20_000));
    for reply in [long, many, endless] {
        let origin = Origin::replying(reply);
        let proxy = Ringway::to(&origin).io(io).start();
        let response = proxy.get("/");
        assert_eq!(response.status, 502);
        assert!(matches!(response.reason_code(), Some("upstream_head_too_large" | "upstream_bad_response")));
        origin.wait_for_end(0);
    }
}
