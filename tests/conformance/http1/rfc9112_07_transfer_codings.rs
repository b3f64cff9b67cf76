//! RFC 9112 7: the chunked transfer coding.

use super::*;

/// Content and rest, or the error.
type Expected = Result<(&'static str, &'static str), BodyError>;

fn check(cases: &[(&str, Expected)]) {
    for (text, expected) in cases {
        let expected = expected.map(|(content, rest)| (content.to_owned(), rest.to_owned()));
        assert_eq!(chunked(text), expected, "{text:?}");
    }
}

/// 7.1: "chunked-body = *chunk last-chunk trailer-section CRLF"
#[test]
fn s7_1_chunked_bodies() {
    check(&[
        ("0\r\n\r\n", Ok(("", ""))),
        ("4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\nGET", Ok(("Wikipedia", "GET"))),
        ("B\r\nhello world\r\n000\r\n\r\n", Ok(("hello world", ""))),
        ("00a\r\n0123456789\r\n0\r\n\r\n", Ok(("0123456789", ""))),
    ]);
}

/// 7.1: "A recipient MUST be able to parse and decode the chunked transfer coding", and nothing that resembles it.
#[test]
fn s7_1_what_is_not_a_chunk() {
    check(&[
        ("4\nWiki\r\n0\r\n\r\n", Err(BodyError::BareLineEnd)),
        ("4\r\nWiki0\r\n\r\n", Err(BodyError::InvalidChunkEnd)),
        ("4\r\nWiki\n0\r\n\r\n", Err(BodyError::InvalidChunkEnd)),
        ("4\r\nWikipedia\r\n0\r\n\r\n", Err(BodyError::InvalidChunkEnd)),
        ("4 \r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkSize)),
        (" 4\r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkSize)),
        ("0x4\r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkSize)),
        ("-4\r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkSize)),
        ("4_0\r\n", Err(BodyError::InvalidChunkSize)),
        ("\r\n\r\n", Err(BodyError::InvalidChunkSize)),
        ("0\r\n\n", Err(BodyError::BareLineEnd)),
    ]);
}

/// 7.1: "recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to integer
/// conversion overflows".
#[test]
fn s7_1_sizes_do_not_overflow() {
    check(&[
        ("7fffffffffffffff\r\n", Err(BodyError::Truncated)),
        ("8000000000000000\r\n", Err(BodyError::ChunkSizeTooLarge)),
        ("ffffffffffffffff\r\n", Err(BodyError::ChunkSizeTooLarge)),
        ("10000000000000000\r\n", Err(BodyError::InvalidChunkSize)),
        ("fffffffffffffffff\r\n", Err(BodyError::InvalidChunkSize)),
    ]);
    let zeros = format!("{}4\r\nWiki\r\n0\r\n\r\n", "0".repeat(1000));
    check(&[(&zeros, Err(BodyError::InvalidChunkSize))]);
}

/// 7.1.1: "A recipient MUST ignore unrecognized chunk extensions. A server ought to limit the total length of chunk
/// extensions received in a request". Bad white space (BWS), which nobody sends, is refused here.
#[test]
fn s7_1_1_extensions_are_passed_over_and_bounded() {
    check(&[
        ("4;a\r\nWiki\r\n0;b=c;d=\"e;\\\"f\"\r\n\r\n", Ok(("Wiki", ""))),
        ("4;\r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkExtension)),
        ("4;a=\r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkExtension)),
        ("4;a b\r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkExtension)),
        ("4 ;a\r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkSize)),
        ("4;a\nWiki\r\n0\r\n\r\n", Err(BodyError::BareLineEnd)),
        ("4;a\rb\r\nWiki\r\n0\r\n\r\n", Err(BodyError::BareLineEnd)),
        ("4;a=\"\n\"\r\nWiki\r\n0\r\n\r\n", Err(BodyError::BareLineEnd)),
        ("4;a=\"\0\"\r\nWiki\r\n0\r\n\r\n", Err(BodyError::InvalidChunkExtension)),
    ]);
    let long = format!("4;{}\r\nWiki\r\n0\r\n\r\n", "a".repeat(65_536));
    check(&[(&long, Err(BodyError::ChunkExtensionsTooLarge))]);
}

/// 7.1.2: the trailer section; RFC 9110 6.5.1: what must not be in it.
#[test]
fn s7_1_2_trailers() {
    check(&[
        ("0\r\nExpires: x\r\nDigest: y\r\n\r\nGET", Ok(("", "GET"))),
        ("0\r\nX : y\r\n\r\n", Err(BodyError::InvalidTrailer)),
        ("0\r\nX: y\r\n z\r\n\r\n", Err(BodyError::InvalidTrailer)),
        ("0\r\nX: y\n\r\n", Err(BodyError::BareLineEnd)),
        ("0\r\nContent-Length: 5\r\n\r\n", Err(BodyError::ForbiddenTrailer)),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(BodyError::ForbiddenTrailer)),
        ("0\r\nHost: b\r\n\r\n", Err(BodyError::ForbiddenTrailer)),
        ("0\r\nAuthorization: x\r\n\r\n", Err(BodyError::ForbiddenTrailer)),
        ("0\r\nSet-Cookie: x\r\n\r\n", Err(BodyError::ForbiddenTrailer)),
        ("0\r\nX-Forwarded-For: x\r\n\r\n", Err(BodyError::ForbiddenTrailer)),
    ]);
}

/// 7.4: "A sender of TE MUST also send a "TE" connection option": it is for one hop.
#[test]
fn s7_4_te_is_hop_by_hop() {
    assert_eq!(forwarded(&with_fields(&["TE: trailers", "Connection: TE"])), with_fields(&[]));
    assert!(request(&with_fields(&["TE: trailers", "Connection: TE"])).te_trailers);
}
