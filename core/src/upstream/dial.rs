//! New connections to endpoints, and what is spoken on them.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use ringway_protocols::message::Method;

use super::pool::{ConnectionMeta, ConnectionPermit};
use super::{Active, Asked, Breaker, BreakerPermit, Cluster, Held, Place, Spoken, Upstream, connect, tls};
use crate::config::{ClusterConfig, UpstreamProtocol};
use crate::error::Reason;
use crate::http2;
use crate::io::{self as rt, Address};
use crate::transport::Transport;
use crate::worker::Worker;

/// What it takes to get to an endpoint of a cluster, whichever that is.
#[derive(Clone, Copy)]
pub struct Dial<'a> {
    pub worker: &'a Worker,
    pub place: Place,
    /// When a connection has to be there.
    pub deadline: Instant,
    pub asked: Asked<'a>,
}

impl Dial<'_> {
    /// When one connection has to be there, begun now.
    pub(super) fn until(&self, cluster: &ClusterConfig) -> Instant {
        self.deadline.min(rt::now() + cluster.connect_timeout)
    }
}

impl Cluster {
    /// Begins to speak HTTP/2 on a new connection.
    pub(super) fn speak_http2(&self, worker: &Worker, stream: Transport) -> http2::Client {
        let times = http2::ClientTimes {
            settings_timeout: self.config.multiplex.settings_timeout,
            socket_timeout: self.config.response_head_timeout,
        };
        let config = http2::settings::upstream(&self.config);
        http2::connect_client(stream, &config, times, worker.queue_limits(), &worker.stats)
    }

    /// Finds out what an endpoint speaks by greeting it in HTTP/2: an origin that knows only HTTP/1.1 takes the preface for a
    /// request that it refuses (RFC 9113 3.4 made it so). The first requests wait for the answer, which is remembered.
    ///
    /// With TLS the handshake says it (ALPN), and a connection that speaks HTTP/1.1 is of use: it is what is returned.
    pub(super) async fn probe(&self, dial: &Dial<'_>, index: usize) -> Result<Option<Upstream>, Reason> {
        let endpoint = &self.endpoints[index];
        let multiplex = &endpoint.multiplex;
        if multiplex.is_dialing() {
            multiplex.wait(dial.until(&self.config)).await?;
            return Ok(None);
        }
        let _dialing = multiplex.dial_begins();
        let upstream = match self.dial(dial, index, Offer::All).await {
            Ok(upstream) => upstream,
            Err(reason) => {
                multiplex.dial_failed(reason);
                return Err(reason);
            }
        };
        let secure = upstream.stream.tls().is_some();
        if secure && !has_agreed_on_http2(&upstream) {
            endpoint.speaks(Spoken::Http1);
            return Ok(Some(upstream));
        }
        let Upstream { stream, meta, .. } = upstream;
        let client = self.speak_http2(dial.worker, stream);
        if !secure {
            self.greeted(&client, dial).await;
        }
        if secure || (client.is_confirmed() && !client.is_closed()) {
            endpoint.speaks(Spoken::Http2);
            if dial.asked.greeting.is_none() {
                let meta = *meta;
                multiplex.add(client, meta.address, meta.permit);
            }
        } else {
            endpoint.speaks(Spoken::Http1);
        }
        Ok(None)
    }

    /// Waits for the SETTINGS of an origin. One that says nothing at all waits for a request that it understands.
    pub(super) async fn greeted(&self, client: &http2::Client, dial: &Dial<'_>) {
        let answered = poll_fn(|cx| {
            let mut seen = 0;
            while client.poll_change(cx, &mut seen).is_ready() {
                if client.is_confirmed() || client.is_closed() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        });
        let _ = rt::timeout_at(dial.until(&self.config), answered).await;
    }

    /// A new connection for HTTP/1.1, or for what the client makes of it.
    pub(super) async fn dial_http1(&self, dial: &Dial<'_>, index: usize) -> Result<Upstream, Reason> {
        let offer = match self.config.protocol {
            _ if dial.asked.method == Method::Connect => Offer::Tunnel,
            UpstreamProtocol::Http1 => Offer::All,
            UpstreamProtocol::Http2 | UpstreamProtocol::Auto => Offer::Http1,
        };
        self.dial(dial, index, offer).await
    }

    /// A new connection for HTTP/2.
    pub(super) async fn dial_http2(&self, dial: &Dial<'_>, index: usize) -> Result<Upstream, Reason> {
        let upstream = self.dial(dial, index, Offer::All).await?;
        let Some(facts) = upstream.stream.tls() else { return Ok(upstream) };
        let auto = self.config.protocol == UpstreamProtocol::Auto;
        // An origin that names no protocol is taken at the configuration's word, where that is clear.
        if has_agreed_on_http2(&upstream) || (facts.alpn.is_none() && !auto) {
            return Ok(upstream);
        }
        if auto {
            upstream.endpoint.speaks(Spoken::Http1);
        }
        Err(Reason::UpstreamTlsProtocol)
    }

    async fn dial(&self, dial: &Dial<'_>, index: usize, offer: Offer) -> Result<Upstream, Reason> {
        let endpoint = self.endpoints.get(index).ok_or(Reason::NoEndpoint)?;
        let unlimited = dial.asked.unlimited;
        let limit = if unlimited { 0 } else { self.config.pool.connections_max };
        let breaker = if unlimited { BreakerPermit::default() } else { self.connection_permit(index)? };
        let permit =
            ConnectionPermit::acquire(&endpoint.shared, limit, breaker).ok_or(Reason::UpstreamLimit)?;
        let active = Active::new(endpoint);
        let connected = self.connect(dial, index, offer).await;
        dial.worker.count_connect(dial.place.cluster, index, connected.is_ok());
        let (address, stream) = connected?;
        let meta = Box::new(ConnectionMeta { address, created: rt::now(), requests: 0, permit });
        let endpoint = Rc::clone(endpoint);
        let _held = Held::default();
        Ok(Upstream { stream, endpoint, index, meta, reused: false, _held, _active: active })
    }

    /// Counts a connection of the cluster. At the limit, one that is idle at another endpoint makes room.
    fn connection_permit(&self, index: usize) -> Result<BreakerPermit, Reason> {
        let take = || self.shared.take(Breaker::Connections, &self.config.breakers);
        take().or_else(|reason| {
            let mut others = self.endpoints.iter().enumerate().filter(|(other, _)| *other != index);
            let idle = others.find_map(|(_, endpoint)| endpoint.pool.lend(&self.config.pool, rt::now()));
            idle.map_or(Err(reason), |idle| {
                drop(idle);
                take()
            })
        })
    }

    /// Connects, says who the client is where that is wanted, and speaks TLS where the cluster does.
    async fn connect(
        &self,
        dial: &Dial<'_>,
        index: usize,
        offer: Offer,
    ) -> Result<(Address, Transport), Reason> {
        let deadline = dial.until(&self.config);
        let (endpoint, config) =
            self.endpoints.get(index).zip(self.config.endpoints.get(index)).ok_or(Reason::NoEndpoint)?;
        let first = endpoint.dials.get();
        endpoint.dials.set(first.wrapping_add(1));
        let addresses = Rc::clone(&endpoint.addresses.borrow());
        let connected = connect::connect(&addresses, first % addresses.len().max(1), deadline).await;
        let (address, stream) = connected.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Reason::ConnectTimeout,
            _ => Reason::ConnectFailed,
        })?;
        let mut stream = Transport::from(stream);
        if let Some(greeting) = dial.asked.greeting {
            stream.send(greeting.to_vec()).map_err(|_| Reason::ConnectFailed)?;
        }
        if let Some(tls) = &self.config.tls {
            let name = tls.name_for(config).ok_or(Reason::UpstreamTlsName)?;
            let settings = match offer {
                Offer::All => tls.config(),
                Offer::Http1 => tls.config_http1(),
                Offer::Tunnel => tls.config_tunnel(),
            };
            let secured =
                rt::timeout_at(deadline, tls::secure(dial.worker, &mut stream, settings, name)).await;
            tls::account(dial.worker, &self.config.name, endpoint, &stream, secured)?;
        }
        Ok((address, stream))
    }
}

/// Which protocols are offered in a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// Those of the cluster.
    All,
    /// HTTP/1.1 only: no other would be of use.
    Http1,
    /// Those that are said to be spoken within connections that clients decide about.
    Tunnel,
}

fn has_agreed_on_http2(upstream: &Upstream) -> bool {
    upstream.stream.tls().is_some_and(|facts| facts.alpn.as_deref() == Some(b"h2"))
}
