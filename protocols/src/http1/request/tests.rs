use super::*;
use crate::http1::RequestError as E;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 16, target_bytes_max: 256 };

fn parse(text: &[u8]) -> (Result<Parsed, E>, RequestHead) {
    let mut head = RequestHead::default();
    (parse_request(text, &LIMITS, &mut head), head)
}

fn accepted(text: &str) -> RequestHead {
    let (result, head) = parse(text.as_bytes());
    assert_eq!(result, Ok(Parsed::Complete), "{text:?}");
    head
}

fn refused(cases: &[(&str, E)]) {
    for (text, error) in cases {
        let (result, _) = parse(text.as_bytes());
        assert_eq!(result, Err(*error), "{text:?}");
    }
}

/// A request of these field lines.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

fn refused_fields(cases: &[(&str, E)]) {
    for (lines, error) in cases {
        let (result, _) = parse(get(lines).as_bytes());
        assert_eq!(result, Err(*error), "{lines:?}");
    }
}

#[test]
fn a_plain_request_is_split_into_its_parts() {
    let text = "GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nX-Empty:\r\nX-Padded: \t v \t\r\n\r\nrest";
    let head = accepted(text);
    let bytes = text.as_bytes();
    assert_eq!((head.method, head.version, head.form), (Method::Get, Version::Http11, TargetForm::Origin));
    assert_eq!(head.target.of(bytes), b"/a/b?c=d");
    assert_eq!(head.path.of(bytes), b"/a/b");
    assert_eq!(head.query.map(|q| q.of(bytes)), Some(&b"c=d"[..]));
    assert_eq!(head.authority.of(bytes), b"example.com");
    assert_eq!(head.fields.len(), 3);
    assert_eq!(head.fields[1].value.of(bytes), b"");
    assert_eq!(head.fields[2].value.of(bytes), b"v");
    assert_eq!(head.bytes as usize, text.len() - "rest".len());
    assert!(head.keep_alive && !head.hop_by_hop_fields && !head.expect_continue);
    assert_eq!(head.body, BodyLength::Empty);
}

#[test]
fn every_incomplete_beginning_needs_more() {
    let text = "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
    for end in 0..text.len() {
        let (result, _) = parse(&text.as_bytes()[..end]);
        assert_eq!(result, Ok(Parsed::NeedMore), "{:?}", &text[..end]);
    }
    assert_eq!(accepted(text).bytes as usize, text.len());
}

#[test]
fn a_head_that_arrives_byte_by_byte_is_the_head_that_arrives_at_once() {
    let text = get("A: 1\r\nB: 2\r\nTransfer-Encoding: chunked");
    let (mut progress, mut head) = (HeadProgress::default(), RequestHead::default());
    for end in 1..=text.len() {
        let result = parse_request_resumed(&text.as_bytes()[..end], &LIMITS, &mut progress, &mut head);
        let expected = if end == text.len() { Parsed::Complete } else { Parsed::NeedMore };
        assert_eq!(result, Ok(expected), "{end}");
    }
    assert_eq!(head, accepted(&text));
}

#[test]
fn one_empty_line_before_the_request_is_skipped_and_two_are_not() {
    let head = accepted("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.method_span, head.target), (span(2, 3), span(6, 1)));
    refused(&[
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::BareLineEnd),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::BareLineEnd),
        ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
    ]);
}

#[test]
fn request_lines_have_three_words_and_two_spaces() {
    refused(&[
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET / \r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET /\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
    ]);
}

#[test]
fn only_the_two_versions_are_spoken() {
    refused(&[
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", E::UnsupportedVersion),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", E::UnsupportedVersion),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", E::UnsupportedVersion),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", E::UnsupportedVersion),
        ("GET / HTTP/11\r\nHost: a\r\n\r\n", E::UnsupportedVersion),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", E::InvalidRequestLine),
    ]);
}

#[test]
fn lines_end_in_crlf_and_nothing_else() {
    refused(&[
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", E::BareLineEnd),
        ("GET / HTTP/1.1\nHost: a\n\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\nB: c\nD: e\r\n\r\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\nB:\nD: e\r\n\r\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\nB: c \nD: e\r\n\r\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\nB: c\rD: e\r\n\r\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\nB: c\r\r\n\r\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", E::BareLineEnd),
        ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", E::BareLineEnd),
    ]);
}

#[test]
fn field_lines_are_a_token_a_colon_and_text() {
    refused_fields(&[
        (" X: y", E::LineFolding),
        ("X: y\r\n z", E::LineFolding),
        ("X: y\r\n\tz", E::LineFolding),
        ("X : y", E::SpaceBeforeColon),
        ("X\t: y", E::SpaceBeforeColon),
        ("Content-Length : 5", E::SpaceBeforeColon),
        (": y", E::InvalidFieldName),
        ("X", E::InvalidFieldName),
        ("X y: z", E::InvalidFieldName),
        ("X(: z", E::InvalidFieldName),
        ("X\u{e4}: z", E::InvalidFieldName),
        ("X\0: z", E::InvalidFieldName),
        ("X: a\0b", E::InvalidFieldValue),
        ("X: a\x01b", E::InvalidFieldValue),
        ("X: \x7f", E::InvalidFieldValue),
        ("X: a\x0bb", E::InvalidFieldValue),
        ("X:\x0cb", E::InvalidFieldValue),
    ]);
    // Above the width of a vector register too, where tokenisers take another path.
    for at in 0..80 {
        for bad in [0u8, 1, 8, 10, 11, 13, 31, 127] {
            let mut text = get(&format!("X: {}", "v".repeat(80))).into_bytes();
            let start = text.len() - 84;
            text[start + at] = bad;
            let (result, _) = parse(&text);
            assert!(
                matches!(result, Err(E::InvalidFieldValue | E::BareLineEnd)),
                "{bad} at {at}: {result:?}"
            );
        }
    }
}

#[test]
fn text_beyond_ascii_passes_in_values() {
    let text = get("X: \u{e4}\tb");
    assert_eq!(accepted(&text).fields[1].value.of(text.as_bytes()), "\u{e4}\tb".as_bytes());
}

#[test]
fn both_length_and_chunked_are_refused_in_any_order() {
    refused_fields(&[
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", E::BothLengthAndChunked),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", E::BothLengthAndChunked),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", E::BothLengthAndChunked),
        ("Transfer-Encoding: x\r\nContent-Length: y", E::BothLengthAndChunked),
    ]);
}

#[test]
fn lengths_are_one_run_of_digits() {
    for value in [
        "",
        "+5",
        "-5",
        "5,",
        "5, 5",
        ",5",
        "5 5",
        "0x5",
        "5.0",
        "5a",
        "\"5\"",
        "5;",
        "5\t5",
        "٥",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999",
        "00000000000000000005",
        "1e3",
        "5\u{b2}",
    ] {
        refused_fields(&[(&format!("Content-Length: {value}"), E::InvalidContentLength)]);
    }
    refused_fields(&[
        ("Content-Length: 5\r\nContent-Length: 5", E::DuplicateContentLength),
        ("Content-Length: 5\r\nX: y\r\ncontent-length: 6", E::DuplicateContentLength),
        ("Content-Length:\r\nContent-Length: 6", E::DuplicateContentLength),
        ("Content_Length: 5", E::FramingAlias),
        ("content_length: 5\r\nContent-Length: 5", E::FramingAlias),
    ]);
    for (value, body) in [
        ("0", BodyLength::Empty),
        ("5", BodyLength::Exact(5)),
        ("007", BodyLength::Exact(7)),
        ("9223372036854775807", BodyLength::Exact(i64::MAX as u64)),
    ] {
        assert_eq!(accepted(&get(&format!("Content-Length: {value}"))).body, body, "{value}");
    }
}

#[test]
fn the_only_transfer_coding_is_chunked_once() {
    for value in [
        "",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "chunked, identity",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "chunked;",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "chun ked",
        "x",
        "'chunked'",
        "chunked\tx",
        "cow",
        "\u{a0}chunked",
        "chunke\u{212a}",
        "chunked\u{e4}",
    ] {
        refused_fields(&[(&format!("Transfer-Encoding: {value}"), E::InvalidTransferEncoding)]);
    }
    refused_fields(&[
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", E::DuplicateTransferEncoding),
        ("Transfer-Encoding: chunked\r\ntransfer-encoding: identity", E::DuplicateTransferEncoding),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", E::DuplicateTransferEncoding),
        ("Transfer_Encoding: chunked", E::FramingAlias),
        ("Transfer-Encoding : chunked", E::SpaceBeforeColon),
        ("Transfer-Encoding\x0b: chunked", E::InvalidFieldName),
        ("Transfer-Encoding: \x0bchunked", E::InvalidFieldValue),
        ("X: y\nTransfer-Encoding: chunked", E::BareLineEnd),
        ("Transfer-Encoding:\r\n chunked", E::LineFolding),
    ]);
    for value in ["chunked", "CHUNKED", "Chunked ", "\tchunked\t"] {
        assert_eq!(
            accepted(&get(&format!("Transfer-Encoding: {value}"))).body,
            BodyLength::Chunked,
            "{value:?}"
        );
    }
    refused(&[("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", E::TransferEncodingInHttp10)]);
}

#[test]
fn there_is_exactly_one_valid_host() {
    refused(&[
        ("GET / HTTP/1.1\r\n\r\n", E::MissingHost),
        ("GET / HTTP/1.1\r\nX: y\r\n\r\n", E::MissingHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", E::DuplicateHost),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", E::DuplicateHost),
        ("GET http://a/ HTTP/1.1\r\n\r\n", E::MissingHost),
    ]);
    for host in
        ["", "a,b", "a b", "u@a", "a:b", "a:99999", "a/b", "a?", "[::1", "a%20", "\u{e4}", "a\\b", "a..b"]
    {
        refused(&[(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), E::InvalidHost)]);
    }
    assert!(accepted("GET / HTTP/1.0\r\n\r\n").authority.is_empty());
}

#[test]
fn the_host_is_the_authority_of_the_target() {
    let text = "GET http://Example.com:80/x?y HTTP/1.1\r\nHost: example.COM:80\r\n\r\n";
    let head = accepted(text);
    let bytes = text.as_bytes();
    assert_eq!(head.form, TargetForm::Absolute);
    assert_eq!(head.scheme.map(|s| s.of(bytes)), Some(&b"http"[..]));
    assert_eq!(head.authority.of(bytes), b"Example.com:80");
    assert_eq!((head.path.of(bytes), head.query.map(|q| q.of(bytes))), (&b"/x"[..], Some(&b"y"[..])));
    refused(&[
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", E::HostMismatch),
        ("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", E::HostMismatch),
        ("CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", E::HostMismatch),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidAuthority),
        ("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidAuthority),
        ("GET http://a,b/ HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidAuthority),
        ("GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidAuthority),
    ]);
}

#[test]
fn an_absolute_target_without_path_is_the_root() {
    for (target, path, query) in
        [("http://a", "/", None), ("HTTPS://a?q", "/", Some("q")), ("http://a/", "/", None)]
    {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = accepted(&text);
        assert_eq!(head.path_of(text.as_bytes()), path.as_bytes(), "{target}");
        assert_eq!(head.query.map(|q| q.of(text.as_bytes())), query.map(str::as_bytes), "{target}");
    }
}

#[test]
fn targets_are_ascii_and_have_no_fragment() {
    for target in
        ["/admin#.png", "/#", "#", "/\u{e4}", "/\u{80}", "*x", "admin", "ftp://a/", "//", "a:80", "?", "%2f"]
    {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        match target {
            // Two slashes are a path; what they mean is for the routes to say.
            "//" => assert_eq!(accepted(&text).path.len(), 2),
            "a:80" | "admin" => refused(&[(&text, E::TargetFormNotAllowed)]),
            _ => refused(&[(&text, E::InvalidTarget)]),
        }
    }
    for bad in [0u8, 1, 9, 11, 12, 127, 128, 255] {
        let text = [b"GET /a".as_slice(), &[bad], b"b HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        assert_eq!(parse(&text).0, Err(E::InvalidTarget), "{bad}");
    }
}

#[test]
fn the_form_of_the_target_goes_with_the_method() {
    refused(&[
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", E::TargetFormNotAllowed),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", E::TargetFormNotAllowed),
        ("CONNECT * HTTP/1.1\r\nHost: a\r\n\r\n", E::TargetFormNotAllowed),
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", E::InvalidAuthority),
        ("CONNECT http://a:80/ HTTP/1.1\r\nHost: a:80\r\n\r\n", E::InvalidAuthority),
        ("CONNECT u@a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", E::InvalidAuthority),
        ("GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", E::TargetFormNotAllowed),
    ]);
    let head = accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.form, head.path, head.method), (TargetForm::Asterisk, head.target, Method::Options));
    let head = accepted("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!((head.form, head.authority, head.path.len()), (TargetForm::Authority, head.target, 0));
}

#[test]
fn methods_that_have_no_content_are_refused_with_a_body() {
    refused(&[
        ("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", E::BodyNotAllowed),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n", E::BodyNotAllowed),
    ]);
    accepted("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn connections_persist_as_rfc_9112_says() {
    for (version, line, keep) in [
        ("1.1", "X: y", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: keep-alive", true),
        ("1.1", "Connection: keep-alive, Close", false),
        ("1.1", "Connection: foo\r\nConnection: CLOSE", false),
        ("1.0", "X: y", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: keep-alive, close", false),
        ("1.1", "Proxy-Connection: close", true),
        ("1.0", "Proxy-Connection: keep-alive", false),
        ("1.1", "Connection:", true),
        ("1.1", "Connection: , ,", true),
    ] {
        let head = accepted(&format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n\r\n"));
        assert_eq!(head.keep_alive, keep, "{version} {line}");
    }
}

#[test]
fn connection_removes_what_it_names_but_never_what_others_rely_on() {
    let text = get(
        "Connection: x-one, Authorization, Cookie, X-Forwarded-For, X-Real-Ip, Via, X-TWO\r\nX-One: 1\r\nX-Two: 2\r\n\
         X-Three: 3\r\nAuthorization: a\r\nCookie: b\r\nX-Forwarded-For: c\r\nX-Real-IP: d\r\nVia: e",
    );
    let head = accepted(&text);
    let kept: Vec<_> =
        head.fields.iter().filter(|f| !f.hop_by_hop).map(|f| f.name.of(text.as_bytes())).collect();
    let expected: [&[u8]; 7] =
        [b"Host", b"X-Three", b"Authorization", b"Cookie", b"X-Forwarded-For", b"X-Real-IP", b"Via"];
    assert_eq!(kept, expected);
    refused_fields(&[
        ("Connection: Host", E::ConnectionNamesFraming),
        ("Connection: close, content-length", E::ConnectionNamesFraming),
        ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", E::ConnectionNamesFraming),
        ("Connection: Content_Length", E::ConnectionNamesFraming),
        ("Connection: a b", E::InvalidConnection),
        ("Connection: \"close\"", E::InvalidConnection),
        (&format!("Connection: {}", "a,".repeat(33)), E::InvalidConnection),
    ]);
}

#[test]
fn standard_hop_by_hop_fields_are_marked() {
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Upgrade",
        "HTTP2-Settings",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "X_Forwarded_For",
        "x_real_ip",
        "X_FORWARDED_PROTO",
        "X-Request_Id",
    ] {
        let head = accepted(&get(&format!("{name}: x")));
        assert!(head.hop_by_hop_fields && head.fields[1].hop_by_hop, "{name}");
    }
    for name in ["Transfer-Encoding: chunked", "Trailer: x", "Via: x", "X-Forwarded-For: x", "Cookie: x"] {
        assert!(!accepted(&get(name)).fields[1].hop_by_hop, "{name}");
    }
}

#[test]
fn upgrades_need_the_connection_option_http_1_1_and_no_body() {
    let upgrade = |text: &str| accepted(text).upgrade.map(|u| u.of(text.as_bytes()).to_vec());
    assert_eq!(upgrade(&get("Upgrade: websocket\r\nConnection: upgrade")), Some(b"websocket".to_vec()));
    assert_eq!(
        upgrade(&get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket")),
        Some(b"websocket".to_vec())
    );
    for lines in [
        "Upgrade: websocket",
        "Connection: upgrade",
        "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 3",
    ] {
        assert_eq!(upgrade(&get(lines)), None, "{lines:?}");
    }
    assert_eq!(
        upgrade("GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        None
    );
}

#[test]
fn the_only_expectation_is_100_continue() {
    for value in ["y 100-continue", "100-continue, x", "", "100-continue;q=1", "200-ok", "100 continue"] {
        refused_fields(&[(&format!("Expect: {value}"), E::UnknownExpectation)]);
    }
    refused_fields(&[("Expect: 100-continue\r\nExpect: 100-continue", E::UnknownExpectation)]);
    let head = accepted(&get("Content-Length: 3\r\nExpect: 100-Continue"));
    assert!(head.expect_continue && !head.hop_by_hop_fields);
    // Ignored where there is nothing to wait for, and in HTTP/1.0.
    let head = accepted(&get("Expect: 100-continue"));
    assert!(!head.expect_continue && head.fields[1].hop_by_hop);
    let head = accepted("PUT / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert!(!head.expect_continue && head.hop_by_hop_fields);
}

#[test]
fn te_trailers_is_recognised() {
    for (value, expected) in
        [("trailers", true), ("gzip, Trailers", true), ("gzip", false), ("", false), ("trailersx", false)]
    {
        assert_eq!(accepted(&get(&format!("TE: {value}"))).te_trailers, expected, "{value}");
    }
}

#[test]
fn limits_are_exact_and_told_apart() {
    let head_of = |bytes: usize| {
        let fixed = get("X: ").len();
        get(&format!("X: {}", "v".repeat(bytes - fixed)))
    };
    accepted(&head_of(4096));
    refused(&[(&head_of(4097), E::HeadTooLarge)]);
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(bytes - 1));
    accepted(&target(256));
    refused(&[(&target(257), E::TargetTooLong)]);
    accepted(&get("X: y\r\n".repeat(15).trim_end()));
    refused(&[(&get("X: y\r\n".repeat(16).trim_end()), E::TooManyFields)]);
}

#[test]
fn an_endless_head_is_refused_before_its_end() {
    refused(&[
        (&format!("GET /{}", "p".repeat(300)), E::TargetTooLong),
        (&format!("GET /{}", "p".repeat(5000)), E::TargetTooLong),
        (&"G".repeat(4096), E::HeadTooLarge),
        (&format!("GET / HTTP/1.1\r\nX: {}", "v".repeat(4096)), E::HeadTooLarge),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(17)), E::TooManyFields),
        (&format!("GET / HTTP/1.1\r\n{}", "v".repeat(4096)), E::HeadTooLarge),
        ("GET / HTTP/1.1\r\nX : y", E::SpaceBeforeColon),
        ("GET / HTTQ", E::InvalidRequestLine),
        ("\x16\x03\x01\x02\x00\x01\x00", E::InvalidRequestLine),
    ]);
}

#[test]
fn more_fields_than_fit_on_the_stack_are_possible() {
    let limits = HeadLimits { bytes_max: 65_536, fields_max: 1000, target_bytes_max: 256 };
    let mut head = RequestHead::default();
    let text = get("X: y\r\n".repeat(999).trim_end());
    assert_eq!(parse_request(text.as_bytes(), &limits, &mut head), Ok(Parsed::Complete));
    assert_eq!(head.fields.len(), 1000);
    let text = get("X: y\r\n".repeat(1000).trim_end());
    assert_eq!(parse_request(text.as_bytes(), &limits, &mut head), Err(E::TooManyFields));
}
