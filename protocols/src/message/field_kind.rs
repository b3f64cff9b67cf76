//! Header field names that the proxy knows, recognised without hashing: by length, first letter and one compare.

/// What a header field is. Names are compared without case.
///
/// Underscore spellings of forwarding fields (`X_Forwarded_For`) have a kind of their own: origins that map names to
/// variables (CGI, WSGI, Rack) cannot tell them from the real ones, so they are never forwarded and never believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum FieldKind {
    #[default]
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    Upgrade,
    Http2Settings,
    Expect,
    Via,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    /// Who the client is by its certificate.
    XForwardedClientCert,
    /// Every other name that starts with `X-Forwarded`, and `X-Scheme`, `X-Url-Scheme`, `Front-End-Https`.
    XForwardedOther,
    XRealIp,
    /// Other names under which origins look for the client's address: `X-Client-IP`, `True-Client-IP`,
    /// `X-Cluster-Client-IP`, `CF-Connecting-IP`, `Fastly-Client-IP`.
    XClientIp,
    /// Names that make origins act on another target: `X-Original-*`, `X-Rewrite-URL`, `X-HTTP-Host-Override`.
    XOriginal,
    XRequestId,
    /// Who the client is, in the words of the proxy: `X-Consumer-*`.
    XConsumer,
    XRingwayReason,
    /// `X-Ringway-Explain` and what it is answered with, `X-Ringway-Explain-*`: goes no further than this proxy.
    XRingwayExplain,
    Accept,
    AcceptEncoding,
    AcceptLanguage,
    Age,
    Allow,
    Authorization,
    CacheControl,
    ContentEncoding,
    ContentRange,
    ContentType,
    Cookie,
    Date,
    ETag,
    GrpcMessage,
    GrpcStatus,
    GrpcTimeout,
    IfModifiedSince,
    IfNoneMatch,
    LastModified,
    Location,
    MaxForwards,
    Origin,
    ProxyAuthenticate,
    ProxyAuthorization,
    Range,
    Referer,
    Server,
    SetCookie,
    StrictTransportSecurity,
    Traceparent,
    UserAgent,
    Vary,
    WwwAuthenticate,
    /// A forwarding field spelt with underscores. Always hop-by-hop.
    ForwardingAlias,
    /// `Content_Length` or `Transfer_Encoding`: framing to some readers, not to others. Always refused.
    FramingAlias,
}

// A `KindSet` has one bit for each.
const _: () = assert!((FieldKind::FramingAlias as u8) < 64);

impl FieldKind {
    /// The kind of a field name, which must be a token (RFC 9110 5.1).
    pub fn of(name: &[u8]) -> FieldKind {
        let kind = exact(name);
        if kind != FieldKind::Other {
            return kind;
        }
        family(name)
    }

    /// Says where a request came from or went through: only trusted peers may send it.
    pub const fn is_forwarding(self) -> bool {
        FORWARDING.contains(self)
    }
}

const FORWARDING: KindSet = KindSet::of(&[
    FieldKind::Forwarded,
    FieldKind::XForwardedFor,
    FieldKind::XForwardedProto,
    FieldKind::XForwardedHost,
    FieldKind::XForwardedClientCert,
    FieldKind::XForwardedOther,
    FieldKind::XRealIp,
    FieldKind::XClientIp,
    FieldKind::XOriginal,
    FieldKind::XRequestId,
    FieldKind::XConsumer,
    FieldKind::XRingwayReason,
]);

/// A set of field kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(pub u64);

impl KindSet {
    pub const EMPTY: KindSet = KindSet(0);

    /// What says where a request came from; see [`FieldKind::is_forwarding`].
    pub const FORWARDING: KindSet = FORWARDING;

    pub const fn of(kinds: &[FieldKind]) -> KindSet {
        let mut bits = 0;
        let mut rest = kinds;
        while let [kind, tail @ ..] = rest {
            bits |= 1 << (*kind as u8);
            rest = tail;
        }
        KindSet(bits)
    }

    pub const fn contains(self, kind: FieldKind) -> bool {
        self.0 & (1 << (kind as u8)) != 0
    }

    pub const fn union(self, other: KindSet) -> KindSet {
        KindSet(self.0 | other.0)
    }

    pub const fn intersects(self, other: KindSet) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn insert(&mut self, kind: FieldKind) {
        self.0 |= 1 << (kind as u8);
    }
}

fn exact(name: &[u8]) -> FieldKind {
    use FieldKind::*;
    // Length first, then the first letter: at most two candidates remain to be compared.
    let Some(first) = name.first() else { return Other };
    let either = |a: FieldKind, b: FieldKind| if a == Other { b } else { a };
    match (name.len(), first | 0x20) {
        (2, b't') => is(name, b"te", Te),
        (3, b'v') => is(name, b"via", Via),
        (3, b'a') => is(name, b"age", Age),
        (4, b'h') => is(name, b"host", Host),
        (4, b'd') => is(name, b"date", Date),
        (4, b'e') => is(name, b"etag", ETag),
        (4, b'v') => is(name, b"vary", Vary),
        (5, b'r') => is(name, b"range", Range),
        (5, b'a') => is(name, b"allow", Allow),
        (6, b'a') => is(name, b"accept", Accept),
        (6, b'c') => is(name, b"cookie", Cookie),
        (6, b's') => is(name, b"server", Server),
        (6, b'e') => is(name, b"expect", Expect),
        (6, b'o') => is(name, b"origin", Origin),
        (7, b'r') => is(name, b"referer", Referer),
        (7, b'u') => is(name, b"upgrade", Upgrade),
        (7, b't') => is(name, b"trailer", Trailer),
        (8, b'l') => is(name, b"location", Location),
        (8, b'x') => is(name, b"x-scheme", XForwardedOther),
        (9, b'f') => is(name, b"forwarded", Forwarded),
        (9, b'x') => is(name, b"x-real-ip", XRealIp),
        (10, b'c') => is(name, b"connection", Connection),
        (10, b'u') => is(name, b"user-agent", UserAgent),
        (10, b'k') => is(name, b"keep-alive", KeepAlive),
        (10, b's') => is(name, b"set-cookie", SetCookie),
        (11, b'g') => is(name, b"grpc-status", GrpcStatus),
        (11, b't') => is(name, b"traceparent", Traceparent),
        (11, b'x') => is(name, b"x-client-ip", XClientIp),
        (12, b'c') => is(name, b"content-type", ContentType),
        (12, b'x') => {
            either(is(name, b"x-request-id", XRequestId), is(name, b"x-url-scheme", XForwardedOther))
        }
        (12, b'g') => either(is(name, b"grpc-timeout", GrpcTimeout), is(name, b"grpc-message", GrpcMessage)),
        (12, b'm') => is(name, b"max-forwards", MaxForwards),
        (13, b'c') => {
            either(is(name, b"cache-control", CacheControl), is(name, b"content-range", ContentRange))
        }
        (13, b'a') => is(name, b"authorization", Authorization),
        (13, b'i') => is(name, b"if-none-match", IfNoneMatch),
        (13, b'l') => is(name, b"last-modified", LastModified),
        (13, b'x') => is(name, b"x-rewrite-url", XOriginal),
        (14, b'c') => is(name, b"content-length", ContentLength),
        (14, b't') => is(name, b"true-client-ip", XClientIp),
        (14, b'h') => is(name, b"http2-settings", Http2Settings),
        (15, b'a') => {
            either(is(name, b"accept-encoding", AcceptEncoding), is(name, b"accept-language", AcceptLanguage))
        }
        (15, b'x') => is(name, b"x-forwarded-for", XForwardedFor),
        (15, b'f') => is(name, b"front-end-https", XForwardedOther),
        (16, b'c') => {
            either(is(name, b"content-encoding", ContentEncoding), is(name, b"cf-connecting-ip", XClientIp))
        }
        (16, b'p') => is(name, b"proxy-connection", ProxyConnection),
        (16, b'x') => either(
            is(name, b"x-forwarded-host", XForwardedHost),
            is(name, b"x-ringway-reason", XRingwayReason),
        ),
        (16, b'w') => is(name, b"www-authenticate", WwwAuthenticate),
        (16, b'f') => is(name, b"fastly-client-ip", XClientIp),
        (17, b't') => is(name, b"transfer-encoding", TransferEncoding),
        (17, b'i') => is(name, b"if-modified-since", IfModifiedSince),
        (17, b'x') => is(name, b"x-forwarded-proto", XForwardedProto),
        (18, b'p') => is(name, b"proxy-authenticate", ProxyAuthenticate),
        (19, b'p') => is(name, b"proxy-authorization", ProxyAuthorization),
        (19, b'x') => is(name, b"x-cluster-client-ip", XClientIp),
        (20, b'x') => is(name, b"x-http-host-override", XOriginal),
        (23, b'x') => is(name, b"x-forwarded-client-cert", XForwardedClientCert),
        (25, b's') => is(name, b"strict-transport-security", StrictTransportSecurity),
        _ => Other,
    }
}

/// `kind` where the name is this text in any case. The length is known when this is compiled, so that a few words are
/// compared and not bytes. Setting bit 5 of a token's byte only makes lower case of letters: no other byte of a token
/// becomes a letter, a digit or a hyphen by it.
#[inline(always)]
fn is<const N: usize>(name: &[u8], text: &'static [u8; N], kind: FieldKind) -> FieldKind {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return FieldKind::Other };
    let difference = name.iter().zip(text).fold(0, |difference, (a, b)| difference | ((a | 0x20) ^ b));
    if difference == 0 { kind } else { FieldKind::Other }
}

/// Names that are recognised by their beginning or under an alias.
fn family(name: &[u8]) -> FieldKind {
    if name.contains(&b'_') {
        return alias(name);
    }
    prefix_kind(name)
}

fn prefix_kind(name: &[u8]) -> FieldKind {
    if !matches!(name.first(), Some(b'x' | b'X')) {
        return FieldKind::Other;
    }
    let starts = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|n| n.eq_ignore_ascii_case(prefix));
    if starts(b"x-forwarded") {
        FieldKind::XForwardedOther
    } else if starts(b"x-original-") {
        FieldKind::XOriginal
    } else if starts(b"x-consumer-") {
        FieldKind::XConsumer
    } else if starts(b"x-ringway-explain") {
        FieldKind::XRingwayExplain
    } else {
        FieldKind::Other
    }
}

/// The kind of a name spelt with underscores, where the proxy must treat it like the name with hyphens.
#[cold]
fn alias(name: &[u8]) -> FieldKind {
    let mut buffer = [0u8; 24];
    let kept = name.len().min(buffer.len());
    let Some((copy, head)) = buffer.get_mut(..kept).zip(name.get(..kept)) else { return FieldKind::Other };
    for (to, from) in copy.iter_mut().zip(head) {
        *to = if *from == b'_' { b'-' } else { *from };
    }
    // A name longer than the buffer can only match by its beginning.
    let kind = if name.len() > kept { FieldKind::Other } else { exact(copy) };
    match kind {
        FieldKind::ContentLength | FieldKind::TransferEncoding => FieldKind::FramingAlias,
        kind if kind.is_forwarding() || prefix_kind(copy) != FieldKind::Other => FieldKind::ForwardingAlias,
        _ => FieldKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found() {
        use FieldKind::*;
        for (name, kind) in [
            ("accept", Accept),
            ("accept-encoding", AcceptEncoding),
            ("accept-language", AcceptLanguage),
            ("age", Age),
            ("allow", Allow),
            ("authorization", Authorization),
            ("cache-control", CacheControl),
            ("cf-connecting-ip", XClientIp),
            ("connection", Connection),
            ("content-encoding", ContentEncoding),
            ("content-length", ContentLength),
            ("content-range", ContentRange),
            ("content-type", ContentType),
            ("cookie", Cookie),
            ("date", Date),
            ("etag", ETag),
            ("expect", Expect),
            ("fastly-client-ip", XClientIp),
            ("forwarded", Forwarded),
            ("front-end-https", XForwardedOther),
            ("grpc-message", GrpcMessage),
            ("grpc-status", GrpcStatus),
            ("grpc-timeout", GrpcTimeout),
            ("host", Host),
            ("http2-settings", Http2Settings),
            ("if-modified-since", IfModifiedSince),
            ("if-none-match", IfNoneMatch),
            ("keep-alive", KeepAlive),
            ("last-modified", LastModified),
            ("location", Location),
            ("max-forwards", MaxForwards),
            ("origin", Origin),
            ("proxy-authenticate", ProxyAuthenticate),
            ("proxy-authorization", ProxyAuthorization),
            ("proxy-connection", ProxyConnection),
            ("range", Range),
            ("referer", Referer),
            ("server", Server),
            ("set-cookie", SetCookie),
            ("strict-transport-security", StrictTransportSecurity),
            ("te", Te),
            ("traceparent", Traceparent),
            ("trailer", Trailer),
            ("transfer-encoding", TransferEncoding),
            ("true-client-ip", XClientIp),
            ("upgrade", Upgrade),
            ("user-agent", UserAgent),
            ("vary", Vary),
            ("via", Via),
            ("www-authenticate", WwwAuthenticate),
            ("x-client-ip", XClientIp),
            ("x-cluster-client-ip", XClientIp),
            ("x-forwarded-for", XForwardedFor),
            ("x-forwarded-host", XForwardedHost),
            ("x-forwarded-proto", XForwardedProto),
            ("x-http-host-override", XOriginal),
            ("x-real-ip", XRealIp),
            ("x-request-id", XRequestId),
            ("x-rewrite-url", XOriginal),
            ("x-ringway-reason", XRingwayReason),
            ("x-forwarded-client-cert", XForwardedClientCert),
            ("x-scheme", XForwardedOther),
            ("x-url-scheme", XForwardedOther),
        ] {
            assert_eq!(FieldKind::of(name.as_bytes()), kind, "{name}");
            assert_eq!(FieldKind::of(name.to_ascii_uppercase().as_bytes()), kind, "{name}");
            let longer = format!("{name}s");
            assert_ne!(FieldKind::of(longer.as_bytes()), kind, "{longer}");
        }
    }

    #[test]
    fn names_are_recognised_without_case() {
        for (name, kind) in [
            ("Host", FieldKind::Host),
            ("hOST", FieldKind::Host),
            ("content-LENGTH", FieldKind::ContentLength),
            ("Accept-Language", FieldKind::AcceptLanguage),
            ("accept-encoding", FieldKind::AcceptEncoding),
            ("X-Request-Id", FieldKind::XRequestId),
            ("x-custom", FieldKind::Other),
            ("", FieldKind::Other),
        ] {
            assert_eq!(FieldKind::of(name.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn underscore_spellings_are_told_from_the_real_names() {
        for (name, kind) in [
            ("X_Forwarded_For", FieldKind::ForwardingAlias),
            ("x_forwarded-proto", FieldKind::ForwardingAlias),
            ("X-Forwarded_Prefix", FieldKind::ForwardingAlias),
            ("X_Forwarded_Something_Quite_Long_Indeed", FieldKind::ForwardingAlias),
            ("X_Real_IP", FieldKind::ForwardingAlias),
            ("x_request_id", FieldKind::ForwardingAlias),
            ("X_Original_URL", FieldKind::ForwardingAlias),
            ("X_Consumer_Name", FieldKind::ForwardingAlias),
            ("x-consumer_groups", FieldKind::ForwardingAlias),
            ("X_Ringway_Explain", FieldKind::ForwardingAlias),
            ("x-ringway-explain_route", FieldKind::ForwardingAlias),
            ("X-Ringway-Explain", FieldKind::XRingwayExplain),
            ("x-ringway-explain-route", FieldKind::XRingwayExplain),
            ("X-Consumer-Name", FieldKind::XConsumer),
            ("x-consumer-anything", FieldKind::XConsumer),
            ("x-consumer", FieldKind::Other),
            ("Content_Length", FieldKind::FramingAlias),
            ("TRANSFER_ENCODING", FieldKind::FramingAlias),
            ("user_agent", FieldKind::Other),
            ("_", FieldKind::Other),
        ] {
            assert_eq!(FieldKind::of(name.as_bytes()), kind, "{name}");
        }
    }
}
