//! What a run does: a random script of connections and exchanges, and how the network behaves.

use std::collections::BTreeMap;
use std::time::Duration;

use ringway_core::io::sim::{Faults, Rng};

/// How much a run may go wrong, and so how much must go right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Only what a correct proxy never lets show: short sends, splits, late completions, small windows, ENOBUFS. Every
    /// exchange must then succeed as planned.
    Fair,
    /// Resets, stalls and failed connects as well. Nothing may be mixed up, lost in silence, or left behind.
    Foul,
}

#[derive(Debug)]
pub struct Plan {
    pub weather: Weather,
    pub faults: Faults,
    pub workers: usize,
    pub buffer_bytes: u32,
    pub ring_buffers: u16,
    pub worker_bytes_max: u64,
    pub connection_bytes_max: u32,
    /// Of upstream connections; 0 is unlimited.
    pub pool_requests_max: u64,
    pub endpoints: usize,
    /// The endpoints are addresses of one name, tried as Happy Eyeballs does.
    pub named: bool,
    /// Limits of the listener, of one client and of an endpoint; 0 is unlimited.
    pub connections_max: u32,
    pub connections_per_client_max: u32,
    pub upstream_connections_max: u32,
    /// A new configuration comes into use at this time; whether the cluster changes with it.
    pub reload_at: Option<(Duration, bool)>,
    pub connections: Vec<Connection>,
    /// Workers are told to drain at this time; at the end of all connections when there is none.
    pub drain_at: Option<Duration>,
    pub exchanges: BTreeMap<u64, Exchange>,
}

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    pub start: Duration,
    /// Requests, in order.
    pub exchanges: Vec<u64>,
    /// Requests are sent without waiting for responses.
    pub pipelined: bool,
    pub end: ClientEnd,
    /// Pause after each read.
    pub read_pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEnd {
    /// Reads every response, then closes.
    Close,
    /// Sends a FIN behind its last request and then reads.
    HalfClose,
    /// Resets after so many received bytes.
    Reset(usize),
    /// Stops sending after so many bytes, and waits.
    Stall(usize),
    /// Ends the write side after so many bytes, whatever they are.
    Truncate(usize),
}

#[derive(Debug)]
pub struct Exchange {
    pub id: u64,
    pub request: Request,
    pub response: Response,
}

#[derive(Debug)]
pub struct Request {
    pub method: &'static str,
    pub http10: bool,
    pub body: Body,
    pub expect: bool,
    pub close: bool,
    /// A request that must be refused with this status, and never sent upstream.
    pub refused: Option<Refused>,
    pub upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    BothLengths,
    BadChunk,
    NoHost,
    BareLf,
    Connect,
    TwoLengths,
}

impl Refused {
    pub fn status(self) -> u16 {
        if self == Refused::Connect { 405 } else { 400 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    Exact(usize),
    /// Sizes of the chunks.
    Chunked(Vec<usize>),
    /// Until the connection closes (responses only).
    UntilClose(usize),
}

impl Body {
    pub fn len(&self) -> usize {
        match self {
            Body::None => 0,
            Body::Exact(n) | Body::UntilClose(n) => *n,
            Body::Chunked(chunks) => chunks.iter().sum(),
        }
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Body,
    pub trailers: bool,
    /// 103s before the head.
    pub interim: usize,
    /// Sent before the request body was read.
    pub early: bool,
    pub delay: Duration,
    pub end: OriginEnd,
    pub fail: Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginEnd {
    KeepAlive,
    /// Says `Connection: close` and closes.
    Close,
    /// Closes without having said so, after this time.
    SilentClose(Duration),
}

/// What an origin does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    None,
    CloseBeforeHead,
    ResetBeforeHead,
    /// Closes after so many bytes of the response.
    CloseAfter(usize),
    ResetAfter(usize),
    Garbage,
    BadChunk,
    /// Never answers.
    Silent,
    /// Sends bytes behind its response.
    Extra,
}

/// Bytes that belong to one message and to no other.
pub fn body_of(id: u64, of_response: bool, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(id.wrapping_mul(2) + u64::from(of_response));
    let mut bytes = format!("{}{id};", if of_response { 's' } else { 'r' }).into_bytes();
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_ne_bytes().map(|b| b'a' + b % 26));
    }
    bytes.truncate(len);
    bytes
}

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let rng = &mut Rng::new(seed ^ 0x0052_494e_4757_4159);
        let weather = if rng.chance(500) { Weather::Fair } else { Weather::Foul };
        let buffer_bytes = *rng.pick(&[512, 1024, 4096, 16 * 1024]);
        let limit = |rng: &mut Rng| {
            if weather == Weather::Foul && rng.chance(100) { rng.between(1, 3) as u32 } else { 0 }
        };
        let mut plan = Plan {
            weather,
            faults: faults(rng, weather),
            workers: rng.between(1, 2) as usize,
            buffer_bytes,
            ring_buffers: *rng.pick(&[8, 16, 64]),
            // Tight memory resets connections, which is foul.
            worker_bytes_max: if weather == Weather::Foul && rng.chance(150) { 64 << 10 } else { 64 << 20 },
            connection_bytes_max: buffer_bytes * rng.between(1, 8) as u32,
            pool_requests_max: *rng.pick(&[0, 0, 1, 3]),
            endpoints: rng.between(1, 3) as usize,
            named: rng.chance(300),
            connections_max: limit(rng),
            connections_per_client_max: limit(rng),
            upstream_connections_max: limit(rng),
            reload_at: rng.chance(300).then(|| (Duration::from_micros(rng.below(800_000)), rng.chance(500))),
            connections: Vec::new(),
            drain_at: (weather == Weather::Foul && rng.chance(200))
                .then(|| Duration::from_micros(rng.below(2_000_000))),
            exchanges: BTreeMap::new(),
        };
        for number in 0..rng.between(1, 8) {
            plan.add_connection(rng, number);
        }
        plan
    }

    fn add_connection(&mut self, rng: &mut Rng, number: u64) {
        let mut exchanges = Vec::new();
        for turn in 0..rng.between(1, 6) {
            let id = number * 100 + turn + 1;
            let exchange = exchange(rng, id, self.weather);
            let last =
                exchange.request.refused.is_some() || exchange.request.upgrade || exchange.request.close;
            exchanges.push(id);
            self.exchanges.insert(id, exchange);
            if last {
                break;
            }
        }
        let foul = self.weather == Weather::Foul;
        let end = match rng.below(if foul { 8 } else { 4 }) {
            0..3 => ClientEnd::Close,
            3 => ClientEnd::HalfClose,
            4 | 5 => ClientEnd::Reset(rng.below(5_000) as usize),
            6 => ClientEnd::Stall(rng.below(3_000) as usize),
            _ => ClientEnd::Truncate(rng.below(3_000) as usize),
        };
        let tunnel = exchanges.iter().any(|id| self.exchanges[id].request.upgrade);
        // The end of a tunnel is the client's own affair.
        let end = if tunnel && end == ClientEnd::HalfClose { ClientEnd::Close } else { end };
        let read_pause = Duration::from_micros(if rng.chance(200) { rng.below(3_000) } else { 0 });
        self.connections.push(Connection {
            start: Duration::from_micros(rng.below(500_000)),
            exchanges,
            pipelined: rng.chance(300),
            end,
            read_pause,
        });
    }
}

fn faults(rng: &mut Rng, weather: Weather) -> Faults {
    let mut some = |likely: u32, max: u64| if rng.chance(likely) { 1 + rng.below(max) as u32 } else { 0 };
    let mut faults = Faults {
        short_sends: some(500, 300),
        splits: some(600, 400),
        late_completions: some(600, 400),
        late_cancels: some(600, 700),
        no_buffers: some(400, 200),
        ended_multishots: some(500, 300),
        small_windows: some(300, 700),
        ..Faults::default()
    };
    if weather == Weather::Foul {
        faults.resets = some(500, 300);
        faults.stalls = some(300, 20);
        faults.refused_connects = some(300, 300);
        faults.silent_connects = some(300, 200);
        faults.failed_accepts = some(300, 200);
    }
    faults
}

fn exchange(rng: &mut Rng, id: u64, weather: Weather) -> Exchange {
    let upgrade = rng.chance(60);
    let refused = (!upgrade && rng.chance(60)).then(|| {
        *rng.pick(&[
            Refused::BothLengths,
            Refused::BadChunk,
            Refused::NoHost,
            Refused::BareLf,
            Refused::Connect,
            Refused::TwoLengths,
        ])
    });
    let method = *rng.pick(&["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS"]);
    let with_body =
        (matches!(method, "POST" | "PUT") && rng.chance(800)) || (method == "DELETE" && rng.chance(300));
    let plain = upgrade || refused.is_some();
    let method = match refused {
        Some(Refused::BadChunk) => "POST",
        _ if plain => "GET",
        _ => method,
    };
    let http10 = !plain && rng.chance(80);
    let body = match (with_body && !plain, http10) {
        (false, _) => Body::None,
        (true, true) => Body::Exact(size(rng)),
        (true, false) => some_body(rng),
    };
    let request = Request {
        method,
        http10,
        expect: body != Body::None && !http10 && rng.chance(200),
        close: http10 || rng.chance(50),
        body,
        refused,
        upgrade,
    };
    let response = response(rng, &request, weather);
    Exchange { id, request, response }
}

fn response(rng: &mut Rng, request: &Request, weather: Weather) -> Response {
    let status = *rng.pick(&[200, 200, 200, 201, 404, 500, 204, 304]);
    let body = match status {
        204 | 304 => Body::None,
        _ if rng.chance(80) => Body::UntilClose(size(rng)),
        _ => some_body(rng),
    };
    let fail = if weather == Weather::Foul && rng.chance(250) {
        let at = rng.below(2_000) as usize;
        *rng.pick(&[
            Fail::CloseBeforeHead,
            Fail::ResetBeforeHead,
            Fail::CloseAfter(at),
            Fail::ResetAfter(at),
            Fail::Garbage,
            Fail::BadChunk,
            Fail::Silent,
            Fail::Extra,
        ])
    } else {
        Fail::None
    };
    // Behind a body that ends with the connection there is no behind.
    let fail = if matches!(body, Body::UntilClose(_)) && fail == Fail::Extra { Fail::None } else { fail };
    let end = match (&body, rng.below(10)) {
        (Body::UntilClose(_), _) | (_, 0) => OriginEnd::Close,
        (_, 1) => OriginEnd::SilentClose(Duration::from_micros(rng.below(20_000))),
        _ => OriginEnd::KeepAlive,
    };
    Response {
        status,
        trailers: matches!(body, Body::Chunked(_)) && rng.chance(300),
        body,
        interim: if rng.chance(150) { rng.between(1, 3) as usize } else { 0 },
        early: request.body != Body::None && rng.chance(120),
        delay: Duration::from_micros(if rng.chance(300) { rng.below(500_000) } else { 0 }),
        end,
        fail,
    }
}

fn size(rng: &mut Rng) -> usize {
    let max = *rng.pick(&[1, 100, 100, 5_000, 5_000, 20_000, 100_000]);
    rng.below(max) as usize
}

fn some_body(rng: &mut Rng) -> Body {
    if rng.chance(500) {
        return Body::Exact(size(rng));
    }
    let mut left = size(rng);
    let mut chunks = Vec::new();
    while left > 0 && chunks.len() < 40 {
        let len = 1 + rng.below(left as u64) as usize;
        chunks.push(len);
        left -= len;
    }
    Body::Chunked(chunks)
}
