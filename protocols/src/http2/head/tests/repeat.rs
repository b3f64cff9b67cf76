//! A block that comes again is taken from memory; here, that nobody can tell.

use super::{LIMITS, block, text};
use crate::http1::HeadLimits;
use crate::http2::head::{HeadDecoder, HeadError, Malformed};
use crate::message::{BodyLength, Method, RequestHead, ResponseHead};

fn request_block(path: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("x", "y"),
        ("te", "trailers"),
    ])
}

#[test]
fn a_repeated_request_is_the_same_each_time() {
    let mut decoder = HeadDecoder::new(4096);
    let (first, second) = (request_block("/1"), request_block("/2"));
    let mut seen = Vec::new();
    for (block, end_stream) in [&first, &first, &first, &second, &first, &first, &first]
        .into_iter()
        .flat_map(|block| [(block, true), (block, true), (block, false), (block, false), (block, false)])
    {
        let (mut head, mut bytes) = (RequestHead::default(), b"left over".to_vec());
        decoder.request(block, &LIMITS, end_stream, false, &mut head, &mut bytes).unwrap();
        let (mut fresh_head, mut fresh_bytes) = (RequestHead::default(), Vec::new());
        HeadDecoder::new(4096)
            .request(block, &LIMITS, end_stream, false, &mut fresh_head, &mut fresh_bytes)
            .unwrap();
        assert_eq!((&head, text(&bytes)), (&fresh_head, text(&fresh_bytes)));
        seen.push(head.body);
    }
    assert!(seen.contains(&BodyLength::Empty) && seen.contains(&BodyLength::Chunked));
}

#[test]
fn a_repeated_response_depends_on_the_method() {
    let mut decoder = HeadDecoder::new(4096);
    let block = block(&[(":status", "200"), ("x", "y")]);
    for (method, body) in [(Method::Get, BodyLength::Chunked), (Method::Head, BodyLength::Empty)]
        .into_iter()
        .flat_map(|case| [case; 3])
        .cycle()
        .take(12)
    {
        let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
        decoder.response(&block, &LIMITS, false, method, &mut head, &mut bytes).unwrap();
        assert_eq!((head.status, head.body, text(&bytes)), (200, body, "HTTP/1.1 200 OK\r\nx: y\r\n\r\n"));
    }
}

/// The same bytes mean something else once the table has changed.
#[test]
fn a_repeated_block_is_read_anew_after_a_change_of_the_table() {
    let mut decoder = HeadDecoder::new(4096);
    let (mut head, mut bytes) = Default::default();
    let mut start = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]);
    for value in ["1", "2", "3"] {
        let mut insert = b"\x40\x01x\x01".to_vec();
        insert.extend_from_slice(value.as_bytes());
        decoder.discard(&insert).unwrap();
        start.truncate(start.iter().position(|b| *b == 0xbe).unwrap_or(start.len()));
        start.push(0xbe);
        for _ in 0..4 {
            decoder.request(&start, &LIMITS, true, false, &mut head, &mut bytes).unwrap();
            assert_eq!(text(&bytes), format!("GET / HTTP/2.0\r\nhost: a\r\nx: {value}\r\n\r\n"));
        }
    }
    // A table of no entries has none that the block could mean.
    decoder.discard(&[0x20]).unwrap();
    let gone = decoder.request(&start, &LIMITS, true, false, &mut head, &mut bytes);
    assert!(matches!(gone, Err(HeadError::Compression(_))), "{gone:?}");
}

#[test]
fn a_repeated_block_is_read_anew_under_other_limits() {
    let mut decoder = HeadDecoder::new(4096);
    let (mut head, mut bytes) = Default::default();
    let block = request_block("/1");
    for _ in 0..3 {
        assert_eq!(decoder.request(&block, &LIMITS, true, false, &mut head, &mut bytes), Ok(()));
    }
    let limits = HeadLimits { bytes_max: 50, ..LIMITS };
    let refused = decoder.request(&block, &limits, true, false, &mut head, &mut bytes);
    assert_eq!(refused, Err(HeadError::TooLarge));
}

#[test]
fn what_is_refused_once_is_refused_again() {
    let mut decoder = HeadDecoder::new(4096);
    let (mut head, mut bytes) = Default::default();
    let block = block(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")]);
    for _ in 0..4 {
        let refused = decoder.request(&block, &LIMITS, true, false, &mut head, &mut bytes);
        assert_eq!(refused, Err(Malformed::InvalidPath.into()));
    }
}
