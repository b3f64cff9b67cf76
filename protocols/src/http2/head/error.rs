//! What is wrong with a head: one variant per rule, with the section that has the rule.

use crate::http2::hpack::CompressionError;

/// Why a header block is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadError {
    /// The dynamic table is lost: a connection error COMPRESSION_ERROR (RFC 9113 4.3).
    Compression(CompressionError),
    /// The message is malformed: a stream error PROTOCOL_ERROR (RFC 9113 8.1.1).
    Malformed(Malformed),
    /// The header list is larger than `HeadLimits::bytes_max` (431).
    TooLarge,
    /// More fields than `HeadLimits::fields_max` (431).
    TooManyFields,
    /// The path is longer than `HeadLimits::target_bytes_max` (414).
    TargetTooLong,
    /// `Expect` is something other than `100-continue` (417, RFC 9110 10.1.1).
    UnknownExpectation,
}

/// The rule that a message breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// A field without a name (RFC 9113 8.2.1).
    EmptyName,
    /// A capital letter in a name (RFC 9113 8.2.1).
    UpperCaseName,
    /// A name that is not a token: a space, a colon, a control byte (RFC 9113 8.2.1).
    InvalidName,
    /// NUL, CR, LF or another control byte in a value (RFC 9113 8.2.1, RFC 9110 5.5).
    InvalidValue,
    /// White space at the start or the end of a value (RFC 9113 8.2.1).
    SpaceAroundValue,
    /// A pseudo-header field after a field (RFC 9113 8.3).
    PseudoAfterField,
    /// A pseudo-header field twice (RFC 9113 8.3).
    DuplicatePseudo,
    /// A pseudo-header field that is not defined (RFC 9113 8.3).
    UnknownPseudo,
    /// A pseudo-header field where it has no place: of a request in a response or the reverse, any in trailers,
    /// `:path` or `:scheme` with CONNECT, `:protocol` without CONNECT or where extended CONNECT is off (RFC 8441 4).
    PseudoNotAllowed,
    /// `:method`, `:scheme`, `:path` or `:status` is missing (RFC 9113 8.3.1, 8.3.2).
    MissingPseudo,
    /// `:method` is not a token (RFC 9110 9.1).
    InvalidMethod,
    /// `:scheme` is neither `http` nor `https` (RFC 9113 8.3.1).
    InvalidScheme,
    /// `:path` is empty, does not start with `/`, is `*` without OPTIONS, or has bytes that no path has: `#`, spaces,
    /// controls, anything but ASCII (RFC 9113 8.3.1, RFC 9112 3.2).
    InvalidPath,
    /// `:authority` breaks the grammar or has user information (RFC 9113 8.3.1); for CONNECT, has no port.
    InvalidAuthority,
    /// `:protocol` is not a token (RFC 8441 4).
    InvalidProtocol,
    /// `:status` is not three digits from 100 to 599 (RFC 9110 15).
    InvalidStatus,
    /// Neither `:authority` nor `host`; CONNECT without `:authority` (RFC 9113 8.3.1, 8.5).
    MissingAuthority,
    /// More than one `host` (RFC 9112 3.2).
    DuplicateHost,
    /// `host` breaks the grammar of an authority (RFC 9112 3.2).
    InvalidHost,
    /// `host` is not what `:authority` says (RFC 9113 8.3.1).
    HostMismatch,
    /// `connection`, `keep-alive`, `proxy-connection`, `transfer-encoding` or `upgrade` (RFC 9113 8.2.2).
    ConnectionSpecificField,
    /// `te` that is not exactly `trailers`, or in a response (RFC 9113 8.2.2).
    InvalidTe,
    /// `content-length` is not one run of digits (RFC 9110 8.6).
    InvalidContentLength,
    /// More than one `content-length`, even where they agree (RFC 9110 8.6).
    DuplicateContentLength,
    /// The stream ends with the head, and `content-length` says otherwise (RFC 9113 8.1.1).
    ContentLengthMismatch,
    /// `content_length` or `transfer_encoding`, which some readers take for the real field.
    FramingAlias,
    /// TRACE with a body (RFC 9110 9.3.8), CONNECT with a length (9.3.6).
    BodyNotAllowed,
    /// An interim response that ends the stream (RFC 9113 8.1).
    InterimEndsStream,
    /// 101, which HTTP/2 does not have (RFC 9113 8.6).
    SwitchingProtocols,
    /// A trailer that would change framing, routing, authentication or meaning (RFC 9110 6.5.1).
    ForbiddenTrailer,
}

impl From<CompressionError> for HeadError {
    fn from(error: CompressionError) -> HeadError {
        HeadError::Compression(error)
    }
}

impl From<Malformed> for HeadError {
    fn from(rule: Malformed) -> HeadError {
        HeadError::Malformed(rule)
    }
}

impl std::error::Error for HeadError {}

impl std::fmt::Display for HeadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HeadError::Compression(error) => error.fmt(f),
            // The variant is the name of the rule; what a person needs is which one was broken.
            HeadError::Malformed(rule) => write!(f, "malformed head: {rule:?}"),
            error => write!(f, "invalid head: {error:?}"),
        }
    }
}
