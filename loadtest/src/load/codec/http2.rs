//! HTTP/2 with prior knowledge, and gRPC on it, on the connection machine of `ringway_protocols`.

use std::time::Instant;

use ringway_protocols::http1::{HeadLimits, RequestEdits, TrailerLimits};
use ringway_protocols::http2::{AbuseLimits, Connection, ConnectionConfig, Event, Role, StreamKey};
use ringway_protocols::message::ResponseHead;

use crate::load::codec::{CodecConfig, Ended, KEPT_BYTES_MAX, Protocol};
use crate::load::request::Rendered;
use crate::load::totals::Failure;

/// One connection.
pub struct Http2 {
    machine: Connection,
    grpc: bool,
    keep_body: bool,
    scheme: &'static str,
    streams_max: u32,
    /// By the slot of their key.
    streams: Vec<Stream>,
    /// Bodies that wait for a window.
    unsent: Vec<Unsent>,
    /// Swapped with the machine's, so that neither allocates.
    head: ResponseHead,
    bytes: Vec<u8>,
    /// Answers to the peer's frames since the output was last taken.
    queued_control_bytes: usize,
    closing: bool,
}

#[derive(Default)]
struct Stream {
    tag: u32,
    open: bool,
    status: u16,
    /// Of the gRPC trailers.
    grpc_status: Option<u16>,
    body_bytes: u64,
    body: Vec<u8>,
    messages: Messages,
}

/// Where a body of gRPC is in its messages: each has a flag, its length in four bytes, and so much of content.
#[derive(Clone, Copy, Default)]
struct Messages {
    prefix: [u8; 5],
    prefix_bytes: usize,
    left: u64,
}

struct Unsent {
    key: StreamKey,
    body: Vec<u8>,
    sent: usize,
}

/// A tester's peer may misbehave as it likes: it is counted, and bounded by `--timeout`.
pub(crate) const NO_ABUSE_LIMITS: AbuseLimits = AbuseLimits {
    resets: 0,
    own_resets: 0,
    continuations: 0,
    empty_frames: 0,
    control_frames: 0,
    priorities: 0,
    window_updates: 0,
    refused_streams: 0,
    unknown_frames: 0,
    closed_frames: 0,
};

/// Acknowledgements and the like that the peer does not read.
const QUEUED_CONTROL_BYTES_MAX: u32 = 1 << 20;
/// The statuses of gRPC that no trailer has set: "unknown".
const GRPC_UNKNOWN: u16 = 2;

impl Http2 {
    pub fn new(config: &CodecConfig, now: Instant, out: &mut Vec<u8>) -> Http2 {
        let head_limits = HeadLimits { bytes_max: 64 << 10, fields_max: 200, target_bytes_max: 16 << 10 };
        let machine_config = ConnectionConfig {
            streams_max: config.streams,
            stream_window: 1 << 20,
            stream_window_max: 1 << 20,
            connection_window: 64 << 20,
            frame_bytes_max: 16 << 10,
            header_table_bytes: 4096,
            head_limits,
            trailer_limits: TrailerLimits { bytes_max: 16 << 10, fields_max: 100 },
            connect_protocol: false,
            queued_control_bytes_max: QUEUED_CONTROL_BYTES_MAX,
            abuse: NO_ABUSE_LIMITS,
        };
        let mut machine = Connection::new(Role::Client, &machine_config, now);
        out.append(machine.output());
        Http2 {
            machine,
            grpc: config.protocol == Protocol::Grpc,
            keep_body: config.keep_body,
            scheme: if config.tls { "https" } else { "http" },
            streams_max: config.streams,
            streams: Vec::new(),
            unsent: Vec::new(),
            head: ResponseHead::default(),
            bytes: Vec::new(),
            queued_control_bytes: 0,
            closing: false,
        }
    }

    pub fn can_start(&self) -> bool {
        !self.closing && self.machine.streams_open() < self.streams_max && self.machine.can_open()
    }

    pub fn is_closing(&self) -> bool {
        self.closing
    }

    pub fn start(&mut self, tag: u32, request: &Rendered, out: &mut Vec<u8>) -> Result<(), Failure> {
        let head = request.parsed();
        let key = self.machine.open(head.method).ok_or(Failure::Stream)?;
        let slot = key.slot();
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, Stream::default);
        }
        if let Some(stream) = self.streams.get_mut(slot) {
            *stream = Stream { tag, open: true, body: std::mem::take(&mut stream.body), ..Stream::default() };
            stream.body.clear();
        }
        let body = request.body();
        let edits = RequestEdits { te_trailers: self.grpc, ..RequestEdits::default() };
        let sent =
            self.machine.send_request(key, request.bytes(), head, &edits, self.scheme, body.is_empty());
        sent.map_err(|_gone| Failure::Stream)?;
        out.append(self.machine.output());
        if !body.is_empty() {
            let sent = send_body(&mut self.machine, key, body, 0, out)?;
            if sent < body.len() {
                self.unsent.push(Unsent { key, body: body.to_vec(), sent });
            }
        }
        Ok(())
    }

    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Failure> {
        loop {
            let step = self.machine.receive(bytes, now).map_err(|_broken| Failure::Http2)?;
            let idle = step.consumed == 0 && step.event.is_none();
            if let Some(event) = step.event {
                self.take(event, bytes, ended);
            }
            if idle {
                break;
            }
            bytes = bytes.get(step.consumed..).unwrap_or_default();
        }
        // A peer that asks for acknowledgements and reads none of them must not fill our memory.
        if out.is_empty() {
            self.queued_control_bytes = 0;
        }
        self.queued_control_bytes += self.machine.output().len();
        if self.queued_control_bytes > QUEUED_CONTROL_BYTES_MAX as usize {
            return Err(Failure::Http2);
        }
        out.append(self.machine.output());
        self.send_unsent(out)?;
        out.append(self.machine.output());
        Ok(())
    }

    fn take(&mut self, event: Event, bytes: &[u8], ended: &mut Vec<Ended>) {
        match event {
            Event::Response { key, end } => {
                self.machine.take_response(&mut self.head, &mut self.bytes);
                let status = self.head.status;
                let grpc_status = if self.grpc && end { grpc_status(&self.bytes) } else { None };
                if let Some(stream) = self.streams.get_mut(key.slot())
                    && status >= 200
                {
                    stream.status = status;
                    stream.grpc_status = grpc_status;
                }
                if end {
                    self.finish(key, None, ended);
                }
            }
            Event::Data { key, range, end } => {
                let length = range.len();
                if let Some(stream) = self.streams.get_mut(key.slot()) {
                    stream.body_bytes += length as u64;
                    if self.grpc {
                        stream.messages.take(bytes.get(range.clone()).unwrap_or_default());
                    }
                    if self.keep_body && stream.body.len() + length <= KEPT_BYTES_MAX {
                        stream.body.extend_from_slice(bytes.get(range).unwrap_or_default());
                    }
                }
                if end {
                    self.finish(key, None, ended);
                } else {
                    self.machine.consumed(key, length);
                }
            }
            Event::Trailers { key } => {
                self.machine.take_trailers(&mut self.bytes);
                if self.grpc {
                    let status = grpc_status(&self.bytes);
                    if let Some(stream) = self.streams.get_mut(key.slot()) {
                        stream.grpc_status = status;
                    }
                }
                self.finish(key, None, ended);
            }
            Event::Reset { key, processed, by_peer, .. } => {
                let failure = match (by_peer, processed) {
                    // We have reset it: a body of another length than announced, for instance.
                    (false, _) => Failure::Malformed,
                    (true, true) => Failure::Stream,
                    (true, false) => Failure::Refused,
                };
                self.finish(key, Some(failure), ended);
            }
            Event::RefusedHead { key, .. } => self.finish(key, Some(Failure::Malformed), ended),
            Event::GoAway { .. } => self.closing = true,
            Event::Request { .. }
            | Event::Malformed { .. }
            | Event::Writable { .. }
            | Event::AllWritable
            | Event::Pong(_)
            | Event::SettingsChanged => {}
        }
    }

    fn finish(&mut self, key: StreamKey, failure: Option<Failure>, ended: &mut Vec<Ended>) {
        self.unsent.retain(|unsent| unsent.key != key);
        self.machine.release(key);
        let Some(stream) = self.streams.get_mut(key.slot()).filter(|stream| stream.open) else { return };
        stream.open = false;
        let status = match (self.grpc, stream.status) {
            (true, 200) => stream.grpc_status.unwrap_or(GRPC_UNKNOWN),
            (_, status) => status,
        };
        let failure = failure.or((self.grpc && status != 0).then_some(Failure::Grpc));
        let cut_off = self.grpc && !stream.messages.is_whole();
        let failure = failure.or(cut_off.then_some(Failure::Malformed));
        let body = if self.keep_body { std::mem::take(&mut stream.body) } else { Vec::new() };
        ended.push(Ended { tag: stream.tag, status, body_bytes: stream.body_bytes, failure, body });
    }

    fn send_unsent(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut position = 0;
        while let Some(unsent) = self.unsent.get_mut(position) {
            unsent.sent = send_body(&mut self.machine, unsent.key, &unsent.body, unsent.sent, out)?;
            if unsent.sent == unsent.body.len() {
                self.unsent.swap_remove(position);
            } else {
                position += 1;
            }
        }
        Ok(())
    }
}

impl Messages {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len() as u64);
                self.left -= skipped;
                bytes = bytes.get(skipped as usize..).unwrap_or_default();
                continue;
            }
            if let (Some(place), Some((&first, rest))) =
                (self.prefix.get_mut(self.prefix_bytes), bytes.split_first())
            {
                *place = first;
                self.prefix_bytes += 1;
                bytes = rest;
            }
            if let (5, [_, length @ ..]) = (self.prefix_bytes, self.prefix) {
                self.left = u64::from(u32::from_be_bytes(length));
                self.prefix_bytes = 0;
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.prefix_bytes == 0 && self.left == 0
    }
}

/// Sends as much of a body as the windows allow; returns how much of it is sent.
fn send_body(
    machine: &mut Connection,
    key: StreamKey,
    body: &[u8],
    mut sent: usize,
    out: &mut Vec<u8>,
) -> Result<usize, Failure> {
    while let Some(rest) = body.get(sent..).filter(|rest| !rest.is_empty()) {
        let length = machine.send_capacity(key).min(rest.len());
        if length == 0 {
            break;
        }
        machine.send_data_header(key, length, length == rest.len()).map_err(|_gone| Failure::Stream)?;
        out.append(machine.output());
        out.extend_from_slice(rest.get(..length).unwrap_or_default());
        sent += length;
    }
    Ok(sent)
}

/// The value of `grpc-status` in rendered lines.
fn grpc_status(lines: &[u8]) -> Option<u16> {
    const NAME: &[u8] = b"grpc-status:";
    let mut lines = lines.split(|&byte| byte == b'\n');
    let line =
        lines.find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    crate::head::digits(line.get(NAME.len()..)?.trim_ascii()).and_then(|status| u16::try_from(status).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_at_their_ends_only() {
        let bytes = b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01c";
        for size in [1, 4, bytes.len()] {
            let mut messages = Messages::default();
            let mut whole = Vec::new();
            let mut at = 0;
            for piece in bytes.chunks(size) {
                messages.take(piece);
                at += piece.len();
                if messages.is_whole() {
                    whole.push(at);
                }
            }
            assert_eq!(whole.last(), Some(&bytes.len()), "{size}");
            assert!(whole.iter().all(|at| [7, 12, 18].contains(at)), "{size}: {whole:?}");
        }
    }

    #[test]
    fn the_status_of_grpc_is_found_among_lines() {
        for (lines, expected) in [
            (&b"grpc-status: 0\r\n"[..], Some(0)),
            (b"HTTP/1.1 200\r\ncontent-type: application/grpc\r\nGrpc-Status:14\r\n", Some(14)),
            (b"x-grpc-status: 1\r\n", None),
            (b"grpc-status: ok\r\n", None),
        ] {
            assert_eq!(grpc_status(lines), expected);
        }
    }
}
