//! `ringway-load origin`: a server of HTTP/1.1, HTTP/2, gRPC or WebSocket on one ring, with faults by chance.
//!
//! Without faults and TLS, HTTP/1.1 is served by [`crate::origin`], which is lighter. Here every connection has a codec
//! (bytes in, asked requests and bytes out: no socket and no clock), and everything that waits is in one heap.
//! **Invariant:** every request that was read is answered, or counted as lost with its connection.

pub mod faults;
mod http1;
mod http2;
mod websocket;
mod worker;

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use ringway_protocols::tls::rustls::ServerConfig;
use serde::Serialize;

use super::codec::Protocol;
use super::summary::Latency;
use super::totals;
use faults::{Answer, Faults};
use http1::Http1;
use http2::Http2;
use websocket::WebSocket;
use worker::Worker;

/// What an origin does.
#[derive(Clone, Debug)]
pub struct OriginConfig {
    pub protocol: Protocol,
    pub body_bytes: u64,
    /// Messages of the answer to a gRPC call.
    pub messages: u32,
    pub faults: Faults,
    pub tls: Option<Arc<ServerConfig>>,
    pub seed: u64,
}

/// What an origin has done.
#[derive(Clone)]
pub struct OriginTotals {
    pub connections: u64,
    /// TLS handshakes that were done, and those of them that resumed a session; those that failed.
    pub handshakes: u64,
    pub resumed: u64,
    pub handshakes_failed: u64,
    /// Requests that were read, and how they were answered.
    pub requests: u64,
    pub right: u64,
    pub errors: u64,
    pub resets: u64,
    pub garbage: u64,
    pub short: u64,
    pub goaways: u64,
    /// Requests whose connection ended before their answer was whole.
    pub lost: u64,
    /// From the whole request to the last byte of its answer.
    pub service_ns: Histogram<u64>,
}

/// The totals as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct OriginReport {
    pub tool: &'static str,
    pub mode: &'static str,
    pub connections: u64,
    pub handshakes: u64,
    pub resumed: u64,
    pub handshakes_failed: u64,
    pub requests: u64,
    pub right: u64,
    pub errors: u64,
    pub resets: u64,
    pub garbage: u64,
    pub short: u64,
    pub goaways: u64,
    pub lost: u64,
    pub service: Latency,
}

impl OriginTotals {
    fn new() -> OriginTotals {
        OriginTotals {
            connections: 0,
            handshakes: 0,
            resumed: 0,
            handshakes_failed: 0,
            requests: 0,
            right: 0,
            errors: 0,
            resets: 0,
            garbage: 0,
            short: 0,
            goaways: 0,
            lost: 0,
            service_ns: totals::histogram(3),
        }
    }

    fn add(&mut self, other: &OriginTotals) {
        self.connections += other.connections;
        self.handshakes += other.handshakes;
        self.resumed += other.resumed;
        self.handshakes_failed += other.handshakes_failed;
        self.requests += other.requests;
        self.right += other.right;
        self.errors += other.errors;
        self.resets += other.resets;
        self.garbage += other.garbage;
        self.short += other.short;
        self.goaways += other.goaways;
        self.lost += other.lost;
        self.service_ns.add(&other.service_ns).expect("histograms of the same bounds can be added");
    }

    fn count(&mut self, answer: Answer) {
        let place = match answer {
            Answer::Right => &mut self.right,
            Answer::Error => &mut self.errors,
            Answer::Reset => &mut self.resets,
            Answer::Garbage => &mut self.garbage,
            Answer::Short => &mut self.short,
            Answer::GoAway => &mut self.goaways,
        };
        *place += 1;
    }

    pub fn report(&self) -> OriginReport {
        OriginReport {
            tool: "ringway-load",
            mode: "origin",
            connections: self.connections,
            handshakes: self.handshakes,
            resumed: self.resumed,
            handshakes_failed: self.handshakes_failed,
            requests: self.requests,
            right: self.right,
            errors: self.errors,
            resets: self.resets,
            garbage: self.garbage,
            short: self.short,
            goaways: self.goaways,
            lost: self.lost,
            service: Latency::of(&self.service_ns),
        }
    }
}

/// Serves until `stop`, with a thread for each listener.
pub fn serve_all(
    listeners: Vec<OwnedFd>,
    config: &OriginConfig,
    stop: &AtomicBool,
) -> io::Result<OriginTotals> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0u64..)
            .zip(listeners)
            .map(|(number, listener)| {
                let config = OriginConfig { seed: config.seed.wrapping_add(number), ..config.clone() };
                scope.spawn(move || {
                    let served = serve(TcpListener::from(listener), &config, stop);
                    // One that cannot go on ends the others.
                    stop.fetch_or(served.is_err(), Ordering::Relaxed);
                    served
                })
            })
            .collect();
        let mut totals = OriginTotals::new();
        for thread in threads {
            let served =
                thread.join().map_err(|_panic| io::Error::other("a thread of the origin panicked"))?;
            totals.add(&served?);
        }
        Ok(totals)
    })
}

/// Serves until `stop`, on the calling thread.
pub fn serve(listener: TcpListener, config: &OriginConfig, stop: &AtomicBool) -> io::Result<OriginTotals> {
    let mut worker = Worker::new(OwnedFd::from(listener), config)?;
    while !stop.load(Ordering::Relaxed) {
        worker.turn()?;
    }
    Ok(worker.finish())
}

/// The protocol's side of one connection.
enum Codec {
    Http1(Http1),
    Http2(Box<Http2>),
    WebSocket(WebSocket),
}

/// The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

/// What becomes of a connection behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Continue,
    /// Behind what is to be sent.
    Close,
    /// At once, with RST.
    Reset,
}

impl Codec {
    fn new(config: &OriginConfig, content: &Rc<Content>, now: Instant, out: &mut Vec<u8>) -> Codec {
        match config.protocol {
            Protocol::Http1 => Codec::Http1(Http1::new(config.body_bytes, Rc::clone(content))),
            Protocol::Http2 | Protocol::Grpc => {
                Codec::Http2(Box::new(Http2::new(config, Rc::clone(content), now, out)))
            }
            Protocol::WebSocket => Codec::WebSocket(WebSocket::new()),
        }
    }

    /// Whether the next answer begins behind the end of the last.
    fn is_sequential(&self) -> bool {
        !matches!(self, Codec::Http2(_))
    }

    /// Takes received bytes; the numbers of the requests that are whole are appended to `asked`.
    fn receive(
        &mut self,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
        asked: &mut Vec<u32>,
    ) -> Result<(), Broken> {
        match self {
            Codec::Http1(http1) => http1.receive(bytes, asked),
            Codec::Http2(http2) => http2.receive(bytes, now, out, asked),
            Codec::WebSocket(websocket) => websocket.receive(bytes, out, asked),
        }
    }

    /// Begins an answer. `slow`: its body waits for [`Codec::allow`].
    fn answer(&mut self, id: u32, answer: Answer, slow: bool, out: &mut Vec<u8>) -> Then {
        match self {
            Codec::Http1(http1) => http1.answer(id, answer, slow, out),
            Codec::Http2(http2) => http2.answer(id, answer, slow, out),
            Codec::WebSocket(websocket) => websocket.answer(id, answer, slow, out),
        }
    }

    /// Lets so much more of a body go; `false` when nothing of it waits any more.
    fn allow(&mut self, id: u32, bytes: u64) -> bool {
        match self {
            Codec::Http1(http1) => http1.body.allow(id, bytes),
            Codec::Http2(http2) => http2.allow(id, bytes),
            Codec::WebSocket(websocket) => websocket.body.allow(id, bytes),
        }
    }

    /// Sends what may go of the bodies, up to a bound of `out`; answers that are whole are appended to `finished`.
    fn pump(&mut self, out: &mut Vec<u8>, finished: &mut Vec<u32>) {
        match self {
            Codec::Http1(http1) => http1.pump(out, finished),
            Codec::Http2(http2) => http2.pump(out, finished),
            Codec::WebSocket(websocket) => websocket.pump(out, finished),
        }
    }

    /// Whether the peer said that this connection ends with the last answer.
    fn is_closing(&self) -> bool {
        match self {
            Codec::Http1(http1) => http1.is_closing(),
            Codec::Http2(http2) => http2.is_closing(),
            Codec::WebSocket(websocket) => websocket.is_closing(),
        }
    }
}

/// What waits in `out` before no more of a body is put there.
const OUT_BYTES_MAX: usize = 256 << 10;

/// The body of the answer at hand, of a protocol that answers in turn.
#[derive(Clone, Copy, Debug, Default)]
struct Body {
    id: u32,
    is_open: bool,
    sent: u64,
    allowed: u64,
    total: u64,
}

impl Body {
    fn begin(id: u32, total: u64, slow: bool) -> Body {
        Body { id, is_open: true, sent: 0, allowed: if slow { 0 } else { total }, total }
    }

    fn allow(&mut self, id: u32, bytes: u64) -> bool {
        if !self.is_open || self.id != id {
            return false;
        }
        self.allowed = self.allowed.saturating_add(bytes).min(self.total);
        self.allowed < self.total
    }

    /// The range of the body that goes now.
    fn take(&mut self, room: usize) -> std::ops::Range<u64> {
        let from = self.sent;
        self.sent = self.allowed.min(from + room as u64);
        from..self.sent
    }

    /// Whether the body has just ended.
    fn end(&mut self) -> bool {
        self.is_open && self.sent == self.total && std::mem::take(&mut self.is_open)
    }
}

/// Bytes that come again and again, from which any stretch of a body is copied.
struct Content {
    block: Vec<u8>,
    period: u64,
}

/// A block is at least so long, so that a copy is worth its call.
const BLOCK_BYTES_MIN: usize = 64 << 10;

impl Content {
    fn new(period: Vec<u8>) -> Content {
        let times = BLOCK_BYTES_MIN.div_ceil(period.len().max(1)) + 1;
        Content { period: period.len().max(1) as u64, block: period.repeat(times) }
    }

    /// Lines of letters, easy to look at.
    fn text() -> Content {
        Content::new((0..TEXT_PERIOD).map(pattern).collect())
    }

    fn append(&self, mut range: std::ops::Range<u64>, out: &mut Vec<u8>) {
        while !range.is_empty() {
            let from = (range.start % self.period) as usize;
            let rest = self.block.get(from..).unwrap_or_default();
            let length = rest.len().min((range.end - range.start) as usize);
            out.extend_from_slice(rest.get(..length).unwrap_or_default());
            range.start += length as u64;
        }
    }
}

/// Both 26 letters and lines of 64 bytes end there.
const TEXT_PERIOD: u64 = 26 * 64;

/// The body's byte at a position.
fn pattern(position: u64) -> u8 {
    if position % 64 == 63 { b'\n' } else { b'a' + (position % 26) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretch_of_a_body_is_its_pattern() {
        let content = Content::text();
        for range in [0..5, 1663..1666, 60_000..200_000, 7..7] {
            let mut out = Vec::new();
            content.append(range.clone(), &mut out);
            assert_eq!(out, range.map(pattern).collect::<Vec<u8>>());
        }
    }
}
