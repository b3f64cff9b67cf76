//! An established connection: records in and out, alerts, key updates, tickets.

use std::ops::Range;

use rustls::ProtocolVersion;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

use super::TlsError;
use super::record::{DATA_BYTES_MAX, RecordKey, content};

/// Records in a row that may be without data: rustls allows as many.
const EMPTY_RECORDS_MAX: u8 = 32;

/// Key updates of the peer without a record of data between them.
const KEY_UPDATES_MAX: u8 = 32;

/// A handshake message after the handshake: a ticket, or a key update.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Records that one AES-GCM key may protect (RFC 8446 5.5 allows 2^24.5).
const KEY_RECORDS_MAX: u64 = 1 << 24;

const ALERT_CLOSE_NOTIFY: u8 = 0;
const ALERT_USER_CANCELED: u8 = 90;
const ALERT_NO_RENEGOTIATION: u8 = 100;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const MESSAGE_HELLO_REQUEST: u8 = 0;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const MESSAGE_NEW_SESSION_TICKET: u8 = 4;
const MESSAGE_KEY_UPDATE: u8 = 24;

/// What rustls keeps of a connection.
pub(super) enum Kernel {
    Server(Box<KernelConnection<ServerConnectionData>>),
    Client(Box<KernelConnection<ClientConnectionData>>),
}

/// The protected stream of one connection.
pub struct Session {
    kernel: Kernel,
    seal: RecordKey,
    open: RecordKey,
    version: ProtocolVersion,
    /// The beginning of a handshake message whose end has not come.
    message: Vec<u8>,
    empty_records: u8,
    key_updates: u8,
    close_sent: bool,
    close_received: bool,
}

/// What was in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Application data, at this place of the record.
    Data(Range<usize>),
    /// Nothing for the reader: a ticket, new keys, a warning.
    Nothing,
    /// The peer has said that no more will come (close_notify).
    Closed,
}

impl Session {
    pub(super) fn new(kernel: Kernel, seal: RecordKey, open: RecordKey, version: ProtocolVersion) -> Session {
        Session {
            kernel,
            seal,
            open,
            version,
            message: Vec::new(),
            empty_records: 0,
            key_updates: 0,
            close_sent: false,
            close_received: false,
        }
    }

    /// The peer said that no more will come: what ends without that was cut off (RFC 8446 6.1).
    pub fn is_closed_by_peer(&self) -> bool {
        self.close_received
    }

    /// Opens one whole record (see [`super::record_bytes`]) where it lies. What is to be answered is appended to `output`, also where it
    /// fails: the alert.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn open(&mut self, record: &mut [u8], output: &mut Vec<u8>) -> Result<Opened, TlsError> {
        if self.close_received {
            // Whatever comes after the end is ignored (RFC 8446 6.1).
            return Ok(Opened::Nothing);
        }
        let result = self.open_record(record, output);
        if let Err(error) = &result {
            self.alert(error, output);
        }
        result
    }

    fn open_record(&mut self, record: &mut [u8], output: &mut Vec<u8>) -> Result<Opened, TlsError> {
        let (kind, range) = self.open.open(record)?;
        if range.is_empty() {
            self.empty_records += 1;
            if self.empty_records > EMPTY_RECORDS_MAX {
                return Err(TlsError::EmptyRecords);
            }
        } else {
            self.empty_records = 0;
        }
        let contents = record.get(range.clone()).unwrap_or_default();
        if kind != content::HANDSHAKE && !self.message.is_empty() {
            return Err(TlsError::Unexpected("record within a handshake message"));
        }
        match kind {
            content::APPLICATION_DATA if range.is_empty() => Ok(Opened::Nothing),
            content::APPLICATION_DATA => {
                self.key_updates = 0;
                Ok(Opened::Data(range))
            }
            content::ALERT => self.on_alert(contents),
            content::HANDSHAKE => self.on_handshake(contents, output),
            _ => Err(TlsError::Unexpected("type of record")),
        }
    }

    fn on_alert(&mut self, contents: &[u8]) -> Result<Opened, TlsError> {
        match *contents {
            [_, ALERT_CLOSE_NOTIFY] => {
                self.close_received = true;
                Ok(Opened::Closed)
            }
            [_, ALERT_USER_CANCELED] => self.count_idle_record(),
            // In TLS 1.3 all others are fatal whatever they say (RFC 8446 6).
            [WARNING, _] if self.version != ProtocolVersion::TLSv1_3 => self.count_idle_record(),
            [_, alert] => Err(TlsError::Alert(alert)),
            _ => Err(TlsError::Unexpected("length of an alert")),
        }
    }

    /// Counts what has no data in it like a record without data.
    fn count_idle_record(&mut self) -> Result<Opened, TlsError> {
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES_MAX { Err(TlsError::EmptyRecords) } else { Ok(Opened::Nothing) }
    }

    fn on_handshake(&mut self, contents: &[u8], output: &mut Vec<u8>) -> Result<Opened, TlsError> {
        if self.message.len() + contents.len() > MESSAGE_BYTES_MAX {
            return Err(TlsError::HandshakeTooLong);
        }
        let mut messages = std::mem::take(&mut self.message);
        messages.extend_from_slice(contents);
        let mut rest = messages.as_slice();
        while let &[kind, a, b, c, ref behind @ ..] = rest {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MESSAGE_BYTES_MAX {
                return Err(TlsError::HandshakeTooLong);
            }
            let Some((body, behind)) = behind.split_at_checked(length) else { break };
            self.on_message(kind, body, behind.is_empty(), output)?;
            rest = behind;
        }
        self.message = rest.to_vec();
        Ok(Opened::Nothing)
    }

    fn on_message(
        &mut self,
        kind: u8,
        body: &[u8],
        last: bool,
        output: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let tls13 = self.version == ProtocolVersion::TLSv1_3;
        match (kind, &mut self.kernel) {
            (MESSAGE_NEW_SESSION_TICKET, Kernel::Client(kernel)) if tls13 => {
                self.key_updates += 1;
                if self.key_updates > KEY_UPDATES_MAX {
                    return Err(TlsError::KeyUpdates);
                }
                kernel.handle_new_session_ticket(body).map_err(Into::into)
            }
            // The message that changes the keys ends its record (RFC 8446 5.1).
            (MESSAGE_KEY_UPDATE, _) if tls13 && last => self.on_key_update(body, output),
            // Renegotiation is refused (RFC 5246 7.2.2: a warning), and who insists is counted.
            (MESSAGE_HELLO_REQUEST, Kernel::Client(_)) | (MESSAGE_CLIENT_HELLO, Kernel::Server(_))
                if !tls13 =>
            {
                self.count_idle_record()?;
                let refusal = [WARNING, ALERT_NO_RENEGOTIATION];
                self.seal.seal(content::ALERT, output, |out| out.extend_from_slice(&refusal))
            }
            _ => Err(TlsError::Unexpected("handshake message")),
        }
    }

    fn on_key_update(&mut self, body: &[u8], output: &mut Vec<u8>) -> Result<(), TlsError> {
        let &[asked @ (0 | 1)] = body else { return Err(TlsError::Unexpected("key update")) };
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES_MAX {
            return Err(TlsError::KeyUpdates);
        }
        let secrets = match &mut self.kernel {
            Kernel::Server(kernel) => kernel.update_rx_secret(),
            Kernel::Client(kernel) => kernel.update_rx_secret(),
        };
        self.open = RecordKey::new(secrets?, self.version)?;
        if asked == 1 && !self.close_sent { self.update_own_key(output) } else { Ok(()) }
    }

    /// Says that new keys follow, and takes them.
    fn update_own_key(&mut self, output: &mut Vec<u8>) -> Result<(), TlsError> {
        self.seal.seal(content::HANDSHAKE, output, |out| {
            out.extend_from_slice(&[MESSAGE_KEY_UPDATE, 0, 0, 1, 0]);
        })?;
        let secrets = match &mut self.kernel {
            Kernel::Server(kernel) => kernel.update_tx_secret(),
            Kernel::Client(kernel) => kernel.update_tx_secret(),
        };
        self.seal = RecordKey::new(secrets?, self.version)?;
        Ok(())
    }

    /// Bytes that sealing `bytes` of data takes in `output`.
    pub fn sealed_bytes(&self, bytes: usize) -> usize {
        bytes + bytes.div_ceil(DATA_BYTES_MAX) * self.seal.overhead()
    }

    /// Seals the pieces as one stretch of data, in records that are as long as may be, and appends them to `output`.
    ///
    /// # Errors
    /// After [`Session::close`], and where the key is used up.
    pub fn seal<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        output: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        if self.close_sent {
            return Err(TlsError::Unexpected("data after the end"));
        }
        let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        let mut piece: &[u8] = &[];
        let mut next = || pieces.next();
        loop {
            if piece.is_empty() {
                match next() {
                    Some(first) => piece = first,
                    None => return Ok(()),
                }
            }
            self.renew_key(output)?;
            self.seal.seal(content::APPLICATION_DATA, output, |out| {
                let mut room = DATA_BYTES_MAX;
                while room > 0 {
                    if piece.is_empty() {
                        match next() {
                            Some(following) => piece = following,
                            None => break,
                        }
                    }
                    let (taken, rest) = piece.split_at(piece.len().min(room));
                    out.extend_from_slice(taken);
                    (piece, room) = (rest, room - taken.len());
                }
            })?;
        }
    }

    fn renew_key(&mut self, output: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.seal.sequence() < KEY_RECORDS_MAX {
            return Ok(());
        }
        if self.version == ProtocolVersion::TLSv1_3 {
            self.update_own_key(output)
        } else {
            Err(TlsError::KeyUsedUp)
        }
    }

    /// Says that no more will be sent (close_notify), once.
    pub fn close(&mut self, output: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.close_sent, true) {
            let close = [WARNING, ALERT_CLOSE_NOTIFY];
            // A key that cannot seal has nothing to say: the peer sees the end without the alert.
            let _ = self.seal.seal(content::ALERT, output, |out| out.extend_from_slice(&close));
        }
    }

    fn alert(&mut self, error: &TlsError, output: &mut Vec<u8>) {
        let description = match error {
            // The peer has gone.
            TlsError::Alert(_) => return,
            TlsError::BadRecord => 20,
            TlsError::OversizedRecord => 22,
            TlsError::Rustls(_) | TlsError::KeyUsedUp => 80,
            TlsError::NotTls { .. }
            | TlsError::Unexpected(_)
            | TlsError::HandshakeTooLong
            | TlsError::EmptyRecords
            | TlsError::KeyUpdates => 10,
        };
        if !std::mem::replace(&mut self.close_sent, true) {
            let _ =
                self.seal.seal(content::ALERT, output, |out| out.extend_from_slice(&[FATAL, description]));
        }
    }
}

#[cfg(test)]
impl Session {
    pub(super) fn seal_for_test(&mut self, kind: u8, contents: &[u8], output: &mut Vec<u8>) {
        self.seal.seal(kind, output, |out| out.extend_from_slice(contents)).unwrap();
    }

    pub(super) fn update_own_key_for_test(&mut self, output: &mut Vec<u8>) {
        self.update_own_key(output).unwrap();
    }
}
