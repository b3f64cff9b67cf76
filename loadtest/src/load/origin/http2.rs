//! HTTP/2 with prior knowledge as an origin, and gRPC on it, on the connection machine of `ringway_protocols`.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use ringway_protocols::http1::{HeadLimits, Parsed, ResponseEdits, TrailerLimits, parse_response};
use ringway_protocols::http2::{Connection, ConnectionConfig, ErrorCode, Event, Role, StreamKey};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};

use super::faults::Answer;
use super::{Body, Broken, Content, OUT_BYTES_MAX, OriginConfig, Then, pattern};
use crate::load::codec::Protocol;
use crate::load::codec::http2::NO_ABUSE_LIMITS;

/// One connection.
pub(super) struct Http2 {
    machine: Connection,
    grpc: bool,
    content: Rc<Content>,
    message_bytes: u64,
    messages: u64,
    right: Reply,
    error: Reply,
    /// By the slot of their key.
    streams: Vec<Stream>,
    /// Streams whose bodies are not at their end, in turn.
    sending: VecDeque<StreamKey>,
    head: RequestHead,
    bytes: Vec<u8>,
    /// Streams that have ended.
    gone: Vec<u32>,
    /// GOAWAY was sent.
    going: bool,
}

#[derive(Clone, Copy, Default)]
struct Stream {
    key: Option<StreamKey>,
    head_only: bool,
    body: Body,
    /// Ends before what was announced.
    short: bool,
}

/// A head that is sent again and again.
struct Reply {
    bytes: Vec<u8>,
    head: ResponseHead,
}

const HEAD_LIMITS: HeadLimits =
    HeadLimits { bytes_max: 64 << 10, fields_max: 500, target_bytes_max: 32 << 10 };
/// A DATA frame on a stream that cannot have one: stream 0 (RFC 9113 6.1).
const GARBAGE: &[u8] = b"\0\0\x01\0\0\0\0\0\0x";
const STREAMS_MAX: u32 = 10_000;
/// The flag and the length in front of a message of gRPC, and of its one field that nobody knows.
const PREFIX_BYTES: u64 = 5;
/// Field 2000 with a length in four bytes: every type of message passes over it.
const FIELD: [u8; 2] = [0x82, 0x7d];
const FIELD_BYTES: u64 = 6;

impl Http2 {
    pub(super) fn new(config: &OriginConfig, content: Rc<Content>, now: Instant, out: &mut Vec<u8>) -> Http2 {
        let grpc = config.protocol == Protocol::Grpc;
        let machine_config = ConnectionConfig {
            streams_max: STREAMS_MAX,
            stream_window: 1 << 20,
            stream_window_max: 1 << 20,
            connection_window: 64 << 20,
            frame_bytes_max: 16 << 10,
            header_table_bytes: 4096,
            head_limits: HEAD_LIMITS,
            trailer_limits: TrailerLimits { bytes_max: 16 << 10, fields_max: 100 },
            connect_protocol: false,
            queued_control_bytes_max: 1 << 20,
            abuse: NO_ABUSE_LIMITS,
        };
        let mut machine = Connection::new(Role::Server, &machine_config, now);
        out.append(machine.output());
        let length = config.body_bytes;
        let (right, error) = if grpc {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n";
            (format!("{head}\r\n"), format!("{head}Grpc-Status: 14\r\nGrpc-Message: a fault\r\n\r\n"))
        } else {
            (
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"),
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned(),
            )
        };
        Http2 {
            machine,
            grpc,
            content,
            message_bytes: if grpc { message_bytes(length) } else { length },
            messages: u64::from(config.messages),
            right: Reply::new(right),
            error: Reply::new(error),
            streams: Vec::new(),
            sending: VecDeque::new(),
            head: RequestHead::default(),
            bytes: Vec::new(),
            gone: Vec::new(),
            going: false,
        }
    }

    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
        asked: &mut Vec<u32>,
    ) -> Result<(), Broken> {
        let mut result = Ok(());
        loop {
            let Ok(step) = self.machine.receive(bytes, now) else {
                result = Err(Broken);
                break;
            };
            let idle = step.consumed == 0 && step.event.is_none();
            if let Some(event) = step.event {
                self.take(event, asked);
            }
            if idle {
                break;
            }
            bytes = bytes.get(step.consumed..).unwrap_or_default();
        }
        out.append(self.machine.output());
        result
    }

    fn take(&mut self, event: Event, asked: &mut Vec<u32>) {
        match event {
            Event::Request { key, end } => {
                self.machine.take_request(&mut self.head, &mut self.bytes);
                let slot = key.slot();
                if self.streams.len() <= slot {
                    self.streams.resize(slot + 1, Stream::default());
                }
                let head_only = self.head.method == Method::Head;
                if let Some(stream) = self.streams.get_mut(slot) {
                    *stream = Stream { key: Some(key), head_only, ..Stream::default() };
                }
                if end {
                    asked.push(slot as u32);
                }
            }
            Event::Data { key, range, end } => {
                if end {
                    asked.push(key.slot() as u32);
                } else {
                    self.machine.consumed(key, range.len());
                }
            }
            Event::Trailers { key } => {
                self.machine.take_trailers(&mut self.bytes);
                asked.push(key.slot() as u32);
            }
            Event::Reset { key, .. } => self.let_go(key),
            Event::RefusedHead { key, .. } => self.machine.release(key),
            Event::GoAway { .. }
            | Event::Response { .. }
            | Event::Malformed { .. }
            | Event::Writable { .. }
            | Event::AllWritable
            | Event::Pong(_)
            | Event::SettingsChanged => {}
        }
    }

    /// The client has given it up. Its number is told as finished, so that nothing waits for it.
    fn let_go(&mut self, key: StreamKey) {
        self.machine.release(key);
        self.sending.retain(|&other| other != key);
        if let Some(stream) = self.streams.get_mut(key.slot()).filter(|stream| stream.key == Some(key)) {
            *stream = Stream::default();
            self.gone.push(key.slot() as u32);
        }
    }

    pub(super) fn answer(&mut self, id: u32, answer: Answer, slow: bool, out: &mut Vec<u8>) -> Then {
        let Some(stream) = self.streams.get_mut(id as usize) else { return Then::Continue };
        let Some(key) = stream.key else { return Then::Continue };
        let bodiless = stream.head_only || answer == Answer::Error;
        let whole = match (self.grpc, bodiless) {
            (_, true) => 0,
            (true, false) => self.messages * (PREFIX_BYTES + self.message_bytes),
            (false, false) => self.message_bytes,
        };
        stream.short = answer == Answer::Short;
        let total = if stream.short { whole / 2 } else { whole };
        stream.body = Body::begin(id, total, slow);
        match answer {
            Answer::Reset => self.machine.reset(key, ErrorCode::InternalError),
            Answer::Garbage => {
                out.append(self.machine.output());
                out.extend_from_slice(GARBAGE);
                return Then::Close;
            }
            Answer::GoAway => {
                self.machine.goaway(ErrorCode::NoError);
                self.going = true;
            }
            Answer::Right | Answer::Error | Answer::Short => {}
        }
        let reply = if answer == Answer::Error { &self.error } else { &self.right };
        // Calls end by their trailers.
        let end = bodiless || total == 0 && !self.grpc;
        let edits = ResponseEdits::default();
        let sent = self.machine.send_response(key, &reply.bytes, &reply.head, &edits, end);
        out.append(self.machine.output());
        if sent.is_err() || end {
            self.finish(key);
        } else {
            self.sending.push_back(key);
        }
        Then::Continue
    }

    pub(super) fn allow(&mut self, id: u32, bytes: u64) -> bool {
        self.streams.get_mut(id as usize).is_some_and(|stream| stream.body.allow(id, bytes))
    }

    /// GOAWAY was sent, and all that came before it is answered.
    pub(super) fn is_closing(&self) -> bool {
        self.going && self.machine.streams_open() == 0
    }

    fn finish(&mut self, key: StreamKey) {
        self.machine.release(key);
        if let Some(stream) = self.streams.get_mut(key.slot()) {
            *stream = Stream::default();
        }
        self.gone.push(key.slot() as u32);
    }

    /// Sends what there is room for: a frame of each stream in turn, so that none waits for the end of another.
    pub(super) fn pump(&mut self, out: &mut Vec<u8>, finished: &mut Vec<u32>) {
        let mut blocked = 0;
        while blocked < self.sending.len() && out.len() < OUT_BYTES_MAX {
            let Some(key) = self.sending.pop_front() else { break };
            match self.send_frame(key, out) {
                Sent::Last => {
                    self.finish(key);
                    blocked = 0;
                    continue;
                }
                Sent::Part => blocked = 0,
                Sent::Nothing => blocked += 1,
            }
            self.sending.push_back(key);
        }
        out.append(self.machine.output());
        finished.append(&mut self.gone);
    }

    /// One frame, as far as the windows, the rate and the room allow.
    fn send_frame(&mut self, key: StreamKey, out: &mut Vec<u8>) -> Sent {
        let Some(stream) = self.streams.get_mut(key.slot()) else { return Sent::Last };
        let room = OUT_BYTES_MAX.saturating_sub(out.len()).min(self.machine.send_capacity(key));
        let range = stream.body.take(room);
        let ended = stream.body.end();
        if range.is_empty() && !ended {
            return Sent::Nothing;
        }
        let last = ended && !self.grpc;
        let length = (range.end - range.start) as usize;
        if (length > 0 || last) && self.machine.send_data_header(key, length, last).is_err() {
            return Sent::Last;
        }
        out.append(self.machine.output());
        self.content.append(range, out);
        if !ended {
            return Sent::Part;
        }
        if self.grpc {
            // A stream that has gone needs no trailers.
            let _ = self.machine.send_trailers(key, b"grpc-status: 0\r\n");
        }
        Sent::Last
    }
}

/// What a stream has sent in its turn.
enum Sent {
    Nothing,
    Part,
    Last,
}

/// Messages one behind the other.
pub(super) fn messages(length: u64) -> Content {
    let length = message_bytes(length);
    Content::new((0..PREFIX_BYTES + length).map(|position| message_byte(position, length)).collect())
}

/// The length of a message: too short a one for its field has none.
fn message_bytes(length: u64) -> u64 {
    if length < FIELD_BYTES { 0 } else { length }
}

/// A byte of messages that follow each other, each with its prefix.
fn message_byte(position: u64, message_bytes: u64) -> u8 {
    let at = position % (PREFIX_BYTES + message_bytes);
    match at {
        0 => 0,
        1..PREFIX_BYTES => (message_bytes as u32).to_be_bytes().get(at as usize - 1).copied().unwrap_or(0),
        _ => match at - PREFIX_BYTES {
            at @ 0..2 => FIELD.get(at as usize).copied().unwrap_or(0),
            at @ 2..FIELD_BYTES => {
                // Seven bits in each byte, and a mark on all but the last (protobuf's varint).
                let bits = ((message_bytes - FIELD_BYTES) >> (7 * (at - 2))) as u8 & 0x7f;
                if at + 1 < FIELD_BYTES { bits | 0x80 } else { bits }
            }
            at => pattern(at - FIELD_BYTES),
        },
    }
}

impl Reply {
    fn new(text: String) -> Reply {
        let (bytes, mut head) = (text.into_bytes(), ResponseHead::default());
        let parsed = parse_response(&bytes, &HEAD_LIMITS, Method::Get, &mut head);
        assert!(matches!(parsed, Ok(Parsed::Complete)), "a head of our own is valid: {parsed:?}");
        Reply { bytes, head }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_length_and_one_field() {
        let bytes: Vec<u8> = (0..32).map(|position| message_byte(position, 11)).collect();
        let message = b"\0\0\0\0\x0b\x82\x7d\x85\x80\x80\0abcde";
        assert_eq!(bytes, [&message[..], message].concat());
        assert_eq!(message_byte(5, 0), 0);
    }
}
