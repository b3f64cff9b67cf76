//! Names of header fields in a configuration: which ones a policy may change.

use ringway_protocols::message::FieldKind;

use crate::fields::Problem;

/// Whether a text is a token (RFC 9110 5.6.2), as the names of fields and cookies are.
pub fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// Checks that policies may set and remove this field of requests.
///
/// # Errors
/// It is no name, it belongs to the connection or to framing, or the proxy itself writes it.
pub fn check_request(field: &str, name: &str) -> Result<(), Problem> {
    let kind = checked_kind(field, name)?;
    let hint = match kind {
        FieldKind::Host => "write `rewrite: { host: … }`",
        FieldKind::XForwardedFor
        | FieldKind::XForwardedProto
        | FieldKind::XForwardedHost
        | FieldKind::Forwarded
        | FieldKind::XForwardedClientCert => "the proxy writes it: see the setting `forwarded` of listeners",
        FieldKind::XRequestId => "the proxy writes it: see the setting `request_id` of listeners",
        FieldKind::Via => "the proxy writes it: see the setting `via` of listeners",
        FieldKind::XRingwayExplain => EXPLAIN,
        _ => return Ok(()),
    };
    Err(Problem::new(field, "a field of the request that policies may change", format!("`{name}`"))
        .hint(hint))
}

/// Checks that policies may set and remove this field of responses.
///
/// # Errors
/// It is no name, it belongs to the connection or to framing, or clients of gRPC and of the proxy rely on it.
pub fn check_response(field: &str, name: &str) -> Result<(), Problem> {
    let hint = match checked_kind(field, name)? {
        FieldKind::GrpcStatus | FieldKind::GrpcMessage => "only the origin knows how its call ended",
        FieldKind::XRingwayReason => "the proxy writes it: see the setting `reason_header` of listeners",
        FieldKind::XRingwayExplain => EXPLAIN,
        FieldKind::ContentEncoding => "it says how the body is written",
        _ => return Ok(()),
    };
    Err(Problem::new(field, "a field of the response that policies may change", format!("`{name}`"))
        .hint(hint))
}

const EXPLAIN: &str = "the proxy explains itself in it, to who has the token of the setting `explain`";

/// Hop-by-hop fields and framing are never a policy's (RFC 9110 7.6.1), in no spelling.
fn checked_kind(field: &str, name: &str) -> Result<FieldKind, Problem> {
    if !is_token(name) {
        let problem = Problem::new(field, "the name of a header field", format!("`{name}`"));
        return Err(if name.starts_with(':') {
            problem.hint("pseudo-header fields are no fields: see the policy `rewrite`")
        } else {
            problem
        });
    }
    let kind = FieldKind::of(name.as_bytes());
    let connection = matches!(
        kind,
        FieldKind::Connection
            | FieldKind::KeepAlive
            | FieldKind::ProxyConnection
            | FieldKind::Te
            | FieldKind::Trailer
            | FieldKind::Upgrade
            | FieldKind::Http2Settings
            | FieldKind::TransferEncoding
            | FieldKind::ContentLength
            | FieldKind::Expect
            | FieldKind::FramingAlias
            | FieldKind::ForwardingAlias
    );
    if connection {
        let found = format!("`{name}`");
        return Err(Problem::new(field, "a field that policies may change", found)
            .hint("it belongs to one connection or to the framing of the message"));
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_connection_and_of_framing_are_not_a_policys() {
        let names = [
            "connection",
            "Keep-Alive",
            "proxy-connection",
            "te",
            "Trailer",
            "transfer-encoding",
            "Transfer_Encoding",
            "content-length",
            "CONTENT_LENGTH",
            "upgrade",
            "expect",
            "x_forwarded_for",
            ":path",
            "",
            "a b",
            "ä",
            "a:",
            "x-ringway-explain",
            "X-Ringway-Explain-Route",
        ];
        for name in names {
            assert!(check_request("set", name).is_err(), "{name}");
            assert!(check_response("set", name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_the_proxy_writes_is_named_with_its_setting() {
        for name in ["Host", "x-forwarded-for", "X-Forwarded-Proto", "forwarded", "via", "x-request-id"] {
            let problem = check_request("set", name).expect_err(name);
            assert!(problem.hint.is_some(), "{name}");
        }
        for name in ["grpc-status", "x-ringway-reason", "content-encoding"] {
            assert!(check_response("set", name).is_err(), "{name}");
            assert!(check_request("set", name).is_ok(), "{name}");
        }
    }

    #[test]
    fn everything_else_may_be_changed() {
        for name in
            ["x-gateway", "authorization", "cookie", "user-agent", "X-Forwarded-Prefix", "cache-control"]
        {
            assert_eq!(check_request("set", name), Ok(()), "{name}");
            assert_eq!(check_response("set", name), Ok(()), "{name}");
        }
    }
}
