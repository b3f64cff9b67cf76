//! The bare relay: what a proxy costs when it does nothing but relay. The practical floor.
//!
//! One ring with multishot accept and multishot receive into a provided-buffer ring, SINGLE_ISSUER and
//! DEFER_TASKRUN, one `io_uring_enter` per turn; `httparse` on both heads for the framing. Each client connection
//! has one connection to the origin. There is no routing, no header edit, no timeout, no statistics, no defence:
//! never put it before anything but a benchmark.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use clap::Args;
use ringway_loadtest::affinity;
use ringway_loadtest::ring::{Completion, Ring, RingConfig, Token};
use ringway_loadtest::socket::{self, RawAddress};

use crate::framing::Framing;

/// What the relay is told on its command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ringway-bare-relay",
    about = "A relay over io_uring without any feature: the floor of the benchmarks"
)]
pub struct RelayArgs {
    #[command(flatten)]
    pub relay: RelayConfig,
}

/// Where it listens and forwards to, and its buffers.
#[derive(Clone, Debug, Args)]
pub struct RelayConfig {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address of the origin.
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub origin: SocketAddr,
    /// CPU to run on.
    #[arg(long)]
    pub cpu: Option<usize>,
    /// Receive buffers: a power of two.
    #[arg(long, default_value_t = 64)]
    pub buffers: u16,
    /// Size of one receive buffer.
    #[arg(long, default_value_t = 32768)]
    pub buffer_bytes: u32,
    /// Completions to wait for in one turn.
    #[arg(long, default_value_t = 1)]
    pub wait_nr: usize,
    /// Microseconds to wait for them; then one is enough. 0: no limit.
    #[arg(long, default_value_t = 0)]
    pub min_wait_usec: u32,
}

/// Runs until the process is ended.
pub fn run(args: &RelayArgs) -> io::Result<Infallible> {
    let config = &args.relay;
    config.cpu.map_or(Ok(()), affinity::pin)?;
    let RelayConfig { buffers, buffer_bytes, .. } = *config;
    let mut ring = Ring::new(RingConfig { entries: 1024, completions: 16384, buffers, buffer_bytes })?;
    ring.set_min_wait(config.min_wait_usec);
    let mut relay = Relay::new(config, &mut ring)?;
    let mut batch = Vec::with_capacity(16384);
    loop {
        ring.turn(config.wait_nr, None, &mut batch)?;
        for completion in &batch {
            relay.complete(completion, &mut ring)?;
        }
        relay.rearm_starved(&mut ring)?;
    }
}

struct Relay {
    listener: OwnedFd,
    origin: &'static RawAddress,
    origin_address: SocketAddr,
    /// Side `2n` is the downstream and `2n + 1` the upstream of pair `n`.
    sides: Vec<Side>,
    free: Vec<u32>,
    /// Sides whose receive ended because no buffer was left.
    starved: Vec<u32>,
}

#[derive(Default)]
struct Side {
    socket: Option<OwnedFd>,
    generation: u32,
    /// What is to be sent on this side, the piece being sent first.
    queue: VecDeque<Piece>,
    /// Connecting, or a send is in flight.
    busy: bool,
    operations: u32,
    /// Received everything that will come.
    ended: bool,
    framing: Framing,
}

/// A part of a provided buffer.
#[derive(Clone, Copy)]
struct Piece {
    buffer: u16,
    len: u32,
}

const ACCEPT: u8 = 1;
const CONNECT: u8 = 2;
const RECV: u8 = 3;
const SEND: u8 = 4;

impl Relay {
    fn new(config: &RelayConfig, ring: &mut Ring) -> io::Result<Relay> {
        let listener = socket::listen(config.listen)?;
        ring.accept_multi(listener.as_raw_fd(), Token { kind: ACCEPT, index: 0, generation: 0 })?;
        Ok(Relay {
            listener,
            origin: Box::leak(Box::new(RawAddress::new(config.origin))),
            origin_address: config.origin,
            sides: Vec::new(),
            free: Vec::new(),
            starved: Vec::new(),
        })
    }

    fn complete(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        match completion.token.kind {
            ACCEPT => self.accepted(completion, ring),
            CONNECT => self.connected(completion, ring),
            RECV => self.received(completion, ring),
            _ => self.sent(completion, ring),
        }
    }

    fn accepted(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        if !completion.more() {
            ring.accept_multi(self.listener.as_raw_fd(), completion.token)?;
        }
        if completion.result < 0 {
            return Ok(());
        }
        let downstream = socket::adopt(completion.result);
        socket::set_nodelay(downstream.as_raw_fd());
        let upstream = socket::tcp(self.origin_address)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.sides.push(Side::default());
            self.sides.push(Side::default());
            self.sides.len() as u32 - 2
        });
        ring.connect(upstream.as_raw_fd(), self.origin, self.token(CONNECT, index + 1))?;
        ring.recv_multi(downstream.as_raw_fd(), self.token(RECV, index))?;
        let down = &mut self.sides[index as usize];
        down.socket = Some(downstream);
        down.operations = 1;
        let up = &mut self.sides[index as usize + 1];
        up.socket = Some(upstream);
        up.operations = 1;
        up.busy = true;
        Ok(())
    }

    fn connected(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        let index = completion.token.index;
        let side = &mut self.sides[index as usize];
        side.operations -= 1;
        side.busy = false;
        if completion.result < 0 {
            return self.end(index, ring);
        }
        side.operations += 1;
        ring.recv_multi(side.fd(), completion.token.with_kind(RECV))?;
        self.send_next(index, ring)
    }

    fn received(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        let index = completion.token.index;
        let side = &mut self.sides[index as usize];
        let mut end = false;
        if let Some(buffer) = completion.buffer() {
            let len = completion.result.max(0) as u32;
            let framed = side.framing.take(ring.bytes(buffer, len as usize), index.is_multiple_of(2));
            let other = &mut self.sides[index as usize ^ 1];
            if len > 0 && framed && other.socket.is_some() && !other.ended {
                other.queue.push_back(Piece { buffer, len });
                self.send_next(index ^ 1, ring)?;
            } else {
                ring.recycle(buffer);
                end = !framed;
            }
        }
        if !completion.more() {
            let side = &mut self.sides[index as usize];
            side.operations -= 1;
            match completion.result {
                _ if side.ended => end = true,
                1.. => self.starved.push(index),
                result if result == -libc::ENOBUFS => self.starved.push(index),
                _ => end = true,
            }
        }
        if end { self.end(index, ring) } else { Ok(()) }
    }

    fn sent(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        let index = completion.token.index;
        let side = &mut self.sides[index as usize];
        side.operations -= 1;
        side.busy = false;
        if let Some(piece) = side.queue.pop_front() {
            ring.recycle(piece.buffer);
        }
        if completion.result < 0 || side.ended {
            return self.end(index, ring);
        }
        self.send_next(index, ring)
    }

    fn send_next(&mut self, index: u32, ring: &mut Ring) -> io::Result<()> {
        let side = &mut self.sides[index as usize];
        if side.busy || side.socket.is_none() {
            return Ok(());
        }
        if let Some(piece) = side.queue.front() {
            let token = Token { kind: SEND, index, generation: side.generation };
            ring.send_buffer(side.fd(), piece.buffer, 0, piece.len, token)?;
            side.busy = true;
            side.operations += 1;
        }
        Ok(())
    }

    /// One side is over, so both are: both sockets are shut down, and closed after their last operation.
    fn end(&mut self, index: u32, ring: &mut Ring) -> io::Result<()> {
        let pair = (index & !1) as usize;
        for side in &mut self.sides[pair..pair + 2] {
            if let Some(socket) = side.socket.as_ref().filter(|_| !side.ended) {
                // SAFETY: no pointers. Operations in flight complete with an end or an error.
                unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
            }
            side.ended = true;
            let in_flight = usize::from(side.busy && !side.queue.is_empty());
            for piece in side.queue.drain(in_flight..) {
                ring.recycle(piece.buffer);
            }
        }
        self.starved.retain(|&starved| starved as usize & !1 != pair);
        let over = self.sides[pair..pair + 2].iter().all(|side| side.operations == 0);
        if over && self.sides[pair].socket.is_some() {
            for side in &mut self.sides[pair..pair + 2] {
                *side = Side { generation: side.generation.wrapping_add(1), ..Side::default() };
            }
            self.free.push(pair as u32);
        }
        Ok(())
    }

    /// Receives again where no buffer was left: by now some were given back.
    fn rearm_starved(&mut self, ring: &mut Ring) -> io::Result<()> {
        for index in std::mem::take(&mut self.starved) {
            let side = &mut self.sides[index as usize];
            if side.socket.is_some() && !side.ended {
                ring.recv_multi(side.fd(), Token { kind: RECV, index, generation: side.generation })?;
                side.operations += 1;
            }
        }
        Ok(())
    }

    fn token(&self, kind: u8, index: u32) -> Token {
        Token { kind, index, generation: self.sides[index as usize].generation }
    }
}

impl Side {
    fn fd(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}
