//! One request and its response: methods, versions, and every way to frame a body (RFC 9112 sections 6 and 7).

use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    forwards_every_method,
    forwards_bodies_of_known_length_both_ways,
    forwards_chunked_bodies_with_extensions_and_trailers,
    forwards_a_response_that_ends_with_the_connection,
    forwards_large_bodies_unchanged,
    forwards_bodies_that_arrive_byte_by_byte,
    responses_without_a_body_end_with_their_head,
    interim_responses_pass_before_the_final_one,
    answers_http_1_0_clients_without_chunks,
    keeps_an_http_1_0_connection_only_when_asked,
    serves_http_1_0_origins,
    leaves_date_server_and_unknown_fields_alone,
}

fn forwards_every_method(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    // HEAD has a test of its own: its response has no body.
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "M-SEARCH", "X"] {
        let response =
            client.exchange(format!("{method} /m HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((response.status, response.body_text().as_str()), (200, "ok"), "{method}");
        let seen = origin.requests().pop().expect("a request");
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, "/m"));
    }
    origin.assert_unambiguous();
}

fn forwards_bodies_of_known_length_both_ways(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(201, &request.body);
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    for length in [0, 1, 2, 1000, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 70_000, 300_000] {
        let body = pattern(length);
        client
            .send(format!("POST /p HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"))
            .send(&body);
        let response = client.response();
        assert_eq!(response.status, 201);
        assert_eq!(response.field("content-length"), Some(length.to_string().as_str()));
        assert!(response.body == body, "{length} bytes came back unchanged");
        let seen = origin.requests().pop().expect("a request");
        assert_eq!(seen.field("content-length"), Some(length.to_string().as_str()));
    }
    origin.assert_unambiguous();
}

fn forwards_chunked_bodies_with_extensions_and_trailers(io: Io) {
    let reply_body =
        "6;name=\"quoted value\"\r\nresult\r\n3\r\n!!!\r\n0;last\r\nX-Digest: abc\r\nX-Two: d e\r\n\r\n";
    let reply =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Digest\r\n\r\n{reply_body}");
    let origin = Origin::replying(reply);
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    let body = "4;ext=1\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Checksum: 42\r\n\r\n";
    for _ in 0..3 {
        client.send(format!("POST /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        let response = client.response();
        assert_eq!(response.body_text(), "result!!!");
        assert_eq!(response.trailers, [pair("X-Digest", "abc"), pair("X-Two", "d e")]);
        assert!(
            response.body_on_wire.windows(19).any(|part| part == b"name=\"quoted value\""),
            "extensions pass"
        );
        let seen = origin.requests().pop().expect("a request");
        assert_eq!(seen.body_text(), "Wikipedia");
        assert_eq!(seen.trailers, [pair("X-Checksum", "42")]);
        assert!(seen.body_on_wire.starts_with(b"4;ext=1\r\n"), "extensions pass");
        assert_eq!(seen.field("content-length"), None);
    }
    assert_eq!(origin.connections(), 1, "a chunked exchange leaves its connections usable");
    origin.assert_unambiguous();
}

fn forwards_a_response_that_ends_with_the_connection(io: Io) {
    let origin = Origin::replying_once("HTTP/1.1 200 OK\r\nX-Kind: close\r\n\r\nuntil the end");
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    let response = client.get("/");
    assert_eq!(response.body_text(), "until the end");
    if response.field("transfer-encoding").is_none() {
        client.expect_closed();
    }
}

fn forwards_large_bodies_unchanged(io: Io) {
    let body = pattern(5 << 20);
    let reply_body = body.clone();
    let origin = Origin::start(move |conn| {
        while let Some(request) = conn.request() {
            assert_eq!(request.body.len(), reply_body.len());
            assert!(request.body == reply_body, "the request's body came unchanged");
            conn.reply(200, &reply_body);
        }
    });
    for splice in ["off", "64KiB"] {
        let proxy = Ringway::to(&origin).io(io).set("splice", splice).start();
        let mut client = proxy.connect();
        for _ in 0..2 {
            client
                .send(format!("PUT /l HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len()))
                .send(&body);
            let response = client.response();
            assert_eq!(response.status, 200);
            assert!(response.body == body, "the response's body came unchanged, splice {splice}");
        }
        origin.assert_unambiguous();
    }
}

fn forwards_bodies_that_arrive_byte_by_byte(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            let reply = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}{}\r\n0\r\nX-T: 1\r\n\r\n",
                format_args!("{:x}\r\n", request.body.len()),
                request.body_text()
            );
            for byte in reply.as_bytes() {
                conn.send([*byte]);
            }
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    let request = "POST /slow HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-T: 2\r\n\r\n";
    for _ in 0..3 {
        for byte in request.as_bytes() {
            client.send([*byte]);
        }
        let response = client.response();
        assert_eq!((response.status, response.body_text().as_str()), (200, "abc0123456789"));
        assert_eq!(response.trailers, [pair("X-T", "1")]);
    }
    let request = origin.requests().pop().expect("a request");
    assert_eq!(request.trailers, [pair("X-T", "2")]);
    origin.assert_unambiguous();
}

fn responses_without_a_body_end_with_their_head(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            match request.target.as_str() {
                "/head" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
                "/head-chunked" => conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                "/204" => conn.send("HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
                "/304" => conn.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n"),
                _ => conn.reply(200, "body"),
            };
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        let cases = [
            ("HEAD", "/head", 200),
            ("HEAD", "/head-chunked", 200),
            ("GET", "/204", 204),
            ("GET", "/304", 304),
        ];
        for (method, path, status) in cases {
            let response =
                client.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")).response_to(method);
            assert_eq!(response.status, status, "{path}");
            // The next response must start right behind this head.
            assert_eq!(client.get("/body").body_text(), "body", "after {path}");
        }
        let head = client.send("HEAD /head HTTP/1.1\r\nHost: test\r\n\r\n").response_to("HEAD");
        assert_eq!(head.field("content-length"), Some("5000"), "the length of what GET would give is kept");
    }
    assert_eq!(origin.connections(), 1);
}

fn interim_responses_pass_before_the_final_one(io: Io) {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    let reply =
        format!("HTTP/1.1 102 Processing\r\n\r\n{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let origin = Origin::replying(reply);
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let statuses = [client.any_response("GET"), client.any_response("GET"), client.any_response("GET")];
    assert_eq!(statuses.each_ref().map(|response| response.status), [102, 103, 200]);
    assert_eq!(statuses[1].field("link"), Some("</style.css>; rel=preload"));
    // RFC 9110 section 15.2: a client of HTTP/1.0 never gets an interim response.
    let mut old = proxy.connect();
    old.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!(old.any_response("GET").status, 200);
}

fn answers_http_1_0_clients_without_chunks(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nT: 1\r\n\r\n",
    );
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send("GET /old HTTP/1.0\r\nHost: test\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(response.body_text(), "hello world");
    client.expect_closed();
    let seen = origin.only_request();
    assert_eq!(seen.version, "HTTP/1.1", "the proxy speaks its own version (RFC 9110 section 2.5)");
}

fn keeps_an_http_1_0_connection_only_when_asked(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut plain = proxy.connect();
    plain.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!(plain.response().body_text(), "ok");
    plain.expect_closed();
    let mut kept = proxy.connect();
    let response = kept.exchange("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
    let said = response.field("connection").map(str::to_ascii_lowercase);
    if said.as_deref() == Some("keep-alive") {
        let again = kept.exchange("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(again.body_text(), "ok");
    } else {
        kept.expect_closed();
    }
}

fn serves_http_1_0_origins(io: Io) {
    let replies = [
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", true),
        ("HTTP/1.0 200 OK\r\n\r\nold", true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nold", false),
    ];
    for (reply, closes) in replies {
        let origin = if closes { Origin::replying_once(reply) } else { Origin::replying(reply) };
        let proxy = Ringway::to(&origin).io(io).start();
        let mut client = proxy.connect();
        let response = client.get("/");
        assert_eq!(
            (response.version.as_str(), response.body_text().as_str()),
            ("HTTP/1.1", "old"),
            "{reply:?}"
        );
        let again = proxy.get("/");
        assert_eq!((again.status, again.body_text().as_str()), (200, "old"), "{reply:?}");
    }
}

fn leaves_date_server_and_unknown_fields_alone(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 299 Odd  Reason\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: old/1\r\nX-Empty:\r\n\
         x-Case: Kept  Inside\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-High: caf\u{e9}\r\nContent-Length: 0\r\n\r\n",
    );
    let proxy = Ringway::to(&origin).io(io).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason.as_str()), (299, "Odd  Reason"));
    assert_eq!(response.fields_named("date"), ["Tue, 15 Nov 1994 08:12:31 GMT"]);
    assert_eq!(response.fields_named("server"), ["old/1"]);
    assert_eq!(response.fields_named("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.field("x-empty"), Some(""));
    assert_eq!(response.field("x-case"), Some("Kept  Inside"));
    assert!(response.fields.iter().any(|(name, _)| name == "x-Case"), "names keep their case");
    assert!(response.field("x-high").is_some_and(|value| value.starts_with("caf") && value.len() > 4));
}

/// Bytes that show a shift, a swap or a repetition.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8 ^ (index >> 12) as u8).collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
