//! Other protocols over streams: WebSocket by extended CONNECT (RFC 8441), and CONNECT (RFC 9113 8.5).

use std::io::Write;
use std::process::{Command, Stdio};

use ringway_tests::http2::{Frame, Http2Client, Instead, code};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::origin::{Conn, End};
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver, wait};

each_driver! {
    a_websocket_over_http2_reaches_an_origin_of_http1,
    a_websocket_over_http1_reaches_an_origin_of_http2,
    a_websocket_passes_over_http2_from_end_to_end,
    much_passes_both_ways_at_once,
    each_direction_ends_by_itself,
    a_reset_of_either_side_ends_the_tunnel,
    a_silent_tunnel_is_reset,
    an_origin_that_does_not_switch_is_answered_for,
    an_origin_with_a_wrong_answer_to_the_key_is_a_bad_gateway,
    an_origin_of_http2_without_the_setting_gets_a_plain_request,
    protocols_that_the_route_does_not_allow_are_refused,
    connect_becomes_a_tunnel_where_the_route_allows_it,
}

const WEBSOCKET: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "test"),
    ("sec-websocket-version", "13"),
];
const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 3).
const TAKES_CONNECT: [(u16, u32); 1] = [(8, 1)];

/// Answers a handshake as an origin does that computes the accept by itself, and hands the connection to `then`.
fn switching(then: impl Fn(&mut Conn) + Send + Sync + 'static) -> Origin {
    Origin::start(move |conn| {
        let Some(head) = conn.request_head() else { return };
        let head = String::from_utf8(head).expect("text");
        let key = head.lines().find(|line| line.to_lowercase().starts_with("sec-websocket-key:"));
        let key = key.expect("a key").split_once(':').expect("a field").1.trim();
        assert_eq!(key.len(), 24, "{key}");
        conn.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nX-Origin: here\r\n\r\n",
            accept_of(key)
        ));
        then(conn);
    })
}

/// RFC 6455 4.2.2, by the tools of the system: not by the code under test.
fn accept_of(key: &str) -> String {
    let digest = piped("sha1sum", format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    let byte = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).expect("hexadecimal digits");
    let bytes: Vec<u8> = (0..40).step_by(2).map(byte).collect();
    piped("base64", &bytes).trim().to_owned()
}

/// What a program of the system makes of its input.
fn piped(program: &str, input: &[u8]) -> String {
    let mut command = Command::new(program);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program of coreutils");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("text")
}

fn echo(conn: &mut Conn) {
    while let Some(bytes) = conn.exactly(4) {
        conn.send(bytes);
    }
}

/// Waits for the SETTINGS of the proxy, which have to allow extended CONNECT, and asks for a WebSocket.
fn open(proxy: &Proxy) -> (Http2Client, u32) {
    let mut client = Http2Client::connect(proxy.address());
    let settings = client.until(4);
    let announced = settings.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]);
    assert!(announced, "{settings:?}");
    let id = client.open(&WEBSOCKET, false);
    (client, id)
}

/// Opens a tunnel, over which nothing has gone.
fn tunnel(proxy: &Proxy) -> (Http2Client, u32) {
    let (mut client, id) = open(proxy);
    let head = client.until(1);
    assert_eq!((head.id, head.flags & 1), (id, 0), "the head of a tunnel does not end it");
    (client, id)
}

/// The next data of a stream, and whether it is the last.
fn data(client: &mut Http2Client, id: u32) -> (Vec<u8>, bool) {
    let frame = client.until(0);
    assert_eq!(frame.id, id);
    (frame.payload.clone(), frame.has(1))
}

fn exactly(client: &mut Http2Client, id: u32, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(data(client, id).0);
    }
    assert_eq!(all.len(), count);
    all
}

fn a_websocket_over_http2_reaches_an_origin_of_http1(io: Io) {
    let origin = switching(echo);
    let proxy = Ringway::to(&origin).io(io).start();
    let (mut client, id) = tunnel(&proxy);
    for word in ["ping", "\u{0}\u{1}\r\n", "GET "] {
        client.send(&Frame::data(id, word, false));
        assert_eq!(exactly(&mut client, id, 4), word.as_bytes());
    }
    let head = String::from_utf8_lossy(&origin.received(0)).to_lowercase();
    assert!(head.starts_with("get /chat http/1.1\r\n"), "{head}");
    for line in ["host: test", "upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
}

fn a_websocket_over_http1_reaches_an_origin_of_http2(io: Io) {
    let origin = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &TAKES_CONNECT) else { return };
        let head = conn.head().expect("a request");
        let of = |name| head.field(name).unwrap_or_default();
        assert_eq!((of(":method"), of(":protocol"), of(":path")), ("CONNECT", "websocket", "/chat"));
        assert_eq!((of(":scheme"), of(":authority")), ("http", "test"));
        for absent in ["sec-websocket-key", "connection", "upgrade"] {
            assert_eq!(head.field(absent), None);
        }
        assert!(!head.ended);
        conn.headers(head.id, &[(":status", "200"), ("sec-websocket-protocol", "chat")], false);
        conn.data(head.id, b"hello", false);
        while conn.so_far(head.id).is_some_and(|request| request.body.len() < 4) {
            conn.frame();
        }
        let said = conn.so_far(head.id).expect("it is open").body.clone();
        conn.data(head.id, &said, true);
        while conn.frame().is_some() {}
    });
    let proxy = Ringway::to(&origin).io(io).cluster("protocol: http2").start();
    let mut client = proxy.connect();
    let response = client.exchange(HANDSHAKE);
    assert_eq!(response.status, 101);
    assert_eq!(response.field("upgrade"), Some("websocket"));
    assert_eq!(response.field("connection"), Some("upgrade"));
    assert_eq!(response.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(response.field("sec-websocket-protocol"), Some("chat"));
    assert_eq!(client.wire().exactly(5).expect("the greeting"), b"hello");
    client.send("ping");
    assert_eq!(client.wire().exactly(4).expect("the echo"), b"ping");
    client.expect_closed();
}

fn a_websocket_passes_over_http2_from_end_to_end(io: Io) {
    let origin = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &TAKES_CONNECT) else { return };
        let head = conn.head().expect("a request");
        assert_eq!(head.field(":protocol"), Some("websocket"));
        conn.headers(head.id, &[(":status", "200")], false);
        conn.data(head.id, b"hello", false);
        let request = conn.request().expect("the end");
        conn.data(head.id, &request.body, true);
        while conn.frame().is_some() {}
    });
    let proxy = Ringway::to(&origin).io(io).cluster("protocol: http2").start();
    let (mut client, id) = tunnel(&proxy);
    assert_eq!(exactly(&mut client, id, 5), b"hello");
    client.send(&Frame::data(id, b"said", true));
    assert_eq!(client.response(id).body, b"hellosaid");
}

fn much_passes_both_ways_at_once(io: Io) {
    let origin = switching(echo);
    let proxy = Ringway::to(&origin).io(io).start();
    let (mut client, id) = tunnel(&proxy);
    let bytes: Vec<u8> = (0..400_000_u32).map(|index| (index % 253) as u8).collect();
    for part in bytes.chunks(16_000) {
        client.send(&Frame::data(id, part, false));
        assert!(exactly(&mut client, id, part.len()) == part);
    }
}

fn each_direction_ends_by_itself(io: Io) {
    let origin = switching(|conn| {
        let said = conn.until_closed();
        conn.send([b"you said ", &said[..]].concat());
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let (mut client, id) = tunnel(&proxy);
    client.send(&Frame::data(id, b"goodbye", true));
    assert_eq!(client.response(id).body, b"you said goodbye");
    assert_eq!(origin.wait_for_end(0), End::Closed);

    let origin = switching(|conn| {
        conn.finish_writing();
        conn.exactly(4);
        conn.reached("heard");
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let (mut client, id) = tunnel(&proxy);
    assert_eq!(data(&mut client, id), (Vec::new(), true));
    client.send(&Frame::data(id, b"more", true));
    origin.wait_until_reached("heard");
    proxy.wait_for_stats("the tunnel to be gone", |stats| stats.sum("ringway_tunnels_open") == 0.0);
}

fn a_reset_of_either_side_ends_the_tunnel(io: Io) {
    let origin = switching(|conn| {
        conn.until_closed();
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let (mut client, id) = tunnel(&proxy);
    client.send(&Frame::reset(id, code::CANCEL));
    assert_ne!(origin.wait_for_end(0), End::Script);
    proxy.wait_for_stats("the tunnel to be gone", |stats| stats.sum("ringway_tunnels_open") == 0.0);

    let origin = switching(|conn| conn.reset_on_close());
    let proxy = Ringway::to(&origin).io(io).start();
    let (mut client, id) = tunnel(&proxy);
    match client.try_response(id) {
        Err(Instead::Reset(_)) => {}
        other => panic!("{other:?}"),
    }
    // Its connection is not hit.
    client.send(&Frame::ping(*b"12345678"));
    assert_eq!(client.until(6).payload, b"12345678");
}

fn a_silent_tunnel_is_reset(io: Io) {
    let origin = switching(|conn| {
        conn.until_closed();
    });
    let proxy = Ringway::to(&origin).io(io).set("tunnel-idle-timeout", "300ms").start();
    let (mut client, id) = tunnel(&proxy);
    for _ in 0..5 {
        // Traffic in one direction keeps it alive.
        wait::pause(std::time::Duration::from_millis(100));
        client.send(&Frame::data(id, b"tick", false));
    }
    assert!(matches!(client.try_response(id), Err(Instead::Reset(_))));
    assert_ne!(origin.wait_for_end(0), End::Script);
}

fn an_origin_that_does_not_switch_is_answered_for(io: Io) {
    // A refusal is an ordinary response.
    let origin = Origin::replying("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 5\r\n\r\nplain");
    let proxy = Ringway::to(&origin).io(io).start();
    let (mut client, id) = open(&proxy);
    let response = client.response(id);
    assert_eq!((response.status, &response.body[..]), (426, &b"plain"[..]));
    // To the client a 200 would say that the tunnel is open.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let (mut client, id) = open(&proxy);
    let response = client.response(id);
    assert_eq!((response.status, response.field("x-ringway-reason")), (502, Some("upgrade_refused")));
}

fn an_origin_with_a_wrong_answer_to_the_key_is_a_bad_gateway(io: Io) {
    for accept in ["", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"] {
        let origin = Origin::start(move |conn| {
            if conn.request_head().is_some() {
                conn.send(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{accept}\r\n"
                ));
                conn.until_closed();
            }
        });
        let proxy = Ringway::to(&origin).io(io).start();
        let (mut client, id) = open(&proxy);
        let response = client.response(id);
        assert_eq!((response.status, response.field("x-ringway-reason")), (502, Some("upgrade_refused")));
    }
}

fn an_origin_of_http2_without_the_setting_gets_a_plain_request(io: Io) {
    let origin = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            assert_eq!((request.field(":method"), request.field(":protocol")), (Some("GET"), None));
            conn.reply(request.id, 426, "no");
        }
    });
    let proxy = Ringway::to(&origin).io(io).cluster("protocol: http2").start();
    let response = proxy.exchange(HANDSHAKE);
    assert_eq!((response.status, response.body_text().as_str()), (426, "no"));
    // Over HTTP/2 there is no such request to fall back to.
    let (mut client, id) = open(&proxy);
    let response = client.response(id);
    assert_eq!((response.status, response.field("x-ringway-reason")), (502, Some("upgrade_refused")));
}

fn protocols_that_the_route_does_not_allow_are_refused(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for protocol in ["h2c", "foo", "connect-udp"] {
        let mut client = Http2Client::connect(proxy.address());
        client.until(4);
        let mut fields = WEBSOCKET;
        fields[1] = (":protocol", protocol);
        let id = client.open(&fields, false);
        let response = client.response(id);
        assert_eq!((response.status, response.field("x-ringway-reason")), (405, Some("method_not_allowed")));
    }
    origin.assert_saw_nothing();
}

fn connect_becomes_a_tunnel_where_the_route_allows_it(io: Io) {
    let fields = [(":method", "CONNECT"), (":authority", "example.test:443")];
    let origin = Origin::start(|conn| {
        let said = conn.until_closed();
        conn.send([b"you said ", &said[..]].concat());
    });
    let proxy = Ringway::to(&origin).io(io).route("connect: true").start();
    let mut client = Http2Client::connect(proxy.address());
    let id = client.open(&fields, false);
    client.send(&Frame::data(id, b"PRI ", false));
    client.send(&Frame::data(id, b"hello", true));
    let response = client.response(id);
    assert_eq!((response.status, &response.body[..]), (200, &b"you said PRI hello"[..]));
    assert_eq!(response.field("content-length"), None);

    let refusing = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::connect(refusing.address());
    let id = client.open(&fields, false);
    assert_eq!(client.response(id).status, 405);
    drop(Client::connect(proxy.address()));
}
