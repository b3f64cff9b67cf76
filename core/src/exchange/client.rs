//! The client's side of an exchange.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::http2::{ErrorCode, StreamHandle};
use crate::io::Address;
use crate::transport::{TlsFacts, Transport};

/// Where a request came from and its response goes to.
#[derive(Clone, Copy)]
pub enum Client<'a> {
    /// The whole connection is the exchange's until it ends.
    Http1(&'a Transport),
    /// One stream of a connection that others use too.
    Http2(&'a StreamHandle),
}

impl Client<'_> {
    /// Ready when the client has given up: its connection or its stream was reset.
    pub fn poll_reset(&self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Client::Http1(stream) => stream.poll_reset(cx).map(drop),
            Client::Http2(stream) => stream.poll_reset(cx).map(drop),
        }
    }

    /// Our end of the client's connection; `None` on a UNIX socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Client::Http1(stream) => match stream.local_addr() {
                Ok(Address::Tcp(local)) => Some(local),
                _ => None,
            },
            Client::Http2(stream) => stream.local_address(),
        }
    }

    /// What the client agreed on in TLS, where that is spoken.
    pub fn tls(&self) -> Option<&Rc<TlsFacts>> {
        match self {
            Client::Http1(stream) => stream.tls(),
            Client::Http2(stream) => stream.tls(),
        }
    }

    /// Cuts the response off so that the client cannot take what it got for the whole.
    pub fn cut(&self, code: ErrorCode) {
        match self {
            Client::Http1(stream) => stream.reset_on_close(),
            Client::Http2(stream) => stream.reset(code),
        }
    }
}
