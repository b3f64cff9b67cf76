//! A kept connection that the origin closes just when a request comes: sent again when that is safe, and only then
//! (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).

use std::sync::atomic::{AtomicUsize, Ordering};

use ringway_tests::origin::End;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

each_driver! {
    a_request_on_a_connection_just_closed_is_sent_again_on_a_fresh_one,
    no_client_sees_an_error_when_the_origin_closes_idle_connections_at_random,
    a_post_that_may_have_been_seen_is_not_sent_twice,
    a_request_whose_response_began_is_not_sent_twice,
    a_fresh_connection_that_closes_is_not_tried_again,
    a_retry_never_takes_another_kept_connection,
}

/// Answers the first request of a connection, and closes at the second without an answer.
fn closing_at_the_second(reset: bool) -> Origin {
    Origin::start(move |conn| {
        if conn.request().is_some() {
            conn.reply(200, "first");
        }
        if conn.index == 0 && conn.request().is_some() && reset {
            conn.reset_on_close();
        }
        while conn.index > 0 && conn.request().is_some() {
            conn.reply(200, "again");
        }
    })
}

fn a_request_on_a_connection_just_closed_is_sent_again_on_a_fresh_one(io: Io) {
    for reset in [false, true] {
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            let origin = closing_at_the_second(reset);
            let proxy = Ringway::to(&origin).io(io).start();
            let mut client = proxy.connect();
            assert_eq!(client.get("/1").body_text(), "first");
            let response =
                client.exchange(format!("{method} /2 HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"));
            assert_eq!(
                (response.status, response.body_text().as_str()),
                (200, "first"),
                "{method}, reset: {reset}"
            );
            let seen: Vec<_> = origin.requests().into_iter().map(|r| (r.connection, r.target)).collect();
            let want = [(0, "/1".to_owned()), (0, "/2".to_owned()), (1, "/2".to_owned())];
            assert_eq!(seen, want, "exactly one retry, on a fresh connection");
        }
    }
}

fn no_client_sees_an_error_when_the_origin_closes_idle_connections_at_random(io: Io) {
    let seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64)
            | 1;
    println!("seed {seed}");
    let state = std::sync::Mutex::new(seed);
    let closed = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&closed);
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            conn.reply(200, "ok");
            // xorshift64: closes after one response in four, either at once or racing with the next request.
            let mut state = state.lock().expect("the state");
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            let dice = *state % 16;
            drop(state);
            match dice {
                0 | 1 => break,
                2 => std::thread::yield_now(),
                3 => {
                    conn.reset_on_close();
                    break;
                }
                _ => continue,
            }
            if dice != 2 {
                break;
            }
            // Waits for the next request and closes in its face.
            if conn.request().is_some() {
                count.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    });
    let proxy = Ringway::to(&origin).io(io).workers(2).start();
    let failures: usize = std::thread::scope(|scope| {
        let address = proxy.address();
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    (0..500).filter(|number| client.get(&format!("/{number}")).status != 200).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    assert_eq!(failures, 0);
    assert!(proxy.stats().sum("ringway_retries_total") > 0.0, "the race was met");
    assert!(closed.load(Ordering::Relaxed) > 0);
}

fn a_post_that_may_have_been_seen_is_not_sent_twice(io: Io) {
    let origin = closing_at_the_second(false);
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/1").status, 200);
    let response = client.exchange("POST /pay HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n100");
    assert_eq!((response.status, response.reason_code()), (502, Some("upstream_closed")));
    let posts = origin.requests().into_iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts, 1);
}

fn a_request_whose_response_began_is_not_sent_twice(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.reply(200, "first");
        }
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/1").status, 200);
    let response = client.get("/2");
    assert_eq!((response.status, response.reason_code()), (502, Some("upstream_closed")));
    assert_eq!(origin.requests().len(), 2);
}

fn a_fresh_connection_that_closes_is_not_tried_again(io: Io) {
    let origin = Origin::start(|conn| {
        conn.request();
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (502, Some("upstream_closed")));
    assert_eq!(origin.requests().len(), 1);
}

fn a_retry_never_takes_another_kept_connection(io: Io) {
    // All kept connections are stale at once, as after the origin's restart: one retry must be enough.
    let barrier = std::sync::Barrier::new(4);
    let origin = Origin::start(move |conn| {
        if conn.request().is_some() {
            if conn.index < 4 {
                barrier.wait();
            }
            conn.reply(200, "ok");
        }
        // Whatever comes second on the first four is met by a close.
        if conn.request().is_some() && conn.index >= 4 {
            conn.reply(200, "ok");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET /gate HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(clients[0].get("/stale").status, 200);
    let seen: Vec<usize> = origin
        .requests()
        .into_iter()
        .filter(|request| request.target == "/stale")
        .map(|request| request.connection)
        .collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[1] >= 4, "the second try was on a fresh connection: {seen:?}");
    assert_eq!(origin.wait_for_end(seen[0]), End::Script);
}
