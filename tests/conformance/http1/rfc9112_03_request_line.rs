//! RFC 9112 3: the request line and the request target.

use super::*;
use ringway_protocols::message::TargetForm;

/// 3: "request-line = method SP request-target SP HTTP-version"
#[test]
fn s3_words_are_separated_by_single_spaces() {
    refuses_requests(&[
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidRequestLine),
        ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidRequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", RequestError::InvalidRequestLine),
        ("GET /\u{b}HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidTarget),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidRequestLine),
        ("GET /\r\nHost: a\r\n\r\n", RequestError::InvalidRequestLine),
    ]);
}

/// 3.1: "method = token", case-sensitive.
#[test]
fn s3_1_methods_are_tokens() {
    for (name, method) in [("get", Method::Other), ("PROPFIND", Method::Other), ("M-SEARCH", Method::Other)] {
        let text = format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = request(&text);
        assert_eq!((head.method, head.method_span.of(text.as_bytes())), (method, name.as_bytes()));
    }
    for name in ["G ET", "GE:T", "G\u{e4}T", "\"GET\"", "GET,"] {
        let text = format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(try_request(&text).is_err(), "{name}");
    }
}

/// 3.2: "A server MUST respond with a 400 status code to any HTTP/1.1 request message that lacks a Host header field
/// and to any request message that contains more than one Host header field line or a Host header field with an
/// invalid field value."
#[test]
fn s3_2_host_is_required_single_and_valid() {
    refuses_requests(&[
        ("GET / HTTP/1.1\r\n\r\n", RequestError::MissingHost),
        ("GET http://a/ HTTP/1.1\r\n\r\n", RequestError::MissingHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", RequestError::DuplicateHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nHOST: b\r\n\r\n", RequestError::DuplicateHost),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", RequestError::InvalidHost),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", RequestError::InvalidHost),
        ("GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", RequestError::InvalidHost),
        ("GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", RequestError::InvalidHost),
        ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", RequestError::InvalidHost),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", RequestError::InvalidHost),
    ]);
    for host in ["a", "a:", "a:80", "A.B-c.", "127.0.0.1:8080", "[2001:db8::1]:443"] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(request(&text).authority.of(text.as_bytes()), host.as_bytes());
    }
}

/// 3.2.1 and 3.2.2: origin-form and absolute-form, and "A proxy MUST replace the received Host header field value (if
/// any) with the host information of the request-target". Where the two differ somebody is being lied to: refused.
#[test]
fn s3_2_2_absolute_form_is_sent_on_in_origin_form() {
    for (target, sent) in [
        ("http://a/x?y", "/x?y"),
        ("http://a", "/"),
        ("http://a?y", "/?y"),
        ("HTTP://A/", "/"),
        ("https://a/%41", "/%41"),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(request(&text).form, TargetForm::Absolute);
        assert_eq!(forwarded(&text), format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n"), "{target}");
    }
    refuses_requests(&[
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::HostMismatch),
        ("GET http://a:8080/ HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::HostMismatch),
        ("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidAuthority),
        ("GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", RequestError::InvalidAuthority),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidTarget),
        ("GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidTarget),
        ("GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidTarget),
    ]);
}

/// 3.2.3: authority-form is for CONNECT, with a port, and CONNECT has no other form.
#[test]
fn s3_2_3_authority_form_is_for_connect() {
    let head = request("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    assert_eq!((head.form, head.method), (TargetForm::Authority, Method::Connect));
    refuses_requests(&[
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidAuthority),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::TargetFormNotAllowed),
        ("CONNECT http://a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", RequestError::InvalidAuthority),
        ("GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", RequestError::TargetFormNotAllowed),
    ]);
}

/// 3.2.4: asterisk-form is for OPTIONS; an absolute-form OPTIONS without path becomes one.
#[test]
fn s3_2_4_asterisk_form_is_for_options() {
    assert_eq!(request("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").form, TargetForm::Asterisk);
    refuses_requests(&[("GET * HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::TargetFormNotAllowed)]);
    assert_eq!(
        forwarded("OPTIONS http://a:8001 HTTP/1.1\r\nHost: a:8001\r\n\r\n"),
        "OPTIONS * HTTP/1.1\r\nHost: a:8001\r\n\r\n"
    );
}

/// 3.2: no fragment, and only what a URI has (RFC 3986 2).
#[test]
fn s3_2_targets_have_no_fragment_and_are_ascii() {
    for target in ["/a#b", "/#", "/\u{e4}", "http://a/#"] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        refuses_requests(&[(&text, RequestError::InvalidTarget)]);
    }
}

/// 3: "A server that receives a request-target longer than any URI it wishes to parse MUST respond with a 414".
#[test]
fn s3_long_targets_have_an_error_of_their_own() {
    let text = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192));
    refuses_requests(&[(&text, RequestError::TargetTooLong)]);
}
