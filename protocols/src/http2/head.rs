//! Header blocks into heads (RFC 9113 8): an HTTP/1.1 rendition in the caller's bytes, and ranges over it.
//!
//! | block | rendition |
//! |---|---|
//! | request | `METHOD path HTTP/2.0`, `host: …`, the fields in their order |
//! | extended CONNECT (RFC 8441) | `GET path HTTP/2.0`, `host: …`, `upgrade: protocol` (hop-by-hop), the fields |
//! | response | `HTTP/1.1 200 OK` and the fields |
//! | trailers | lines only |
//!
//! So all that works on heads of HTTP/1.1 works on these, and `http1::write_request` and `write_response` send them on.
//! What cannot be sent on unchanged in meaning is refused here, before anybody sees it.

mod error;
mod fields;
mod repeat;
mod request;
mod response;
mod trailers;

use super::hpack::Decoder;
use crate::http1::{HeadLimits, TrailerLimits};
use crate::message::{Method, RequestHead, ResponseHead};

pub use error::{HeadError, Malformed};

use repeat::{Asked, Repeat};

/// Decodes the header blocks of one connection, in the order in which they arrive.
///
/// `HeadLimits::bytes_max` bounds the header list as RFC 9113 6.5.2 counts it, with 32 bytes for each field;
/// `fields_max` counts fields as they come, each crumb of a cookie by itself.
#[derive(Debug)]
pub struct HeadDecoder {
    hpack: Decoder,
    /// Pseudo-header fields of the request that is being read.
    pseudo: Vec<u8>,
    /// One of them for each role; neither before the first head.
    requests: Option<Box<Repeat<RequestHead>>>,
    responses: Option<Box<Repeat<ResponseHead>>>,
}

/// Room for pseudo-header fields that a connection keeps.
const PSEUDO_BYTES_KEPT: usize = 512;

impl HeadDecoder {
    /// `header_table_bytes_max` is what our SETTINGS_HEADER_TABLE_SIZE announces.
    pub fn new(header_table_bytes_max: u32) -> HeadDecoder {
        HeadDecoder {
            hpack: Decoder::new(header_table_bytes_max),
            pseudo: Vec::new(),
            requests: None,
            responses: None,
        }
    }

    /// Gives back what only makes the next blocks faster to read. The dynamic table stays: the peer has it, too.
    pub fn release_memory(&mut self) {
        self.pseudo = Vec::new();
        self.requests = None;
        self.responses = None;
        self.hpack.release_memory();
    }

    /// The peer has acknowledged our settings: from now on it keeps to our table size, and a smaller one than the
    /// initial has to be followed at the start of the next block (RFC 7541 4.2).
    pub fn settings_acknowledged(&mut self) {
        self.hpack.settings_acknowledged();
    }

    /// Reads a request; `connect_protocol` says whether extended CONNECT is on (RFC 8441 3).
    pub fn request(
        &mut self,
        block: &[u8],
        limits: &HeadLimits,
        end_stream: bool,
        connect_protocol: bool,
        head: &mut RequestHead,
        bytes: &mut Vec<u8>,
    ) -> Result<(), HeadError> {
        let table_changes = self.hpack.table_changes();
        let asked =
            Asked { limits: *limits, end_stream, connect_protocol, method: Method::Get, table_changes };
        let last = self.requests.as_deref().filter(|last| last.is(block, &asked));
        let last = last.filter(|_| !self.hpack.awaits_size_update());
        if let Some(kept) = last.and_then(|last| last.kept(bytes, &mut head.fields)) {
            *head = RequestHead { fields: std::mem::take(&mut head.fields), ..kept.clone() };
            return Ok(());
        }
        self.pseudo.clear();
        self.pseudo.shrink_to(PSEUDO_BYTES_KEPT);
        request::read(&mut self.hpack, &mut self.pseudo, block, &asked, head, bytes)?;
        if self.hpack.table_changes() == table_changes {
            let fields = std::mem::take(&mut head.fields);
            self.requests.get_or_insert_default().remember(block, asked, head, bytes, &fields);
            head.fields = fields;
        }
        Ok(())
    }

    /// Reads a response to a request of this method; an interim one is a head of its own.
    pub fn response(
        &mut self,
        block: &[u8],
        limits: &HeadLimits,
        end_stream: bool,
        method: Method,
        head: &mut ResponseHead,
        bytes: &mut Vec<u8>,
    ) -> Result<(), HeadError> {
        let table_changes = self.hpack.table_changes();
        let asked = Asked { limits: *limits, end_stream, connect_protocol: false, method, table_changes };
        let last = self.responses.as_deref().filter(|last| last.is(block, &asked));
        let last = last.filter(|_| !self.hpack.awaits_size_update());
        if let Some(kept) = last.and_then(|last| last.kept(bytes, &mut head.fields)) {
            *head = ResponseHead { fields: std::mem::take(&mut head.fields), ..kept.clone() };
            return Ok(());
        }
        response::read(&mut self.hpack, block, &asked, head, bytes)?;
        if self.hpack.table_changes() == table_changes {
            let fields = std::mem::take(&mut head.fields);
            self.responses.get_or_insert_default().remember(block, asked, head, bytes, &fields);
            head.fields = fields;
        }
        Ok(())
    }

    /// Reads trailers into `name: value\r\n` lines.
    pub fn trailers(
        &mut self,
        block: &[u8],
        limits: &TrailerLimits,
        lines: &mut Vec<u8>,
    ) -> Result<(), HeadError> {
        trailers::read(&mut self.hpack, block, limits, lines)
    }

    /// Reads the block of a stream that is gone, so that the dynamic table stays in step.
    pub fn discard(&mut self, block: &[u8]) -> Result<(), HeadError> {
        let mut at = 0;
        self.hpack.begin(block, &mut at)?;
        self.hpack.skip_rest(block, at)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
