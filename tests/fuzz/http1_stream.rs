//! Requests one after the other on one connection: what Ringway takes for a request, every reader does.

use ringway_protocols::http1::{BodyDecoder, BodyStep, HeadLimits, Parsed, TrailerLimits, parse_request};
use ringway_protocols::message::RequestHead;

use crate::reference::{Length, Reader, readers};

pub(crate) const SEEDS: &[&[u8]] = &[
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\nGET /hidden HTTP/1.1\r\nHost: evil\r\n\r\n",
];

const LIMITS: HeadLimits = HeadLimits { bytes_max: 2048, fields_max: 24, target_bytes_max: 512 };
const TRAILERS: TrailerLimits = TrailerLimits { bytes_max: 512, fields_max: 8 };

pub(crate) fn run(data: &[u8]) {
    let ours = requests(data);
    for reader in readers() {
        let theirs = requests_of(&reader, data, ours.len());
        assert_eq!(theirs, ours, "{reader:?}");
    }
}

/// Where each complete request ends, up to the first that is refused or incomplete.
fn requests(data: &[u8]) -> Vec<usize> {
    let mut head = RequestHead::default();
    let mut ends = Vec::new();
    let mut at = 0;
    while let Ok(Parsed::Complete) = parse_request(&data[at..], &LIMITS, &mut head) {
        at += head.bytes as usize;
        let mut body = BodyDecoder::new(head.body, &TRAILERS);
        loop {
            match body.next(&data[at..]) {
                Ok(BodyStep::Data(count) | BodyStep::Framing(count) | BodyStep::Trailer(count)) => {
                    at += count
                }
                Ok(BodyStep::Done) => break,
                Ok(BodyStep::NeedMore) | Err(_) => return ends,
            }
        }
        ends.push(at);
    }
    ends
}

fn requests_of(reader: &Reader, data: &[u8], count: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let Some(head) = reader.head(&data[at..]) else { break };
        at += head.bytes;
        match head.length {
            Length::None => {}
            Length::Exact(length) => at += length as usize,
            Length::Chunked => match reader.chunked(&data[at..]) {
                Some((_, consumed)) => at += consumed,
                None => break,
            },
        }
        if at > data.len() {
            break;
        }
        ends.push(at);
    }
    ends
}
