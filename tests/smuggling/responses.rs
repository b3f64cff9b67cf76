//! Responses that can be framed in two ways: 502, and the connection is never used again.

use ringway_tests::origin::End;
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    refuses_ambiguous_lengths,
    refuses_broken_heads,
    refuses_transfer_encoding_where_none_can_be,
    cuts_broken_chunks_and_never_pools_their_connection,
    a_body_shorter_than_its_length_is_cut_towards_the_client,
    a_body_longer_than_its_length_is_nobodys_response,
    a_body_where_none_can_be_is_nobodys_response,
    two_responses_to_one_request_answer_only_one,
}

const SPLIT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSPLIT";

/// The first connection of the origin answers with `reply`, all others with `good`.
fn first_replying(reply: &[u8]) -> Origin {
    let reply = reply.to_vec();
    Origin::start(move |conn| {
        while conn.request().is_some() {
            if conn.index == 0 {
                conn.send(&reply);
            } else {
                conn.reply(200, "good");
            }
        }
    })
}

fn refuses(io: Io, replies: &[&str]) {
    for reply in replies {
        let origin = first_replying(&[reply.as_bytes(), SPLIT.as_bytes()].concat());
        let proxy = Ringway::to(&origin).io(io).start();
        let mut client = proxy.connect();
        let response = client.get("/first");
        assert_eq!(
            (response.status, response.reason_code()),
            (502, Some("upstream_bad_response")),
            "{reply:?}"
        );
        assert!(!response.body_text().contains("SPLIT"), "{reply:?}");
        assert_ne!(origin.wait_for_end(0), End::Script, "{reply:?}");
        for _ in 0..3 {
            assert_eq!(client.get("/next").body_text(), "good", "{reply:?}");
        }
        assert!(origin.requests().iter().all(|request| request.connection > 0 || request.target == "/first"));
    }
}

fn refuses_ambiguous_lengths(io: Io) {
    refuses(
        io,
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5 \u{b}\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ],
    );
}

fn refuses_broken_heads(io: Io) {
    refuses(
        io,
        &[
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\nhello",
            "HTTP/1.1 200 OK\r\nA: b\rC: d\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\n Content-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nA\0: x\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nA: x\0y\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nA B: x\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            " HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1\t200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ],
    );
}

fn refuses_transfer_encoding_where_none_can_be(io: Io) {
    // RFC 9112 section 6.1: not in a response of HTTP/1.0, nor with 1xx and 204.
    refuses(io, &["HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]);
    for reply in [
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    ] {
        let origin = first_replying(reply.as_bytes());
        let proxy = Ringway::to(&origin).io(io).start();
        let mut client = proxy.connect();
        let response = client.get("/");
        assert!(matches!(response.status, 204 | 502), "{reply:?}");
        if response.status == 204 {
            assert_eq!(
                (response.field("content-length"), response.field("transfer-encoding")),
                (None, None),
                "{reply:?}"
            );
        }
        assert!(matches!(client.get("/next").status, 200 | 204));
    }
}

fn cuts_broken_chunks_and_never_pools_their_connection(io: Io) {
    let bodies = [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nhello",
        "5\r\nhello\r\n0\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let origin = first_replying(
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SPLIT}").as_bytes(),
        );
        let proxy = Ringway::to(&origin).io(io).start();
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        // The head may have gone out before the fault was seen; then only a cut tells the client.
        if let Ok(response) = client.try_response("GET") {
            assert_eq!(response.status, 502, "{body:?}");
        }
        let text = String::from_utf8_lossy(client.wire().received()).into_owned();
        assert!(!text.contains("SPLIT"), "{body:?}: {text}");
        assert_ne!(origin.wait_for_end(0), End::Script, "{body:?}");
        assert_eq!(proxy.get("/next").body_text(), "good", "{body:?}");
    }
}

fn a_body_shorter_than_its_length_is_cut_towards_the_client(io: Io) {
    let origin = Origin::replying_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /second HTTP/1.1\r\nHost: test\r\n\r\n");
    let received = client.until_closed();
    let text = String::from_utf8_lossy(&received);
    assert!(text.ends_with("\r\n\r\nhello"), "nothing may follow a body that is not complete: {text}");
}

fn a_body_longer_than_its_length_is_nobodys_response(io: Io) {
    let origin =
        first_replying(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello{SPLIT}").as_bytes());
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").body_text(), "hello");
    for _ in 0..3 {
        assert_eq!(client.get("/next").body_text(), "good");
    }
}

fn a_body_where_none_can_be_is_nobodys_response(io: Io) {
    for (request, reply) in [
        ("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 51\r\n\r\n"),
    ] {
        let origin = first_replying(format!("{reply}{SPLIT}").as_bytes());
        let proxy = Ringway::to(&origin).io(io).start();
        let mut client = proxy.connect();
        client.send(request);
        let method = &request[..4].trim_end();
        let status = client.response_to(if *method == "HEAD" { "HEAD" } else { "GET" }).status;
        assert!(matches!(status, 200 | 204 | 304), "{reply:?}: {status}");
        for _ in 0..3 {
            assert_eq!(client.get("/next").body_text(), "good", "{reply:?}");
        }
    }
}

fn two_responses_to_one_request_answer_only_one(io: Io) {
    let origin = Origin::start(|conn| {
        while conn.request().is_some() {
            conn.reply(200, format!("answer of {}", conn.index));
            if conn.index == 0 {
                conn.send(SPLIT);
            }
        }
    });
    let proxy = Ringway::to(&origin).io(io).workers(2).start();
    let bodies: Vec<String> = (0..10).map(|_| proxy.get("/").body_text()).collect();
    assert!(bodies.iter().all(|body| body != "SPLIT"), "{bodies:?}");
}
