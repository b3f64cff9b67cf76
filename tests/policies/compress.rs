//! `compress` from outside: what is compressed, what must not be, and that the bytes are right.

use std::io::Read;

use ringway_tests::http2::Http2Client;
use ringway_tests::{Io, Origin, Ringway, each_driver, process};

use crate::with_policies;

each_driver! {
    a_body_is_compressed_as_the_client_asks,
    a_body_over_http2_is_compressed_too,
    what_must_not_be_compressed_passes_as_it_is,
    secrets_are_not_compressed_beside_what_strangers_choose,
    credentials_are_compressed_where_the_operator_says_so,
    every_way_of_framing_is_read,
    a_client_of_http10_gets_the_end_of_the_connection,
    a_head_says_what_the_response_to_get_would_say,
    what_came_is_not_held_back_while_the_origin_pauses,
    a_body_that_is_cut_off_stays_cut_off,
    a_large_body_arrives_whole,
    no_more_than_so_many_are_compressed_at_a_time,
    bodies_that_shrink_to_nothing_cost_no_memory,
}

fn compressing(origin: &Origin, fields: &str) -> Ringway {
    with_policies(origin, "", "", &format!("[{{ compress: {{ {fields} }} }}]"))
}

fn text() -> String {
    "The quick brown fox jumps over the lazy dog. ".repeat(200)
}

fn html(lines: &str) -> String {
    let body = text();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(accept: &str, lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accept}\r\n{lines}\r\n")
}

fn decode(coding: &str, body: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text).expect("gzip"),
        "br" => brotli::Decompressor::new(body, 4096).read_to_string(&mut text).expect("br"),
        "zstd" => zstd::stream::read::Decoder::new(body)
            .and_then(|mut decoder| decoder.read_to_string(&mut text))
            .expect("zstd"),
        _ => panic!("{coding} is no coding"),
    };
    text
}

fn a_body_is_compressed_as_the_client_asks(io: Io) {
    let origin = Origin::replying(html("ETag: \"1\"\r\nAccept-Ranges: bytes\r\n"));
    let proxy = compressing(&origin, "").io(io).start();
    let mut client = proxy.connect();
    for coding in ["gzip", "br", "zstd"] {
        let response = client.exchange(get(coding, ""));
        assert_eq!(response.field("content-encoding"), Some(coding));
        assert_eq!(response.field("vary"), Some("accept-encoding"));
        // RFC 9110 8.8.1: not the same bytes any more.
        assert_eq!(response.field("etag"), Some("W/\"1\""));
        assert_eq!((response.field("accept-ranges"), response.field("content-length")), (None, None));
        assert!(response.body.len() < 1_000, "{}", response.body.len());
        assert_eq!(decode(coding, &response.body), text());
    }
    // Another client gets it as it is, and caches know that it depends on who asks.
    let plain = client.exchange(get("identity", ""));
    assert_eq!((plain.field("content-encoding"), plain.field("vary")), (None, Some("accept-encoding")));
    assert_eq!((plain.field("etag"), plain.body_text()), (Some("\"1\""), text()));
    assert_eq!(client.exchange(get("gzip;q=0.5, br", "")).field("content-encoding"), Some("br"));
}

fn a_body_over_http2_is_compressed_too(io: Io) {
    let origin = Origin::replying(html(""));
    let proxy = compressing(&origin, "").io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    let id = client.open(
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
            ("accept-encoding", "gzip"),
        ],
        true,
    );
    let response = client.response(id);
    assert_eq!(response.field("content-encoding"), Some("gzip"));
    assert_eq!(response.field("content-length"), None);
    assert_eq!(decode("gzip", &response.body), text());
}

fn what_must_not_be_compressed_passes_as_it_is(io: Io) {
    let body = text();
    let length = body.len();
    let reply = |status: &str, lines: &str| {
        format!("HTTP/1.1 {status}\r\n{lines}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    for (why, reply) in [
        ("no type", reply("200 OK", "X-A: 1")),
        ("an image", reply("200 OK", "Content-Type: image/png")),
        ("events", reply("200 OK", "Content-Type: text/event-stream")),
        ("compressed already", reply("200 OK", "Content-Type: text/html\r\nContent-Encoding: br")),
        ("no-transform", reply("200 OK", "Content-Type: text/html\r\nCache-Control: public, No-Transform")),
        ("a digest", reply("200 OK", "Content-Type: text/html\r\nContent-Digest: sha-256=:abc=:")),
        (
            "a part",
            reply("206 Partial Content", "Content-Type: text/html\r\nContent-Range: bytes 0-8999/10000"),
        ),
        ("short", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nshort".to_owned()),
        ("nothing", "HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\n\r\n".to_owned()),
    ] {
        let origin = Origin::replying(reply.clone());
        let proxy = compressing(&origin, "").io(io).start();
        let response = proxy.exchange(get("gzip, br, zstd", ""));
        assert_ne!(response.field("content-encoding"), Some("gzip"), "{why}");
        assert_ne!(response.field("content-encoding"), Some("zstd"), "{why}");
        assert_eq!(response.field("vary"), None, "{why}");
        let sent = reply.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        assert_eq!(response.body_text(), sent, "{why}");
    }
}

/// BREACH: the length of what is compressed together with a guess tells whether the guess was right.
fn secrets_are_not_compressed_beside_what_strangers_choose(io: Io) {
    let origin = Origin::replying(html(""));
    let proxy = compressing(&origin, "").io(io).start();
    let mut client = proxy.connect();
    for lines in ["Cookie: session=1\r\n", "Authorization: Bearer 1\r\n"] {
        let response = client.exchange(get("gzip", lines));
        assert_eq!((response.field("content-encoding"), response.body_text()), (None, text()), "{lines}");
    }
    let origin = Origin::replying(html("Set-Cookie: session=1\r\n"));
    let proxy = compressing(&origin, "").io(io).start();
    assert_eq!(proxy.exchange(get("gzip", "")).field("content-encoding"), None);
}

fn credentials_are_compressed_where_the_operator_says_so(io: Io) {
    let origin = Origin::replying(html("Set-Cookie: session=1\r\n"));
    let proxy = compressing(&origin, "with_credentials: true, codings: [gzip]").io(io).start();
    let response = proxy.exchange(get("zstd, gzip", "Cookie: session=1\r\n"));
    assert_eq!(response.field("content-encoding"), Some("gzip"));
    assert_eq!(decode("gzip", &response.body), text());
}

fn every_way_of_framing_is_read(io: Io) {
    let body = text();
    let chunks: String = body
        .as_bytes()
        .chunks(1_000)
        .map(|part| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part)))
        .collect();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
    for reply in [
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n{chunks}0\r\nX-T: 1\r\n\r\n"),
        format!("{head}Transfer-Encoding:   CHUNKED\r\n\r\n{chunks}0\r\n\r\n"),
        format!("{head}Content-Length:   0{}\r\n\r\n{body}", body.len()),
        format!("{head}Connection: close\r\n\r\n{body}"),
        format!("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n{body}"),
    ] {
        let ends = reply.contains("close") || reply.starts_with("HTTP/1.0");
        let origin = if ends { Origin::replying_once(reply) } else { Origin::replying(reply) };
        let proxy = compressing(&origin, "").io(io).start();
        let mut client = proxy.connect();
        for _ in 0..2 {
            // Its own framing is chunks, so that the client's connection stays whatever the origin's does.
            let response = client.exchange(get("gzip", ""));
            assert_eq!(response.field("content-encoding"), Some("gzip"));
            assert_eq!(response.fields_named("transfer-encoding"), ["chunked"]);
            assert_eq!(decode("gzip", &response.body), body);
        }
    }
}

fn a_client_of_http10_gets_the_end_of_the_connection(io: Io) {
    let origin = Origin::replying(html(""));
    let proxy = compressing(&origin, "").io(io).start();
    let mut client = proxy.connect();
    let response = client.exchange("GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(response.field("content-encoding"), Some("gzip"));
    assert_eq!((response.field("transfer-encoding"), response.field("content-length")), (None, None));
    assert_eq!(decode("gzip", &response.body), text());
}

fn a_head_says_what_the_response_to_get_would_say(io: Io) {
    let origin = Origin::start(|conn| {
        while conn.request().is_some() {
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9000\r\nETag: \"1\"\r\n\r\n",
            );
        }
    });
    let proxy = compressing(&origin, "").io(io).start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
        let response = client.response_to("HEAD");
        assert_eq!(response.field("content-encoding"), Some("gzip"));
        assert_eq!((response.field("content-length"), response.field("etag")), (None, Some("W/\"1\"")));
    }
}

fn what_came_is_not_held_back_while_the_origin_pauses(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
            // Until the client has seen that and gone.
            conn.until_closed();
        }
    });
    let proxy = compressing(&origin, "codings: [gzip]").io(io).start();
    let mut client = proxy.connect();
    client.send(get("gzip", ""));
    client.wire().head().expect("a head");
    let mut seen = Vec::new();
    let mut first = [0; 5];
    while flate2::read::GzDecoder::new(&seen[..]).read_exact(&mut first).is_err() {
        let size = client.wire().line().expect("the size of a chunk");
        let size = usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16).expect("a size");
        seen.extend(client.wire().exactly(size).expect("a chunk"));
        client.wire().exactly(2).expect("its end");
    }
    assert_eq!(&first, b"first");
}

fn a_body_that_is_cut_off_stays_cut_off(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\nonly this",
            );
        }
    });
    let proxy = compressing(&origin, "").io(io).start();
    let mut client = proxy.connect();
    client.send(get("gzip", ""));
    assert!(client.try_response("GET").is_err(), "the last chunk must be missing");
}

fn a_large_body_arrives_whole(io: Io) {
    let body: String = (0..30_000_u64).map(|line| format!("{} {line}\n", line * 7_919 % 10_007)).collect();
    let (reply, expected) = (
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        body,
    );
    let origin = Origin::replying(reply);
    let proxy = compressing(&origin, "").io(io).start();
    for coding in ["gzip", "br", "zstd"] {
        let response = proxy.exchange(get(coding, ""));
        assert!(response.body.len() < expected.len() / 2);
        assert!(decode(coding, &response.body) == expected, "{coding}");
    }
}

fn no_more_than_so_many_are_compressed_at_a_time(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            if request.target == "/hold" {
                conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\n12345");
                conn.until_closed();
            } else {
                conn.send(html(""));
            }
        }
    });
    let proxy = compressing(&origin, "active_max: 1, min_size: 0B").io(io).start();
    let mut held = proxy.connect();
    held.send(get("gzip", "").replace("GET / ", "GET /hold "));
    let head = held.wire().head().expect("a head");
    assert!(String::from_utf8_lossy(&head).contains("content-encoding: gzip"));
    let mut client = proxy.connect();
    assert_eq!(client.exchange(get("gzip", "")).field("content-encoding"), None);
    held.reset();
    proxy.wait_for_stats("one exchange less", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    assert_eq!(client.exchange(get("gzip", "")).field("content-encoding"), Some("gzip"));
}

/// Threat row 57: what becomes a thousandth of itself is still taken no faster than its reader takes that.
fn bodies_that_shrink_to_nothing_cost_no_memory(io: Io) {
    let total: usize = 4 << 20;
    let origin = Origin::start(move |conn| {
        while let Some(request) = conn.request() {
            let parts = if request.target == "/large" { total >> 16 } else { 1 };
            let length = parts << 16;
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n"
            ));
            let part = vec![0; 1 << 16];
            if !(0..parts).all(|_| conn.send(&part)) {
                return;
            }
        }
    });
    let proxy = compressing(&origin, "").io(io).start();
    let ask = |target: &str, coding: &str| {
        let response = proxy.exchange(get(coding, "").replace("GET / ", &format!("GET {target} ")));
        let mut client = Http2Client::connect(proxy.address());
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", target),
            (":authority", "a"),
            ("accept-encoding", coding),
        ];
        let id = client.open(&fields, true);
        [response.body.len(), client.response(id).body.len()]
    };
    for coding in ["gzip", "zstd"] {
        ask("/small", coding);
    }
    let before = process::resident_bytes_peak(proxy.pid());
    for coding in ["gzip", "zstd"] {
        let lengths = ask("/large", coding);
        assert!(lengths.iter().all(|length| *length < total / 100), "{coding}: {lengths:?}");
    }
    let grown = process::resident_bytes_peak(proxy.pid()).saturating_sub(before);
    assert!(grown < 3 << 20, "{} KiB more for bodies of {} MiB", grown >> 10, total >> 20);
}
