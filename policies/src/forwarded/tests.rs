use super::*;
use ringway_protocols::http1::{HeadLimits, RequestEdits, parse_request, write_request};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 32, target_bytes_max: 256 };

fn head_of(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    parse_request(text.as_bytes(), &LIMITS, &mut head).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    head
}

/// The field lines after `Host` that an origin gets.
fn sent(style: ForwardedStyle, trusted: bool, peer: &str, lines: &str) -> String {
    let text = format!("GET / HTTP/1.1\r\nHost: shop:80\r\n{lines}\r\n");
    let head = head_of(&text);
    let hop = Hop { peer: peer.parse().ok(), trusted, scheme: "http", host: b"shop:80" };
    let mut append = Vec::new();
    render(&mut append, style, &hop, &head, text.as_bytes());
    let edits =
        RequestEdits { drop: dropped_kinds(style, trusted), append: &append, ..RequestEdits::default() };
    let mut out = Vec::new();
    write_request(&mut out, text.as_bytes(), &head, &edits);
    let out = String::from_utf8(out).expect("text");
    out.replace("GET / HTTP/1.1\r\nHost: shop:80\r\n", "").trim_end().to_owned()
}

const SPOOFED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
    X-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded: x\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
    True-Client-IP: 6.6.6.6\r\nX-Original-URL: /admin\r\nX-Rewrite-Url: /admin\r\nX_Forwarded_For: 6.6.6.6\r\n\
    x_forwarded_proto: https\r\nX-Forwarded_Host: evil\r\nX_Real_IP: 6.6.6.6\r\nX-Ringway-Reason: x\r\n\
    X-Consumer-Name: root\r\nX_Consumer_Name: root\r\nX-Consumer-Groups: admin\r\n";

#[test]
fn what_an_untrusted_peer_says_is_replaced_in_every_spelling() {
    assert_eq!(
        sent(ForwardedStyle::XForwarded, false, "10.0.0.1", SPOOFED),
        "x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: shop:80"
    );
    assert_eq!(
        sent(ForwardedStyle::Forwarded, false, "10.0.0.1", SPOOFED),
        "forwarded: for=10.0.0.1;proto=http;host=\"shop:80\""
    );
    assert_eq!(sent(ForwardedStyle::Off, false, "10.0.0.1", SPOOFED), "");
}

#[test]
fn what_a_trusted_peer_says_is_kept_and_the_peer_added() {
    assert_eq!(
        sent(
            ForwardedStyle::XForwarded,
            true,
            "10.0.0.1",
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nA: b\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n\
             X_Forwarded_For: 6.6.6.6\r\n"
        ),
        "X-Forwarded-Proto: https\r\nA: b\r\nx-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1\r\n\
         x-forwarded-host: shop:80"
    );
    assert_eq!(
        sent(ForwardedStyle::Forwarded, true, "2001:db8::1", "Forwarded: for=1.1.1.1\r\n"),
        "forwarded: for=1.1.1.1, for=\"[2001:db8::1]\";proto=http;host=\"shop:80\""
    );
    assert_eq!(
        sent(ForwardedStyle::Off, true, "10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\n"),
        "X-Forwarded-For: 1.1.1.1"
    );
}

#[test]
fn mapped_and_missing_addresses_are_written_as_what_they_are() {
    assert_eq!(
        sent(ForwardedStyle::Both, false, "::ffff:10.0.0.1", ""),
        "x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: shop:80\r\n\
         forwarded: for=10.0.0.1;proto=http;host=\"shop:80\""
    );
    assert_eq!(
        sent(ForwardedStyle::Both, false, "unix", ""),
        "x-forwarded-proto: http\r\nx-forwarded-host: shop:80\r\nforwarded: for=unknown;proto=http;host=\"shop:80\""
    );
}

#[test]
fn the_client_is_the_nearest_address_that_is_not_trusted() {
    let trusted = CidrSet::new(&["10.0.0.0/8".parse().expect("block"), "fd00::/8".parse().expect("block")]);
    for (peer, lines, expected) in [
        ("192.0.2.9", "X-Forwarded-For: 1.1.1.1\r\n", "192.0.2.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1"),
        ("10.0.0.1", "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.2\r\n", "1.1.1.1"),
        ("10.0.0.1", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1"),
        ("10.0.0.1", "X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.3"),
        ("10.0.0.1", "X-Forwarded-For: 1.1.1.1, junk\r\n", "10.0.0.1"),
        ("10.0.0.1", "X-Forwarded-For: 1.1.1.1:1234\r\n", "1.1.1.1"),
        ("10.0.0.1", "X-Forwarded-For: [2001:db8::1]:1234\r\n", "2001:db8::1"),
        ("10.0.0.1", "X_Forwarded_For: 6.6.6.6\r\n", "10.0.0.1"),
        ("::ffff:10.0.0.1", "X-Forwarded-For: ::ffff:1.1.1.1\r\n", "1.1.1.1"),
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let peer = peer.parse().expect("peer");
        let head = head_of(&text);
        let client = client_address(ForwardedStyle::XForwarded, peer, &trusted, &head, text.as_bytes());
        assert_eq!(client.to_string(), expected, "{peer} {lines:?}");
    }
    let text = "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=6.6.6.6, proto=http;For=\"[2001:db8::1]:8\", for=10.0.0.2\r\n\r\n";
    let head = head_of(text);
    let peer = "10.0.0.1".parse().expect("peer");
    let client = client_address(ForwardedStyle::Forwarded, peer, &trusted, &head, text.as_bytes());
    assert_eq!(client.to_string(), "2001:db8::1");
}

#[test]
fn via_names_the_version_that_was_received() {
    let mut out = Vec::new();
    render_via(&mut out, Version::Http10);
    render_via(&mut out, Version::Http11);
    assert_eq!(out, b"via: 1.0 ringway\r\nvia: 1.1 ringway\r\n");
}
