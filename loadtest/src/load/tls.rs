//! TLS of one connection, for the client and for the origin: bytes of the wire in, plain bytes out, and back. The
//! handshake and the records are those of `ringway_protocols::tls`, which the proxy speaks too.

pub mod config;

use std::sync::Arc;

use ringway_protocols::tls::rustls::pki_types::ServerName;
use ringway_protocols::tls::rustls::{ClientConfig, ServerConfig};
use ringway_protocols::tls::{Facts, Handshake, Opened, Session, TlsError, record_bytes};

/// One connection.
pub struct Tls {
    state: State,
    /// A record whose end has not arrived.
    partial: Vec<u8>,
}

enum State {
    Handshake(Box<Handshake>),
    Open(Box<Session>),
    /// Between the two, and after a failure.
    Over,
}

impl Tls {
    /// The side of a client; what it says first is appended to `wire`.
    pub fn client(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        wire: &mut Vec<u8>,
    ) -> Result<Tls, TlsError> {
        let mut handshake = Handshake::client(Arc::clone(config), name)?;
        handshake.advance(&[], wire)?;
        Ok(Tls { state: State::Handshake(Box::new(handshake)), partial: Vec::new() })
    }

    /// The side of a server.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Tls, TlsError> {
        let handshake = Handshake::server(Arc::clone(config))?;
        Ok(Tls { state: State::Handshake(Box::new(handshake)), partial: Vec::new() })
    }

    /// The handshake is done.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The peer has said that no more will come: an end without that was cut off.
    pub fn is_closed_by_peer(&self) -> bool {
        matches!(&self.state, State::Open(session) if session.is_closed_by_peer())
    }

    /// Takes received bytes, which it works on in place: data is appended to `plain`, what is to be sent to `wire`. The
    /// facts come once, with the end of the handshake.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Option<Facts>, TlsError> {
        let result = self.take(bytes, plain, wire);
        if result.is_err() {
            // Nothing that follows is looked at.
            self.state = State::Over;
        }
        result
    }

    fn take(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Option<Facts>, TlsError> {
        let State::Handshake(handshake) = &mut self.state else {
            return self.open(bytes, plain, wire).map(|()| None);
        };
        if !handshake.advance(bytes, wire)? {
            return Ok(None);
        }
        let State::Handshake(handshake) = std::mem::replace(&mut self.state, State::Over) else {
            return Ok(None);
        };
        let established = handshake.finish()?;
        self.state = State::Open(Box::new(established.session));
        let mut rest = established.rest;
        self.open(&mut rest, plain, wire)?;
        Ok(Some(established.facts))
    }

    fn open(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), TlsError> {
        let State::Open(session) = &mut self.state else { return Ok(()) };
        if self.partial.is_empty() {
            let used = open_records(session, bytes, plain, wire)?;
            self.partial.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        self.partial.extend_from_slice(bytes);
        let used = open_records(session, &mut self.partial, plain, wire)?;
        self.partial.drain(..used);
        Ok(())
    }

    /// Seals data behind what waits in `wire`. Before the end of the handshake there is nothing to seal with.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), TlsError> {
        match &mut self.state {
            State::Open(session) => session.seal([plain], wire),
            State::Handshake(_) | State::Over => {
                Err(TlsError::Unexpected("data before the end of the handshake"))
            }
        }
    }

    /// Says that no more will be sent.
    pub fn close(&mut self, wire: &mut Vec<u8>) {
        if let State::Open(session) = &mut self.state {
            session.close(wire);
        }
    }
}

/// Opens whole records; returns the bytes that they take.
fn open_records(
    session: &mut Session,
    bytes: &mut [u8],
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
) -> Result<usize, TlsError> {
    let mut used = 0;
    loop {
        let Some(rest) = bytes.get_mut(used..) else { return Ok(used) };
        let Some(length) = record_bytes(rest)? else { return Ok(used) };
        let Some(record) = rest.get_mut(..length) else { return Ok(used) };
        match session.open(record, wire)? {
            Opened::Data(range) => plain.extend_from_slice(record.get(range).unwrap_or_default()),
            Opened::Nothing | Opened::Closed => {}
        }
        used += length;
    }
}
