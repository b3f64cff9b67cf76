//! What the origin gets to see: the path in its normal form, and the request head with its forwarding fields.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::UNIX_EPOCH;

use ringway_policies::changes::RequestChanges;
use ringway_policies::path::{self, PathVerdict};
use ringway_policies::{forwarded, request_id};
use ringway_protocols::http1::{self, ConnectionField, RequestEdits};
use ringway_protocols::message::{FieldKind, KindSet, Method, RequestHead};
use ringway_protocols::{authority, proxy_protocol, websocket};

use super::deadline::EXPECTED_TIMEOUT;
use super::{Exchange, Failure, RequestId};
use crate::config::{ClusterConfig, ProxyProtocolVersion, RouteConfig};
use crate::error::Reason;
use crate::io as rt;

impl Exchange<'_> {
    /// Brings the path into the one form that is matched and sent.
    ///
    /// # Errors
    /// [`Reason::BadRequest`] for a path that means different things to different readers.
    pub(super) fn normalise_path(&self) -> Result<(), Failure> {
        if self.head.method == Method::Connect {
            return Ok(());
        }
        // Few paths are changed: for the others this takes no memory.
        let mut normal = Vec::new();
        match path::check_or_normalise(self.head.path_of(self.bytes), self.listener.path_rules, &mut normal) {
            Ok(PathVerdict::Unchanged) => {}
            Ok(PathVerdict::Normalised) => *self.normal_path.borrow_mut() = Some(normal),
            Err(error) => return Err(Failure { reason: Reason::BadRequest, detail: error.to_string() }),
        }
        Ok(())
    }

    /// Finds out whom to believe and who the client is.
    pub(super) fn identify_client(&self) {
        let Some(peer) = self.peer_ip() else { return };
        let config = &self.listener.forwarded;
        if config.trusted.contains(peer) {
            self.trusted.set(true);
            let client =
                forwarded::client_address(config.style, peer, &config.trusted, self.head, self.bytes);
            self.client_ip.set(Some(client));
        }
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        self.client_address.map(|client| client.ip())
    }

    /// Appends the request head as an origin that speaks HTTP/1.1 gets it.
    pub(super) fn write_request(&self, out: &mut Vec<u8>, route: &RouteConfig) {
        self.with_request_edits(route, |edits| http1::write_request(out, self.bytes, self.head, edits));
    }

    /// Works out what is changed in the request head, whatever the origin speaks.
    pub(super) fn with_request_edits<R>(
        &self,
        route: &RouteConfig,
        write: impl FnOnce(&RequestEdits<'_>) -> R,
    ) -> R {
        let config = &self.listener.forwarded;
        let trusted = self.trusted.get();
        let mut append = rt::take_vec();
        let hop = forwarded::Hop {
            peer: self.peer_ip(),
            trusted,
            scheme: if self.client.tls().is_some() { "https" } else { "http" },
            host: self.head.authority.of(self.bytes),
        };
        forwarded::render(&mut append, config.style, &hop, self.head, self.bytes);
        let mut drop = forwarded::dropped_kinds(config.style, trusted);
        // The token is for this proxy, whether it is the right one or not.
        drop.insert(FieldKind::XRingwayExplain);
        self.write_request_id(&mut append, &mut drop);
        self.forward_client_certificate(&mut append, &mut drop);
        if config.via {
            forwarded::render_via(&mut append, self.head.version);
        }
        if let Some(call) = &self.call {
            call.edit_request(&mut append, &mut drop, self.deadline.get());
        }
        let policies = self.policies.borrow();
        let changes = policies.as_ref().map(|policies| &policies.request);
        if let Some(changes) = changes {
            drop = drop.union(changes.headers.kinds());
            append.extend_from_slice(changes.headers.lines());
        }
        let mut drop_names =
            Cow::Borrowed(changes.map(|changes| changes.headers.names()).unwrap_or_default());
        if self.push_deadline(&mut append) {
            drop_names.to_mut().push(EXPECTED_TIMEOUT.to_vec());
        }
        let target = self.changed_target(changes);
        // RFC 9110 section 7.8: an upgrade that is not forwarded is simply not asked for.
        let upgrade = self.wanted_protocol(route);
        let endpoint = self.record.endpoint.borrow();
        // HTTP/1.0 may come without a host. HTTP/1.1 may not go without one, and origins refuse an empty one.
        let host = endpoint
            .as_ref()
            .map(|(_, endpoint)| &*endpoint.name)
            .filter(|name| self.head.authority.is_empty() && authority::parse(name.as_bytes()).is_some());
        let edits = RequestEdits {
            drop,
            drop_names: &drop_names,
            target: target.as_deref(),
            host: changes.and_then(|changes| changes.host.as_deref()).or(host.map(str::as_bytes)),
            append: &append,
            connection: upgrade.map_or(ConnectionField::None, ConnectionField::Upgrade),
            // gRPC needs its trailers whatever the client of gRPC-Web understands.
            te_trailers: self.head.te_trailers || self.call.as_ref().is_some_and(|call| call.is_translated()),
        };
        let written = write(&edits);
        rt::give_vec(append);
        written
    }

    /// The protocol that the client wants to switch to, if the route allows that.
    pub(super) fn wanted_protocol(&self, route: &RouteConfig) -> Option<&[u8]> {
        let field = self.head.upgrade?;
        websocket::upgrade_token(field.of(self.bytes), &route.upgrades)
    }

    /// The target that the origin gets, where it is not the one that was received.
    fn changed_target(&self, changes: Option<&RequestChanges>) -> Option<Vec<u8>> {
        target_of(self.head, self.bytes, self.normal_path.borrow().as_deref(), changes)
    }

    /// Keeps the request id of a trusted peer, or makes one. A repeated attempt keeps the first.
    pub(super) fn settle_request_id(&self) {
        let mut id = self.record.request_id.borrow_mut();
        if !self.listener.forwarded.request_id || !matches!(*id, RequestId::None) {
            return;
        }
        let received = self.head.lookup(FieldKind::XRequestId).map(|id| id.of(self.bytes));
        if self.trusted.get() && received.is_some_and(request_id::may_be_kept) {
            *id = RequestId::Received;
            return;
        }
        let unix_ms =
            self.worker.wall(self.record.started).duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis());
        let random = u128::from(self.worker.random()) << 64 | u128::from(self.worker.random());
        *id = RequestId::Made(request_id::uuid_v7(unix_ms as u64, random));
    }

    fn write_request_id(&self, append: &mut Vec<u8>, drop: &mut KindSet) {
        self.settle_request_id();
        if let RequestId::Made(made) = &*self.record.request_id.borrow() {
            drop.insert(FieldKind::XRequestId);
            append.extend_from_slice(b"x-request-id: ");
            append.extend_from_slice(made);
            append.extend_from_slice(b"\r\n");
        }
    }

    /// Appends the PROXY protocol header that a new connection starts with, where the cluster asks for one.
    ///
    /// Such a connection says who the client is, so it carries the requests of that client only.
    pub(super) fn write_proxy_header(&self, out: &mut Vec<u8>, cluster: &ClusterConfig) {
        write_proxy_header(out, cluster, self.client_address.zip(self.client.local_address()));
    }
}

/// What a connection begins with where its cluster wants to know the client. `addresses`: the client's, and ours.
pub(crate) fn write_proxy_header(
    out: &mut Vec<u8>,
    cluster: &ClusterConfig,
    addresses: Option<(SocketAddr, SocketAddr)>,
) {
    let Some(version) = cluster.send_proxy_protocol else { return };
    match (version, addresses) {
        (ProxyProtocolVersion::V1, Some((source, destination))) => {
            proxy_protocol::write_v1(out, source, destination);
        }
        (ProxyProtocolVersion::V2, Some((source, destination))) => {
            proxy_protocol::write_v2(out, source, destination);
        }
        // A client on a UNIX socket has no address: UNKNOWN and LOCAL say so.
        (ProxyProtocolVersion::V1, None) => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        (ProxyProtocolVersion::V2, None) => {
            out.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
        }
    }
}

/// The target that an origin gets, where it is not the one that was received. `normal_path`: where that is another.
pub(crate) fn target_of(
    head: &RequestHead,
    bytes: &[u8],
    normal_path: Option<&[u8]>,
    changes: Option<&RequestChanges>,
) -> Option<Vec<u8>> {
    let path = changes.and_then(|changes| changes.path.as_deref());
    let query = changes.and_then(|changes| changes.query.as_deref());
    if (path.is_none() && query.is_none() && normal_path.is_none()) || head.method == Method::Connect {
        return None;
    }
    let mut target = path.or(normal_path).unwrap_or_else(|| head.path_of(bytes)).to_vec();
    let received = || head.query.map(|query| query.of(bytes));
    // A query that is changed to nothing is none.
    let query = query.map_or_else(received, |query| Some(query).filter(|query| !query.is_empty()));
    if let Some(query) = query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    Some(target)
}

/// Whether the origin may switch to `chosen`: the protocol that was asked for on the client's behalf.
pub(super) fn may_switch(route: &RouteConfig, asked: &[u8], chosen: &[u8]) -> bool {
    websocket::upgrade_token(asked, &route.upgrades)
        .is_some_and(|token| websocket::is_same_protocol(token, chosen))
}

/// Whether connections of this cluster can be shared between clients.
pub(super) fn is_poolable(cluster: &ClusterConfig) -> bool {
    cluster.send_proxy_protocol.is_none()
}
