//! Heads, rule by rule.

mod repeat;
mod request;
mod response;

use super::{HeadDecoder, HeadError, Malformed};
use crate::http1::{HeadLimits, TrailerLimits};
use crate::http2::hpack::encoder;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 65_536, fields_max: 100, target_bytes_max: 8192 };

/// A block of literals, in which no field is checked.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        encoder::literal(&mut block, name.as_bytes(), value.as_bytes(), false);
    }
    block
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn trailers(fields: &[(&str, &str)]) -> Result<String, HeadError> {
    let mut lines = b"left over".to_vec();
    let limits = TrailerLimits { bytes_max: 200, fields_max: 3 };
    HeadDecoder::new(4096).trailers(&block(fields), &limits, &mut lines)?;
    Ok(text(&lines).to_owned())
}

#[test]
fn trailers_become_lines() {
    for (fields, lines) in [
        (&[][..], ""),
        (&[("grpc-status", "0"), ("grpc-message", "")], "grpc-status: 0\r\ngrpc-message: \r\n"),
        (&[("x", "a b\tc")], "x: a b\tc\r\n"),
    ] {
        assert_eq!(trailers(fields).as_deref(), Ok(lines));
    }
}

#[test]
fn trailers_that_break_a_rule_are_refused_with_its_name() {
    use Malformed::*;
    let long = "v".repeat(165);
    for (fields, error) in [
        (&[(":status", "200")][..], PseudoNotAllowed.into()),
        (&[("x", "y"), (":path", "/")], PseudoNotAllowed.into()),
        (&[(":x", "y")], UnknownPseudo.into()),
        (&[("X", "y")], UpperCaseName.into()),
        (&[("", "y")], EmptyName.into()),
        (&[("a b", "y")], InvalidName.into()),
        (&[("a", "y\nb: c")], InvalidValue.into()),
        (&[("content-length", "1")], ForbiddenTrailer.into()),
        (&[("content_length", "1")], ForbiddenTrailer.into()),
        (&[("transfer-encoding", "chunked")], ForbiddenTrailer.into()),
        (&[("connection", "close")], ForbiddenTrailer.into()),
        (&[("te", "trailers")], ForbiddenTrailer.into()),
        (&[("host", "a")], ForbiddenTrailer.into()),
        (&[("x-forwarded-for", "1.2.3.4")], ForbiddenTrailer.into()),
        (&[("x_forwarded_for", "1.2.3.4")], ForbiddenTrailer.into()),
        (&[("cookie", "a=b")], ForbiddenTrailer.into()),
        (&[("a", ""), ("b", ""), ("c", ""), ("d", "")], HeadError::TooManyFields),
        (&[("name", &long)], HeadError::TooLarge),
    ] {
        assert_eq!(trailers(fields), Err(error), "{fields:?}");
    }
    assert!(trailers(&[("nam", &long)]).is_ok());
}

/// A head that is refused, and a block that is discarded, leave the table as every other reader has it.
#[test]
fn the_table_stays_in_step_whatever_becomes_of_a_head() {
    let mut decoder = HeadDecoder::new(4096);
    // `A: 1` is malformed; `b: 2` after it enters the table all the same.
    let refused = b"\x40\x01A\x011\x40\x01b\x012";
    let mut lines = Vec::new();
    let limits = TrailerLimits { bytes_max: 1000, fields_max: 10 };
    assert_eq!(decoder.trailers(refused, &limits, &mut lines), Err(Malformed::UpperCaseName.into()));
    assert_eq!(decoder.discard(b"\x40\x01c\x013"), Ok(()));
    assert_eq!(decoder.trailers(b"\xbe\xbf", &limits, &mut lines), Ok(()));
    assert_eq!(text(&lines), "c: 3\r\nb: 2\r\n");
    // The name that was refused is refused from the table too, with or without its value.
    assert_eq!(decoder.trailers(b"\xc0", &limits, &mut lines), Err(Malformed::UpperCaseName.into()));
    assert_eq!(decoder.trailers(b"\x0f\x31\x01x", &limits, &mut lines), Err(Malformed::UpperCaseName.into()));
}

#[test]
fn a_value_that_was_refused_is_refused_from_the_table_and_its_name_is_not() {
    let mut decoder = HeadDecoder::new(4096);
    let (mut lines, limits) = (Vec::new(), TrailerLimits { bytes_max: 1000, fields_max: 10 });
    assert_eq!(
        decoder.trailers(b"\x40\x01b\x02 2", &limits, &mut lines),
        Err(Malformed::SpaceAroundValue.into())
    );
    assert_eq!(decoder.trailers(b"\xbe", &limits, &mut lines), Err(Malformed::SpaceAroundValue.into()));
    assert_eq!(decoder.trailers(b"\x0f\x2f\x01x", &limits, &mut lines), Ok(()));
    assert_eq!(text(&lines), "b: x\r\n");
}

/// An HPACK bomb: an entry as large as the table, and a block of references to it.
#[test]
fn a_small_block_that_stands_for_much_is_refused_before_it_takes_memory() {
    let mut decoder = HeadDecoder::new(4096);
    let mut bomb = block(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")]);
    bomb.extend_from_slice(b"\x40\x01x\x7f\xe0\x1e");
    bomb.extend(std::iter::repeat_n(b'v', 127 + 0x60 + (0x1e << 7)));
    bomb.extend(std::iter::repeat_n(0xbe, 16_384));
    let (mut head, mut bytes) = Default::default();
    let limits = HeadLimits { fields_max: u16::MAX, ..LIMITS };
    assert_eq!(decoder.request(&bomb, &limits, true, false, &mut head, &mut bytes), Err(HeadError::TooLarge));
    assert!(bytes.capacity() <= 4 * LIMITS.bytes_max as usize, "{}", bytes.capacity());
}
