//! Reading the ClientHello of a connection that is passed on.

use std::time::Instant;

use ringway_protocols::tls::client_hello::{ClientHello, HelloReader};

use crate::error::Reason;
use crate::io::{self as rt, Chunk};
use crate::transport::Transport;

/// Receives until the hello is complete. All that came, the hello included, is returned with it, to be passed on.
pub(super) async fn client_hello(
    stream: &Transport,
    unread: Option<Chunk>,
    deadline: Instant,
) -> Result<(ClientHello, Chunk), Reason> {
    let mut reader = HelloReader::default();
    // The usual hello comes whole, and goes on as it is. What comes in pieces is bounded by the reader.
    let mut pieces = Vec::new();
    let mut next = unread;
    loop {
        let chunk = match next.take() {
            Some(chunk) => chunk,
            None => match rt::timeout_at(deadline, stream.recv()).await {
                Ok(Ok(chunk)) if !chunk.is_empty() => chunk,
                Ok(_) => return Err(Reason::ClientClosed),
                Err(_) => return Err(Reason::ClientHelloTimeout),
            },
        };
        let read = reader.feed(&chunk).map_err(|_| Reason::ClientHelloInvalid)?;
        match read {
            Some(hello) if pieces.is_empty() => return Ok((hello, chunk)),
            read => {
                pieces.extend_from_slice(&chunk);
                if let Some(hello) = read {
                    return Ok((hello, Chunk::from(pieces)));
                }
            }
        }
    }
}
