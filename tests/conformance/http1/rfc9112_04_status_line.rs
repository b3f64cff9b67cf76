//! RFC 9112 4: the status line.

use super::*;

/// 4: "status-line = HTTP-version SP status-code SP [ reason-phrase ]"
#[test]
fn s4_status_lines() {
    for (line, status) in [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.1 200 ", 200),
        ("HTTP/1.1 404 Not\tFound \u{e4}", 404),
        ("HTTP/1.1 599 x", 599),
        ("HTTP/1.0 301 Moved", 301),
    ] {
        assert_eq!(response(&format!("{line}\r\n\r\n"), Method::Get).status, status, "{line}");
    }
    refuses_responses(&[
        ("HTTP/1.1 99 x\r\n\r\n", ResponseError::InvalidStatusLine),
        ("HTTP/1.1 1000 x\r\n\r\n", ResponseError::InvalidStatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", ResponseError::InvalidStatusLine),
        ("HTTP/1.1 2x0 OK\r\n\r\n", ResponseError::InvalidStatusLine),
        ("HTTP/1.1 600 x\r\n\r\n", ResponseError::InvalidStatusLine),
        ("HTTP/1.1 200 a\u{7f}\r\n\r\n", ResponseError::InvalidStatusLine),
        ("HTTP/2 200 OK\r\n\r\n", ResponseError::UnsupportedVersion),
        ("SSH-2.0-x\r\n", ResponseError::InvalidStatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", ResponseError::InvalidStatusLine),
    ]);
}

/// The space before an absent reason is part of the line: origins forget it, this proxy does not.
#[test]
fn s4_a_missing_space_is_put_back() {
    assert_eq!(forwarded_response("HTTP/1.1 200\r\nX: y\r\n\r\n"), "HTTP/1.1 200 \r\nX: y\r\n\r\n");
}
