use super::{LIMITS, block, text};
use crate::http1::{self, HeadLimits, Parsed, ResponseEdits};
use crate::http2::head::{HeadDecoder, HeadError, Malformed};
use crate::message::{BodyLength, FramingRewrite, Method, ResponseHead};

fn read(
    fields: &[(&str, &str)],
    method: Method,
    end_stream: bool,
) -> Result<(ResponseHead, Vec<u8>), HeadError> {
    let (mut head, mut bytes) = (ResponseHead::default(), b"left over".to_vec());
    HeadDecoder::new(4096).response(&block(fields), &LIMITS, end_stream, method, &mut head, &mut bytes)?;
    assert_eq!(head.bytes as usize, bytes.len());
    check_as_http1(&head, &bytes, method);
    Ok((head, bytes))
}

/// Sent on as HTTP/1.1, a head means there what it means here.
fn check_as_http1(head: &ResponseHead, bytes: &[u8], method: Method) {
    let (mut written, mut read) = (Vec::new(), ResponseHead::default());
    http1::write_response(&mut written, bytes, head, &ResponseEdits::default());
    if !http1::response_needs_edit(head, &ResponseEdits::default()) {
        assert_eq!(text(&written), text(bytes));
    }
    let parsed =
        http1::parse_response(&written, &HeadLimits { bytes_max: 100_000, ..LIMITS }, method, &mut read);
    assert_eq!(parsed, Ok(Parsed::Complete), "{}", text(&written));
    let body = if head.body == BodyLength::Exact(0) { BodyLength::Empty } else { head.body };
    assert_eq!((read.status, read.body, read.keep_alive), (head.status, body, true));
}

#[test]
fn responses_are_rendered_as_http1_heads() {
    for (fields, rendition) in [
        (&[(":status", "200"), ("content-length", "0")][..], "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        (&[(":status", "204")], "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            &[(":status", "599"), ("set-cookie", "a"), ("set-cookie", "b"), ("cookie", "c"), ("cookie", "d")],
            "HTTP/1.1 599 \r\nset-cookie: a\r\nset-cookie: b\r\ncookie: c\r\ncookie: d\r\n\r\n",
        ),
    ] {
        let (head, bytes) = read(fields, Method::Get, true).unwrap();
        assert_eq!(text(&bytes), rendition);
        assert_eq!(head.fields.len(), fields.len() - 1);
        for (field, (name, value)) in head.fields.iter().zip(&fields[1..]) {
            assert_eq!((text(field.name.of(&bytes)), text(field.value.of(&bytes))), (*name, *value));
        }
    }
}

#[test]
fn bodies_are_framed_by_status_method_length_and_end_of_stream() {
    use BodyLength::*;
    for (status, method, length, end_stream, body, rewrite) in [
        ("200", Method::Get, None, false, Chunked, FramingRewrite::Chunked),
        ("200", Method::Get, None, true, Empty, FramingRewrite::Length(0)),
        ("200", Method::Get, Some("5"), false, Exact(5), FramingRewrite::None),
        ("200", Method::Get, Some("05"), false, Exact(5), FramingRewrite::Length(5)),
        ("200", Method::Get, Some("0"), false, Exact(0), FramingRewrite::None),
        ("200", Method::Get, Some("0"), true, Empty, FramingRewrite::None),
        ("200", Method::Head, Some("5"), true, Empty, FramingRewrite::None),
        ("200", Method::Head, None, true, Empty, FramingRewrite::None),
        ("304", Method::Get, Some("5"), true, Empty, FramingRewrite::None),
        ("204", Method::Get, None, true, Empty, FramingRewrite::None),
        ("204", Method::Get, Some("0"), true, Empty, FramingRewrite::None),
        ("100", Method::Get, None, false, Empty, FramingRewrite::None),
        ("103", Method::Get, Some("5"), false, Empty, FramingRewrite::None),
        ("200", Method::Connect, None, false, Empty, FramingRewrite::None),
        ("200", Method::Connect, Some("5"), false, Empty, FramingRewrite::None),
        ("403", Method::Connect, None, false, Chunked, FramingRewrite::Chunked),
    ] {
        let mut fields = vec![(":status", status)];
        fields.extend(length.map(|length| ("content-length", length)));
        let (head, _) = read(&fields, method, end_stream).unwrap();
        assert_eq!(
            (head.body, head.framing_rewrite),
            (body, rewrite),
            "{status} {method:?} {length:?} {end_stream}"
        );
    }
}

#[test]
fn a_length_where_no_body_can_be_goes_no_further() {
    for (status, method) in [("103", Method::Get), ("204", Method::Get), ("200", Method::Connect)] {
        let fields = [(":status", status), ("content-length", "5")];
        let (head, bytes) = read(&fields, method, false).unwrap();
        let mut written = Vec::new();
        http1::write_response(&mut written, &bytes, &head, &ResponseEdits::default());
        let status_line = format!("HTTP/1.1 {status} {}\r\n\r\n", http1::reason_phrase(head.status));
        assert_eq!(text(&written), status_line);
    }
}

#[test]
fn responses_that_break_a_rule_are_refused_with_its_name() {
    use Malformed::*;
    let ok = (":status", "200");
    for (fields, rule) in [
        (&[][..], MissingPseudo),
        (&[("x", "y")], MissingPseudo),
        (&[("x", "y"), ok], MissingPseudo),
        (&[ok, ("x", "y"), ok], PseudoAfterField),
        (&[ok, ok], DuplicatePseudo),
        (&[ok, (":path", "/")], PseudoNotAllowed),
        (&[(":method", "GET"), ok], PseudoNotAllowed),
        (&[ok, (":x", "/")], UnknownPseudo),
        (&[(":status", "")], InvalidStatus),
        (&[(":status", "20")], InvalidStatus),
        (&[(":status", "2000")], InvalidStatus),
        (&[(":status", "099")], InvalidStatus),
        (&[(":status", "600")], InvalidStatus),
        (&[(":status", "+20")], InvalidStatus),
        (&[(":status", "2 0")], InvalidStatus),
        (&[(":status", "200 OK")], InvalidStatus),
        (&[(":status", "101")], SwitchingProtocols),
        (&[(":status", "100")], InterimEndsStream),
        (&[ok, ("X", "y")], UpperCaseName),
        (&[ok, ("x", "y\r\nz: 1")], InvalidValue),
        (&[ok, ("connection", "close")], ConnectionSpecificField),
        (&[ok, ("transfer-encoding", "chunked")], ConnectionSpecificField),
        (&[ok, ("upgrade", "websocket")], ConnectionSpecificField),
        (&[ok, ("te", "trailers")], InvalidTe),
        (&[ok, ("content_length", "5")], FramingAlias),
        (&[ok, ("content-length", "5"), ("content-length", "5")], DuplicateContentLength),
        (&[ok, ("content-length", "5,5")], InvalidContentLength),
        (&[ok, ("content-length", "5")], ContentLengthMismatch),
    ] {
        assert_eq!(read(fields, Method::Get, true).unwrap_err(), rule.into(), "{fields:?}");
    }
}
