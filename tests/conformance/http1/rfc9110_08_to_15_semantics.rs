//! RFC 9110 8 to 15: what methods, expectations and status codes mean for framing.

use super::*;

/// 8.6: "Content-Length = 1*DIGIT"
#[test]
fn s8_6_content_length() {
    for (value, length) in
        [("0", BodyLength::Empty), ("1", BodyLength::Exact(1)), ("0010", BodyLength::Exact(10))]
    {
        assert_eq!(request(&with_fields(&[&format!("Content-Length: {value}")])).body, length, "{value}");
    }
    let arabic = with_fields(&["Content-Length: \u{661}"]);
    refuses_requests(&[(&arabic, RequestError::InvalidContentLength)]);
}

/// 8.6: "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx or 204", nor
/// "in any 2xx (Successful) response to a CONNECT request": it goes no further.
#[test]
fn s8_6_no_length_where_there_is_no_content() {
    assert_eq!(
        forwarded_response("HTTP/1.1 204 x\r\nContent-Length: 3\r\nX: y\r\n\r\n"),
        "HTTP/1.1 204 x\r\nX: y\r\n\r\n"
    );
    assert!(!response("HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n", Method::Get).keep_alive);
}

/// 9.2: safe and idempotent methods, as retries see them.
#[test]
fn s9_2_method_properties() {
    use Method::*;
    for (method, safe, idempotent) in [
        (Get, true, true),
        (Head, true, true),
        (Options, true, true),
        (Trace, true, true),
        (Put, false, true),
        (Delete, false, true),
        (Post, false, false),
        (Patch, false, false),
        (Connect, false, false),
        (Other, false, false),
    ] {
        assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{method:?}");
    }
}

/// 9.3.6, 9.3.8: CONNECT and TRACE have no content.
#[test]
fn s9_3_methods_without_content() {
    refuses_requests(&[
        ("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", RequestError::BodyNotAllowed),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\n", RequestError::BodyNotAllowed),
    ]);
}

/// 10.1.1: "A server that receives an Expect field value containing a member other than 100-continue MAY respond with
/// a 417"; it is ignored in HTTP/1.0 and means nothing without content.
#[test]
fn s10_1_1_expectations() {
    assert!(request(&with_fields(&["Content-Length: 5", "Expect: 100-CONTINUE"])).expect_continue);
    assert!(!request(&with_fields(&["Expect: 100-continue"])).expect_continue);
    assert!(!request("PUT / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").expect_continue);
    for value in ["y 100-continue", "100-continue y", "", "100-continue, 100-continue", "x"] {
        refuses_requests(&[(&with_fields(&[&format!("Expect: {value}")]), RequestError::UnknownExpectation)]);
    }
}

/// 15: "The first digit of the status code defines the class of response": interim responses are followed by another.
#[test]
fn s15_2_interim_responses() {
    for (status, interim) in [(100, true), (102, true), (103, true), (200, false), (204, false)] {
        assert_eq!(
            response(&format!("HTTP/1.1 {status} x\r\n\r\n"), Method::Get).is_interim(),
            interim,
            "{status}"
        );
    }
    let switch = "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert!(!response(switch, Method::Get).is_interim());
}
