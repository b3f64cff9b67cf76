//! Heads over HTTP/2: what is accepted means the same in HTTP/1.1 to every reader there, and in HTTP/2 again.

use ringway_protocols::http1::{
    ConnectionField, HeadLimits, Parsed, RequestEdits, ResponseEdits, TrailerLimits, parse_request,
    parse_response, write_request, write_response,
};
use ringway_protocols::http2::hpack::encoder;
use ringway_protocols::http2::{HeadDecoder, HeadEncoder};
use ringway_protocols::message::{BodyLength, Field, Method, RequestHead, ResponseHead, Span};

use crate::mutate::{self, Mutator};
use crate::reference::{Length, readers};

/// Lines of `name: value`, each a literal: `!` before it says that it is never indexed, `+` that it enters the table, `~`
/// that it is Huffman coded. Behind a zero byte, a block as it is.
pub(crate) const SEEDS: &[&[u8]] = &[
    b":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
    b":method: POST\n:scheme: https\n:path: /a?b=c\n:authority: a:80\ncontent-length: 5\n!cookie: a=b\n+x: y\n~cookie: c=d\nte: trailers\n",
    b":method: OPTIONS\n:scheme: https\n:path: *\nhost: h\nx-forwarded-for: 1.2.3.4\n",
    b":method: CONNECT\n:authority: a:443\n!authorization: x\n",
    b":method: CONNECT\n:protocol: websocket\n:scheme: https\n:path: /\n:authority: a\nsec-websocket-version: 13\n",
    b":method: PUT\n:scheme: http\n:path: /\n:authority: [::1]\nexpect: 100-continue\nx_forwarded_for: 1\nproxy-authorization: secret\n",
    b":status: 200\ncontent-length: 5\ncontent-type: text/plain\nset-cookie: a\nset-cookie: b\ndate: Sat, 21 Nov 2026 01:52:43 GMT\n",
    b":status: 204\ncontent-length: 0\n",
    b":status: 103\nlink: x\n",
    b"grpc-status: 0\n~grpc-message: ok\n",
    b"\0\x82\x86\x84\x41\x0fwww.example.com\x40\x01x\x01y\xbe\xbe",
];

const LIMITS: HeadLimits = HeadLimits { bytes_max: 2048, fields_max: 24, target_bytes_max: 512 };
const TRAILER_LIMITS: TrailerLimits = TrailerLimits { bytes_max: 512, fields_max: 8 };
/// For what was translated, which is longer.
const WIDE: HeadLimits = HeadLimits { bytes_max: 65_536, ..LIMITS };

pub(crate) fn run(data: &[u8]) {
    let data = &block(data);
    for end_stream in [true, false] {
        request(data, end_stream);
        for method in [Method::Get, Method::Head, Method::Connect] {
            response(data, method, end_stream);
        }
    }
    trailers(data);
}

fn block(data: &[u8]) -> Vec<u8> {
    if let [0, block @ ..] = data {
        return block.to_vec();
    }
    let mut block = Vec::new();
    for line in data.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let (marker, line) = match line {
            [marker @ (b'!' | b'+' | b'~'), rest @ ..] => (*marker, rest),
            line => (b' ', line),
        };
        // The colon that starts a pseudo-header field is not the one that ends its name.
        let colon = line.iter().skip(1).position(|b| *b == b':').map_or(line.len(), |at| at + 1);
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match marker {
            b'~' => {
                block.push(0);
                encoder::huffman_string(&mut block, name);
                encoder::huffman_string(&mut block, value);
            }
            marker => {
                let start = block.len();
                encoder::literal(&mut block, name, value, marker == b'!');
                if marker == b'+' {
                    block[start] = 0x40;
                }
            }
        }
    }
    block
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

/// Heads of lines that are each in order, in any choice: far more of them are accepted than of mutations.
#[test]
fn lines_in_any_choice_and_order() {
    let seed = crate::seed();
    println!("http2_heads: RINGWAY_FUZZ_SEED={seed}");
    let mut random = Mutator::new(seed, &[]);
    let lines: Vec<&[u8]> = mutate::HEADS.iter().filter(|word| word.ends_with(b"\n")).copied().collect();
    let fields: Vec<&[u8]> = lines.iter().filter(|line| !line.starts_with(b":")).copied().collect();
    for _ in 0..2000 {
        let mut data = SEEDS[random.below(SEEDS.len() - 1)].to_vec();
        for _ in 0..random.below(8) {
            // Mostly fields, behind what is there; now and then anything anywhere.
            if random.below(16) > 0 {
                data.extend_from_slice(fields[random.below(fields.len())]);
            } else {
                let at = data.iter().position(|b| *b == b'\n').map_or(0, |end| end + 1);
                data.splice(at..at, lines[random.below(lines.len())].iter().copied());
            }
        }
        crate::check("http2_heads", run, &data);
    }
}
