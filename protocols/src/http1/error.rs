//! What is wrong with a head: one variant per rule, with the section that has the rule.

use super::head::HeadError;

/// Why a request is refused. All of them end the connection: what follows cannot be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestError {
    /// The head is longer than `HeadLimits::bytes_max` (431).
    HeadTooLarge,
    /// More fields than `HeadLimits::fields_max` (431).
    TooManyFields,
    /// The target is longer than `HeadLimits::target_bytes_max` (414).
    TargetTooLong,
    /// `Expect` is something other than `100-continue` (417, RFC 9110 10.1.1).
    UnknownExpectation,
    /// Not a method, one space, a target, one space and a version (RFC 9112 3). More than one empty line before
    /// the request line, or one that is not CRLF, is this too (RFC 9112 2.2).
    InvalidRequestLine,
    /// Neither HTTP/1.0 nor HTTP/1.1 (RFC 9112 2.3).
    UnsupportedVersion,
    /// The target has no known form, or bytes that no target has: `#`, controls, anything but ASCII (RFC 9112 3.2).
    InvalidTarget,
    /// The form of the target does not go with the method (RFC 9112 3.2.3, 3.2.4).
    TargetFormNotAllowed,
    /// The authority within the target breaks its grammar or has user information (RFC 9110 4.2.4).
    InvalidAuthority,
    /// A line ends in LF without CR, or CR stands alone (RFC 9112 2.2).
    BareLineEnd,
    /// A field line starts with white space (obsolete line folding, RFC 9112 5.2).
    LineFolding,
    /// White space between field name and colon (RFC 9112 5.1).
    SpaceBeforeColon,
    /// A field name is empty or not a token (RFC 9110 5.1).
    InvalidFieldName,
    /// A field value has NUL or another control byte (RFC 9110 5.5).
    InvalidFieldValue,
    /// HTTP/1.1 without `Host` (RFC 9112 3.2).
    MissingHost,
    /// More than one `Host` (RFC 9112 3.2).
    DuplicateHost,
    /// `Host` breaks the grammar of an authority (RFC 9112 3.2).
    InvalidHost,
    /// `Host` is not the authority of the absolute-form or authority-form target (RFC 9112 3.2.2).
    HostMismatch,
    /// `Content-Length` and `Transfer-Encoding` together (RFC 9112 6.1).
    BothLengthAndChunked,
    /// `Content-Length` is not one run of digits (RFC 9110 8.6).
    InvalidContentLength,
    /// More than one `Content-Length`, even where they agree (RFC 9110 8.6).
    DuplicateContentLength,
    /// `Transfer-Encoding` is not exactly `chunked` (RFC 9112 6.1).
    InvalidTransferEncoding,
    /// More than one `Transfer-Encoding` (RFC 9112 6.1).
    DuplicateTransferEncoding,
    /// `Transfer-Encoding` in HTTP/1.0 (RFC 9112 6.1).
    TransferEncodingInHttp10,
    /// `Content_Length` or `Transfer_Encoding`, which some readers take for the real field.
    FramingAlias,
    /// TRACE or CONNECT with a body (RFC 9110 9.3.6, 9.3.8).
    BodyNotAllowed,
    /// `Connection` names `Host`, `Content-Length` or `Transfer-Encoding` (RFC 9110 7.6.1).
    ConnectionNamesFraming,
    /// `Connection` is not a list of tokens, or is longer than any honest list (RFC 9110 7.6.1).
    InvalidConnection,
}

/// Why a response is refused. The connection that it came on is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseError {
    /// The head is longer than `HeadLimits::bytes_max`.
    HeadTooLarge,
    /// More fields than `HeadLimits::fields_max`.
    TooManyFields,
    /// Not a version, one space, three digits from 100 to 599 and a reason (RFC 9112 4).
    InvalidStatusLine,
    /// Neither HTTP/1.0 nor HTTP/1.1 (RFC 9112 2.3).
    UnsupportedVersion,
    /// A line ends in LF without CR, or CR stands alone (RFC 9112 2.2).
    BareLineEnd,
    /// A field line starts with white space (obsolete line folding, RFC 9112 5.2).
    LineFolding,
    /// White space between field name and colon (RFC 9112 5.1).
    SpaceBeforeColon,
    /// A field name is empty or not a token (RFC 9110 5.1).
    InvalidFieldName,
    /// A field value has NUL or another control byte (RFC 9110 5.5).
    InvalidFieldValue,
    /// `Content-Length` and `Transfer-Encoding` together (RFC 9112 6.3).
    BothLengthAndChunked,
    /// `Content-Length` is not one run of digits (RFC 9110 8.6).
    InvalidContentLength,
    /// More than one `Content-Length`, even where they agree (RFC 9110 8.6).
    DuplicateContentLength,
    /// `Transfer-Encoding` is not exactly `chunked` (RFC 9112 6.1).
    InvalidTransferEncoding,
    /// More than one `Transfer-Encoding` (RFC 9112 6.1).
    DuplicateTransferEncoding,
    /// `Transfer-Encoding` in HTTP/1.0 (RFC 9112 6.1).
    TransferEncodingInHttp10,
    /// `Transfer-Encoding` in a 1xx or 204 response (RFC 9112 6.1).
    TransferEncodingNotAllowed,
    /// `Content_Length` or `Transfer_Encoding`, which some readers take for the real field.
    FramingAlias,
    /// 101 without an `Upgrade` that `Connection` names (RFC 9110 7.8).
    InvalidUpgrade,
    /// `Connection` names `Host`, `Content-Length` or `Transfer-Encoding` (RFC 9110 7.6.1).
    ConnectionNamesFraming,
    /// `Connection` is not a list of tokens, or is longer than any honest list (RFC 9110 7.6.1).
    InvalidConnection,
}

macro_rules! from_head_error {
    ($($error:ident: $start:ident,)*) => { $(
        impl From<HeadError> for $error {
            fn from(error: HeadError) -> Self {
                match error {
                    HeadError::InvalidStartLine => $error::$start,
                    HeadError::BareLineEnd => $error::BareLineEnd,
                    HeadError::LineFolding => $error::LineFolding,
                    HeadError::SpaceBeforeColon => $error::SpaceBeforeColon,
                    HeadError::InvalidFieldName => $error::InvalidFieldName,
                    HeadError::InvalidFieldValue => $error::InvalidFieldValue,
                    HeadError::BothLengthAndChunked => $error::BothLengthAndChunked,
                    HeadError::InvalidContentLength => $error::InvalidContentLength,
                    HeadError::DuplicateContentLength => $error::DuplicateContentLength,
                    HeadError::InvalidTransferEncoding => $error::InvalidTransferEncoding,
                    HeadError::DuplicateTransferEncoding => $error::DuplicateTransferEncoding,
                    HeadError::TransferEncodingInHttp10 => $error::TransferEncodingInHttp10,
                    HeadError::FramingAlias => $error::FramingAlias,
                    HeadError::ConnectionNamesFraming => $error::ConnectionNamesFraming,
                    HeadError::InvalidConnection => $error::InvalidConnection,
                }
            }
        }

        impl std::error::Error for $error {}

        impl std::fmt::Display for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // The variant is the name of the rule; what a person needs is which one was broken.
                write!(f, "invalid head: {self:?}")
            }
        }
    )* };
}

from_head_error! {
    RequestError: InvalidRequestLine,
    ResponseError: InvalidStatusLine,
}
