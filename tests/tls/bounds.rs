//! What TLS handshakes may take, and how a connection ends: bounds, the PROXY protocol, close_notify, idle memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use ringway_tests::process::{self, Signal};
use ringway_tests::tls::TlsSocket;
use ringway_tests::wait::eventually;
use ringway_tests::{Client, Io, Origin, Proxy, each_driver};

use crate::raw::{self, RawClient};
use crate::site::{NAME, Site, get};

each_driver! {
    a_client_that_begins_too_many_handshakes_is_refused_for_a_while,
    further_handshakes_wait_for_a_place,
    a_client_that_waits_for_a_place_holds_no_other,
    plain_traffic_goes_on_while_many_shake_hands,
    the_proxy_protocol_comes_before_tls,
    the_proxy_protocol_comes_before_tls_to_an_origin,
    connections_end_with_close_notify,
    an_idle_connection_costs_little,
    what_a_client_does_not_read_holds_back_the_origin,
    a_tunnel_goes_through_tls_on_both_sides,
}

const FROM_10_1_2_3: &[u8] = b"PROXY TCP4 10.1.2.3 10.9.9.9 4000 443\r\n";

/// A client that has sent its hello and got the answer to it, and now says nothing.
fn half_way(site: &Site, proxy: &Proxy) -> RawClient {
    let mut client = RawClient::connect(proxy.address(), site.client().config(), NAME);
    let hello = client.take_records();
    client.send(&hello).expect("the hello");
    client.receive().expect("the answer");
    client
}

fn a_client_that_begins_too_many_handshakes_is_refused_for_a_while(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let proxy = site.before(io, &origin, ", handshakes_per_client: 1").start();
    // More in one second than one: however slow the machine is, it does not take a second for each.
    let connect = || match TcpStream::connect_timeout(&proxy.address(), ringway_tests::wait::PATIENCE) {
        Ok(tcp) => Some(tcp),
        // The refusal may be here before `connect` has looked.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
        Err(error) => panic!("a connection: {error}"),
    };
    let connections: Vec<TcpStream> = (0..60).filter_map(|_| connect()).collect();
    let refused = |name: &'static str| move |stats: &ringway_tests::stats::Stats| stats.sum(name) >= 1.0;
    proxy.wait_for_stats("refusals", refused("ringway_tls_handshakes_refused_total"));
    drop(connections);
    let mut client = eventually("a handshake in another second", || {
        let tcp = TcpStream::connect(proxy.address()).ok()?;
        let mut client = TlsSocket::client(tcp, site.client().config(), NAME);
        client.handshake().ok().map(|()| client)
    });
    client.write_all(get(NAME).as_bytes()).expect("a request");
    client.read_exact(&mut [0; 15]).expect("its response");
}

fn further_handshakes_wait_for_a_place(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let proxy = site.before(io, &origin, ", handshakes_max: 1").start();
    let first = half_way(&site, &proxy);
    let mut second = RawClient::connect(proxy.address(), site.client().config(), NAME);
    let hello = second.take_records();
    second.send(&hello).expect("the hello");
    proxy.wait_for_stats("two under way", |stats| stats.sum("ringway_tls_handshakes_open") == 2.0);
    second.tcp.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    assert!(second.receive().is_err(), "the only place is taken");
    second.tcp.set_read_timeout(Some(ringway_tests::wait::PATIENCE)).expect("a timeout");
    drop(first);
    second.receive().expect("the place was given back");
    second.handshake(|records| records).expect("the rest of the handshake");
}

fn a_client_that_waits_for_a_place_holds_no_other(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let proxy = site.before(io, &origin, ", handshakes_max: 1").start();
    // Whoever has not sent a whole hello has no place yet.
    let silent: Vec<TcpStream> = (0..20).map(|_| raw::connect(proxy.address())).collect();
    let mut partial = raw::connect(proxy.address());
    partial.write_all(&[22, 3, 1, 2, 0, 1]).expect("the start of a hello");
    for _ in 0..3 {
        assert_eq!(site.connect(&proxy).exchange(get(NAME)).status, 200);
    }
    drop(silent);
}

fn plain_traffic_goes_on_while_many_shake_hands(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let yaml = site.before(io, &origin, "").yaml();
    let plain = "listeners:\n  - name: plain\n    bind: 127.0.0.1:0\n";
    let proxy = site.before(io, &origin, "").config(yaml.replacen("listeners:\n", plain, 1)).start();
    let (over, shaken) = (AtomicBool::new(false), AtomicU32::new(0));
    let config = site.client().without_resumption().config();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let made = Client::connect_tls(proxy.address(), Arc::clone(&config), NAME);
                    shaken.fetch_add(u32::from(made.is_ok()), Relaxed);
                }
            });
        }
        let mut client = Client::connect(proxy.address_of("plain"));
        let mut asked = 0;
        while asked < 200 || shaken.load(Relaxed) < 50 {
            assert_eq!(client.exchange(get(NAME)).status, 200);
            asked += 1;
        }
        over.store(true, Relaxed);
    });
    let stats = proxy.stats();
    assert!(
        stats.sum("ringway_tls_handshakes_total") >= 50.0 && stats.sum("ringway_tls_resumed_total") == 0.0
    );
}

fn the_proxy_protocol_comes_before_tls(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let proxy = site.before(io, &origin, "").set("proxy-protocol", "127.0.0.1/32").start();
    for fused in [false, true] {
        let mut client = RawClient::connect(proxy.address(), site.client().config(), NAME);
        let hello = client.take_records();
        if fused {
            client.send(&[FROM_10_1_2_3, &hello].concat()).expect("header and hello");
        } else {
            client.send(FROM_10_1_2_3).expect("the header");
            client.send(&hello).expect("the hello");
        }
        client.handshake(|records| records).expect("a handshake");
        let request = client.seal(get(NAME));
        client.send(&request).expect("a request");
        client.read_until(b"ok").expect("its response");
        let request = origin.requests().pop().expect("a request");
        assert_eq!(request.fields_named("x-forwarded-for").join(", "), "10.1.2.3", "fused: {fused}");
        assert_eq!(request.fields_named("x-forwarded-proto").join(", "), "https");
    }
}

fn the_proxy_protocol_comes_before_tls_to_an_origin(io: Io) {
    let site = Site::new();
    let origin = Origin::start(|conn| {
        let line = conn.wire().line().expect("the header");
        assert!(line.starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 "), "{}", line.escape_ascii());
        assert_eq!(conn.exactly(3).expect("a record"), [22, 3, 1], "the hello follows");
        conn.reached("hello");
    });
    let proxy = site.behind(io, &origin, "").cluster("send_proxy_protocol: v1").start();
    let mut client = proxy.connect();
    client.send(get(NAME));
    origin.wait_until_reached("hello");
    assert_eq!(client.response().status, 502, "the origin closed in the handshake");
}

fn connections_end_with_close_notify(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let mut proxy = site.before(io, &origin, "").listener("limits: { idle_timeout: 300ms }").start();
    let ends_well = |client: &mut Client| client.wire().rest().is_ok_and(|rest| rest.is_empty());
    let mut last = site.connect(&proxy);
    let response = last.exchange(format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"));
    assert_eq!(response.status, 200);
    assert!(ends_well(&mut last), "the client asked for the close");
    let mut idle = site.connect(&proxy);
    assert_eq!(idle.exchange(get(NAME)).status, 200);
    assert!(ends_well(&mut idle), "it was idle for too long");
    let mut drained = site.connect(&proxy);
    proxy.signal(Signal::TERM);
    assert!(ends_well(&mut drained), "the proxy stops");
    assert!(proxy.wait_for_exit().success());
}

fn an_idle_connection_costs_little(io: Io) {
    const CONNECTIONS: usize = 400;
    /// User memory of an idle TLS connection, with room for what the allocator rounds up and keeps of the handshakes.
    const BYTES_MAX: u64 = 20 << 10;
    let (site, origin) = (Site::new(), Origin::ok());
    let proxy = site.before(io, &origin, "").start();
    let config = site.client().config();
    let connect = |count: usize| -> Vec<Client> {
        let one = || {
            let mut client = Client::connect_tls(proxy.address(), Arc::clone(&config), NAME).expect("TLS");
            assert_eq!(client.exchange(get(NAME)).status, 200);
            client
        };
        (0..count).map(|_| one()).collect()
    };
    let _warm = connect(50);
    let before = process::resident_bytes(proxy.pid());
    let _idle = connect(CONNECTIONS);
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    let each = grown / CONNECTIONS as u64;
    println!("{each} bytes each");
    assert!(each <= BYTES_MAX, "{each} bytes for each idle connection");
}

fn what_a_client_does_not_read_holds_back_the_origin(io: Io) {
    const WHOLE: usize = 256 << 20;
    let site = Site::new();
    let origin = Origin::start(|conn| {
        if conn.request().is_none() {
            return;
        }
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n"));
        conn.wire().set_patience(Duration::from_secs(1));
        let (mut sent, part) = (0, vec![7; 64 << 10]);
        while sent < WHOLE {
            match conn.wire().write_some(&part) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        assert!(sent < WHOLE / 2, "the origin could send {sent} bytes that nobody read");
        conn.reached("held back");
    });
    let proxy = site.before(io, &origin, "").start();
    let before = process::resident_bytes(proxy.pid());
    let mut client = site.connect(&proxy);
    client.send(get(NAME));
    origin.wait_until_reached("held back");
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes wait in the proxy");
}

fn a_tunnel_goes_through_tls_on_both_sides(io: Io) {
    let site = Site::new();
    let config = ringway_tests::tls::server_config(&site.server, &["http/1.1"], None);
    let origin = Origin::start_tls(config, |conn| {
        if conn.request_head().is_none() {
            return;
        }
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        while let Some(bytes) = conn.exactly(4) {
            conn.send(bytes);
        }
        conn.finish_writing();
    });
    let proxy = site.before(io, &origin, "").cluster(&site.upstream_tls("")).start();
    let tcp = raw::connect(proxy.address());
    let mut client = TlsSocket::client(tcp, site.client().alpn(&["http/1.1"]).config(), NAME);
    let ask = format!(
        "GET /chat HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.write_all(ask.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("the head");
        head.extend_from_slice(&byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    for word in [b"ping", b"\0\x16\x03\x01", b"over"] {
        client.write_all(word).expect("sent");
        let mut echo = [0; 4];
        client.read_exact(&mut echo).expect("the echo");
        assert_eq!(&echo, word);
    }
    client.finish().expect("close_notify");
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).expect("a whole end"), 0, "{}", rest.escape_ascii());
}
