//! Frames to a connection of either role: no panic, no endless loop, bounded output and streams, whole frames out, and
//! the same events wherever the input is cut.

use std::time::Instant;

use ringway_protocols::http1::{
    HeadLimits, RequestEdits, ResponseEdits, TrailerLimits, parse_request, parse_response,
};
use ringway_protocols::http2::{
    AbuseLimits, Connection, ConnectionConfig, ConnectionError, ErrorCode, Event, HeadDecoder, PREFACE, Role,
    StreamKey,
};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};

/// The first byte says how the rest is read, see [`Given`]. Of a list of frames each is a type, flags, a stream, a
/// length and a payload of that length.
pub(crate) const SEEDS: &[&[u8]] = &[
    // Requests to a server: one whole, one with a body and trailers, a PING, a window, a reset, the end.
    b"\x00\x04\0\0\0\x01\x05\x01\x06\x82\x86\x84\x41\x01a\x06\0\0\x08pingpong\x01\x04\x03\x06\x82\x86\x84\x41\x01a\0\0\x03\x05hello",
    b"\x00\x01\x04\x01\x09\x83\x86\x84\x41\x01a\x5c\x015\0\0\x01\x05hello\x01\x05\x01\x05\0\x01x\x01y\x08\0\x01\x04\0\0\x10\0",
    b"\x00\x01\x04\x01\x07\x83\x86\x84\x41\x01a\x84\0\x09\x01\x05\x01ab\0z\x03\0\x01\x04\0\0\0\x08\x07\0\0\x08\0\0\0\0\0\0\0\0",
    b"\x00\x01\0\x01\x02\x82\x86\x09\0\x01\x01\x84\x09\x04\x01\x03\x41\x01a\x02\0\x01\x05\0\0\0\x03\x10",
    // Responses to a client.
    b"\x02\x04\0\0\x06\0\x04\0\x01\0\0\x04\x01\0\0\x01\x04\x01\x01\x88\0\x01\x01\x02ok\x01\x05\x03\x01\x89",
    b"\x02\x04\0\0\0\x01\x04\x01\x05\x08\x03103\x01\x04\x01\x04\x88\x5c\x015\0\0\x01\x05hello\0\x01\x01\0\x07\0\0\x08\0\0\0\x01\0\0\0\0",
    b"\x02\x04\0\0\x0c\0\x02\0\0\0\0\0\x03\0\0\0\x01\x03\0\x01\x04\0\0\0\x07\x08\0\0\x04\0\x01\0\0\x04\x01\0\0",
    // As they come on the wire, after the preface.
    b"\x01\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\xff\xff\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
    b"\x05PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a",
];

const STREAMS_MAX: u32 = 8;

const CONFIG: ConnectionConfig = ConnectionConfig {
    streams_max: STREAMS_MAX,
    stream_window: 1 << 20,
    stream_window_max: 1 << 20,
    connection_window: 1 << 20,
    frame_bytes_max: 16_384,
    header_table_bytes: 4096,
    head_limits: HeadLimits { bytes_max: 4096, fields_max: 24, target_bytes_max: 512 },
    trailer_limits: TrailerLimits { bytes_max: 512, fields_max: 8 },
    connect_protocol: true,
    queued_control_bytes_max: 8192,
    abuse: AbuseLimits {
        resets: 20,
        own_resets: 10,
        continuations: 4,
        empty_frames: 10,
        control_frames: 20,
        priorities: 20,
        window_updates: 20,
        refused_streams: 10,
        unknown_frames: 20,
        closed_frames: 20,
    },
};

/// What the first byte says.
struct Given {
    role: Role,
    /// The rest is what comes on the wire, not a list of frames.
    raw: bool,
    /// The rest has its own preface (and SETTINGS), or not.
    bare: bool,
    /// Without limits on what is an attack in numbers, so that more is tried.
    patient: bool,
}

pub(crate) fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let given = Given {
        raw: first & 1 != 0,
        role: if first & 2 != 0 { Role::Client } else { Role::Server },
        bare: first & 4 != 0,
        patient: first & 8 != 0,
    };
    let input = input(&given, rest);
    let whole = drive(&given, &input, input.len().max(1));
    for piece_bytes in [1, 7, 1 + input.len() / 3] {
        let pieces = drive(&given, &input, piece_bytes);
        assert_eq!(pieces.seen, whole.seen, "in pieces of {piece_bytes} bytes");
        assert_eq!(pieces.error, whole.error, "in pieces of {piece_bytes} bytes");
    }
}

fn input(given: &Given, data: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    if given.role == Role::Server && !given.bare {
        input.extend_from_slice(PREFACE);
        input.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    if given.raw {
        input.extend_from_slice(data);
        return input;
    }
    let mut rest = data;
    while let [kind, flags, stream, length, after @ ..] = rest {
        let (payload, after) = after.split_at(usize::from(*length).min(after.len()));
        input.extend_from_slice(&[0, 0, payload.len() as u8, *kind, *flags, 0, 0, 0, *stream]);
        input.extend_from_slice(payload);
        rest = after;
    }
    input
}

/// What a run came to.
struct Run {
    seen: Vec<Seen>,
    error: Option<ConnectionError>,
}

/// Events, with DATA of one stream in one piece however it was cut.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Head(u32, String, bool),
    Data(u32, Vec<u8>, bool),
    Trailers(u32, String),
    Other(String),
}

fn drive(given: &Given, input: &[u8], piece_bytes: usize) -> Run {
    let now = Instant::now();
    let abuse = if given.patient { NO_LIMITS } else { CONFIG.abuse };
    let mut machine = Connection::new(given.role, &ConnectionConfig { abuse, ..CONFIG }, now);
    let mut owner = Owner::new(given.role);
    owner.open_some(&mut machine);
    let mut run = Run { seen: Vec::new(), error: None };
    'pieces: for piece in input.chunks(piece_bytes) {
        let mut rest = piece;
        loop {
            let step = match machine.receive(rest, now) {
                Ok(step) => step,
                Err(error) => {
                    run.error = Some(error);
                    break 'pieces;
                }
            };
            assert!(step.consumed <= rest.len());
            let stuck = step.consumed == 0 && step.event.is_none();
            if let Some(event) = step.event {
                owner.on_event(&mut machine, event, &rest[..step.consumed], &mut run.seen);
            }
            rest = &rest[step.consumed..];
            assert!(machine.streams_open() <= 2 * STREAMS_MAX);
            if stuck {
                assert!(rest.is_empty(), "{} bytes are left", rest.len());
                break;
            }
        }
    }
    if let Some(error) = run.error {
        assert_eq!(machine.receive(b"", now).err(), Some(error), "it has to stay ended");
        machine.goaway(error.code);
    }
    // What is caused by input is bounded by it; there is nobody here who takes the output away in between.
    assert!(
        machine.output().len() <= 32_768 + 64 * input.len(),
        "{} bytes of output",
        machine.output().len()
    );
    check_output(given.role, machine.output());
    run
}

const NO_LIMITS: AbuseLimits = AbuseLimits {
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

/// Whoever has the connection: answers what is complete and lets go of what is over.
struct Owner {
    request: (RequestHead, Vec<u8>),
    response: (ResponseHead, Vec<u8>),
}

impl Owner {
    fn new(role: Role) -> Owner {
        let limits = CONFIG.head_limits;
        let mut owner = Owner {
            request: (RequestHead::default(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            response: (ResponseHead::default(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
        };
        match role {
            Role::Client => {
                parse_request(&owner.request.1, &limits, &mut owner.request.0).map(|_| ()).expect("good")
            }
            Role::Server => {
                parse_response(&owner.response.1, &limits, Method::Get, &mut owner.response.0).expect("good");
            }
        }
        owner
    }

    /// A client has asked for something before it hears anything.
    fn open_some(&self, machine: &mut Connection) {
        let (head, bytes) = &self.request;
        for (method, end) in [(Method::Get, true), (Method::Head, true), (Method::Post, false)] {
            let Some(key) = machine.open(method) else { return };
            machine
                .send_request(key, bytes, head, &RequestEdits::default(), "http", end)
                .expect("a new stream");
        }
    }

    fn on_event(&mut self, machine: &mut Connection, event: Event, input: &[u8], seen: &mut Vec<Seen>) {
        match event {
            Event::Request { key, end } => {
                let (mut head, mut bytes) = Default::default();
                machine.take_request(&mut head, &mut bytes);
                assert_eq!(head.bytes as usize, bytes.len());
                seen.push(Seen::Head(key.id(), bytes.escape_ascii().to_string(), end));
                self.finish_if(machine, key, end);
            }
            Event::Response { key, end } => {
                let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
                machine.take_response(&mut head, &mut bytes);
                assert_eq!(head.bytes as usize, bytes.len());
                seen.push(Seen::Head(key.id(), bytes.escape_ascii().to_string(), end));
                self.finish_if(machine, key, end);
            }
            Event::Data { key, range, end } => {
                let content = &input[range];
                assert!(end || !content.is_empty());
                match seen.last_mut() {
                    Some(Seen::Data(id, data, ended)) if *id == key.id() && !*ended => {
                        data.extend_from_slice(content);
                        *ended = end;
                    }
                    _ => seen.push(Seen::Data(key.id(), content.to_vec(), end)),
                }
                machine.consumed(key, content.len());
                self.finish_if(machine, key, end);
            }
            Event::Trailers { key } => {
                let mut lines = Vec::new();
                machine.take_trailers(&mut lines);
                seen.push(Seen::Trailers(key.id(), lines.escape_ascii().to_string()));
                self.finish_if(machine, key, true);
            }
            Event::RefusedHead { key, error } => {
                seen.push(Seen::Other(format!("{} {error:?}", key.id())));
                machine.reset(key, ErrorCode::InternalError);
                machine.release(key);
            }
            Event::Reset { key, .. } => {
                seen.push(Seen::Other(format!("{event:?}")));
                machine.release(key);
            }
            event => seen.push(Seen::Other(format!("{event:?}"))),
        }
    }

    fn finish_if(&self, machine: &mut Connection, key: StreamKey, end: bool) {
        if !end {
            return;
        }
        let (head, bytes) = &self.response;
        // A client, or a server whose stream was reset, has nothing to answer.
        let _ = machine.send_response(key, bytes, head, &ResponseEdits::default(), true);
        machine.release(key);
        assert!(machine.send_data_header(key, 0, true).is_err(), "a released stream is gone");
    }
}

/// The output is a sequence of whole frames within the peer's limits, and its heads can be read.
fn check_output(role: Role, output: &[u8]) {
    let mut rest = output;
    if role == Role::Client {
        rest = rest.strip_prefix(PREFACE.as_slice()).expect("the preface");
    }
    assert_eq!(rest.get(3), Some(&4), "SETTINGS come first");
    let mut decoder = HeadDecoder::new(4096);
    while let Some((header, after)) = rest.split_first_chunk::<9>() {
        let [a, b, c, kind, flags, stream @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        assert!(length <= 16_384);
        assert!(u32::from_be_bytes(stream) <= i32::MAX as u32);
        assert!(matches!(kind, 0 | 1 | 3 | 4 | 6 | 7 | 8), "frame type {kind}");
        assert_eq!(matches!(kind, 0 | 1 | 3), u32::from_be_bytes(stream) != 0 && kind != 8);
        let payload = after.get(..length).expect("a whole payload");
        if kind == 1 {
            assert!(flags & 4 != 0);
            decoder.discard(payload).expect("a good block");
        }
        rest = &after[length..];
    }
    assert!(rest.is_empty());
}
