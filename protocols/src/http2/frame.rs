//! Frames (RFC 9113 4.1, 6): the header, the types, and the small ones written out.
//!
//! ```text
//! +-----------------------------------------------+
//! |                 Length (24)                   |
//! +---------------+---------------+---------------+
//! |   Type (8)    |   Flags (8)   |
//! +-+-------------+---------------+-------------------------------+
//! |R|                 Stream Identifier (31)                      |
//! +=+=============================================================+
//! |                   Frame Payload (0...)                      ...
//! +---------------------------------------------------------------+
//! ```

use super::error::ErrorCode;

/// Bytes of a frame header.
pub const FRAME_HEADER_BYTES: usize = 9;

/// The largest stream identifier.
pub const STREAM_ID_MAX: u32 = (1 << 31) - 1;

/// Frame types (RFC 9113 6).
pub mod kind {
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const PRIORITY: u8 = 0x2;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PUSH_PROMISE: u8 = 0x5;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
    pub const CONTINUATION: u8 = 0x9;
    /// RFC 9218 7.1.
    pub const PRIORITY_UPDATE: u8 = 0x10;
}

/// Frame flags. The same bit means different things in different types; undefined ones are ignored.
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// The first nine bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of payload, 24 bits.
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    /// Without the reserved bit, which is ignored (RFC 9113 4.1).
    pub id: u32,
}

impl FrameHeader {
    /// Reads a header. Two loads and shifts: the compiler makes no bounds check here.
    #[inline]
    pub fn parse(bytes: &[u8; FRAME_HEADER_BYTES]) -> FrameHeader {
        let [a, b, c, kind, flags, d, e, f, g] = *bytes;
        FrameHeader {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            id: u32::from_be_bytes([d, e, f, g]) & STREAM_ID_MAX,
        }
    }

    /// The header as it is sent. `length` has to fit in 24 bits.
    #[inline]
    pub fn bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        debug_assert!(self.length < 1 << 24, "a frame has 24 bits for its length");
        let [_, a, b, c] = self.length.to_be_bytes();
        let [d, e, f, g] = self.id.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }

    #[inline]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends the header of a frame.
#[inline]
pub fn write_header(out: &mut Vec<u8>, length: u32, kind: u8, flags: u8, id: u32) {
    out.extend_from_slice(&FrameHeader { length, kind, flags, id }.bytes());
}

/// Appends a RST_STREAM.
pub fn write_reset(out: &mut Vec<u8>, id: u32, code: ErrorCode) {
    write_word(out, kind::RST_STREAM, id, code.code());
}

/// Appends a WINDOW_UPDATE; `id` 0 is the connection.
#[inline]
pub fn write_window_update(out: &mut Vec<u8>, id: u32, increment: u32) {
    write_word(out, kind::WINDOW_UPDATE, id, increment);
}

/// Appends a PING or its answer.
pub fn write_ping(out: &mut Vec<u8>, payload: [u8; 8], ack: bool) {
    write_header(out, 8, kind::PING, if ack { flag::ACK } else { 0 }, 0);
    out.extend_from_slice(&payload);
}

/// Appends a GOAWAY without debug data.
pub fn write_goaway(out: &mut Vec<u8>, last: u32, code: ErrorCode) {
    write_header(out, 8, kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.code().to_be_bytes());
}

/// Appends a SETTINGS frame of these identifiers and values.
pub fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    write_header(out, settings.len() as u32 * 6, kind::SETTINGS, 0, 0);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of the peer's SETTINGS.
pub fn write_settings_ack(out: &mut Vec<u8>) {
    write_header(out, 0, kind::SETTINGS, flag::ACK, 0);
}

/// One four-byte field behind the header, written in one piece.
#[inline]
fn write_word(out: &mut Vec<u8>, kind: u8, id: u32, word: u32) {
    let mut bytes = [0; FRAME_HEADER_BYTES + 4];
    if let Some((head, tail)) = bytes.split_first_chunk_mut::<FRAME_HEADER_BYTES>() {
        *head = FrameHeader { length: 4, kind, flags: 0, id }.bytes();
        tail.copy_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(&bytes);
}

/// Turns the block that was appended behind a gap of [`FRAME_HEADER_BYTES`] at `start` into a HEADERS frame, and into
/// CONTINUATION frames what is beyond the peer's frame size (RFC 9113 4.3).
pub fn frame_block(out: &mut Vec<u8>, start: usize, id: u32, end_stream: bool, frame_bytes_max: u32) {
    let frame_bytes_max = frame_bytes_max as usize;
    let length = out.len().saturating_sub(start + FRAME_HEADER_BYTES);
    let end = if end_stream { flag::END_STREAM } else { 0 };
    let first = length.min(frame_bytes_max);
    let end_headers = if first == length { flag::END_HEADERS } else { 0 };
    let header = FrameHeader { length: first as u32, kind: kind::HEADERS, flags: end | end_headers, id };
    if let Some(gap) = out.get_mut(start..start + FRAME_HEADER_BYTES) {
        gap.copy_from_slice(&header.bytes());
    }
    if first == length {
        return;
    }
    // Rare: heads beyond 16 KiB. What does not fit is copied once more.
    let rest = out.split_off(start + FRAME_HEADER_BYTES + first);
    let mut pieces = rest.chunks(frame_bytes_max).peekable();
    while let Some(piece) = pieces.next() {
        let end_headers = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        write_header(out, piece.len() as u32, kind::CONTINUATION, end_headers, id);
        out.extend_from_slice(piece);
    }
}
