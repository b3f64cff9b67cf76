//! RFC 9110 5: fields.

use super::*;

/// 5.1: "field-name = token"; names have no case.
#[test]
fn s5_1_names_are_tokens_without_case() {
    for line in [": y", "X y: z", "X(: y", "X\u{e4}: y", "X\"Y: z", "X/Y: z", "X[: z", "X@: z", "no colon"] {
        refuses_requests(&[(&with_fields(&[line]), RequestError::InvalidFieldName)]);
    }
    for name in ["!#$%&'*+-.^_`|~", "x", "123"] {
        request(&with_fields(&[&format!("{name}: y")]));
    }
    let head = request("POST / HTTP/1.1\r\nhOsT: a\r\ncONTENT-lENGTH: 7\r\n\r\n");
    assert_eq!(head.body, BodyLength::Exact(7));
}

/// 5.5: "Field values containing CR, LF, or NUL characters are invalid and dangerous"; other controls may be kept,
/// and are not here.
#[test]
fn s5_5_values_have_no_controls() {
    for byte in (0..0x20u8).chain([0x7f]).filter(|b| !matches!(b, b'\t' | b'\r' | b'\n')) {
        let text = with_fields(&[&format!("X: a{}b", byte as char)]);
        refuses_requests(&[(&text, RequestError::InvalidFieldValue)]);
        let text = format!("HTTP/1.1 200 OK\r\nX: a{}b\r\n\r\n", byte as char);
        refuses_responses(&[(&text, ResponseError::InvalidFieldValue)]);
    }
    request(&with_fields(&["X: a\tb \u{e4}\u{20ac}"]));
}

/// 5.4: "A server that receives a request header field line, field value, or set of fields larger than it wishes to
/// process MUST respond with an appropriate 4xx": each bound has an error of its own.
#[test]
fn s5_4_limits() {
    let many = "X: y\r\n".repeat(100);
    refuses_requests(&[
        (&with_fields(&[many.trim_end()]), RequestError::TooManyFields),
        (&with_fields(&[&format!("X: {}", "y".repeat(65_536))]), RequestError::HeadTooLarge),
        (&with_fields(&[&format!("{}: y", "X".repeat(65_536))]), RequestError::HeadTooLarge),
    ]);
    // Around what a sixteen-bit length holds (CVE-2021-40346).
    for length in [255, 256, 257, 32_767, 32_768] {
        let text = with_fields(&[&format!("{}: y", "X".repeat(length)), "Content-Length: 5"]);
        let head = request(&text);
        assert_eq!((head.fields[1].name.len(), head.body), (length, BodyLength::Exact(5)));
    }
}
