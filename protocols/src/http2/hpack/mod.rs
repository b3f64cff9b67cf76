//! HPACK, header compression for HTTP/2 (RFC 7541).

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
