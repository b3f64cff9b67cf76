//! What the state machines of connections are built with. All of it is in the configuration.

use ringway_protocols::http2::ConnectionConfig;

use crate::config::{ClusterConfig, Http2Config, ListenerConfig};

/// What a listener does with HTTP/2.
pub fn of(config: &ListenerConfig) -> &Http2Config {
    &config.http2
}

/// What the machine of a client's connection is built with.
pub(super) fn machine(config: &ListenerConfig) -> ConnectionConfig {
    config.http2.machine
}

/// What the machine of a connection to an origin is built with.
pub fn upstream(config: &ClusterConfig) -> ConnectionConfig {
    config.multiplex.machine
}
