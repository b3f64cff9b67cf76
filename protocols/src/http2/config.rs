//! What a connection announces and allows.

use super::abuse::AbuseLimits;
use super::settings::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX};
use crate::http1::{HeadLimits, TrailerLimits};

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// What a connection announces and allows. Values that the RFC does not have are brought into its range by
/// [`Connection::new`](super::Connection::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Streams at a time. Server: announced. Client: what we open at most, whatever the peer allows.
    pub streams_max: u32,
    /// SETTINGS_INITIAL_WINDOW_SIZE: what a stream may hold back before its reader has to read.
    pub stream_window: u32,
    /// How far a stream's window may grow with the bandwidth-delay product. Not larger than `stream_window`: fixed.
    pub stream_window_max: u32,
    /// The window of the connection, at least 65,535 bytes (RFC 9113 6.9.2 has no way to make it smaller). Refilled on
    /// receipt: it bounds what is in flight, not what is held.
    pub connection_window: u32,
    /// SETTINGS_MAX_FRAME_SIZE, 16 KiB to 16 MiB - 1.
    pub frame_bytes_max: u32,
    /// SETTINGS_HEADER_TABLE_SIZE: the bound of our decoder's dynamic table.
    pub header_table_bytes: u32,
    /// Announced as SETTINGS_MAX_HEADER_LIST_SIZE.
    pub head_limits: HeadLimits,
    pub trailer_limits: TrailerLimits,
    /// Server: announce and accept extended CONNECT (RFC 8441).
    pub connect_protocol: bool,
    /// Bytes of control frames that may wait in the output.
    pub queued_control_bytes_max: u32,
    pub abuse: AbuseLimits,
}

impl ConnectionConfig {
    /// The configuration with every value in the range of RFC 9113 6.5.2.
    pub(super) fn in_range(&self) -> ConnectionConfig {
        let stream_window = self.stream_window.min(WINDOW_BYTES_MAX);
        ConnectionConfig {
            streams_max: self.streams_max.clamp(1, STREAMS_MAX),
            stream_window,
            stream_window_max: self.stream_window_max.clamp(stream_window, WINDOW_BYTES_MAX),
            connection_window: self.connection_window.clamp(WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX),
            frame_bytes_max: self.frame_bytes_max.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX),
            ..*self
        }
    }

    /// Bytes of one encoded header block: what the limits can decode to, and a frame more, so that a head that is only
    /// somewhat too large is answered and not the end of the connection.
    pub(super) fn block_bytes_max(&self) -> usize {
        let decoded = self.head_limits.bytes_max.max(self.trailer_limits.bytes_max);
        decoded.saturating_add(FRAME_BYTES_MIN) as usize
    }
}

/// More streams than any table here should have.
const STREAMS_MAX: u32 = 1 << 20;
