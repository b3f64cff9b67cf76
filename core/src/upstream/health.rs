//! The prober: endpoints are asked for their health, by one worker on behalf of all.
//!
//! What it finds stands in [`EndpointShared`](super::EndpointShared), where every worker sees it at its next pick.

use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ringway_protocols::http1::{
    self, BodyDecoder, BodyStep, HeadLimits, Parsed, RequestEdits, TrailerLimits,
};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};

use super::{Asked, Cluster, Dial, Endpoint, Place, Spoken, Upstream};
use crate::config::{HealthConfig, HealthKind, HttpHealth, ProxyProtocolVersion};
use crate::error::Reason;
use crate::grpc;
use crate::http2::{BodyPiece, StreamHandle};
use crate::io as rt;
use crate::log_info;
use crate::worker::Worker;

/// More of a body is not looked at.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Heads that may come before the final one.
const INTERIM_MAX: u32 = 8;
const HEAD_LIMITS: HeadLimits = HeadLimits { bytes_max: 16 * 1024, fields_max: 100, target_bytes_max: 4096 };
const TRAILER_LIMITS: TrailerLimits = TrailerLimits { bytes_max: 16 * 1024, fields_max: 100 };

/// Asks an endpoint for as long as a cluster of this name has it and asks for its health. What was found is kept
/// where the cluster changes otherwise, so that frequent changes do not keep an endpoint from being found bad.
pub async fn watch(worker: Rc<Worker>, endpoint: Weak<Endpoint>, cluster: String) {
    let (mut good, mut bad) = (0, 0);
    while let Some(endpoint) = endpoint.upgrade() {
        let Some((cluster, place, index)) = find(&worker, &endpoint, &cluster) else { return };
        let Some(health) = cluster.config.health.clone() else {
            // It may be asked for again by a later configuration.
            return endpoint.watched.set(false);
        };
        let serving = is_serving(&worker, &cluster, place, index, &health).await;
        (good, bad) = if serving { (good + 1, 0) } else { (0, bad + 1) };
        let healthy = &endpoint.shared.healthy;
        if serving && good >= health.healthy_after && !healthy.swap(true, Relaxed) {
            endpoint.shared.since.store(worker.shared.millis(rt::now()), Relaxed);
            cluster.shared.changed();
            log_info!("endpoint {} of {} is healthy again", endpoint.name, cluster.config.name);
        } else if bad >= health.unhealthy_after && healthy.swap(false, Relaxed) {
            cluster.shared.changed();
            log_info!("endpoint {} of {} is not healthy", endpoint.name, cluster.config.name);
        }
        drop((endpoint, cluster));
        rt::sleep_until(rt::now() + jittered(health.interval, worker.random())).await;
    }
}

/// Where an endpoint stands in the configuration in use.
fn find(worker: &Worker, endpoint: &Rc<Endpoint>, cluster: &str) -> Option<(Rc<Cluster>, Place, usize)> {
    let view = worker.view();
    let at = view.clusters.iter().position(|now| now.config.name == cluster)?;
    let cluster = view.clusters.get(at)?;
    let index = cluster.endpoints.iter().position(|now| Rc::ptr_eq(now, endpoint))?;
    Some((Rc::clone(cluster), Place { revision: view.config().revision, cluster: at }, index))
}

/// Up to a tenth more or less, so that endpoints, and proxies, are not all asked at the same moment.
fn jittered(interval: Duration, random: u64) -> Duration {
    interval * (900 + (random % 201) as u32) / 1000
}

async fn is_serving(
    worker: &Worker,
    cluster: &Cluster,
    place: Place,
    index: usize,
    health: &HealthConfig,
) -> bool {
    let deadline = rt::now() + health.timeout;
    // A connection of its own, with HTTP/1.1 as with plain TCP.
    let dial = Dial { worker, place, deadline, asked: cluster.question(Method::Get) };
    let asked = async {
        match &health.kind {
            HealthKind::Tcp => cluster.dial_http1(&dial, index).await.map(|_| true).ok(),
            HealthKind::Grpc { service } => {
                let origin = cluster.health_stream(&dial, index).await.ok()?;
                grpc::health::ask(&origin.stream, &origin.endpoint.name, service).await
            }
            HealthKind::Http(http) => cluster.ask_http(&dial, index, http).await,
        }
    };
    rt::timeout_at(deadline, asked).await.ok().flatten().unwrap_or(false)
}

impl Cluster {
    /// A stream on which an endpoint is asked for its health.
    async fn health_stream(
        &self,
        dial: &Dial<'_>,
        index: usize,
    ) -> Result<super::multiplex::OriginStream, Reason> {
        self.stream(&Dial { asked: self.question(Method::Post), ..*dial }, index).await
    }

    fn question(&self, method: Method) -> Asked<'static> {
        // Nobody's connection: the PROXY protocol has a word for that.
        let greeting: Option<&[u8]> = self.config.send_proxy_protocol.map(|version| match version {
            ProxyProtocolVersion::V1 => &b"PROXY UNKNOWN\r\n"[..],
            ProxyProtocolVersion::V2 => &b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"[..],
        });
        Asked { unlimited: true, ..Asked::plain(method, greeting) }
    }

    /// One question by HTTP; `None` where it failed.
    async fn ask_http(&self, dial: &Dial<'_>, index: usize, http: &HttpHealth) -> Option<bool> {
        let endpoint = self.endpoints.get(index)?;
        let host = match &http.host {
            Some(host) => host.as_str(),
            None if endpoint.name.starts_with("unix:") => "localhost",
            None => &endpoint.name,
        };
        let path = &http.path;
        let fields = format!("host: {host}\r\nuser-agent: ringway-health\r\naccept: */*\r\n");
        let (status, body) = if self.spoken(endpoint) == Some(Spoken::Http2) {
            let origin = self.health_stream(dial, index).await.ok()?;
            let request = format!("GET {path} HTTP/1.1\r\n{fields}\r\n");
            over_http2(&origin.stream, request.as_bytes(), http.body.is_some()).await?
        } else {
            let upstream = self.dial_http1(dial, index).await.ok()?;
            let request = format!("GET {path} HTTP/1.1\r\n{fields}connection: close\r\n\r\n");
            upstream.stream.send(request.into_bytes()).ok()?;
            over_http1(&upstream, http.body.is_some()).await?
        };
        Some(http.accepts(status, &body))
    }
}

/// Reads an answer of HTTP/1.1: its status, and the start of its body where that is wanted.
async fn over_http1(upstream: &Upstream, wants_body: bool) -> Option<(u16, Vec<u8>)> {
    let mut received = Vec::new();
    let mut head = ResponseHead::default();
    for _ in 0..INTERIM_MAX {
        while http1::parse_response(&received, &HEAD_LIMITS, Method::Get, &mut head).ok()? != Parsed::Complete
        {
            receive(upstream, &mut received).await.filter(|more| *more)?;
        }
        received.drain(..(head.bytes as usize).min(received.len()));
        if !head.is_interim() {
            break;
        }
    }
    let mut body = Vec::new();
    if !wants_body {
        return Some((head.status, body));
    }
    let mut decoder = BodyDecoder::new(head.body, &TRAILER_LIMITS);
    loop {
        let mut at = 0;
        while body.len() < BODY_BYTES_MAX {
            let rest = received.get(at..).unwrap_or_default();
            at += match decoder.next(rest).ok()? {
                BodyStep::Data(length) => {
                    body.extend_from_slice(rest.get(..length).unwrap_or_default());
                    length
                }
                BodyStep::Framing(length) => length,
                BodyStep::NeedMore => break,
                _ => return Some((head.status, body)),
            };
        }
        received.clear();
        if body.len() >= BODY_BYTES_MAX || !receive(upstream, &mut received).await? {
            return decoder
                .eof()
                .ok()
                .or((body.len() >= BODY_BYTES_MAX).then_some(()))
                .map(|()| (head.status, body));
        }
    }
}

/// Takes in more; `false` at the end.
async fn receive(upstream: &Upstream, into: &mut Vec<u8>) -> Option<bool> {
    let chunk = poll_fn(|cx| upstream.stream.poll_recv(cx)).await.ok()?;
    into.extend_from_slice(&chunk);
    Some(!chunk.is_empty())
}

/// The same of a stream of HTTP/2.
async fn over_http2(stream: &StreamHandle, request: &[u8], wants_body: bool) -> Option<(u16, Vec<u8>)> {
    let mut head = RequestHead::default();
    http1::parse_request(request, &HEAD_LIMITS, &mut head).ok()?;
    let scheme = if stream.tls().is_some() { "https" } else { "http" };
    stream.send_request(request, &head, &RequestEdits::default(), scheme, true).ok()?;
    let (status, mut ended) = loop {
        let (received, end) = poll_fn(|cx| stream.poll_response(cx)).await.ok()?;
        if !received.head.is_interim() {
            break (received.head.status, end);
        }
    };
    let mut body = Vec::new();
    while wants_body && !ended && body.len() < BODY_BYTES_MAX {
        match poll_fn(|cx| stream.poll_body(cx)).await.ok()? {
            BodyPiece::Data(data, end) => {
                stream.consumed(data.len());
                body.extend_from_slice(&data);
                ended = end;
            }
            _ => ended = true,
        }
    }
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_spread_by_a_tenth() {
        let of = |random| jittered(Duration::from_secs(10), random).as_millis();
        assert_eq!([of(0), of(100), of(200), of(201)], [9_000, 10_000, 11_000, 9_000]);
    }
}
