//! The network between the simulated sockets: connections, bytes on the wire, their ends and resets.

use std::os::fd::RawFd;

use super::Rng;
use super::events::{Bytes, Event, MICROSECOND, MILLISECOND};
use super::kernel::Kernel;
use super::socket::{Id, Socket};
use crate::io::Address;

impl Kernel {
    /// Makes both ends of a connection; the second waits in the listener's backlog.
    pub(super) fn establish(&mut self, client: Id, listener: Id) {
        let server = self.next_serial();
        self.next_port = self.next_port.checked_add(1).unwrap_or(10_000);
        let client_address = Address::Tcp(std::net::SocketAddr::from(([10, 0, 0, 1], self.next_port)));
        let server_address = self.sockets.get(&listener).and_then(|socket| socket.local.clone());
        let mut accepted = Socket::new();
        self.prepare(&mut accepted, client);
        accepted.local = server_address.clone();
        accepted.remote = Some(client_address.clone());
        self.sockets.insert(server, accepted);
        if let Some(mut socket) = self.sockets.remove(&client) {
            self.prepare(&mut socket, server);
            socket.local = Some(client_address);
            socket.remote = server_address;
            self.sockets.insert(client, socket);
        }
        if let Some(backlog) = self.sockets.get_mut(&listener).and_then(|socket| socket.backlog.as_mut()) {
            backlog.push_back(server);
        }
        self.advance(listener);
    }

    /// Gives one end of a connection its buffers and its faults.
    fn prepare(&mut self, socket: &mut Socket, peer: Id) {
        socket.peer = Some(peer);
        let small = self.fault(self.config.faults.small_windows);
        let window = |rng: &mut Rng| {
            if small { rng.between(16, 2_000) } else { rng.between(4_096, 200_000) }
        };
        socket.rx_max = window(&mut self.rng) as usize;
        socket.tx_max = window(&mut self.rng) as usize;
        socket.latency = self.rng.between(5 * MICROSECOND, 300 * MICROSECOND);
        if self.fault(self.config.faults.resets) {
            let max = *self.rng.pick(&[10, 300, 3_000, 100_000]);
            socket.cut_after = Some(self.rng.below(max));
        }
    }

    /// A reset arrives. What was received before can still be read.
    pub(super) fn reset(&mut self, id: Id, errno: i32) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.peer = None;
        socket.tx.clear();
        socket.flying = 0;
        if socket.orphan {
            self.sockets.remove(&id);
            return;
        }
        socket.error = errno;
        self.advance(id);
    }

    pub(super) fn shutdown(&mut self, fd: RawFd, how: i32) -> bool {
        let Some(id) = self.id_of(fd) else { return false };
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.fin_wanted |= how != libc::SHUT_RD;
            socket.rx_shut |= how != libc::SHUT_WR;
        }
        self.advance(id);
        true
    }

    pub(super) fn deliver(&mut self, from: Id, to: Id, Bytes(bytes): Bytes) {
        if let Some(sender) = self.sockets.get_mut(&from) {
            sender.flying = sender.flying.saturating_sub(bytes.len());
        }
        let Some(socket) = self.sockets.get_mut(&to).filter(|socket| !socket.orphan && socket.error == 0)
        else {
            // Nobody is there to read it: the sender learns of it.
            let at = self.now + 50 * MICROSECOND;
            if self.sockets.get(&from).is_some_and(|sender| sender.peer.is_some()) {
                self.schedule(at, Event::Reset { to: from });
            }
            return;
        };
        socket.received += bytes.len() as u64;
        socket.rx.extend(bytes);
        if socket.cut_after.is_some_and(|limit| socket.received > limit) {
            self.reset(to, libc::ECONNRESET);
            self.reset(from, libc::ECONNRESET);
            return;
        }
        self.advance(to);
    }

    /// Does what can be done on a socket: operations, transmission, its end.
    pub(super) fn advance(&mut self, id: Id) {
        self.advance_accept(id);
        self.advance_recv(id);
        self.advance_send(id);
        self.transmit(id);
        self.advance_poll(id);
        self.close_if_unused(id);
    }

    /// Puts bytes on the wire as long as the peer has room.
    pub(super) fn transmit(&mut self, id: Id) {
        loop {
            let Some((peer, flying, waiting)) = self
                .sockets
                .get(&id)
                .and_then(|socket| socket.peer.map(|peer| (peer, socket.flying, socket.tx.len())))
            else {
                return;
            };
            // A peer that is gone takes everything, and answers with a reset.
            let room = match self.sockets.get(&peer) {
                Some(peer) => peer.rx_max.saturating_sub(peer.rx.len() + flying),
                None => usize::MAX,
            };
            let mut len = waiting.min(room);
            if len == 0 {
                break;
            }
            if self.fault(self.config.faults.splits) {
                len = 1 + self.rng.below(len as u64) as usize;
            }
            let at = self.arrival(id);
            let Some(socket) = self.sockets.get_mut(&id) else { return };
            let bytes: Vec<u8> = socket.tx.drain(..len).collect();
            socket.flying += len;
            self.schedule(at, Event::Deliver { from: id, to: peer, bytes: Bytes(bytes) });
        }
        self.finish(id);
    }

    /// Sends the FIN once everything before it is on the wire.
    fn finish(&mut self, id: Id) {
        let at = match self.sockets.get(&id) {
            Some(s) if s.fin_wanted && !s.fin_sent && s.tx.is_empty() && s.send.is_none() => self.arrival(id),
            _ => return,
        };
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.fin_sent = true;
        let peer = socket.peer;
        if let Some(to) = peer {
            self.schedule(at, Event::Fin { to });
        }
    }

    /// When what leaves now arrives: behind what left before.
    fn arrival(&mut self, id: Id) -> u64 {
        let stall = if self.fault(self.config.faults.stalls) {
            let max = *self.rng.pick(&[50, 2_000, 40_000]);
            self.rng.below(max) * MILLISECOND
        } else {
            0
        };
        let now = self.now;
        let jitter = self.rng.below(20 * MICROSECOND);
        let Some(socket) = self.sockets.get_mut(&id) else { return now };
        socket.wire_at = socket.wire_at.max(now + socket.latency + jitter + stall);
        socket.wire_at
    }

    /// A reader made room: the peer may go on sending.
    pub(super) fn window_opened(&mut self, reader: Id) {
        if let Some(peer) = self.sockets.get(&reader).and_then(|socket| socket.peer) {
            self.transmit(peer);
            self.advance_send(peer);
            self.advance_poll(peer);
            self.close_if_unused(peer);
        }
    }
}
