//! HTTP/2 (RFC 9113): pure state machines, bytes in, bytes and verdicts out.

mod abuse;
mod connection;
mod encode;
mod error;
mod head;
pub mod hpack;
mod settings;

pub use abuse::{ABUSE_PERIOD_S, Abuse, AbuseLimits};
pub use connection::{Connection, ConnectionConfig, DRAIN_PING, Event, PREFACE, Role, Step, StreamKey};
pub use encode::HeadEncoder;
pub use error::{ConnectionError, ErrorCode, StreamGone};
pub use head::{HeadDecoder, HeadError, Malformed};
pub use settings::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, PeerSettings, WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX};
