//! An origin that speaks HTTP/2, frame by frame, on a connection of [`Origin`](crate::Origin).

use std::collections::{BTreeMap, VecDeque};

use crate::http2::{Frame, PREFACE, flag, kind};
use crate::origin::Conn;

/// What a window is before anybody says otherwise (RFC 9113 6.5.2).
const WINDOW_BYTES: i64 = 65_535;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A request, as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Http2Request {
    pub id: u32,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Option<Vec<(String, String)>>,
    pub ended: bool,
}

impl Http2Request {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A connection in the hands of a script. It answers SETTINGS and PING, and opens its windows as it reads.
pub struct Http2Conn<'a> {
    conn: &'a mut Conn,
    encoder: fluke_hpack::Encoder<'static>,
    decoder: fluke_hpack::Decoder<'static>,
    requests: BTreeMap<u32, Http2Request>,
    /// Requests that were not handed out yet: heads, and complete ones.
    heads: VecDeque<u32>,
    complete: VecDeque<u32>,
    pub resets: BTreeMap<u32, u32>,
    initial_window: i64,
    window: i64,
    windows: BTreeMap<u32, i64>,
}

impl<'a> Http2Conn<'a> {
    /// Reads the preface and sends these SETTINGS. `None` when the proxy went away before.
    pub fn accept(conn: &'a mut Conn, settings: &[(u16, u32)]) -> Option<Http2Conn<'a>> {
        let preface = conn.exactly(PREFACE.len())?;
        assert_eq!(preface, PREFACE, "a client of HTTP/2 begins with its preface");
        conn.send(Frame::settings(settings).encode());
        Some(Http2Conn {
            conn,
            encoder: fluke_hpack::Encoder::new(),
            decoder: fluke_hpack::Decoder::new(),
            requests: BTreeMap::new(),
            heads: VecDeque::new(),
            complete: VecDeque::new(),
            resets: BTreeMap::new(),
            initial_window: WINDOW_BYTES,
            window: WINDOW_BYTES,
            windows: BTreeMap::new(),
        })
    }

    pub fn conn(&mut self) -> &mut Conn {
        self.conn
    }

    pub fn send(&mut self, frame: &Frame) -> bool {
        self.conn.send(frame.encode())
    }

    /// The next frame, acted on. `None` when the proxy went away, or says nothing for too long.
    pub fn frame(&mut self) -> Option<Frame> {
        let header = self.conn.exactly(9)?;
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let id = u32::from_be_bytes(header[5..9].try_into().expect("four bytes"));
        let payload = self.conn.exactly(length)?;
        let frame = Frame { kind: header[3], flags: header[4], id, payload };
        match frame.kind {
            kind::SETTINGS if !frame.has(flag::ACK) => self.on_settings(&frame),
            kind::PING if !frame.has(flag::ACK) => {
                self.send(&Frame::new(kind::PING, flag::ACK, 0, frame.payload.clone()));
            }
            kind::WINDOW_UPDATE if id == 0 => self.window += i64::from(frame.number(0)),
            kind::WINDOW_UPDATE => *self.stream_window(id) += i64::from(frame.number(0)),
            kind::RST_STREAM => {
                self.resets.insert(id, frame.number(0));
                self.requests.remove(&id);
                self.heads.retain(|head| *head != id);
                self.complete.retain(|complete| *complete != id);
            }
            kind::HEADERS => self.on_headers(&frame),
            kind::DATA => self.on_data(&frame),
            _ => {}
        }
        Some(frame)
    }

    /// Reads until a request is complete, and takes it.
    pub fn request(&mut self) -> Option<Http2Request> {
        loop {
            if let Some(id) = self.complete.pop_front() {
                self.heads.retain(|head| *head != id);
                return self.requests.remove(&id);
            }
            self.frame()?;
        }
    }

    /// Reads until a head has come, and shows it as it is then.
    pub fn head(&mut self) -> Option<Http2Request> {
        loop {
            if let Some(id) = self.heads.pop_front() {
                return self.requests.get(&id).cloned();
            }
            self.frame()?;
        }
    }

    /// What has come of a request whose head was shown.
    pub fn so_far(&self, id: u32) -> Option<&Http2Request> {
        self.requests.get(&id)
    }

    /// Reads until a stream is reset; the code.
    pub fn until_reset(&mut self, id: u32) -> Option<u32> {
        while !self.resets.contains_key(&id) {
            self.frame()?;
        }
        self.resets.get(&id).copied()
    }

    /// Sends HEADERS.
    pub fn headers(&mut self, id: u32, fields: &[(&str, &str)], end: bool) -> bool {
        let block =
            self.encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
        self.send(&Frame::new(kind::HEADERS, flags, id, block))
    }

    /// Sends data as the windows allow, reading what opens them. Whether all of it went.
    pub fn data(&mut self, id: u32, bytes: &[u8], end: bool) -> bool {
        let mut rest = bytes;
        loop {
            let room = self.window.min(*self.stream_window(id)).clamp(0, 16_384) as usize;
            let (part, after) = rest.split_at(room.min(rest.len()));
            if !part.is_empty() || rest.is_empty() {
                self.window -= part.len() as i64;
                *self.stream_window(id) -= part.len() as i64;
                if !self.send(&Frame::data(id, part, end && after.is_empty())) {
                    return false;
                }
            }
            rest = after;
            if rest.is_empty() {
                return true;
            }
            if room == 0 && (self.resets.contains_key(&id) || self.frame().is_none()) {
                return false;
            }
        }
    }

    /// Sends a whole response.
    pub fn reply(&mut self, id: u32, status: u16, body: impl AsRef<[u8]>) -> bool {
        self.headers(id, &[(":status", &status.to_string())], false) && self.data(id, body.as_ref(), true)
    }

    /// Answers every request with 200 and `body`.
    pub fn serve(&mut self, body: &str) {
        while let Some(request) = self.request() {
            self.reply(request.id, 200, body);
        }
    }

    fn stream_window(&mut self, id: u32) -> &mut i64 {
        self.windows.entry(id).or_insert(self.initial_window)
    }

    fn on_settings(&mut self, frame: &Frame) {
        for setting in frame.payload.chunks(6) {
            let value = u32::from_be_bytes(setting[2..6].try_into().expect("four bytes"));
            if u16::from_be_bytes([setting[0], setting[1]]) == INITIAL_WINDOW_SIZE {
                let change = i64::from(value) - self.initial_window;
                self.initial_window += change;
                self.windows.values_mut().for_each(|window| *window += change);
            }
        }
        self.send(&Frame::new(kind::SETTINGS, flag::ACK, 0, []));
    }

    fn on_headers(&mut self, frame: &Frame) {
        assert!(frame.has(flag::END_HEADERS), "this origin reads no CONTINUATION: {frame:?}");
        assert!(!frame.has(flag::PADDED | flag::PRIORITY), "this origin reads bare blocks: {frame:?}");
        let fields = self.decoder.decode(&frame.payload).expect("a header block");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        for (name, value) in &fields {
            assert_eq!(*name, name.to_ascii_lowercase(), "names are in lower case (RFC 9113 8.2.1)");
            assert!(!value.contains(['\r', '\n', '\0']), "{name}: {value:?}");
        }
        match self.requests.get_mut(&frame.id) {
            Some(request) => request.trailers = Some(fields),
            None => {
                let request = Http2Request { id: frame.id, fields, ..Http2Request::default() };
                self.requests.insert(frame.id, request);
                self.heads.push_back(frame.id);
            }
        }
        self.finish(frame);
    }

    fn on_data(&mut self, frame: &Frame) {
        let length = frame.payload.len() as u32;
        if length > 0 {
            self.send(&Frame::window_update(0, length));
            if !frame.has(flag::END_STREAM) {
                self.send(&Frame::window_update(frame.id, length));
            }
        }
        if let Some(request) = self.requests.get_mut(&frame.id) {
            request.body.extend(&frame.payload);
        }
        self.finish(frame);
    }

    fn finish(&mut self, frame: &Frame) {
        if frame.has(flag::END_STREAM)
            && let Some(request) = self.requests.get_mut(&frame.id)
        {
            request.ended = true;
            self.complete.push_back(frame.id);
        }
    }
}
