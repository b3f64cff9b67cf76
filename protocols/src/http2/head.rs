//! Header blocks into heads (RFC 9113 8): an HTTP/1.1 rendition in the caller's bytes, and ranges over it.

use super::hpack::CompressionError;
use crate::http1::{HeadLimits, TrailerLimits};
use crate::message::{Method, RequestHead, ResponseHead};

/// Why a header block is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadError {
    /// The dynamic table is lost: a connection error COMPRESSION_ERROR (RFC 9113 4.3).
    Compression(CompressionError),
    /// The message is malformed: a stream error PROTOCOL_ERROR (RFC 9113 8.1.1).
    Malformed(Malformed),
    /// The header list is larger than `HeadLimits::bytes_max` (431).
    TooLarge,
    /// More fields than `HeadLimits::fields_max` (431).
    TooManyFields,
    /// The path is longer than `HeadLimits::target_bytes_max` (414).
    TargetTooLong,
    /// `Expect` is something other than `100-continue` (417, RFC 9110 10.1.1).
    UnknownExpectation,
}

/// The rule of RFC 9113 8 that a message breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// A name is empty or not a token (RFC 9113 8.2.1).
    InvalidName,
}

/// Decodes the header blocks of one connection, in the order in which they arrive.
#[derive(Debug)]
pub struct HeadDecoder {}

impl HeadDecoder {
    /// `header_table_bytes_max` is what our SETTINGS_HEADER_TABLE_SIZE announces.
    pub fn new(_header_table_bytes_max: u32) -> HeadDecoder {
        HeadDecoder {}
    }

    /// The peer has acknowledged our settings: from now on it keeps to our table size, and a smaller one than the
    /// initial has to be followed at the start of the next block (RFC 7541 4.2).
    pub fn settings_acknowledged(&mut self) {}

    /// Reads a request; `connect_protocol` says whether extended CONNECT is on (RFC 8441 3).
    pub fn request(
        &mut self,
        _block: &[u8],
        _limits: &HeadLimits,
        _end_stream: bool,
        _connect_protocol: bool,
        _head: &mut RequestHead,
        _bytes: &mut Vec<u8>,
    ) -> Result<(), HeadError> {
        Err(HeadError::Malformed(Malformed::InvalidName))
    }

    /// Reads a response to a request of this method; an interim one is a head of its own.
    pub fn response(
        &mut self,
        _block: &[u8],
        _limits: &HeadLimits,
        _end_stream: bool,
        _method: Method,
        _head: &mut ResponseHead,
        _bytes: &mut Vec<u8>,
    ) -> Result<(), HeadError> {
        Err(HeadError::Malformed(Malformed::InvalidName))
    }

    /// Reads trailers into `name: value\r\n` lines.
    pub fn trailers(
        &mut self,
        _block: &[u8],
        _limits: &TrailerLimits,
        _lines: &mut Vec<u8>,
    ) -> Result<(), HeadError> {
        Err(HeadError::Malformed(Malformed::InvalidName))
    }

    /// Reads the block of a stream that is gone, so that the dynamic table stays in step.
    pub fn discard(&mut self, _block: &[u8]) -> Result<(), HeadError> {
        Ok(())
    }
}
