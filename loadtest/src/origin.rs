//! The origin: answers every request with the same reply.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::head;
use crate::ring::{Completion, Ring, Token};
use crate::socket;

/// What the origin listens on and answers.
#[derive(Clone, Copy, Debug)]
pub struct OriginConfig {
    pub listen: SocketAddr,
    pub body_bytes: u64,
}

/// A listening origin and its connections.
pub struct Origin {
    listener: OwnedFd,
    reply: Reply,
    connections: Vec<Connection>,
    free: Vec<u32>,
    pub requests: u64,
}

/// The fixed reply, as pieces that live as long as the process, because sends in flight point to them.
#[derive(Clone, Copy)]
struct Reply {
    /// Head and the beginning of the body.
    first: &'static [u8],
    /// Sent again and again for what does not fit into `first`.
    block: &'static [u8],
    rest_bytes: u64,
}

#[derive(Default)]
struct Connection {
    socket: Option<OwnedFd>,
    generation: u32,
    /// An incomplete request head.
    partial: Vec<u8>,
    /// Bytes of a request body that are still to come.
    body_left: u64,
    /// Requests that wait for their reply, the one being sent included.
    owed: u32,
    /// Bytes of the current reply that are not yet handed to the kernel.
    rest_bytes: u64,
    /// Operations that have not completed for good.
    operations: u32,
    ended: bool,
    /// The first request has been looked at.
    begun: bool,
    /// The first request is to be the last.
    closing: bool,
}

const ACCEPT: u8 = 0x10;
const RECV: u8 = 0x11;
const SEND: u8 = 0x12;
/// The part of a body that is sent in one operation.
const BLOCK_BYTES: u64 = 1 << 20;
/// Bytes of a request head before the origin gives up on the connection.
const HEAD_BYTES_MAX: usize = 64 << 10;
const LISTEN_WAIT_MAX: Duration = Duration::from_secs(3);

impl Origin {
    pub fn new(config: OriginConfig, ring: &mut Ring) -> io::Result<Origin> {
        Origin::on(listen_patiently(config.listen)?, config.body_bytes, ring)
    }

    /// On a socket that listens already.
    pub fn on(listener: OwnedFd, body_bytes: u64, ring: &mut Ring) -> io::Result<Origin> {
        ring.accept_multi(listener.as_raw_fd(), Token { kind: ACCEPT, index: 0, generation: 0 })?;
        let reply = Reply::new(body_bytes);
        Ok(Origin { listener, reply, connections: Vec::new(), free: Vec::new(), requests: 0 })
    }

    /// Handles a completion; `false` when it is not one of the origin's.
    pub fn complete(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<bool> {
        match completion.token.kind {
            ACCEPT => self.accepted(completion, ring)?,
            RECV => self.received(completion, ring)?,
            SEND => self.sent(completion, ring)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn accepted(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        if completion.result >= 0 {
            let socket = socket::adopt(completion.result);
            socket::set_nodelay(socket.as_raw_fd());
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(Connection::default());
                self.connections.len() as u32 - 1
            });
            let connection = &mut self.connections[index as usize];
            let token = Token { kind: RECV, index, generation: connection.generation };
            ring.recv_multi(socket.as_raw_fd(), token)?;
            connection.operations = 1;
            connection.socket = Some(socket);
        }
        if !completion.more() {
            ring.accept_multi(self.listener.as_raw_fd(), completion.token)?;
        }
        Ok(())
    }

    fn received(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        let index = completion.token.index;
        let connection = &mut self.connections[index as usize];
        if let Some(buffer) = completion.buffer() {
            let bytes = ring.bytes(buffer, completion.result.max(0) as usize);
            let requests = connection.requests_in(bytes);
            ring.recycle(buffer);
            self.requests += u64::from(requests);
            let was_idle = connection.owed == 0;
            connection.owed += requests;
            if was_idle && requests > 0 {
                connection.start_reply(self.reply, index, ring)?;
            }
        }
        if !completion.more() {
            connection.operations -= 1;
            let out_of_buffers = completion.result == -libc::ENOBUFS;
            match &connection.socket {
                Some(socket) if (completion.result > 0 || out_of_buffers) && !connection.ended => {
                    ring.recv_multi(socket.as_raw_fd(), completion.token)?;
                    connection.operations += 1;
                }
                _ => connection.ended = true,
            }
        }
        self.reap(index);
        Ok(())
    }

    fn sent(&mut self, completion: &Completion, ring: &mut Ring) -> io::Result<()> {
        let index = completion.token.index;
        let connection = &mut self.connections[index as usize];
        connection.operations -= 1;
        if completion.result < 0 {
            connection.ended = true;
            connection.owed = 0;
        } else if connection.rest_bytes > 0 {
            connection.send_rest(self.reply, index, ring)?;
        } else {
            connection.owed = connection.owed.saturating_sub(1);
            if connection.owed > 0 {
                connection.start_reply(self.reply, index, ring)?;
            } else if connection.closing
                && let Some(socket) = &connection.socket
            {
                // SAFETY: no pointers.
                unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
            }
        }
        self.reap(index);
        Ok(())
    }

    /// Closes a connection after its last operation.
    fn reap(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.ended && connection.operations == 0 && connection.socket.take().is_some() {
            let generation = connection.generation.wrapping_add(1) & 0xff_ffff;
            *connection = Connection { generation, ..Connection::default() };
            self.free.push(index);
        }
    }
}

impl Drop for Origin {
    /// The ring keeps its sockets until it is torn down, which happens after the process has ended; the next process
    /// and the proxy should not meet them meanwhile.
    fn drop(&mut self) {
        let connections = self.connections.iter().filter_map(|connection| connection.socket.as_ref());
        for socket in connections.chain([&self.listener]) {
            // SAFETY: no pointers.
            unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
        }
    }
}

/// A ring is torn down after its process has ended: for a moment the listener of the run before may still be there.
fn listen_patiently(address: SocketAddr) -> io::Result<OwnedFd> {
    let end = Instant::now() + LISTEN_WAIT_MAX;
    loop {
        match socket::listen(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(io::Error::new(error.kind(), format!("origin on {address}: {error}"))),
            Ok(socket) => return Ok(socket),
        }
    }
}

impl Connection {
    /// Counts the requests that end in these bytes; keeps what is incomplete.
    fn requests_in(&mut self, received: &[u8]) -> u32 {
        let joined = if self.partial.is_empty() {
            None
        } else {
            self.partial.extend_from_slice(received);
            Some(std::mem::take(&mut self.partial))
        };
        let mut bytes = joined.as_deref().unwrap_or(received);
        let mut requests = 0;
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let taken = self.body_left.min(bytes.len() as u64);
                self.body_left -= taken;
                bytes = &bytes[taken as usize..];
                requests += u32::from(self.body_left == 0);
                continue;
            }
            let Some((head_bytes, body_bytes)) = head::parse_request(bytes) else {
                self.partial = bytes.to_vec();
                self.ended |= bytes.len() > HEAD_BYTES_MAX;
                break;
            };
            if !std::mem::replace(&mut self.begun, true) {
                self.closing = asks_to_close(&bytes[..head_bytes]);
            }
            bytes = &bytes[head_bytes..];
            self.body_left = body_bytes;
            requests += u32::from(body_bytes == 0);
        }
        requests
    }

    fn start_reply(&mut self, reply: Reply, index: u32, ring: &mut Ring) -> io::Result<()> {
        self.rest_bytes = reply.rest_bytes;
        self.send(reply.first, index, ring)
    }

    fn send_rest(&mut self, reply: Reply, index: u32, ring: &mut Ring) -> io::Result<()> {
        let len = self.rest_bytes.min(BLOCK_BYTES);
        self.rest_bytes -= len;
        self.send(&reply.block[..len as usize], index, ring)
    }

    fn send(&mut self, bytes: &'static [u8], index: u32, ring: &mut Ring) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        ring.send_static(
            socket.as_raw_fd(),
            bytes,
            Token { kind: SEND, index, generation: self.generation },
        )?;
        self.operations += 1;
        Ok(())
    }
}

/// Whether a request asks to be the only one of its connection, which is looked for in the first only. A proxy asks for itself; a bare relay passes the client's
/// wish on, and somebody has to fulfil it.
fn asks_to_close(head: &[u8]) -> bool {
    const FIELD: &[u8] = b"\r\nconnection: close\r\n";
    head.windows(FIELD.len()).any(|window| window.eq_ignore_ascii_case(FIELD))
}

impl Reply {
    fn new(body_bytes: u64) -> Reply {
        let first_bytes = body_bytes.min(BLOCK_BYTES);
        let mut first =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {body_bytes}\r\n\r\n")
                .into_bytes();
        first.extend((0..first_bytes).map(pattern));
        let rest_bytes = body_bytes - first_bytes;
        let block: Vec<u8> =
            if rest_bytes > 0 { (0..BLOCK_BYTES).map(pattern).collect() } else { Vec::new() };
        Reply { first: first.leak(), block: block.leak(), rest_bytes }
    }
}

/// The body's byte at a position: lines of letters, easy to look at.
fn pattern(position: u64) -> u8 {
    if position % 64 == 63 { b'\n' } else { b'a' + (position % 26) as u8 }
}
