//! Response heads, for every kind of request.

use ringway_protocols::http1::{
    HeadLimits, Parsed, ResponseEdits, parse_response, response_needs_edit, write_response,
};
use ringway_protocols::message::{BodyLength, Method, ResponseHead};

use crate::reference::{Length, readers};

pub(crate) const SEEDS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 404\r\nConnection: close\r\nX-Ringway-Reason: x\r\n\r\n",
];

const LIMITS: HeadLimits = HeadLimits { bytes_max: 2048, fields_max: 24, target_bytes_max: 0 };

pub(crate) fn run(data: &[u8]) {
    for method in [Method::Get, Method::Head, Method::Connect] {
        run_for(data, method);
    }
}

fn run_for(data: &[u8], method: Method) {
    let mut head = ResponseHead::default();
    match parse_response(data, &LIMITS, method, &mut head) {
        Err(_) => return,
        Ok(Parsed::NeedMore) => {
            assert!(data.len() < LIMITS.bytes_max as usize, "an endless head must be refused");
            return;
        }
        Ok(Parsed::Complete) => {}
    }
    let end = head.bytes as usize;
    assert!(end <= data.len() && data[..end].ends_with(b"\r\n\r\n"));
    assert!((100..600).contains(&head.status));
    let mut prefix = ResponseHead::default();
    for cut in (0..end).step_by(1 + end / 32) {
        assert_eq!(parse_response(&data[..cut], &LIMITS, method, &mut prefix), Ok(Parsed::NeedMore), "{cut}");
    }
    let edits = ResponseEdits::default();
    let mut out = Vec::new();
    write_response(&mut out, data, &head, &edits);
    if !response_needs_edit(&head, &edits) {
        assert_eq!(out, &data[..end], "what needs no edit is what was received");
    }
    crate::http1_request::check_spelling(&out);
    let mut again = ResponseHead::default();
    assert_eq!(parse_response(&out, &LIMITS, method, &mut again), written_verdict(&head));
    if head.status == 101 {
        return;
    }
    assert_eq!((again.status, again.body), (head.status, head.body));
    assert!(!response_needs_edit(&again, &edits), "what was written needs no edit");
    let expected = match head.body {
        BodyLength::Exact(length) => Length::Exact(length),
        BodyLength::Chunked => Length::Chunked,
        BodyLength::UntilClose => Length::None,
        // Readers that know the method and the status do not look at lengths here.
        BodyLength::Empty => return,
    };
    for reader in readers() {
        let seen = reader.head(&out).expect("a complete head");
        assert_eq!((seen.bytes, seen.length), (out.len(), expected), "{reader:?}");
    }
}

/// A switch of protocols is only valid with the fields of this hop, which are written when the switch is.
fn written_verdict(head: &ResponseHead) -> Result<Parsed, ringway_protocols::http1::ResponseError> {
    if head.status == 101 {
        Err(ringway_protocols::http1::ResponseError::InvalidUpgrade)
    } else {
        Ok(Parsed::Complete)
    }
}
