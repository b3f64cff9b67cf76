//! An origin that answers while the request's body still flows (RFC 9112 section 9.3, RFC 9110 section 7.5).

use std::time::Duration;

use ringway_tests::wait::PATIENCE;
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    reaches_the_client_before_the_body_is_complete,
    then_the_body_still_reaches_the_origin_that_reads_it,
    from_an_origin_that_stops_reading_does_not_hang,
    from_an_origin_that_resets_is_not_lost,
    leaves_no_connection_that_could_carry_leftovers,
}

fn reaches_the_client_before_the_body_is_complete(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.reply(413, "too much");
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send("POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nsome of it");
    let response = client.response();
    assert_eq!((response.status, response.body_text().as_str()), (413, "too much"));
    assert_eq!(response.reason_code(), None, "it is the origin's answer");
}

fn then_the_body_still_reaches_the_origin_that_reads_it(io: Io) {
    // A bidirectional exchange: the response streams while the request does.
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for _ in 0..5 {
                let Some(chunk) = conn.exactly(10) else { return };
                conn.send([b"a\r\n", &chunk[..], b"\r\n"].concat());
            }
            conn.send("0\r\n\r\n");
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send("POST /both HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\n");
    let head = client.wire().head().expect("the response head before the body");
    assert!(head.starts_with(b"HTTP/1.1 200 "));
    for number in 0..5 {
        client.send(format!("message {number}!"));
        let chunk = client.wire().exactly(15).expect("its echo");
        assert_eq!(String::from_utf8_lossy(&chunk), format!("a\r\nmessage {number}!\r\n"));
    }
    assert_eq!(client.wire().exactly(5).expect("the last chunk"), b"0\r\n\r\n");
}

fn from_an_origin_that_stops_reading_does_not_hang(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.reply(403, "no");
            conn.reached("answered");
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send("POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.body_text().as_str()), (403, "no"));
    // Whether the rest is drained or refused, the connection must come to an end or to a next request.
    client.wire().set_patience(Duration::from_millis(300));
    let mut sent = 0;
    while sent < 20_000_000 {
        match client.wire().write_some(&[0; 65_536]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    client.wire().set_patience(PATIENCE);
    assert_eq!(proxy.get("/other").status, 403);
}

fn from_an_origin_that_resets_is_not_lost(io: Io) {
    // What servers do that refuse an upload: answer, close; the unread body makes the close a RST.
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.reply(413, "too much");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut lost = 0;
    for _ in 0..20 {
        let mut client = proxy.connect();
        client.send("POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n");
        client.try_send(vec![b'x'; 300_000]);
        let response = client.response();
        match response.status {
            413 => assert_eq!(response.body_text(), "too much"),
            502 => lost += 1,
            other => panic!("{other}"),
        }
    }
    // TCP itself may lose an answer when the reset overtakes it; that is the exception.
    assert!(lost <= 5, "{lost} of 20 answers lost");
}

fn leaves_no_connection_that_could_carry_leftovers(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.request_head() {
            let early = head.starts_with(b"POST");
            conn.reply(if early { 401 } else { 200 }, "x");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send("POST /deny HTTP/1.1\r\nHost: test\r\nContent-Length: 60\r\n\r\n");
    assert_eq!(client.response().status, 401);
    // The body of the refused request is itself a request; at the origin it must never become one.
    client.try_send(format!("{:60}", "GET /evil HTTP/1.1\r\nHost: test\r\n\r\n"));
    drop(client);
    for _ in 0..5 {
        assert_eq!(proxy.get("/good").status, 200);
    }
    for connection in 0..origin.connections() {
        let seen = String::from_utf8_lossy(&origin.received(connection)).into_owned();
        let first_is_post = seen.starts_with("POST");
        assert!(!first_is_post || !seen.contains("/good"), "connection {connection} was used again: {seen}");
        assert!(first_is_post || !seen.contains("/evil"), "connection {connection}: {seen}");
    }
}
