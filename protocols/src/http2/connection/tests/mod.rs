//! The machine against frames written by hand: tables by section of RFC 9113.

mod abuse;
mod data;
mod flow;
mod goaway;
mod heads;
mod pair;
mod settings;
mod splits;
mod states;

use std::time::{Duration, Instant};

use super::*;
use crate::http1::{HeadLimits, RequestEdits, ResponseEdits, TrailerLimits};
use crate::http2::event::Step;
use crate::http2::frame::{flag, kind};
use crate::http2::{AbuseLimits, StreamGone};
use crate::message::{Method, RequestHead, ResponseHead};

pub(super) fn config() -> ConnectionConfig {
    ConnectionConfig {
        streams_max: 100,
        stream_window: 64 << 10,
        stream_window_max: 1 << 20,
        connection_window: 1 << 20,
        frame_bytes_max: 16 << 10,
        header_table_bytes: 4096,
        head_limits: HeadLimits { bytes_max: 32 << 10, fields_max: 100, target_bytes_max: 8 << 10 },
        trailer_limits: TrailerLimits { bytes_max: 4096, fields_max: 32 },
        connect_protocol: true,
        queued_control_bytes_max: 64 << 10,
        abuse: AbuseLimits::default(),
    }
}

/// A machine, the time it is told, and what it said.
pub(super) struct Peer {
    pub(super) machine: Connection,
    pub(super) now: Instant,
}

impl Peer {
    /// A server whose client has done its part of the preface. The output is empty.
    pub(super) fn server() -> Peer {
        Peer::server_with(&config())
    }

    pub(super) fn server_with(config: &ConnectionConfig) -> Peer {
        let mut peer = Peer::fresh(Role::Server, config);
        peer.ok(PREFACE);
        peer.greeted()
    }

    pub(super) fn client() -> Peer {
        Peer::client_with(&config())
    }

    pub(super) fn client_with(config: &ConnectionConfig) -> Peer {
        Peer::fresh(Role::Client, config).greeted()
    }

    pub(super) fn fresh(role: Role, config: &ConnectionConfig) -> Peer {
        let now = start();
        Peer { machine: Connection::new(role, config, now), now }
    }

    fn greeted(mut self) -> Peer {
        self.ok(&frame(kind::SETTINGS, 0, 0, &[]));
        self.ok(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
        self.machine.output().clear();
        self
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Feeds input in one piece: the events, or the error.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<Vec<Event>, ConnectionError> {
        let mut events = Vec::new();
        let mut at = 0;
        loop {
            let Step { consumed, event } = self.machine.receive(&input[at..], self.now)?;
            if let Some(Event::Data { range, .. }) = &event {
                assert!(range.end <= consumed, "the range lies within what was consumed");
            }
            at += consumed;
            let done = consumed == 0 && event.is_none();
            events.extend(event);
            if done {
                assert_eq!(at, input.len(), "all input is taken");
                return Ok(events);
            }
        }
    }

    #[track_caller]
    pub(super) fn ok(&mut self, input: &[u8]) -> Vec<Event> {
        self.feed(input).expect("legal input")
    }

    /// Feeds input that ends the connection.
    #[track_caller]
    pub(super) fn dies(&mut self, input: &[u8], code: ErrorCode) -> ConnectionError {
        let error = self.feed(input).expect_err("the connection has to end");
        assert_eq!(error.code, code, "{error}");
        assert_eq!(self.feed(&[]), Err(error), "and stays ended");
        error
    }

    /// Feeds input that resets a stream.
    #[track_caller]
    pub(super) fn resets(&mut self, input: &[u8], id: u32, code: ErrorCode) {
        self.machine.output().clear();
        self.ok(input);
        let sent = self.sent();
        assert!(sent.contains(&Sent::reset(id, code)), "RST_STREAM {id} {code:?} in {sent:?}");
    }

    /// What was sent since the last time, and clears it.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let output = std::mem::take(self.machine.output());
        frames(&output)
    }

    /// Opens a request without an end; its key.
    #[track_caller]
    pub(super) fn request(&mut self, id: u32) -> StreamKey {
        match self.ok(&get(id, false)).as_slice() {
            [Event::Request { key, end: false }] => *key,
            other => panic!("a request, not {other:?}"),
        }
    }

    /// Client: opens a stream and sends a request on it.
    #[track_caller]
    pub(super) fn send_get(&mut self, end: bool) -> StreamKey {
        let key = self.machine.open(Method::Get).expect("a stream");
        let (bytes, head) = request_head();
        let edits = RequestEdits::default();
        self.machine.send_request(key, &bytes, &head, &edits, "http", end).expect("a new stream");
        key
    }

    #[track_caller]
    pub(super) fn respond(&mut self, key: StreamKey, end: bool) {
        let (bytes, head) = response_head(200);
        self.machine
            .send_response(key, &bytes, &head, &ResponseEdits::default(), end)
            .expect("an open stream");
    }
}

#[expect(clippy::disallowed_methods, reason = "some instant: only differences matter")]
fn start() -> Instant {
    Instant::now()
}

pub(super) fn request_head() -> (Vec<u8>, RequestHead) {
    let bytes = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec();
    let mut head = RequestHead::default();
    crate::http1::parse_request(&bytes, &config().head_limits, &mut head).expect("a request");
    (bytes, head)
}

pub(super) fn response_head(status: u16) -> (Vec<u8>, ResponseHead) {
    let bytes = format!("HTTP/1.1 {status} \r\n\r\n").into_bytes();
    let mut head = ResponseHead::default();
    crate::http1::parse_response(&bytes, &config().head_limits, Method::Get, &mut head).expect("a response");
    (bytes, head)
}

/// A frame as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) id: u32,
    pub(super) payload: Vec<u8>,
}

impl Sent {
    pub(super) fn reset(id: u32, code: ErrorCode) -> Sent {
        Sent { kind: kind::RST_STREAM, flags: 0, id, payload: code.code().to_be_bytes().to_vec() }
    }

    pub(super) fn window_update(id: u32, increment: u32) -> Sent {
        Sent { kind: kind::WINDOW_UPDATE, flags: 0, id, payload: increment.to_be_bytes().to_vec() }
    }

    pub(super) fn goaway(last: u32, code: ErrorCode) -> Sent {
        let payload = [last.to_be_bytes(), code.code().to_be_bytes()].concat();
        Sent { kind: kind::GOAWAY, flags: 0, id: 0, payload }
    }
}

/// Cuts an output without DATA into frames.
pub(super) fn frames(output: &[u8]) -> Vec<Sent> {
    let mut rest = output.strip_prefix(PREFACE.as_slice()).unwrap_or(output);
    let mut found = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let header = frame::FrameHeader::parse(header);
        let (payload, after) = after.split_at(header.length as usize);
        found.push(Sent { kind: header.kind, flags: header.flags, id: header.id, payload: payload.to_vec() });
        rest = after;
    }
    assert!(rest.is_empty(), "whole frames");
    found
}

pub(super) fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_header(&mut out, payload.len() as u32, kind, flags, id);
    out.extend_from_slice(payload);
    out
}

pub(super) fn data(id: u32, payload: &[u8], end: bool) -> Vec<u8> {
    frame(kind::DATA, if end { flag::END_STREAM } else { 0 }, id, payload)
}

pub(super) fn reset(id: u32, code: ErrorCode) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, id, &code.code().to_be_bytes())
}

pub(super) fn window_update(id: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, id, &increment.to_be_bytes())
}

pub(super) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_settings(&mut out, entries);
    out
}

pub(super) fn goaway(last: u32, code: ErrorCode) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_goaway(&mut out, last, code);
    out
}

pub(super) fn headers(id: u32, block: &[u8], end: bool) -> Vec<u8> {
    let end = if end { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flag::END_HEADERS | end, id, block)
}

/// A block of these fields, each a literal without indexing.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte for the length");
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

pub(super) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
pub(super) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

pub(super) fn get(id: u32, end: bool) -> Vec<u8> {
    headers(id, &block(&GET), end)
}

/// A POST with a declared length.
pub(super) fn post(id: u32, length: u32, end: bool) -> Vec<u8> {
    let length = length.to_string();
    let mut fields = POST.to_vec();
    fields.push(("content-length", &length));
    headers(id, &block(&fields), end)
}

pub(super) fn response(id: u32, status: &str, end: bool) -> Vec<u8> {
    headers(id, &block(&[(":status", status)]), end)
}

pub(super) fn trailers(id: u32, end: bool) -> Vec<u8> {
    headers(id, &block(&[("x-sum", "1")]), end)
}
