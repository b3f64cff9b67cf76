//! Request heads: bounds, early refusal, one reading of what is accepted, and writing as the inverse of reading.

use ringway_protocols::http1::{
    HeadLimits, HeadProgress, Parsed, RequestEdits, parse_request, parse_request_resumed, write_request,
};
use ringway_protocols::message::{BodyLength, RequestHead, Span, TargetForm};

use crate::reference::{Length, Reader, readers};

pub(crate) const SEEDS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nPOST /a/b?c=d HTTP/1.1\r\nHost: example.com:80\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n",
    b"GET http://a/b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-y\r\nX-Y: z\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nTE: trailers, gzip\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX_Forwarded_For: 1\r\n\r\n",
    b"HEAD /old HTTP/1.0\r\nConnection: keep-alive\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
];

const LIMITS: HeadLimits = HeadLimits { bytes_max: 2048, fields_max: 24, target_bytes_max: 512 };

pub(crate) fn run(data: &[u8]) {
    let mut head = RequestHead::default();
    let parsed = parse_request(data, &LIMITS, &mut head);
    check_resumed(data, parsed, &head);
    match parsed {
        Ok(Parsed::NeedMore) => {
            assert!(data.len() < LIMITS.bytes_max as usize, "an endless head must be refused");
        }
        Ok(Parsed::Complete) => {
            check_ranges(data, &head);
            let bytes = &data[..head.bytes as usize];
            check_prefixes(bytes);
            check_readers(data, head.bytes as usize, head.body);
            check_httparse(data, &head);
            check_written(data, &head);
        }
        Err(_) => {}
    }
}

/// Whatever the pieces a head comes in, the verdict is the same, though it may come later.
fn check_resumed(
    data: &[u8],
    expected: Result<Parsed, ringway_protocols::http1::RequestError>,
    whole: &RequestHead,
) {
    let (mut progress, mut head) = (HeadProgress::default(), RequestHead::default());
    let step = 1 + data.len() / 7;
    let mut end = 0;
    loop {
        end = (end + step).min(data.len());
        match parse_request_resumed(&data[..end], &LIMITS, &mut progress, &mut head) {
            Ok(Parsed::NeedMore) if end < data.len() => {}
            Ok(Parsed::NeedMore) => {
                // Refusals of an incomplete head may wait until it has doubled, but not beyond a limit.
                assert_ne!(expected, Ok(Parsed::Complete), "the end of the head was missed");
                assert!(data.len() < LIMITS.bytes_max as usize);
                return;
            }
            Ok(Parsed::Complete) => {
                assert_eq!(expected, Ok(Parsed::Complete));
                assert_eq!(&head, whole);
                return;
            }
            Err(_) => {
                assert!(expected.is_err(), "only the pieces are refused");
                return;
            }
        }
    }
}

fn check_ranges(data: &[u8], head: &RequestHead) {
    let end = head.bytes as usize;
    assert!(end <= data.len() && end <= LIMITS.bytes_max as usize);
    assert!(data[..end].ends_with(b"\r\n\r\n"));
    assert!(head.fields.len() <= usize::from(LIMITS.fields_max));
    let within = |span: Span| assert!(span.start <= span.end && span.end as usize <= end, "{span:?}");
    [head.method_span, head.target, head.authority, head.path].into_iter().for_each(within);
    [head.scheme, head.query, head.upgrade].into_iter().flatten().for_each(within);
    for field in &head.fields {
        within(field.name);
        within(field.value);
        assert!(field.name.end < field.value.start || field.value.is_empty());
        assert!(!field.name.is_empty());
        let value = field.value.of(data);
        assert!(!value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')));
    }
    assert!(
        !matches!(head.body, BodyLength::UntilClose),
        "a request never lasts until the connection closes"
    );
}

/// No beginning of an accepted head is refused or accepted.
fn check_prefixes(bytes: &[u8]) {
    let mut head = RequestHead::default();
    for end in (0..bytes.len()).step_by(1 + bytes.len() / 32) {
        assert_eq!(
            parse_request(&bytes[..end], &LIMITS, &mut head),
            Ok(Parsed::NeedMore),
            "first {end} bytes"
        );
    }
}

/// Every reader sees the same head and the same body.
fn check_readers(data: &[u8], head_bytes: usize, body: BodyLength) {
    let expected = match body {
        BodyLength::Empty => Length::None,
        BodyLength::Exact(length) => Length::Exact(length),
        BodyLength::Chunked => Length::Chunked,
        BodyLength::UntilClose => unreachable!("not a request"),
    };
    for reader in readers() {
        check_reader(&reader, data, head_bytes, expected);
    }
}

fn check_reader(reader: &Reader, data: &[u8], head_bytes: usize, expected: Length) {
    let seen = reader.head(data).unwrap_or_else(|| panic!("{reader:?} sees no end of the head"));
    assert_eq!(seen.bytes, head_bytes, "{reader:?}");
    let length = if seen.length == Length::Exact(0) { Length::None } else { seen.length };
    assert_eq!(length, expected, "{reader:?}");
    assert!(seen.hosts.len() <= 1, "{reader:?} sees {} hosts", seen.hosts.len());
}

/// The tokeniser alone, without our rules, agrees on what it reads.
fn check_httparse(data: &[u8], head: &RequestHead) {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(data).expect("accepted");
    assert_eq!(status, httparse::Status::Complete(head.bytes as usize));
    assert_eq!(request.method.expect("method").as_bytes(), head.method_span.of(data));
    assert_eq!(request.path.expect("target").as_bytes(), head.target.of(data));
    assert_eq!(request.headers.len(), head.fields.len());
    for (theirs, ours) in request.headers.iter().zip(&head.fields) {
        assert_eq!((theirs.name.as_bytes(), theirs.value), (ours.name.of(data), ours.value.of(data)));
    }
}

/// What is written is read as what was meant, and written again as it is.
fn check_written(data: &[u8], head: &RequestHead) {
    let mut out = Vec::new();
    write_request(&mut out, data, head, &RequestEdits::default());
    let mut again = RequestHead::default();
    if head.authority.is_empty() {
        // HTTP/1.0 without a host is for the caller to complete.
        return;
    }
    assert_eq!(
        parse_request(&out, &HeadLimits { bytes_max: 65_536, ..LIMITS }, &mut again),
        Ok(Parsed::Complete)
    );
    assert_eq!(again.bytes as usize, out.len());
    assert_eq!((again.method, again.body), (head.method, head.body));
    assert_eq!(again.authority.of(&out).to_ascii_lowercase(), head.authority.of(data).to_ascii_lowercase());
    assert!(!again.hop_by_hop_fields, "nothing of one hop goes to the next");
    if head.form != TargetForm::Absolute || !head.path.is_empty() {
        assert_eq!((again.path.of(&out), again.query.is_some()), (head.path.of(data), head.query.is_some()));
    }
    check_spelling(&out);
    check_readers(&out, out.len(), again.body);
    let mut twice = Vec::new();
    write_request(&mut twice, &out, &again, &RequestEdits::default());
    assert_eq!(twice.escape_ascii().to_string(), out.escape_ascii().to_string());
}

/// Framing leaves in one spelling.
pub(crate) fn check_spelling(head: &[u8]) {
    for line in head.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value[1..].strip_prefix(b" ").unwrap_or(&value[1..]);
        match name.to_ascii_lowercase().as_slice() {
            b"transfer-encoding" => assert_eq!(value, b"chunked"),
            b"content-length" => {
                let plain = value == b"0" || (value[0] != b'0' && value.iter().all(u8::is_ascii_digit));
                assert!(plain, "{}", line.escape_ascii());
            }
            _ => {}
        }
    }
}
