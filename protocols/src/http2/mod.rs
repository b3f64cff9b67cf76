//! HTTP/2 (RFC 9113): pure state machines, bytes in, bytes and verdicts out.
//!
//! [`Connection`] is one connection, either role: frames, streams, flow control, and what a peer may cost. It is given
//! received bytes and the time, and returns events; what it has to say collects in an output buffer. Bodies stay where
//! they are: received DATA is a range of the input, and DATA that is sent is only a header here. [`HeadDecoder`] and
//! [`HeadEncoder`] turn header blocks into heads of the version-neutral message and back.
//!
//! **Invariant:** what one connection holds is bounded, whatever the peer sends:
//!
//! | what | bytes at most |
//! |---|---|
//! | a frame that came in part | `frame_bytes_max` |
//! | a header block in CONTINUATION frames | the larger of the head and trailer limits + 16 KiB |
//! | the last head or trailers, until taken | the limits of heads and trailers |
//! | the decoder's dynamic table | `header_table_bytes` |
//! | streams | 2 × `streams_max` places of 40 bytes, with their index |
//! | the memory of resets | 64 entries of 12 bytes |
//! | control frames in the output | `queued_control_bytes_max`, and what one frame more can cause |
//!
//! The bodies are the owner's: a stream cannot have more unread bytes than its window, and windows are in sum at most
//! `streams_max` × `stream_window` + the larger of `stream_window_max` and `connection_window`, however they grow; twice
//! the first part where as many streams again have ended from both ends and are not released.
//! Heads in the output are the owner's, too: one for each of its calls.

mod abuse;
mod config;
mod connection;
mod encode;
mod error;
mod event;
mod flow;
pub mod frame;
mod head;
pub mod hpack;
mod settings;
mod stream;
mod streams;
mod words;

pub use abuse::{ABUSE_PERIOD_S, Abuse, AbuseLimits};
pub use config::{ConnectionConfig, Role};
pub use connection::{Connection, DRAIN_PING, PREFACE};
pub use encode::HeadEncoder;
pub use error::{ConnectionError, ErrorCode, StreamGone};
pub use event::{Event, Step};
pub use head::{HeadDecoder, HeadError, Malformed};
pub use settings::{
    FRAME_BYTES_MAX, FRAME_BYTES_MIN, PeerSettings, WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX, setting,
};
pub use stream::StreamKey;
