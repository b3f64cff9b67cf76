//! The chunked coding, read exactly (RFC 9112 section 7.1).

use ringway_tests::{Io, each_driver};

use crate::{HIDDEN, Stage};

each_driver! {
    refuses_chunk_sizes_that_overflow,
    refuses_chunk_sizes_that_are_not_plain_hex,
    refuses_line_ends_other_than_crlf,
    refuses_bytes_between_a_chunk_and_its_end,
    refuses_control_bytes_in_extensions,
    bounds_extensions,
    refuses_trailers_that_are_no_fields,
    refuses_trailers_that_would_change_the_message,
    bounds_trailers,
    a_refused_chunk_never_completes_the_request,
    forwards_odd_but_valid_chunks_unchanged_in_meaning,
}

/// Chunk errors come after the head was sent on: the origin may have seen a beginning, never a complete request.
fn refuses_chunked<T: AsRef<str>>(io: Io, bodies: impl IntoIterator<Item = T>) {
    let stage = Stage::new(io);
    for body in bodies {
        let body = body.as_ref();
        let shown: String = body.chars().take(200).collect();
        for head_alone in [false, true] {
            let head = "POST /attack HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut client = stage.proxy.connect();
            if head_alone {
                client.send(head);
                client.try_send(format!("{body}{HIDDEN}"));
            } else {
                client.try_send(format!("{head}{body}{HIDDEN}"));
            }
            match client.try_response("POST") {
                Ok(response) => {
                    assert_eq!(response.status, 400, "{shown:?}");
                    assert!(response.says_close(), "{shown:?}");
                    assert!(client.until_closed().is_empty(), "{shown:?}");
                }
                Err(broken) => panic!("{shown:?}: {broken:?}"),
            }
            let requests = stage.origin.requests();
            assert!(requests.is_empty(), "{shown:?}: {requests:#?}");
            stage.origin.assert_unambiguous();
        }
    }
    assert_eq!(stage.proxy.get("/canary").status, 200);
    assert_eq!(stage.origin.only_request().target, "/canary");
}

/// Threat row 16.
fn refuses_chunk_sizes_that_overflow(io: Io) {
    refuses_chunked(
        io,
        [
            "ffffffffffffffff1\r\nx\r\n0\r\n\r\n".to_owned(),
            "10000000000000000\r\nx\r\n0\r\n\r\n".to_owned(),
            "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
            "fffffffffffffffffffffffffffffffff\r\n".to_owned(),
            format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(1000)),
            format!("{}\r\n", "f".repeat(100_000)),
        ],
    );
}

/// Threat rows 16 and 23.
fn refuses_chunk_sizes_that_are_not_plain_hex(io: Io) {
    let sizes = [
        "", " ", "-5", "+5", "0x5", "0X5", "5h", "5.", "5,", "g", "x5", " 5", "\t5", "5\u{b}", "５", "\"5\"",
        "-0", "5 5", "5_0", "\0", "5\0", ";", ";a=b",
    ];
    refuses_chunked(io, sizes.map(|size| format!("{size}\r\nhello\r\n0\r\n\r\n")));
}

/// Threat row 23.
fn refuses_line_ends_other_than_crlf(io: Io) {
    refuses_chunked(
        io,
        [
            "5\nhello\r\n0\r\n\r\n",
            "5\rhello\r\n0\r\n\r\n",
            "5\r\rhello\r\n0\r\n\r\n",
            "5\n\rhello\r\n0\r\n\r\n",
            "5\r\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\nhello\r\n0\n\r\n",
            "5\r\nhello\r\n0\n\n",
            "5\r\nhello\r\n0\r\n\n",
            "5\r\nhello\r\n0\r\rX\r\n",
            "0\n\r\n",
            "0\r\n\n",
            "0\n\n",
            "\r\n0\r\n\r\n",
            "\n5\r\nhello\r\n0\r\n\r\n",
            "5;\nhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        ],
    );
}

/// Threat row 23.
fn refuses_bytes_between_a_chunk_and_its_end(io: Io) {
    refuses_chunked(
        io,
        [
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello \r\n0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhell\r\n0\r\n\r\n",
            "4\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
        ],
    );
}

/// Threat row 23.
fn refuses_control_bytes_in_extensions(io: Io) {
    let extensions = [";a=\0", ";\0", ";a=\u{1}", ";a=\u{7f}", ";a=\u{b}", ";a=\u{8}b"];
    refuses_chunked(io, extensions.map(|extension| format!("5{extension}\r\nhello\r\n0\r\n\r\n")));
}

/// Threat row 23, CVE-2023-39326.
fn bounds_extensions(io: Io) {
    let long = "e".repeat(65_536);
    let many: String = (0..200_000).map(|_| "1;eeeeeeeeeeeeeeee\r\nx\r\n").collect();
    refuses_chunked(
        io,
        [
            format!("5;{long}\r\nhello\r\n0\r\n\r\n"),
            format!("0;{long}\r\n\r\n"),
            format!("5;a=\"{long}\"\r\nhello\r\n0\r\n\r\n"),
        ],
    );
    // Small ones on each of many chunks are legal, whatever they cost: they are passed on or refused, at a bounded
    // price.
    let stage = Stage::new(io);
    let mut client = stage.proxy.connect();
    client.send("POST /many HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.try_send(many);
    client.try_send("0\r\n\r\n");
    let status = client.response().status;
    assert!(matches!(status, 200 | 400 | 413), "{status}");
    assert!(ringway_tests::process::resident_bytes(stage.proxy.pid()) < 64 << 20);
}

fn refuses_trailers_that_are_no_fields(io: Io) {
    let trailers = [
        "no colon\r\n",
        ": x\r\n",
        "A : x\r\n",
        " A: x\r\n",
        "A: x\r\n folded\r\n",
        "A: x\n",
        "A: x\ry\r\n",
        "A: \0\r\n",
        "A\0: x\r\n",
        "A: \u{1}\r\n",
        "GET /hidden HTTP/1.1\r\nHost: test\r\n",
        "A B: x\r\n",
        "A\r\nB: x\r\n",
    ];
    refuses_chunked(io, trailers.map(|trailer| format!("5\r\nhello\r\n0\r\n{trailer}\r\n")));
}

/// RFC 9110 section 6.5.1.
fn refuses_trailers_that_would_change_the_message(io: Io) {
    let stage = Stage::new(io);
    let names = [
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "Authorization",
        "Cookie",
        "Content-Encoding",
        "Content-Type",
        "Trailer",
        "Connection",
        "X-Forwarded-For",
        "Expect",
        "Set-Cookie",
        "TE",
    ];
    for name in names {
        let mut client = stage.proxy.connect();
        client.try_send(format!("POST /t HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{name}: 1\r\nX-Good: 2\r\n\r\n"));
        let status = client.response().status;
        assert!(matches!(status, 200 | 400), "{name}: {status}");
        for request in stage.origin.requests() {
            assert!(
                !request.trailers.iter().any(|(seen, _)| seen.eq_ignore_ascii_case(name)),
                "{name}: {request:#?}"
            );
        }
    }
    stage.origin.assert_unambiguous();
}

fn bounds_trailers(io: Io) {
    let one = format!("A: {}\r\n", "t".repeat(200_000));
    let many: String = (0..20_000).map(|number| format!("X{number}: y\r\n")).collect();
    let stage = Stage::new(io);
    for trailer in [one, many] {
        let mut client = stage.proxy.connect();
        client.try_send(
            "POST /attack HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        );
        client.try_send(format!("{trailer}\r\n{HIDDEN}"));
        let response = client.response();
        assert!(matches!(response.status, 400 | 431), "{}", response.status);
        client.until_closed();
    }
    assert!(stage.origin.requests().is_empty());
    stage.origin.assert_unambiguous();
}

/// Threat row 17: the upstream connection of a refused body is closed, never pooled.
fn a_refused_chunk_never_completes_the_request(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.proxy.connect();
    client.send("POST /attack HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    stage.origin.wait_for_connections(1);
    client.send("zzz\r\n");
    assert_eq!(client.response().status, 400);
    stage.origin.wait_for_end(0);
    assert!(stage.origin.requests().is_empty());
    assert_eq!(stage.proxy.get("/canary").status, 200);
    assert_eq!(stage.origin.only_request().connection, 1);
}

fn forwards_odd_but_valid_chunks_unchanged_in_meaning(io: Io) {
    let stage = Stage::new(io);
    let bodies = [
        "5\r\nhello\r\n0\r\n\r\n",
        "0005\r\nhello\r\n000\r\n\r\n",
        "5;a\r\nhello\r\n0;b=c\r\n\r\n",
        "5;a=b;c=\"d;e\\\"f\"\r\nhello\r\n0\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-T: v\r\nX-U:\r\n\r\n",
    ];
    for body in bodies {
        let mut client = stage.proxy.connect();
        client.send(format!(
            "POST /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}{HIDDEN}"
        ));
        // Here the hidden request is an honest second one.
        assert_eq!((client.response().status, client.response().status), (200, 200), "{body:?}");
        let requests = stage.origin.requests();
        assert_eq!(requests[requests.len() - 2].body_text(), "hello", "{body:?}");
        assert_eq!(requests[requests.len() - 1].target, "/hidden");
    }
    stage.origin.assert_unambiguous();
}
