//! RFC 9112 5: field syntax.

use super::*;

/// 5: "field-line = field-name ":" OWS field-value OWS"; the white space around a value is not part of it.
#[test]
fn s5_white_space_around_values_is_not_part_of_them() {
    for (line, value) in
        [("X:y", "y"), ("X: y", "y"), ("X:\t y \t", "y"), ("X:", ""), ("X:  \t", ""), ("X: a  b", "a  b")]
    {
        let text = with_fields(&[line]);
        let head = request(&text);
        assert_eq!(head.fields[1].value.of(text.as_bytes()), value.as_bytes(), "{line:?}");
    }
}

/// 5.1: "No whitespace is allowed between the field name and colon. […] A server MUST reject, with a response status
/// code of 400 (Bad Request), any received request message that contains whitespace between a header field name and
/// colon." A proxy has to remove it from responses; this one refuses them.
#[test]
fn s5_1_no_white_space_before_the_colon() {
    for line in ["X : y", "X\t: y", "Content-Length : 5", "Transfer-Encoding : chunked", "Host : b"] {
        refuses_requests(&[(&with_fields(&[line]), RequestError::SpaceBeforeColon)]);
    }
    refuses_responses(&[("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", ResponseError::SpaceBeforeColon)]);
}

/// 5.2: "A server that receives an obs-fold in a request message that is not within a "message/http" container MUST
/// either reject the message […] or replace each received obs-fold".
#[test]
fn s5_2_obsolete_line_folding_is_refused() {
    for line in ["X: y\r\n z", "X: y\r\n\tz", "X:\r\n y", "Transfer-Encoding:\r\n chunked"] {
        refuses_requests(&[(&with_fields(&[line]), RequestError::LineFolding)]);
        let text = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        refuses_responses(&[(&text, ResponseError::LineFolding)]);
    }
}

/// Unmodified field lines are passed on byte for byte, in order.
#[test]
fn s5_fields_keep_their_order_and_their_bytes() {
    let text = with_fields(&["B:1", "a:  2 ", "B: 3", "C: \u{e4}"]);
    assert_eq!(forwarded(&text), text);
}
