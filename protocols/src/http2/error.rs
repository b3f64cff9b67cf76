//! What ends a stream or a connection: the codes of RFC 9113 7, and whose fault it is.

use super::abuse::Abuse;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The code of a RST_STREAM or GOAWAY frame (RFC 9113 7).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
            /// Unknown codes have no special meaning (RFC 9113 7).
            Unknown(u32),
        }

        impl ErrorCode {
            /// The code on the wire.
            #[inline]
            pub fn code(self) -> u32 {
                match self {
                    $(ErrorCode::$name => $code,)*
                    ErrorCode::Unknown(code) => code,
                }
            }

            /// The meaning of a code on the wire.
            #[inline]
            pub fn of(code: u32) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$name,)*
                    code => ErrorCode::Unknown(code),
                }
            }

            /// The name in the RFC.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $text,)*
                    ErrorCode::Unknown(_) => "UNKNOWN",
                }
            }
        }
    };
}

error_codes! {
    /// Not an error: a graceful end.
    NoError = 0x0, "NO_ERROR";
    ProtocolError = 0x1, "PROTOCOL_ERROR";
    InternalError = 0x2, "INTERNAL_ERROR";
    FlowControlError = 0x3, "FLOW_CONTROL_ERROR";
    SettingsTimeout = 0x4, "SETTINGS_TIMEOUT";
    StreamClosed = 0x5, "STREAM_CLOSED";
    FrameSizeError = 0x6, "FRAME_SIZE_ERROR";
    /// Nothing was processed: the request may be sent again.
    RefusedStream = 0x7, "REFUSED_STREAM";
    Cancel = 0x8, "CANCEL";
    CompressionError = 0x9, "COMPRESSION_ERROR";
    ConnectError = 0xa, "CONNECT_ERROR";
    EnhanceYourCalm = 0xb, "ENHANCE_YOUR_CALM";
    InadequateSecurity = 0xc, "INADEQUATE_SECURITY";
    Http11Required = 0xd, "HTTP_1_1_REQUIRED";
}

/// Why a connection has to end (RFC 9113 5.4.1): GOAWAY with `code`, flush, close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionError {
    pub code: ErrorCode,
    /// The limit that the peer went over, where it is that and not a broken rule.
    pub abuse: Option<Abuse>,
    /// The rule, with its section, for logs.
    pub rule: &'static str,
}

impl ConnectionError {
    pub(super) const fn new(code: ErrorCode, rule: &'static str) -> ConnectionError {
        ConnectionError { code, abuse: None, rule }
    }

    pub(super) const fn protocol(rule: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::ProtocolError, rule)
    }

    pub(super) const fn frame_size(rule: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::FrameSizeError, rule)
    }

    /// RFC 9113 10.5: ENHANCE_YOUR_CALM is the code for a peer that costs more than it may.
    pub(super) const fn abuse(abuse: Abuse) -> ConnectionError {
        ConnectionError { code: ErrorCode::EnhanceYourCalm, abuse: Some(abuse), rule: abuse.rule() }
    }
}

impl std::fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.rule)
    }
}

impl std::error::Error for ConnectionError {}

/// The stream of a key has ended or was never open: nothing was sent. Its `Event::Reset` came or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamGone;

impl std::fmt::Display for StreamGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the stream is gone")
    }
}

impl std::error::Error for StreamGone {}
