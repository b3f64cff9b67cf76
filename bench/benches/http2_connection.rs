//! `protocols/src/http2/connection.rs`: what the machine costs for a request and for a body, without a socket.
//!
//! A machine is timed alone: what its peer says was recorded before. `exchange` is the server's whole part of a small
//! request (head decoded and taken, response and DATA header written, released), by the number of streams at a time.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringway_protocols::http1::{
    HeadLimits, RequestEdits, ResponseEdits, TrailerLimits, parse_request, parse_response,
};
use ringway_protocols::http2::frame::{flag, kind, write_header, write_settings, write_settings_ack};
use ringway_protocols::http2::{
    AbuseLimits, Connection, ConnectionConfig, Event, PREFACE, Role, StreamKey, setting,
};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};

const REQUEST: &[u8] = b"GET /v1/items/1234?fields=all HTTP/1.1\r\nhost: api.example.com\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: */*\r\naccept-encoding: gzip, deflate, br\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 64\r\n\
    date: Sat, 21 Nov 2026 06:00:00 GMT\r\nserver: origin\r\n\r\n";

const LIMITS: HeadLimits = HeadLimits { bytes_max: 32 << 10, fields_max: 100, target_bytes_max: 8 << 10 };

fn config() -> ConnectionConfig {
    // No limit may end a connection that lives for millions of requests in a second.
    let abuse = AbuseLimits { window_updates: 0, control_frames: 0, ..AbuseLimits::default() };
    ConnectionConfig {
        streams_max: 128,
        stream_window: 1 << 20,
        stream_window_max: 1 << 20,
        connection_window: 16 << 20,
        frame_bytes_max: 16 << 10,
        header_table_bytes: 4096,
        head_limits: LIMITS,
        trailer_limits: TrailerLimits { bytes_max: 4096, fields_max: 32 },
        connect_protocol: false,
        queued_control_bytes_max: 64 << 10,
        abuse,
    }
}

/// A machine behind the greetings, with windows that no bench uses up.
fn connection(role: Role, now: Instant) -> Connection {
    let mut machine = Connection::new(role, &config(), now);
    let mut greeting = Vec::new();
    if role == Role::Server {
        greeting.extend_from_slice(PREFACE);
    }
    write_settings(&mut greeting, &[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]);
    write_settings_ack(&mut greeting);
    ringway_protocols::http2::frame::write_window_update(&mut greeting, 0, (1 << 31) - 1 - 65_535);
    drain(&mut machine, &greeting, now, |_, _| {});
    machine.output().clear();
    machine
}

/// Feeds everything and calls `on_event`.
fn drain(
    machine: &mut Connection,
    mut input: &[u8],
    now: Instant,
    mut on_event: impl FnMut(&mut Connection, Event),
) {
    loop {
        let step = machine.receive(input, now).expect("the sample is legal");
        let done = step.consumed == 0 && step.event.is_none();
        input = &input[step.consumed..];
        if let Some(event) = step.event {
            on_event(machine, event);
        }
        if done {
            return;
        }
    }
}

fn request_head() -> RequestHead {
    let mut head = RequestHead::default();
    parse_request(REQUEST, &LIMITS, &mut head).expect("the sample is a request");
    head
}

fn response_head() -> ResponseHead {
    let mut head = ResponseHead::default();
    parse_response(RESPONSE, &LIMITS, Method::Get, &mut head).expect("the sample is a response");
    head
}

/// HEADERS of requests on streams from `first` on, as our client sends them.
fn requests(first: u32, count: u32) -> Vec<u8> {
    let mut client = connection(Role::Client, Instant::now());
    let head = request_head();
    let key = client.open(Method::Get).expect("a stream");
    client.send_request(key, REQUEST, &head, &RequestEdits::default(), "http", true).expect("new");
    let one = std::mem::take(client.output());
    let mut all = Vec::new();
    for at in 0..count {
        let mut frame = one.clone();
        frame[5..9].copy_from_slice(&(first + 2 * at).to_be_bytes());
        all.extend_from_slice(&frame);
    }
    all
}

fn exchange(c: &mut Criterion) {
    let mut group = c.benchmark_group("http2_connection/exchange");
    let now = Instant::now();
    let response = response_head();
    for streams in [1, 32, 100] {
        let rounds = 1000 / streams;
        let input: Vec<_> = (0..rounds).map(|round| requests(1 + round * streams * 2, streams)).collect();
        group.throughput(Throughput::Elements(u64::from(rounds * streams)));
        group.bench_function(format!("{streams}_streams"), |b| {
            let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
            let mut keys: Vec<StreamKey> = Vec::new();
            b.iter_batched_ref(
                || connection(Role::Server, now),
                |machine| {
                    for input in &input {
                        drain(machine, black_box(input), now, |machine, event| {
                            let Event::Request { key, .. } = event else { unreachable!("only requests") };
                            machine.take_request(&mut head, &mut bytes);
                            keys.push(key);
                        });
                        for key in keys.drain(..) {
                            let edits = ResponseEdits::default();
                            machine
                                .send_response(key, RESPONSE, &response, &edits, false)
                                .expect("an open stream");
                            machine.send_data_header(key, 64, true).expect("within the window");
                            machine.release(key);
                        }
                        black_box(machine.output()).clear();
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn upload(c: &mut Criterion) {
    let mut group = c.benchmark_group("http2_connection/upload");
    let now = Instant::now();
    for frame_bytes in [64_usize, 1024, 16 << 10] {
        // As received: 64 KiB at a time, wherever that cuts.
        let frames = (4 << 20) / frame_bytes;
        let mut wire = Vec::new();
        for _ in 0..frames {
            write_header(&mut wire, frame_bytes as u32, kind::DATA, 0, 1);
            wire.resize(wire.len() + frame_bytes, b'x');
        }
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(format!("{frame_bytes}_byte_frames"), |b| {
            b.iter_batched_ref(
                || {
                    let mut machine = connection(Role::Server, now);
                    let mut head = requests(1, 1);
                    head[4] = flag::END_HEADERS;
                    drain(&mut machine, &head, now, |_, _| {});
                    machine
                },
                |machine| {
                    for input in black_box(&wire).chunks(64 << 10) {
                        drain(machine, input, now, |machine, event| {
                            let Event::Data { key, range, .. } = event else { unreachable!("only DATA") };
                            machine.consumed(key, range.len());
                        });
                        black_box(machine.output()).clear();
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn download(c: &mut Criterion) {
    let mut group = c.benchmark_group("http2_connection/download");
    let now = Instant::now();
    const FRAMES: usize = 1000;
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function("data_headers", |b| {
        b.iter_batched_ref(
            || {
                let mut machine = connection(Role::Server, now);
                let mut opened = None;
                drain(&mut machine, &requests(1, 1), now, |_, event| {
                    if let Event::Request { key, .. } = event {
                        opened = Some(key);
                    }
                });
                let key = opened.expect("a request");
                let edits = ResponseEdits::default();
                machine.send_response(key, RESPONSE, &response_head(), &edits, false).expect("open");
                (machine, key)
            },
            |(machine, key)| {
                for _ in 0..FRAMES {
                    let bytes = machine.send_capacity(*key).min(16 << 10);
                    machine.send_data_header(*key, bytes, false).expect("within the window");
                    black_box(machine.output()).clear();
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, exchange, upload, download);
criterion_main!(benches);
