//! The PROXY protocol, received and sent (threat row 55).

use std::net::SocketAddr;

use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    version_1_names_the_client,
    version_2_names_the_client_and_skips_what_else_it_says,
    headers_in_pieces_and_fused_with_the_request_are_read,
    a_required_header_that_is_missing_or_wrong_closes,
    peers_that_may_not_send_it_are_refused_when_they_do,
    version_1_is_sent_upstream,
    version_2_is_sent_upstream,
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REQUEST: &[u8] = b"GET /pp HTTP/1.1\r\nHost: test\r\n\r\n";

fn start(origin: &Origin, io: Io) -> Proxy {
    Ringway::to(origin).io(io).set("proxy-protocol", "127.0.0.1/32").start()
}

/// Version 2 with PROXY over TCP and IPv4, from 10.1.2.3:4000 to 10.9.9.9:80, then `more`.
fn version_2(more: &[u8]) -> Vec<u8> {
    let length = (12 + more.len()) as u16;
    let mut bytes = [SIGNATURE, &[0x21, 0x11], &length.to_be_bytes()].concat();
    bytes.extend_from_slice(&[10, 1, 2, 3, 10, 9, 9, 9, 0x0f, 0xa0, 0, 80]);
    bytes.extend_from_slice(more);
    bytes
}

fn client_of(origin: &Origin) -> String {
    let request = origin.requests().pop().expect("a request");
    request.fields_named("x-forwarded-for").join(", ")
}

fn version_1_names_the_client(io: Io) {
    let origin = Origin::ok();
    let proxy = start(&origin, io);
    for (line, want) in [
        ("PROXY TCP4 10.1.2.3 10.9.9.9 4000 80\r\n", "10.1.2.3"),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 4000 80\r\n", "2001:db8::1"),
        ("PROXY UNKNOWN\r\n", "127.0.0.1"),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "127.0.0.1"),
    ] {
        let mut client = proxy.connect();
        client.send(line);
        for _ in 0..2 {
            assert_eq!(client.exchange(REQUEST).status, 200, "{line:?}");
            assert_eq!(client_of(&origin), want, "{line:?}");
        }
    }
}

fn version_2_names_the_client_and_skips_what_else_it_says(io: Io) {
    let origin = Origin::ok();
    let proxy = start(&origin, io);
    let tlv = [0x04, 0, 5, 1, 2, 3, 4, 5, 0x01, 0, 2, b'h', b'2'];
    let long = [&[0x04, 0x0f, 0xa0][..], &[7; 4000]].concat();
    for more in [&[][..], &tlv, &long] {
        let mut client = proxy.connect();
        client.send(version_2(more));
        assert_eq!(client.exchange(REQUEST).status, 200, "{} bytes of TLV", more.len());
        assert_eq!(client_of(&origin), "10.1.2.3");
    }
    // LOCAL: the connection is the proxy's own, such as a health check.
    let mut client = proxy.connect();
    client.send([SIGNATURE, &[0x20, 0x00, 0, 0]].concat());
    assert_eq!(client.exchange(REQUEST).status, 200);
    assert_eq!(client_of(&origin), "127.0.0.1");
}

fn headers_in_pieces_and_fused_with_the_request_are_read(io: Io) {
    let origin = Origin::ok();
    let proxy = start(&origin, io);
    for header in [b"PROXY TCP4 10.1.2.3 10.9.9.9 4000 80\r\n".to_vec(), version_2(&[0x04, 0, 1, 9])] {
        let mut fused = proxy.connect();
        assert_eq!(fused.exchange([&header[..], REQUEST].concat()).status, 200);
        assert_eq!(client_of(&origin), "10.1.2.3");
        let mut dribble = proxy.connect();
        for byte in [&header[..], REQUEST].concat() {
            dribble.send([byte]);
        }
        assert_eq!(dribble.response().status, 200);
        assert_eq!(client_of(&origin), "10.1.2.3");
    }
    origin.assert_unambiguous();
}

fn a_required_header_that_is_missing_or_wrong_closes(io: Io) {
    let origin = Origin::ok();
    let proxy = start(&origin, io);
    let mut wrong: Vec<Vec<u8>> = [
        "",
        "PROXY\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 4000\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 4000 80\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 4000 80 \r\n",
        "PROXY TCP4 10.1.2.3  10.9.9.9 4000 80\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 4000 80 x\r\n",
        "PROXY TCP4 10.1.2.300 10.9.9.9 4000 80\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 65536 80\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 +4000 80\r\n",
        "PROXY TCP4 2001:db8::1 10.9.9.9 4000 80\r\n",
        "PROXY TCP6 10.1.2.3 10.9.9.9 4000 80\r\n",
        "PROXY TCP5 10.1.2.3 10.9.9.9 4000 80\r\n",
        "proxy TCP4 10.1.2.3 10.9.9.9 4000 80\r\n",
        " PROXY TCP4 10.1.2.3 10.9.9.9 4000 80\r\n",
    ]
    .map(|line| line.as_bytes().to_vec())
    .into();
    wrong.push(format!("PROXY UNKNOWN {}\r\n", "x".repeat(200)).into_bytes());
    let mut bad_version = version_2(&[]);
    bad_version[12] = 0x11;
    let mut bad_command = version_2(&[]);
    bad_command[12] = 0x22;
    let mut too_short = version_2(&[]);
    too_short[15] = 4;
    // A TLV that claims more than the header holds.
    let cut_tlv = version_2(&[0x04, 0, 50, 1]);
    wrong.extend([bad_version, bad_command, too_short, cut_tlv, version_2(&[0x04])]);
    for header in wrong {
        let mut client = proxy.connect();
        client.try_send([&header[..], REQUEST].concat());
        let rest = client.until_closed();
        let shown = String::from_utf8_lossy(&header).into_owned();
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "),
            "{shown:?}: {}",
            String::from_utf8_lossy(&rest)
        );
    }
    origin.assert_saw_nothing();
}

fn peers_that_may_not_send_it_are_refused_when_they_do(io: Io) {
    let origin = Origin::ok();
    let proxy = start(&origin, io);
    let stranger = || Client::connect_from([127, 0, 0, 2].into(), proxy.address());
    assert_eq!(stranger().exchange(REQUEST).status, 200, "without a header a stranger is served");
    assert_eq!(client_of(&origin), "127.0.0.2");
    let before = origin.requests().len();
    for header in [b"PROXY TCP4 10.1.2.3 10.9.9.9 4000 80\r\n".to_vec(), version_2(&[])] {
        let mut client = stranger();
        client.try_send([&header[..], REQUEST].concat());
        let rest = client.until_closed();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(origin.requests().len(), before);
}

fn version_1_is_sent_upstream(io: Io) {
    let origin = Origin::start(|conn| {
        let line = conn.wire().line().expect("a header");
        conn.reached(String::from_utf8_lossy(&line).trim_end());
        while conn.request().is_some() {
            conn.reply(200, "ok");
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("send-proxy-protocol", "v1").start();
    let mut client = proxy.connect();
    for _ in 0..3 {
        assert_eq!(client.exchange(REQUEST).status, 200);
    }
    let address = proxy.address();
    let (from, to) = (client.local_port(), address.port());
    origin.wait_until_reached(&format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}"));
    // The header names one client, so a kept connection is never used for another.
    let mut other = proxy.connect();
    assert_eq!(other.exchange(REQUEST).status, 200);
    origin.wait_until_reached(&format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {to}", other.local_port()));
}

fn version_2_is_sent_upstream(io: Io) {
    let origin = Origin::start(|conn| {
        let header = conn.exactly(28).expect("a header");
        assert!(header.starts_with(SIGNATURE) && header[12..16] == [0x21, 0x11, 0, 12], "{header:?}");
        assert_eq!(header[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
        let from = SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes([header[24], header[25]])));
        conn.reached(&from.to_string());
        while conn.request().is_some() {
            conn.reply(200, "ok");
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("send-proxy-protocol", "v2").start();
    let mut client = proxy.connect();
    assert_eq!(client.exchange(REQUEST).status, 200);
    origin.wait_until_reached(&format!("127.0.0.1:{}", client.local_port()));
    origin.assert_unambiguous();
}
