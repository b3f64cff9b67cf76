//! What is known of one exchange when it ends: the input of the access log and of the statistics.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::Reason;
use crate::grpc::CallOutcome;
use crate::transport::TlsFacts;

/// One finished exchange. Borrowed from the exchange's own state: nothing is copied to make it.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// Indices into the configuration that the exchange ran under.
    pub listener: usize,
    pub route: Option<usize>,
    pub cluster: Option<usize>,
    pub worker: usize,
    /// Address of the endpoint as text, once one was picked.
    pub endpoint: &'a str,
    /// Its index in `ClusterConfig::endpoints`: where the name that it was resolved from stands.
    pub endpoint_index: Option<usize>,
    /// The client: the peer, or who the PROXY protocol or a trusted forwarder names.
    pub client: Option<IpAddr>,
    /// Raw bytes as received; empty where the head could not be read.
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub host: &'a [u8],
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: &'static str,
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    pub request_id: &'a [u8],
    /// Status sent to the client, or 499 where it went away before one was.
    pub status: u16,
    /// Why, where the proxy answered itself or cut the exchange.
    pub reason: Option<Reason>,
    /// Body bytes received from and sent to the client, framing not counted.
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
    /// Requests sent upstream for this exchange (2 and more: it was retried).
    pub attempts: u32,
    /// Whether the upstream connection came out of the pool.
    pub upstream_reused: bool,
    /// What is known besides where the exchange is a gRPC call.
    pub grpc: Option<CallOutcome<'a>>,
    /// What the client agreed on in TLS.
    pub tls: Option<&'a TlsFacts>,
    pub phases: Phases,
}

/// Points in time of one exchange. A phase that was never reached is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    /// For who asks when `started` was.
    pub clock: WallClock,
    /// First byte of the request.
    pub started: Instant,
    /// The request head was complete.
    pub head_received: Instant,
    /// An upstream connection was at hand.
    pub connected: Option<Instant>,
    /// The first byte of the response arrived from upstream.
    pub first_byte: Option<Instant>,
    pub ended: Instant,
}

impl Phases {
    /// Wall-clock time of `started`.
    pub fn wall(&self) -> SystemTime {
        self.clock.of(self.started)
    }
}

/// A monotonic and a wall-clock reading of the same moment, from which the wall-clock time of others follows.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    at: Instant,
    wall: SystemTime,
    unix_secs: u64,
}

impl WallClock {
    pub fn new(at: Instant, wall: SystemTime) -> WallClock {
        let unix_secs = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        WallClock { at, wall, unix_secs }
    }

    pub fn of(&self, at: Instant) -> SystemTime {
        match at.checked_duration_since(self.at) {
            Some(later) => self.wall + later,
            None => self.wall - self.at.duration_since(at),
        }
    }

    /// Seconds since 1970, when it was read.
    pub fn unix_secs(&self) -> u64 {
        self.unix_secs
    }
}
