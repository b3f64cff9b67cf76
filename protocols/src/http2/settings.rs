//! SETTINGS (RFC 9113 6.5): the peer's, checked, and ours.

use super::config::{ConnectionConfig, Role};
use super::error::{ConnectionError, ErrorCode};
use super::frame::write_settings;

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

/// Setting identifiers (RFC 9113 6.5.2).
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    pub const ENABLE_PUSH: u16 = 0x2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// RFC 8441 3.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
    /// RFC 9218 2.1.
    pub const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// What a SETTINGS payload changed that others have to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Changes {
    /// The smallest SETTINGS_HEADER_TABLE_SIZE within the payload: the encoder has to come down to it even where a
    /// later one is larger (RFC 7541 4.2).
    pub(super) smallest_table_bytes: Option<u32>,
}

impl PeerSettings {
    /// Takes the payload of a SETTINGS frame, whose length is a multiple of six. `role` is ours.
    pub(super) fn apply(&mut self, payload: &[u8], role: Role) -> Result<Changes, ConnectionError> {
        let mut changes = Changes::default();
        let (entries, _) = payload.as_chunks::<6>();
        for &[id_high, id_low, a, b, c, d] in entries {
            let value = u32::from_be_bytes([a, b, c, d]);
            match u16::from_be_bytes([id_high, id_low]) {
                setting::HEADER_TABLE_SIZE => {
                    self.header_table_bytes = value;
                    let smallest = changes.smallest_table_bytes.unwrap_or(value);
                    changes.smallest_table_bytes = Some(smallest.min(value));
                }
                setting::ENABLE_PUSH => check_push(value, role)?,
                setting::MAX_CONCURRENT_STREAMS => self.streams_max = Some(value),
                setting::INITIAL_WINDOW_SIZE if value > WINDOW_BYTES_MAX => {
                    return Err(ConnectionError::new(
                        ErrorCode::FlowControlError,
                        "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1 (RFC 9113 6.5.2)",
                    ));
                }
                setting::INITIAL_WINDOW_SIZE => self.stream_window = value,
                setting::MAX_FRAME_SIZE if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&value) => {
                    return Err(ConnectionError::protocol(
                        "SETTINGS_MAX_FRAME_SIZE out of range (RFC 9113 6.5.2)",
                    ));
                }
                setting::MAX_FRAME_SIZE => self.frame_bytes_max = value,
                setting::MAX_HEADER_LIST_SIZE => self.header_list_bytes_max = Some(value),
                setting::ENABLE_CONNECT_PROTOCOL => self.set_connect_protocol(value)?,
                setting::NO_RFC7540_PRIORITIES if value > 1 => {
                    return Err(ConnectionError::protocol(
                        "SETTINGS_NO_RFC7540_PRIORITIES neither 0 nor 1 (RFC 9218 2.1)",
                    ));
                }
                // RFC 9113 6.5.2: unknown settings are ignored.
                _ => {}
            }
        }
        Ok(changes)
    }

    fn set_connect_protocol(&mut self, value: u32) -> Result<(), ConnectionError> {
        if value > 1 {
            return Err(ConnectionError::protocol(
                "SETTINGS_ENABLE_CONNECT_PROTOCOL neither 0 nor 1 (RFC 8441 3)",
            ));
        }
        if self.connect_protocol && value == 0 {
            return Err(ConnectionError::protocol(
                "SETTINGS_ENABLE_CONNECT_PROTOCOL taken back (RFC 8441 3)",
            ));
        }
        self.connect_protocol = value == 1;
        Ok(())
    }
}

/// A client may say 0 or 1, a server only 0. We never push, so neither is kept.
fn check_push(value: u32, role: Role) -> Result<(), ConnectionError> {
    let largest = match role {
        Role::Server => 1,
        Role::Client => 0,
    };
    if value > largest {
        return Err(ConnectionError::protocol("SETTINGS_ENABLE_PUSH out of range (RFC 9113 6.5.2)"));
    }
    Ok(())
}

/// Appends our SETTINGS: what differs from the initial values.
pub(super) fn write_own(out: &mut Vec<u8>, config: &ConnectionConfig, role: Role) {
    // At most one entry per setting that we know.
    let mut settings = [(0, 0); 7];
    let mut count = 0;
    let mut push = |id: u16, value: u32, wanted: bool| {
        if wanted && let Some(entry) = settings.get_mut(count) {
            *entry = (id, value);
            count += 1;
        }
    };
    let server = role == Role::Server;
    push(setting::HEADER_TABLE_SIZE, config.header_table_bytes, config.header_table_bytes != 4096);
    push(setting::ENABLE_PUSH, 0, !server);
    push(setting::MAX_CONCURRENT_STREAMS, config.streams_max, server);
    push(setting::INITIAL_WINDOW_SIZE, config.stream_window, config.stream_window != WINDOW_BYTES_INITIAL);
    push(setting::MAX_FRAME_SIZE, config.frame_bytes_max, config.frame_bytes_max != FRAME_BYTES_MIN);
    push(setting::MAX_HEADER_LIST_SIZE, config.head_limits.bytes_max, true);
    push(setting::ENABLE_CONNECT_PROTOCOL, 1, server && config.connect_protocol);
    write_settings(out, settings.get(..count).unwrap_or_default());
}
