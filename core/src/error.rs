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
    RedirectToHttps,
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
    UpstreamRefused,
    UpstreamClosed,
    UpstreamBadResponse,
    UpstreamHeadTooLarge,
    ResponseHeadTimeout,
    ResponseBodyTimeout,
    RequestTimeout,
    PerTryTimeout,
    UpstreamLimit,
    BreakerConnections,
    BreakerPending,
    BreakerRequests,
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
    TlsHandshake,
    TlsHandshakeTimeout,
    TlsHandshakeRate,
    PlainHttpToTls,
    UpstreamTlsHandshake,
    UpstreamTlsUntrusted,
    UpstreamTlsName,
    UpstreamTlsIdentity,
    UpstreamTlsProtocol,
    UpstreamNotTls,
    ClientHelloInvalid,
    ClientHelloTimeout,
    ServerNameUnknown,
    UpstreamBodyTooLarge,
    UpstreamNotGrpc,
    UpstreamNoGrpcStatus,
    RateLimited,
    RateLimitFull,
    Unauthenticated,
    Forbidden,
    ConcurrencyLimit,
    FaultInjected,
    BadRewrite,
    UnknownVersion,
    VersionGone,
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
    /// The status of a gRPC call that ends so.
    pub grpc: Status,
    /// What a person reads.
    pub text: &'static str,
}

macro_rules! reasons {
    ($($reason:ident $code:literal $status:literal $fault:ident $grpc:ident $text:literal;)*) => {
        /// Every reason, in the order of the enum.
        pub const REASONS: &[ReasonInfo] = &[$(ReasonInfo {
            reason: Reason::$reason, code: $code, status: $status, fault: Fault::$fault,
            grpc: Status::$grpc, text: $text,
        }),*];
    };
}

reasons! {
    BadRequest "bad_request" 400 Client Internal "the request is not valid HTTP";
    HeadTooLarge "head_too_large" 431 Client ResourceExhausted "the request head is larger than the listener accepts";
    TargetTooLong "target_too_long" 414 Client Internal "the request target is longer than the listener accepts";
    TooManyFields "too_many_fields" 431 Client ResourceExhausted "the request has more header fields than the listener accepts";
    BodyTooLarge "body_too_large" 413 Client ResourceExhausted "the request body is larger than the listener accepts";
    ExpectationFailed "expectation_failed" 417 Client Internal "the expectation of the request is not known";
    MethodNotAllowed "method_not_allowed" 405 Client Internal "the route does not allow this method";
    MisdirectedRequest "misdirected_request" 421 Client Unimplemented "this connection does not serve that host";
    RedirectToHttps "redirect_to_https" 308 Client Unimplemented "the listener sends requests without TLS to https://";
    NoRoute "no_route" 404 Client Unimplemented "no route matches the host and path";
    HeaderTimeout "header_timeout" 408 Client Unavailable "the request head did not arrive in time";
    RequestBodyTimeout "request_body_timeout" 408 Client DeadlineExceeded "the request body made no progress in time";
    ClientClosed "client_closed" 499 Client Cancelled "the client went away before the response was complete";
    ClientSlow "client_slow" 499 Client Cancelled "the client read nothing of the response for too long";
    ConnectionLimit "connection_limit" 503 Proxy Unavailable "the listener is at its connection limit";
    ClientConnectionLimit "client_connection_limit" 429 Client ResourceExhausted "this client has too many connections";
    ConnectFailed "connect_failed" 502 Upstream Unavailable "no connection to the upstream could be made";
    ConnectTimeout "connect_timeout" 504 Upstream Unavailable "the upstream did not accept a connection in time";
    NoEndpoint "no_endpoint" 503 Upstream Unavailable "the cluster has no endpoint at the moment";
    UpstreamReset "upstream_reset" 502 Upstream Unavailable "the upstream reset the connection";
    UpstreamRefused "upstream_refused" 503 Upstream Unavailable "the upstream did nothing with the request and it cannot be sent again";
    UpstreamClosed "upstream_closed" 502 Upstream Unavailable "the upstream closed the connection before its response was complete";
    UpstreamBadResponse "upstream_bad_response" 502 Upstream Internal "the response of the upstream is not valid HTTP";
    UpstreamHeadTooLarge "upstream_head_too_large" 502 Upstream ResourceExhausted "the response head is larger than the cluster accepts";
    ResponseHeadTimeout "response_head_timeout" 504 Upstream DeadlineExceeded "the upstream did not answer in time";
    ResponseBodyTimeout "response_body_timeout" 504 Upstream DeadlineExceeded "the response body made no progress in time";
    RequestTimeout "request_timeout" 504 Upstream DeadlineExceeded "the whole exchange took longer than its route allows";
    PerTryTimeout "per_try_timeout" 504 Upstream DeadlineExceeded "the upstream did not answer in the time of one try";
    UpstreamLimit "upstream_limit" 503 Proxy Unavailable "the cluster is at its connection limit";
    BreakerConnections "breaker_connections" 503 Proxy Unavailable "the cluster has as many connections as it may";
    BreakerPending "breaker_pending" 503 Proxy Unavailable "as many requests wait for a connection as may";
    BreakerRequests "breaker_requests" 503 Proxy Unavailable "the cluster works on as many requests as it may";
    UpgradeRefused "upgrade_refused" 502 Upstream Internal "the upstream switched to a protocol that the route does not allow";
    TunnelIdle "tunnel_idle" 504 Client Unavailable "the tunnel carried nothing for too long";
    MemoryLimit "memory_limit" 503 Proxy ResourceExhausted "the worker is at its memory limit";
    Draining "draining" 503 Proxy Unavailable "the proxy is shutting down";
    Http2ProtocolError "http2_protocol_error" 400 Client Internal "the client broke a rule of HTTP/2";
    Http2RapidReset "http2_rapid_reset" 400 Client ResourceExhausted "the client reset streams faster than it may";
    Http2OwnResets "http2_own_resets" 400 Client ResourceExhausted "the client made the proxy reset streams faster than it may";
    Http2ContinuationFlood "http2_continuation_flood" 400 Client ResourceExhausted "a header block of the client has too many CONTINUATION frames";
    Http2HeaderFlood "http2_header_flood" 400 Client ResourceExhausted "a header block of the client is too large to be read";
    Http2EmptyFrames "http2_empty_frames" 400 Client ResourceExhausted "the client sent too many empty frames";
    Http2ControlFlood "http2_control_flood" 400 Client ResourceExhausted "the client sent too many SETTINGS, PING or GOAWAY frames";
    Http2PriorityFlood "http2_priority_flood" 400 Client ResourceExhausted "the client sent too many PRIORITY frames";
    Http2WindowFlood "http2_window_flood" 400 Client ResourceExhausted "the client sent too many WINDOW_UPDATE frames";
    Http2QueuedControl "http2_queued_control" 400 Client ResourceExhausted "the client does not read the answers that it makes necessary";
    Http2RefusedStreams "http2_refused_streams" 400 Client ResourceExhausted "the client opened too many streams that were refused";
    Http2UnknownFrames "http2_unknown_frames" 400 Client ResourceExhausted "the client sent too many frames of unknown types";
    Http2ClosedFrames "http2_closed_frames" 400 Client ResourceExhausted "the client sent too many frames for streams that have ended";
    Http2SettingsTimeout "http2_settings_timeout" 400 Client Internal "the client did not acknowledge the settings in time";
    TlsHandshake "tls_handshake" 400 Client Internal "the TLS handshake of the client failed";
    TlsHandshakeTimeout "tls_handshake_timeout" 408 Client Unavailable "the TLS handshake of the client was not complete in time";
    TlsHandshakeRate "tls_handshake_rate" 429 Client ResourceExhausted "the client begins more TLS handshakes than it may";
    PlainHttpToTls "plain_http_to_tls" 400 Client Internal "the request came in plain text to a port that speaks TLS";
    UpstreamTlsHandshake "upstream_tls_handshake" 502 Upstream Unavailable "the TLS handshake with the upstream failed";
    UpstreamTlsUntrusted "upstream_tls_untrusted" 502 Upstream Unavailable "the certificate of the upstream is not to be trusted";
    UpstreamTlsName "upstream_tls_name" 502 Upstream Unavailable "the certificate of the upstream is for another name";
    UpstreamTlsIdentity "upstream_tls_identity" 502 Upstream Unavailable "the certificate of the upstream is for another SPIFFE ID";
    UpstreamTlsProtocol "upstream_tls_protocol" 502 Upstream Unavailable "the upstream did not agree to the protocol that is asked of it";
    UpstreamNotTls "upstream_not_tls" 502 Upstream Unavailable "the upstream answered in plain text where TLS is spoken";
    ClientHelloInvalid "client_hello_invalid" 400 Client Internal "the connection does not begin with a TLS handshake that can be read";
    ClientHelloTimeout "client_hello_timeout" 408 Client Unavailable "the start of the TLS handshake did not arrive in time";
    ServerNameUnknown "server_name_unknown" 404 Client Unimplemented "no cluster serves the server name of the TLS handshake";
    UpstreamBodyTooLarge "upstream_body_too_large" 502 Upstream ResourceExhausted "the body of the response is longer than the policy allows";
    UpstreamNotGrpc "upstream_not_grpc" 502 Upstream Unknown "the response of the upstream is not gRPC";
    UpstreamNoGrpcStatus "upstream_no_grpc_status" 502 Upstream Internal "the upstream ended its response without a gRPC status";
    RateLimited "rate_limited" 429 Client ResourceExhausted "more requests than the rate limit allows";
    RateLimitFull "rate_limit_full" 503 Proxy ResourceExhausted "no more clients can be counted against the rate limit";
    Unauthenticated "unauthenticated" 401 Client Unauthenticated "the request does not say, or not rightly, who sends it";
    Forbidden "forbidden" 403 Client PermissionDenied "whoever sends the request may not do this";
    ConcurrencyLimit "concurrency_limit" 503 Proxy ResourceExhausted "too many requests are under way";
    FaultInjected "fault_injected" 503 Proxy Unavailable "the fault was asked for by the configuration";
    BadRewrite "bad_rewrite" 400 Client Internal "what the configuration makes of this path or host cannot be sent";
    UnknownVersion "unknown_version" 400 Client Unimplemented "there is no such version of the API";
    VersionGone "version_gone" 410 Client Unimplemented "this version of the API is no longer served";
    Internal "internal" 500 Proxy Internal "the proxy met an error of its own";
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
    fn the_handbook_lists_every_reason_with_its_statuses() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let handbook = std::fs::read_to_string(path).expect("docs/operations.md");
        for info in REASONS {
            let row = format!("| `{}` | {} | `{}` | ", info.code, info.status, info.grpc.name());
            assert!(handbook.contains(&row), "docs/operations.md does not hold: {row}");
        }
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
