//! RFC 9112 6: the message body and its length.

use super::*;
use RequestError as Req;
use ResponseError as Res;

/// 6.1: "Transfer-Encoding overrides the Content-Length. Such a message might indicate an attempt to perform request
/// smuggling […] and ought to be handled as an error."
#[test]
fn s6_1_length_and_coding_together_are_refused() {
    for lines in [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 0"],
        ["Transfer-Encoding: identity", "Content-Length: 5"],
    ] {
        refuses_requests(&[(&with_fields(&lines), Req::BothLengthAndChunked)]);
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n{}\r\n\r\n", lines[0], lines[1]);
        refuses_responses(&[(&text, Res::BothLengthAndChunked)]);
    }
}

/// 6.1: the last coding of a request has to be chunked; this proxy knows no other coding, so it is the only one.
#[test]
fn s6_1_the_only_coding_is_chunked() {
    for value in [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "identity",
        "chunked;x",
        "x-chunked",
        "",
    ] {
        refuses_requests(&[(
            &with_fields(&[&format!("Transfer-Encoding: {value}")]),
            Req::InvalidTransferEncoding,
        )]);
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {value}\r\n\r\n");
        refuses_responses(&[(&text, Res::InvalidTransferEncoding)]);
    }
    refuses_requests(&[(
        &with_fields(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
        Req::DuplicateTransferEncoding,
    )]);
}

/// 6.1: "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat
/// the message as if the framing is faulty".
#[test]
fn s6_1_http_1_0_has_no_transfer_codings() {
    refuses_requests(&[(
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        Req::TransferEncodingInHttp10,
    )]);
    refuses_responses(&[(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        Res::TransferEncodingInHttp10,
    )]);
}

/// 6.1: "A server MUST NOT send a Transfer-Encoding header field in any response with a status code of 1xx
/// (Informational) or 204 (No Content)."
#[test]
fn s6_1_no_transfer_coding_without_content() {
    for status in [100, 103, 204] {
        let text = format!("HTTP/1.1 {status} x\r\nTransfer-Encoding: chunked\r\n\r\n");
        refuses_responses(&[(&text, Res::TransferEncodingNotAllowed)]);
    }
}

/// 6.1 and RFC 9110 8.6 allow spellings that some reader misreads: they are accepted, and sent in another one.
#[test]
fn s6_1_framing_is_sent_in_one_spelling() {
    for (line, sent) in [
        ("Transfer-Encoding:\tChunked \t", "transfer-encoding: chunked"),
        ("Content-Length:   0012\t", "content-length: 12"),
    ] {
        assert_eq!(forwarded(&with_fields(&[line])), with_fields(&[sent]), "{line:?}");
    }
}

/// 6.3, the list, in its order.
#[test]
fn s6_3_the_length_of_a_response() {
    use BodyLength::*;
    for (rule, method, text, body) in [
        ("1: HEAD", Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Empty),
        ("1: 1xx", Method::Get, "HTTP/1.1 102 x\r\n\r\n", Empty),
        ("1: 204", Method::Get, "HTTP/1.1 204 x\r\n\r\n", Empty),
        ("1: 304", Method::Get, "HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", Empty),
        ("2: CONNECT", Method::Connect, "HTTP/1.1 200 x\r\n\r\n", Empty),
        ("4: chunked", Method::Get, "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", Chunked),
        ("6: length", Method::Get, "HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\n", Exact(9)),
        ("8: until close", Method::Get, "HTTP/1.1 200 x\r\n\r\n", UntilClose),
        ("8: until close", Method::Post, "HTTP/1.0 404 x\r\n\r\n", UntilClose),
    ] {
        assert_eq!(response(text, method).body, body, "{rule}");
    }
}

/// 6.3 7: "If this is a request message and none of the above are true, then the message body length is zero".
#[test]
fn s6_3_the_length_of_a_request() {
    for method in ["GET", "POST", "PUT", "DELETE", "FOO"] {
        let head = request(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.body, BodyLength::Empty, "{method}");
        let head = request(&format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"));
        assert_eq!(head.body, BodyLength::Exact(3), "{method}");
    }
}

/// 6.3 5: "If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then
/// the message framing is invalid". Lists of one value repeated, which may be accepted, are not.
#[test]
fn s6_3_invalid_lengths_are_refused() {
    for value in
        ["", "-1", "+1", "1,1", "1, 1", "1 1", "0x1", "1.0", "1e1", "one", "99999999999999999999", "1;"]
    {
        refuses_requests(&[(
            &with_fields(&[&format!("Content-Length: {value}")]),
            Req::InvalidContentLength,
        )]);
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\n");
        refuses_responses(&[(&text, Res::InvalidContentLength)]);
    }
    refuses_requests(&[
        (&with_fields(&["Content-Length: 1", "Content-Length: 1"]), Req::DuplicateContentLength),
        (&with_fields(&["Content-Length: 1", "Content-Length: 2"]), Req::DuplicateContentLength),
    ]);
    refuses_responses(&[(
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        Res::DuplicateContentLength,
    )]);
}
