//! Origins that fail, at every point of an exchange; and the proxy that goes on.

use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    an_origin_that_fails_at_each_point_gets_a_502_or_a_cut_and_nothing_hangs,
    garbage_instead_of_a_response_is_502,
    an_origin_that_speaks_first_is_not_believed,
    an_endless_stream_of_interim_responses_is_cut,
    an_origin_that_comes_back_is_used_again,
    a_second_endpoint_serves_when_the_first_refuses,
}

/// A response, cut or reset after each of its bytes.
fn an_origin_that_fails_at_each_point_gets_a_502_or_a_cut_and_nothing_hangs(io: Io) {
    let reply =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n0\r\nT: u\r\n\r\n";
    let head = reply.find("\r\n\r\n").expect("a head") + 4;
    for reset in [false, true] {
        let origin = Origin::start(move |conn| {
            if let Some(request) = conn.request() {
                let count: usize = request.target[1..].parse().expect("a number of bytes");
                conn.send(&reply[..count]);
                if reset {
                    conn.reset_on_close();
                }
            }
        });
        let proxy = Ringway::to(&origin).io(io).start();
        for count in 0..=reply.len() {
            let mut client = proxy.connect();
            client.send(format!("GET /{count} HTTP/1.1\r\nHost: test\r\n\r\n"));
            if count == reply.len() && !reset {
                assert_eq!(client.response().body_text(), "hello");
                continue;
            }
            if count < head && !reset {
                let response = client.response();
                assert_eq!(
                    (response.status, response.reason_code()),
                    (502, Some("upstream_closed")),
                    "after {count}"
                );
                continue;
            }
            // A reset may overtake what was sent before it.
            let rest = match client.try_response("GET") {
                Ok(response) => {
                    assert!(
                        response.status == 502 || (reset && count == reply.len()),
                        "{count}: {response:?}"
                    );
                    continue;
                }
                Err(_) => client.wire().received().to_vec(),
            };
            assert!(
                !rest.ends_with(b"0\r\nT: u\r\n\r\n"),
                "after {count}: a cut body must not look complete"
            );
        }
    }
}

fn garbage_instead_of_a_response_is_502(io: Io) {
    let garbage: [&[u8]; 12] = [
        b"\x00\x01\x02\x03\x04\x05\x06\x07\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 a TLS hello \r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"220 mail.test ESMTP\r\n\r\n",
    ];
    for bytes in garbage {
        let origin = Origin::replying(bytes);
        let proxy = Ringway::to(&origin).io(io).start();
        let mut client = proxy.connect();
        let response = client.exchange("GET / HTTP/1.1\r\nHost: test\r\nAccept: application/json\r\n\r\n");
        let shown = String::from_utf8_lossy(bytes);
        let json: Result<serde_json::Value, _> = serde_json::from_slice(&response.body);
        assert!(json.is_ok(), "{shown:?}: {}", response.body_text());
        assert_eq!(
            (response.status, response.reason_code()),
            (502, Some("upstream_bad_response")),
            "{shown:?}"
        );
        origin.wait_for_end(0);
        // The client did nothing wrong: its connection is good for another request.
        assert_eq!(client.get("/").status, 502);
        assert_eq!(origin.requests().len(), 2, "{shown:?}");
        assert_eq!(origin.connections(), 2, "{shown:?}");
    }
}

fn an_origin_that_speaks_first_is_not_believed(io: Io) {
    // Threat row 44, without TLS: a response that came before its request is nobody's response.
    let origin = Origin::start(|conn| {
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        conn.reached("spoke");
        while conn.request().is_some() {
            conn.reply(200, "good");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    // The first response may be taken for the answer: nothing can tell. The second must not be one behind.
    let bodies: Vec<String> = (0..4).map(|_| proxy.get("/").body_text()).collect();
    assert!(origin.connections() > 1 || bodies.iter().all(|body| body == "good"), "{bodies:?}");
}

fn an_endless_stream_of_interim_responses_is_cut(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            for _ in 0..100_000 {
                if !conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") {
                    break;
                }
            }
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("response-head-timeout", "2s").start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut interim = 0;
    let last = loop {
        match client.try_response("GET") {
            Ok(response) if response.status < 200 => interim += 1,
            Ok(response) => break Some(response.status),
            Err(_) => break None,
        }
    };
    assert!(matches!(last, None | Some(502 | 504)), "{last:?}");
    assert!(interim < 100_000, "{interim} interim responses");
}

fn an_origin_that_comes_back_is_used_again(io: Io) {
    let address = ringway_tests::peers::free_address();
    let proxy = Ringway::to_address(address).io(io).start();
    assert_eq!(proxy.get("/").status, 502);
    let origin = Origin::start_at(address, |conn| {
        while conn.request().is_some() {
            conn.reply(200, "back");
        }
    });
    assert_eq!(proxy.get("/").body_text(), "back");
    drop(origin);
    let status = proxy.get("/").status;
    assert_eq!(status, 502, "gone again");
}

fn a_second_endpoint_serves_when_the_first_refuses(io: Io) {
    let origin = Origin::ok();
    let dead = ringway_tests::peers::free_address();
    let proxy = Ringway::to_endpoints([dead.to_string(), origin.address().to_string()]).io(io).start();
    let statuses: Vec<u16> = (0..10).map(|_| proxy.get("/").status).collect();
    // Whether a refused connect moves on to the next endpoint is the balance's business; half must work in any case.
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 5, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 502)), "{statuses:?}");
}
