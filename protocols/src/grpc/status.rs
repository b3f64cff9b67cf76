//! Status codes of gRPC, and how they travel.

use crate::message::FieldKind;

/// The codes of the gRPC status document, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Status {
    /// Every code, in the order of its numbers.
    pub const ALL: [Status; 17] = [
        Status::Ok,
        Status::Cancelled,
        Status::Unknown,
        Status::InvalidArgument,
        Status::DeadlineExceeded,
        Status::NotFound,
        Status::AlreadyExists,
        Status::PermissionDenied,
        Status::ResourceExhausted,
        Status::FailedPrecondition,
        Status::Aborted,
        Status::OutOfRange,
        Status::Unimplemented,
        Status::Internal,
        Status::Unavailable,
        Status::DataLoss,
        Status::Unauthenticated,
    ];

    /// The name in the form of configurations, labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Cancelled => "cancelled",
            Status::Unknown => "unknown",
            Status::InvalidArgument => "invalid_argument",
            Status::DeadlineExceeded => "deadline_exceeded",
            Status::NotFound => "not_found",
            Status::AlreadyExists => "already_exists",
            Status::PermissionDenied => "permission_denied",
            Status::ResourceExhausted => "resource_exhausted",
            Status::FailedPrecondition => "failed_precondition",
            Status::Aborted => "aborted",
            Status::OutOfRange => "out_of_range",
            Status::Unimplemented => "unimplemented",
            Status::Internal => "internal",
            Status::Unavailable => "unavailable",
            Status::DataLoss => "data_loss",
            Status::Unauthenticated => "unauthenticated",
        }
    }

    /// The code that a `grpc-status` names. Codes that nobody defined are `Unknown`, as gRPC's clients take them.
    pub fn parse(text: &[u8]) -> Option<Status> {
        let number = match text.trim_ascii() {
            [digit @ b'0'..=b'9'] => usize::from(digit - b'0'),
            [tens @ b'1'..=b'9', digit @ b'0'..=b'9'] => {
                usize::from(tens - b'0') * 10 + usize::from(digit - b'0')
            }
            digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => usize::MAX,
            _ => return None,
        };
        Some(Status::ALL.get(number).copied().unwrap_or(Status::Unknown))
    }

    /// What a response without `grpc-status` means (the document "HTTP to gRPC Status Code Mapping").
    pub fn of_http(status: u16) -> Status {
        match status {
            400 => Status::Internal,
            401 => Status::Unauthenticated,
            403 => Status::PermissionDenied,
            404 => Status::Unimplemented,
            429 | 502..=504 => Status::Unavailable,
            _ => Status::Unknown,
        }
    }
}

/// The status among trailers, given as `name: value\r\n` lines.
pub fn trailer_status(lines: &[u8]) -> Option<Status> {
    lines.split(|b| *b == b'\n').find_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let is_status = FieldKind::of(name) == FieldKind::GrpcStatus;
        is_status.then(|| Status::parse(value.get(1..).unwrap_or_default())).flatten()
    })
}

/// Appends a message percent-encoded, as `grpc-message` has it: what is not printable ASCII, and `%`.
pub fn push_message(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(byte);
        } else {
            let digits = [HEX.get(usize::from(byte >> 4)), HEX.get(usize::from(byte & 15))];
            out.push(b'%');
            out.extend(digits.into_iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_order_of_the_codes() {
        for (number, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, number);
            assert_eq!(Status::parse(number.to_string().as_bytes()), Some(status));
        }
        for (text, status) in [
            ("17", Some(Status::Unknown)),
            ("99", Some(Status::Unknown)),
            ("1000", Some(Status::Unknown)),
            (" 5 ", Some(Status::NotFound)),
            ("", None),
            ("ok", None),
            ("-1", None),
        ] {
            assert_eq!(Status::parse(text.as_bytes()), status, "{text:?}");
        }
    }

    #[test]
    fn a_status_is_found_among_trailers() {
        for (lines, status) in [
            ("grpc-status: 0\r\n", Some(Status::Ok)),
            ("x: y\r\nGrpc-Status:14\r\ngrpc-message: a\r\n", Some(Status::Unavailable)),
            ("grpc-status-details-bin: 5\r\n", None),
            ("", None),
        ] {
            assert_eq!(trailer_status(lines.as_bytes()), status, "{lines:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        for (text, encoded) in
            [("plain", "plain"), ("100%", "100%25"), ("a\nb", "a%0Ab"), ("é", "%C3%A9"), ("\u{7f}", "%7F")]
        {
            let mut out = Vec::new();
            push_message(&mut out, text);
            assert_eq!(out, encoded.as_bytes(), "{text}");
        }
    }
}
