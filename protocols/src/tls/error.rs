//! What goes wrong with TLS, in the words of an operator.

use std::fmt;

/// Why a TLS connection ended. The alert that tells the peer, if one is due, is in the output already.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsError {
    /// The first bytes are no TLS record; true when they look like an HTTP request in the clear.
    NotTls { http: bool },
    /// rustls refused: the handshake, a certificate, a key update.
    Rustls(rustls::Error),
    /// A record is longer than RFC 8446 5.2 allows.
    OversizedRecord,
    /// A record did not open: it was changed on its way, or belongs to another connection.
    BadRecord,
    /// The peer sent what it may not send after the handshake.
    Unexpected(&'static str),
    /// The peer ended the connection with a fatal alert.
    Alert(u8),
    /// Handshake messages came in more bytes or records than any real peer sends.
    HandshakeTooLong,
    /// Many records in a row without data.
    EmptyRecords,
    /// The peer asked for new keys again and again.
    KeyUpdates,
    /// As many records as one key may protect were sent (RFC 8446 5.5), and this version has no other key.
    KeyUsedUp,
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        TlsError::Rustls(error)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::NotTls { http: true } => f.write_str("a plain HTTP request where TLS is spoken"),
            TlsError::NotTls { http: false } => f.write_str("the first bytes are not TLS"),
            TlsError::Rustls(error) => error.fmt(f),
            TlsError::OversizedRecord => f.write_str("a record is longer than TLS allows"),
            TlsError::BadRecord => f.write_str("a record could not be decrypted"),
            TlsError::Unexpected(what) => write!(f, "unexpected {what} after the handshake"),
            TlsError::Alert(alert) => {
                write!(f, "the peer sent the alert {:?}", rustls::AlertDescription::from(*alert))
            }
            TlsError::HandshakeTooLong => f.write_str("the handshake came in too many bytes or records"),
            TlsError::EmptyRecords => f.write_str("too many records without data"),
            TlsError::KeyUpdates => f.write_str("too many key updates"),
            TlsError::KeyUsedUp => f.write_str("the key has protected as many records as it may"),
        }
    }
}

impl std::error::Error for TlsError {}
