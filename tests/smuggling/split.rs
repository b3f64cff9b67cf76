//! What stays of one request must never become part of the next: neither at the client's connection nor at the
//! origin's.

use ringway_tests::{Io, Origin, Ringway, each_driver};

use crate::{HIDDEN, Stage};

each_driver! {
    a_head_split_at_each_byte_is_read_the_same,
    junk_behind_a_request_is_the_next_request_and_refused,
    a_refused_request_ends_the_pipeline,
    an_upgrade_with_a_body_is_not_a_tunnel,
    requests_of_two_clients_never_mix,
}

fn a_head_split_at_each_byte_is_read_the_same(io: Io) {
    let stage = Stage::new(io);
    let good = "POST /split HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n";
    for at in 1..good.len() {
        let mut client = stage.proxy.connect();
        client.send(&good[..at]).send(&good[at..]);
        assert_eq!(client.response().status, 200, "split at {at}");
        assert_eq!(stage.origin.requests().pop().expect("a request").body_text(), "hello");
    }
    let bad = "POST /split HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let before = stage.origin.requests().len();
    for at in 1..bad.len() {
        let mut client = stage.proxy.connect();
        client.send(&bad[..at]);
        client.try_send(&bad[at..]);
        assert_eq!(client.response().status, 400, "split at {at}");
    }
    assert_eq!(stage.origin.requests().len(), before);
    stage.origin.assert_unambiguous();
}

fn junk_behind_a_request_is_the_next_request_and_refused(io: Io) {
    let stage = Stage::new(io);
    for junk in [
        "junk\r\n\r\n",
        "\r\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "X\r\nGET /hidden HTTP/1.1\r\nHost: test\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = stage.proxy.connect();
        client.send(format!("POST /first HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc{junk}"));
        assert_eq!(client.response().status, 200, "{junk:?}");
        let second = client.response();
        assert_eq!(second.status, 400, "{junk:?}");
        assert!(second.says_close());
        assert!(client.until_closed().is_empty(), "{junk:?}");
    }
    stage.saw_nothing_hidden();
}

fn a_refused_request_ends_the_pipeline(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.proxy.connect();
    client.send(format!("GET /one HTTP/1.1\r\nHost: test\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{HIDDEN}{HIDDEN}"));
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().status, 400);
    assert!(client.until_closed().is_empty());
    assert_eq!(stage.origin.only_request().target, "/one");
}

/// Threat row 20: Upgrade beside a body; what follows belongs to HTTP until a 101 came.
fn an_upgrade_with_a_body_is_not_a_tunnel(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let head = "POST /up HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for request in [
        format!("{head}Content-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
        format!("{head}\r\n{HIDDEN}"),
    ] {
        let honest_second =
            request.ends_with(&format!("\r\n\r\n{HIDDEN}")) && !request.contains("Content-Length");
        let before = origin.requests().len();
        let mut client = proxy.connect();
        client.send(&request).finish_writing();
        client.until_closed();
        let requests = origin.requests();
        let hidden = requests.iter().skip(before).filter(|request| request.target == "/hidden").count();
        assert!(hidden <= usize::from(honest_second), "{request:?}");
        assert!(
            requests
                .iter()
                .skip(before)
                .all(|seen| seen.target != "/up" || seen.body.is_empty() || seen.body == HIDDEN.as_bytes())
        );
    }
    origin.assert_unambiguous();
}

fn requests_of_two_clients_never_mix(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, [request.target.as_bytes(), b" ", &request.body].concat());
        }
    });
    let proxy = Ringway::to(&origin).io(io).workers(2).start();
    std::thread::scope(|scope| {
        for name in 0..6 {
            let proxy = &proxy;
            scope.spawn(move || {
                for round in 0..100 {
                    let mut client = proxy.connect();
                    // Some go away in the middle, so that half a request is left over somewhere.
                    if round % 5 == 0 {
                        client.send(format!(
                            "POST /{name}/{round} HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\npart"
                        ));
                        if round % 10 == 0 {
                            client.reset();
                        }
                        continue;
                    }
                    let body = format!("body of {name} in {round}");
                    let request = format!(
                        "POST /{name}/{round} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    assert_eq!(client.exchange(request).body_text(), format!("/{name}/{round} {body}"));
                }
            });
        }
    });
    origin.assert_unambiguous();
}
