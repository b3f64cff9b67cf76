//! From the settings of a listener to what the state machine is built with.

use std::time::Duration;

use ringway_protocols::http1::{HeadLimits, TrailerLimits};
use ringway_protocols::http2::{AbuseLimits, ConnectionConfig};

use crate::config::ListenerConfig;

/// What a listener does with HTTP/2.
pub struct Settings {
    pub enabled: bool,
    pub upgrade: bool,
    pub settings_timeout: Duration,
    pub connection_age: Duration,
    pub age_grace: Duration,
}

pub fn of(_config: &ListenerConfig) -> Settings {
    Settings {
        enabled: true,
        upgrade: false,
        settings_timeout: Duration::from_secs(10),
        connection_age: Duration::ZERO,
        age_grace: Duration::from_secs(10),
    }
}

/// What the machine of a client's connection is built with.
pub(super) fn machine(config: &ListenerConfig) -> ConnectionConfig {
    let limits = &config.limits;
    ConnectionConfig {
        streams_max: 100,
        stream_window: 64 << 10,
        stream_window_max: 1 << 20,
        connection_window: 1 << 20,
        frame_bytes_max: 16 << 10,
        header_table_bytes: 4096,
        head_limits: HeadLimits {
            bytes_max: limits.header_bytes_max,
            fields_max: limits.header_count_max,
            target_bytes_max: limits.target_bytes_max,
        },
        trailer_limits: TrailerLimits {
            bytes_max: limits.header_bytes_max,
            fields_max: limits.header_count_max,
        },
        connect_protocol: true,
        queued_control_bytes_max: 64 << 10,
        abuse: AbuseLimits::default(),
    }
}
