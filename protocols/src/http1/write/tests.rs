use super::*;
use crate::http1::{HeadLimits, Parsed, parse_request, parse_response};
use crate::message::{FieldKind as K, Method};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 65_536, fields_max: 100, target_bytes_max: 8192 };

fn request(text: &str, edits: &RequestEdits<'_>) -> String {
    let mut head = RequestHead::default();
    assert_eq!(parse_request(text.as_bytes(), &LIMITS, &mut head), Ok(Parsed::Complete), "{text:?}");
    let mut out = Vec::new();
    write_request(&mut out, text.as_bytes(), &head, edits);
    String::from_utf8(out).expect("text")
}

fn response(text: &str, edits: &ResponseEdits<'_>) -> (String, bool) {
    let mut head = ResponseHead::default();
    let parsed = parse_response(text.as_bytes(), &LIMITS, Method::Get, &mut head);
    assert_eq!(parsed, Ok(Parsed::Complete), "{text:?}");
    let mut out = Vec::new();
    write_response(&mut out, text.as_bytes(), &head, edits);
    (String::from_utf8(out).expect("text"), response_needs_edit(&head, edits))
}

#[test]
fn an_unedited_request_is_copied() {
    let text = "GET /a?b HTTP/1.1\r\nHost: a\r\nX:  y \r\nContent-Length: 3\r\n\r\n";
    assert_eq!(request(text, &RequestEdits::default()), text);
    assert_eq!(request(&format!("\r\n{text}body"), &RequestEdits::default()), text);
}

#[test]
fn hop_by_hop_fields_are_left_out_wherever_they_stand() {
    for (lines, expected) in [
        ("Connection: x\r\nHost: a\r\n", "Host: a\r\n"),
        ("Host: a\r\nConnection: x\r\n", "Host: a\r\n"),
        ("Host: a\r\nKeep-Alive: 5\r\nX: 1\r\nConnection: x\r\nZ: 2\r\n", "Host: a\r\nZ: 2\r\n"),
        ("Connection: a\r\nTE: b\r\nHost: a\r\nUpgrade: c\r\nX_Real_Ip: d\r\n", "Host: a\r\n"),
    ] {
        let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        assert_eq!(request(&text, &RequestEdits::default()), format!("GET / HTTP/1.1\r\n{expected}\r\n"));
    }
}

#[test]
fn edits_drop_replace_and_append() {
    let text = "POST /a HTTP/1.1\r\nX-Forwarded-For: e\r\nX_Gone: 1\r\nHost: a\r\nX-GONE: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
    let edits = RequestEdits {
        drop_names: &[b"x-gone".to_vec()],
        drop: KindSet::of(&[K::XForwardedFor]),
        target: Some(b"/b"),
        host: Some(b"origin:80"),
        append: b"x-forwarded-for: 1.2.3.4\r\n",
        connection: ConnectionField::Close,
        te_trailers: true,
    };
    assert_eq!(
        request(text, &edits),
        "POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nhost: origin:80\r\nx-forwarded-for: 1.2.3.4\r\nte: trailers\r\n\
         connection: te, close\r\n\r\n"
    );
    let upgrade =
        RequestEdits { connection: ConnectionField::Upgrade(b"websocket"), ..RequestEdits::default() };
    assert_eq!(
        request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", &upgrade),
        "GET / HTTP/1.1\r\nHost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
}

#[test]
fn what_goes_out_is_http_1_1_in_origin_form() {
    for (line, fields, expected) in [
        ("GET /a HTTP/1.0", "Host: a\r\n", "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("GET /a HTTP/1.0", "", "GET /a HTTP/1.1\r\nhost: \r\n\r\n"),
        ("GET http://b/ HTTP/1.0", "", "GET / HTTP/1.1\r\nhost: b\r\n\r\n"),
        ("GET http://b/c?d HTTP/1.1", "Host: b\r\n", "GET /c?d HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("GET http://b?d HTTP/1.1", "Host: b\r\n", "GET /?d HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("OPTIONS http://b HTTP/1.1", "Host: b\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("OPTIONS http://b/ HTTP/1.1", "Host: b\r\n", "OPTIONS / HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("OPTIONS * HTTP/1.1", "Host: b\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("CONNECT b:1 HTTP/1.1", "Host: b:1\r\n", "CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n"),
    ] {
        assert_eq!(request(&format!("{line}\r\n{fields}\r\n"), &RequestEdits::default()), expected, "{line}");
    }
}

#[test]
fn framing_goes_out_in_the_one_spelling_that_nobody_misreads() {
    for (line, expected) in [
        ("Content-Length: 5", "Content-Length: 5"),
        ("content-length:5", "content-length:5"),
        ("Content-Length:  5", "content-length: 5"),
        ("Content-Length:\t5", "content-length: 5"),
        ("Content-Length: 5 ", "content-length: 5"),
        ("Content-Length: 005", "content-length: 5"),
        ("Content-Length: 0", "Content-Length: 0"),
        ("Content-Length: 00", "content-length: 0"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: Chunked", "transfer-encoding: chunked"),
        ("Transfer-Encoding:\tchunked", "transfer-encoding: chunked"),
        ("Transfer-Encoding: chunked\t", "transfer-encoding: chunked"),
    ] {
        let sent =
            request(&format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"), &RequestEdits::default());
        assert_eq!(sent, format!("POST / HTTP/1.1\r\nHost: a\r\n{expected}\r\n\r\n"), "{line:?}");
        let (sent, edited) =
            response(&format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"), &ResponseEdits::default());
        assert_eq!(sent, format!("HTTP/1.1 200 OK\r\n{expected}\r\n\r\n"), "{line:?}");
        assert_eq!(edited, line != expected, "{line:?}");
    }
    let sent = request("GET / HTTP/1.1\r\nHost:\ta \r\nX: y\r\n\r\n", &RequestEdits::default());
    assert_eq!(sent, "GET / HTTP/1.1\r\nX: y\r\nhost: a\r\n\r\n");
    let unchunked = ResponseEdits { drop: KindSet::of(&[K::TransferEncoding]), ..ResponseEdits::default() };
    let (sent, _) = response("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n", &unchunked);
    assert_eq!(sent, "HTTP/1.1 200 OK\r\n\r\n");
}

#[test]
fn an_unedited_response_need_not_be_written() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(response(text, &ResponseEdits::default()), (text.to_owned(), false));
    let close = ResponseEdits { connection: ConnectionField::Close, ..ResponseEdits::default() };
    let written = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nconnection: close\r\n\r\n";
    assert_eq!(response(text, &close), (written.to_owned(), true));
}

#[test]
fn responses_are_edited_where_they_must_be() {
    let none = ResponseEdits::default();
    let unchunked = ResponseEdits { drop: KindSet::of(&[K::TransferEncoding]), ..none };
    let reason = ResponseEdits { drop: KindSet::of(&[K::XRingwayReason]), ..none };
    for (text, edits, expected) in [
        ("HTTP/1.0 200 OK\r\nX: y\r\n\r\n", &none, "HTTP/1.1 200 OK\r\nX: y\r\n\r\n"),
        ("HTTP/1.1 200\r\nX: y\r\n\r\n", &none, "HTTP/1.1 200 \r\nX: y\r\n\r\n"),
        ("HTTP/1.1 200\r\n\r\n", &none, "HTTP/1.1 200 \r\n\r\n"),
        (
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nX: y\r\n\r\n",
            &none,
            "HTTP/1.1 200 OK\r\nX: y\r\n\r\n",
        ),
        ("HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n", &none, "HTTP/1.1 204 OK\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &unchunked, "HTTP/1.1 200 OK\r\n\r\n"),
        (
            "HTTP/1.1 200 OK\r\nX-Ringway-Reason: x\r\nA: b\r\n\r\n",
            &reason,
            "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        ),
    ] {
        assert_eq!(response(text, edits), (expected.to_owned(), true), "{text:?}");
    }
}

#[test]
fn what_is_written_reads_as_it_was_written() {
    for text in [
        "GET /a?b HTTP/1.1\r\nHost: a\r\nX:  y \r\nContent-Length: 3\r\n\r\n",
        "POST http://b/c?d HTTP/1.1\r\nHost: b\r\nConnection: close, x\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
    ] {
        let once = request(text, &RequestEdits::default());
        assert_eq!(request(&once, &RequestEdits::default()), once, "{text:?}");
    }
}
