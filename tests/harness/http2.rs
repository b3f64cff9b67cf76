//! An HTTP/2 client that sends exactly the frames that it is told to, and reads strictly what comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::Client;
use crate::wire::Broken;

pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags (RFC 9113 6).
pub mod flag {
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// Error codes (RFC 9113 7).
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const SETTINGS_TIMEOUT: u32 = 4;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, id: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame { kind, flags, id, payload: payload.into() }
    }

    pub fn window_update(id: u32, increment: u32) -> Frame {
        Frame::new(kind::WINDOW_UPDATE, 0, id, increment.to_be_bytes())
    }

    pub fn reset(id: u32, code: u32) -> Frame {
        Frame::new(kind::RST_STREAM, 0, id, code.to_be_bytes())
    }

    pub fn ping(payload: [u8; 8]) -> Frame {
        Frame::new(kind::PING, 0, 0, payload)
    }

    pub fn settings(settings: &[(u16, u32)]) -> Frame {
        let payload = settings.iter().flat_map(|(name, value)| {
            name.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<_>>()
        });
        Frame::new(kind::SETTINGS, 0, 0, payload.collect::<Vec<_>>())
    }

    pub fn data(id: u32, payload: impl Into<Vec<u8>>, end: bool) -> Frame {
        Frame::new(kind::DATA, if end { flag::END_STREAM } else { 0 }, id, payload)
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The number that starts at `at` in the payload.
    pub fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).unwrap_or_else(|| panic!("a longer payload: {self:?}"));
        u32::from_be_bytes(bytes.try_into().expect("four bytes"))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// A response, complete.
#[derive(Clone, Debug, Default)]
pub struct Http2Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Option<Vec<(String, String)>>,
}

impl Http2Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What ended instead of a response.
#[derive(Debug)]
pub enum Instead {
    Reset(u32),
    /// Last stream and code.
    GoAway(u32, u32),
    Broken(Broken),
}

/// A connection. Acknowledges SETTINGS and answers PING while it reads, and opens its windows as it goes.
pub struct Http2Client {
    client: Client,
    encoder: fluke_hpack::Encoder<'static>,
    decoder: fluke_hpack::Decoder<'static>,
    next_id: u32,
    /// Responses under way.
    responses: BTreeMap<u32, Http2Response>,
    /// Those that are complete.
    complete: BTreeMap<u32, Http2Response>,
    resets: BTreeMap<u32, u32>,
    /// Last streams and codes, in order.
    pub goaways: Vec<(u32, u32)>,
    /// What WINDOW_UPDATE allowed by stream, 0 for the connection.
    granted: BTreeMap<u32, usize>,
}

impl Http2Client {
    /// Connects and sends the preface with empty SETTINGS.
    pub fn connect(to: SocketAddr) -> Http2Client {
        Http2Client::begin(Client::connect(to), &[])
    }

    /// Speaks HTTP/2 on a connection, with these SETTINGS.
    pub fn begin(mut client: Client, settings: &[(u16, u32)]) -> Http2Client {
        client.send([&PREFACE[..], &Frame::settings(settings).encode()].concat());
        Http2Client::over(client, 1)
    }

    /// Takes over a connection on which the preface has been sent; its next stream is `next_id`.
    pub fn over(client: Client, next_id: u32) -> Http2Client {
        Http2Client {
            client,
            encoder: fluke_hpack::Encoder::new(),
            decoder: fluke_hpack::Decoder::new(),
            next_id,
            responses: BTreeMap::new(),
            complete: BTreeMap::new(),
            resets: BTreeMap::new(),
            goaways: Vec::new(),
            granted: BTreeMap::new(),
        }
    }

    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub fn send(&mut self, frame: &Frame) -> &mut Http2Client {
        self.client.send(frame.encode());
        self
    }

    /// Sends to a peer that may have closed already; whether it took it.
    pub fn try_send(&mut self, frame: &Frame) -> bool {
        self.client.try_send(frame.encode())
    }

    /// A header block.
    pub fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        self.encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    /// An identifier for a new stream.
    pub fn new_id(&mut self) -> u32 {
        self.next_id += 2;
        self.next_id - 2
    }

    /// Sends HEADERS with these fields on a new stream, and returns its identifier.
    pub fn open(&mut self, fields: &[(&str, &str)], end: bool) -> u32 {
        let (id, block) = (self.new_id(), self.block(fields));
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
        self.send(&Frame::new(kind::HEADERS, flags, id, block));
        id
    }

    /// Sends `GET path`.
    pub fn get(&mut self, path: &str) -> u32 {
        self.open(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "test")], true)
    }

    /// Sends the head of `POST path`.
    pub fn post(&mut self, path: &str) -> u32 {
        self.open(&[(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")], false)
    }

    /// The next frame as it comes; nothing is answered.
    pub fn any_frame(&mut self) -> Result<Frame, Broken> {
        let wire = self.client.wire();
        let header = wire.exactly(9)?;
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let id = u32::from_be_bytes(header[5..9].try_into().expect("four bytes")) & (u32::MAX >> 1);
        let payload = wire.exactly(length)?;
        let frame = Frame { kind: header[3], flags: header[4], id, payload };
        if frame.kind == kind::WINDOW_UPDATE {
            *self.granted.entry(id).or_default() += frame.number(0) as usize;
        }
        Ok(frame)
    }

    /// How many bytes of DATA may have been sent in all by now (RFC 9113 6.9), where this stream is the only one that
    /// sends any and windows were 64 KiB - 1 at first.
    pub fn allowed(&self, id: u32) -> usize {
        let of = |id: u32| 65_535 + self.granted.get(&id).copied().unwrap_or_default();
        of(id).min(of(0))
    }

    /// The next frame, acted on: SETTINGS and PING are answered, windows are opened, responses are collected.
    pub fn frame(&mut self) -> Result<Frame, Broken> {
        let frame = self.any_frame()?;
        match frame.kind {
            kind::SETTINGS if !frame.has(flag::ACK) => {
                self.try_send(&Frame::new(kind::SETTINGS, flag::ACK, 0, []));
            }
            kind::PING if !frame.has(flag::ACK) => {
                self.try_send(&Frame::new(kind::PING, flag::ACK, 0, frame.payload.clone()));
            }
            kind::GOAWAY => self.goaways.push((frame.number(0), frame.number(4))),
            kind::RST_STREAM => {
                self.responses.remove(&frame.id);
                self.resets.insert(frame.id, frame.number(0));
            }
            kind::HEADERS => self.on_headers(&frame),
            kind::DATA => {
                let length = frame.payload.len() as u32;
                if length > 0 {
                    self.try_send(&Frame::window_update(0, length));
                    if !frame.has(flag::END_STREAM) {
                        self.try_send(&Frame::window_update(frame.id, length));
                    }
                }
                let response = self.responses.get_mut(&frame.id).expect("DATA comes behind HEADERS");
                response.body.extend(&frame.payload);
                self.finish(&frame);
            }
            _ => {}
        }
        Ok(frame)
    }

    /// Reads until the response of a stream is complete.
    pub fn try_response(&mut self, id: u32) -> Result<Http2Response, Instead> {
        loop {
            if let Some(response) = self.complete.remove(&id) {
                return Ok(response);
            }
            if let Some(code) = self.resets.get(&id) {
                return Err(Instead::Reset(*code));
            }
            if let Some((last, code)) = self.goaways.last()
                && *last < id
            {
                return Err(Instead::GoAway(*last, *code));
            }
            self.frame().map_err(Instead::Broken)?;
        }
    }

    pub fn response(&mut self, id: u32) -> Http2Response {
        self.try_response(id).unwrap_or_else(|instead| panic!("instead of a response: {instead:?}"))
    }

    /// Reads up to a frame of this type.
    pub fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame =
                self.frame().unwrap_or_else(|broken| panic!("before a frame of type {kind}: {broken:?}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Waits until our SETTINGS are acknowledged: everything that was sent before has been seen.
    pub fn settled(&mut self) {
        while !self.until(kind::SETTINGS).has(flag::ACK) {}
    }

    /// Reads to the end of the connection; the last GOAWAY, if there was one.
    pub fn until_closed(&mut self) -> Option<(u32, u32)> {
        loop {
            match self.frame() {
                Ok(_) => {}
                Err(Broken::Closed(rest) | Broken::Reset(rest)) => {
                    assert!(rest.is_empty(), "a part of a frame before the end: {rest:?}");
                    return self.goaways.last().copied();
                }
                Err(broken) => panic!("instead of the end: {broken:?}"),
            }
        }
    }

    /// Whether nothing comes for this long.
    pub fn stays_silent(&mut self, time: Duration) -> bool {
        self.client.wire().unread().is_empty() && self.client.stays_silent(time)
    }

    fn on_headers(&mut self, frame: &Frame) {
        assert!(frame.has(flag::END_HEADERS), "this client reads no CONTINUATION: {frame:?}");
        let fields = self.decoder.decode(&frame.payload).expect("a header block");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        match self.responses.get_mut(&frame.id) {
            Some(response) => response.trailers = Some(fields),
            None => {
                let status = fields.iter().find(|(name, _)| name == ":status").expect("a status");
                let status: u16 = status.1.parse().expect("a number");
                if status >= 200 {
                    let response = Http2Response { status, fields, ..Http2Response::default() };
                    self.responses.insert(frame.id, response);
                }
            }
        }
        self.finish(frame);
    }

    fn finish(&mut self, frame: &Frame) {
        if frame.has(flag::END_STREAM)
            && let Some(response) = self.responses.remove(&frame.id)
        {
            self.complete.insert(frame.id, response);
        }
    }
}
