//! Records: how they are framed, sealed and opened (RFC 8446 5, RFC 5246 6.2, RFC 5288, RFC 7905).

use std::ops::Range;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

use super::TlsError;

/// Bytes in front of every record: type, version, length.
pub const RECORD_HEADER_BYTES: usize = 5;

/// Data of one record (RFC 8446 5.1).
pub(super) const DATA_BYTES_MAX: usize = 1 << 14;

/// The longest record that a peer may send, header included (RFC 5246 6.2.3: 2^14 + 2048; RFC 8446 5.2 allows less).
pub const RECORD_BYTES_MAX: usize = RECORD_HEADER_BYTES + DATA_BYTES_MAX + 2048;

/// Tag of every cipher that is spoken here.
const TAG_BYTES: usize = 16;

/// AES-GCM in TLS 1.2 sends a part of the nonce with each record (RFC 5288 3).
const EXPLICIT_NONCE_BYTES: usize = 8;

pub(super) mod content {
    pub(in crate::tls) const ALERT: u8 = 21;
    pub(in crate::tls) const HANDSHAKE: u8 = 22;
    pub(in crate::tls) const APPLICATION_DATA: u8 = 23;
}

/// Length of the record that `bytes` begins with, header included; `None` while the header is incomplete.
///
/// # Errors
/// [`TlsError::OversizedRecord`].
pub fn record_bytes(bytes: &[u8]) -> Result<Option<usize>, TlsError> {
    let &[_, _, _, high, low, ..] = bytes else { return Ok(None) };
    let total = RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if total > RECORD_BYTES_MAX { Err(TlsError::OversizedRecord) } else { Ok(Some(total)) }
}

/// The key of one direction, and what makes each nonce unique.
pub(super) struct RecordKey {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    protection: Protection,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protection {
    Tls13,
    Tls12Gcm,
    Tls12ChaCha,
}

impl RecordKey {
    pub(super) fn new(
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        version: ProtocolVersion,
    ) -> Result<RecordKey, TlsError> {
        let (algorithm, key, iv, gcm) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv, true),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv, true),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv, false)
            }
            _ => return Err(unsupported()),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unsupported())?;
        let iv = iv.as_ref().try_into().map_err(|_| unsupported())?;
        let protection = match (version == ProtocolVersion::TLSv1_3, gcm) {
            (true, _) => Protection::Tls13,
            (false, true) => Protection::Tls12Gcm,
            (false, false) => Protection::Tls12ChaCha,
        };
        Ok(RecordKey { key: LessSafeKey::new(key), iv, sequence, protection })
    }

    /// Records that this key has protected.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes that protection adds to a record of data, its header included.
    pub(super) fn overhead(&self) -> usize {
        match self.protection {
            Protection::Tls13 => RECORD_HEADER_BYTES + 1 + TAG_BYTES,
            Protection::Tls12Gcm => RECORD_HEADER_BYTES + EXPLICIT_NONCE_BYTES + TAG_BYTES,
            Protection::Tls12ChaCha => RECORD_HEADER_BYTES + TAG_BYTES,
        }
    }

    /// Appends one record. `fill` appends its contents, at most 2^14 bytes.
    pub(super) fn seal(
        &mut self,
        kind: u8,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TlsError> {
        let start = out.len();
        let nonce = self.nonce();
        let outer = if self.protection == Protection::Tls13 { content::APPLICATION_DATA } else { kind };
        out.extend_from_slice(&[outer, 3, 3, 0, 0]);
        if self.protection == Protection::Tls12Gcm {
            out.extend_from_slice(&nonce[4..]);
        }
        let body = out.len();
        fill(out);
        let data_bytes = out.len() - body;
        debug_assert!(data_bytes <= DATA_BYTES_MAX);
        if self.protection == Protection::Tls13 {
            out.push(kind);
        }
        let length = (out.len() + TAG_BYTES - start - RECORD_HEADER_BYTES) as u16;
        out[start + 3..start + 5].copy_from_slice(&length.to_be_bytes());
        let (front, sealed) = out.split_at_mut(body);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = if self.protection == Protection::Tls13 {
            self.key.seal_in_place_separate_tag(nonce, Aad::from(&front[start..]), sealed)
        } else {
            let aad = self.aad12(kind, data_bytes);
            self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), sealed)
        };
        let tag = tag.map_err(|_| unsupported())?;
        out.extend_from_slice(tag.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// Opens a whole record where it lies: its type, and where its contents are.
    ///
    /// # Errors
    /// [`TlsError::BadRecord`] where it was not sealed with this key at this place in the sequence.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), TlsError> {
        let Some((header, sealed)) = record.split_first_chunk_mut::<RECORD_HEADER_BYTES>() else {
            return Err(TlsError::BadRecord);
        };
        let outer = header[0];
        let mut nonce = self.nonce();
        let mut front = RECORD_HEADER_BYTES;
        let opened = match self.protection {
            Protection::Tls13 => {
                if outer != content::APPLICATION_DATA {
                    return Err(TlsError::Unexpected("record in the clear"));
                }
                self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&*header), sealed)
            }
            Protection::Tls12Gcm => {
                let Some((explicit, sealed)) = sealed.split_first_chunk_mut::<EXPLICIT_NONCE_BYTES>() else {
                    return Err(TlsError::BadRecord);
                };
                nonce[4..].copy_from_slice(explicit);
                front += EXPLICIT_NONCE_BYTES;
                let data_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or(TlsError::BadRecord)?;
                let aad = self.aad12(outer, data_bytes);
                self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed)
            }
            Protection::Tls12ChaCha => {
                let data_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or(TlsError::BadRecord)?;
                let aad = self.aad12(outer, data_bytes);
                self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed)
            }
        };
        let data = opened.map_err(|_| TlsError::BadRecord)?;
        self.sequence += 1;
        let (kind, length) = if self.protection == Protection::Tls13 {
            // The type is the last byte that is not padding (RFC 8446 5.4).
            let end = data.iter().rposition(|byte| *byte != 0);
            let end = end.ok_or(TlsError::Unexpected("record without a type"))?;
            (data[end], end)
        } else {
            (outer, data.len())
        };
        if length > DATA_BYTES_MAX {
            return Err(TlsError::OversizedRecord);
        }
        Ok((kind, front..front + length))
    }

    /// The initialization vector with the sequence number in it (RFC 8446 5.3).
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, count) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= count;
        }
        nonce
    }

    /// What TLS 1.2 authenticates beside the data (RFC 5246 6.2.3.3).
    fn aad12(&self, kind: u8, data_bytes: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8..11].copy_from_slice(&[kind, 3, 3]);
        aad[11..].copy_from_slice(&(data_bytes as u16).to_be_bytes());
        aad
    }
}

fn unsupported() -> TlsError {
    TlsError::Rustls(rustls::Error::General("the cipher is not one of this record layer".into()))
}
