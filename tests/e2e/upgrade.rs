//! `Upgrade` and CONNECT: what becomes a tunnel, and what never does (RFC 9110 sections 7.8 and 9.3.6).

use std::time::Duration;

use ringway_tests::origin::{Conn, End};
use ringway_tests::wire::Broken;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    a_websocket_handshake_becomes_a_tunnel,
    bytes_right_behind_the_handshake_are_not_lost,
    a_tunnel_carries_much_both_ways_at_once,
    a_tunnel_passes_the_end_of_each_direction,
    a_tunnel_passes_a_reset,
    a_silent_tunnel_is_closed,
    a_refused_upgrade_is_an_ordinary_response,
    tokens_that_are_not_allowed_are_never_forwarded,
    an_origin_that_switches_unasked_is_a_bad_gateway,
    connect_is_refused_unless_the_route_allows_it,
    connect_becomes_a_tunnel_where_allowed,
}

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An origin that switches and then echoes, four bytes at a time.
fn echoing(conn: &mut Conn) {
    if conn.request_head().is_none() {
        return;
    }
    conn.send(SWITCHED);
    while let Some(bytes) = conn.exactly(4) {
        conn.send(bytes);
    }
}

fn open_tunnel(proxy: &Proxy) -> Client {
    let mut client = proxy.connect();
    let response = client.exchange(HANDSHAKE);
    assert_eq!(response.status, 101);
    assert_eq!(response.field("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    client
}

fn a_websocket_handshake_becomes_a_tunnel(io: Io) {
    let origin = Origin::start(echoing);
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = open_tunnel(&proxy);
    for word in ["ping", "\u{0}\u{1}\r\n", "GET "] {
        client.send(word);
        assert_eq!(client.wire().exactly(4).expect("the echo"), word.as_bytes());
    }
    let head = String::from_utf8_lossy(&origin.received(0)).to_lowercase();
    assert!(
        head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nconnection: upgrade\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nsec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n"), "{head}");
}

fn bytes_right_behind_the_handshake_are_not_lost(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.send([SWITCHED.as_bytes(), b"greeting"].concat());
            let bytes = conn.exactly(5).expect("what came with the handshake or after it");
            conn.send(bytes);
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = open_tunnel(&proxy);
    assert_eq!(client.wire().exactly(8).expect("the greeting"), b"greeting");
    client.send("hello");
    assert_eq!(client.wire().exactly(5).expect("the echo"), b"hello");
}

fn a_tunnel_carries_much_both_ways_at_once(io: Io) {
    let origin = Origin::start(echoing);
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = open_tunnel(&proxy);
    let bytes: Vec<u8> = (0..400_000_u32).map(|index| (index % 253) as u8).collect();
    for part in bytes.chunks(40_000) {
        client.send(part);
        assert!(client.wire().exactly(part.len()).expect("the echo") == part);
    }
}

fn a_tunnel_passes_the_end_of_each_direction(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.send(SWITCHED);
            let said = conn.until_closed();
            conn.send([b"you said ", &said[..]].concat());
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = open_tunnel(&proxy);
    client.send("goodbye").finish_writing();
    assert_eq!(client.until_closed(), b"you said goodbye");
    assert_eq!(origin.wait_for_end(0), End::Closed);

    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.send(SWITCHED);
            conn.finish_writing();
            conn.exactly(4);
            conn.reached("heard");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = open_tunnel(&proxy);
    client.expect_closed();
    client.send("more");
    origin.wait_until_reached("heard");
}

fn a_tunnel_passes_a_reset(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.send(SWITCHED);
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = open_tunnel(&proxy);
    client.send("x");
    client.reset();
    // An end in good order would say that the client has said all it had to say.
    assert_eq!(origin.wait_for_end(0), End::Reset);
    // The connection goes a moment after the tunnel.
    proxy.wait_for_stats("the tunnel and its connection to be gone", |stats| {
        stats.sum("ringway_tunnels_open") == 0.0 && stats.sum("ringway_connections_open") == 0.0
    });

    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.send(SWITCHED);
            conn.exactly(1);
            conn.reset_on_close();
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = open_tunnel(&proxy);
    client.send("x");
    let end = client.wire().fill(1);
    assert!(matches!(end, Err(Broken::Reset(_))), "{end:?}");
}

fn a_silent_tunnel_is_closed(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request_head().is_some() {
            conn.send(SWITCHED);
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("tunnel-idle-timeout", "300ms").start();
    let mut client = open_tunnel(&proxy);
    // Traffic in one direction keeps it alive.
    for _ in 0..5 {
        ringway_tests::wait::pause(Duration::from_millis(100));
        client.send("tick");
    }
    client.until_closed();
    assert_eq!(origin.wait_for_end(0), End::Reset);
}

fn a_refused_upgrade_is_an_ordinary_response(io: Io) {
    // Threat row 20: nothing behind the head may be tunnelled before a 101 came.
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(if request.target == "/chat" { 426 } else { 200 }, "plain");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    let response = client.exchange(HANDSHAKE);
    assert_eq!((response.status, response.body_text().as_str()), (426, "plain"));
    if !response.says_close() {
        assert_eq!(client.get("/next").status, 200);
    }
    origin.assert_unambiguous();
}

fn tokens_that_are_not_allowed_are_never_forwarded(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let tokens = [
        "h2c",
        "H2C",
        "h2c, websocket",
        "websocket, h2c",
        "h2",
        "TLS/1.0",
        "foo",
        "HTTP/2.0",
        "websocket/13",
        "\"websocket\"",
    ];
    for token in tokens {
        let mut client = proxy.connect();
        let response = client.exchange(format!(
            "GET /h2c HTTP/1.1\r\nHost: test\r\nUpgrade: {token}\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
        ));
        assert!(matches!(response.status, 200 | 400), "{token}: {}", response.status);
    }
    for request in origin.requests() {
        assert!(
            !request.fields_named("upgrade").iter().any(|value| !value.eq_ignore_ascii_case("websocket")),
            "{request:?}"
        );
        assert_eq!(request.field("http2-settings"), None, "{request:?}");
        let connection = request.field("connection").unwrap_or_default().to_ascii_lowercase();
        assert!(!connection.contains("http2-settings"), "{request:?}");
    }
    // An Upgrade that Connection does not name is no upgrade.
    let mut client = proxy.connect();
    client.exchange("GET /bare HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\r\n");
    let seen = origin.requests().pop().expect("a request");
    assert_eq!((seen.target.as_str(), seen.field("upgrade")), ("/bare", None));
}

fn an_origin_that_switches_unasked_is_a_bad_gateway(io: Io) {
    let other = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nrest";
    for (request, reply) in [
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", SWITCHED),
        (HANDSHAKE, other),
        (HANDSHAKE, "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ] {
        let origin = Origin::replying(reply);
        let proxy = Ringway::to(&origin).io(io).start();
        let response = proxy.exchange(request);
        assert_eq!(response.status, 502, "{request:?} {reply:?}");
        assert!(matches!(response.reason_code(), Some("upgrade_refused" | "upstream_bad_response")));
        assert_ne!(origin.wait_for_end(0), End::Script, "and the connection is not used again");
    }
}

fn connect_is_refused_unless_the_route_allows_it(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    let response =
        client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n").response();
    assert_eq!((response.status, response.reason_code()), (405, Some("method_not_allowed")));
    assert_eq!(proxy.get("/after").status, 200);
    assert_eq!(origin.only_request().target, "/after");
}

fn connect_becomes_a_tunnel_where_allowed(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(bytes) = conn.exactly(4) {
            conn.send(bytes);
        }
    });
    let proxy = Ringway::to(&origin).io(io).route("connect: true").start();
    let mut client = proxy.connect();
    client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
    let response = client.response_to("CONNECT");
    assert_eq!(response.status, 200);
    assert_eq!((response.field("content-length"), response.field("transfer-encoding")), (None, None));
    client.send("ping");
    assert_eq!(client.wire().exactly(4).expect("the echo"), b"ping");
    client.finish_writing();
    assert_eq!(origin.wait_for_end(0), End::Closed);
}
