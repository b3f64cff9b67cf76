//! A protocol as the tester's client speaks it: bytes in, ended requests out. No socket and no clock.

pub mod http1;
pub mod http2;
pub mod websocket;

use std::time::Instant;

use http1::Http1;
use http2::Http2;
use websocket::WebSocket;

use super::request::Rendered;
use super::totals::Failure;

/// What the client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    #[default]
    #[value(name = "http1", alias = "h1", alias = "http/1.1")]
    Http1,
    #[value(name = "h2", alias = "http2", alias = "h2c")]
    Http2,
    Grpc,
    #[value(name = "ws", alias = "websocket")]
    WebSocket,
}

/// A request that has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// What [`Codec::start`] was given.
    pub tag: u32,
    /// The HTTP status, that of gRPC, or 0 where the protocol has none.
    pub status: u16,
    pub body_bytes: u64,
    pub failure: Option<Failure>,
    /// The body, where [`CodecConfig::keep_body`] asks for it.
    pub body: Vec<u8>,
}

/// What a connection's codec is made from.
#[derive(Clone, Debug)]
pub struct CodecConfig {
    pub protocol: Protocol,
    /// Requests at a time: the depth of a pipeline, or streams.
    pub streams: u32,
    pub keep_body: bool,
    pub authority: String,
    pub path: String,
    /// Of a WebSocket's handshake; requests have their own.
    pub handshake_fields: Vec<(String, String)>,
    /// For `:scheme`.
    pub tls: bool,
}

impl CodecConfig {
    /// Whether the user has said what a field of the handshake is.
    pub fn gives(&self, name: &str) -> bool {
        self.handshake_fields.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }
}

/// The state of one connection.
pub enum Codec {
    Http1(Http1),
    Http2(Box<Http2>),
    WebSocket(WebSocket),
}

/// Bodies are kept for assertions up to here.
pub const KEPT_BYTES_MAX: usize = 1 << 20;

impl Codec {
    /// A new connection; what it has to say first is appended to `out`.
    pub fn new(config: &CodecConfig, seed: u64, now: Instant, out: &mut Vec<u8>) -> Codec {
        match config.protocol {
            Protocol::Http1 => Codec::Http1(Http1::new(config.streams, config.keep_body)),
            Protocol::Http2 | Protocol::Grpc => Codec::Http2(Box::new(Http2::new(config, now, out))),
            Protocol::WebSocket => Codec::WebSocket(WebSocket::new(config, seed, out)),
        }
    }

    /// Whether a request may start now.
    pub fn can_start(&self) -> bool {
        match self {
            Codec::Http1(http1) => http1.can_start(),
            Codec::Http2(http2) => http2.can_start(),
            Codec::WebSocket(websocket) => websocket.can_start(),
        }
    }

    pub fn start(&mut self, tag: u32, request: &Rendered, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Codec::Http1(http1) => http1.start(tag, request, out),
            Codec::Http2(http2) => http2.start(tag, request, out),
            Codec::WebSocket(websocket) => websocket.start(tag, request, out),
        }
    }

    /// Takes received bytes. A failure is the connection's.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Failure> {
        match self {
            Codec::Http1(http1) => http1.receive(bytes, ended),
            Codec::Http2(http2) => http2.receive(bytes, now, out, ended),
            Codec::WebSocket(websocket) => websocket.receive(bytes, out, ended),
        }
    }

    /// The peer's end of the connection: it may be the end of a body.
    pub fn end(&mut self, ended: &mut Vec<Ended>) {
        if let Codec::Http1(http1) = self {
            http1.end(ended);
        }
    }

    /// Whether the peer has said that it takes no further request here.
    pub fn is_closing(&self) -> bool {
        match self {
            Codec::Http1(http1) => http1.is_closing(),
            Codec::Http2(http2) => http2.is_closing(),
            Codec::WebSocket(websocket) => websocket.is_closing(),
        }
    }
}
