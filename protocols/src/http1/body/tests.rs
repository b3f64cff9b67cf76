use super::*;

const LIMITS: TrailerLimits = TrailerLimits { bytes_max: 256, fields_max: 4 };

/// Content, framing bytes and what was left of the input, or the error.
type Outcome = Result<(Vec<u8>, Vec<u8>, usize, bool), BodyError>;

/// Decodes pieces one after the other.
fn decode(pieces: &[&[u8]]) -> Outcome {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &LIMITS);
    let (mut content, mut framing, mut left) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match decoder.next(rest)? {
                BodyStep::Data(n) => {
                    assert!(n > 0, "progress");
                    content.extend_from_slice(&rest[..n]);
                    rest = &rest[n..];
                }
                BodyStep::Framing(n) | BodyStep::Trailer(n) => {
                    assert!(n > 0, "progress");
                    framing.extend_from_slice(&rest[..n]);
                    rest = &rest[n..];
                }
                BodyStep::NeedMore => break,
                BodyStep::Done => {
                    left += rest.len();
                    break;
                }
            }
        }
    }
    Ok((content, framing, left, decoder.is_done()))
}

fn decode_whole(text: &[u8]) -> Outcome {
    decode(&[text])
}

const GOOD: &[(&str, &str)] = &[
    ("0\r\n\r\n", ""),
    ("5\r\nhello\r\n0\r\n\r\n", "hello"),
    ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
    ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
    ("5;a\r\nhello\r\n0\r\n\r\n", "hello"),
    ("5;a=b;c=\"d;e\\\"\u{e4} f\";g\r\nhello\r\n0;x=y\r\n\r\n", "hello"),
    ("5\r\nhello\r\n0\r\nDigest: x\r\nEmpty:\r\n\r\n", "hello"),
    ("5\r\n\r\n0\r\n\r\n0\r\n\r\n", "\r\n0\r\n"),
    ("00\r\n\r\n", ""),
];

#[test]
fn good_bodies_are_decoded_and_nothing_after_them_is_touched() {
    for (text, content) in GOOD {
        let (decoded, framing, left, done) = decode_whole(format!("{text}GET /").as_bytes()).expect(text);
        assert_eq!((decoded.as_slice(), left, done), (content.as_bytes(), "GET /".len(), true), "{text:?}");
        assert_eq!(decoded.len() + framing.len(), text.len(), "{text:?}");
    }
}

const BAD: &[(&str, BodyError)] = &[
    ("\r\n", BodyError::InvalidChunkSize),
    ("g\r\n", BodyError::InvalidChunkSize),
    ("-1\r\n", BodyError::InvalidChunkSize),
    ("+5\r\nhello\r\n", BodyError::InvalidChunkSize),
    ("0x5\r\nhello\r\n", BodyError::InvalidChunkSize),
    (" 5\r\nhello\r\n", BodyError::InvalidChunkSize),
    ("5 \r\nhello\r\n", BodyError::InvalidChunkSize),
    ("5 ;a\r\nhello\r\n", BodyError::InvalidChunkSize),
    ("5\t\r\nhello\r\n", BodyError::InvalidChunkSize),
    ("5,5\r\nhello\r\n", BodyError::InvalidChunkSize),
    (";a\r\nhello\r\n", BodyError::InvalidChunkSize),
    ("5\nhello\r\n", BodyError::BareLineEnd),
    ("\n", BodyError::BareLineEnd),
    ("5\rhello\r\n", BodyError::BareLineEnd),
    ("5\r\r\nhello\r\n", BodyError::BareLineEnd),
    ("00000000000000005\r\nhello\r\n", BodyError::InvalidChunkSize),
    ("ffffffffffffffff1\r\n", BodyError::InvalidChunkSize),
    ("ffffffffffffffff\r\n", BodyError::ChunkSizeTooLarge),
    ("8000000000000000\r\n", BodyError::ChunkSizeTooLarge),
    ("5\r\nhello", BodyError::Truncated),
    ("5\r\nhelloworld", BodyError::InvalidChunkEnd),
    ("5\r\nhello\n0\r\n\r\n", BodyError::InvalidChunkEnd),
    ("5\r\nhello\r0\r\n\r\n", BodyError::InvalidChunkEnd),
    ("5\r\nhello0\r\n\r\n", BodyError::InvalidChunkEnd),
    ("5\r\nhello\r\n\r\n0\r\n\r\n", BodyError::InvalidChunkSize),
    ("5;\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5;\nhello\r\n", BodyError::BareLineEnd),
    ("5;a\nhello\r\n", BodyError::BareLineEnd),
    ("5;a\rb\r\nhello\r\n", BodyError::BareLineEnd),
    ("5;a\0\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5;a=\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5;a=\"b\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5;a=\"b\n\r\nhello\r\n", BodyError::BareLineEnd),
    ("5;a=\"\\\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5;a=\"b\"c\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5; a\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5;a ;b\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5;a=b=c\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("5;;\r\nhello\r\n", BodyError::InvalidChunkExtension),
    ("0\n\r\n", BodyError::BareLineEnd),
    ("0\r\n\n", BodyError::BareLineEnd),
    ("0\r\n\rX", BodyError::BareLineEnd),
    ("0\r\nX: y\n\r\n", BodyError::BareLineEnd),
    ("0\r\nX: y\rz\r\n\r\n", BodyError::BareLineEnd),
    ("0\r\n X: y\r\n\r\n", BodyError::InvalidTrailer),
    ("0\r\nX : y\r\n\r\n", BodyError::InvalidTrailer),
    ("0\r\n: y\r\n\r\n", BodyError::InvalidTrailer),
    ("0\r\nX\r\n\r\n", BodyError::InvalidTrailer),
    ("0\r\nX: \0\r\n\r\n", BodyError::InvalidTrailer),
    ("0\r\nX: y\r\n z\r\n\r\n", BodyError::InvalidTrailer),
    ("0\r\nA: \r\nB: \r\nC: \r\nD: \r\nE: \r\n\r\n", BodyError::TooManyTrailers),
    ("0\r\nGET / HTTP/1.1\r\n", BodyError::InvalidTrailer),
];

/// The error at some point, or truncation at the end.
fn error_of(pieces: &[&[u8]]) -> Option<BodyError> {
    match decode(pieces) {
        Err(error) => Some(error),
        Ok((.., false)) => Some(BodyError::Truncated),
        Ok(_) => None,
    }
}

#[test]
fn bad_bodies_are_refused_for_what_they_are() {
    for (text, error) in BAD {
        assert_eq!(error_of(&[text.as_bytes()]), Some(*error), "{text:?}");
    }
    let long = format!("0\r\nX: {}\r\n\r\n", "y".repeat(256));
    assert_eq!(error_of(&[long.as_bytes()]), Some(BodyError::TrailersTooLarge));
}

#[test]
fn the_result_is_the_same_in_every_split() {
    for (text, _) in GOOD {
        let bytes = text.as_bytes();
        let whole = decode_whole(bytes);
        for at in 0..=bytes.len() {
            for second in at..=bytes.len() {
                let pieces = [&bytes[..at], &bytes[at..second], &bytes[second..]];
                assert_eq!(decode(&pieces), whole, "{text:?} {at} {second}");
            }
        }
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&singles), whole, "{text:?}");
    }
    for (text, error) in BAD {
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            assert_eq!(error_of(&[&bytes[..at], &bytes[at..]]), Some(*error), "{text:?} {at}");
        }
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(error_of(&singles), Some(*error), "{text:?}");
    }
}

#[test]
fn trailers_that_change_meaning_are_forbidden() {
    for name in [
        "Host",
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Trailer",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "x-forwarded-anything-at-all-however-long",
        "Forwarded",
        "Expect",
        "Content_Length",
        "Upgrade",
        "Via",
        "X-Real-IP",
        "Content-Type",
        "TE",
        "X-Request-Id",
        "Cache-Control",
        "Content-Range",
        "If-None-Match",
        "Date",
    ] {
        let text = format!("0\r\n{name}: x\r\n\r\n");
        assert_eq!(error_of(&[text.as_bytes()]), Some(BodyError::ForbiddenTrailer), "{name}");
        let singles: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(error_of(&singles), Some(BodyError::ForbiddenTrailer), "{name}");
    }
    for name in ["Digest", "Server-Timing", "grpc-status", "X-Content-Lengths", "Hosts", "ETag"] {
        assert_eq!(error_of(&[format!("0\r\n{name}: x\r\n\r\n").as_bytes()]), None, "{name}");
    }
}

#[test]
fn extensions_must_be_paid_for_by_content() {
    // One byte under a long extension, again and again.
    let mut small = String::new();
    for _ in 0..200 {
        small.push_str(&format!("1;{}\r\nx\r\n", "e".repeat(100)));
    }
    assert_eq!(error_of(&[small.as_bytes()]), Some(BodyError::ChunkExtensionsTooLarge));
    let one = format!("1;{}", "e".repeat(70_000));
    assert_eq!(error_of(&[one.as_bytes()]), Some(BodyError::ChunkExtensionsTooLarge));
    // A signature on every chunk of a long body.
    let mut signed = String::new();
    for _ in 0..1000 {
        signed.push_str(&format!("400;chunk-signature={}\r\n{}\r\n", "0".repeat(64), "x".repeat(1024)));
    }
    signed.push_str("0\r\n\r\n");
    assert_eq!(error_of(&[signed.as_bytes()]), None);
}

#[test]
fn an_exact_body_ends_after_its_length() {
    let mut decoder = BodyDecoder::new(BodyLength::Exact(5), &LIMITS);
    assert_eq!(decoder.next(b""), Ok(BodyStep::NeedMore));
    assert_eq!(decoder.next(b"abc"), Ok(BodyStep::Data(3)));
    assert_eq!((decoder.contiguous(), decoder.is_done()), (2, false));
    assert_eq!(decoder.clone().eof(), Err(BodyError::Truncated));
    assert_eq!(decoder.next(b"defgh"), Ok(BodyStep::Data(2)));
    assert_eq!(decoder.next(b"fgh"), Ok(BodyStep::Done));
    assert_eq!(decoder.eof(), Ok(()));
}

#[test]
fn content_can_be_moved_past_outside_of_the_decoder() {
    let mut decoder = BodyDecoder::new(BodyLength::Exact(5), &LIMITS);
    decoder.skip(2);
    assert_eq!(decoder.next(b"abcdef"), Ok(BodyStep::Data(3)));
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &LIMITS);
    assert_eq!(decoder.next(b"5\r"), Ok(BodyStep::Framing(2)));
    assert_eq!(decoder.contiguous(), 0);
    assert_eq!(decoder.next(b"\n"), Ok(BodyStep::Framing(1)));
    assert_eq!(decoder.contiguous(), 5);
    decoder.skip(5);
    assert_eq!(decoder.next(b"\r\n0\r\n\r\n"), Ok(BodyStep::Framing(7)));
    assert!(decoder.is_done());
}

#[test]
fn a_body_until_close_ends_with_the_connection() {
    let mut decoder = BodyDecoder::new(BodyLength::UntilClose, &LIMITS);
    assert_eq!(decoder.next(b"abc"), Ok(BodyStep::Data(3)));
    assert_eq!((decoder.eof(), decoder.is_done()), (Ok(()), true));
    assert!(BodyDecoder::new(BodyLength::Empty, &LIMITS).is_done());
    let mut chunked = BodyDecoder::new(BodyLength::Chunked, &LIMITS);
    assert_eq!(chunked.eof(), Err(BodyError::Truncated));
}

#[test]
fn the_usual_framing_is_one_step() {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &LIMITS);
    assert_eq!(decoder.next(b"5\r\nhello\r\n0\r\n\r\n"), Ok(BodyStep::Framing(3)));
    assert_eq!(decoder.next(b"hello\r\n0\r\n\r\n"), Ok(BodyStep::Data(5)));
    assert_eq!(decoder.next(b"\r\n0\r\n\r\n"), Ok(BodyStep::Framing(7)));
    assert_eq!(decoder.next(b""), Ok(BodyStep::Done));
}
