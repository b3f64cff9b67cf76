//! Two of our machines back to back, under random operations, cuts and delays: nothing is lost, nothing is said twice,
//! and neither ever accuses the other.
//!
//! `RINGWAY_PAIR_SEED=n` runs one seed, `RINGWAY_PAIR_SEEDS=n` so many instead of 64; a failure prints its seed.

use std::collections::{HashMap, VecDeque};

use super::*;

/// xorshift64*: enough to wander, and the same on every machine.
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

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One message as its sender sends it, or as its receiver has it so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Message {
    head: bool,
    interims: usize,
    body: Vec<u8>,
    trailers: Vec<u8>,
    ended: bool,
}

/// What one end knows of a stream.
#[derive(Debug, Default)]
struct Exchange {
    key: Option<StreamKey>,
    sent: Message,
    received: Message,
    /// Received and not yet passed on.
    unread: usize,
    /// Reset by either end: what is said may be a part of what was sent.
    reset: bool,
    /// The peer says that it has not acted on it.
    unprocessed: bool,
    /// How much the sender means to send.
    planned: usize,
    released: bool,
}

struct End {
    peer: Peer,
    /// Sent by this end and not yet received by the other.
    wire: VecDeque<u8>,
    exchanges: HashMap<u32, Exchange>,
    /// Bodies that are not read by anybody stay unread.
    stalled: Vec<u32>,
}

impl End {
    fn new(role: Role, config: &ConnectionConfig) -> End {
        End {
            peer: Peer::fresh(role, config),
            wire: VecDeque::new(),
            exchanges: HashMap::new(),
            stalled: Vec::new(),
        }
    }

    fn flush(&mut self) {
        self.wire.extend(self.peer.machine.output().drain(..));
    }

    fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<_> = self.exchanges.iter().filter(|(_, e)| !e.released).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Receives `input`, which may end anywhere.
    fn receive(&mut self, input: &[u8]) {
        let mut rest = input;
        loop {
            let step = self.peer.machine.receive(rest, self.peer.now).expect("honest peers do not offend");
            let done = step.consumed == 0 && step.event.is_none();
            if let Some(event) = step.event {
                self.on_event(event, rest);
            }
            rest = &rest[step.consumed..];
            if done {
                return assert!(rest.is_empty());
            }
        }
    }

    fn on_event(&mut self, event: Event, input: &[u8]) {
        match event {
            Event::Request { key, end } => {
                let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
                self.peer.machine.take_request(&mut head, &mut bytes);
                let exchange = self.exchanges.entry(key.id()).or_default();
                assert!(exchange.key.is_none(), "a request once");
                exchange.key = Some(key);
                exchange.received = Message { head: true, ended: end, ..Message::default() };
            }
            Event::Response { key, end } => {
                let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
                self.peer.machine.take_response(&mut head, &mut bytes);
                let exchange = self.exchange(key);
                if head.is_interim() {
                    exchange.received.interims += 1;
                    return assert!(!end && !exchange.received.head);
                }
                assert!(!std::mem::replace(&mut exchange.received.head, true), "a response once");
                exchange.received.ended = end;
            }
            Event::Data { key, range, end } => {
                let exchange = self.exchange(key);
                assert!(exchange.received.head && !exchange.received.ended && !exchange.reset);
                assert!(end || !range.is_empty());
                exchange.unread += range.len();
                exchange.received.body.extend_from_slice(&input[range]);
                exchange.received.ended = end;
            }
            Event::Trailers { key } => {
                let mut lines = Vec::new();
                self.peer.machine.take_trailers(&mut lines);
                let exchange = self.exchange(key);
                assert!(!std::mem::replace(&mut exchange.received.ended, true), "one end");
                exchange.received.trailers = lines;
            }
            Event::Reset { key, by_peer, processed, .. } => {
                assert!(by_peer, "no rule was broken");
                let exchange = self.exchange(key);
                exchange.unprocessed = !processed;
                assert!(!std::mem::replace(&mut exchange.reset, true), "reset once");
            }
            Event::Writable { key } => assert!(self.peer.machine.stream_window(key) > 0),
            Event::Pong(DRAIN_PING) => self.peer.machine.drain_finish(),
            Event::AllWritable | Event::SettingsChanged | Event::Pong(_) | Event::GoAway { .. } => {}
            Event::Malformed { .. } | Event::RefusedHead { .. } => {
                panic!("honest heads are taken")
            }
        }
    }

    fn exchange(&mut self, key: StreamKey) -> &mut Exchange {
        let exchange = self.exchanges.get_mut(&key.id()).expect("a stream that was told of");
        assert!(exchange.key == Some(key) && !exchange.released, "nothing after the release");
        exchange
    }

    /// Sends a bit more of one message.
    fn send_some(&mut self, id: u32, random: &mut Random) {
        let role = self.peer.machine.role();
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let Some(key) = exchange.key.filter(|_| !exchange.reset && !exchange.sent.ended) else { return };
        let machine = &mut self.peer.machine;
        if !exchange.sent.head {
            // A client sends its head with the opening.
            assert_eq!(role, Role::Server);
            let interim = random.one_in(4) && exchange.sent.interims < 30;
            let end = !interim && random.one_in(4);
            let (bytes, head) = response_head(if interim { 103 } else { 200 });
            machine
                .send_response(key, &bytes, &head, &ResponseEdits::default(), end)
                .expect("an open stream");
            exchange.sent.interims += usize::from(interim);
            exchange.sent.head = !interim;
            exchange.sent.ended = end;
            return;
        }
        let left = exchange.planned - exchange.sent.body.len();
        if left == 0 && random.one_in(2) {
            let lines = b"x-sum: 1\r\n";
            machine.send_trailers(key, lines).expect("an open stream");
            exchange.sent.trailers = lines.to_vec();
            exchange.sent.ended = true;
            return;
        }
        let length = machine.send_capacity(key).min(left).min(1 + random.below(20_000));
        let end = length == left;
        if length == 0 && !end {
            return;
        }
        machine.send_data_header(key, length, end).expect("within the capacity");
        let start = exchange.sent.body.len();
        exchange.sent.body.extend((start..start + length).map(|at| (at * 7 + id as usize) as u8));
        let payload = exchange.sent.body[start..].to_vec();
        exchange.sent.ended = end;
        machine.output().extend_from_slice(&payload);
    }

    fn open(&mut self, random: &mut Random) {
        let Some(key) = self.peer.machine.open(Method::Get) else { return };
        let (bytes, head) = request_head();
        let end = random.one_in(2);
        let edits = RequestEdits::default();
        self.peer.machine.send_request(key, &bytes, &head, &edits, "http", end).expect("new");
        let sent = Message { head: true, ended: end, ..Message::default() };
        let planned = random.below(200_000);
        let exchange = Exchange { key: Some(key), sent, planned, ..Exchange::default() };
        assert!(self.exchanges.insert(key.id(), exchange).is_none(), "an identifier once");
    }

    fn read_some(&mut self, id: u32, random: &mut Random) {
        let Some(exchange) = self.exchanges.get_mut(&id).filter(|_| !self.stalled.contains(&id)) else {
            return;
        };
        let Some(key) = exchange.key else { return };
        let passed_on = random.below(exchange.unread + 1);
        exchange.unread -= passed_on;
        self.peer.machine.consumed(key, passed_on);
    }

    fn reset_some(&mut self, id: u32, code: ErrorCode) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let Some(key) = exchange.key.filter(|_| !exchange.reset) else { return };
        self.peer.machine.reset(key, code);
        exchange.reset = true;
    }

    fn release_done(&mut self) {
        for exchange in self.exchanges.values_mut().filter(|exchange| !exchange.released) {
            let ended = exchange.sent.ended && exchange.received.ended;
            if let Some(key) = exchange.key.filter(|_| ended || exchange.reset) {
                self.peer.machine.release(key);
                exchange.released = true;
            }
        }
    }
}

fn random_config(random: &mut Random) -> ConnectionConfig {
    let windows = [1_000, 16 << 10, 65_535, 64 << 10, 200_000];
    let stream_window = windows[random.below(windows.len())];
    ConnectionConfig {
        streams_max: 1 + random.below(20) as u32,
        stream_window,
        stream_window_max: stream_window * (1 + random.below(8) as u32),
        connection_window: windows[random.below(windows.len())],
        frame_bytes_max: [16 << 10, 20_000, 1 << 20][random.below(3)],
        // Honest peers, but with the haste of a test: rates are another test's.
        abuse: AbuseLimits {
            resets: 0,
            refused_streams: 0,
            control_frames: 0,
            window_updates: 0,
            ..AbuseLimits::default()
        },
        ..config()
    }
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let (client_config, server_config) = (random_config(&mut random), random_config(&mut random));
    let mut ends = [End::new(Role::Client, &client_config), End::new(Role::Server, &server_config)];
    let steps = 200 + random.below(1_500);
    let with_resets = random.one_in(2);
    let drain_at = if random.one_in(3) { random.below(steps) } else { steps };
    for step in 0..steps {
        if step == drain_at {
            ends[1].peer.machine.drain_begin();
        }
        let which = random.below(2);
        match random.below(12) {
            0 => ends[0].open(&mut random),
            1..=4 => {
                let ids = ends[which].ids();
                if !ids.is_empty() {
                    let id = ids[random.below(ids.len())];
                    if let Some(exchange) = ends[which].exchanges.get_mut(&id)
                        && exchange.planned == 0
                    {
                        exchange.planned = random.below(100_000);
                    }
                    ends[which].send_some(id, &mut random);
                }
            }
            5..=6 => {
                for id in ends[which].ids() {
                    ends[which].read_some(id, &mut random);
                }
            }
            7 if with_resets => {
                let ids = ends[which].ids();
                if !ids.is_empty() && random.one_in(3) {
                    let id = ids[random.below(ids.len())];
                    ends[which].reset_some(id, ErrorCode::Cancel);
                }
            }
            8 => ends[which].release_done(),
            9 => ends[which].peer.machine.ping([random.below(256) as u8; 8]),
            _ => transfer(&mut ends, which, &mut random),
        }
        ends.iter_mut().for_each(|end| end.peer.wait(Duration::from_micros(500)));
    }
    settle(&mut ends, &mut random);
    compare(&ends);
}

/// Moves some bytes from one end to the other, in pieces.
fn transfer(ends: &mut [End; 2], from: usize, random: &mut Random) {
    ends[from].flush();
    let bytes = random.below(ends[from].wire.len() + 1);
    let mut moved: Vec<u8> = ends[from].wire.drain(..bytes).collect();
    while !moved.is_empty() {
        let rest = moved.split_off(1 + random.below(moved.len()));
        ends[1 - from].receive(&moved);
        moved = rest;
    }
}

/// Lets both ends finish what they began.
fn settle(ends: &mut [End; 2], random: &mut Random) {
    for _ in 0..20_000 {
        for which in [0, 1] {
            ends[which].flush();
            let bytes: Vec<u8> = ends[which].wire.drain(..).collect();
            ends[1 - which].receive(&bytes);
        }
        for end in ends.iter_mut() {
            for id in end.ids() {
                end.read_some(id, random);
                end.send_some(id, random);
            }
            end.release_done();
        }
        let idle = ends.iter_mut().all(|end| {
            end.flush();
            end.wire.is_empty() && end.ids().is_empty()
        });
        if idle {
            return;
        }
    }
    panic!("the ends did not finish: {:?}", ends.iter().map(End::ids).collect::<Vec<_>>());
}

/// What one end sent is what the other has, a part of it where the stream was reset.
fn compare(ends: &[End; 2]) {
    for (id, client) in &ends[0].exchanges {
        let Some(server) = ends[1].exchanges.get(id) else {
            assert!(client.reset, "stream {id} was not told of");
            continue;
        };
        assert!(!client.unprocessed, "stream {id} is not safe to send again");
        for (sent, received) in [(&client.sent, &server.received), (&server.sent, &client.received)] {
            if client.reset || server.reset {
                assert!(sent.body.starts_with(&received.body), "stream {id}");
                continue;
            }
            assert_eq!(sent, received, "stream {id}");
        }
    }
    for end in ends {
        assert_eq!((end.peer.machine.streams_open(), end.peer.machine.streams.live()), (0, 0));
    }
}

#[test]
fn two_machines_agree_under_random_operations() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("RINGWAY_PAIR_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGWAY_PAIR_SEEDS").unwrap_or(64),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("RINGWAY_PAIR_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
