//! RFC 9112 2: messages.

use super::*;
use ringway_protocols::message::Version;

/// 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line
/// (CRLF) received prior to the request-line." One it is; more would be a way to hold a connection for nothing.
#[test]
fn s2_2_one_empty_line_before_a_request_is_ignored() {
    assert_eq!(request("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").method, Method::Get);
    refuses_requests(&[("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidRequestLine)]);
}

/// 2.2: "a recipient MAY recognize a single LF as a line terminator": it does not, because not all do.
#[test]
fn s2_2_a_line_ends_in_crlf() {
    for text in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
    ] {
        refuses_requests(&[(text, RequestError::BareLineEnd)]);
    }
    for text in ["HTTP/1.1 200 OK\nX: y\n\n", "HTTP/1.1 200 OK\r\nX: y\n\r\n", "HTTP/1.1 200 OK\r\n\n"] {
        refuses_responses(&[(text, ResponseError::BareLineEnd)]);
    }
}

/// 2.2: "A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP".
#[test]
fn s2_2_a_bare_cr_is_invalid() {
    refuses_requests(&[
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", RequestError::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n", RequestError::BareLineEnd),
        ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", RequestError::BareLineEnd),
    ]);
    refuses_responses(&[
        ("HTTP/1.1 200 O\rK\r\n\r\n", ResponseError::BareLineEnd),
        ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", ResponseError::BareLineEnd),
    ]);
}

/// 2.2: "A recipient that receives whitespace between the start-line and the first header field MUST either reject
/// the message as invalid or consume each whitespace-preceded line".
#[test]
fn s2_2_white_space_before_the_first_field_is_invalid() {
    refuses_requests(&[
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", RequestError::LineFolding),
        ("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", RequestError::LineFolding),
        ("GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n", RequestError::LineFolding),
    ]);
    refuses_responses(&[("HTTP/1.1 200 OK\r\n X: y\r\n\r\n", ResponseError::LineFolding)]);
}

/// 2.3: "HTTP-version is case-sensitive", and an intermediary sends its own version.
#[test]
fn s2_3_versions() {
    assert_eq!(request("GET / HTTP/1.0\r\n\r\n").version, Version::Http10);
    refuses_requests(&[
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", RequestError::UnsupportedVersion),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", RequestError::UnsupportedVersion),
        ("GET / HTTP/1,1\r\nHost: a\r\n\r\n", RequestError::UnsupportedVersion),
        ("GET / Http/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidRequestLine),
        ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", RequestError::UnsupportedVersion),
        ("GET / HTTP /1.1\r\nHost: a\r\n\r\n", RequestError::InvalidRequestLine),
    ]);
    assert_eq!(forwarded("GET / HTTP/1.0\r\nHost: a\r\n\r\n"), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(forwarded_response("HTTP/1.0 200 OK\r\nX: y\r\n\r\n"), "HTTP/1.1 200 OK\r\nX: y\r\n\r\n");
}
