//! Two connections back to back, under any order of operations and any delays: neither finds fault with the other, and
//! what is sent arrives, in order and once.

use std::collections::BTreeMap;
use std::time::Instant;

use ringway_protocols::http1::{
    HeadLimits, RequestEdits, ResponseEdits, TrailerLimits, parse_request, parse_response,
};
use ringway_protocols::http2::{
    AbuseLimits, Connection, ConnectionConfig, ErrorCode, Event, Role, StreamGone, StreamKey,
};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};

/// Operations, each a byte for what and a byte for how much or which.
pub(crate) const SEEDS: &[&[u8]] = &[
    // A request, its answer with content, all of it read.
    b"\0\x01\x07\xff\x08\xff\x04\0\x05\x40\x06\0\x08\xff\x07\xff\x0b\0\x0c\0",
    // An upload with trailers in small pieces.
    b"\0\0\x01\x40\x01\xff\x07\x05\x07\x05\x07\xff\x0c\0\x03\0\x07\xff\x04\0\x06\x01\x08\xff",
    // Many at once, resets from both ends, and both ends drain.
    b"\0\0\0\0\0\0\0\x01\0\x01\x07\xff\x09\x01\x0a\x02\x01\x80\x04\x03\x05\xff\x0d\0\x07\xff\x08\xff\x0e\0\x08\xff\x0f\0\x07\xff",
    b"\x08\xff\x07\xff\0\0\x01\xff\x01\xff\x01\xff\x01\xff\x07\xff\x0c\0\x08\xff\x01\xff\x02\0\x07\xff\x04\x80\x05\xff\x05\xff\x06\0\x08\xff",
    b"\0\0\x10\0\x01\x10\x07\xff\0\0\x08\xff\0\x01\x07\xff\x11\x01\x04\x01\x08\xff",
];

/// More say nothing new.
const OPERATIONS_MAX: usize = 200;

const CONFIG: ConnectionConfig = ConnectionConfig {
    streams_max: 6,
    // Smaller than what is sent, so that windows close.
    stream_window: 700,
    stream_window_max: 3000,
    connection_window: 65_535,
    frame_bytes_max: 16_384,
    header_table_bytes: 512,
    head_limits: HeadLimits { bytes_max: 4096, fields_max: 24, target_bytes_max: 512 },
    trailer_limits: TrailerLimits { bytes_max: 512, fields_max: 8 },
    connect_protocol: true,
    queued_control_bytes_max: 1 << 20,
    abuse: AbuseLimits {
        resets: 0,
        own_resets: 0,
        continuations: 1,
        empty_frames: 1,
        control_frames: 0,
        priorities: 1,
        window_updates: 0,
        refused_streams: 0,
        unknown_frames: 1,
        closed_frames: 0,
    },
};

pub(crate) fn run(data: &[u8]) {
    let mut pair = Pair::new();
    let (operations, _) = data.as_chunks::<2>();
    for [what, which] in operations.iter().take(OPERATIONS_MAX) {
        pair.operate(*what, *which);
        pair.client.check();
        pair.server.check();
    }
    pair.settle();
}

const TRAILERS: &[u8] = b"x-checksum: 1\r\n";

/// One direction of a stream, as seen from one end.
#[derive(Debug, Default, Clone, Copy)]
struct Flow {
    head: bool,
    bytes: usize,
    ended: bool,
}

/// A stream, as seen from one end.
#[derive(Debug, Clone, Copy)]
struct Stream {
    key: StreamKey,
    sent: Flow,
    received: Flow,
    /// Received and not yet passed on.
    unread: usize,
    /// Reset from here, or by the other end.
    gone: bool,
}

/// One end, and what is on its way to it.
struct End {
    machine: Connection,
    streams: BTreeMap<u32, Stream>,
    /// What became of streams that were let go.
    finished: BTreeMap<u32, Stream>,
    incoming: Vec<u8>,
    now: Instant,
}

struct Pair {
    client: End,
    server: End,
    request: (RequestHead, Vec<u8>),
    response: (ResponseHead, Vec<u8>),
    interim: (ResponseHead, Vec<u8>),
}

impl Pair {
    fn new() -> Pair {
        let limits = CONFIG.head_limits;
        let request =
            b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Y: z\r\n\r\n".to_vec();
        let mut request_head = RequestHead::default();
        parse_request(&request, &limits, &mut request_head).expect("a good head");
        let response = |text: &str| {
            let (mut head, bytes) = (ResponseHead::default(), text.as_bytes().to_vec());
            parse_response(&bytes, &limits, Method::Post, &mut head).expect("a good head");
            (head, bytes)
        };
        Pair {
            client: End::new(Role::Client),
            server: End::new(Role::Server),
            request: (request_head, request),
            response: response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            interim: response("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        }
    }

    fn operate(&mut self, what: u8, which: u8) {
        let amount = usize::from(which);
        match what % 18 {
            0 => self.open(which & 1 != 0),
            1 => self.client.send_data(which, amount * 9),
            2 => self.client.end(which, &[]),
            3 => self.client.end(which, TRAILERS),
            4 => self.respond(which),
            5 => self.server.send_data(which, amount * 9),
            6 => self.server.end(which, if which & 1 != 0 { TRAILERS } else { &[] }),
            7 => self.client.move_to(&mut self.server, amount * 8),
            8 => self.server.move_to(&mut self.client, amount * 8),
            9 => self.client.reset(which),
            10 => self.server.reset(which),
            11 => self.client.read(which),
            12 => self.server.read(which),
            13 => self.server.machine.drain_begin(),
            14 => self.server.machine.drain_finish(),
            15 => self.client.machine.drain_begin(),
            16 => self.client.machine.ping([which; 8]),
            _ => self.server.machine.ping([which; 8]),
        }
    }

    fn open(&mut self, end: bool) {
        let Some(key) = self.client.machine.open(Method::Post) else { return };
        let (head, bytes) = &self.request;
        let sent = self.client.machine.send_request(key, bytes, head, &RequestEdits::default(), "http", end);
        assert_eq!(sent, Ok(()), "a new stream can be used");
        self.client.add(key).sent = Flow { head: true, bytes: 0, ended: end };
    }

    /// An interim response, or the response, with or without content.
    fn respond(&mut self, which: u8) {
        let Some(stream) = self.server.pick(which) else { return };
        let (interim, end) = (which & 0x80 != 0, which & 0x40 != 0);
        let (head, bytes) = if interim { &self.interim } else { &self.response };
        if stream.sent.head {
            return;
        }
        let end = end && !interim;
        let key = stream.key;
        let sent = self.server.machine.send_response(key, bytes, head, &ResponseEdits::default(), end);
        self.server.note(key, sent, |stream| {
            stream.sent.head |= !interim;
            stream.sent.ended |= end;
        });
    }

    /// Everything arrives and is read.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.client.move_to(&mut self.server, usize::MAX);
            self.server.move_to(&mut self.client, usize::MAX);
            self.client.read_all();
            self.server.read_all();
            if self.client.is_quiet() && self.server.is_quiet() {
                return self.check_settled();
            }
        }
        panic!("they do not come to rest");
    }

    fn check_settled(&self) {
        for (id, client) in self.client.all() {
            let Some(server) = self.server.all().find(|(other, _)| *other == id).map(|(_, stream)| stream)
            else {
                assert!(client.gone, "stream {id} never arrived");
                continue;
            };
            for (sent, received) in [(client.sent, server.received), (server.sent, client.received)] {
                assert!(received.bytes <= sent.bytes, "stream {id}: more than was sent");
                assert!(!received.ended || sent.ended, "stream {id}: an end that was not sent");
                if !client.gone && !server.gone {
                    assert_eq!(
                        (received.head, received.bytes, received.ended),
                        (sent.head, sent.bytes, sent.ended),
                        "stream {id}"
                    );
                }
            }
            assert!(
                client.gone == server.gone || client.is_over() || server.is_over(),
                "stream {id}: {client:?} {server:?}"
            );
        }
        assert!(self.server.all().all(|(id, _)| self.client.all().any(|(other, _)| other == id)));
    }
}

impl Stream {
    fn is_over(&self) -> bool {
        self.gone || (self.sent.ended && self.received.ended)
    }
}

/// What every byte of a body is: its place tells it from all others nearby.
fn content(id: u32, at: usize) -> u8 {
    (id as usize * 37 + at + at / 251) as u8
}

impl End {
    fn new(role: Role) -> End {
        let now = Instant::now();
        End {
            machine: Connection::new(role, &CONFIG, now),
            streams: BTreeMap::new(),
            finished: BTreeMap::new(),
            incoming: Vec::new(),
            now,
        }
    }

    fn add(&mut self, key: StreamKey) -> &mut Stream {
        let stream = Stream { key, sent: Flow::default(), received: Flow::default(), unread: 0, gone: false };
        assert!(self.streams.insert(key.id(), stream).is_none(), "stream {} twice", key.id());
        self.streams.get_mut(&key.id()).expect("just inserted")
    }

    fn all(&self) -> impl Iterator<Item = (u32, &Stream)> {
        self.streams.iter().chain(&self.finished).map(|(id, stream)| (*id, stream))
    }

    fn pick(&self, which: u8) -> Option<Stream> {
        let count = self.streams.len();
        self.streams.values().nth(usize::from(which) % count.max(1)).copied()
    }

    /// Notes what was sent. It can only fail where the stream is gone.
    fn note(&mut self, key: StreamKey, sent: Result<(), StreamGone>, note: impl FnOnce(&mut Stream)) {
        let stream = self.streams.get_mut(&key.id()).expect("a stream of ours");
        match sent {
            Ok(()) => note(stream),
            Err(StreamGone) => assert!(stream.gone, "{stream:?} cannot send"),
        }
        self.let_go(key.id());
    }

    fn send_data(&mut self, which: u8, bytes: usize) {
        let Some(stream) = self.pick(which).filter(|stream| stream.sent.head && !stream.sent.ended) else {
            return;
        };
        let bytes = bytes.min(self.machine.send_capacity(stream.key));
        if bytes == 0 {
            return;
        }
        let end = which & 0x20 != 0;
        let sent = self.machine.send_data_header(stream.key, bytes, end);
        if sent.is_ok() {
            let payload =
                (stream.sent.bytes..stream.sent.bytes + bytes).map(|at| content(stream.key.id(), at));
            self.machine.output().extend(payload);
        }
        self.note(stream.key, sent, |stream| {
            stream.sent.bytes += bytes;
            stream.sent.ended = end;
        });
    }

    fn end(&mut self, which: u8, trailers: &[u8]) {
        let Some(stream) = self.pick(which).filter(|stream| stream.sent.head && !stream.sent.ended) else {
            return;
        };
        let sent = self.machine.send_trailers(stream.key, trailers);
        self.note(stream.key, sent, |stream| stream.sent.ended = true);
    }

    fn reset(&mut self, which: u8) {
        let Some(stream) = self.pick(which) else { return };
        self.machine.reset(stream.key, ErrorCode::Cancel);
        self.streams.get_mut(&stream.key.id()).expect("picked").gone = true;
        self.let_go(stream.key.id());
    }

    /// Passes on what one stream has received.
    fn read(&mut self, which: u8) {
        let at = usize::from(which) % self.streams.len().max(1);
        if let Some(stream) = self.streams.values_mut().nth(at) {
            self.machine.consumed(stream.key, std::mem::take(&mut stream.unread));
        }
    }

    fn read_all(&mut self) {
        for stream in self.streams.values_mut() {
            self.machine.consumed(stream.key, std::mem::take(&mut stream.unread));
        }
    }

    fn let_go(&mut self, id: u32) {
        if let Some(stream) = self.streams.get(&id).copied().filter(Stream::is_over) {
            self.machine.release(stream.key);
            self.streams.remove(&id);
            self.finished.insert(id, stream);
        }
    }

    /// Sends what there is; so many bytes of what is under way arrive.
    fn move_to(&mut self, other: &mut End, bytes: usize) {
        other.incoming.append(self.machine.output());
        let count = bytes.min(other.incoming.len());
        let input: Vec<u8> = other.incoming.drain(..count).collect();
        let mut rest = input.as_slice();
        loop {
            let step = other.machine.receive(rest, other.now).expect("neither finds fault with the other");
            let stuck = step.consumed == 0 && step.event.is_none();
            if let Some(event) = step.event {
                other.on_event(event, &rest[..step.consumed]);
            }
            rest = &rest[step.consumed..];
            if stuck {
                break;
            }
        }
        assert!(rest.is_empty());
    }

    fn on_event(&mut self, event: Event, input: &[u8]) {
        let end_of = |stream: &mut Stream, end: bool| {
            assert!(!stream.received.ended && !stream.gone);
            stream.received.ended = end;
        };
        match event {
            Event::Request { key, end } => {
                let (mut head, mut bytes) = Default::default();
                self.machine.take_request(&mut head, &mut bytes);
                let stream = self.add(key);
                stream.received.head = true;
                end_of(stream, end);
                assert!(bytes.starts_with(b"POST /upload HTTP/2.0\r\nhost: a\r\nx-y: z\r\n\r\n"));
            }
            Event::Response { key, end } => {
                let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
                self.machine.take_response(&mut head, &mut bytes);
                let stream = self.streams.get_mut(&key.id()).expect("a stream of ours");
                assert!(!stream.received.head && (head.status == 200 || head.status == 103));
                stream.received.head = head.status == 200;
                end_of(stream, end);
                self.let_go(key.id());
            }
            Event::Data { key, range, end } => {
                let stream = self.streams.get_mut(&key.id()).expect("a stream of ours");
                assert!(stream.received.head);
                for byte in &input[range] {
                    assert_eq!(*byte, content(key.id(), stream.received.bytes), "stream {}", key.id());
                    stream.received.bytes += 1;
                    stream.unread += 1;
                }
                let bound = CONFIG.stream_window_max.max(65_535) as usize;
                assert!(stream.unread <= bound, "{} bytes are held", stream.unread);
                end_of(stream, end);
                self.let_go(key.id());
            }
            Event::Trailers { key } => {
                let mut lines = Vec::new();
                self.machine.take_trailers(&mut lines);
                assert_eq!(lines, TRAILERS);
                let stream = self.streams.get_mut(&key.id()).expect("a stream of ours");
                end_of(stream, true);
                self.let_go(key.id());
            }
            Event::Reset { key, by_peer, .. } => {
                assert!(by_peer, "nobody breaks a rule");
                let stream = self.streams.get_mut(&key.id()).expect("a stream of ours");
                stream.gone = true;
                self.let_go(key.id());
            }
            Event::RefusedHead { .. } | Event::Malformed { .. } => panic!("{event:?}"),
            Event::Writable { .. }
            | Event::AllWritable
            | Event::GoAway { .. }
            | Event::Pong(_)
            | Event::SettingsChanged => {}
        }
    }

    fn is_quiet(&mut self) -> bool {
        self.incoming.is_empty()
            && self.machine.output().is_empty()
            && self.streams.values().all(|s| s.unread == 0)
    }

    fn check(&mut self) {
        assert_eq!(self.machine.streams_open() as usize, self.streams.len());
        assert!(self.machine.streams_open() <= 2 * CONFIG.streams_max);
        for stream in self.streams.values() {
            let capacity = self.machine.send_capacity(stream.key);
            assert!(capacity <= 16_384 && (capacity == 0 || !stream.sent.ended));
        }
    }
}
