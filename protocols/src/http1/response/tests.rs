use super::*;
use crate::http1::ResponseError as E;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 16, target_bytes_max: 0 };

fn parse(text: &[u8], method: Method) -> (Result<Parsed, E>, ResponseHead) {
    let mut head = ResponseHead::default();
    (parse_response(text, &LIMITS, method, &mut head), head)
}

fn accepted(text: &str) -> ResponseHead {
    accepted_for(text, Method::Get)
}

fn accepted_for(text: &str, method: Method) -> ResponseHead {
    let (result, head) = parse(text.as_bytes(), method);
    assert_eq!(result, Ok(Parsed::Complete), "{text:?}");
    head
}

fn refused(cases: &[(&str, E)]) {
    for (text, error) in cases {
        let (result, _) = parse(text.as_bytes(), Method::Get);
        assert_eq!(result, Err(*error), "{text:?}");
    }
}

#[test]
fn a_plain_response_is_split_into_its_parts() {
    let text = "HTTP/1.1 404 Not  Found\u{e4}\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello";
    let head = accepted(text);
    let bytes = text.as_bytes();
    assert_eq!((head.status, head.version, head.body), (404, Version::Http11, BodyLength::Exact(5)));
    assert_eq!(head.reason.of(bytes), "Not  Found\u{e4}".as_bytes());
    assert_eq!(head.bytes as usize, text.len() - 5);
    assert!(head.keep_alive && !head.hop_by_hop_fields && !head.rewrite_status_line);
}

#[test]
fn every_incomplete_beginning_needs_more() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(parse(&text.as_bytes()[..end], Method::Get).0, Ok(Parsed::NeedMore), "{end}");
    }
}

#[test]
fn status_lines_are_strict() {
    refused(&[
        ("HTTP/1.1  200 OK\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1 600 OK\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1 200\tOK\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/1.1 OK\r\n\r\n", E::InvalidStatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", E::UnsupportedVersion),
        ("HTTP/1.2 200 OK\r\n\r\n", E::UnsupportedVersion),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", E::InvalidStatusLine),
        ("http/1.1 200 OK\r\n\r\n", E::InvalidStatusLine),
        ("ICY 200 OK\r\n\r\n", E::InvalidStatusLine),
        ("<html>", E::InvalidStatusLine),
        ("220 mail ready\r\n", E::InvalidStatusLine),
    ]);
}

#[test]
fn lines_and_fields_are_as_strict_as_in_requests() {
    for (lines, error) in [
        ("X: y\nZ: w", E::BareLineEnd),
        ("X: y\n", E::BareLineEnd),
        ("X: y\rZ: w", E::BareLineEnd),
        (" X: y", E::LineFolding),
        ("X: y\r\n z", E::LineFolding),
        ("X : y", E::SpaceBeforeColon),
        (": y", E::InvalidFieldName),
        ("X y", E::InvalidFieldName),
        ("X: \0", E::InvalidFieldValue),
        ("Connection: content-length", E::ConnectionNamesFraming),
        ("Content_Length: 5", E::FramingAlias),
    ] {
        refused(&[(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"), error)]);
    }
    refused(&[
        ("HTTP/1.1 200 OK\nX: y\r\n\r\n", E::BareLineEnd),
        ("HTTP/1.1 200 OK\r\nX: y\r\n\n", E::BareLineEnd),
        ("HTTP/1.1 200 O\rK\r\n\r\n", E::BareLineEnd),
        ("HTTP/1.1 200 OK\r\n\rX\r\n\r\n", E::BareLineEnd),
    ]);
}

#[test]
fn framing_is_as_strict_as_in_requests() {
    for (lines, error) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", E::BothLengthAndChunked),
        ("Content-Length: 5\r\nContent-Length: 5", E::DuplicateContentLength),
        ("Content-Length: 5, 5", E::InvalidContentLength),
        ("Content-Length: -5", E::InvalidContentLength),
        ("Content-Length:", E::InvalidContentLength),
        ("Transfer-Encoding: gzip, chunked", E::InvalidTransferEncoding),
        ("Transfer-Encoding: identity", E::InvalidTransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", E::DuplicateTransferEncoding),
    ] {
        refused(&[(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"), error)]);
    }
    refused(&[("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", E::TransferEncodingInHttp10)]);
}

#[test]
fn the_body_ends_where_rfc_9112_6_3_says() {
    use BodyLength::*;
    for (status, method, lines, body) in [
        (200, Method::Get, "", UntilClose),
        (200, Method::Get, "Content-Length: 5\r\n", Exact(5)),
        (200, Method::Get, "Content-Length: 0\r\n", Empty),
        (200, Method::Get, "Transfer-Encoding: chunked\r\n", Chunked),
        (200, Method::Head, "", Empty),
        (200, Method::Head, "Content-Length: 5\r\n", Empty),
        (200, Method::Head, "Transfer-Encoding: chunked\r\n", Empty),
        (304, Method::Get, "Content-Length: 5\r\n", Empty),
        (304, Method::Get, "Transfer-Encoding: chunked\r\n", Empty),
        (204, Method::Get, "", Empty),
        (204, Method::Get, "Content-Length: 5\r\n", Empty),
        (100, Method::Post, "", Empty),
        (103, Method::Get, "Link: x\r\n", Empty),
        (205, Method::Get, "Content-Length: 0\r\n", Empty),
        (200, Method::Connect, "", Empty),
        (200, Method::Connect, "Content-Length: 5\r\n", Empty),
        (403, Method::Connect, "Content-Length: 5\r\n", Exact(5)),
        (500, Method::Get, "", UntilClose),
    ] {
        let head = accepted_for(&format!("HTTP/1.1 {status} X\r\n{lines}\r\n"), method);
        assert_eq!(head.body, body, "{status} {method:?} {lines:?}");
    }
}

#[test]
fn responses_without_content_do_not_promise_any() {
    for (status, method) in [(204, Method::Get), (101, Method::Get), (199, Method::Get)] {
        let text = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(parse(text.as_bytes(), method).0, Err(E::TransferEncodingNotAllowed), "{status}");
    }
    let text = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(text.as_bytes(), Method::Connect).0, Err(E::TransferEncodingNotAllowed));
    // A length is left out, and a connection on which content may follow is not used again.
    let head = accepted("HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n");
    assert!(head.fields[0].hop_by_hop && !head.keep_alive);
    let head = accepted("HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n");
    assert!(head.fields[0].hop_by_hop && head.keep_alive);
}

#[test]
fn connections_persist_as_rfc_9112_says() {
    for (version, lines, keep) in [
        ("1.1", "Content-Length: 0\r\n", true),
        ("1.1", "Content-Length: 0\r\nConnection: close\r\n", false),
        ("1.1", "", false),
        ("1.0", "Content-Length: 0\r\n", false),
        ("1.0", "Content-Length: 0\r\nConnection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\n", false),
    ] {
        assert_eq!(
            accepted(&format!("HTTP/{version} 200 OK\r\n{lines}\r\n")).keep_alive,
            keep,
            "{version} {lines:?}"
        );
    }
}

#[test]
fn a_switch_of_protocols_says_to_which() {
    let head = accepted("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(head.upgrade.is_some() && !head.keep_alive && !head.is_interim());
    refused(&[
        ("HTTP/1.1 101 X\r\n\r\n", E::InvalidUpgrade),
        ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", E::InvalidUpgrade),
        ("HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n", E::InvalidUpgrade),
        ("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade:\r\n\r\n", E::InvalidUpgrade),
    ]);
    assert!(accepted("HTTP/1.1 100 Continue\r\n\r\n").is_interim());
    assert!(accepted("HTTP/1.1 100 Continue\r\n\r\n").keep_alive);
}

#[test]
fn what_this_proxy_would_not_send_is_written_anew() {
    for (line, rewrite, reason) in [
        ("HTTP/1.1 200 OK", false, "OK"),
        ("HTTP/1.1 200 ", false, ""),
        ("HTTP/1.1 200", true, ""),
        ("HTTP/1.0 200 OK", true, "OK"),
    ] {
        for fields in ["", "Content-Length: 0\r\n"] {
            let text = format!("{line}\r\n{fields}\r\n");
            let head = accepted(&text);
            assert_eq!(head.rewrite_status_line, rewrite, "{text:?}");
            assert_eq!(head.reason.of(text.as_bytes()), reason.as_bytes(), "{text:?}");
        }
    }
}

#[test]
fn limits_hold_before_the_end() {
    refused(&[
        (&format!("HTTP/1.1 200 {}", "x".repeat(4096)), E::HeadTooLarge),
        (&format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(17)), E::TooManyFields),
        (&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "v".repeat(4096)), E::HeadTooLarge),
    ]);
}
