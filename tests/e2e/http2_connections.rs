//! Connections of clients that speak HTTP/2: how they begin, who may keep them open, and how they end.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringway_tests::http2::{Frame, Http2Client, Instead, PREFACE, code, flag, kind};
use ringway_tests::peers::free_address;
use ringway_tests::process::Signal;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver, wait};

each_driver! {
    both_versions_are_served_on_one_port,
    the_preface_is_told_when_it_comes_byte_by_byte,
    what_is_nearly_the_preface_is_answered_as_http1,
    an_unfinished_preface_ends_at_the_header_timeout,
    http2_can_be_switched_off,
    a_proxy_protocol_header_may_come_before_the_preface,
    an_upgrade_to_h2c_is_taken_where_it_is_allowed,
    an_upgrade_to_h2c_is_ignored_by_default_and_never_forwarded,
    an_upgrade_without_its_settings_is_ignored,
    many_streams_run_at_once_on_one_upstream_each,
    an_unfinished_header_block_ends_the_connection_at_the_header_timeout,
    an_idle_connection_is_told_to_go_and_closed,
    a_connection_with_a_stream_is_not_idle,
    settings_that_are_not_acknowledged_end_the_connection,
    a_drain_lets_streams_finish_and_refuses_new_ones,
    a_stream_that_was_on_its_way_when_the_drain_began_is_served,
    the_drain_deadline_cuts_a_stream,
    a_stream_survives_a_reload,
    a_removed_listener_lets_streams_finish,
    an_old_connection_drains_and_is_cut_after_its_grace,
    the_last_allowed_request_drains_the_connection,
    a_broken_rule_ends_the_connection_with_its_code_and_no_other,
    a_client_that_goes_away_cancels_its_requests,
    a_reset_stream_cancels_its_request_and_no_other,
    one_byte_window_updates_do_not_make_one_byte_frames,
    a_reader_that_stalls_loses_its_stream_and_not_the_connection,
    a_client_that_takes_nothing_at_all_is_cut,
}

/// Two connections of a hundred streams each end on two workers (see `an_even_spread`).
#[test]
fn streams_on_few_connections_spread_over_the_workers_on_uring() {
    ringway_tests::proxy::on_driver(Io::Uring, an_even_spread);
}

#[test]
fn streams_on_few_connections_spread_over_the_workers_on_epoll() {
    ringway_tests::proxy::on_driver(Io::Epoll, an_even_spread);
}

/// An origin that answers `/slow` once it is told to, and anything else at once.
fn gated_origin() -> (Origin, mpsc::Sender<()>) {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let origin = Origin::start(move |conn| {
        while let Some(request) = conn.request() {
            if request.target.starts_with("/slow") {
                let _ = gate.lock().expect("the gate").recv();
            }
            conn.reply(200, format!("{} {}", request.method, request.target));
        }
    });
    (origin, go)
}

fn body(client: &mut Http2Client, id: u32) -> String {
    let response = client.response(id);
    assert_eq!(response.status, 200);
    String::from_utf8(response.body).expect("text")
}

fn both_versions_are_served_on_one_port(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut http2 = Http2Client::connect(proxy.address());
    let mut http1 = proxy.connect();
    for number in 0..3 {
        let id = http2.get(&format!("/two/{number}"));
        assert_eq!(body(&mut http2, id), format!("GET /two/{number}"));
        assert_eq!(http1.get(&format!("/one/{number}")).body_text(), format!("GET /one/{number}"));
    }
    let stats = proxy.stats();
    assert_eq!(stats.sum("ringway_http2_connections_total"), 1.0);
    assert_eq!(stats.sum("ringway_http2_streams_total"), 3.0);
    assert_eq!(stats.sum("ringway_http2_connections_open"), 1.0);
}

fn the_preface_is_told_when_it_comes_byte_by_byte(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    for first in 1..PREFACE.len() {
        let mut client = proxy.connect();
        client.send(&PREFACE[..first]);
        wait::pause(Duration::from_millis(1));
        client.send(&PREFACE[first..]).send(Frame::settings(&[]).encode());
        let mut client = Http2Client::over(client, 1);
        let id = client.get("/");
        assert_eq!(body(&mut client, id), "GET /", "{first}");
    }
    let mut client = proxy.connect();
    for byte in PREFACE {
        client.send([*byte]);
        wait::pause(Duration::from_millis(1));
    }
    client.send(Frame::settings(&[]).encode());
    let mut client = Http2Client::over(client, 1);
    let id = client.get("/");
    assert_eq!(body(&mut client, id), "GET /");
}

fn what_is_nearly_the_preface_is_answered_as_http1(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for request in
        [&b"PRI * HTTP/1.1\r\nSM\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI / HTTP/2.0\r\n\r\n"]
    {
        for split in [1, 3, 10] {
            let mut client = proxy.connect();
            client.send(&request[..split]);
            wait::pause(Duration::from_millis(2));
            client.try_send(&request[split..]);
            let status = client.response().status;
            assert!(matches!(status, 400 | 505), "{status} {}", String::from_utf8_lossy(request));
        }
    }
    // A method that begins like it.
    let mut client = proxy.connect();
    client.send("P");
    wait::pause(Duration::from_millis(2));
    client.send("ROPFIND / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.only_request().method, "PROPFIND");
}

fn an_unfinished_preface_ends_at_the_header_timeout(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("header-timeout", "300ms").start();
    let mut client = proxy.connect();
    let start = Instant::now();
    client.send(&PREFACE[..10]);
    assert_eq!(client.response().status, 408);
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(250) && time < Duration::from_secs(5), "{time:?}");
    client.expect_closed();
}

fn http2_can_be_switched_off(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).listener("http2: { enabled: false }").start();
    let mut client = proxy.connect();
    client.send(PREFACE);
    assert!(matches!(client.response().status, 400 | 505));
    origin.assert_saw_nothing();
}

fn a_proxy_protocol_header_may_come_before_the_preface(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).set("proxy-protocol", "127.0.0.1/32").start();
    let mut client = proxy.connect();
    let header = b"PROXY TCP4 203.0.113.9 198.51.100.1 4321 80\r\n";
    client.send([&header[..], &PREFACE[..], &Frame::settings(&[]).encode()].concat());
    let mut client = Http2Client::over(client, 1);
    let id = client.get("/");
    assert_eq!(body(&mut client, id), "GET /");
    assert_eq!(origin.only_request().field("x-forwarded-for"), Some("203.0.113.9"));
}

const UPGRADE: &str = "GET /first HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                       HTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Kept: yes\r\n\r\n";

fn an_upgrade_to_h2c_is_taken_where_it_is_allowed(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).listener("http2: { upgrade: true }").start();
    let mut client = proxy.connect();
    let response = client.exchange(UPGRADE);
    assert_eq!((response.status, response.field("upgrade")), (101, Some("h2c")));
    client.send([&PREFACE[..], &Frame::settings(&[]).encode()].concat());
    let mut client = Http2Client::over(client, 3);
    assert_eq!(body(&mut client, 1), "GET /first");
    let id = client.get("/second");
    assert_eq!(body(&mut client, id), "GET /second");
    let first = &origin.requests()[0];
    assert_eq!(first.field("x-kept"), Some("yes"));
    for name in ["upgrade", "http2-settings"] {
        assert_eq!(first.field(name), None, "{name} is about one hop");
    }
    assert_eq!(proxy.stats().sum("ringway_http2_upgrades_total"), 1.0);
}

fn an_upgrade_to_h2c_is_ignored_by_default_and_never_forwarded(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    let response = proxy.exchange(UPGRADE);
    assert_eq!((response.status, response.body_text().as_str()), (200, "GET /first"));
    let request = origin.only_request();
    for name in ["upgrade", "http2-settings"] {
        assert_eq!(request.field(name), None, "{name}");
    }
}

fn an_upgrade_without_its_settings_is_ignored(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).listener("http2: { upgrade: true }").start();
    let settings = "HTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let requests = [
        UPGRADE.replace(settings, ""),
        UPGRADE.replace(settings, &settings.repeat(2)),
        UPGRADE.replace("AAMAAABkAAQAAP__", "not base64!"),
        UPGRADE.replace("Upgrade, HTTP2-Settings", "Upgrade"),
        UPGRADE.replace("Upgrade, HTTP2-Settings", "HTTP2-Settings"),
        UPGRADE
            .replace("GET /first", "POST /first")
            .replace("X-Kept: yes\r\n\r\n", "Content-Length: 2\r\n\r\nhi"),
    ];
    for request in requests {
        let response = proxy.exchange(&request);
        assert_eq!(response.status, 200, "{request}");
    }
    assert!(origin.requests().iter().all(|request| request.field("upgrade").is_none()));
}

fn many_streams_run_at_once_on_one_upstream_each(io: Io) {
    let (origin, go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    let ids: Vec<u32> = (0..20).map(|number| client.get(&format!("/slow/{number}"))).collect();
    origin.wait_for_requests(20);
    for _ in 0..20 {
        go.send(()).expect("the origin waits");
    }
    for (number, id) in ids.into_iter().enumerate() {
        assert_eq!(body(&mut client, id), format!("GET /slow/{number}"));
    }
    proxy.wait_for_stats("no stream to be open", |stats| stats.sum("ringway_http2_streams_open") == 0.0);
}

fn an_unfinished_header_block_ends_the_connection_at_the_header_timeout(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("header-timeout", "300ms").start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let (id, block) = (client.new_id(), client.block(&[(":method", "GET"), (":path", "/")]));
    let start = Instant::now();
    client.send(&Frame::new(kind::HEADERS, flag::END_STREAM, id, block));
    let goaway = client.until_closed();
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(250) && time < Duration::from_secs(5), "{time:?}");
    assert_eq!(goaway.map(|(_, code)| code), Some(code::ENHANCE_YOUR_CALM));
    assert_eq!(proxy.stats().sum_where("ringway_connections_refused_total", "header_timeout"), 1.0);
    origin.assert_saw_nothing();
}

fn an_idle_connection_is_told_to_go_and_closed(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).set("idle-timeout", "300ms").start();
    let mut client = Http2Client::connect(proxy.address());
    let id = client.get("/");
    body(&mut client, id);
    let start = Instant::now();
    // PING is no request.
    client.send(&Frame::ping(*b"12345678"));
    assert_eq!(client.until_closed(), Some((id, code::NO_ERROR)));
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(200) && time < Duration::from_secs(5), "{time:?}");
}

fn a_connection_with_a_stream_is_not_idle(io: Io) {
    let (origin, go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).set("idle-timeout", "100ms").start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let id = client.get("/slow");
    origin.wait_for_requests(1);
    assert!(client.stays_silent(Duration::from_millis(400)));
    go.send(()).expect("the origin waits");
    assert_eq!(body(&mut client, id), "GET /slow");
    client.until_closed();
}

fn settings_that_are_not_acknowledged_end_the_connection(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).listener("http2: { settings_timeout: 300ms }").start();
    let mut client = proxy.connect();
    client.send([&PREFACE[..], &Frame::settings(&[]).encode()].concat());
    let mut client = Http2Client::over(client, 1);
    let start = Instant::now();
    let goaway = loop {
        let frame = client.any_frame().expect("a frame");
        if frame.kind == kind::GOAWAY {
            break frame;
        }
    };
    assert_eq!(goaway.number(4), code::SETTINGS_TIMEOUT);
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(250) && time < Duration::from_secs(5), "{time:?}");
    client.client().expect_closed();
    assert_eq!(proxy.stats().sum_where("ringway_connections_refused_total", "http2_settings_timeout"), 1.0);
}

fn a_drain_lets_streams_finish_and_refuses_new_ones(io: Io) {
    let (origin, go) = gated_origin();
    let mut proxy = Ringway::to(&origin).io(io).workers(2).start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let id = client.get("/slow");
    origin.wait_for_requests(1);
    proxy.signal(Signal::TERM);
    // Two steps: first everything that is on its way is still taken, then nothing more.
    let first = client.until(kind::GOAWAY);
    assert_eq!((first.number(0), first.number(4)), (u32::MAX >> 1, code::NO_ERROR));
    let second = client.until(kind::GOAWAY);
    assert_eq!((second.number(0), second.number(4)), (id, code::NO_ERROR));
    let late = client.get("/late");
    assert!(matches!(client.try_response(late), Err(Instead::GoAway(last, _)) if last == id));
    go.send(()).expect("the origin waits");
    assert_eq!(body(&mut client, id), "GET /slow");
    client.until_closed();
    assert!(proxy.wait_for_exit().success());
    assert_eq!(origin.requests().len(), 1);
}

fn a_stream_that_was_on_its_way_when_the_drain_began_is_served(io: Io) {
    let (origin, go) = gated_origin();
    let mut proxy = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let first = client.get("/slow");
    origin.wait_for_requests(1);
    proxy.signal(Signal::TERM);
    while client.any_frame().expect("a frame").kind != kind::GOAWAY {}
    // The PING behind the GOAWAY is not answered yet: the client has not seen it.
    let second = client.get("/second");
    assert_eq!(body(&mut client, second), "GET /second");
    go.send(()).expect("the origin waits");
    assert_eq!(body(&mut client, first), "GET /slow");
    client.until_closed();
    assert!(proxy.wait_for_exit().success());
}

fn the_drain_deadline_cuts_a_stream(io: Io) {
    let (origin, _go) = gated_origin();
    let mut proxy = Ringway::to(&origin).io(io).set("drain-timeout", "400ms").start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    client.get("/slow");
    origin.wait_for_requests(1);
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    client.until_closed();
    proxy.wait_for_exit();
    let time = start.elapsed();
    assert!(time > Duration::from_millis(300) && time < Duration::from_secs(5), "{time:?}");
}

/// A configuration with these listeners, each a name and an address.
fn with_listeners(origin: &Origin, listeners: &[(&str, &str)]) -> String {
    let lines: String =
        listeners.iter().map(|(name, bind)| format!("  - {{ name: {name}, bind: \"{bind}\" }}\n")).collect();
    format!(
        "listeners:\n{lines}clusters:\n  - {{ name: o, endpoints: [\"{}\"] }}\nroutes:\n  - {{ name: all, to: o }}\n",
        origin.address()
    )
}

fn a_stream_survives_a_reload(io: Io) {
    let (origin, go) = gated_origin();
    let address = free_address().to_string();
    let yaml = with_listeners(&origin, &[("web", &address)]);
    let proxy = Ringway::to(&origin).io(io).config(&yaml).start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let id = client.get("/slow");
    origin.wait_for_requests(1);
    let line = proxy.reload(yaml.replace("name: all", "name: renamed"));
    assert!(line.contains("configuration reloaded"), "{line}");
    let during = client.get("/during");
    assert_eq!(body(&mut client, during), "GET /during");
    go.send(()).expect("the origin waits");
    assert_eq!(body(&mut client, id), "GET /slow");
    assert!(client.goaways.is_empty(), "a reload ends no connection");
}

fn a_removed_listener_lets_streams_finish(io: Io) {
    let (origin, go) = gated_origin();
    let (web, more) = (free_address().to_string(), free_address().to_string());
    let both = with_listeners(&origin, &[("web", &web), ("more", &more)]);
    let proxy = Ringway::to(&origin).io(io).config(&both).start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let id = client.get("/slow");
    origin.wait_for_requests(1);
    let line = proxy.reload(with_listeners(&origin, &[("more", &more)]));
    assert!(line.contains("configuration reloaded"), "{line}");
    let goaway = client.until(kind::GOAWAY);
    assert_eq!((goaway.number(0), goaway.number(4)), (id, code::NO_ERROR));
    go.send(()).expect("the origin waits");
    assert_eq!(body(&mut client, id), "GET /slow");
    client.until_closed();
}

fn an_old_connection_drains_and_is_cut_after_its_grace(io: Io) {
    let (origin, go) = gated_origin();
    let age = "http2: { connection_age: 300ms, age_grace: 500ms }";
    let proxy = Ringway::to(&origin).io(io).listener(age).start();
    // One that finishes in time.
    let mut client = Http2Client::connect(proxy.address());
    let start = Instant::now();
    let id = client.get("/slow");
    assert_eq!(client.until(kind::GOAWAY).number(0), u32::MAX >> 1);
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    assert_eq!(client.until(kind::GOAWAY).number(0), id);
    go.send(()).expect("the origin waits");
    assert_eq!(body(&mut client, id), "GET /slow");
    client.until_closed();
    // One that does not.
    let mut client = Http2Client::connect(proxy.address());
    let start = Instant::now();
    client.get("/slow");
    client.until_closed();
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(750) && time < Duration::from_secs(5), "{time:?}");
}

fn the_last_allowed_request_drains_the_connection(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).set("requests", 3).start();
    let mut client = Http2Client::connect(proxy.address());
    let mut served = 0;
    loop {
        let id = client.get("/");
        match client.try_response(id) {
            Ok(response) => assert_eq!(response.status, 200),
            Err(Instead::GoAway(..) | Instead::Broken(_)) => break,
            Err(Instead::Reset(code)) => panic!("reset with {code}"),
        }
        served += 1;
    }
    assert!((3..=5).contains(&served), "{served}");
    assert_eq!(client.goaways.first(), Some(&(u32::MAX >> 1, code::NO_ERROR)));
}

fn a_broken_rule_ends_the_connection_with_its_code_and_no_other(io: Io) {
    let (origin, go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut good = Http2Client::connect(proxy.address());
    good.settled();
    let running = good.get("/slow");
    origin.wait_for_requests(1);
    let mut bad = Http2Client::connect(proxy.address());
    bad.settled();
    bad.get("/slow");
    origin.wait_for_requests(2);
    // DATA on an idle stream (RFC 9113 5.1).
    bad.send(&Frame::data(99, "x", false));
    assert_eq!(bad.until_closed().map(|(_, code)| code), Some(code::PROTOCOL_ERROR));
    proxy.wait_for_log("http2_protocol_error");
    let stats =
        proxy.wait_for_stats("one stream to be left", |stats| stats.sum("ringway_http2_streams_open") == 1.0);
    assert_eq!(stats.sum("ringway_http2_connection_errors_total"), 1.0);
    assert_eq!(stats.sum_where("ringway_connections_refused_total", "http2_protocol_error"), 1.0);
    go.send(()).expect("the origin waits");
    go.send(()).expect("the origin waits");
    assert_eq!(body(&mut good, running), "GET /slow");
}

fn a_client_that_goes_away_cancels_its_requests(io: Io) {
    let (origin, _go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    for reset in [true, false] {
        let before = origin.connections();
        let mut client = Http2Client::connect(proxy.address());
        client.settled();
        for _ in 0..3 {
            client.get("/slow");
        }
        origin.wait_for_connections(before + 3);
        if reset {
            client.client().wire().reset_on_close();
        }
        drop(client);
        proxy.wait_for_stats("the exchanges to end", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    }
    let stats = proxy.stats();
    assert_eq!(stats.sum_where("ringway_reasons_total", "client_closed"), 6.0);
    assert_eq!(stats.sum("ringway_http2_connections_open"), 0.0);
}

fn a_reset_stream_cancels_its_request_and_no_other(io: Io) {
    let (origin, go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let (first, second) = (client.get("/slow/1"), client.get("/slow/2"));
    origin.wait_for_requests(2);
    client.send(&Frame::reset(first, code::CANCEL));
    proxy.wait_for_stats("one exchange to end", |stats| stats.sum("ringway_exchanges_open") == 1.0);
    assert_eq!(proxy.stats().sum("ringway_http2_resets_received_total"), 1.0);
    go.send(()).expect("the origin waits");
    go.send(()).expect("the origin waits");
    assert_eq!(body(&mut client, second), "GET /slow/2");
}

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const WINDOW: u16 = 4;

fn one_byte_window_updates_do_not_make_one_byte_frames(io: Io) {
    let origin =
        Origin::replying(format!("HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n{}", "x".repeat(20000)));
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::begin(proxy.connect(), &[(WINDOW, 4096)]);
    client.settled();
    let id = client.get("/");
    let data = |client: &mut Http2Client, wanted: usize| {
        let (mut frames, mut bytes) = (0, 0);
        while bytes < wanted {
            let frame = client.any_frame().expect("a frame");
            if frame.kind == kind::DATA {
                (frames, bytes) = (frames + 1, bytes + frame.payload.len());
            }
        }
        assert_eq!(bytes, wanted);
        frames
    };
    data(&mut client, 4096);
    for _ in 0..1500 {
        client.send(&Frame::window_update(id, 1));
    }
    let frames = data(&mut client, 1500);
    assert!(frames <= 3, "{frames} frames for 1500 bytes");
    // One update for the rest: less than a frame's worth at a time still goes, if only a little later.
    client.send(&Frame::window_update(id, 10));
    assert_eq!(data(&mut client, 10), 1);
}

/// An origin whose response has no end.
fn endless_origin() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.request() {
            if request.target != "/endless" {
                conn.reply(200, "short");
                continue;
            }
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while conn.send(&piece) {}
            return;
        }
    })
}

fn a_reader_that_stalls_loses_its_stream_and_not_the_connection(io: Io) {
    let origin = endless_origin();
    let proxy = Ringway::to(&origin).io(io).set("response-body-timeout", "400ms").start();
    let mut client = Http2Client::begin(proxy.connect(), &[(WINDOW, 1000)]);
    client.settled();
    let stalled = client.get("/endless");
    let start = Instant::now();
    loop {
        let frame = client.any_frame().expect("a frame");
        match frame.kind {
            kind::RST_STREAM => {
                assert_eq!(frame.id, stalled);
                break;
            }
            kind::GOAWAY => panic!("{frame:?}"),
            _ => {}
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    let id = client.get("/other");
    assert_eq!(client.response(id).body, b"short");
    proxy.wait_for_stats("the reason to be counted", |stats| {
        stats.sum_where("ringway_reasons_total", "client_slow") == 1.0
    });
}

fn a_client_that_takes_nothing_at_all_is_cut(io: Io) {
    let origin = endless_origin();
    let proxy = Ringway::to(&origin).io(io).set("response-body-timeout", "300ms").start();
    let client = Client::connect_with_buffer(4096, proxy.address());
    let mut client = Http2Client::begin(client, &[(WINDOW, 1 << 30)]);
    client.send(&Frame::window_update(0, 1 << 30));
    client.get("/endless");
    proxy.wait_for_stats("the connection to be closed", |stats| {
        stats.sum("ringway_http2_connections_open") == 0.0
            && stats.sum("ringway_http2_connections_total") == 1.0
    });
}

/// Accepted sockets go to the lighter worker, so that two connections with a hundred streams each keep two workers busy.
fn an_even_spread(io: Io) {
    let (origin, go) = gated_origin();
    let proxy = Ringway::to(&origin).io(io).workers(2).start();
    let mut clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Http2Client::connect(proxy.address());
            client.settled();
            client
        })
        .collect();
    let ids: Vec<Vec<u32>> =
        clients.iter_mut().map(|client| (0..100).map(|_| client.get("/slow")).collect()).collect();
    let stats = proxy
        .wait_for_stats("all streams to be open", |stats| stats.sum("ringway_http2_streams_open") == 200.0);
    for worker in ["worker=\"0\"", "worker=\"1\""] {
        assert_eq!(stats.sum_where("ringway_http2_connections_open", worker), 1.0, "{worker}");
        assert_eq!(stats.sum_where("ringway_http2_streams_open", worker), 100.0, "{worker}");
    }
    for _ in 0..200 {
        go.send(()).expect("the origin waits");
    }
    for (client, ids) in clients.iter_mut().zip(ids) {
        for id in ids {
            assert_eq!(body(client, id), "GET /slow");
        }
    }
    let stats = proxy.stats();
    for worker in ["worker=\"0\"", "worker=\"1\""] {
        assert_eq!(stats.sum_where("ringway_http2_streams_total", worker), 100.0, "{worker}");
    }
}
