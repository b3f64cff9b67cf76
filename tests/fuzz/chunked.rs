//! Chunked bodies: any split gives the same result, and every reader finds the same content and the same end.

use ringway_protocols::http1::{BodyDecoder, BodyError, BodyStep, TrailerLimits};
use ringway_protocols::message::BodyLength;

use crate::reference::readers;

pub(crate) const SEEDS: &[&[u8]] = &[
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=b;c=\"d e\\\"\"\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\nGET / HTTP/1.1\r\n",
    b"0\r\n\r\n",
    b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n000\r\n\r\n",
    b"0000000000000003\r\nabc\r\n0;last\r\nDigest: x\r\n\r\n",
];

const LIMITS: TrailerLimits = TrailerLimits { bytes_max: 512, fields_max: 8 };

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    content: Vec<u8>,
    consumed: usize,
    done: bool,
}

/// Decodes in pieces of `step` bytes.
fn decode(data: &[u8], step: usize) -> Result<Decoded, BodyError> {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &LIMITS);
    let mut decoded = Decoded { content: Vec::new(), consumed: 0, done: false };
    for piece in data.chunks(step.max(1)) {
        let mut rest = piece;
        loop {
            let count = match decoder.next(rest)? {
                BodyStep::Data(count) => {
                    decoded.content.extend_from_slice(&rest[..count]);
                    count
                }
                BodyStep::Framing(count) | BodyStep::Trailer(count) => count,
                BodyStep::NeedMore => break,
                BodyStep::Done => {
                    assert!(decoder.is_done());
                    decoded.done = true;
                    return Ok(decoded);
                }
            };
            assert!(count > 0 && count <= rest.len(), "progress within the input");
            decoded.consumed += count;
            rest = &rest[count..];
        }
    }
    decoded.done = decoder.is_done();
    assert_eq!(decoder.eof().is_ok(), decoded.done);
    Ok(decoded)
}

pub(crate) fn run(data: &[u8]) {
    let whole = decode(data, data.len());
    for step in [1, 2, 3, 5, 16, 61] {
        assert_eq!(decode(data, step), whole, "in pieces of {step}");
    }
    let Ok(decoded) = whole else { return };
    if !decoded.done {
        return;
    }
    for reader in readers() {
        let (content, consumed) = reader.chunked(data).unwrap_or_else(|| panic!("{reader:?} sees no end"));
        assert_eq!((content, consumed), (decoded.content.clone(), decoded.consumed), "{reader:?}");
    }
}
