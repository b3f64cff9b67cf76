//! One exchange, two protocols: what HTTP/1.1 and HTTP/2 make of each other's messages (RFC 9113 8).

use std::time::Duration;

use ringway_tests::http2::{Frame, Http2Client, Instead, code};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    a_request_over_http2_is_one_of_http1_to_the_origin,
    a_request_over_http1_is_one_of_http2_to_the_origin,
    http2_passes_from_end_to_end,
    bodies_of_every_length_pass_in_every_combination,
    trailers_of_a_request_pass_in_every_combination,
    trailers_of_a_response_pass_in_every_combination,
    trailers_of_a_response_have_the_limits_of_the_cluster,
    interim_responses_pass_in_every_combination,
    responses_without_a_body_end_with_their_head,
    a_client_of_http10_gets_bare_data_from_an_origin_of_http2,
    connection_fields_do_not_cross,
    a_cut_body_of_http1_is_a_reset_stream,
    a_reset_stream_is_a_cut_body_of_http1,
    a_client_that_resets_its_stream_ends_the_request_at_the_origin,
    a_length_that_is_not_kept_fails_on_either_side,
    an_early_response_ends_the_exchange,
    local_replies_have_the_form_of_the_client,
    windows_pass_through_from_end_to_end,
    deadlines_hold_over_streams,
    an_exchange_is_counted_and_logged_once,
}

/// What the client speaks, then the origin; at least one speaks HTTP/2.
const COMBINATIONS: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

/// A response, whatever it came over.
struct Answer {
    status: u16,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

fn start(io: Io, origin: &Origin, origin_speaks_http2: bool) -> Proxy {
    proxy(io, origin, origin_speaks_http2).start()
}

fn proxy(io: Io, origin: &Origin, origin_speaks_http2: bool) -> Ringway {
    let protocol = if origin_speaks_http2 { "http2" } else { "http1" };
    Ringway::to(origin).io(io).cluster(&format!("protocol: {protocol}"))
}

/// An origin that answers with the method, the path, and the body and trailers that it got.
fn telling(http2: bool) -> Origin {
    Origin::start(move |conn| {
        if !http2 {
            while let Some(request) = conn.request() {
                let head = format!("{} {} ", request.method, request.target);
                let trailers: String = request.trailers.iter().map(|(n, v)| format!(" {n}={v}")).collect();
                conn.reply(200, [head.as_bytes(), &request.body, trailers.as_bytes()].concat());
            }
            return;
        }
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            let of = |name| request.field(name).unwrap_or_default();
            let head = format!("{} {} ", of(":method"), of(":path"));
            let trailers = request.trailers.clone().unwrap_or_default();
            let trailers: String = trailers.iter().map(|(n, v)| format!(" {n}={v}")).collect();
            conn.reply(request.id, 200, [head.as_bytes(), &request.body, trailers.as_bytes()].concat());
        }
    })
}

/// An origin that answers each request with these bytes of HTTP/1.1, or by this script of HTTP/2.
fn answering(
    http2: bool,
    http1: &'static str,
    script: impl Fn(&mut Http2Conn<'_>, u32) + Send + Sync + 'static,
) -> Origin {
    Origin::start(move |conn| {
        if !http2 {
            while conn.request().is_some() {
                conn.send(http1);
            }
            return;
        }
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            script(&mut conn, request.id);
        }
    })
}

fn get(proxy: &Proxy, http2: bool) -> Answer {
    if http2 {
        let mut client = Http2Client::connect(proxy.address());
        let id = client.get("/path");
        let response = client.response(id);
        let trailers = response.trailers.clone().unwrap_or_default();
        return Answer { status: response.status, body: response.body, trailers };
    }
    let response = proxy.get("/path");
    Answer { status: response.status, body: response.body.clone(), trailers: response.trailers.clone() }
}

/// Sends a body in these pieces, without saying how long it is.
fn post(proxy: &Proxy, http2: bool, pieces: &[&[u8]], trailers: &[(&str, &str)]) -> Answer {
    if http2 {
        let mut client = Http2Client::connect(proxy.address());
        let id = client.post("/path");
        for piece in pieces {
            client.send(&Frame::data(id, *piece, false));
        }
        if trailers.is_empty() {
            client.send(&Frame::data(id, [], true));
        } else {
            let block = client.block(trailers);
            client.send(&Frame::new(1, 5, id, block));
        }
        let response = client.response(id);
        let trailers = response.trailers.clone().unwrap_or_default();
        return Answer { status: response.status, body: response.body, trailers };
    }
    let mut client = proxy.connect();
    client.send("POST /path HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    client.send("0\r\n");
    for (name, value) in trailers {
        client.send(format!("{name}: {value}\r\n"));
    }
    let response = client.exchange("\r\n");
    Answer { status: response.status, body: response.body.clone(), trailers: response.trailers.clone() }
}

fn a_request_over_http2_is_one_of_http1_to_the_origin(io: Io) {
    let origin = Origin::ok();
    let proxy = start(io, &origin, false);
    let mut client = Http2Client::connect(proxy.address());
    let id = client.open(
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a?b=c"),
            (":authority", "shop.test"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("te", "trailers"),
            ("x-own", "value"),
        ],
        true,
    );
    let response = client.response(id);
    assert_eq!((response.status, &response.body[..]), (200, &b"ok"[..]));
    assert_eq!(response.field("content-length"), Some("2"));
    let request = origin.only_request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(request.version, "HTTP/1.1");
    assert_eq!(request.fields_named("host"), ["shop.test"]);
    assert_eq!(request.fields_named("cookie"), ["a=1; b=2"]);
    assert_eq!(request.fields_named("x-own"), ["value"]);
    assert_eq!(request.fields_named("te"), ["trailers"]);
    assert!(request.field("via").is_some_and(|via| via.starts_with("2")), "{:?}", request.field("via"));
    assert_eq!(request.field("transfer-encoding"), None);
    origin.assert_unambiguous();
}

fn a_request_over_http1_is_one_of_http2_to_the_origin(io: Io) {
    let origin = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            let fields: String = request.fields.iter().map(|(n, v)| format!("{n}={v}\n")).collect();
            conn.reply(request.id, 200, fields);
        }
    });
    let proxy = start(io, &origin, true);
    let mut client = proxy.connect();
    let response = client.exchange(
        "GET /a?b=c HTTP/1.1\r\nHost: shop.test\r\nX-Own: value\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\n\
         Keep-Alive: 5\r\nTE: trailers\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    let seen = response.body_text();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..4], [":method=GET", ":scheme=http", ":authority=shop.test", ":path=/a?b=c"]);
    assert!(lines.contains(&"x-own=value") && lines.contains(&"te=trailers"), "{seen}");
    for absent in ["host=", "connection=", "x-hop=", "keep-alive=", "transfer-encoding=", "upgrade="] {
        assert!(!lines.iter().any(|line| line.starts_with(absent)), "{absent} in {seen}");
    }
    assert!(!response.says_close());
    // And the connection goes on.
    assert_eq!(client.get("/again").status, 200);
    assert_eq!(origin.connections(), 1);
}

fn http2_passes_from_end_to_end(io: Io) {
    let origin = telling(true);
    let proxy = start(io, &origin, true);
    let mut client = Http2Client::connect(proxy.address());
    let ids: Vec<u32> = (0..50).map(|number| client.get(&format!("/{number}"))).collect();
    for (number, id) in ids.into_iter().enumerate() {
        let response = client.response(id);
        assert_eq!(response.body, format!("GET /{number} ").as_bytes());
    }
    assert_eq!(origin.connections(), 1);
}

fn bodies_of_every_length_pass_in_every_combination(io: Io) {
    for (client, http2) in COMBINATIONS {
        let origin = telling(http2);
        let proxy = start(io, &origin, http2);
        for bytes in [0, 1, 2047, 2048, 2049, 16_384, 16_385, 65_535, 65_536, 300_000] {
            let body: Vec<u8> = (0..bytes).map(|index| (index % 251) as u8).collect();
            let pieces: Vec<&[u8]> = body.chunks(9_000).collect();
            // The client's windows are those of a connection that says nothing of them.
            let answer = if client && bytes > 60_000 {
                upload_in_windows(&proxy, &body)
            } else {
                post(&proxy, client, &pieces, &[])
            };
            assert_eq!(answer.status, 200, "{bytes} bytes, client {client}, origin {http2}");
            let expected = [b"POST /path ", &body[..]].concat();
            assert!(answer.body == expected, "{bytes} bytes, client {client}, origin {http2}");
        }
        if !http2 {
            origin.assert_unambiguous();
        }
    }
}

/// Sends a body that is larger than the windows that the proxy gives at first.
fn upload_in_windows(proxy: &Proxy, body: &[u8]) -> Answer {
    let mut client = Http2Client::connect(proxy.address());
    let id = client.post("/path");
    let mut window = 65_535_i64;
    let mut pieces = body.chunks(8_192).peekable();
    while let Some(piece) = pieces.next() {
        while window < piece.len() as i64 {
            let frame = client.frame().expect("a window");
            if frame.kind == 8 && frame.id == id {
                window += i64::from(frame.number(0));
            }
        }
        window -= piece.len() as i64;
        client.send(&Frame::data(id, piece, pieces.peek().is_none()));
    }
    let response = client.response(id);
    Answer { status: response.status, body: response.body, trailers: Vec::new() }
}

fn trailers_of_a_request_pass_in_every_combination(io: Io) {
    for (client, http2) in COMBINATIONS {
        let origin = telling(http2);
        let proxy = start(io, &origin, http2);
        for pieces in [&[&b"body"[..]][..], &[], &[b"a", b"", b"b"]] {
            let answer = post(&proxy, client, pieces, &[("x-sum", "1"), ("x-last", "two words")]);
            let text = String::from_utf8_lossy(&answer.body).to_lowercase();
            let expected = format!("post /path {} x-sum=1 x-last=two words", pieces.concat().escape_ascii());
            assert_eq!(text, expected, "client {client}, origin {http2}");
        }
    }
}

fn trailers_of_a_response_pass_in_every_combination(io: Io) {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum:  1 \r\n\
                           X-Last: two words\r\n\r\n";
    for (client, http2) in COMBINATIONS {
        let origin = answering(http2, CHUNKED, |conn, id| {
            conn.headers(id, &[(":status", "200")], false);
            conn.data(id, b"body", false);
            conn.headers(id, &[("x-sum", "1"), ("x-last", "two words")], true);
        });
        let proxy = start(io, &origin, http2);
        let answer = get(&proxy, client);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"body"[..]));
        let trailers: Vec<_> = answer
            .trailers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let expected = [("x-sum", "1"), ("x-last", "two words")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(trailers, expected, "client {client}, origin {http2}");
    }
}

fn trailers_of_a_response_have_the_limits_of_the_cluster(io: Io) {
    let combinations = COMBINATIONS.into_iter().chain([(false, false)]);
    for (client, http2) in combinations {
        for (count, passes) in [(4, true), (5, false)] {
            let trailers: Vec<(String, String)> =
                (0..count).map(|n| (format!("x-{n}"), n.to_string())).collect();
            let lines: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let http1 =
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{lines}\r\n");
            let origin = Origin::start(move |conn| {
                if !http2 {
                    while conn.request().is_some() {
                        conn.send(&http1);
                    }
                    return;
                }
                let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
                while let Some(request) = conn.request() {
                    conn.headers(request.id, &[(":status", "200")], false);
                    conn.data(request.id, b"body", false);
                    let fields: Vec<_> = trailers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                    conn.headers(request.id, &fields, true);
                }
            });
            // The listener's own limit is another one.
            let proxy =
                proxy(io, &origin, http2).cluster("response: { headers_count: 4 }").set("headers-count", 30);
            let proxy = proxy.start();
            let what = format!("{count} trailers, client {client}, origin {http2}");
            let whole = if client {
                let mut client = Http2Client::connect(proxy.address());
                let id = client.get("/");
                client.try_response(id).is_ok()
            } else {
                let mut client = proxy.connect();
                client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
                client.try_response("GET").is_ok_and(|response| response.status == 200)
            };
            assert_eq!(whole, passes, "{what}");
        }
    }
}

fn interim_responses_pass_in_every_combination(io: Io) {
    for (client, http2) in COMBINATIONS {
        let origin = Origin::start(move |conn| {
            if !http2 {
                let Some(head) = conn.request_head() else { return };
                assert!(head.to_ascii_lowercase().windows(20).any(|part| part == b"expect: 100-continue"));
                conn.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
                conn.wire().exactly(4).expect("the body");
                conn.reply(200, "done");
                return;
            }
            let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
            let head = conn.head().expect("a request");
            assert_eq!(head.field("expect"), Some("100-continue"));
            conn.headers(head.id, &[(":status", "100")], false);
            conn.headers(head.id, &[(":status", "103"), ("link", "</a>")], false);
            let request = conn.request().expect("the body");
            assert_eq!(request.body, b"body");
            conn.reply(request.id, 200, "done");
            while conn.frame().is_some() {}
        });
        let proxy = start(io, &origin, http2);
        if !client {
            let mut client = proxy.connect();
            client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
            assert_eq!(client.any_response("POST").status, 100);
            let hints = client.any_response("POST");
            assert_eq!((hints.status, hints.field("link")), (103, Some("</a>")));
            assert_eq!(client.exchange("body").body_text(), "done");
            continue;
        }
        let mut client = Http2Client::connect(proxy.address());
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "test"),
            ("expect", "100-continue"),
            ("content-length", "4"),
        ];
        let id = client.open(&fields, false);
        for _ in 0..2 {
            let frame = client.until(1);
            assert_eq!((frame.id, frame.flags & 1), (id, 0), "an interim response");
        }
        client.send(&Frame::data(id, b"body", true));
        assert_eq!(client.response(id).body, b"done");
    }
}

fn responses_without_a_body_end_with_their_head(io: Io) {
    for (client, http2) in COMBINATIONS {
        for (http1, status, length) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", "204", None),
            ("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", "304", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200", Some("0")),
        ] {
            let origin = answering(http2, http1, move |conn, id| {
                let mut fields = vec![(":status", status)];
                fields.extend(length.map(|length| ("content-length", length)));
                conn.headers(id, &fields, true);
            });
            let proxy = start(io, &origin, http2);
            let answer = get(&proxy, client);
            assert_eq!(answer.status.to_string(), status);
            assert!(answer.body.is_empty());
            assert_eq!(get(&proxy, client).status.to_string(), status, "and the next one is in step");
        }
    }
    // HEAD: a length, and no body.
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.request_head() {
            assert!(head.starts_with(b"HEAD "));
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        }
    });
    let proxy = start(io, &origin, false);
    let mut client = Http2Client::connect(proxy.address());
    for _ in 0..2 {
        let fields = [(":method", "HEAD"), (":scheme", "http"), (":path", "/"), (":authority", "test")];
        let id = client.open(&fields, true);
        let response = client.response(id);
        assert_eq!((response.field("content-length"), response.body.len()), (Some("5"), 0));
    }
    assert_eq!(origin.connections(), 1);
}

fn a_client_of_http10_gets_bare_data_from_an_origin_of_http2(io: Io) {
    let origin = answering(true, "", |conn, id| {
        conn.headers(id, &[(":status", "103")], false);
        conn.headers(id, &[(":status", "200")], false);
        conn.data(id, b"one", false);
        conn.data(id, b"two", false);
        conn.headers(id, &[("x-lost", "1")], true);
    });
    let proxy = start(io, &origin, true);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
    let all = client.until_closed();
    let text = String::from_utf8_lossy(&all);
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\nonetwo"), "{text}");
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
}

fn connection_fields_do_not_cross(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\n\r\nok",
    );
    let proxy = start(io, &origin, false);
    let mut client = Http2Client::connect(proxy.address());
    let id = client.get("/");
    let response = client.response(id);
    assert_eq!(response.status, 200);
    for name in ["connection", "x-hop", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding"] {
        assert_eq!(response.field(name), None, "{name}");
    }
}

fn a_cut_body_of_http1_is_a_reset_stream(io: Io) {
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n0\r\nx: y\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\nzz\r\n",
    ] {
        let origin = Origin::replying_once(reply);
        let proxy = start(io, &origin, false);
        let mut client = Http2Client::connect(proxy.address());
        let id = client.get("/");
        match client.try_response(id) {
            Err(Instead::Reset(code::INTERNAL_ERROR)) => {}
            other => panic!("{reply:?}: {other:?}"),
        }
        // A body that ends with its connection is whole when that does.
        let origin = Origin::replying_once("HTTP/1.1 200 OK\r\n\r\nfive!");
        let proxy = start(io, &origin, false);
        assert_eq!(get(&proxy, true).body, b"five!");
    }
}

fn a_reset_stream_is_a_cut_body_of_http1(io: Io) {
    for length in [Some("10"), None] {
        let origin = answering(true, "", move |conn, id| {
            let mut fields = vec![(":status", "200")];
            fields.extend(length.map(|length| ("content-length", length)));
            conn.headers(id, &fields, false);
            conn.data(id, b"five!", false);
            conn.send(&Frame::reset(id, code::INTERNAL_ERROR));
        });
        let proxy = start(io, &origin, true);
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let all = client.until_closed();
        // A reset may overtake what was sent before it, so some of the data may be missing.
        let text = String::from_utf8_lossy(&all);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{text}");
        assert!(["", "five!", "5\r\nfive!\r\n"].contains(&body), "{text}");
        // And only its own exchange is hit.
        assert_eq!(origin.connections(), 1);
    }
    // Before the head of its response it is an answer of the proxy.
    let origin = answering(true, "", |conn, id| {
        conn.send(&Frame::reset(id, code::INTERNAL_ERROR));
    });
    let proxy = start(io, &origin, true);
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (502, Some("upstream_reset")));
    assert_eq!(get(&proxy, true).status, 502);
}

fn a_client_that_resets_its_stream_ends_the_request_at_the_origin(io: Io) {
    for http2 in [false, true] {
        let origin = Origin::start(move |conn| {
            if !http2 {
                conn.request_head();
                conn.reached("asked");
                conn.until_closed();
                conn.reached("given up");
                return;
            }
            let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
            let id = conn.head().expect("a request").id;
            conn.conn().reached("asked");
            assert_eq!(conn.until_reset(id), Some(code::CANCEL));
            conn.conn().reached("given up");
            conn.serve("ok");
        });
        let proxy = start(io, &origin, http2);
        let mut client = Http2Client::connect(proxy.address());
        let id = client.get("/");
        origin.wait_until_reached("asked");
        client.send(&Frame::reset(id, code::CANCEL));
        origin.wait_until_reached("given up");
        if http2 {
            // Its connection serves others.
            let id = client.get("/next");
            assert_eq!(client.response(id).body, b"ok");
            assert_eq!(origin.connections(), 1);
        }
    }
}

fn a_length_that_is_not_kept_fails_on_either_side(io: Io) {
    // A request: nothing of it must reach an origin that could frame it otherwise.
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "test"),
        ("content-length", "4"),
    ];
    for body in [&b"abc"[..], b"abcde"] {
        let origin = Origin::start(|conn| {
            conn.request_head();
            conn.until_closed();
        });
        let proxy = start(io, &origin, false);
        let mut client = Http2Client::connect(proxy.address());
        let id = client.open(&fields, false);
        client.send(&Frame::data(id, body, true));
        match client.try_response(id) {
            Err(Instead::Reset(code::PROTOCOL_ERROR)) => {}
            other => panic!("{body:?}: {other:?}"),
        }
        let id = client.get("/next");
        drop(client.try_response(id));
    }
    // A response.
    for (length, body) in [("4", &b"abc"[..]), ("4", b"abcde")] {
        let origin = answering(true, "", move |conn, id| {
            conn.headers(id, &[(":status", "200"), ("content-length", length)], false);
            conn.data(id, body, true);
        });
        let proxy = start(io, &origin, true);
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let all = client.until_closed();
        let text = String::from_utf8_lossy(&all);
        let (_, received) = text.split_once("\r\n\r\n").expect("a head");
        assert!(text.starts_with("HTTP/1.1 502 ") || received.len() < 4, "{text}");
        let mut client = Http2Client::connect(proxy.address());
        let id = client.get("/");
        match client.try_response(id) {
            Err(Instead::Reset(_)) => {}
            Ok(response) => assert_eq!(response.status, 502),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn an_early_response_ends_the_exchange(io: Io) {
    for http2 in [false, true] {
        let origin = Origin::start(move |conn| {
            if !http2 {
                conn.request_head();
                conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
                conn.until_closed();
                return;
            }
            let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
            let id = conn.head().expect("a request").id;
            conn.reply(id, 403, "no");
            while conn.frame().is_some() {}
        });
        let proxy = start(io, &origin, http2);
        let mut client = Http2Client::connect(proxy.address());
        let id = client.post("/");
        client.send(&Frame::data(id, [b'x'; 1000], false));
        let response = client.response(id);
        assert_eq!((response.status, &response.body[..]), (403, &b"no"[..]));
        // RFC 9113 8.1: the rest of the request is not wanted.
        assert_eq!(client.until(3).number(0), code::NO_ERROR);
    }
}

fn local_replies_have_the_form_of_the_client(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).route("match: [{ path: { prefix: /only } }]").start();
    let mut client = Http2Client::connect(proxy.address());
    let ask = |client: &mut Http2Client, method: &str| {
        let id = client.open(
            &[
                (":method", method),
                (":scheme", "http"),
                (":path", "/else"),
                (":authority", "test"),
                ("accept", "application/json"),
            ],
            true,
        );
        client.response(id)
    };
    let response = ask(&mut client, "GET");
    assert_eq!((response.status, response.field("x-ringway-reason")), (404, Some("no_route")));
    assert_eq!(response.field("content-type"), Some("application/json"));
    let text = String::from_utf8(response.body.clone()).expect("text");
    assert!(text.contains("\"no_route\""), "{text}");
    assert_eq!(response.field("content-length"), Some(text.len().to_string().as_str()));
    assert_eq!(response.field("connection"), None);
    let head = ask(&mut client, "HEAD");
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(head.field("content-length"), response.field("content-length"));
    // A refused request with a body is answered too, and the connection goes on.
    let id = client.post("/else");
    assert_eq!(client.response(id).status, 404);
    let id = client.get("/only");
    assert_eq!(client.response(id).status, 200);
}

fn windows_pass_through_from_end_to_end(io: Io) {
    // The client reads nothing: the origin can send no more than the windows and the buffers on the way.
    let origin = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        let id = conn.head().expect("a request").id;
        conn.headers(id, &[(":status", "200")], false);
        let mut sent = 0;
        while conn.data(id, &[b'x'; 16_384], false) {
            sent += 16_384;
            assert!(sent < 64 << 20, "a client that takes nothing holds its origin back");
        }
        conn.conn().reached("held back, then cancelled");
    });
    let proxy = start(io, &origin, true);
    let mut client = Http2Client::connect(proxy.address());
    let id = client.get("/");
    let mut received = 0;
    // What it was allowed to send without asking (RFC 9113 6.9.2), and then nothing.
    while received < 65_535 {
        let frame = client.any_frame().expect("a frame");
        if frame.kind == 0 {
            assert_eq!(frame.id, id);
            received += frame.payload.len();
        }
    }
    assert_eq!(received, 65_535);
    assert!(client.stays_silent(Duration::from_millis(300)));
    client.send(&Frame::reset(id, code::CANCEL));
    origin.wait_until_reached("held back, then cancelled");
}

fn deadlines_hold_over_streams(io: Io) {
    for http2 in [false, true] {
        let silent = Origin::start(move |conn| {
            if http2 {
                let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
                while conn.frame().is_some() {}
            } else {
                conn.until_closed();
            }
        });
        // The response's head.
        let proxy = proxy(io, &silent, http2).set("response-head-timeout", "200ms").start();
        let mut client = Http2Client::connect(proxy.address());
        let id = client.get("/");
        let response = client.response(id);
        assert_eq!(
            (response.status, response.field("x-ringway-reason")),
            (504, Some("response_head_timeout"))
        );
        // The request's body.
        let proxy = self::proxy(io, &silent, http2).set("request-body-timeout", "200ms").start();
        let mut client = Http2Client::connect(proxy.address());
        let id = client.post("/");
        client.send(&Frame::data(id, b"some", false));
        let response = client.response(id);
        assert_eq!(
            (response.status, response.field("x-ringway-reason")),
            (408, Some("request_body_timeout"))
        );
        // All of it.
        let proxy = self::proxy(io, &silent, http2).set("request-timeout", "200ms").start();
        let mut client = Http2Client::connect(proxy.address());
        let id = client.get("/");
        let response = client.response(id);
        assert_eq!((response.status, response.field("x-ringway-reason")), (504, Some("request_timeout")));
    }
    // The response's body.
    let half = answering(true, "", |conn, id| {
        conn.headers(id, &[(":status", "200")], false);
        conn.data(id, b"half", false);
    });
    let proxy = proxy(io, &half, true).set("upstream-body-timeout", "200ms").start();
    let mut client = Http2Client::connect(proxy.address());
    let id = client.get("/");
    assert!(matches!(client.try_response(id), Err(Instead::Reset(_))));
}

fn an_exchange_is_counted_and_logged_once(io: Io) {
    let origin = telling(true);
    let proxy = proxy(io, &origin, true).set("access-log", "stdout").set("access-log-format", "json").start();
    let mut client = Http2Client::connect(proxy.address());
    let id = client.post("/");
    client.send(&Frame::data(id, b"four", true));
    assert_eq!(client.response(id).body, b"POST / four");
    let line = proxy.wait_for_stdout("\"POST\"");
    for part in ["\"HTTP/2.0\"", "\"request_body_bytes\":4", "\"response_body_bytes\":11"] {
        assert!(line.replace(": ", ":").contains(part), "{part} in {line}");
    }
    let id = client.get("/cancelled");
    client.send(&Frame::reset(id, code::CANCEL));
    let line = proxy.wait_for_stdout("/cancelled");
    assert!(line.contains("499") && line.contains("client_closed"), "{line}");
    assert_eq!(proxy.stdout().iter().filter(|line| line.contains("/cancelled")).count(), 1);
    let stats = proxy.stats();
    assert_eq!(stats.sum("ringway_requests_total"), 2.0);
}
