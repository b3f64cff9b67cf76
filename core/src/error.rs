//! One table: what went wrong → reason code, status, whose fault, whether it may be tried again.
//!
//! **Invariant:** every local reply, every cut connection and every log line of a failure names one [`Reason`].

use ringway_protocols::grpc::Status;

/// Why Ringway answered by itself or ended an exchange. The codes are stable: they appear in
/// `x-ringway-reason`, in the access log and in the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    BadRequest,
    HeadTooLarge,
    TargetTooLong,
    TooManyFields,
    BodyTooLarge,
    ExpectationFailed,
    MethodNotAllowed,
    MisdirectedRequest,
    NoRoute,
    HeaderTimeout,
    RequestBodyTimeout,
    ClientClosed,
    ClientSlow,
    ConnectionLimit,
    ClientConnectionLimit,
    ConnectFailed,
    ConnectTimeout,
    NoEndpoint,
    UpstreamReset,
    UpstreamClosed,
    UpstreamBadResponse,
    UpstreamHeadTooLarge,
    ResponseHeadTimeout,
    ResponseBodyTimeout,
    RequestTimeout,
    UpstreamLimit,
    UpgradeRefused,
    TunnelIdle,
    MemoryLimit,
    Draining,
    Http2ProtocolError,
    Http2RapidReset,
    Http2OwnResets,
    Http2ContinuationFlood,
    Http2HeaderFlood,
    Http2EmptyFrames,
    Http2ControlFlood,
    Http2PriorityFlood,
    Http2WindowFlood,
    Http2QueuedControl,
    Http2RefusedStreams,
    Http2UnknownFrames,
    Http2ClosedFrames,
    Http2SettingsTimeout,
    Internal,
}

/// Who has to change something for the failure to go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Client,
    Upstream,
    Proxy,
}

/// One row of the table.
pub struct ReasonInfo {
    pub reason: Reason,
    /// The stable code.
    pub code: &'static str,
    /// Status of the local reply, where one can still be sent (499 is only logged).
    pub status: u16,
    pub fault: Fault,
    /// What a person reads.
    pub text: &'static str,
}

macro_rules! reasons {
    ($($reason:ident $code:literal $status:literal $fault:ident $text:literal;)*) => {
        /// Every reason, in the order of the enum.
        pub const REASONS: &[ReasonInfo] = &[$(ReasonInfo {
            reason: Reason::$reason, code: $code, status: $status, fault: Fault::$fault, text: $text,
        }),*];
    };
}

reasons! {
    BadRequest "bad_request" 400 Client "the request is not valid HTTP";
    HeadTooLarge "head_too_large" 431 Client "the request head is larger than the listener accepts";
    TargetTooLong "target_too_long" 414 Client "the request target is longer than the listener accepts";
    TooManyFields "too_many_fields" 431 Client "the request has more header fields than the listener accepts";
    BodyTooLarge "body_too_large" 413 Client "the request body is larger than the listener accepts";
    ExpectationFailed "expectation_failed" 417 Client "the expectation of the request is not known";
    MethodNotAllowed "method_not_allowed" 405 Client "the route does not allow this method";
    MisdirectedRequest "misdirected_request" 421 Client "this connection does not serve that host";
    NoRoute "no_route" 404 Client "no route matches the host and path";
    HeaderTimeout "header_timeout" 408 Client "the request head did not arrive in time";
    RequestBodyTimeout "request_body_timeout" 408 Client "the request body made no progress in time";
    ClientClosed "client_closed" 499 Client "the client went away before the response was complete";
    ClientSlow "client_slow" 499 Client "the client read nothing of the response for too long";
    ConnectionLimit "connection_limit" 503 Proxy "the listener is at its connection limit";
    ClientConnectionLimit "client_connection_limit" 429 Client "this client has too many connections";
    ConnectFailed "connect_failed" 502 Upstream "no connection to the upstream could be made";
    ConnectTimeout "connect_timeout" 504 Upstream "the upstream did not accept a connection in time";
    NoEndpoint "no_endpoint" 503 Upstream "the cluster has no endpoint at the moment";
    UpstreamReset "upstream_reset" 502 Upstream "the upstream reset the connection";
    UpstreamClosed "upstream_closed" 502 Upstream "the upstream closed the connection before its response was complete";
    UpstreamBadResponse "upstream_bad_response" 502 Upstream "the response of the upstream is not valid HTTP";
    UpstreamHeadTooLarge "upstream_head_too_large" 502 Upstream "the response head is larger than the cluster accepts";
    ResponseHeadTimeout "response_head_timeout" 504 Upstream "the upstream did not answer in time";
    ResponseBodyTimeout "response_body_timeout" 504 Upstream "the response body made no progress in time";
    RequestTimeout "request_timeout" 504 Upstream "the whole exchange took longer than its route allows";
    UpstreamLimit "upstream_limit" 503 Proxy "the cluster is at its connection limit";
    UpgradeRefused "upgrade_refused" 502 Upstream "the upstream switched to a protocol that the route does not allow";
    TunnelIdle "tunnel_idle" 504 Client "the tunnel carried nothing for too long";
    MemoryLimit "memory_limit" 503 Proxy "the worker is at its memory limit";
    Draining "draining" 503 Proxy "the proxy is shutting down";
    Http2ProtocolError "http2_protocol_error" 400 Client "the client broke a rule of HTTP/2";
    Http2RapidReset "http2_rapid_reset" 400 Client "the client reset streams faster than it may";
    Http2OwnResets "http2_own_resets" 400 Client "the client made the proxy reset streams faster than it may";
    Http2ContinuationFlood "http2_continuation_flood" 400 Client "a header block of the client has too many CONTINUATION frames";
    Http2HeaderFlood "http2_header_flood" 400 Client "a header block of the client is too large to be read";
    Http2EmptyFrames "http2_empty_frames" 400 Client "the client sent too many empty frames";
    Http2ControlFlood "http2_control_flood" 400 Client "the client sent too many SETTINGS, PING or GOAWAY frames";
    Http2PriorityFlood "http2_priority_flood" 400 Client "the client sent too many PRIORITY frames";
    Http2WindowFlood "http2_window_flood" 400 Client "the client sent too many WINDOW_UPDATE frames";
    Http2QueuedControl "http2_queued_control" 400 Client "the client does not read the answers that it makes necessary";
    Http2RefusedStreams "http2_refused_streams" 400 Client "the client opened too many streams that were refused";
    Http2UnknownFrames "http2_unknown_frames" 400 Client "the client sent too many frames of unknown types";
    Http2ClosedFrames "http2_closed_frames" 400 Client "the client sent too many frames for streams that have ended";
    Http2SettingsTimeout "http2_settings_timeout" 400 Client "the client did not acknowledge the settings in time";
    Internal "internal" 500 Proxy "the proxy met an error of its own";
}

impl Reason {
    /// The row of this reason.
    pub fn info(self) -> &'static ReasonInfo {
        // The table is made from the same order as the enum; a test holds it to that.
        &REASONS[self as usize]
    }

    pub fn code(self) -> &'static str {
        self.info().code
    }

    /// Status of the local reply to a call of gRPC. `Unavailable` is what clients try again.
    pub fn grpc_status(self) -> Status {
        match self {
            Reason::HeadTooLarge
            | Reason::TargetTooLong
            | Reason::TooManyFields
            | Reason::BodyTooLarge
            | Reason::ClientConnectionLimit
            | Reason::MemoryLimit => Status::ResourceExhausted,
            Reason::NoRoute | Reason::MethodNotAllowed => Status::Unimplemented,
            Reason::ClientClosed | Reason::ClientSlow => Status::Cancelled,
            Reason::HeaderTimeout
            | Reason::RequestBodyTimeout
            | Reason::ResponseHeadTimeout
            | Reason::ResponseBodyTimeout
            | Reason::RequestTimeout
            | Reason::TunnelIdle => Status::DeadlineExceeded,
            Reason::BadRequest
            | Reason::ExpectationFailed
            | Reason::UpstreamBadResponse
            | Reason::UpstreamHeadTooLarge
            | Reason::UpgradeRefused
            | Reason::Internal => Status::Internal,
            _ => Status::Unavailable,
        }
    }

    /// Status of the local reply.
    pub fn status(self) -> u16 {
        self.info().status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_finds_its_own_row() {
        for (index, info) in REASONS.iter().enumerate() {
            assert_eq!(info.reason as usize, index, "{}", info.code);
            assert_eq!(info.reason.info().code, info.code);
        }
        assert_eq!(REASONS.len(), Reason::Internal as usize + 1);
    }

    #[test]
    fn codes_are_unique_and_snake_case() {
        let mut codes: Vec<_> = REASONS.iter().map(|info| info.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), REASONS.len());
        assert!(
            codes
                .iter()
                .all(|c| c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        );
    }
}
