//! Connections to origins that carry many requests at once: how many there are, and what their ends mean for requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use ringway_tests::http2::{Frame, Http2Client, code, kind};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::origin::End;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver, wait};

each_driver! {
    requests_of_many_clients_share_a_connection,
    another_connection_is_made_when_streams_run_out,
    the_limit_of_the_origin_is_kept,
    a_goaway_lets_streams_finish_and_moves_the_others,
    a_refused_stream_is_sent_again_elsewhere,
    an_origin_that_refuses_everything_is_asked_a_few_times,
    a_refused_body_that_was_not_kept_is_left_to_the_client,
    a_request_that_may_have_been_processed_is_not_sent_again,
    a_lost_connection_is_not_used_again,
    an_origin_that_does_not_answer_a_ping_is_left,
    an_idle_connection_closes_after_its_time,
    a_connection_ends_after_its_last_allowed_request,
    auto_finds_out_what_an_origin_speaks,
    auto_asks_again_whether_an_origin_speaks_http2,
    an_origin_that_speaks_no_http2_is_a_bad_gateway,
    the_proxy_protocol_makes_a_connection_for_each_request,
    two_workers_have_connections_of_their_own,
}

/// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 6.5.2).
const STREAMS_MAX: u16 = 3;

fn to(origin: &Origin, io: Io) -> Ringway {
    Ringway::to(origin).io(io).cluster("protocol: http2")
}

/// An origin whose connections are served by this script, each told its number.
fn scripted(script: impl Fn(&mut Http2Conn<'_>, usize) + Send + Sync + 'static) -> Origin {
    with_settings(&[], script)
}

fn with_settings(
    settings: &'static [(u16, u32)],
    script: impl Fn(&mut Http2Conn<'_>, usize) + Send + Sync + 'static,
) -> Origin {
    Origin::start(move |conn| {
        let index = conn.index;
        if let Some(mut conn) = Http2Conn::accept(conn, settings) {
            script(&mut conn, index);
        }
    })
}

/// Asks for so many at once, and returns what came back.
fn ask(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut client = Http2Client::connect(proxy.address());
    let ids: Vec<u32> = (0..count).map(|number| client.get(&format!("/{number}"))).collect();
    let answer = |id| {
        let response = client.response(id);
        format!("{} {}", response.status, String::from_utf8_lossy(&response.body))
    };
    ids.into_iter().map(answer).collect()
}

fn goaway(last: u32) -> Frame {
    Frame::new(kind::GOAWAY, 0, 0, [last.to_be_bytes(), code::NO_ERROR.to_be_bytes()].concat())
}

fn requests_of_many_clients_share_a_connection(io: Io) {
    let origin = scripted(|conn, _| conn.serve("ok"));
    let proxy = to(&origin, io).start();
    let mut clients: Vec<_> = (0..20).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").body_text(), "ok");
    }
    assert_eq!(ask(&proxy, 20), vec!["200 ok"; 20]);
    assert_eq!(origin.connections(), 1);
    let stats = proxy.stats();
    assert_eq!(stats.sum("ringway_upstream_http2_connections_total"), 1.0);
    assert_eq!(stats.sum("ringway_upstream_http2_streams_total"), 40.0);
}

fn another_connection_is_made_when_streams_run_out(io: Io) {
    // Nobody is answered before all have come.
    let seen = Arc::new(AtomicUsize::new(0));
    let origin = scripted(move |conn, _| {
        let mut mine = Vec::new();
        loop {
            while seen.load(SeqCst) < 6 || mine.is_empty() {
                let Some(request) = conn.request() else { return };
                mine.push(request.id);
                if seen.fetch_add(1, SeqCst) + 1 < 6 && mine.len() < 2 {
                    continue;
                }
                while seen.load(SeqCst) < 6 {
                    std::thread::yield_now();
                }
            }
            for id in mine.drain(..) {
                conn.reply(id, 200, "ok");
            }
        }
    });
    let proxy = to(&origin, io).cluster("http2: { streams: 2, connections: 3 }").start();
    assert_eq!(ask(&proxy, 6), vec!["200 ok"; 6]);
    assert_eq!(origin.connections(), 3);
    // More wait for a stream to end: there are no more connections.
    assert_eq!(ask(&proxy, 30), vec!["200 ok"; 30]);
    assert_eq!(origin.connections(), 3);
}

fn the_limit_of_the_origin_is_kept(io: Io) {
    let origin = with_settings(&[(STREAMS_MAX, 2)], |conn, _| {
        let mut open = 0_u32;
        let mut waiting = Vec::new();
        loop {
            while let Some(request) = conn.request() {
                open += 1;
                assert!(open <= 2, "more streams than the origin allows");
                waiting.push(request.id);
                if waiting.len() == 2 {
                    break;
                }
            }
            if waiting.is_empty() {
                return;
            }
            for id in waiting.drain(..) {
                open -= 1;
                conn.reply(id, 200, "ok");
            }
        }
    });
    let proxy = to(&origin, io).cluster("http2: { connections: 1 }").start();
    // The first request goes before the limit is known.
    let mut client = Http2Client::connect(proxy.address());
    let first = [client.get("/a"), client.get("/b")];
    for id in first {
        assert_eq!(client.response(id).status, 200);
    }
    assert_eq!(ask(&proxy, 10), vec!["200 ok"; 10]);
    origin.assert_unambiguous();
}

fn a_goaway_lets_streams_finish_and_moves_the_others(io: Io) {
    let origin = scripted(|conn, index| {
        if index > 0 {
            return conn.serve("second");
        }
        let ids: Vec<u32> = (0..4).map_while(|_| conn.request()).map(|request| request.id).collect();
        assert_eq!(ids.len(), 4);
        // The first two were taken, the others not.
        conn.send(&goaway(ids[1]));
        conn.reply(ids[0], 200, "first");
        conn.reply(ids[1], 200, "first");
        assert!(conn.frame().is_none() || conn.request().is_none(), "nothing new comes after a GOAWAY");
    });
    let proxy = to(&origin, io).start();
    let mut client = Http2Client::connect(proxy.address());
    let fields = |path| [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")];
    let ids = [
        client.open(&fields("/1"), true),
        client.open(&fields("/2"), true),
        client.open(&fields("/3"), true),
        client.open(&fields("/4"), false),
    ];
    // A small body is kept until it is known whether it was taken.
    client.send(&Frame::data(ids[3], b"body", true));
    let mut bodies = ids.map(|id| String::from_utf8(client.response(id).body).expect("text"));
    // Those that waited for the connection may be overtaken by one that came when it was there.
    bodies.sort_unstable();
    assert_eq!(bodies, ["first", "first", "second", "second"]);
    assert_ne!(origin.wait_for_end(0), End::Reset);
}

fn a_refused_stream_is_sent_again_elsewhere(io: Io) {
    for method in ["GET", "POST"] {
        let refused = Arc::new(AtomicUsize::new(0));
        let origin = scripted(move |conn, _| {
            while let Some(request) = conn.request() {
                if refused.fetch_add(1, SeqCst) < 2 {
                    conn.send(&Frame::reset(request.id, code::REFUSED_STREAM));
                } else {
                    conn.reply(request.id, 200, &request.body);
                }
            }
        });
        let proxy = to(&origin, io).start();
        let mut client = Http2Client::connect(proxy.address());
        let fields = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "test")];
        let id = client.open(&fields, method == "GET");
        if method == "POST" {
            client.send(&Frame::data(id, b"body", false));
            client.send(&Frame::data(id, b"and more", true));
        }
        let response = client.response(id);
        let expected: &[u8] = if method == "POST" { b"bodyand more" } else { b"" };
        assert_eq!((response.status, &response.body[..]), (200, expected));
    }
}

fn an_origin_that_refuses_everything_is_asked_a_few_times(io: Io) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let origin = scripted(move |conn, _| {
        while let Some(request) = conn.request() {
            count.fetch_add(1, SeqCst);
            conn.send(&Frame::reset(request.id, code::REFUSED_STREAM));
        }
    });
    let proxy = to(&origin, io).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (503, Some("upstream_refused")));
    assert!((2..=8).contains(&asked.load(SeqCst)), "{asked:?}");
}

fn a_refused_body_that_was_not_kept_is_left_to_the_client(io: Io) {
    const BODY_BYTES: usize = 60_000;
    let origin = scripted(|conn, _| {
        while let Some(head) = conn.head() {
            // More than is kept of a body has been sent by then.
            while conn.so_far(head.id).is_some_and(|request| request.body.len() < 40_000) {
                conn.frame();
            }
            conn.send(&Frame::reset(head.id, code::REFUSED_STREAM));
            conn.conn().reached("refused");
        }
    });
    let proxy = to(&origin, io).start();
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    let response = proxy.exchange([head.as_bytes(), &[b'x'; BODY_BYTES]].concat());
    assert_eq!((response.status, response.reason_code()), (503, Some("upstream_refused")));

    let mut client = Http2Client::connect(proxy.address());
    let id = client.post("/");
    // All of it fits the window that there is at first.
    for sent in (0..BODY_BYTES).step_by(10_000) {
        client.send(&Frame::data(id, [b'x'; 10_000], sent + 10_000 == BODY_BYTES));
    }
    let response = client.response(id);
    assert_eq!((response.status, response.field("x-ringway-reason")), (503, Some("upstream_refused")));
    assert_eq!(proxy.stats().sum_where("ringway_reasons_total", "\"upstream_refused\""), 2.0);
}

fn a_request_that_may_have_been_processed_is_not_sent_again(io: Io) {
    for reset in [true, false] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let origin = scripted(move |conn, _| {
            while let Some(request) = conn.request() {
                if request.field(":path") == Some("/first") {
                    conn.reply(request.id, 200, "ok");
                    continue;
                }
                count.fetch_add(1, SeqCst);
                if !reset {
                    return;
                }
                conn.send(&Frame::reset(request.id, code::INTERNAL_ERROR));
            }
        });
        let proxy = to(&origin, io).start();
        let mut client = proxy.connect();
        // The connection is a reused one, which is when GET may be repeated.
        assert_eq!(client.get("/first").status, 200);
        let response = client.exchange("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(response.status, 502);
        assert_eq!(asked.load(SeqCst), 1);
    }
}

fn a_lost_connection_is_not_used_again(io: Io) {
    let origin = scripted(|conn, index| {
        if index == 0 {
            let Some(request) = conn.request() else { return };
            conn.reply(request.id, 200, "first");
            // The next one is lost with its connection.
            conn.request();
            return;
        }
        conn.serve("second");
    });
    let proxy = to(&origin, io).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").body_text(), "first");
    // A GET on a connection that was used before is sent again.
    assert_eq!(client.get("/").body_text(), "second");
    assert_eq!(client.get("/").body_text(), "second");
    assert_eq!(origin.connections(), 2);
}

fn an_origin_that_does_not_answer_a_ping_is_left(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.index == 0 {
            // It reads, and says nothing any more.
            conn.exactly(24);
            conn.send(Frame::settings(&[]).encode());
            conn.send(Frame::new(kind::SETTINGS, 1, 0, []).encode());
            conn.until_closed();
            return;
        }
        if let Some(mut conn) = Http2Conn::accept(conn, &[]) {
            conn.serve("ok");
        }
    });
    let proxy = to(&origin, io).cluster("http2: { ping_interval: 200ms, ping_timeout: 200ms }").start();
    let response = proxy.exchange("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(response.status, 502);
    assert_eq!(proxy.get("/").body_text(), "ok");
    // One that answers is kept: more than both times pass.
    wait::pause(Duration::from_millis(900));
    assert_eq!(proxy.get("/").body_text(), "ok");
    assert_eq!(origin.connections(), 2);
}

fn an_idle_connection_closes_after_its_time(io: Io) {
    let origin = scripted(|conn, _| conn.serve("ok"));
    let proxy = to(&origin, io).set("pool-idle-timeout", "200ms").start();
    assert_eq!(proxy.get("/").body_text(), "ok");
    assert_eq!(origin.wait_for_end(0), End::Closed);
    assert_eq!(proxy.get("/").body_text(), "ok");
    assert_eq!(origin.connections(), 2);
}

fn a_connection_ends_after_its_last_allowed_request(io: Io) {
    let origin = scripted(|conn, _| conn.serve("ok"));
    let proxy = to(&origin, io).set("pool-requests", "3").start();
    assert_eq!(ask(&proxy, 9), vec!["200 ok"; 9]);
    assert_eq!(origin.connections(), 3);
}

fn auto_finds_out_what_an_origin_speaks(io: Io) {
    let origin = scripted(|conn, _| conn.serve("two"));
    let proxy = Ringway::to(&origin).io(io).cluster("protocol: auto").start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").body_text(), "two");
    }
    assert_eq!(origin.connections(), 1);

    // One that refuses the preface as a request, one that closes, and one that waits for more.
    for manner in ["refuses", "closes", "waits"] {
        let origin = Origin::start(move |conn| {
            let Some(head) = conn.request_head() else { return };
            if head.starts_with(b"PRI ") {
                match manner {
                    "refuses" => drop(conn.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")),
                    "closes" => {}
                    _ => drop(conn.until_closed()),
                }
                return;
            }
            loop {
                conn.reply(200, "one");
                if conn.request_head().is_none() {
                    return;
                }
            }
        });
        let proxy =
            Ringway::to(&origin).io(io).cluster("protocol: auto").set("connect-timeout", "500ms").start();
        for _ in 0..3 {
            assert_eq!(proxy.get("/").body_text(), "one", "{manner}");
        }
        assert_eq!(origin.connections(), 2, "{manner}: it is asked once");
    }
}

fn auto_asks_again_whether_an_origin_speaks_http2(io: Io) {
    let upgraded = Arc::new(AtomicBool::new(false));
    let speaks_http2 = Arc::clone(&upgraded);
    let origin = Origin::start(move |conn| {
        if speaks_http2.load(SeqCst) {
            if let Some(mut conn) = Http2Conn::accept(conn, &[]) {
                conn.serve("two");
            }
            return;
        }
        if conn.request_head().is_some_and(|head| !head.starts_with(b"PRI ")) {
            conn.reply(200, "one");
        }
    });
    let cluster = "http2: { probe_again: 100ms }";
    let proxy = Ringway::to(&origin).io(io).cluster("protocol: auto").cluster(cluster).start();
    assert_eq!(proxy.get("/").body_text(), "one");
    upgraded.store(true, SeqCst);
    // Kept connections go on with what they speak; this origin closes them.
    wait::eventually("HTTP/2", || Some(proxy.get("/")).filter(|response| response.body_text() == "two"));
}

fn an_origin_that_speaks_no_http2_is_a_bad_gateway(io: Io) {
    let origin = Origin::replying_once("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let proxy = to(&origin, io).start();
    assert_eq!(proxy.get("/").status, 502);
    assert_eq!(ask(&proxy, 1)[0][..3], *"502");
}

fn the_proxy_protocol_makes_a_connection_for_each_request(io: Io) {
    for protocol in ["http2", "auto"] {
        let origin = Origin::start(|conn| {
            let Ok(line) = conn.wire().line() else { return };
            let line = String::from_utf8(line).expect("text");
            assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{line}");
            let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
            conn.serve(line.trim());
        });
        let proxy = Ringway::to(&origin)
            .io(io)
            .cluster(&format!("protocol: {protocol}"))
            .cluster("send_proxy_protocol: v1")
            .start();
        let mut http1 = proxy.connect();
        let first = http1.get("/").body_text();
        assert_eq!(http1.get("/").body_text(), first);
        let mut http2 = Http2Client::connect(proxy.address());
        let port = http2.client().wire().local_port();
        let id = http2.get("/");
        let line = String::from_utf8(http2.response(id).body).expect("text");
        assert!(line.contains(&format!(" {port} ")), "{line}, not from {port}");
        let probes = usize::from(protocol == "auto");
        assert_eq!(origin.connections(), 3 + probes);
        for index in 0..origin.connections() {
            // None is kept. What the origin sends last may meet a socket that is closed already.
            assert!(matches!(origin.wait_for_end(index), End::Closed | End::Reset));
        }
        origin.assert_unambiguous();
    }
}

fn two_workers_have_connections_of_their_own(io: Io) {
    let origin = scripted(|conn, _| conn.serve("ok"));
    let proxy = to(&origin, io).workers(2).start();
    for _ in 0..40 {
        assert_eq!(proxy.get("/").body_text(), "ok");
    }
    assert!((1..=2).contains(&origin.connections()), "{}", origin.connections());
}
