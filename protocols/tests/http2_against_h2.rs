//! Our HTTP/2 machine against the crate `h2`, in both roles, over an in-memory pipe that cuts anywhere: every message
//! arrives whole, with its trailers, and neither end accuses the other.
//!
//! `RINGWAY_H2_SEED=n` runs one seed, `RINGWAY_H2_SEEDS=n` so many instead of 40; a failure prints its seed.
#![expect(clippy::disallowed_methods, reason = "the rule against clocks is for the library")]

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use ringway_protocols::http1::{
    HeadLimits, RequestEdits, ResponseEdits, TrailerLimits, parse_request, parse_response,
};
use ringway_protocols::http2::{
    AbuseLimits, Connection, ConnectionConfig, ErrorCode, Event, Role, StreamKey,
};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;

/// xorshift64*.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(word) * bound as u128) >> 64) as usize
    }
}

/// What is sent on the n-th stream, known to both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    body: Vec<u8>,
    trailers: bool,
    /// Given up by the client after its head.
    cancelled: bool,
}

fn plans(random: &mut Random) -> Vec<Plan> {
    let count = 1 + random.below(40);
    (0..count)
        .map(|at| {
            let length = [0, 1, 100, 16_384, 70_000, 300_000][random.below(6)];
            let body = (0..length).map(|byte| (byte * 7 + at) as u8).collect();
            Plan { body, trailers: random.below(2) == 0, cancelled: random.below(8) == 0 }
        })
        .collect()
}

fn config(random: &mut Random) -> ConnectionConfig {
    let windows = [1_000, 16 << 10, 65_535, 64 << 10, 200_000];
    let stream_window = windows[random.below(windows.len())];
    ConnectionConfig {
        streams_max: 1 + random.below(50) as u32,
        stream_window,
        stream_window_max: stream_window * (1 + random.below(8) as u32),
        connection_window: windows[random.below(windows.len())],
        frame_bytes_max: [16 << 10, 20_000, 1 << 20][random.below(3)],
        header_table_bytes: [0, 4096, 64 << 10][random.below(3)],
        head_limits: HeadLimits { bytes_max: 32 << 10, fields_max: 100, target_bytes_max: 8 << 10 },
        trailer_limits: TrailerLimits { bytes_max: 4096, fields_max: 32 },
        connect_protocol: true,
        queued_control_bytes_max: 64 << 10,
        // The rates of a test are not those of a client: tiny windows make many updates.
        abuse: AbuseLimits {
            window_updates: 0,
            control_frames: 0,
            refused_streams: 0,
            ..AbuseLimits::default()
        },
    }
}

/// One stream of our end.
#[derive(Debug, Default)]
struct Ours {
    /// To be sent, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    send_trailers: bool,
    /// All of `outgoing` is there.
    complete: bool,
    end_sent: bool,
    received: Vec<u8>,
    trailers: Vec<u8>,
    end_received: bool,
    reset: bool,
}

/// Our machine at one end of a pipe.
struct Driver {
    machine: Connection,
    streams: BTreeMap<u32, (StreamKey, Ours)>,
    random: Random,
    /// Server: bodies come back as they came. Client: bodies are planned.
    echoes: bool,
}

impl Driver {
    fn new(role: Role, random: &mut Random) -> Driver {
        let machine = Connection::new(role, &config(random), Instant::now());
        Driver { machine, streams: BTreeMap::new(), random: random.clone(), echoes: role == Role::Server }
    }

    /// Moves bytes until `done` says so or the peer has gone.
    async fn run(&mut self, io: DuplexStream, mut turn: impl FnMut(&mut Driver) -> bool) {
        let (mut reader, mut writer) = tokio::io::split(io);
        let mut buffer = vec![0; 1 + self.random.below(40_000)];
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let done = turn(self);
            self.send_all();
            pending.append(self.machine.output());
            if done && pending.is_empty() {
                return;
            }
            tokio::select! {
                written = writer.write(&pending), if !pending.is_empty() => {
                    let Ok(written) = written else { return };
                    pending.drain(..written);
                }
                read = reader.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(read) => self.receive(&buffer[..read]),
                }
            }
        }
    }

    fn receive(&mut self, mut input: &[u8]) {
        loop {
            let step = self.machine.receive(input, Instant::now()).expect("h2 does not offend");
            let done = step.consumed == 0 && step.event.is_none();
            if let Some(event) = step.event {
                self.on_event(event, input);
            }
            input = &input[step.consumed..];
            if done {
                return;
            }
        }
    }

    fn on_event(&mut self, event: Event, input: &[u8]) {
        match event {
            Event::Request { key, end } => {
                let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
                self.machine.take_request(&mut head, &mut bytes);
                assert_eq!(head.authority.of(&bytes), b"ringway.test");
                let ours = Ours { end_received: end, complete: end, ..Ours::default() };
                self.streams.insert(key.id(), (key, ours));
                let (bytes, head) = response();
                let edits = ResponseEdits::default();
                self.machine.send_response(key, &bytes, &head, &edits, false).expect("a new stream");
            }
            Event::Response { key, end } => {
                let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
                self.machine.take_response(&mut head, &mut bytes);
                assert_eq!(head.status, 200);
                self.stream(key).end_received = end;
            }
            Event::Data { key, range, end } => {
                let echoes = self.echoes;
                let length = range.len();
                let ours = self.stream(key);
                if echoes {
                    ours.outgoing.extend_from_slice(&input[range]);
                    ours.complete = end;
                } else {
                    ours.received.extend_from_slice(&input[range]);
                }
                ours.end_received = end;
                self.machine.consumed(key, length);
            }
            Event::Trailers { key } => {
                let mut lines = Vec::new();
                self.machine.take_trailers(&mut lines);
                let echoes = self.echoes;
                let ours = self.stream(key);
                ours.end_received = true;
                ours.complete = true;
                ours.send_trailers |= echoes;
                ours.trailers = lines;
            }
            Event::Reset { key, by_peer, .. } => {
                assert!(by_peer, "h2 breaks no rule");
                self.stream(key).reset = true;
            }
            Event::Malformed { .. } | Event::RefusedHead { .. } => panic!("{event:?}"),
            _ => {}
        }
    }

    fn stream(&mut self, key: StreamKey) -> &mut Ours {
        &mut self.streams.get_mut(&key.id()).expect("a stream that was told of").1
    }

    /// Sends what the windows allow, and lets go of what is done.
    fn send_all(&mut self) {
        let (machine, random) = (&mut self.machine, &mut self.random);
        for (key, ours) in self.streams.values_mut().filter(|(_, ours)| !ours.end_sent && !ours.reset) {
            loop {
                let left = ours.outgoing.len() - ours.sent;
                let length = left.min(machine.send_capacity(*key)).min(1 + random.below(30_000));
                let end = ours.complete && length == left && !ours.send_trailers;
                if length == 0 && !end {
                    break;
                }
                machine.send_data_header(*key, length, end).expect("within the capacity");
                let piece = &ours.outgoing[ours.sent..ours.sent + length];
                machine.output().extend_from_slice(piece);
                ours.sent += length;
                ours.end_sent = end;
                if end {
                    break;
                }
            }
            if ours.complete && ours.send_trailers && ours.sent == ours.outgoing.len() && !ours.end_sent {
                machine.send_trailers(*key, b"x-sum: 1\r\n").expect("an open stream");
                ours.end_sent = true;
            }
        }
        self.streams.retain(|_, (key, ours)| {
            let is_done = ours.reset || (ours.end_sent && ours.end_received);
            if is_done && self.echoes {
                machine.release(*key);
            }
            !(is_done && self.echoes)
        });
    }
}

fn response() -> (Vec<u8>, ResponseHead) {
    let bytes = b"HTTP/1.1 200 OK\r\nserver: ringway\r\n\r\n".to_vec();
    let mut head = ResponseHead::default();
    let limits = HeadLimits { bytes_max: 1024, fields_max: 10, target_bytes_max: 100 };
    parse_response(&bytes, &limits, Method::Get, &mut head).expect("a response");
    (bytes, head)
}

fn request() -> (Vec<u8>, RequestHead) {
    let bytes = b"POST /echo HTTP/1.1\r\nhost: ringway.test\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let mut head = RequestHead::default();
    let limits = HeadLimits { bytes_max: 1024, fields_max: 10, target_bytes_max: 100 };
    parse_request(&bytes, &limits, &mut head).expect("a request");
    (bytes, head)
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("1"))])
}

/// Our server, and a client of `h2` that sends all plans at once.
async fn our_server(seed: u64) {
    let mut random = Random::new(seed);
    let plans = plans(&mut random);
    let (client_io, server_io) = tokio::io::duplex(1 + random.below(60_000));
    let mut driver = Driver::new(Role::Server, &mut random);
    let window = [1_000, 65_535, 1 << 20][random.below(3)];
    let client = async move {
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .header_table_size([0, 4096][seed as usize % 2])
            .handshake::<_, Bytes>(client_io)
            .await
            .expect("a handshake");
        let connection = tokio::task::spawn_local(connection);
        let tasks: Vec<_> =
            plans.into_iter().map(|plan| tokio::task::spawn_local(ask(send.clone(), plan))).collect();
        drop(send);
        for task in tasks {
            task.await.expect("no panic");
        }
        connection.await.expect("no panic").expect("an orderly end");
    };
    let server = driver.run(server_io, |_| false);
    tokio::join!(client, server);
}

/// Asks until the request is taken: before it knows our settings, the client opens too many streams.
async fn ask(mut send: h2::client::SendRequest<Bytes>, plan: Plan) {
    loop {
        send = send.ready().await.expect("a stream");
        let request = Request::post("http://ringway.test/echo").body(()).expect("a request");
        let (response, mut body) = send.send_request(request, false).expect("a stream");
        if plan.cancelled {
            return body.send_reset(h2::Reason::CANCEL);
        }
        body.send_data(Bytes::from(plan.body.clone()), !plan.trailers).expect("an open stream");
        if plan.trailers {
            body.send_trailers(trailers()).expect("an open stream");
        }
        let response = match response.await {
            Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => continue,
            response => response.expect("a response"),
        };
        drop(send);
        assert_eq!(response.status(), 200);
        let (received, with_trailers) = read(response.into_body()).await;
        assert!(received == plan.body, "{} of {} bytes", received.len(), plan.body.len());
        return assert_eq!(with_trailers, plan.trailers);
    }
}

/// A whole body, and whether there were trailers.
async fn read(mut body: h2::RecvStream) -> (Vec<u8>, bool) {
    let mut received = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.expect("no error");
        received.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len()).expect("it was received");
    }
    let found = body.trailers().await.expect("no error");
    (received, found.is_some_and(|found| found == trailers()))
}

/// Our client, and a server of `h2` that sends back what it gets.
async fn our_client(seed: u64) {
    let mut random = Random::new(seed);
    let mut waiting = plans(&mut random);
    let (client_io, server_io) = tokio::io::duplex(1 + random.below(60_000));
    let mut driver = Driver::new(Role::Client, &mut random);
    let window = [1_000, 65_535, 1 << 20][random.below(3)];
    let streams_max = 1 + random.below(20) as u32;
    let server = async move {
        let mut connection = h2::server::Builder::new()
            .initial_window_size(window)
            .max_concurrent_streams(streams_max)
            .handshake::<_, Bytes>(server_io)
            .await
            .expect("a handshake");
        while let Some(accepted) = connection.accept().await {
            let Ok((request, respond)) = accepted else { break };
            tokio::task::spawn_local(echo(request, respond));
        }
    };
    let mut running: BTreeMap<u32, Plan> = BTreeMap::new();
    let client = driver.run(client_io, |driver| {
        finish(driver, &mut running);
        // Before the limit is known, streams above it would be refused.
        while driver.machine.settings_received()
            && let Some(plan) = waiting.pop()
        {
            let Some(key) = driver.machine.open(Method::Post) else {
                waiting.push(plan);
                break;
            };
            begin(driver, key, &plan);
            running.insert(key.id(), plan);
        }
        waiting.is_empty() && running.is_empty()
    });
    tokio::join!(server, client);
}

fn begin(driver: &mut Driver, key: StreamKey, plan: &Plan) {
    let (bytes, head) = request();
    driver
        .machine
        .send_request(key, &bytes, &head, &RequestEdits::default(), "http", false)
        .expect("a new stream");
    let mut ours =
        Ours { outgoing: plan.body.clone(), complete: true, send_trailers: plan.trailers, ..Ours::default() };
    if plan.cancelled {
        driver.machine.reset(key, ErrorCode::Cancel);
        ours.reset = true;
    }
    driver.streams.insert(key.id(), (key, ours));
}

/// Takes out what has an answer, and compares it with what was asked.
fn finish(driver: &mut Driver, running: &mut BTreeMap<u32, Plan>) {
    running.retain(|id, plan| {
        let Some((key, ours)) = driver.streams.get(id) else { return false };
        if !(ours.reset || (ours.end_sent && ours.end_received)) {
            return true;
        }
        assert_eq!(ours.reset, plan.cancelled, "stream {id}");
        if !ours.reset {
            assert!(ours.received == plan.body, "{} of {} bytes", ours.received.len(), plan.body.len());
            assert_eq!(ours.trailers == b"x-sum: 1\r\n", plan.trailers);
        }
        driver.machine.release(*key);
        driver.streams.remove(id);
        false
    });
}

async fn echo(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    assert_eq!(request.uri().path(), "/echo");
    let mut body = request.into_body();
    let Ok(mut answer) = respond.send_response(Response::new(()), false) else { return };
    while let Some(piece) = body.data().await {
        // A client that gave up.
        let Ok(piece) = piece else { return };
        body.flow_control().release_capacity(piece.len()).expect("it was received");
        if answer.send_data(piece, false).is_err() {
            return;
        }
    }
    let _ = match body.trailers().await {
        Ok(Some(trailers)) => answer.send_trailers(trailers),
        Ok(None) => answer.send_data(Bytes::new(), true),
        Err(_) => return,
    };
}

fn for_all_seeds(run: impl AsyncFn(u64)) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("RINGWAY_H2_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGWAY_H2_SEEDS").unwrap_or(40),
    };
    for seed in seeds {
        eprintln!("RINGWAY_H2_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, run(seed));
    }
}

#[test]
fn our_server_answers_a_client_of_h2() {
    for_all_seeds(our_server);
}

#[test]
fn our_client_asks_a_server_of_h2() {
    for_all_seeds(our_client);
}
