//! Heads into header blocks (RFC 9113 8): the edits are those of `http1::write_request` and `write_response`.

use crate::http1::{RequestEdits, ResponseEdits};
use crate::message::{RequestHead, ResponseHead};

/// Encodes the header blocks of one connection, in the order in which they are sent.
#[derive(Debug, Default)]
pub struct HeadEncoder {}

impl HeadEncoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE has changed.
    pub fn set_table_bytes_max(&mut self, _table_bytes_max: u32) {}

    /// Appends the block of a request.
    pub fn request(
        &mut self,
        _out: &mut Vec<u8>,
        _bytes: &[u8],
        _head: &RequestHead,
        _edits: &RequestEdits<'_>,
        _scheme: &str,
    ) {
    }

    /// Appends the block of a response.
    pub fn response(
        &mut self,
        _out: &mut Vec<u8>,
        _bytes: &[u8],
        _head: &ResponseHead,
        _edits: &ResponseEdits<'_>,
    ) {
    }

    /// Appends the block of trailers, given as `name: value\r\n` lines.
    pub fn trailers(&mut self, _out: &mut Vec<u8>, _lines: &[u8]) {}
}
