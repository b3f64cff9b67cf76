//! The TLS handshake on a socket, either side.

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::rc::Rc;

use ringway_protocols::tls::rustls::pki_types::CertificateDer;
use ringway_protocols::tls::rustls::{NamedGroup, ProtocolVersion, SupportedCipherSuite};
use ringway_protocols::tls::{Established, Handshake, TlsError};

use super::tls::Tls;
use super::{Secure, Transport};
use crate::io::take_vec;
use crate::tls::PeerCertificate;

/// What a handshake agreed on, and who the peer is.
#[derive(Debug)]
pub struct TlsFacts {
    pub version: ProtocolVersion,
    pub suite: SupportedCipherSuite,
    pub group: Option<NamedGroup>,
    /// The protocol that both want to speak, as `h2`.
    pub alpn: Option<Vec<u8>>,
    /// The name that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// Nothing was verified this time but that it is the session of before.
    pub resumed: bool,
    /// The peer's chain, its own certificate first.
    pub certificates: Vec<CertificateDer<'static>>,
    peer: OnceCell<Option<Box<PeerCertificate>>>,
}

impl TlsFacts {
    /// What the peer's own certificate says. It is read when somebody asks, once.
    pub fn peer(&self) -> Option<&PeerCertificate> {
        let read = || Some(Box::new(PeerCertificate::read(self.certificates.first()?)?));
        self.peer.get_or_init(read).as_deref()
    }
}

/// Why there is no TLS connection.
#[derive(Debug)]
pub enum HandshakeError {
    Tls(TlsError),
    Io(io::Error),
    /// The peer closed before the end of the handshake.
    Closed,
}

impl From<TlsError> for HandshakeError {
    fn from(error: TlsError) -> Self {
        HandshakeError::Tls(error)
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        HandshakeError::Io(error)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Tls(error) => error.fmt(f),
            HandshakeError::Io(error) => error.fmt(f),
            HandshakeError::Closed => f.write_str("the peer closed during the handshake"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl Transport {
    /// Makes a handshake, of which `first` was received already, and speaks TLS from then on. Each time before it
    /// computes it awaits `turn`, and holds what that gave until it has. A failed one has told the peer why; the connection is of no further use.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn secure<T>(
        &mut self,
        mut handshake: Handshake,
        first: &[u8],
        server_name: Option<Box<str>>,
        turn: impl AsyncFn() -> T,
    ) -> Result<&Rc<TlsFacts>, HandshakeError> {
        let mut output = take_vec();
        let held = turn().await;
        let mut result = handshake.advance(first, &mut output);
        drop(held);
        loop {
            if !output.is_empty() {
                self.stream.send(std::mem::replace(&mut output, take_vec()))?;
            }
            if result? {
                break;
            }
            let received = self.stream.recv().await?;
            if received.is_empty() {
                return Err(HandshakeError::Closed);
            }
            let held = turn().await;
            result = handshake.advance(&received, &mut output);
            drop(held);
        }
        let Established { session, facts, rest } = handshake.finish()?;
        let facts = TlsFacts {
            version: facts.version,
            suite: facts.suite,
            group: facts.group,
            alpn: facts.alpn,
            server_name,
            resumed: facts.resumed,
            certificates: facts.certificates,
            peer: OnceCell::new(),
        };
        let tls = Tls::new(session, rest, &self.stream);
        Ok(&self.secure.insert(Box::new(Secure { tls, facts: Rc::new(facts) })).facts)
    }
}
