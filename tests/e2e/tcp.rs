//! Listeners of TCP: what comes is passed on as it is.

use std::io::{Read, Write};
use std::net::TcpStream;

use ringway_tests::origin::End;
use ringway_tests::process::Signal;
use ringway_tests::wait::PATIENCE;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    bytes_pass_both_ways_and_each_end_by_itself,
    an_origin_that_speaks_first_is_heard,
    large_transfers_arrive_whole_in_both_directions,
    a_reset_is_passed_on_as_a_reset,
    silence_ends_a_connection,
    an_origin_that_refuses_is_passed_over,
    no_endpoint_resets,
    the_client_is_named_in_the_proxy_protocol_both_ways,
    a_connection_is_one_line_in_the_access_log_and_one_exchange,
    the_limit_of_a_listener_holds,
    a_reload_leaves_connections_alone_and_leads_new_ones_elsewhere,
    long_connections_do_not_stop_reloads,
    a_drain_lets_connections_end,
    server_names_choose_the_cluster_without_touching_the_handshake,
    hellos_that_lead_nowhere_are_refused,
    a_hello_that_does_not_come_is_cut_off,
}

/// Sends everything back, and ends when the client does.
fn echo() -> Origin {
    Origin::start(|conn| {
        loop {
            let before = conn.wire().unread().len();
            if !matches!(conn.wire().fill(16 * 1024), Ok(count) if count > 0) {
                return;
            }
            let count = conn.wire().unread().len() - before;
            let Ok(piece) = conn.wire().exactly(count) else { return };
            if !conn.send(piece) {
                return;
            }
        }
    })
}

fn start(origin: &Origin, io: Io) -> Proxy {
    Ringway::to(origin).io(io).config(yaml(&[("web", "tcp: { to: app }")], &[("app", origin)], "")).start()
}

/// Listeners of TCP and clusters.
fn yaml(listeners: &[(&str, &str)], clusters: &[(&str, &Origin)], of_cluster: &str) -> String {
    let mut text = "access_log: stdout\nlisteners:\n".to_owned();
    for (name, more) in listeners {
        text += &format!("  - {{ name: {name}, bind: \"127.0.0.1:0\", protocol: tcp, {more} }}\n");
    }
    text += "clusters:\n";
    for (name, origin) in clusters {
        text += &format!("  - {{ name: {name}, endpoints: [\"{}\"]{of_cluster} }}\n", origin.address());
    }
    text
}

/// What comes over a connection until its end; `None` where that is a reset, however early.
fn refused(proxy: &Proxy) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(proxy.address()).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).ok().map(|_| received)
}

fn bytes_pass_both_ways_and_each_end_by_itself(io: Io) {
    // Answers only once the client has said that it is done: its end has to arrive alone.
    let origin = Origin::start(|conn| {
        let all = conn.wire().rest().expect("the client's end");
        conn.send(format!("{} bytes", all.len()));
    });
    let proxy = start(&origin, io);
    let mut client = proxy.connect();
    client.send("\0\x01 not HTTP at all\r\n\r\n").finish_writing();
    assert_eq!(client.until_closed(), b"22 bytes");
}

fn an_origin_that_speaks_first_is_heard(io: Io) {
    let origin = Origin::start(|conn| {
        conn.send(b"220 hello\r\n");
        conn.wire().rest().ok();
    });
    let proxy = start(&origin, io);
    let mut client = proxy.connect();
    assert_eq!(client.wire().line().expect("a greeting"), b"220 hello\r\n");
}

fn large_transfers_arrive_whole_in_both_directions(io: Io) {
    let origin = echo();
    let proxy = start(&origin, io);
    let sent: Vec<u8> = (0..6_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = TcpStream::connect(proxy.address()).expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (mut writer, copy) = (client.try_clone().expect("another handle"), sent.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).expect("the proxy takes it");
        writer.shutdown(std::net::Shutdown::Write).expect("an end");
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).expect("all of it and the end");
    writing.join().expect("the writer");
    assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
}

fn a_reset_is_passed_on_as_a_reset(io: Io) {
    let origin = Origin::start(|conn| {
        conn.wire().exactly(5).expect("a word");
        conn.reset_on_close();
    });
    let proxy = start(&origin, io);
    let mut client = proxy.connect();
    client.send("hello");
    assert!(client.wire().rest().is_err(), "the origin's reset is not an end in good order");
    let origin = Origin::start(|conn| {
        if let Some(word) = conn.exactly(1) {
            conn.send(word);
            conn.until_closed();
        }
    });
    let proxy = start(&origin, io);
    let mut client = proxy.connect();
    client.send("x");
    client.wire().exactly(1).expect("the echo");
    client.reset();
    assert_eq!(origin.wait_for_end(0), End::Reset);
}

fn silence_ends_a_connection(io: Io) {
    let origin = echo();
    let yaml = yaml(&[("web", "tcp: { to: app, idle_timeout: 50ms }")], &[("app", &origin)], "");
    let proxy = Ringway::to(&origin).io(io).config(yaml).start();
    let mut client = proxy.connect();
    client.send("x");
    assert_eq!(client.until_closed(), b"x");
    assert!(proxy.wait_for_stdout("TCP").contains(" 504 1 "));
}

fn an_origin_that_refuses_is_passed_over(io: Io) {
    let origin = echo();
    let (dead, _held) = ringway_tests::peers::refusing_address();
    let yaml = yaml(&[("web", "tcp: { to: app }")], &[("app", &origin)], "")
        .replace("endpoints: [", &format!("endpoints: [\"{dead}\", "));
    let proxy = Ringway::to(&origin).io(io).config(yaml).start();
    for _ in 0..4 {
        let mut client = proxy.connect();
        client.send("x").finish_writing();
        assert_eq!(client.until_closed(), b"x");
    }
    assert!(proxy.stats().sum("ringway_upstream_connect_failures_total") > 0.0);
}

fn no_endpoint_resets(io: Io) {
    let (dead, _held) = ringway_tests::peers::refusing_address();
    let origin = echo();
    let yaml = yaml(&[("web", "tcp: { to: app }")], &[("app", &origin)], "")
        .replace(&origin.address().to_string(), &dead.to_string());
    let proxy = Ringway::to(&origin).io(io).config(yaml).start();
    assert_eq!(refused(&proxy), None, "nobody answered: that is not an end in good order");
    let line = proxy.wait_for_stdout("TCP");
    assert!(line.contains(" 502 0 "), "{line}");
}

fn the_client_is_named_in_the_proxy_protocol_both_ways(io: Io) {
    let origin = echo();
    let listener = ("web", "proxy_protocol: 127.0.0.1/32, tcp: { to: app }");
    let yaml = yaml(&[listener], &[("app", &origin)], ", send_proxy_protocol: v1");
    let proxy = Ringway::to(&origin).io(io).config(yaml).start();
    let mut client = proxy.connect();
    client.send("PROXY TCP4 10.1.2.3 10.9.9.9 4000 80\r\nhello").finish_writing();
    let to = proxy.address().port();
    let want = format!("PROXY TCP4 10.1.2.3 127.0.0.1 4000 {to}\r\nhello");
    assert_eq!(String::from_utf8_lossy(&client.until_closed()), want);
    assert!(proxy.wait_for_stdout("TCP").starts_with("10.1.2.3 "));
    // A peer that owes the header and sends another thing gets nowhere.
    let mut other = proxy.connect();
    other.try_send("hello, this is no header at all\r\n");
    assert_eq!(other.until_closed(), b"");
    assert_eq!(origin.connections(), 1);
}

fn a_connection_is_one_line_in_the_access_log_and_one_exchange(io: Io) {
    let origin = echo();
    let proxy = start(&origin, io);
    let mut client = proxy.connect();
    client.send("hello").finish_writing();
    assert_eq!(client.until_closed(), b"hello");
    let line = proxy.wait_for_stdout("TCP");
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("] \"- - TCP\" 200 5 "), "{line}");
    let stats = proxy.stats();
    assert_eq!(stats.sum("ringway_requests_total"), 1.0);
    assert_eq!(stats.sum("ringway_request_body_bytes_total"), 5.0);
    assert_eq!(stats.sum("ringway_downstream_sent_bytes_total"), 5.0);
    proxy.wait_for_stats("no open exchange", |stats| stats.sum("ringway_exchanges_open") == 0.0);
}

fn the_limit_of_a_listener_holds(io: Io) {
    let origin = echo();
    let listener = ("web", "limits: { connections: 1 }, tcp: { to: app }");
    let proxy = Ringway::to(&origin).io(io).config(yaml(&[listener], &[("app", &origin)], "")).start();
    let mut first = proxy.connect();
    first.send("x");
    first.wire().exactly(1).expect("the echo");
    assert_eq!(refused(&proxy), None, "no words of HTTP");
    first.send("z").finish_writing();
    assert_eq!(first.until_closed(), b"z");
}

fn a_reload_leaves_connections_alone_and_leads_new_ones_elsewhere(io: Io) {
    let (old, new) = (
        echo(),
        Origin::start(|conn| {
            conn.send(b"new");
        }),
    );
    let proxy = start(&old, io);
    let mut client = proxy.connect();
    client.send("a");
    client.wire().exactly(1).expect("the echo");
    let yaml = yaml(&[("web", "tcp: { to: other }")], &[("other", &new)], "");
    let line = proxy.reload(yaml);
    assert!(line.contains("reloaded"), "{line}");
    assert_eq!(proxy.connect().until_closed(), b"new");
    client.send("b").finish_writing();
    assert_eq!(client.until_closed(), b"b", "the connection went on");
}

fn long_connections_do_not_stop_reloads(io: Io) {
    let origin = echo();
    let proxy = Ringway::to(&origin)
        .io(io)
        .config(yaml(&[("web", "tcp: { to: app }")], &[("app", &origin)], "") + "generations: 2\n")
        .start();
    let mut clients = Vec::new();
    for round in 1..6 {
        let mut client = proxy.connect();
        client.send("x");
        client.wire().exactly(1).expect("the echo");
        clients.push(client);
        let yaml = yaml(&[("web", "tcp: { to: app }")], &[("app", &origin)], "");
        let line = proxy.reload(format!("{yaml}generations: 2\ndrain_timeout: {round}s\n"));
        assert!(line.contains("reloaded"), "round {round}: {line}");
    }
}

fn a_drain_lets_connections_end(io: Io) {
    let origin = echo();
    let mut proxy = start(&origin, io);
    let mut client = proxy.connect();
    client.send("a");
    client.wire().exactly(1).expect("the echo");
    proxy.signal(Signal::TERM);
    proxy.wait_for_log("drain");
    client.send("b").finish_writing();
    assert_eq!(client.until_closed(), b"b");
    assert!(proxy.wait_for_exit().success());
}

/// A ClientHello for a name, or for none.
fn hello(name: Option<&str>) -> Vec<u8> {
    let vector = |data: &[u8]| [&(data.len() as u16).to_be_bytes()[..], data].concat();
    let mut extensions = Vec::new();
    if let Some(name) = name {
        extensions = [&[0, 0][..], &vector(&vector(&[&[0][..], &vector(name.as_bytes())].concat()))].concat();
    }
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&extensions)].concat();
    let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    [&[22, 3, 1][..], &vector(&message)].concat()
}

fn names(io: Io, default: &str, shop: &Origin, other: &Origin) -> Proxy {
    let sni = format!("tcp: {{ sni: {{ shop.example: shop, \"*.example\": other }}{default} }}");
    let listener = format!("limits: {{ header_timeout: 500ms }}, {sni}");
    Ringway::to(shop)
        .io(io)
        .config(yaml(&[("web", &listener)], &[("shop", shop), ("other", other)], ""))
        .start()
}

/// Answers with its name and what it got.
fn named(name: &'static str) -> Origin {
    Origin::start(move |conn| {
        let all = conn.wire().rest().expect("the client's end");
        conn.send([name.as_bytes(), b":", &all].concat());
    })
}

fn server_names_choose_the_cluster_without_touching_the_handshake(io: Io) {
    let (shop, other) = (named("shop"), named("other"));
    let proxy = names(io, ", to: other", &shop, &other);
    for (name, want) in [
        (Some("shop.example"), "shop"),
        (Some("SHOP.Example"), "shop"),
        (Some("www.shop.example"), "other"),
        (Some("elsewhere.test"), "other"),
        (None, "other"),
    ] {
        let bytes = [hello(name), b"and more".to_vec()].concat();
        for piece in [1, 7, 1000] {
            let mut client = proxy.connect();
            for part in bytes.chunks(piece) {
                client.send(part);
            }
            let answer = client.finish_writing().until_closed();
            assert_eq!(answer, [want.as_bytes(), b":", &bytes].concat(), "{name:?} in pieces of {piece}");
        }
    }
    assert!(proxy.wait_for_stdout("shop.example").contains("\"- shop.example TCP\" 200 "));
}

fn hellos_that_lead_nowhere_are_refused(io: Io) {
    let (shop, other) = (named("shop"), named("other"));
    let proxy = names(io, "", &shop, &other);
    for name in [Some("elsewhere.test"), Some("example"), None] {
        let mut client = proxy.connect();
        client.send(hello(name));
        assert_eq!(client.wire().exactly(7).expect("an alert"), [21, 3, 3, 0, 2, 2, 112], "{name:?}");
        client.finish_writing().expect_closed();
    }
    assert!(proxy.wait_for_stdout("elsewhere.test").contains(" 404 "));
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        hello(Some("shop.example\0.evil.test")),
        hello(Some("127.0.0.1")),
    ] {
        let mut client = proxy.connect();
        client.try_send(&bytes);
        assert_eq!(client.until_closed(), b"", "{bytes:?}");
    }
    assert!(proxy.wait_for_stdout(" 400 ").contains("TCP"));
    assert_eq!((shop.connections(), other.connections()), (0, 0));
}

fn a_hello_that_does_not_come_is_cut_off(io: Io) {
    let (shop, other) = (named("shop"), named("other"));
    let proxy = names(io, ", to: other", &shop, &other);
    let bytes = hello(Some("shop.example"));
    for part in [&bytes[..0], &bytes[..20]] {
        let mut client = proxy.connect();
        client.send(part);
        assert_eq!(client.until_closed(), b"");
    }
    proxy.wait_for_stats("two refusals", |stats| {
        stats.sum_where("ringway_reasons_total", "client_hello_timeout") == 2.0
    });
    assert_eq!(other.connections(), 0);
}
