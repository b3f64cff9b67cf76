//! The driver of one HTTP/2 connection: a socket, the state machine of `ringway_protocols::http2`, and the streams that
//! exchanges hold.
//!
//! One task per connection reads, feeds the machine, tells streams what happened, and writes once per turn. An exchange
//! holds a [`StreamHandle`]: what it sends is put into the machine's output at once, and the connection's task hands
//! everything of a turn to the socket in one piece.
//!
//! Both roles are here: [`server::serve`] for clients, [`client::connect_client`] for origins.
//!
//! What a connection holds is bounded. Towards its socket: the worker's window, one frame for each stream that was given its
//! turn, and heads. Received and not read: each stream its window, so `streams` times `stream_window` and what the windows
//! have grown by, which is `connection_window` at most for all of them; and for all connections of a worker together
//! `worker_bytes_max`, beyond which a stream that nobody reads is reset.
//!
//! **Invariant:** the socket belongs to the connection's task. A handle never touches it, so a connection that ends
//! closes its socket at once, whoever still holds a stream of it.

pub mod client;
mod connection;
mod counts;
mod dispatch;
mod driver;
mod handle;
pub mod heads;
mod inbox;
mod output;
pub mod server;
pub mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientTimes, connect_client};
pub use connection::{Connection, QueueLimits};
pub use handle::StreamHandle;
pub use heads::{ReceivedRequest, ReceivedResponse};
pub use inbox::BodyPiece;
pub use ringway_protocols::http2::{ConnectionConfig, ErrorCode, StreamKey};
pub use stream::StreamError;
