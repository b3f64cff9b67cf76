//! The table of all settings. Flags, environment variables, keys of the file, defaults, the documentation
//! and the dump of the effective configuration all come from it, so that they cannot drift apart.
//!
//! A setting belongs to a [`Scope`]. Those of the process are keys at the top of the file. Those of listeners,
//! clusters and routes are keys of each of them, and their defaults are keys below `defaults`; the flag and the
//! variable set the default.

use std::time::Duration;

use ringway_policies::balance::hash;

use super::value::Kind;
use crate::tls;

/// What a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Process,
    Listener,
    Cluster,
    Route,
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// With the next reload.
    Reload,
    /// With the next start.
    Restart,
}

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    pub id: Id,
    pub scope: Scope,
    /// The key's path within its scope, such as `limits.header_timeout`.
    pub key: &'static str,
    /// The flag without dashes; empty where a flag would show a secret in the process list.
    pub flag: &'static str,
    pub kind: Kind,
    /// Words that it takes besides what its kind says.
    pub words: &'static [&'static str],
    pub default: &'static str,
    pub change: Change,
    /// One or two sentences.
    pub help: &'static str,
}

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $id:ident: $scope:ident $key:literal $flag:literal, $kind:expr, $words:expr, $default:literal, $change:ident;)*) => {
        /// The name of each setting in code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Id { $($(#[doc = $help])+ $id),* }

        /// Every setting, in the order of [`Id`].
        pub const SETTINGS: &[Setting] = &[$(Setting {
            id: Id::$id,
            scope: Scope::$scope,
            key: $key,
            flag: $flag,
            kind: $kind,
            words: $words,
            default: $default,
            change: Change::$change,
            // A doc comment begins with the blank after its slashes.
            help: concat!($($help),+).trim_ascii_start(),
        }),*];
    };
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max, zero: None }
}
const fn count_or_unlimited(max: u64) -> Kind {
    Kind::Count { min: 1, max, zero: Some("unlimited") }
}
const fn count_or_off(max: u64) -> Kind {
    Kind::Count { min: 1, max, zero: Some("off") }
}
const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max, zero: None }
}
const fn time(min_ms: u64, max_secs: u64) -> Kind {
    Kind::Duration { min: Duration::from_millis(min_ms), max: Duration::from_secs(max_secs), zero: None }
}
const fn time_or_unlimited(min_ms: u64, max_secs: u64) -> Kind {
    Kind::Duration {
        min: Duration::from_millis(min_ms),
        max: Duration::from_secs(max_secs),
        zero: Some("unlimited"),
    }
}

const fn time_or_off(min_ms: u64, max_secs: u64) -> Kind {
    Kind::Duration {
        min: Duration::from_millis(min_ms),
        max: Duration::from_secs(max_secs),
        zero: Some("off"),
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

const IO_WORDS: &[&str] = &[
    "auto",
    "uring",
    "epoll",
    #[cfg(feature = "monoio")]
    "monoio",
    #[cfg(feature = "glommio")]
    "glommio",
];

settings! {
    /// Worker threads. `auto` is one for each CPU that this process may use, cgroup quota included.
    Workers: Process "workers" "workers", count(1, 1024), &["auto"], "auto", Restart;
    /// Whether each worker stays on one CPU. `auto` pins when there is exactly one worker for each CPU of the affinity mask.
    Pin: Process "pin" "pin", Kind::Bool, &["auto"], "auto", Restart;
    /// The kernel interface. `auto` takes io_uring where it works and epoll elsewhere.
    Io: Process "io" "io", Kind::Choice, IO_WORDS, "auto", Restart;
    /// How long running exchanges may take to finish once the process was told to stop.
    DrainTimeout: Process "drain_timeout" "drain-timeout", time_or_none(), &[], "30s", Reload;
    /// Bodies of at least this size leave the process by splice(2); `off` never does that.
    Splice: Process "splice" "splice", size(4 * KIB, 1024 * GIB), &["off"], "256KiB", Restart;
    /// Whether the files of the configuration are watched, those that it includes and refers to as well, and a change is loaded as by a reload.
    Watch: Process "watch" "watch", Kind::Bool, &[], "false", Reload;
    /// Old configurations that running exchanges may still use before another reload is refused.
    Generations: Process "generations" "generations", count(1, 64), &[], "8", Reload;
    /// Where the admin listener for readiness, metrics and statistics is bound.
    AdminBind: Process "admin.bind" "admin", Kind::SocketAddr, &["off"], "127.0.0.1:9901", Restart;
    /// A UNIX socket (mode 0600) of the admin listener, where writes are allowed.
    AdminSocket: Process "admin.socket" "admin-socket", Kind::Path, &["off"], "off", Restart;
    /// Token that the TCP admin listener asks for before a write. It has no flag, which every user could see.
    AdminToken: Process "admin.token" "", Kind::Secret, &["off"], "off", Restart;
    /// A file whose first line is the admin token.
    AdminTokenFile: Process "admin.token_file" "admin-token-file", Kind::Path, &["off"], "off", Restart;
    /// Token that a request shows in `x-ringway-explain` to be told where it went, and why. It has no flag, which every user could see.
    ExplainToken: Process "explain.token" "", Kind::Secret, &["off"], "off", Reload;
    /// A file whose first line is that token.
    ExplainTokenFile: Process "explain.token_file" "explain-token-file", Kind::Path, &["off"], "off", Reload;
    /// Where the access log goes: `off`, `stdout`, or a file.
    AccessLog: Process "access_log.target" "access-log", Kind::Path, &["off", "stdout"], "off", Restart;
    /// Format of the access log: `combined`, `json`, or a text with {variables}.
    AccessLogFormat: Process "access_log.format" "access-log-format", Kind::Text, &["combined", "json"], "combined", Restart;
    /// Size of one receive buffer.
    BufferBytes: Process "buffers.buffer_bytes" "buffer-bytes", size(KIB, MIB), &[], "32KiB", Restart;
    /// Receive buffers that a worker offers to the kernel at a time: the memory that stays in the CPU's cache.
    RingBuffers: Process "buffers.ring_buffers" "ring-buffers", Kind::PowerOfTwo { min: 8, max: 32_768 }, &[], "64", Restart;
    /// Ceiling over the bytes in flight of one worker. `auto` is 64MiB, or less where the cgroup's memory limit asks for it.
    WorkerBytes: Process "buffers.worker_bytes" "worker-bytes", size(MIB, 1024 * GIB), &["auto"], "auto", Restart;
    /// Bytes that one connection may have received and not yet forwarded.
    ConnectionBytes: Process "buffers.connection_bytes" "connection-bytes", size(16 * KIB, GIB), &[], "256KiB", Restart;
    /// Share of the cgroup's memory limit that the bytes in flight of all workers may take.
    MemoryShare: Process "buffers.memory_share" "memory-share", Kind::Percent, &[], "50%", Restart;
    /// Completions that a worker waits for at once (io_uring only).
    WaitNr: Process "uring.wait_nr" "uring-wait-nr", count(1, 4096), &[], "1", Restart;
    /// How long a worker waits for `wait_nr` completions before it takes fewer (io_uring only).
    MinWait: Process "uring.min_wait" "uring-min-wait", Kind::Duration { min: Duration::from_micros(1), max: Duration::from_millis(10), zero: Some("off") }, &[], "0", Restart;
    /// The zone that this proxy runs in: endpoints of the same zone come first.
    Zone: Process "zone" "zone", Kind::Text, &["none"], "none", Reload;
    /// The servers that names of endpoints are asked of. `system` takes `/etc/hosts` and what `/etc/resolv.conf` names.
    DnsServers: Process "dns.servers" "dns-servers", Kind::Servers, &["system"], "system", Restart;
    /// gRPC methods with statistics of their own from the start; others get theirs when they are first seen, as long as there are fewer than 1,000.
    GrpcMethods: Process "grpc.methods" "grpc-methods", Kind::Methods, &["seen"], "seen", Reload;

    /// What clients speak: HTTP, or anything over TCP, which is passed on as it is.
    ListenerProtocol: Listener "protocol" "listener-protocol", Kind::Choice, &["http", "tcp"], "http", Reload;
    /// How long a connection of `protocol: tcp` may be silent in both directions.
    TcpIdleTimeout: Listener "tcp.idle_timeout" "tcp-idle-timeout", time(1, 30 * DAY), &[], "1h", Reload;
    /// Peers that must send a PROXY protocol header (v1 or v2): address blocks, `true` for every peer, `false` for none.
    ProxyProtocol: Listener "proxy_protocol" "proxy-protocol", Kind::Cidrs, &["true", "false"], "false", Reload;
    /// What is done about `%2F` in a path, which some origins take for a slash and others for a character of a name. Kept, it is sent as it is and matched as a slash; decoded, it is one.
    EncodedSlash: Listener "encoded_slash" "encoded-slash", Kind::Choice, &["refuse", "keep", "decode"], "refuse", Reload;
    /// What is done about `//` in a path. Kept, it is sent as it is and matched as one slash; at the start of a path it is merged all the same.
    RepeatedSlashes: Listener "repeated_slashes" "repeated-slashes", Kind::Choice, &["merge", "refuse", "keep"], "merge", Reload;
    /// What is done about the segments `.` and `..` of a path. They are never sent.
    DotSegments: Listener "dot_segments" "dot-segments", Kind::Choice, &["resolve", "refuse"], "resolve", Reload;
    /// What is done about letters, digits and `-._~` in a path that are percent-encoded.
    EncodedUnreserved: Listener "encoded_unreserved" "encoded-unreserved", Kind::Choice, &["decode", "refuse"], "decode", Reload;
    /// What is done about `;parameters` in a path. Kept, they are sent and not matched.
    PathParameters: Listener "path_parameters" "path-parameters", Kind::Choice, &["keep", "refuse"], "keep", Reload;
    /// Which forwarding headers are written.
    ForwardedStyle: Listener "forwarded.style" "forwarded-style", Kind::Choice, &["x_forwarded", "forwarded", "both", "off"], "x_forwarded", Reload;
    /// Peers whose forwarding headers and request ids are kept; those of all others are replaced.
    TrustedProxies: Listener "forwarded.trusted_proxies" "trusted-proxies", Kind::Cidrs, &[], "", Reload;
    /// Whether `Via` is written.
    Via: Listener "forwarded.via" "via", Kind::Bool, &[], "true", Reload;
    /// Whether each request gets an `x-request-id`.
    RequestId: Listener "forwarded.request_id" "request-id", Kind::Bool, &[], "true", Reload;
    /// Whether replies made here carry `x-ringway-reason`.
    ReasonHeader: Listener "forwarded.reason_header" "reason-header", Kind::Bool, &[], "true", Reload;
    /// Connections of a listener over all workers.
    Connections: Listener "limits.connections" "connections", count(1, 10_000_000), &[], "100000", Reload;
    /// Connections of one client address over all workers.
    ConnectionsPerClient: Listener "limits.connections_per_client" "connections-per-client", count_or_unlimited(10_000_000), &[], "0", Reload;
    /// Requests of one connection before it is told to close.
    Requests: Listener "limits.requests" "requests", count_or_unlimited(1 << 40), &[], "0", Reload;
    /// Size of a request head; more is 431.
    HeadersBytes: Listener "limits.headers_bytes" "headers-bytes", size(512, MIB), &[], "64KiB", Reload;
    /// Fields of a request head; more is 431.
    HeadersCount: Listener "limits.headers_count" "headers-count", count(1, 10_000), &[], "100", Reload;
    /// Size of a request target; more is 414.
    TargetBytes: Listener "limits.target_bytes" "target-bytes", size(64, MIB), &[], "16KiB", Reload;
    /// Size of a request body; more is 413.
    BodyBytes: Listener "limits.body_bytes" "body-bytes", Kind::Size { min: 1, max: 1 << 50, zero: Some("unlimited") }, &[], "0", Reload;
    /// From the first byte of a request to the end of its head; later is 408.
    HeaderTimeout: Listener "limits.header_timeout" "header-timeout", time(1, HOUR), &[], "10s", Reload;
    /// How long a connection is kept open without a request.
    IdleTimeout: Listener "limits.idle_timeout" "idle-timeout", time(1, DAY), &[], "75s", Reload;
    /// Longest time without progress of a request body; later is 408.
    RequestBodyTimeout: Listener "limits.request_body_timeout" "request-body-timeout", time(1, DAY), &[], "30s", Reload;
    /// Longest time without progress of a response towards the client.
    ResponseBodyTimeout: Listener "limits.response_body_timeout" "response-body-timeout", time(1, DAY), &[], "30s", Reload;

    /// Whether clients may speak HTTP/2 without asking first (prior knowledge), beside HTTP/1.1 on the same port.
    Http2: Listener "http2.enabled" "http2", Kind::Bool, &[], "true", Reload;
    /// Whether `Upgrade: h2c` is answered. It is never forwarded.
    Http2Upgrade: Listener "http2.upgrade" "http2-upgrade", Kind::Bool, &[], "false", Reload;
    /// Requests of one HTTP/2 connection at a time.
    Http2Streams: Listener "http2.streams" "http2-streams", count(1, 100_000), &[], "100", Reload;
    /// Bytes of a request body that a client may send before they are passed on, at first.
    Http2StreamWindow: Listener "http2.stream_window" "http2-stream-window", size(KIB, 16 * MIB), &[], "64KiB", Reload;
    /// How far that window grows where bandwidth and round-trip time ask for it.
    Http2StreamWindowMax: Listener "http2.stream_window_max" "http2-stream-window-max", size(KIB, 16 * MIB), &[], "1MiB", Reload;
    /// The window of a connection as a whole, at first; it grows in step with those of its streams.
    Http2ConnectionWindow: Listener "http2.connection_window" "http2-connection-window", size(64 * KIB, GIB), &[], "1MiB", Reload;
    /// The largest frame that a client may send.
    Http2FrameBytes: Listener "http2.frame_bytes" "http2-frame-bytes", size(16 * KIB, 16 * MIB - 1), &[], "16KiB", Reload;
    /// The table that a client's header compression may use.
    Http2HeaderTable: Listener "http2.header_table" "http2-header-table", size(0, 64 * KIB), &[], "4KiB", Reload;
    /// Time for a client to acknowledge our SETTINGS.
    Http2SettingsTimeout: Listener "http2.settings_timeout" "http2-settings-timeout", time(1, HOUR), &[], "10s", Reload;
    /// Age, give or take a tenth, at which an HTTP/2 connection is told to end, so that clients spread over the workers again.
    Http2ConnectionAge: Listener "http2.connection_age" "http2-connection-age", time_or_unlimited(1, 365 * DAY), &[], "0", Reload;
    /// What requests get to finish once a connection has reached its age.
    Http2AgeGrace: Listener "http2.age_grace" "http2-age-grace", time(1, DAY), &[], "10s", Reload;
    /// Requests that a client may cancel within 10 seconds (CVE-2023-44487, rapid reset).
    Http2Resets: Listener "http2.abuse.resets" "http2-resets", count(1, 1_000_000), &[], "400", Reload;
    /// Requests that a client may make us reset within 10 seconds by breaking a rule (CVE-2025-8671, MadeYouReset).
    Http2OwnResets: Listener "http2.abuse.own_resets" "http2-own-resets", count(1, 1_000_000), &[], "100", Reload;
    /// CONTINUATION frames of one header block (CVE-2024-27316).
    Http2Continuations: Listener "http2.abuse.continuations" "http2-continuations", count(1, 10_000), &[], "16", Reload;
    /// Frames without content within 10 seconds (CVE-2019-9518).
    Http2EmptyFrames: Listener "http2.abuse.empty_frames" "http2-empty-frames", count(1, 1_000_000), &[], "100", Reload;
    /// SETTINGS and PING within 10 seconds, which have to be answered (CVE-2019-9512, CVE-2019-9515).
    Http2ControlFrames: Listener "http2.abuse.control_frames" "http2-control-frames", count(1, 1_000_000), &[], "200", Reload;
    /// PRIORITY and PRIORITY_UPDATE within 10 seconds (CVE-2019-9513).
    Http2Priorities: Listener "http2.abuse.priorities" "http2-priorities", count(1, 1_000_000), &[], "1000", Reload;
    /// WINDOW_UPDATE within 10 seconds, beside four for each DATA frame sent (CVE-2019-9511).
    Http2WindowUpdates: Listener "http2.abuse.window_updates" "http2-window-updates", count(1, 1_000_000), &[], "2000", Reload;
    /// Requests within 10 seconds beyond what the connection may have open, or with too large a head.
    Http2RefusedStreams: Listener "http2.abuse.refused_streams" "http2-refused-streams", count(1, 1_000_000), &[], "200", Reload;
    /// Frames of unknown types within 10 seconds.
    Http2UnknownFrames: Listener "http2.abuse.unknown_frames" "http2-unknown-frames", count(1, 1_000_000), &[], "1000", Reload;
    /// Frames for requests that have ended, within 10 seconds.
    Http2ClosedFrames: Listener "http2.abuse.closed_frames" "http2-closed-frames", count(1, 1_000_000), &[], "2000", Reload;
    /// Answers that may wait for a client that reads nothing but goes on asking.
    Http2QueuedBytes: Listener "http2.abuse.queued_bytes" "http2-queued-bytes", size(4 * KIB, 16 * MIB), &[], "64KiB", Reload;
    /// Whether calls of grpc.health.v1.Health are answered here: SERVING, or NOT_SERVING once the proxy drains.
    GrpcHealth: Listener "grpc.health" "grpc-health", Kind::Bool, &[], "false", Reload;

    /// What `http://` requests are answered with, a redirect (308) to `https://` on this port; `true` is port 443.
    RedirectToHttps: Listener "redirect_to_https" "redirect-to-https", count(1, 65_535), &["true", "false"], "false", Reload;
    /// The lowest version of TLS that clients may speak.
    TlsMinVersion: Listener "tls.min_version" "tls-min-version", Kind::Choice, &["1.2", "1.3"], "1.2", Reload;
    /// Cipher suites for clients, in the order of preference.
    TlsCipherSuites: Listener "tls.cipher_suites" "tls-cipher-suites", Kind::Names(tls::SUITE_NAMES), &["default"], "default", Reload;
    /// Groups of the key exchange with clients, in the order of preference. By default post-quantum ones come first.
    TlsGroups: Listener "tls.groups" "tls-groups", Kind::Names(tls::GROUP_NAMES), &["default"], "default", Reload;
    /// Protocols that clients may agree on (ALPN), in the order of preference.
    TlsAlpn: Listener "tls.alpn" "tls-alpn", Kind::Names(tls::ALPN_NAMES), &[], "h2,http/1.1", Reload;
    /// Whether clients that ask for a host without a certificate are turned away, instead of being shown the first certificate.
    TlsStrictSni: Listener "tls.strict_sni" "tls-strict-sni", Kind::Bool, &[], "false", Reload;
    /// Whether clients show a certificate.
    TlsClientAuth: Listener "tls.client_auth.mode" "tls-client-auth", Kind::Choice, &["none", "optional", "required"], "none", Reload;
    /// Files of the authorities that issue certificates of clients.
    TlsClientCa: Listener "tls.client_auth.ca" "tls-client-ca", Kind::Paths, &[], "", Reload;
    /// Files of lists of revoked certificates. With any, each authority of a client's chain needs a list that is not out of date.
    TlsClientCrl: Listener "tls.client_auth.crl" "tls-client-crl", Kind::Paths, &[], "", Reload;
    /// SPIFFE IDs that clients may have; `*` stands for one segment of the path, `**` at the end for the rest.
    TlsClientIdentity: Listener "tls.client_auth.identity" "tls-client-identity", Kind::Identities, &[], "", Reload;
    /// Whether the origin is told about the client's certificate in `x-forwarded-client-cert`. What clients send in that header is always removed.
    TlsClientForward: Listener "tls.client_auth.forward" "tls-client-forward", Kind::Bool, &[], "false", Reload;
    /// Whether clients get tickets to resume sessions with.
    TlsTickets: Listener "tls.tickets.enabled" "tls-tickets", Kind::Bool, &[], "true", Reload;
    /// How long one key makes tickets; they are taken for as long again.
    TlsTicketRotate: Listener "tls.tickets.rotate" "tls-ticket-rotate", time(60_000, 7 * DAY), &[], "12h", Reload;
    /// Tickets that a client gets in a handshake of TLS 1.3.
    TlsTicketCount: Listener "tls.tickets.count" "tls-ticket-count", count(1, 8), &[], "2", Reload;
    /// From the acceptance of a connection to the end of its handshake.
    TlsHandshakeTimeout: Listener "tls.handshake_timeout" "tls-handshake-timeout", time(1, HOUR), &[], "10s", Reload;
    /// Handshakes of a listener that a worker has under way at a time; further ones wait.
    TlsHandshakes: Listener "tls.handshakes_max" "tls-handshakes", count(1, 1_000_000), &[], "1000", Reload;
    /// Handshakes that one client address may begin within a second, on each worker.
    TlsHandshakesPerClient: Listener "tls.handshakes_per_client" "tls-handshakes-per-client", count_or_unlimited(1_000_000), &[], "0", Reload;
    /// `Strict-Transport-Security` with this `max-age` on every response.
    TlsHsts: Listener "tls.hsts" "tls-hsts", time_or_off(1_000, 10 * 365 * DAY), &[], "0", Reload;
    /// The directory (a URL) of an authority that speaks ACME, from which a certificate is ordered and renewed. To use it is to agree to its terms.
    TlsAcmeDirectory: Listener "tls.acme.directory" "tls-acme-directory", Kind::Text, &["off"], "off", Reload;
    /// The hosts of that certificate.
    TlsAcmeHosts: Listener "tls.acme.hosts" "tls-acme-hosts", Kind::Tokens, &[], "", Reload;
    /// Whom the authority writes to, such as `mailto:ops@example.com`.
    TlsAcmeContact: Listener "tls.acme.contact" "tls-acme-contact", Kind::Text, &["none"], "none", Reload;
    /// How the authority is shown who owns the hosts: by a request to port 80, which any listener without TLS answers, or by a handshake with port 443.
    TlsAcmeChallenge: Listener "tls.acme.challenge" "tls-acme-challenge", Kind::Choice, &["http-01", "tls-alpn-01"], "http-01", Reload;
    /// The directory where the account and the certificate are kept.
    TlsAcmeStore: Listener "tls.acme.store" "tls-acme-store", Kind::Path, &[], "/var/lib/ringway/acme", Reload;
    /// Files of roots by which the directory is verified.
    TlsAcmeCa: Listener "tls.acme.ca" "tls-acme-ca", Kind::Paths, &["system"], "system", Reload;
    /// The name of the key of an account that was made elsewhere (external account binding).
    TlsAcmeKeyId: Listener "tls.acme.external.key_id" "tls-acme-key-id", Kind::Text, &["none"], "none", Reload;
    /// The file of that key, as the authority gives it: base64url.
    TlsAcmeKey: Listener "tls.acme.external.key" "tls-acme-key", Kind::Path, &["none"], "none", Reload;
    /// The agent (SPIFFE Workload API) that the certificate comes from and, without `client_auth.ca`, whom to trust. `environment` takes `SPIFFE_ENDPOINT_SOCKET`.
    TlsSpiffe: Listener "tls.spiffe.socket" "tls-spiffe-socket", Kind::Text, &["off", "environment"], "off", Reload;

    /// What endpoints speak. `auto` greets an endpoint in HTTP/2 once and stays with what it answers.
    Protocol: Cluster "protocol" "upstream-protocol", Kind::Choice, &["http1", "http2", "auto"], "http1", Reload;
    /// HTTP/2 connections of one worker to an endpoint. Another one is made when the streams of those run out.
    UpstreamHttp2Connections: Cluster "http2.connections" "upstream-http2-connections", count(1, 10_000), &[], "4", Reload;
    /// Requests on one HTTP/2 connection to an endpoint at a time; the endpoint may allow fewer.
    UpstreamHttp2Streams: Cluster "http2.streams" "upstream-http2-streams", count(1, 100_000), &[], "100", Reload;
    /// Bytes of a response body that an endpoint may send before they are passed on, at first.
    UpstreamHttp2StreamWindow: Cluster "http2.stream_window" "upstream-http2-stream-window", size(KIB, 16 * MIB), &[], "64KiB", Reload;
    /// How far that window grows where bandwidth and round-trip time ask for it.
    UpstreamHttp2StreamWindowMax: Cluster "http2.stream_window_max" "upstream-http2-stream-window-max", size(KIB, 16 * MIB), &[], "1MiB", Reload;
    /// The window of a connection as a whole, at first.
    UpstreamHttp2ConnectionWindow: Cluster "http2.connection_window" "upstream-http2-connection-window", size(64 * KIB, GIB), &[], "1MiB", Reload;
    /// Time for an endpoint to acknowledge our SETTINGS.
    UpstreamHttp2SettingsTimeout: Cluster "http2.settings_timeout" "upstream-http2-settings-timeout", time(1, HOUR), &[], "10s", Reload;
    /// Silence after which an endpoint is asked by PING whether it lives.
    UpstreamHttp2PingInterval: Cluster "http2.ping_interval" "upstream-http2-ping-interval", Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(DAY), zero: Some("off") }, &[], "0", Reload;
    /// Time for the answer; later, the connection is closed and its requests fail.
    UpstreamHttp2PingTimeout: Cluster "http2.ping_timeout" "upstream-http2-ping-timeout", time(1, HOUR), &[], "10s", Reload;
    /// How long `protocol: auto` takes an endpoint that spoke HTTP/1.1 for one that speaks nothing else. The next new connection after that asks again.
    UpstreamHttp2ProbeAgain: Cluster "http2.probe_again" "upstream-http2-probe-again", time_or_unlimited(100, DAY), &[], "10m", Reload;
    /// Whether endpoints are asked for their health with gRPC: `server` asks about the server as a whole, a name about that service.
    HealthGrpc: Cluster "health.grpc" "health-grpc", Kind::Text, &["off", "server"], "off", Reload;
    /// A path that endpoints are asked for, over HTTP, to find out whether they are healthy.
    HealthPath: Cluster "health.path" "health-path", Kind::UrlPath, &["off"], "off", Reload;
    /// The host of those questions; `endpoint` is that of each.
    HealthHost: Cluster "health.host" "health-host", Kind::Text, &["endpoint"], "endpoint", Reload;
    /// The statuses of a healthy answer, as numbers and ranges.
    HealthStatus: Cluster "health.status" "health-status", Kind::StatusRanges, &[], "200-299", Reload;
    /// What the first 64 KiB of the body of a healthy answer contain.
    HealthBody: Cluster "health.body" "health-body", Kind::Text, &["any"], "any", Reload;
    /// Whether an endpoint is healthy that a connection can be made to, which with TLS is a handshake too.
    HealthTcp: Cluster "health.tcp" "health-tcp", Kind::Bool, &[], "false", Reload;
    /// Time between two questions, give or take a tenth.
    HealthInterval: Cluster "health.interval" "health-interval", time(10, HOUR), &[], "5s", Reload;
    /// Time for the answer; later is a failure.
    HealthTimeout: Cluster "health.timeout" "health-timeout", time(10, HOUR), &[], "1s", Reload;
    /// Good answers in a row after which an endpoint is used again.
    HealthHealthy: Cluster "health.healthy" "health-healthy", count(1, 100), &[], "2", Reload;
    /// Failures in a row after which an endpoint is not used.
    HealthUnhealthy: Cluster "health.unhealthy" "health-unhealthy", count(1, 100), &[], "3", Reload;
    /// Share of healthy endpoints below which health is ignored: better some failures than all load on a few.
    HealthPanic: Cluster "health.panic" "health-panic", Kind::Percent, &[], "50%", Reload;
    /// How an endpoint is chosen: in turn, the less busy of two, the sooner of two (peak EWMA), at random, or by a key of the request (consistent hashing).
    Balance: Cluster "balance" "balance", Kind::Choice, &["round_robin", "least_request", "ewma", "random", "ring_hash", "maglev"], "round_robin", Reload;
    /// What requests are told apart by, for `ring_hash` and `maglev`. Those without it go to an endpoint at random.
    HashKey: Cluster "hash.key" "hash-key", Kind::HashKey, &[], "client", Reload;
    /// Least number of points of a ring or slots of a Maglev table. More spread keys more evenly.
    HashSize: Cluster "hash.size" "hash-size", count(64, hash::TABLE_MAX as u64), &[], "16384", Reload;
    /// Name of a cookie that brings a client back to the endpoint that answered it first, as long as that is healthy.
    EndpointCookie: Cluster "sticky.cookie" "endpoint-cookie", Kind::Token, &["off"], "off", Reload;
    /// How long a browser keeps that cookie.
    EndpointCookieTtl: Cluster "sticky.ttl" "endpoint-cookie-ttl", Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(365 * DAY), zero: Some("until it closes") }, &[], "0", Reload;
    /// How long an endpoint that is new or healthy again takes to get its whole share.
    SlowStart: Cluster "slow_start" "slow-start", time_or_off(1, HOUR), &[], "0", Reload;
    /// How soon the response times that `ewma` goes by are forgotten.
    EwmaDecay: Cluster "ewma.decay" "ewma-decay", time(1, HOUR), &[], "10s", Reload;
    /// Whether endpoints of the proxy's own zone come before others.
    Locality: Cluster "locality" "locality", Kind::Bool, &[], "true", Reload;
    /// Connections of a cluster over all workers, busy and idle; more is 503.
    BreakerConnections: Cluster "limits.connections" "cluster-connections", count_or_unlimited(10_000_000), &[], "0", Reload;
    /// Requests that may wait for a connection while `limits.connections` or `pool.connections` is reached; others are refused.
    BreakerPending: Cluster "limits.pending" "cluster-pending", Kind::Count { min: 1, max: 1_000_000, zero: Some("none waits") }, &[], "0", Reload;
    /// Requests of a cluster under way over all workers; more is 503.
    BreakerRequests: Cluster "limits.requests" "cluster-requests", count_or_unlimited(10_000_000), &[], "0", Reload;
    /// Retries of a cluster under way over all workers; a request that fails beyond is not sent again.
    BreakerRetries: Cluster "limits.retries" "cluster-retries", count_or_unlimited(10_000_000), &[], "0", Reload;
    /// Requests of one endpoint under way over all workers. One that has so many is not picked.
    EndpointRequests: Cluster "limits.endpoint_requests" "endpoint-requests", count_or_unlimited(10_000_000), &[], "0", Reload;
    /// Answers of 500 and more in a row, or none at all, after which an endpoint is ejected.
    Outlier5xx: Cluster "outlier.consecutive_5xx" "outlier-consecutive-5xx", count_or_off(100_000), &[], "0", Reload;
    /// Answers of 502, 503 and 504 in a row, or none at all, after which an endpoint is ejected.
    OutlierGateway: Cluster "outlier.consecutive_gateway_errors" "outlier-consecutive-gateway-errors", count_or_off(100_000), &[], "0", Reload;
    /// Percentage points by which an endpoint's share of successes within an interval may be below that of the others.
    OutlierSuccessRate: Cluster "outlier.success_rate" "outlier-success-rate", Kind::Percent, &["off"], "off", Reload;
    /// How many times the others' mean response time within an interval an endpoint's may be.
    OutlierLatency: Cluster "outlier.latency" "outlier-latency", Kind::Count { min: 2, max: 1_000, zero: Some("off") }, &[], "0", Reload;
    /// Requests within an interval below which an endpoint is not compared with the others.
    OutlierRequests: Cluster "outlier.requests" "outlier-requests", count(1, 1_000_000), &[], "100", Reload;
    /// How often endpoints are compared, and the time in peace that makes up for one ejection.
    OutlierInterval: Cluster "outlier.interval" "outlier-interval", time(100, HOUR), &[], "10s", Reload;
    /// How long an endpoint is ejected the first time, twice as long the second time in a row, and so on.
    OutlierEjectFor: Cluster "outlier.eject_for" "outlier-eject-for", time(10, DAY), &[], "30s", Reload;
    /// The longest ejection.
    OutlierEjectForMax: Cluster "outlier.eject_for_max" "outlier-eject-for-max", time(10, DAY), &[], "5m", Reload;
    /// Share of the endpoints that may be ejected at the same time; one of several always may.
    OutlierEjectAtMost: Cluster "outlier.eject_at_most" "outlier-eject-at-most", Kind::Percent, &[], "50%", Reload;
    /// Whether connections to endpoints begin with a PROXY protocol header.
    SendProxyProtocol: Cluster "send_proxy_protocol" "send-proxy-protocol", Kind::Choice, &["off", "v1", "v2"], "off", Reload;
    /// How long an unused connection to an endpoint is kept. Best below the origin's own keep-alive time.
    PoolIdleTimeout: Cluster "pool.idle_timeout" "pool-idle-timeout", time(1, DAY), &[], "55s", Reload;
    /// Age after which a connection to an endpoint is not used again.
    PoolLifetime: Cluster "pool.lifetime" "pool-lifetime", time_or_unlimited(1, 365 * DAY), &[], "0", Reload;
    /// Requests on one connection to an endpoint.
    PoolRequests: Cluster "pool.requests" "pool-requests", count_or_unlimited(1 << 40), &[], "0", Reload;
    /// Unused connections kept per endpoint over all workers.
    PoolIdle: Cluster "pool.idle" "pool-idle", count(0, 1_000_000), &[], "256", Reload;
    /// Connections per endpoint over all workers, busy and idle.
    PoolConnections: Cluster "pool.connections" "pool-connections", count_or_unlimited(1_000_000), &[], "0", Reload;
    /// Time for a connection to an endpoint; later is 504.
    ConnectTimeout: Cluster "timeouts.connect" "connect-timeout", time(1, HOUR), &[], "5s", Reload;
    /// From the end of the request to the end of the response head; later is 504.
    ResponseHeadTimeout: Cluster "timeouts.response_head" "response-head-timeout", time(1, DAY), &[], "60s", Reload;
    /// Longest time without progress of a response body from the origin.
    UpstreamBodyTimeout: Cluster "timeouts.response_body" "upstream-body-timeout", time(1, DAY), &[], "60s", Reload;
    /// Size of a response head; more is 502.
    ResponseHeadersBytes: Cluster "response.headers_bytes" "response-headers-bytes", size(512, MIB), &[], "64KiB", Reload;
    /// Fields of a response head; more is 502.
    ResponseHeadersCount: Cluster "response.headers_count" "response-headers-count", count(1, 10_000), &[], "100", Reload;

    /// Whether endpoints are spoken to with TLS. `auto` does where the cluster has a `tls` key, or endpoints begin with `https://`.
    UpstreamTls: Cluster "tls.enabled" "upstream-tls", Kind::Bool, &["auto"], "auto", Reload;
    /// Files of the authorities that issue certificates of endpoints; `system` for those that the system trusts.
    UpstreamTlsCa: Cluster "tls.ca" "upstream-tls-ca", Kind::Paths, &["system"], "system", Reload;
    /// Files of lists of revoked certificates. With any, each authority of an endpoint's chain needs a list that is not out of date.
    UpstreamTlsCrl: Cluster "tls.crl" "upstream-tls-crl", Kind::Paths, &[], "", Reload;
    /// A certificate, with its chain, for endpoints that ask for one.
    UpstreamTlsCert: Cluster "tls.cert" "upstream-tls-cert", Kind::Path, &["off"], "off", Reload;
    /// The key of that certificate.
    UpstreamTlsKey: Cluster "tls.key" "upstream-tls-key", Kind::Path, &["off"], "off", Reload;
    /// The name that endpoints are asked for (SNI) and verified by; `endpoint` is the host of each.
    UpstreamTlsServerName: Cluster "tls.server_name" "upstream-tls-server-name", Kind::Text, &["endpoint"], "endpoint", Reload;
    /// Protocols that are offered to endpoints (ALPN); `auto` follows `protocol`.
    UpstreamTlsAlpn: Cluster "tls.alpn" "upstream-tls-alpn", Kind::Names(tls::ALPN_NAMES), &["auto"], "auto", Reload;
    /// What is verified of endpoints: `full` is the chain and the name or identity, `no_name` the chain only, `none` nothing.
    UpstreamTlsVerify: Cluster "tls.verify" "upstream-tls-verify", Kind::Choice, &["full", "no_name", "none"], "full", Reload;
    /// SPIFFE IDs that endpoints may have, verified instead of the name; `*` stands for one segment of the path, `**` at the end for the rest.
    UpstreamTlsIdentity: Cluster "tls.identity" "upstream-tls-identity", Kind::Identities, &[], "", Reload;
    /// The lowest version of TLS that is spoken to endpoints.
    UpstreamTlsMinVersion: Cluster "tls.min_version" "upstream-tls-min-version", Kind::Choice, &["1.2", "1.3"], "1.2", Reload;
    /// Cipher suites for endpoints, in the order of preference.
    UpstreamTlsCipherSuites: Cluster "tls.cipher_suites" "upstream-tls-cipher-suites", Kind::Names(tls::SUITE_NAMES), &["default"], "default", Reload;
    /// Groups of the key exchange with endpoints, in the order of preference.
    UpstreamTlsGroups: Cluster "tls.groups" "upstream-tls-groups", Kind::Names(tls::GROUP_NAMES), &["default"], "default", Reload;
    /// Whether sessions with endpoints are resumed.
    UpstreamTlsResumption: Cluster "tls.session_resumption" "upstream-tls-session-resumption", Kind::Bool, &[], "true", Reload;
    /// The agent (SPIFFE Workload API) that the certificate for endpoints comes from and, without `ca`, whom to trust. `environment` takes `SPIFFE_ENDPOINT_SOCKET`.
    UpstreamTlsSpiffe: Cluster "tls.spiffe.socket" "upstream-tls-spiffe-socket", Kind::Text, &["off", "environment"], "off", Reload;

    /// The whole exchange, from the end of the request head; later is 504.
    RequestTimeout: Route "timeout" "request-timeout", time_or_unlimited(1, 30 * DAY), &[], "0", Reload;
    /// What a request is sent again after: `connect_failure`, `reset`, `refused_stream`, `timeout`, `gateway_error` (502, 503, 504), `retry_after` (429 or 503 that says when), `5xx`, `4xx`, or statuses such as 503.
    RetryOn: Route "retry.on" "retry-on", Kind::Conditions, &["off"], "off", Reload;
    /// How often a request is sent at most, the first time included.
    RetryAttempts: Route "retry.attempts" "retry-attempts", count(1, 10), &[], "2", Reload;
    /// Time of one try from its begin to the response head, not counting the time in which the client sends a body; later is 504, or another try.
    RetryPerTryTimeout: Route "retry.per_try_timeout" "retry-per-try-timeout", time_or_off(1, DAY), &[], "0", Reload;
    /// How many of the route's requests under way may be retries, over all workers.
    RetryBudget: Route "retry.budget" "retry-budget", Kind::Percent, &[], "20%", Reload;
    /// Retries that may run at a time whatever the budget comes to.
    RetryBudgetMin: Route "retry.budget_min" "retry-budget-min", count(0, 10_000), &[], "3", Reload;
    /// What the first retry waits for at most; the wait doubles with each further one, and is drawn at random below that.
    RetryBackoff: Route "retry.backoff" "retry-backoff", time_or_off(1, 60), &[], "25ms", Reload;
    /// The longest such wait.
    RetryBackoffMax: Route "retry.backoff_max" "retry-backoff-max", time_or_off(1, HOUR), &[], "250ms", Reload;
    /// The longest `Retry-After` of a response that is waited for; a response that asks for more is passed on.
    RetryAfter: Route "retry.retry_after_max" "retry-after-max", time_or_off(1_000, HOUR), &[], "1s", Reload;
    /// Bytes of a request body that are kept to be sent again; a request with more is not.
    RetryBodyBytes: Route "retry.body_bytes" "retry-body-bytes", size(0, 64 * MIB), &[], "64KiB", Reload;
    /// Which methods are sent again when the origin may have acted on the first try: those for which twice is the same as once, or all.
    RetryMethods: Route "retry.methods" "retry-methods", Kind::Choice, &["idempotent", "any"], "idempotent", Reload;
    /// After how long without an answer a second copy of an idempotent request without a body goes to another endpoint. It counts towards the retry budget; the first good answer is taken.
    HedgeDelay: Route "hedge.delay" "hedge-delay", time_or_off(1, HOUR), &[], "0", Reload;
    /// How long a mirror may take to answer its copy of a request.
    MirrorTimeout: Route "mirror.timeout" "mirror-timeout", time(1, HOUR), &[], "10s", Reload;
    /// Bytes of a request body that are kept for a mirror; a request with more is not mirrored.
    MirrorBodyBytes: Route "mirror.body_bytes" "mirror-body-bytes", size(0, 64 * MIB), &[], "64KiB", Reload;
    /// Copies for mirrors that may be under way on each worker; further ones are not made.
    MirrorRequests: Route "mirror.requests" "mirror-requests", count(1, 100_000), &[], "100", Reload;
    /// Whether origins are told in `x-envoy-expected-rq-timeout-ms` how long they have, where the route says, and whether that header is heeded from trusted proxies.
    DeadlineHeader: Route "deadline_header" "deadline-header", Kind::Bool, &[], "true", Reload;
    /// With several targets: the header whose value decides which of them a request goes to, always the same for the same value.
    StickyHeader: Route "sticky.header" "sticky-header", Kind::Text, &["none"], "none", Reload;
    /// With several targets: the cookie whose value decides which of them a request goes to.
    StickyCookie: Route "sticky.cookie" "sticky-cookie", Kind::Text, &["none"], "none", Reload;
    /// With several targets: whether the client's address decides which of them a request goes to.
    StickyClient: Route "sticky.client" "sticky-client", Kind::Bool, &[], "false", Reload;
    /// `Upgrade` tokens that may become a tunnel; `off` for none.
    Upgrades: Route "upgrades" "upgrades", Kind::Tokens, &["off"], "websocket", Reload;
    /// How long a tunnel may be silent.
    TunnelIdleTimeout: Route "tunnel_idle_timeout" "tunnel-idle-timeout", time(1, 30 * DAY), &[], "1h", Reload;
    /// Whether CONNECT is answered with a tunnel to the cluster; 405 otherwise.
    Connect: Route "connect" "connect", Kind::Bool, &[], "false", Reload;
    /// How long a gRPC call may be silent in both directions.
    GrpcIdleTimeout: Route "grpc.idle_timeout" "grpc-idle-timeout", time(1, 30 * DAY), &[], "1h", Reload;
    /// Statuses after which a gRPC call is sent again, as `retry` says, where the origin answered nothing else.
    GrpcRetryOn: Route "grpc.retry_on" "grpc-retry-on", Kind::Statuses, &["off"], "off", Reload;
    /// Web pages that may make gRPC-Web calls from another origin (CORS); `off` leaves that to the origin server.
    GrpcWebOrigins: Route "grpc.web_origins" "grpc-web-origins", Kind::Origins, &["off"], "off", Reload;
}

const fn time_or_none() -> Kind {
    Kind::Duration {
        min: Duration::from_millis(1),
        max: Duration::from_secs(DAY),
        zero: Some("stop at once"),
    }
}

impl Setting {
    /// The row of a setting.
    pub fn of(id: Id) -> &'static Setting {
        // `Id` and `SETTINGS` are made by one macro, in one order.
        &SETTINGS[id as usize]
    }

    /// The environment variable: the flag in capitals, or the key where there is no flag.
    pub fn env(&self) -> String {
        let name = if self.flag.is_empty() { self.key } else { self.flag };
        format!("RINGWAY_{}", name.to_ascii_uppercase().replace(['-', '.'], "_"))
    }

    /// The key where the file sets the value for the process, or the default of a scope.
    pub fn file_key(&self) -> String {
        match self.scope {
            Scope::Process => self.key.to_owned(),
            scope => format!("defaults.{}.{}", scope.plural(), self.key),
        }
    }

    /// The heading below which `--help` and the documentation show it.
    pub fn heading(&self) -> &'static str {
        match (self.scope, self.key.split('.').next().unwrap_or_default()) {
            (Scope::Process, "admin") => "Admin listener",
            (Scope::Process, "explain") => "Explaining requests",
            (Scope::Process, "access_log") => "Access log",
            (Scope::Process, "buffers" | "uring" | "splice" | "io") => "I/O and memory",
            (Scope::Process, _) => "Process",
            (_, "grpc") => "gRPC (defaults; a listener's or route's own value wins)",
            (Scope::Listener, "tls" | "redirect_to_https") => {
                "TLS of clients (defaults; a listener's own value wins)"
            }
            (Scope::Cluster, "tls") => "TLS to upstreams (defaults; a cluster's own value wins)",
            (Scope::Cluster, "balance" | "hash" | "sticky" | "slow_start" | "ewma" | "locality") => {
                "Load balancing (defaults; a cluster's own value wins)"
            }
            (Scope::Cluster, "limits") => "Circuit breakers (defaults; a cluster's own value wins)",
            (Scope::Cluster, "outlier") => "Ejection of endpoints (defaults; a cluster's own value wins)",
            (Scope::Cluster, "health") => "Health of endpoints (defaults; a cluster's own value wins)",
            (Scope::Listener, "http2") => "HTTP/2 of clients (defaults; a listener's own value wins)",
            (Scope::Cluster, "http2" | "protocol") => {
                "HTTP/2 to upstreams (defaults; a cluster's own value wins)"
            }
            (Scope::Listener, "tcp") => "Listeners of TCP (defaults; a listener's own value wins)",
            (Scope::Listener, "limits") => "Limits of listeners (defaults; a listener's own value wins)",
            (Scope::Listener, _) => "Listeners (defaults; a listener's own value wins)",
            (Scope::Cluster, _) => "Upstreams (defaults; a cluster's own value wins)",
            (Scope::Route, _) => "Routes (defaults; a route's own value wins)",
        }
    }

    /// The settings of a scope.
    pub fn of_scope(scope: Scope) -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(move |setting| setting.scope == scope)
    }

    /// What a value must look like.
    pub fn expected(&self) -> String {
        self.kind.expected(self.words)
    }
}

impl Scope {
    /// The name of the list in the file.
    pub fn plural(self) -> &'static str {
        match self {
            Scope::Process => "",
            Scope::Listener => "listeners",
            Scope::Cluster => "clusters",
            Scope::Route => "routes",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_at_its_id_and_has_a_valid_default() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(setting.id as usize, index);
            let parsed = setting.kind.parse(setting.words, setting.default);
            let value = parsed.unwrap_or_else(|mismatch| panic!("{}: {mismatch:?}", setting.key));
            let again = setting.kind.parse(setting.words, &value.show());
            assert_eq!(again, Ok(value), "{}: what is shown is not read again", setting.key);
            assert!(setting.help.ends_with('.'), "{}: help is sentences", setting.key);
        }
    }

    #[test]
    fn names_are_unique_within_what_names_them() {
        let mut seen = HashSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.file_key()), "key {}", setting.file_key());
            assert!(seen.insert(setting.env()), "variable {}", setting.env());
            assert!(
                setting.flag.is_empty() || seen.insert(format!("--{}", setting.flag)),
                "{}",
                setting.flag
            );
        }
    }
}
