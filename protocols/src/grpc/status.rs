//! The status of a call, and what statuses and errors of HTTP mean as one.

use crate::http2::ErrorCode;

macro_rules! statuses {
    ($($name:ident $text:literal $word:literal;)*) => {
        /// The status codes of gRPC, in the order of their numbers from 0.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Status { $($name),* }

        /// Every status with its name, and the name as the configuration writes it.
        pub const STATUSES: &[(Status, &str, &str)] = &[$((Status::$name, $text, $word)),*];
    };
}

statuses! {
    Ok "OK" "ok";
    Cancelled "CANCELLED" "cancelled";
    Unknown "UNKNOWN" "unknown";
    InvalidArgument "INVALID_ARGUMENT" "invalid-argument";
    DeadlineExceeded "DEADLINE_EXCEEDED" "deadline-exceeded";
    NotFound "NOT_FOUND" "not-found";
    AlreadyExists "ALREADY_EXISTS" "already-exists";
    PermissionDenied "PERMISSION_DENIED" "permission-denied";
    ResourceExhausted "RESOURCE_EXHAUSTED" "resource-exhausted";
    FailedPrecondition "FAILED_PRECONDITION" "failed-precondition";
    Aborted "ABORTED" "aborted";
    OutOfRange "OUT_OF_RANGE" "out-of-range";
    Unimplemented "UNIMPLEMENTED" "unimplemented";
    Internal "INTERNAL" "internal";
    Unavailable "UNAVAILABLE" "unavailable";
    DataLoss "DATA_LOSS" "data-loss";
    Unauthenticated "UNAUTHENTICATED" "unauthenticated";
}

impl Status {
    /// The number on the wire.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The name of the specification, such as `DEADLINE_EXCEEDED`.
    pub fn name(self) -> &'static str {
        STATUSES.get(usize::from(self.code())).map_or("", |(_, name, _)| name)
    }

    /// The status with this number, or with this name as the configuration writes it.
    pub fn find(text: &str) -> Option<Status> {
        let number = text.parse::<u8>().ok().filter(|_| text == "0" || !text.starts_with(['0', '+']));
        let matches = |(status, _, word): &&(Status, &str, &str)| {
            number.map_or(*word == text, |number| status.code() == number)
        };
        STATUSES.iter().find(matches).map(|(status, ..)| *status)
    }

    /// The value of a `grpc-status` field. A number that nobody has given a meaning is `UNKNOWN`.
    pub fn of_field(value: &[u8]) -> Status {
        std::str::from_utf8(value)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(Status::find)
            .unwrap_or(Status::Unknown)
    }

    /// What an answer without `grpc-status` means (http-grpc-status-mapping.md).
    pub fn of_http(status: u16) -> Status {
        match status {
            400 => Status::Internal,
            401 => Status::Unauthenticated,
            403 => Status::PermissionDenied,
            404 => Status::Unimplemented,
            429 | 502 | 503 | 504 => Status::Unavailable,
            _ => Status::Unknown,
        }
    }

    /// What the reset of a stream means (the protocol, "Errors").
    pub fn of_reset(code: ErrorCode) -> Status {
        match code {
            ErrorCode::RefusedStream => Status::Unavailable,
            ErrorCode::Cancel => Status::Cancelled,
            ErrorCode::EnhanceYourCalm => Status::ResourceExhausted,
            ErrorCode::InadequateSecurity => Status::PermissionDenied,
            ErrorCode::StreamClosed | ErrorCode::Unknown(_) => Status::Unknown,
            _ => Status::Internal,
        }
    }
}

/// A text as the value of `grpc-message`: percent-encoded but for printable ASCII (the protocol, "Status-Message").
pub fn encode_message(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
