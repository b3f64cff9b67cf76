//! What the end-to-end tests share: a running Ringway, a client that says exactly what it is told, and an origin
//! that records every byte it gets.
//!
//! **Invariant:** nothing here uses Ringway's own parsers, so that a test never checks a rule with the code under test.

pub mod certificates;
pub mod client;
pub mod dns;
pub mod either;
pub mod grpcio;
pub mod hpack;
pub mod http;
pub mod http2;
pub mod http2_hostile;
pub mod http2_origin;
pub mod origin;
pub mod peers;
pub mod plain_codec;
pub mod process;
pub mod proxy;
pub mod spellings;
pub mod stats;
pub mod temp;
pub mod tls;
pub mod wait;
pub mod wire;

pub use client::Client;
pub use http::{Request, Response};
pub use origin::{Conn, Origin};
pub use proxy::{Io, Proxy, Ringway};

/// Runs each named test once per driver: `fn name(io: Io)` becomes `on_uring::name` and `on_epoll::name`.
///
/// With `RINGWAY_TEST_IO=driver` everything runs on that driver, once.
#[macro_export]
macro_rules! each_driver {
    ($($test:ident),* $(,)?) => {
        mod on_uring {
            $(#[test] fn $test() { $crate::proxy::on_driver($crate::Io::Uring, super::$test) })*
        }
        mod on_epoll {
            $(#[test] fn $test() { $crate::proxy::on_driver($crate::Io::Epoll, super::$test) })*
        }
    };
}
