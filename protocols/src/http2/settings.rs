//! SETTINGS (RFC 9113 6.5): the peer's, checked, and ours.

/// The largest flow-control window (RFC 9113 6.9.1).
pub const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
/// The window of a connection, and of a stream until the settings are known (RFC 9113 6.9.2).
pub const WINDOW_BYTES_INITIAL: u32 = 65_535;
/// The smallest SETTINGS_MAX_FRAME_SIZE, and its initial value (RFC 9113 6.5.2).
pub const FRAME_BYTES_MIN: u32 = 1 << 14;
/// The largest SETTINGS_MAX_FRAME_SIZE (RFC 9113 6.5.2).
pub const FRAME_BYTES_MAX: u32 = (1 << 24) - 1;

/// What the peer has announced; the initial values of RFC 9113 6.5.2 until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSettings {
    /// SETTINGS_HEADER_TABLE_SIZE: what its decoder allows our encoder.
    pub header_table_bytes: u32,
    /// SETTINGS_MAX_CONCURRENT_STREAMS; none: not limited.
    pub streams_max: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub stream_window: u32,
    /// SETTINGS_MAX_FRAME_SIZE.
    pub frame_bytes_max: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE, which is advice; none: not limited.
    pub header_list_bytes_max: Option<u32>,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 3).
    pub connect_protocol: bool,
}

impl Default for PeerSettings {
    fn default() -> PeerSettings {
        PeerSettings {
            header_table_bytes: 4096,
            streams_max: None,
            stream_window: WINDOW_BYTES_INITIAL,
            frame_bytes_max: FRAME_BYTES_MIN,
            header_list_bytes_max: None,
            connect_protocol: false,
        }
    }
}
