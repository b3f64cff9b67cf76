//! The numbers of one worker.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::counter::{Counter, Gauge, group};
use super::grpc::{MethodNames, MethodStats};
use super::histogram::{Histogram, Measured};
use super::labels::{Labels, Slots};
use crate::error::{REASONS, Reason};
use crate::outcome::Outcome;

/// First and last status code with a number of its own; others share one.
pub const STATUS_MIN: u16 = 100;
pub const STATUS_MAX: u16 = 599;
const STATUSES: usize = (STATUS_MAX - STATUS_MIN) as usize + 2;
/// 1xx to 5xx, and anything else.
pub const CLASSES: usize = 6;
/// Names of the classes, by index.
pub const CLASS_NAMES: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

group! {
    /// Connections of clients.
    pub struct ConnectionStats {
        accepted: Counter "connections_accepted" "Client connections accepted";
        open: Gauge "connections_open" "Client connections open now";
        handed_over: Counter "connections_handed_over" "Accepted sockets given to a lighter worker";
        taken_over: Counter "connections_taken_over" "Accepted sockets taken from a busier worker";
        accept_errors: Counter "accept_errors" "Failures to accept, descriptors used up among them";
        tunnels_open: Gauge "tunnels_open" "Tunnels (upgraded, CONNECT and plain TCP) open now";
        bytes_in: Counter "downstream_received_bytes" "Bytes received from clients, heads and framing included";
        bytes_out: Counter "downstream_sent_bytes" "Bytes sent to clients, heads and framing included";
    }
}

group! {
    /// Exchanges: one request and its response.
    pub struct ExchangeStats {
        started: Counter "requests" "Requests whose head was read";
        open: Gauge "exchanges_open" "Exchanges that run now";
        retries: Counter "retries" "Requests sent upstream again";
        retries_denied: Counter "retries_denied" "Requests not sent again because the retry budget of their route was used up";
        hedges: Counter "hedged_requests" "Requests of which a second copy was sent because the first was slow";
        mirrors: Counter "mirrored_requests" "Copies of requests sent to mirrors";
        mirrors_skipped: Counter "mirror_skipped_requests" "Copies not made: too many under way, or the body longer than is kept";
        mirror_failures: Counter "mirror_failures" "Copies that got no complete answer in their time";
        body_bytes_in: Counter "request_body_bytes" "Bytes of request bodies, framing not counted";
        body_bytes_out: Counter "response_body_bytes" "Bytes of response bodies, framing not counted";
        spliced_bytes: Counter "spliced_bytes" "Bytes that passed by splice, without entering user space";
        access_log_dropped: Counter "access_log_dropped_lines" "Access log lines dropped because the writer was behind";
    }
}

group! {
    /// Connections to endpoints.
    pub struct PoolStats {
        hits: Counter "pool_hits" "Exchanges that found an idle upstream connection";
        misses: Counter "pool_misses" "Exchanges that had to connect";
        borrowed: Counter "pool_borrowed" "Idle connections taken over from another worker";
        lent: Counter "pool_lent" "Idle connections given to another worker";
        discarded: Counter "pool_discarded" "Idle connections thrown away: closed by the origin, too old, or not clean";
        connects: Counter "upstream_connects" "Connections made to endpoints";
        connect_failures: Counter "upstream_connect_failures" "Connections to endpoints that failed";
        idle: Gauge "upstream_connections_idle" "Idle upstream connections now";
        open: Gauge "upstream_connections_open" "Upstream connections open now, busy and idle";
        unhealthy: Gauge "upstream_endpoints_unhealthy" "Endpoints that health checks found not to be healthy";
        ejected: Gauge "upstream_endpoints_ejected" "Endpoints that are ejected because of how they answered";
        ejections: Counter "upstream_ejections" "Ejections of endpoints because of how they answered";
        bytes_in: Counter "upstream_received_bytes" "Bytes received from endpoints";
        bytes_out: Counter "upstream_sent_bytes" "Bytes sent to endpoints";
    }
}

group! {
    /// HTTP/2 with clients.
    pub struct Http2Stats {
        connections: Counter "http2_connections" "Client connections that spoke HTTP/2, upgraded ones among them";
        connections_open: Gauge "http2_connections_open" "Client connections open now that speak HTTP/2";
        upgrades: Counter "http2_upgrades" "Client connections that began with HTTP/1.1 and Upgrade: h2c";
        streams: Counter "http2_streams" "Streams opened by clients";
        streams_open: Gauge "http2_streams_open" "Streams of clients open now";
        malformed: Counter "http2_malformed_requests" "Streams of clients that were reset because their request was malformed";
        resets_in: Counter "http2_resets_received" "Streams that clients reset";
        resets_out: Counter "http2_resets_sent" "Streams of clients that were reset here";
        goaways_in: Counter "http2_goaways_received" "GOAWAY frames from clients";
        goaways_out: Counter "http2_goaways_sent" "Client connections that were told to end, in good order or for an error";
        errors: Counter "http2_connection_errors" "Client connections ended because a rule or a limit was broken";
    }
}

group! {
    /// HTTP/2 with endpoints.
    pub struct UpstreamHttp2Stats {
        connections: Counter "upstream_http2_connections" "Connections to endpoints that spoke HTTP/2";
        connections_open: Gauge "upstream_http2_connections_open" "Connections to endpoints open now that speak HTTP/2";
        streams: Counter "upstream_http2_streams" "Streams opened to endpoints";
        streams_open: Gauge "upstream_http2_streams_open" "Streams to endpoints open now";
        resets_in: Counter "upstream_http2_resets_received" "Streams that endpoints reset";
        resets_out: Counter "upstream_http2_resets_sent" "Streams to endpoints that were reset here";
        goaways_in: Counter "upstream_http2_goaways_received" "GOAWAY frames from endpoints";
        goaways_out: Counter "upstream_http2_goaways_sent" "Connections to endpoints that were ended here";
        errors: Counter "upstream_http2_connection_errors" "Connections to endpoints ended because they broke a rule or a limit";
    }
}

group! {
    /// TLS with clients.
    pub struct TlsStats {
        handshakes: Counter "tls_handshakes" "TLS handshakes of clients that were completed, resumed ones among them";
        resumed: Counter "tls_resumed" "TLS handshakes of clients that resumed a session";
        version_12: Counter "tls_version_12" "TLS handshakes of clients that agreed on TLS 1.2";
        failures: Counter "tls_handshake_failures" "TLS handshakes of clients that failed";
        timeouts: Counter "tls_handshake_timeouts" "TLS handshakes of clients that were not complete in time";
        refused: Counter "tls_handshakes_refused" "TLS handshakes that were refused because the client began too many";
        plain_http: Counter "tls_plain_http" "Connections that spoke plain HTTP where TLS is spoken";
        open: Gauge "tls_handshakes_open" "TLS handshakes of clients under way now";
    }
}

group! {
    /// TLS with endpoints.
    pub struct UpstreamTlsStats {
        handshakes: Counter "upstream_tls_handshakes" "TLS handshakes with endpoints that were completed, resumed ones among them";
        resumed: Counter "upstream_tls_resumed" "TLS handshakes with endpoints that resumed a session";
        version_12: Counter "upstream_tls_version_12" "TLS handshakes with endpoints that agreed on TLS 1.2";
        failures: Counter "upstream_tls_handshake_failures" "TLS handshakes with endpoints that failed or were not complete in time";
    }
}

group! {
    /// The event loop: copied from the runtime's own counters by the worker's tick.
    pub struct IoStats {
        turns: Counter "loop_turns" "Turns of the event loop";
        enters: Counter "kernel_enters" "Calls of io_uring_enter or epoll_wait";
        completions: Counter "completions" "Completions or readiness events handled";
        tasks: Gauge "tasks" "Tasks that live now";
        panics: Counter "task_panics" "Tasks that panicked and lost their connection";
        buffers_used: Gauge "buffers_used" "Receive buffers that are held now";
        buffers_exhausted: Counter "buffers_exhausted" "Receives that found no free buffer";
        buffer_bytes: Gauge "buffer_bytes" "Memory of all receive buffers of the worker";
        memory_resets: Counter "memory_resets" "Connections reset because the worker was at its memory limit";
        queue_overflows: Counter "completion_queue_overflows" "Times the completion queue overflowed";
        mailbox_full: Counter "mailbox_full" "Messages to another worker that found its mailbox full";
    }
}

/// Exchanges by class of their status.
#[derive(Debug, Default)]
pub struct ByClass([Counter; CLASSES]);

impl ByClass {
    #[inline]
    fn count(&self, status: u16) {
        if let Some(counter) = self.0.get(class_of(status)) {
            counter.increment();
        }
    }

    /// The numbers, by class.
    pub fn read(&self) -> [u64; CLASSES] {
        std::array::from_fn(|class| self.0.get(class).map_or(0, Counter::get))
    }
}

/// Index into [`CLASS_NAMES`].
#[inline]
fn class_of(status: u16) -> usize {
    usize::from(status / 100).wrapping_sub(1).min(CLASSES - 1)
}

/// Exchanges by exact status.
#[derive(Debug)]
pub struct ByStatus([Counter; STATUSES]);

impl Default for ByStatus {
    fn default() -> Self {
        ByStatus([const { Counter::new() }; STATUSES])
    }
}

impl ByStatus {
    #[inline]
    fn count(&self, status: u16) {
        let index = usize::from(status).wrapping_sub(usize::from(STATUS_MIN)).min(STATUSES - 1);
        if let Some(counter) = self.0.get(index) {
            counter.increment();
        }
    }

    /// Every status that occurred, and how often; `None` stands for those outside of 100 to 599.
    pub fn read(&self) -> impl Iterator<Item = (Option<u16>, u64)> + '_ {
        let code = |index: usize| (index + 1 < STATUSES).then_some(STATUS_MIN + index as u16);
        self.0.iter().enumerate().map(move |(index, n)| (code(index), n.get())).filter(|(_, n)| *n > 0)
    }
}

/// One number for each [`Reason`].
#[derive(Debug)]
pub struct ByReason([Counter; REASONS.len()]);

impl Default for ByReason {
    fn default() -> Self {
        ByReason([const { Counter::new() }; REASONS.len()])
    }
}

impl ByReason {
    #[inline]
    pub fn count(&self, reason: Reason) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.increment();
        }
    }

    /// Code and number of every reason.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REASONS.iter().zip(&self.0).map(|(info, n)| (info.code, n.get()))
    }
}

/// Of one listener.
#[derive(Debug, Default)]
pub struct ListenerStats {
    pub connections_accepted: Counter,
    pub connections_open: Gauge,
    pub connections_refused: Counter,
    pub responses: ByClass,
    pub body_bytes_in: Counter,
    pub body_bytes_out: Counter,
}

/// Of one route.
#[derive(Debug, Default)]
pub struct RouteStats {
    pub responses: ByClass,
    pub body_bytes_in: Counter,
    pub body_bytes_out: Counter,
    /// Made at the route's first exchange: 5,000 idle routes then cost no memory.
    pub duration: OnceLock<Box<Histogram>>,
}

/// Of one cluster.
#[derive(Debug, Default)]
pub struct ClusterStats {
    pub responses: ByClass,
    pub retries: Counter,
    pub connects: Counter,
    pub connect_failures: Counter,
    pub connections_open: Gauge,
    /// From the complete request head to the first byte of the response; made at the first exchange.
    pub first_byte: OnceLock<Box<Histogram>>,
}

/// Of one endpoint, as the configuration writes it.
#[derive(Debug, Default)]
pub struct EndpointStats {
    pub responses: ByClass,
    pub connects: Counter,
    pub connect_failures: Counter,
    pub connections_open: Gauge,
}

/// All numbers of one worker. Only that worker writes them; see [`super::counter`].
///
/// Aligned so that two workers never share a cache line (nor a pair that is fetched together).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    index: usize,
    pub connections: ConnectionStats,
    pub exchanges: ExchangeStats,
    pub pool: PoolStats,
    pub http2: Http2Stats,
    pub upstream_http2: UpstreamHttp2Stats,
    pub tls: TlsStats,
    pub upstream_tls: UpstreamTlsStats,
    pub io: IoStats,
    /// Connections that were not served, by why.
    pub refused: ByReason,
    /// Exchanges that ended with a reason.
    pub reasons: ByReason,
    pub responses: ByClass,
    pub statuses: ByStatus,
    /// First byte of the request to the end of the exchange.
    pub duration: Histogram,
    /// Complete request head to the first byte of the response.
    pub first_byte: Histogram,
    /// Complete request head to an upstream connection, where one had to be made.
    pub connect: Histogram,
    pub(super) listeners: Slots<ListenerStats>,
    pub(super) routes: Slots<RouteStats>,
    pub(super) clusters: Slots<ClusterStats>,
    pub(super) endpoints: Slots<EndpointStats>,
    pub(super) methods: Slots<MethodStats>,
    pub(super) method_names: Arc<MethodNames>,
}

impl WorkerStats {
    pub(super) fn new(index: usize, method_names: Arc<MethodNames>) -> WorkerStats {
        WorkerStats { index, method_names, ..WorkerStats::default() }
    }

    /// Index of the worker.
    pub fn index(&self) -> usize {
        self.index
    }

    /// A request head was read. Each call is followed by one of [`Self::on_exchange`] or [`Self::on_exchange_lost`].
    #[inline]
    pub fn on_exchange_started(&self) {
        self.exchanges.started.increment();
        self.exchanges.open.increment();
    }

    /// The task of an exchange ended without an outcome: it panicked or was aborted.
    pub fn on_exchange_lost(&self) {
        self.exchanges.open.decrement();
    }

    /// Counts a finished exchange. `labels` are those of the configuration that the exchange ran under.
    #[inline]
    pub fn on_exchange(&self, labels: &Labels, outcome: &Outcome<'_>) {
        let (status, phases) = (outcome.status, &outcome.phases);
        self.exchanges.open.decrement();
        self.exchanges.body_bytes_in.add(outcome.request_body_bytes);
        self.exchanges.body_bytes_out.add(outcome.response_body_bytes);
        self.responses.count(status);
        self.statuses.count(status);
        if let Some(reason) = outcome.reason {
            self.reasons.count(reason);
        }
        let duration = Measured::of(phases.ended.saturating_duration_since(phases.started));
        self.duration.add(duration);

        let listener = self.listener(labels, outcome.listener);
        listener.responses.count(status);
        listener.body_bytes_in.add(outcome.request_body_bytes);
        listener.body_bytes_out.add(outcome.response_body_bytes);
        if let Some(route) = outcome.route {
            let route = self.route(labels, route);
            route.responses.count(status);
            route.body_bytes_in.add(outcome.request_body_bytes);
            route.body_bytes_out.add(outcome.response_body_bytes);
            route.duration.get_or_init(Box::default).add(duration);
        }
        if let Some(cluster) = outcome.cluster {
            self.on_upstream(labels, cluster, outcome);
        }
    }

    #[inline]
    fn on_upstream(&self, labels: &Labels, cluster: usize, outcome: &Outcome<'_>) {
        let phases = &outcome.phases;
        let since_head = |at| -> Duration { phases.head_received.max(phases.started).elapsed_until(at) };
        let stats = self.cluster(labels, cluster);
        stats.responses.count(outcome.status);
        let retries = u64::from(outcome.attempts.saturating_sub(1));
        if retries > 0 {
            self.exchanges.retries.add(retries);
            stats.retries.add(retries);
        }
        if let Some(at) = phases.connected
            && !outcome.upstream_reused
        {
            self.connect.record(since_head(at));
        }
        if let Some(at) = phases.first_byte {
            let waited = Measured::of(since_head(at));
            self.first_byte.add(waited);
            stats.first_byte.get_or_init(Box::default).add(waited);
        }
        if let Some(endpoint) = outcome.endpoint_index {
            self.endpoint(labels, cluster, endpoint).responses.count(outcome.status);
        }
    }

    /// Numbers of the listener with this index in the configuration of `labels`.
    #[inline]
    pub fn listener(&self, labels: &Labels, index: usize) -> &ListenerStats {
        self.listeners.get(labels.listeners.get(index).map_or(0, |label| label.slot))
    }

    #[inline]
    pub fn route(&self, labels: &Labels, index: usize) -> &RouteStats {
        self.routes.get(labels.routes.get(index).map_or(0, |label| label.slot))
    }

    #[inline]
    pub fn cluster(&self, labels: &Labels, index: usize) -> &ClusterStats {
        self.clusters.get(labels.clusters.get(index).map_or(0, |label| label.label.slot))
    }

    /// Numbers of an endpoint by its index in `ClusterConfig::endpoints`.
    #[inline]
    pub fn endpoint(&self, labels: &Labels, cluster: usize, index: usize) -> &EndpointStats {
        let cluster = labels.clusters.get(cluster);
        self.endpoints.get(cluster.and_then(|c| c.endpoints.get(index)).map_or(0, |label| label.slot))
    }
}

/// `Instant` arithmetic that cannot panic, read in the order of time.
trait ElapsedUntil {
    fn elapsed_until(self, at: std::time::Instant) -> Duration;
}

impl ElapsedUntil for std::time::Instant {
    #[inline]
    fn elapsed_until(self, at: std::time::Instant) -> Duration {
        at.saturating_duration_since(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_fall_into_their_class() {
        let table = [
            (100, 0),
            (199, 0),
            (200, 1),
            (304, 2),
            (404, 3),
            (499, 3),
            (503, 4),
            (599, 4),
            (600, 5),
            (0, 5),
            (99, 5),
            (999, 5),
        ];
        for (status, class) in table {
            assert_eq!(class_of(status), class, "{status}");
        }
    }

    #[test]
    fn exact_statuses_are_kept_and_odd_ones_share_one_number() {
        let by_status = ByStatus::default();
        for status in [100, 200, 200, 599, 0, 99, 600, 65_535] {
            by_status.count(status);
        }
        let read: Vec<_> = by_status.read().collect();
        assert_eq!(read, [(Some(100), 1), (Some(200), 2), (Some(599), 1), (None, 4)]);
    }
}
