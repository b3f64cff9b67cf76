//! The handshake, by rustls, fed one record at a time so that the first byte of application data is left to [`Session`].

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig, SupportedCipherSuite};

use super::record::{RecordKey, content, record_bytes};
use super::session::{Kernel, Session};
use super::{RECORD_HEADER_BYTES, TlsError};

/// Bytes of one handshake, received. A chain of certificates may be as long as a message (2^24), real ones stay far below.
const HANDSHAKE_BYTES_MAX: usize = 128 << 10;

/// Records of one handshake, received: whoever sends a message byte by byte does it to cost us time.
const HANDSHAKE_RECORDS_MAX: u32 = 2048;

/// A handshake under way.
pub struct Handshake {
    connection: Connection,
    incoming: Vec<u8>,
    /// How much of `incoming` rustls has seen and keeps.
    seen: usize,
    bytes: usize,
    records: u32,
    /// It has failed, and rustls is not to be asked again.
    failed: Option<TlsError>,
}

enum Connection {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What a handshake ends with.
pub struct Established {
    pub session: Session,
    pub facts: Facts,
    /// What was received behind the handshake: whole or partial records.
    pub rest: Vec<u8>,
}

/// What the two sides agreed on, and who the peer is.
#[derive(Clone, Debug)]
pub struct Facts {
    pub version: ProtocolVersion,
    pub suite: SupportedCipherSuite,
    /// Name of the key exchange group, as `X25519MLKEM768`.
    pub group: Option<rustls::NamedGroup>,
    pub alpn: Option<Vec<u8>>,
    /// The session was resumed: no certificate was exchanged or verified this time.
    pub resumed: bool,
    /// The peer's chain, its own certificate first; of a resumed session the one of the first handshake.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// What rustls wants next.
enum Want {
    /// Look again.
    Again,
    /// More input.
    Input,
}

impl Handshake {
    /// The side of a server.
    ///
    /// # Errors
    /// Those of rustls, for a configuration that cannot be used.
    pub fn server(config: Arc<ServerConfig>) -> Result<Handshake, TlsError> {
        UnbufferedServerConnection::new(config)
            .map(|connection| Handshake::new(Connection::Server(Box::new(connection))))
            .map_err(Into::into)
    }

    /// The side of a client; `name` is sent (if it is not an address) and verified.
    ///
    /// # Errors
    /// As [`Handshake::server`].
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Handshake, TlsError> {
        UnbufferedClientConnection::new(config, name)
            .map(|connection| Handshake::new(Connection::Client(Box::new(connection))))
            .map_err(Into::into)
    }

    fn new(connection: Connection) -> Handshake {
        Handshake { connection, incoming: Vec::new(), seen: 0, bytes: 0, records: 0, failed: None }
    }

    /// Takes received bytes in, and appends what is to be sent to `output`, also where it fails: the alert. True once the
    /// handshake is done. A client calls it with no bytes first.
    ///
    /// # Errors
    /// The handshake has failed, now or before.
    pub fn advance(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<bool, TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.take(input, output);
        self.failed = result.as_ref().err().cloned();
        result
    }

    fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<bool, TlsError> {
        if self.bytes == 0 && !input.is_empty() {
            looks_like_tls(input)?;
        }
        self.bytes += input.len();
        self.incoming.extend_from_slice(input);
        loop {
            let done = self.feed(output)?;
            if done || !self.next_record()? {
                return Ok(done);
            }
        }
    }

    /// Shows rustls one more record. False when there is none that is whole.
    fn next_record(&mut self) -> Result<bool, TlsError> {
        let rest = self.incoming.get(self.seen..).unwrap_or_default();
        match record_bytes(rest)? {
            Some(length) if length <= rest.len() => {
                self.seen += length;
                self.records += 1;
            }
            _ => return Ok(false),
        }
        if self.records > HANDSHAKE_RECORDS_MAX || self.seen > HANDSHAKE_BYTES_MAX {
            return Err(TlsError::HandshakeTooLong);
        }
        Ok(true)
    }

    /// Lets rustls work on what it has been shown.
    fn feed(&mut self, output: &mut Vec<u8>) -> Result<bool, TlsError> {
        loop {
            let (discard, want) = self.step(output);
            self.discard(discard);
            match want {
                Ok(Want::Again) => {}
                Ok(Want::Input) => return Ok(!self.is_handshaking()),
                Err(error) => {
                    self.alert(output);
                    return Err(error.into());
                }
            }
        }
    }

    /// What tells the peer why: rustls has it ready, perhaps behind records that it had made before. Asked again behind the
    /// alert, it would look at the same input once more.
    fn alert(&mut self, output: &mut Vec<u8>) {
        loop {
            let start = output.len();
            let (discard, want) = self.step(output);
            self.discard(discard);
            if !matches!(want, Ok(Want::Again)) || is_alert(output.get(start..).unwrap_or_default()) {
                return;
            }
        }
    }

    fn step(&mut self, output: &mut Vec<u8>) -> (usize, Result<Want, rustls::Error>) {
        let seen = self.incoming.get_mut(..self.seen).unwrap_or_default();
        match &mut self.connection {
            Connection::Server(connection) => step(connection.process_tls_records(seen), output),
            Connection::Client(connection) => step(connection.process_tls_records(seen), output),
        }
    }

    fn discard(&mut self, bytes: usize) {
        let bytes = bytes.min(self.seen);
        self.incoming.drain(..bytes);
        self.seen -= bytes;
    }

    fn is_handshaking(&self) -> bool {
        match &self.connection {
            Connection::Server(connection) => connection.is_handshaking(),
            Connection::Client(connection) => connection.is_handshaking(),
        }
    }

    /// The session, once [`Handshake::advance`] said that the handshake is done.
    ///
    /// # Errors
    /// Before that, and where the configuration does not give secrets out (`enable_secret_extraction`).
    pub fn finish(mut self) -> Result<Established, TlsError> {
        let rest = self.incoming.split_off(self.seen.min(self.incoming.len()));
        let (secrets, kernel, facts) = match self.connection {
            Connection::Server(connection) => {
                let facts = Facts::of(&connection)?;
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Server(Box::new(kernel)), facts)
            }
            Connection::Client(connection) => {
                let facts = Facts::of(&connection)?;
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Client(Box::new(kernel)), facts)
            }
        };
        let seal = RecordKey::new(secrets.tx, facts.version)?;
        let open = RecordKey::new(secrets.rx, facts.version)?;
        Ok(Established { session: Session::new(kernel, seal, open, facts.version), facts, rest })
    }
}

impl Facts {
    fn of(common: &rustls::CommonState) -> Result<Facts, TlsError> {
        let incomplete = || TlsError::Rustls(rustls::Error::HandshakeNotComplete);
        Ok(Facts {
            version: common.protocol_version().ok_or_else(incomplete)?,
            suite: common.negotiated_cipher_suite().ok_or_else(incomplete)?,
            group: common.negotiated_key_exchange_group().map(|group| group.name()),
            alpn: common.alpn_protocol().map(<[u8]>::to_vec),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            certificates: common.peer_certificates().unwrap_or_default().to_vec(),
        })
    }
}

/// Does what one state of rustls asks for.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    output: &mut Vec<u8>,
) -> (usize, Result<Want, rustls::Error>) {
    let want = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let start = output.len();
            let mut result = data.encode(&mut []);
            if let Err(EncodeError::InsufficientSize(needed)) = &result {
                output.resize(start + needed.required_size, 0);
                result = data.encode(&mut output[start..]);
            }
            output.truncate(start + result.as_ref().map_or(0, |written| *written));
            result
                .map(|_| Want::Again)
                .map_err(|error| rustls::Error::General(format!("encoding a handshake record: {error}")))
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Want::Again)
        }
        // One record at a time is shown, and none behind the last of the handshake.
        Ok(ConnectionState::ReadTraffic(_) | ConnectionState::ReadEarlyData(_)) => {
            Err(rustls::Error::General("data within the handshake".into()))
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
            Err(rustls::Error::AlertReceived(rustls::AlertDescription::CloseNotify))
        }
        Ok(_) => Ok(Want::Input),
    };
    (status.discard, want)
}

/// Whether a record that rustls made in a handshake is an alert. In TLS 1.3 it says so only within, and is the only one so
/// short: two bytes, its type, and the tag (RFC 8446 5.2).
fn is_alert(record: &[u8]) -> bool {
    matches!(record, [content::ALERT, ..] | [content::APPLICATION_DATA, _, _, 0, 19, ..])
}

/// Refuses a client that does not speak TLS at its first bytes.
fn looks_like_tls(first: &[u8]) -> Result<(), TlsError> {
    let is_record =
        matches!(first, [content::HANDSHAKE | content::ALERT] | [content::HANDSHAKE | content::ALERT, 3, ..]);
    if is_record {
        return Ok(());
    }
    Err(TlsError::NotTls { http: is_plain_http(first) })
}

/// Whether bytes look like the start of a request of HTTP in the clear.
pub fn is_plain_http(first: &[u8]) -> bool {
    let word = first.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    (3..=RECORD_HEADER_BYTES + 3).contains(&word) && first.get(word) == Some(&b' ')
}
