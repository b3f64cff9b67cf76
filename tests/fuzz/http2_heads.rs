//! Heads over HTTP/2: what is accepted means the same in HTTP/1.1 to every reader there, and in HTTP/2 again.

use ringway_protocols::http1::{
    ConnectionField, HeadLimits, Parsed, RequestEdits, ResponseEdits, TrailerLimits, parse_request,
    parse_response, write_request, write_response,
};
use ringway_protocols::http2::{HeadDecoder, HeadEncoder};
use ringway_protocols::message::{BodyLength, Field, Method, RequestHead, ResponseHead, Span};

use crate::reference::{Length, readers};

pub(crate) const SEEDS: &[&[u8]] = &[
    b"\x82\x86\x84\x41\x0fwww.example.com",
    b"\x83\x87\x44\x06/a?b=c\x41\x04a:80\x0f\x0d\x015\x0f\x11\x03a=b\x40\x01x\x01y\x0f\x11\x03c=d\x00\x02te\x08trailers",
    b"\x02\x07OPTIONS\x87\x04\x01*\x0f\x17\x01h\x00\x0fx-forwarded-for\x071.2.3.4",
    b"\x02\x07CONNECT\x01\x05a:443\x10\x0dauthorization\x01x",
    b"\x02\x07CONNECT\x00\x09:protocol\x09websocket\x87\x84\x01\x01a\x00\x15sec-websocket-version\x0213",
    b"\x02\x03PUT\x86\x84\x01\x01a\x0f\x14\x0c100-continue\x00\x0fx_forwarded_for\x011\x0f\x22\x06secret",
    b"\x88\x0f\x0d\x015\x5f\x0atext/plain\x0f\x28\x01a\x0f\x28\x01b\x0f\x12\x1dSat, 21 Nov 2026 01:52:43 GMT",
    b"\x89\x0f\x0d\x010",
    b"\x08\x03103\x00\x04link\x01x",
    b"\x00\x0bgrpc-status\x010\x00\x0cgrpc-message\x02ok",
];

const LIMITS: HeadLimits = HeadLimits { bytes_max: 2048, fields_max: 24, target_bytes_max: 512 };
const TRAILER_LIMITS: TrailerLimits = TrailerLimits { bytes_max: 512, fields_max: 8 };
/// For what was translated, which is longer.
const WIDE: HeadLimits = HeadLimits { bytes_max: 65_536, ..LIMITS };

pub(crate) fn run(data: &[u8]) {
    for end_stream in [true, false] {
        request(data, end_stream);
        for method in [Method::Get, Method::Head, Method::Connect] {
            response(data, method, end_stream);
        }
    }
    trailers(data);
}

fn request(data: &[u8], end_stream: bool) {
    let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
    let mut decoder = HeadDecoder::new(4096);
    let outcome = decoder.request(data, &LIMITS, end_stream, true, &mut head, &mut bytes);
    check_again(data, end_stream, &outcome, (&head, &bytes));
    assert!(bytes.len() <= LIMITS.bytes_max as usize + 4096 + data.len() * 2);
    if outcome.is_err() {
        return;
    }
    let spans = [head.method_span, head.target, head.authority, head.path];
    let optional = [head.query, head.upgrade];
    check_ranges(&bytes, head.bytes, &head.fields, spans.into_iter().chain(optional.into_iter().flatten()));
    check_request_in_http1(&bytes, &head);
    check_request_in_http2(&bytes, &head, end_stream);
}

/// A block means the same however often it came before.
fn check_again(
    data: &[u8],
    end_stream: bool,
    first: &Result<(), ringway_protocols::http2::HeadError>,
    (first_head, first_bytes): (&RequestHead, &[u8]),
) {
    let mut repeated = HeadDecoder::new(4096);
    let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
    for time in 0..4 {
        let outcome = repeated.request(data, &LIMITS, end_stream, true, &mut head, &mut bytes);
        let mut fresh = discarding(data, time);
        let (mut fresh_head, mut fresh_bytes) = (RequestHead::default(), Vec::new());
        let expected = fresh.request(data, &LIMITS, end_stream, true, &mut fresh_head, &mut fresh_bytes);
        assert_eq!(outcome, expected, "time {time}");
        if outcome.is_err() {
            return;
        }
        assert_eq!((&head, &bytes), (&fresh_head, &fresh_bytes), "time {time}");
        if time == 0 {
            assert_eq!((outcome, &head, bytes.as_slice()), (*first, first_head, first_bytes));
        }
    }
}

/// A decoder that has only skipped the block so many times.
fn discarding(data: &[u8], times: usize) -> HeadDecoder {
    let mut decoder = HeadDecoder::new(4096);
    for _ in 0..times {
        decoder.discard(data).expect("it was accepted before");
    }
    decoder
}

fn check_ranges(bytes: &[u8], head_bytes: u32, fields: &[Field], spans: impl Iterator<Item = Span>) {
    assert_eq!(head_bytes as usize, bytes.len());
    assert!(bytes.ends_with(b"\r\n\r\n"));
    let within = |span: Span| assert!(span.start <= span.end && span.end <= head_bytes, "{span:?}");
    spans.for_each(within);
    assert!(fields.len() <= usize::from(LIMITS.fields_max) + 2);
    for field in fields {
        within(field.name);
        within(field.value);
        assert_eq!(&bytes[field.name.end as usize..field.value.start as usize], b": ");
        assert_eq!(&bytes[field.value.end as usize..][..2], b"\r\n");
        let name = field.name.of(bytes);
        assert!(
            !name.is_empty()
                && !name.iter().any(|b| matches!(b, b':' | b' ' | 0..0x20 | b'A'..=b'Z' | 0x7f..))
        );
        assert!(!field.value.of(bytes).iter().any(|b| matches!(b, 0 | b'\r' | b'\n')));
    }
    let lines = bytes.split(|b| *b == b'\n').count();
    assert_eq!(
        lines,
        fields.len() + 3,
        "a line for each field, the first, the empty one and what follows it"
    );
}

fn check_request_in_http1(bytes: &[u8], head: &RequestHead) {
    let (mut out, mut again) = (Vec::new(), RequestHead::default());
    write_request(&mut out, bytes, head, &RequestEdits::default());
    let parsed = parse_request(&out, &WIDE, &mut again);
    assert_eq!(parsed, Ok(Parsed::Complete), "{}", out.escape_ascii());
    assert_eq!(again.bytes as usize, out.len());
    let length = match head.body {
        BodyLength::Exact(0) | BodyLength::Empty => Length::None,
        BodyLength::Exact(length) => Length::Exact(length),
        BodyLength::Chunked => Length::Chunked,
        BodyLength::UntilClose => unreachable!("not a request"),
    };
    assert_eq!((again.method, again.form), (head.method, head.form));
    for (theirs, ours) in [(again.target, head.target), (again.authority, head.authority)] {
        assert_eq!(theirs.of(&out).escape_ascii().to_string(), ours.of(bytes).escape_ascii().to_string());
    }
    assert!(!again.hop_by_hop_fields, "nothing of one hop goes to the next");
    crate::http1_request::check_spelling(&out);
    for reader in readers() {
        let seen = reader.head(&out).unwrap_or_else(|| panic!("{reader:?} sees no end of the head"));
        assert_eq!(seen.bytes, out.len(), "{reader:?}");
        let seen_length = if seen.length == Length::Exact(0) { Length::None } else { seen.length };
        assert_eq!(seen_length, length, "{reader:?}");
        assert!(seen.hosts.len() <= 1, "{reader:?}");
    }
}

fn check_request_in_http2(bytes: &[u8], head: &RequestHead, end_stream: bool) {
    let encode = |bytes: &[u8], head: &RequestHead| {
        let connection = match head.upgrade {
            Some(protocol) => ConnectionField::Upgrade(protocol.of(bytes)),
            None => ConnectionField::None,
        };
        let edits = RequestEdits { connection, te_trailers: head.te_trailers, ..Default::default() };
        let mut block = Vec::new();
        HeadEncoder::default().request(&mut block, bytes, head, &edits, "https");
        block
    };
    let block = encode(bytes, head);
    let (mut again, mut again_bytes) = (RequestHead::default(), Vec::new());
    let outcome =
        HeadDecoder::new(4096).request(&block, &WIDE, end_stream, true, &mut again, &mut again_bytes);
    assert_eq!(outcome, Ok(()), "{}", block.escape_ascii());
    assert_eq!((again.method, again.form, again.body), (head.method, head.form, head.body));
    assert_eq!((again.extended_connect, again.te_trailers), (head.extended_connect, head.te_trailers));
    assert_eq!(again.expect_continue, head.expect_continue);
    assert_eq!(again.target.of(&again_bytes), head.target.of(bytes));
    assert_eq!(again.authority.of(&again_bytes), head.authority.of(bytes));
    assert_eq!(end_to_end(&again_bytes, &again.fields), end_to_end(bytes, &head.fields));
    assert_eq!(encode(&again_bytes, &again).escape_ascii().to_string(), block.escape_ascii().to_string());
}

/// What goes on to the next hop, without `host`, which has a place of its own, and without a length whose spelling
/// was made the usual one.
fn end_to_end<'a>(bytes: &'a [u8], fields: &[Field]) -> Vec<(&'a [u8], &'a [u8], bool)> {
    fields
        .iter()
        .filter(|field| !field.hop_by_hop)
        .map(|field| {
            let name = field.name.of(bytes);
            // The encoder adds the mark to secrets; it never takes it away.
            let secret = matches!(name, b"authorization" | b"cookie");
            (name, field.value.of(bytes), field.never_indexed || secret)
        })
        .filter(|(name, ..)| !matches!(*name, b"host" | b"content-length" | b"sec-websocket-key"))
        .collect()
}

fn response(data: &[u8], method: Method, end_stream: bool) {
    let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
    let outcome = HeadDecoder::new(4096).response(data, &LIMITS, end_stream, method, &mut head, &mut bytes);
    assert!(bytes.len() <= LIMITS.bytes_max as usize + 4096 + data.len() * 2);
    if outcome.is_err() {
        return;
    }
    check_ranges(&bytes, head.bytes, &head.fields, [head.reason].into_iter());
    let (mut out, mut again) = (Vec::new(), ResponseHead::default());
    write_response(&mut out, &bytes, &head, &ResponseEdits::default());
    let parsed = parse_response(&out, &WIDE, method, &mut again);
    assert_eq!(parsed, Ok(Parsed::Complete), "{}", out.escape_ascii());
    let body = if head.body == BodyLength::Exact(0) { BodyLength::Empty } else { head.body };
    assert_eq!((again.bytes as usize, again.status, again.body), (out.len(), head.status, body));
    assert!(again.keep_alive && !again.hop_by_hop_fields);
    crate::http1_request::check_spelling(&out);

    let (mut block, mut again_bytes) = (Vec::new(), Vec::new());
    HeadEncoder::default().response(&mut block, &bytes, &head, &ResponseEdits::default());
    let outcome =
        HeadDecoder::new(4096).response(&block, &WIDE, end_stream, method, &mut again, &mut again_bytes);
    assert_eq!(outcome, Ok(()), "{}", block.escape_ascii());
    assert_eq!((again.status, again.body), (head.status, head.body));
    assert_eq!(end_to_end(&again_bytes, &again.fields), end_to_end(&bytes, &head.fields));
}

fn trailers(data: &[u8]) {
    let mut lines = Vec::new();
    if HeadDecoder::new(4096).trailers(data, &TRAILER_LIMITS, &mut lines).is_err() {
        return;
    }
    assert!(lines.len() <= TRAILER_LIMITS.bytes_max as usize);
    let (mut block, mut again) = (Vec::new(), Vec::new());
    HeadEncoder::default().trailers(&mut block, &lines);
    HeadDecoder::new(4096).trailers(&block, &TRAILER_LIMITS, &mut again).expect("trailers");
    assert_eq!(again.escape_ascii().to_string(), lines.escape_ascii().to_string());
}
