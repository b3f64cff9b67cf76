//! `Expect: 100-continue` end to end (RFC 9110 section 10.1.1).

use std::time::Duration;

use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    the_origins_100_reaches_the_client_and_then_the_body_flows,
    a_final_answer_instead_of_100_reaches_the_client,
    a_client_that_does_not_wait_is_served,
    an_origin_that_never_says_100_still_gets_the_body,
    unknown_expectations_are_417_and_not_forwarded,
    an_http_1_0_client_gets_no_100,
}

const HEAD: &str = "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";

fn the_origins_100_reaches_the_client_and_then_the_body_flows(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.request_head() {
            assert!(String::from_utf8_lossy(&head).to_lowercase().contains("expect: 100-continue\r\n"));
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(4).expect("the body");
            conn.reply(200, body);
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send(HEAD);
        assert_eq!(client.any_response("POST").status, 100);
        client.send("data");
        let response = client.any_response("POST");
        assert_eq!((response.status, response.body_text().as_str()), (200, "data"));
    }
    assert_eq!(origin.connections(), 1);
}

fn a_final_answer_instead_of_100_reaches_the_client(io: Io) {
    // Threat row 28: a body may or may not follow, so neither connection can be used for anything else.
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ndenied");
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send(HEAD);
    let response = client.any_response("POST");
    assert_eq!((response.status, response.body_text().as_str()), (403, "denied"));
    // A client that sends the body after all, and then another request, must not have the body read as a request.
    client.try_send("GET /evil HTTP/1.1\r\nHost: test\r\n\r\n");
    let rest = client.until_closed();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    origin.wait_for_end(0);
    let seen = String::from_utf8_lossy(&origin.received(0)).into_owned();
    assert_eq!(seen.matches("HTTP/1.1\r\n").count(), 1, "{seen}");
}

fn a_client_that_does_not_wait_is_served(io: Io) {
    let origin = Origin::start(|conn| {
        while conn.request_head().is_some() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(4).expect("the body");
            conn.reply(200, body);
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    for _ in 0..3 {
        let response = client.send(HEAD).send("data").response_to("POST");
        assert_eq!((response.status, response.body_text().as_str()), (200, "data"));
    }
}

fn an_origin_that_never_says_100_still_gets_the_body(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, &request.body);
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send(HEAD);
    assert!(client.stays_silent(Duration::from_millis(50)), "the proxy says no 100 of its own");
    client.send("data");
    assert_eq!(client.response_to("POST").body_text(), "data");
}

fn unknown_expectations_are_417_and_not_forwarded(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for value in [
        "y 100-continue",
        "100-continue, x",
        "x",
        "200-ok",
        "100-continue=1",
        "100-continue;q=1",
        "\"100-continue\"",
    ] {
        let mut client = proxy.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nExpect: {value}\r\nContent-Length: 4\r\n\r\ndata"
        ));
        let response = client.response();
        assert!(matches!(response.status, 400 | 417), "{value}: {}", response.status);
        assert!(response.says_close(), "{value}");
        client.expect_closed();
    }
    assert_eq!(proxy.get("/probe").status, 200);
    assert_eq!(origin.only_request().target, "/probe");
}

fn an_http_1_0_client_gets_no_100(io: Io) {
    let origin = Origin::start(|conn| {
        if let Some(request) = conn.request() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            conn.reply(200, &request.body);
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.0\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\ndata");
    assert_eq!(client.any_response("POST").status, 200);
}
