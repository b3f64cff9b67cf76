use super::{LIMITS, block, text};
use crate::http1::{self, HeadLimits, Parsed, RequestEdits};
use crate::http2::head::{HeadDecoder, HeadError, Malformed};
use crate::message::{BodyLength, FieldKind, FramingRewrite, Method, RequestHead, TargetForm, Version};

/// How a request is read.
#[derive(Clone, Copy)]
struct Given {
    end_stream: bool,
    connect_protocol: bool,
    limits: HeadLimits,
}

const WHOLE: Given = Given { end_stream: true, connect_protocol: false, limits: LIMITS };
const WITH_BODY: Given = Given { end_stream: false, ..WHOLE };
const WITH_CONNECT_PROTOCOL: Given = Given { connect_protocol: true, ..WITH_BODY };

fn read(fields: &[(&str, &str)], given: Given) -> Result<(RequestHead, Vec<u8>), HeadError> {
    let (mut head, mut bytes) = (RequestHead::default(), b"left over".to_vec());
    let mut decoder = HeadDecoder::new(4096);
    decoder.request(
        &block(fields),
        &given.limits,
        given.end_stream,
        given.connect_protocol,
        &mut head,
        &mut bytes,
    )?;
    assert_eq!(head.bytes as usize, bytes.len());
    assert_eq!(head.version, Version::Http2);
    assert!(head.keep_alive);
    check_as_http1(&head, &bytes);
    Ok((head, bytes))
}

fn accepted(fields: &[(&str, &str)], given: Given) -> (RequestHead, Vec<u8>) {
    read(fields, given).unwrap_or_else(|error| panic!("{error:?}: {fields:?}"))
}

/// Sent on as HTTP/1.1, a head means there what it means here.
fn check_as_http1(head: &RequestHead, bytes: &[u8]) {
    let (mut written, mut read) = (Vec::new(), RequestHead::default());
    http1::write_request(&mut written, bytes, head, &RequestEdits::default());
    let parsed = http1::parse_request(&written, &HeadLimits { bytes_max: 100_000, ..LIMITS }, &mut read);
    assert_eq!(parsed, Ok(Parsed::Complete), "{}", text(&written));
    let body = if head.body == BodyLength::Exact(0) { BodyLength::Empty } else { head.body };
    assert_eq!((read.method, read.body, read.form), (head.method, body, head.form));
    for (theirs, ours) in
        [(read.target, head.target), (read.authority, head.authority), (read.path, head.path)]
    {
        assert_eq!(text(theirs.of(&written)), text(ours.of(bytes)));
    }
    assert_eq!(read.query.map(|query| query.of(&written)), head.query.map(|query| query.of(bytes)));
    assert_eq!(read.expect_continue, head.expect_continue);
}

/// A GET for `/` of `a`, and more.
fn get<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    fields.extend_from_slice(more);
    fields
}

#[test]
fn requests_are_rendered_as_http1_heads() {
    let asterisk = [(":method", "OPTIONS"), (":path", "*"), (":scheme", "http"), (":authority", "a")];
    let connect = [(":method", "CONNECT"), (":authority", "a:443"), ("x", "y")];
    let host = [(":path", "/b?c=d"), (":scheme", "HTTPS"), (":method", "get"), ("x", "y"), ("host", "h:80")];
    for (fields, rendition) in [
        (get(&[]), "GET / HTTP/2.0\r\nhost: a\r\n\r\n"),
        (get(&[("accept", "*/*"), ("x", "")]), "GET / HTTP/2.0\r\nhost: a\r\naccept: */*\r\nx: \r\n\r\n"),
        (get(&[("host", "A")]), "GET / HTTP/2.0\r\nhost: a\r\n\r\n"),
        (get(&[("x", "1"), ("host", "a"), ("y", "2")]), "GET / HTTP/2.0\r\nhost: a\r\nx: 1\r\ny: 2\r\n\r\n"),
        (asterisk.to_vec(), "OPTIONS * HTTP/2.0\r\nhost: a\r\n\r\n"),
        (connect.to_vec(), "CONNECT a:443 HTTP/2.0\r\nhost: a:443\r\nx: y\r\n\r\n"),
        (host.to_vec(), "get /b?c=d HTTP/2.0\r\nx: y\r\nhost: h:80\r\n\r\n"),
    ] {
        let (_, bytes) = accepted(&fields, WHOLE);
        assert_eq!(text(&bytes), rendition);
    }
}

#[test]
fn ranges_say_what_is_where() {
    let fields = [
        (":authority", "example.com:8080"),
        (":method", "POST"),
        (":path", "/a/b?c=d?e"),
        (":scheme", "https"),
        ("content-length", "5"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x_real_ip", "1.2.3.4"),
        ("proxy-authorization", "secret"),
    ];
    let (head, bytes) = accepted(&fields, WITH_BODY);
    assert_eq!((head.method, head.form), (Method::Post, TargetForm::Origin));
    assert_eq!(text(head.method_span.of(&bytes)), "POST");
    assert_eq!(text(head.target.of(&bytes)), "/a/b?c=d?e");
    assert_eq!(text(head.path.of(&bytes)), "/a/b");
    assert_eq!(head.query.map(|query| text(query.of(&bytes))), Some("c=d?e"));
    assert_eq!(text(head.authority.of(&bytes)), "example.com:8080");
    assert_eq!(head.body, BodyLength::Exact(5));
    assert!(head.te_trailers && head.expect_continue && head.hop_by_hop_fields);
    assert_eq!(head.upgrade, None);
    let seen: Vec<_> = head
        .fields
        .iter()
        .map(|field| {
            (text(field.name.of(&bytes)), text(field.value.of(&bytes)), field.kind, field.hop_by_hop)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("host", "example.com:8080", FieldKind::Host, false),
            ("content-length", "5", FieldKind::ContentLength, false),
            ("te", "trailers", FieldKind::Te, true),
            ("expect", "100-continue", FieldKind::Expect, false),
            ("x-forwarded-for", "1.2.3.4", FieldKind::XForwardedFor, false),
            ("x_real_ip", "1.2.3.4", FieldKind::ForwardingAlias, true),
            ("proxy-authorization", "secret", FieldKind::ProxyAuthorization, true),
        ]
    );
    for (_, _, kind, _) in seen {
        assert!(head.kinds.contains(kind));
    }
}

#[test]
fn bodies_are_framed_by_length_and_end_of_stream() {
    use BodyLength::*;
    for (method, length, given, body, rewrite) in [
        ("GET", None, WHOLE, Empty, FramingRewrite::None),
        ("GET", None, WITH_BODY, Chunked, FramingRewrite::Chunked),
        ("GET", Some("0"), WHOLE, Empty, FramingRewrite::None),
        ("GET", Some("7"), WITH_BODY, Exact(7), FramingRewrite::None),
        ("POST", None, WHOLE, Empty, FramingRewrite::Length(0)),
        ("PUT", None, WHOLE, Empty, FramingRewrite::Length(0)),
        ("PATCH", None, WHOLE, Empty, FramingRewrite::Length(0)),
        ("DELETE", None, WHOLE, Empty, FramingRewrite::None),
        ("POST", Some("0"), WHOLE, Empty, FramingRewrite::None),
        ("POST", Some("0"), WITH_BODY, Exact(0), FramingRewrite::None),
        ("POST", Some("007"), WITH_BODY, Exact(7), FramingRewrite::Length(7)),
        ("POST", Some("9223372036854775807"), WITH_BODY, Exact(i64::MAX as u64), FramingRewrite::None),
        ("POST", None, WITH_BODY, Chunked, FramingRewrite::Chunked),
        ("TRACE", None, WHOLE, Empty, FramingRewrite::None),
    ] {
        let mut fields = get(&[]);
        fields[0].1 = method;
        fields.extend(length.map(|length| ("content-length", length)));
        let (head, _) = accepted(&fields, given);
        assert_eq!((head.body, head.framing_rewrite), (body, rewrite), "{method} {length:?}");
    }
}

#[test]
fn cookie_crumbs_are_one_field_for_everybody_else() {
    for (crumbs, cookie) in [
        (&[("cookie", "a=b")][..], "cookie: a=b\r\n"),
        (&[("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f")], "cookie: a=b; c=d; e=f\r\n"),
        (&[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d")], "cookie: a=b; c=d\r\nx: y\r\n"),
        (
            &[
                ("x", "y"),
                ("cookie", "a=b"),
                ("cookie", "c=d"),
                ("z", "1"),
                ("cookie", "e=f"),
                ("cookie", "g=h"),
            ],
            "x: y\r\ncookie: a=b; c=d; e=f; g=h\r\nz: 1\r\n",
        ),
        (&[("cookie", ""), ("cookie", "c=d")], "cookie: c=d\r\n"),
        (&[("cookie", "a=b"), ("cookie", ""), ("cookie", "c=d")], "cookie: a=b; c=d\r\n"),
        (&[("cookie", ""), ("x", "y"), ("cookie", "c=d")], "cookie: c=d\r\nx: y\r\n"),
        (&[("cookie", "a=b"), ("x", "y"), ("cookie", "")], "cookie: a=b\r\nx: y\r\n"),
    ] {
        let (head, bytes) = accepted(&get(crumbs), WHOLE);
        assert_eq!(text(&bytes), format!("GET / HTTP/2.0\r\nhost: a\r\n{cookie}\r\n"));
        for field in &head.fields {
            let line = format!("{}: {}\r\n", text(field.name.of(&bytes)), text(field.value.of(&bytes)));
            assert!(text(&bytes).contains(&line), "{line}");
        }
    }
    // A host that comes after the cookie moves with it.
    let late = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        ("cookie", "a"),
        ("host", "h"),
        ("cookie", "b"),
    ];
    let (head, bytes) = accepted(&late, WHOLE);
    assert_eq!(text(head.authority.of(&bytes)), "h");
}

#[test]
fn never_indexed_is_remembered() {
    let mut block = block(&get(&[("x", "1"), ("cookie", "a")]));
    block.extend_from_slice(b"\x10\x01y\x012\x1f\x11\x01b");
    let (mut head, mut bytes) = Default::default();
    HeadDecoder::new(4096).request(&block, &LIMITS, true, false, &mut head, &mut bytes).unwrap();
    let marked: Vec<_> = head.fields.iter().map(|f| (text(f.name.of(&bytes)), f.never_indexed)).collect();
    assert_eq!(marked, [("host", false), ("x", false), ("cookie", true), ("y", true)]);
}

#[test]
fn extended_connect_is_shown_as_an_upgrade() {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat?x"),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
    ];
    let (head, bytes) = accepted(&fields, WITH_CONNECT_PROTOCOL);
    let rendition =
        "GET /chat?x HTTP/2.0\r\nhost: a\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n";
    assert_eq!(text(&bytes), rendition);
    assert!(head.extended_connect && head.hop_by_hop_fields);
    assert_eq!((head.method, head.form, head.body), (Method::Get, TargetForm::Origin, BodyLength::Empty));
    assert_eq!(head.upgrade.map(|upgrade| text(upgrade.of(&bytes))), Some("websocket"));
    assert_eq!(read(&fields, WITH_BODY).unwrap_err(), Malformed::PseudoNotAllowed.into());
}

#[test]
fn pseudo_header_fields_that_break_a_rule_are_refused_with_its_name() {
    use Malformed::*;
    let [m, s, p, a] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let connect = (":method", "CONNECT");
    let protocol = (":protocol", "websocket");
    for (fields, rule) in [
        (&[][..], MissingPseudo),
        (&[s, p, a], MissingPseudo),
        (&[m, p, a], MissingPseudo),
        (&[m, s, a], MissingPseudo),
        (&[m, s, p], MissingAuthority),
        (&[("host", "a")], MissingPseudo),
        (&[m, s, p, a, m], DuplicatePseudo),
        (&[m, s, p, a, s], DuplicatePseudo),
        (&[m, s, p, a, p], DuplicatePseudo),
        (&[m, s, p, a, a], DuplicatePseudo),
        (&[m, s, p, ("x", "y"), a], PseudoAfterField),
        (&[("x", "y"), m, s, p, a], MissingPseudo),
        (&[m, s, p, a, (":status", "200")], PseudoNotAllowed),
        (&[m, s, p, a, (":unknown", "1")], UnknownPseudo),
        (&[m, s, p, a, (":", "1")], UnknownPseudo),
        (&[m, s, p, a, (":Path", "/")], UnknownPseudo),
        (&[m, s, p, a, (":path ", "/")], UnknownPseudo),
        (&[m, s, p, a, protocol], PseudoNotAllowed),
        (&[(":method", ""), s, p, a], InvalidMethod),
        (&[(":method", "GE T"), s, p, a], InvalidMethod),
        (&[(":method", "GET / HTTP/1.1\r\nx: y"), s, p, a], InvalidValue),
        (&[(":method", "G\u{e9}T"), s, p, a], InvalidMethod),
        (&[m, (":scheme", ""), p, a], InvalidScheme),
        (&[m, (":scheme", "ftp"), p, a], InvalidScheme),
        (&[m, (":scheme", "http:"), p, a], InvalidScheme),
        (&[m, s, (":path", ""), a], InvalidPath),
        (&[m, s, (":path", "a"), a], InvalidPath),
        (&[m, s, (":path", "*"), a], InvalidPath),
        (&[m, s, (":path", "http://a/"), a], InvalidPath),
        (&[m, s, (":path", "/#x"), a], InvalidPath),
        (&[m, s, (":path", "/ x"), a], InvalidPath),
        (&[m, s, (":path", "/\u{e9}"), a], InvalidPath),
        (&[m, s, (":path", "/\u{7f}"), a], InvalidValue),
        (&[m, s, (":path", "/\tx"), a], InvalidPath),
        (&[m, s, (":path", "/ HTTP/1.1\r\nx: y"), a], InvalidValue),
        (&[m, s, (":path", " /"), a], SpaceAroundValue),
        (&[m, s, p, (":authority", "")], InvalidAuthority),
        (&[m, s, p, (":authority", "u@a")], InvalidAuthority),
        (&[m, s, p, (":authority", "a/b")], InvalidAuthority),
        (&[m, s, p, (":authority", "a:x")], InvalidAuthority),
        (&[m, s, p, (":authority", "a,b")], InvalidAuthority),
        (&[connect], MissingAuthority),
        (&[connect, ("host", "a:1")], MissingAuthority),
        (&[connect, a], InvalidAuthority),
        (&[connect, (":authority", "a:1"), s], PseudoNotAllowed),
        (&[connect, (":authority", "a:1"), p], PseudoNotAllowed),
        (&[connect, (":authority", "a:1"), ("host", "a")], HostMismatch),
        (&[connect, (":authority", "a:1"), ("content-length", "0")], BodyNotAllowed),
    ] {
        assert_eq!(read(fields, WHOLE).unwrap_err(), rule.into(), "{fields:?}");
    }
    for (fields, rule) in [
        (&[m, s, p, a, protocol][..], PseudoNotAllowed),
        (&[connect, protocol, s, p], MissingAuthority),
        (&[connect, protocol, s, p, ("host", "a")], MissingAuthority),
        (&[connect, protocol, s, a], MissingPseudo),
        (&[connect, protocol, p, a], MissingPseudo),
        (&[connect, (":protocol", ""), s, p, a], InvalidProtocol),
        (&[connect, (":protocol", "a, b"), s, p, a], InvalidProtocol),
        (&[connect, protocol, protocol, s, p, a], DuplicatePseudo),
        (&[connect, protocol, s, p, a, ("content-length", "5")], BodyNotAllowed),
    ] {
        assert_eq!(read(fields, WITH_CONNECT_PROTOCOL).unwrap_err(), rule.into(), "{fields:?}");
    }
}

#[test]
fn fields_that_break_a_rule_are_refused_with_its_name() {
    use Malformed::*;
    for (fields, rule) in [
        (&[("", "x")][..], EmptyName),
        (&[("X", "x")], UpperCaseName),
        (&[("aB", "x")], UpperCaseName),
        (&[("a b", "x")], InvalidName),
        (&[("a ", "x")], InvalidName),
        (&[(" a", "x")], InvalidName),
        (&[("a:", "x")], InvalidName),
        (&[("a: b", "x")], InvalidName),
        (&[("a\0", "x")], InvalidName),
        (&[("a\r\nb", "x")], InvalidName),
        (&[("a\u{e9}", "x")], InvalidName),
        (&[("a\u{7f}", "x")], InvalidName),
        (&[("a(", "x")], InvalidName),
        (&[("a", "b\r\nc: d")], InvalidValue),
        (&[("a", "b\rc")], InvalidValue),
        (&[("a", "b\nc")], InvalidValue),
        (&[("a", "b\0c")], InvalidValue),
        (&[("a", "b\u{1}c")], InvalidValue),
        (&[("a", "b\u{7f}c")], InvalidValue),
        (&[("a", " b")], SpaceAroundValue),
        (&[("a", "b ")], SpaceAroundValue),
        (&[("a", "\tb")], SpaceAroundValue),
        (&[("a", "b\t")], SpaceAroundValue),
        (&[("a", " ")], SpaceAroundValue),
        (&[("connection", "close")], ConnectionSpecificField),
        (&[("connection", "")], ConnectionSpecificField),
        (&[("keep-alive", "timeout=5")], ConnectionSpecificField),
        (&[("proxy-connection", "close")], ConnectionSpecificField),
        (&[("transfer-encoding", "chunked")], ConnectionSpecificField),
        (&[("transfer-encoding", "identity")], ConnectionSpecificField),
        (&[("upgrade", "h2c")], ConnectionSpecificField),
        (&[("transfer_encoding", "chunked")], FramingAlias),
        (&[("content_length", "5")], FramingAlias),
        (&[("te", "gzip")], InvalidTe),
        (&[("te", "trailers, gzip")], InvalidTe),
        (&[("te", "")], InvalidTe),
        (&[("host", "b")], HostMismatch),
        (&[("host", "a:80")], HostMismatch),
        (&[("host", "")], HostMismatch),
        (&[("host", "a"), ("host", "a")], DuplicateHost),
        (&[("content-length", "")], InvalidContentLength),
        (&[("content-length", "+5")], InvalidContentLength),
        (&[("content-length", "-5")], InvalidContentLength),
        (&[("content-length", "5,5")], InvalidContentLength),
        (&[("content-length", "5, 5")], InvalidContentLength),
        (&[("content-length", "0x5")], InvalidContentLength),
        (&[("content-length", "5.0")], InvalidContentLength),
        (&[("content-length", "9223372036854775808")], InvalidContentLength),
        (&[("content-length", "99999999999999999999")], InvalidContentLength),
        (&[("content-length", "5"), ("content-length", "5")], DuplicateContentLength),
        (&[("content-length", "0"), ("content-length", "0")], DuplicateContentLength),
        (&[("content-length", "5")], ContentLengthMismatch),
    ] {
        assert_eq!(read(&get(fields), WHOLE).unwrap_err(), rule.into(), "{fields:?}");
    }
    let unknown = get(&[("expect", "200-ok")]);
    assert_eq!(read(&unknown, WITH_BODY).unwrap_err(), HeadError::UnknownExpectation);
    let mut trace = get(&[]);
    trace[0].1 = "TRACE";
    assert_eq!(read(&trace, WITH_BODY).unwrap_err(), BodyNotAllowed.into());
    // Without `:authority`, `host` is all there is.
    let [m, s, p] = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    for (fields, rule) in [
        (&[m, s, p, ("host", "")][..], InvalidHost),
        (&[m, s, p, ("host", "u@a")], InvalidHost),
        (&[m, s, p, ("host", "a b")], InvalidHost),
        (&[m, s, p, ("host", "a"), ("host", "a")], DuplicateHost),
    ] {
        assert_eq!(read(fields, WHOLE).unwrap_err(), rule.into(), "{fields:?}");
    }
}

#[test]
fn values_may_have_tabs_and_bytes_above_ascii_within() {
    let (_, bytes) = accepted(&get(&[("a", "b\tc \u{e9} d"), ("!#$%&'*+-.^_`|~09z", "")]), WHOLE);
    assert!(text(&bytes).contains("\r\na: b\tc \u{e9} d\r\n!#$%&'*+-.^_`|~09z: \r\n"));
}

#[test]
fn limits_are_kept_to_the_byte() {
    let long = "v".repeat(100);
    // `:method`, `:scheme`, `:path`, `:authority`, `x`, each with 32 bytes.
    let size: u32 = 10 + 11 + 6 + 11 + 101 + 5 * 32;
    for (bytes_max, error) in
        [(size, None), (size - 1, Some(HeadError::TooLarge)), (0, Some(HeadError::TooLarge))]
    {
        let limits = HeadLimits { bytes_max, ..LIMITS };
        assert_eq!(read(&get(&[("x", &long)]), Given { limits, ..WHOLE }).err(), error, "{bytes_max}");
    }
    for (fields_max, error) in
        [(2, None), (1, Some(HeadError::TooManyFields)), (0, Some(HeadError::TooManyFields))]
    {
        let limits = HeadLimits { fields_max, ..LIMITS };
        let crumbs = get(&[("cookie", "a"), ("cookie", "b")]);
        assert_eq!(read(&crumbs, Given { limits, ..WHOLE }).err(), error, "{fields_max}");
    }
    let path = format!("/{long}");
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", &path), (":authority", "a")];
    for (target_bytes_max, error) in [(101, None), (100, Some(HeadError::TargetTooLong))] {
        let limits = HeadLimits { target_bytes_max, ..LIMITS };
        assert_eq!(read(&fields, Given { limits, ..WHOLE }).err(), error, "{target_bytes_max}");
    }
}
