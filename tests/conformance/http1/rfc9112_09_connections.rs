//! RFC 9112 9: connection management.

use super::*;

/// 9.3: "If the "close" connection option is present […] the connection will not persist"; HTTP/1.1 persists without
/// an option; HTTP/1.0 does with "keep-alive" (a gateway is a server to its clients, not a proxy).
#[test]
fn s9_3_persistence() {
    for (version, connection, persists) in [
        ("1.1", "", true),
        ("1.1", "close", false),
        ("1.1", "CLOSE", false),
        ("1.1", "x, close", false),
        ("1.1", "keep-alive, close", false),
        ("1.0", "", false),
        ("1.0", "keep-alive", true),
        ("1.0", "close, keep-alive", false),
    ] {
        let line = if connection.is_empty() { "X: y" } else { &format!("Connection: {connection}") };
        let head = request(&format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n\r\n"));
        assert_eq!(head.keep_alive, persists, "request {version} {connection:?}");
        let text = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{line}\r\n\r\n");
        assert_eq!(response(&text, Method::Get).keep_alive, persists, "response {version} {connection:?}");
    }
}

/// 9.3: "each response […] has a self-defined message length": one that lasts until the close is the last one.
#[test]
fn s9_3_a_response_until_close_is_the_last() {
    assert!(!response("HTTP/1.1 200 OK\r\n\r\n", Method::Get).keep_alive);
    assert!(!response("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Method::Get).keep_alive);
    assert!(response("HTTP/1.1 200 OK\r\n\r\n", Method::Head).keep_alive);
}

/// 9.3.2: requests may be pipelined: a head ends where it ends, whatever follows.
#[test]
fn s9_3_2_what_follows_a_head_is_not_part_of_it() {
    let first = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = request(&format!("{first}GET /2 HTTP/1.1\r\nbroken"));
    assert_eq!(head.bytes as usize, first.len());
}
