//! Wire protocols as pure functions and state machines: bytes in, verdicts and ranges out.
//!
//! **Invariant:** nothing here opens a socket, spawns, reads a clock or takes a lock, and nothing a peer sends
//! makes it panic.
#![forbid(unsafe_code)]

pub mod authority;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod message;
pub mod proxy_protocol;
pub mod tls;
pub mod websocket;
