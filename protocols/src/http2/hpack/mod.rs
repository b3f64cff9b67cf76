//! HPACK, header compression for HTTP/2 (RFC 7541).
//!
//! The [`Decoder`] renders each field as the line `name: value\r\n` that an HTTP/1.1 head has, and keeps its table in
//! that form too: an indexed field, the usual case, is one copy. What is known of a field (its kind, the rules that it
//! breaks) is kept with the entry, so that nothing is examined twice.
//!
//! Sending has no table at all, see [`encoder`]: literals cost the CPU of both ends less than keeping two tables.

mod decoder;
mod dynamic_table;
pub mod encoder;
mod huffman;
mod integer;
mod rules;
mod static_table;

pub use decoder::{Decoder, Line};
pub use rules::Name;

/// SETTINGS_HEADER_TABLE_SIZE before anything is said (RFC 9113 6.5.2).
pub const INITIAL_TABLE_BYTES: u32 = 4096;

/// Why a header block cannot be decoded. Always the end of the connection, as the table cannot be trusted (RFC 7541 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompressionError {
    /// The block ends within a field or an integer.
    Truncated,
    /// An integer is larger than any honest one (5.1).
    IntegerOverflow,
    /// An index that neither table has, or zero (2.3.3, 6.1).
    InvalidIndex,
    /// Padding longer than 7 bits, or not of ones, or EOS within a string (5.2).
    InvalidHuffman,
    /// A table size update after a field (4.2).
    MisplacedSizeUpdate,
    /// A table size above the announced one (6.3).
    TableTooLarge,
    /// The announced size went down and the block does not start by following it (4.2).
    MissingSizeUpdate,
}

impl std::error::Error for CompressionError {}

impl std::fmt::Display for CompressionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid header block: {self:?}")
    }
}

#[cfg(test)]
mod tests;
