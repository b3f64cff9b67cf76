//! RFC 9112 8: incomplete messages.

use super::*;

/// 8: "A message body that uses the chunked transfer coding is incomplete if the zero-sized chunk that terminates the
/// encoding has not been received. A message that uses a valid Content-Length is incomplete if the size of the
/// message body received (in octets) is less than the value given by Content-Length."
#[test]
fn s8_a_body_that_ends_early_is_truncated() {
    for text in
        ["", "4", "4\r\n", "4\r\nWi", "4\r\nWiki", "4\r\nWiki\r\n", "4\r\nWiki\r\n0\r\n", "0\r\nX: y\r\n"]
    {
        assert_eq!(chunked(text), Err(BodyError::Truncated), "{text:?}");
    }
    let limits = TrailerLimits { bytes_max: 100, fields_max: 10 };
    let mut exact = BodyDecoder::new(BodyLength::Exact(5), &limits);
    assert_eq!(exact.next(b"1234"), Ok(BodyStep::Data(4)));
    assert_eq!(exact.eof(), Err(BodyError::Truncated));
}

/// 8: "A response that has neither chunked transfer coding nor Content-Length is terminated by closure of the
/// connection and, if the header section was received intact, is considered complete".
#[test]
fn s8_a_close_ends_what_has_no_length() {
    let limits = TrailerLimits { bytes_max: 100, fields_max: 10 };
    let mut body = BodyDecoder::new(BodyLength::UntilClose, &limits);
    assert_eq!(body.next(b"1234"), Ok(BodyStep::Data(4)));
    assert_eq!((body.eof(), body.is_done()), (Ok(()), true));
}
