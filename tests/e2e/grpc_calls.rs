//! gRPC calls from end to end: deadlines, statuses, cancellation, retries, and what is counted.

use std::time::{Duration, Instant};

use ringway_tests::http2::{Frame, Http2Client, Http2Response, Instead, code, kind};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::process::Signal;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    a_unary_call_passes_with_its_trailers,
    messages_pass_both_ways_while_the_call_is_open,
    an_open_call_goes_on_over_a_reload_and_through_a_drain,
    the_deadline_of_a_client_is_passed_on_reduced_and_kept,
    the_earlier_deadline_wins,
    a_call_without_an_origin_is_answered_with_a_status,
    a_path_that_names_no_method_never_reaches_the_origin,
    an_answer_that_is_not_grpc_becomes_a_status,
    a_missing_status_is_made_up_for,
    a_reset_of_the_origin_is_a_status,
    a_response_cut_between_messages_ends_with_a_status,
    a_cancelled_call_is_cancelled_at_the_origin,
    a_listed_status_is_tried_again_and_another_is_not,
    calls_are_counted_by_method_and_status,
    a_call_may_be_silent_for_longer_than_a_body,
}

fn message(data: &[u8]) -> Vec<u8> {
    [&[0][..], &(data.len() as u32).to_be_bytes(), data].concat()
}

fn proxy(io: Io, origin: &Origin) -> Ringway {
    Ringway::to(origin).io(io).cluster("protocol: http2")
}

/// An origin whose every request is answered by this script, once it is complete.
fn scripted(script: impl Fn(&mut Http2Conn<'_>, u32, usize) + Send + Sync + 'static) -> Origin {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Origin::start(move |conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            script(&mut conn, request.id, number);
        }
    })
}

const HEAD: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

fn answer(conn: &mut Http2Conn<'_>, id: u32, data: &[u8], status: &str) {
    conn.headers(id, &HEAD, false);
    conn.data(id, &message(data), false);
    conn.headers(id, &[("grpc-status", status), ("grpc-message", "as told")], true);
}

fn open(client: &mut Http2Client, path: &str, more: &[(&str, &str)]) -> u32 {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("content-type", "application/grpc+proto"),
        ("te", "trailers"),
    ];
    client.open(&[&fields, more].concat(), false)
}

fn call(proxy: &Proxy, path: &str, more: &[(&str, &str)]) -> Http2Response {
    let mut client = Http2Client::connect(proxy.address());
    let id = open(&mut client, path, more);
    client.send(&Frame::data(id, message(b"ping"), true));
    client.response(id)
}

/// The status of a call, wherever it stands.
fn status(response: &Http2Response) -> Option<&str> {
    let trailers = response.trailers.iter().flatten();
    let found = trailers.chain(&response.fields).find(|(name, _)| name == "grpc-status");
    found.map(|(_, value)| value.as_str())
}

/// A reply of the proxy's own: trailers alone.
fn assert_local(response: &Http2Response, grpc: &str, reason: &str) {
    assert_eq!((response.status, status(response)), (200, Some(grpc)), "{response:?}");
    assert_eq!(response.field("x-ringway-reason"), Some(reason), "{response:?}");
    assert_eq!(response.field("content-type"), Some("application/grpc+proto"));
    assert!(response.field("grpc-message").is_some_and(|text| !text.is_empty()));
    assert!(response.body.is_empty() && response.trailers.is_none(), "{response:?}");
}

fn a_unary_call_passes_with_its_trailers(io: Io) {
    let origin = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            assert_eq!(request.field(":path"), Some("/pkg.Echo/Say"));
            assert_eq!(request.field("te"), Some("trailers"));
            assert_eq!(request.field("content-type"), Some("application/grpc+proto"));
            assert_eq!(request.field("grpc-timeout"), None);
            let body = request.body.clone();
            answer(&mut conn, request.id, &body[5..], "0");
        }
    });
    let proxy = proxy(io, &origin).start();
    let response = call(&proxy, "/pkg.Echo/Say", &[]);
    assert_eq!((response.status, status(&response)), (200, Some("0")));
    assert_eq!(response.body, message(b"ping"));
}

/// An origin that answers each of three messages when it comes, and then ends the call.
fn three_in_turn() -> Origin {
    Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        let Some(head) = conn.head() else { return };
        conn.headers(head.id, &HEAD, false);
        for number in 1..=3 {
            while conn.so_far(head.id).is_some_and(|request| request.body.len() < number * 9) {
                conn.frame();
            }
            conn.data(head.id, &message(&[number as u8]), false);
        }
        while conn.so_far(head.id).is_some_and(|request| !request.ended) {
            conn.frame();
        }
        conn.headers(head.id, &[("grpc-status", "0")], true);
        while conn.frame().is_some() {}
    })
}

fn messages_pass_both_ways_while_the_call_is_open(io: Io) {
    let origin = three_in_turn();
    let proxy = proxy(io, &origin).start();
    let mut client = Http2Client::connect(proxy.address());
    let id = open(&mut client, "/pkg.Echo/Chat", &[]);
    for number in 1..=3 {
        client.send(&Frame::data(id, message(b"ping"), false));
        // The answer comes while the request is open.
        let frame = client.until(0);
        assert_eq!(frame.payload, message(&[number]));
    }
    client.send(&Frame::data(id, [], true));
    assert_eq!(status(&client.response(id)), Some("0"));
    let stats = proxy.stats();
    assert_eq!(stats.sum_where("ringway_grpc_messages_received_total", "method=\"Chat\""), 3.0);
    assert_eq!(stats.sum_where("ringway_grpc_messages_sent_total", "method=\"Chat\""), 3.0);
}

fn an_open_call_goes_on_over_a_reload_and_through_a_drain(io: Io) {
    let origin = three_in_turn();
    let ringway = proxy(io, &origin);
    let mut proxy = ringway.start();
    let mut client = Http2Client::connect(proxy.address());
    let id = open(&mut client, "/pkg.Echo/Chat", &[]);
    let say = |client: &mut Http2Client, number: u8| {
        client.send(&Frame::data(id, message(b"ping"), false));
        assert_eq!(client.until(0).payload, message(&[number]));
    };
    say(&mut client, 1);
    let line = proxy.reload(ringway.yaml().replace("name: all", "name: renamed"));
    assert!(line.contains("configuration reloaded"), "{line}");
    say(&mut client, 2);
    proxy.signal(Signal::TERM);
    client.until(kind::GOAWAY);
    say(&mut client, 3);
    client.send(&Frame::data(id, [], true));
    assert_eq!(status(&client.response(id)), Some("0"));
    client.until_closed();
    assert!(proxy.wait_for_exit().success());
}

/// An origin that tells the timeout that it was given, by its unit, and otherwise never answers.
fn hanging() -> Origin {
    Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        let Some(head) = conn.head() else { return };
        let timeout = head.field("grpc-timeout").unwrap_or("none").to_owned();
        conn.conn().reached(&format!("timeout {timeout}"));
        if conn.until_reset(head.id) == Some(code::CANCEL) {
            conn.conn().reached("cancelled");
        }
        while conn.frame().is_some() {}
    })
}

fn the_deadline_of_a_client_is_passed_on_reduced_and_kept(io: Io) {
    let origin = hanging();
    let proxy = proxy(io, &origin).start();
    let begun = Instant::now();
    let response = call(&proxy, "/pkg.Echo/Hang", &[("grpc-timeout", "300m")]);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_local(&response, "4", "request_timeout");
    origin.wait_until_reached("cancelled");
    assert_local(&call(&proxy, "/pkg.Echo/Hang", &[("grpc-timeout", "0m")]), "4", "request_timeout");
    assert_local(&call(&proxy, "/pkg.Echo/Hang", &[("grpc-timeout", "5")]), "13", "bad_request");
}

fn the_earlier_deadline_wins(io: Io) {
    let origin = scripted(|conn, id, _| answer(conn, id, b"", "0"));
    let told = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            let timeout = request.field("grpc-timeout").unwrap_or("none").to_owned();
            answer(&mut conn, request.id, timeout.as_bytes(), "0");
        }
    });
    drop(origin);
    let proxy = proxy(io, &told).route("timeout: 50s").start();
    for (given, most) in [(None, 50_000_000), (Some("20S"), 20_000_000), (Some("3H"), 50_000_000)] {
        let field = given.map(|given| ("grpc-timeout", given));
        let response = call(&proxy, "/pkg.Echo/Say", field.as_slice());
        let text = String::from_utf8(response.body[5..].to_vec()).expect("text");
        let micros: u64 = text.strip_suffix('u').and_then(|n| n.parse().ok()).expect("microseconds");
        assert!(micros <= most && micros > most - 10_000_000, "{given:?}: {text}");
    }
}

fn a_call_without_an_origin_is_answered_with_a_status(io: Io) {
    let origin = Origin::ok();
    let address = origin.address();
    drop(origin);
    let proxy = Ringway::to_address(address).io(io).cluster("protocol: http2").start();
    assert_local(&call(&proxy, "/pkg.Echo/Say", &[]), "14", "connect_failed");
}

fn a_path_that_names_no_method_never_reaches_the_origin(io: Io) {
    let origin = scripted(|conn, id, _| answer(conn, id, b"", "0"));
    let proxy = proxy(io, &origin).start();
    for path in
        ["/pkg.Echo", "/", "/pkg.Echo/Say/More", "/pkg.Echo/", "//Say", "/pkg.Echo/Say?x", "/pkg%2eEcho/Say"]
    {
        let response = call(&proxy, path, &[]);
        assert_local(&response, "13", "bad_request");
    }
    assert_eq!(origin.connections(), 0);
}

fn an_answer_that_is_not_grpc_becomes_a_status(io: Io) {
    for (http, grpc) in
        [("401", "16"), ("403", "7"), ("404", "12"), ("429", "14"), ("503", "14"), ("200", "2")]
    {
        let origin = scripted(move |conn, id, _| {
            conn.headers(id, &[(":status", http), ("content-type", "text/html")], false);
            conn.data(id, b"<html>", true);
        });
        let proxy = proxy(io, &origin).start();
        assert_local(&call(&proxy, "/pkg.Echo/Say", &[]), grpc, "upstream_not_grpc");
    }
}

fn a_missing_status_is_made_up_for(io: Io) {
    let origin = scripted(|conn, id, number| {
        conn.headers(id, &HEAD, false);
        match number {
            0 => assert!(conn.data(id, &message(b"all"), true)),
            1 => assert!(conn.data(id, &message(b"all"), false) && conn.data(id, b"", true)),
            _ => assert!(conn.data(id, &message(b"all"), false) && conn.headers(id, &[("other", "x")], true)),
        }
    });
    let proxy = proxy(io, &origin).start();
    for _ in 0..3 {
        let response = call(&proxy, "/pkg.Echo/Say", &[]);
        assert_eq!(response.body, message(b"all"));
        assert_eq!(status(&response), Some("13"), "{response:?}");
    }
    assert_eq!(proxy.stats().sum_where("ringway_reasons_total", "upstream_no_grpc_status"), 3.0);
}

fn a_reset_of_the_origin_is_a_status(io: Io) {
    for (reset, grpc) in [(code::CANCEL, "1"), (code::ENHANCE_YOUR_CALM, "8"), (code::INTERNAL_ERROR, "13")] {
        let origin = scripted(move |conn, id, _| assert!(conn.send(&Frame::reset(id, reset))));
        let proxy = proxy(io, &origin).start();
        assert_local(&call(&proxy, "/pkg.Echo/Say", &[]), grpc, "upstream_reset");
    }
}

fn a_response_cut_between_messages_ends_with_a_status(io: Io) {
    let origin = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(head) = conn.head() {
            let whole = head.field(":path") == Some("/pkg.Echo/Whole");
            let data = message(b"one");
            conn.headers(head.id, &HEAD, false);
            conn.data(head.id, if whole { &data } else { &data[..6] }, false);
            // Only once that has arrived: a reset overtakes data.
            while conn.so_far(head.id).is_some_and(|request| request.body.is_empty()) {
                conn.frame();
            }
            conn.send(&Frame::reset(head.id, code::INTERNAL_ERROR));
        }
    });
    let proxy = proxy(io, &origin).start();
    let mut client = Http2Client::connect(proxy.address());
    let id = open(&mut client, "/pkg.Echo/Whole", &[]);
    client.until(0);
    client.send(&Frame::data(id, message(b"ping"), false));
    let response = client.response(id);
    assert_eq!((response.body.clone(), status(&response)), (message(b"one"), Some("13")));
    // What comes after half a message would be taken for the rest of it.
    let id = open(&mut client, "/pkg.Echo/Half", &[]);
    client.until(0);
    client.send(&Frame::data(id, message(b"ping"), false));
    assert!(matches!(client.try_response(id), Err(Instead::Reset(_))));
}

fn a_cancelled_call_is_cancelled_at_the_origin(io: Io) {
    let origin = hanging();
    let proxy = proxy(io, &origin).start();
    let mut client = Http2Client::connect(proxy.address());
    let id = open(&mut client, "/pkg.Echo/Hang", &[]);
    origin.wait_until_reached("timeout none");
    client.send(&Frame::reset(id, code::CANCEL));
    origin.wait_until_reached("cancelled");
}

fn a_listed_status_is_tried_again_and_another_is_not(io: Io) {
    let origin = scripted(|conn, id, number| {
        let status = if number % 2 == 0 { "14" } else { "0" };
        match number {
            // Trailers alone, then a whole answer.
            0 | 4.. => assert!(conn.headers(id, &[HEAD[0], HEAD[1], ("grpc-status", "14")], true)),
            2 => assert!(conn.headers(id, &[HEAD[0], HEAD[1], ("grpc-status", "5")], true)),
            // A message has come: the client has seen it.
            3 => answer(conn, id, b"seen", "14"),
            _ => answer(conn, id, b"second", status),
        }
    });
    let proxy =
        proxy(io, &origin).route("grpc: {retry_on: [unavailable]}").route("retry: {attempts: 3}").start();
    let response = call(&proxy, "/pkg.Echo/Say", &[]);
    assert_eq!((response.body.clone(), status(&response)), (message(b"second"), Some("0")));
    assert_eq!(status(&call(&proxy, "/pkg.Echo/Say", &[])), Some("5"));
    assert_eq!(status(&call(&proxy, "/pkg.Echo/Say", &[])), Some("14"));
    // The bound on attempts.
    assert_eq!(status(&call(&proxy, "/pkg.Echo/Say", &[])), Some("14"));
    assert_eq!(proxy.stats().sum("ringway_retries_total"), 3.0);
}

fn calls_are_counted_by_method_and_status(io: Io) {
    let origin = scripted(|conn, id, number| match number {
        3 => assert!(conn.headers(id, &[HEAD[0], HEAD[1], ("grpc-status", "12")], true)),
        number => answer(conn, id, b"x", if number == 2 { "5" } else { "0" }),
    });
    let proxy = proxy(io, &origin).start();
    for path in ["/pkg.Echo/Say", "/pkg.Echo/Say", "/pkg.Echo/Say", "/made.Up/Name"] {
        call(&proxy, path, &[]);
    }
    let stats = proxy.stats();
    let calls = |labels: &str| stats.sum_where("ringway_grpc_calls_total", labels);
    assert_eq!(calls("service=\"pkg.Echo\",method=\"Say\",status=\"OK\""), 2.0);
    assert_eq!(calls("service=\"pkg.Echo\",method=\"Say\",status=\"NOT_FOUND\""), 1.0);
    assert_eq!(calls("service=\"_other\",method=\"_other\",status=\"UNIMPLEMENTED\""), 1.0);
    assert_eq!(stats.sum_where("ringway_grpc_duration_seconds_count", "method=\"Say\""), 3.0);
}

fn a_call_may_be_silent_for_longer_than_a_body(io: Io) {
    let origin = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(head) = conn.head() {
            let call = head.field("content-type").is_some();
            // Longer than the time-outs below: the stimulus is time.
            ringway_tests::wait::pause(Duration::from_millis(500));
            let fields: &[_] = if call { &HEAD } else { &HEAD[..1] };
            conn.headers(head.id, fields, false);
            conn.headers(head.id, &[("grpc-status", "0")], true);
        }
    });
    let proxy = proxy(io, &origin)
        .listener("limits: {request_body_timeout: 100ms}")
        .cluster("timeouts: {response_head: 100ms, response_body: 100ms}")
        .start();
    assert_eq!(status(&call(&proxy, "/pkg.Echo/Say", &[])), Some("0"));
    let mut client = Http2Client::connect(proxy.address());
    let id = client.get("/plain");
    assert_eq!(client.response(id).status, 504);
}
