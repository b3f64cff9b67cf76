//! Other protocols in place of a response, where HTTP/2 is spoken on at least one side.
//!
//! | client | origin | asked with | answered with |
//! |---|---|---|---|
//! | HTTP/2 | HTTP/1.1 | extended CONNECT → `Upgrade` | 101 → 200 |
//! | HTTP/1.1 | HTTP/2 | `Upgrade` → extended CONNECT | 200 → 101 |
//! | HTTP/2 | HTTP/2 | extended CONNECT, passed on | 200 |
//!
//! WebSocket over HTTP/2 has no key to answer (RFC 8441 5): towards HTTP/1.1 one is made here, and its answer checked.

use ringway_protocols::http1::{RequestEdits, ResponseEdits};
use ringway_protocols::message::{FieldKind, ResponseHead};
use ringway_protocols::websocket;

use super::{Client, Exchange, Failure, add};
use crate::config::RouteConfig;
use crate::error::Reason;
use crate::exchange::download::OWN_FIELDS;
use crate::exchange::{failure_of, forwarding};
use crate::io as rt;
use crate::upstream::Origin;

const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";

/// The key that an origin of HTTP/1.1 is to answer.
pub(super) type Key = [u8; websocket::KEY_BYTES];

impl Exchange<'_> {
    /// A key for the origin, where the client speaks a protocol that has none.
    pub(super) fn make_key(&self, route: &RouteConfig) -> Option<Key> {
        let websocket = self.wanted_protocol(route).is_some_and(is_websocket);
        if !self.head.extended_connect || !websocket || self.request_field(KEY).is_some() {
            return None;
        }
        let random = u128::from(self.worker.random()) << 64 | u128::from(self.worker.random());
        Some(websocket::key_of(random))
    }

    /// Appends the head of a request for another protocol as an origin of HTTP/1.1 gets it.
    pub(super) fn write_upgrade(&self, out: &mut Vec<u8>, key: &Key, edits: &RequestEdits<'_>) {
        let mut append = rt::take_vec();
        append.extend_from_slice(edits.append);
        for part in [KEY, b": ", key, b"\r\n"] {
            append.extend_from_slice(part);
        }
        let edits = RequestEdits { append: &append, ..*edits };
        ringway_protocols::http1::write_request(out, self.bytes, self.head, &edits);
        rt::give_vec(append);
    }

    /// Whether `response` opens a tunnel; if so, it has been passed on.
    ///
    /// # Errors
    /// [`Reason::UpgradeRefused`] where the origin takes another turn than it was asked to.
    pub(super) fn switched(
        &self,
        origin: &Origin,
        route: &RouteConfig,
        response: &ResponseHead,
        bytes: &[u8],
        key: Option<&Key>,
    ) -> Result<bool, Failure> {
        match origin {
            Origin::Http1(_) if response.status == 101 => {
                let chosen = response.upgrade.unwrap_or_default().of(bytes);
                let asked = self.head.upgrade.unwrap_or_default().of(self.bytes);
                if !forwarding::may_switch(route, asked, chosen) || !self.is_answered(response, bytes, key) {
                    return Err(Reason::UpgradeRefused.into());
                }
            }
            // To a client of HTTP/2 it would mean that the tunnel is open.
            Origin::Http1(_) if self.head.extended_connect && is_success(response) => {
                return Err(Reason::UpgradeRefused.into());
            }
            Origin::Http2(origin) if origin.takes_protocol && is_success(response) => {}
            _ => return Ok(false),
        }
        self.open_tunnel(response, bytes)?;
        Ok(true)
    }

    /// Whether an origin of HTTP/1.1 has read the key.
    fn is_answered(&self, response: &ResponseHead, bytes: &[u8], key: Option<&Key>) -> bool {
        let key = match key {
            Some(key) => &key[..],
            // Not WebSocket, or the client has a key of its own and checks the answer to it.
            None => return true,
        };
        let accept = response.fields.iter().find(|field| field.name.of(bytes).eq_ignore_ascii_case(ACCEPT));
        accept.is_some_and(|field| field.value.of(bytes) == websocket::accept_of(key))
    }

    /// Tells the client that the protocol was switched.
    fn open_tunnel(&self, response: &ResponseHead, bytes: &[u8]) -> Result<(), Failure> {
        match self.client {
            Client::Http2(stream) => {
                self.begin_tunnel(200);
                let edits = ResponseEdits { drop: OWN_FIELDS, ..ResponseEdits::default() };
                add(&self.record.wire.to_client, bytes.len());
                stream
                    .send_response(bytes, response, &edits, false)
                    .map_err(|_| Failure::from(Reason::ClientClosed))
            }
            Client::Http1(down) => {
                self.begin_tunnel(101);
                let mut out = rt::take_vec();
                self.write_switched(&mut out, response, bytes);
                add(&self.record.wire.to_client, out.len());
                down.send(out).map_err(|error| failure_of(&error, Reason::ClientClosed))
            }
        }
    }

    /// The 101 of HTTP/1.1 for the 200 of an extended CONNECT.
    fn write_switched(&self, out: &mut Vec<u8>, response: &ResponseHead, bytes: &[u8]) {
        out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        let mut line = |name: &[u8], value: &[u8]| {
            for part in [name, b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        };
        let framing = |kind| matches!(kind, FieldKind::ContentLength | FieldKind::TransferEncoding);
        let kept = response.fields.iter().filter(|field| {
            !field.hop_by_hop
                && !OWN_FIELDS.contains(field.kind)
                && !framing(field.kind)
                && !field.name.of(bytes).eq_ignore_ascii_case(ACCEPT)
        });
        for field in kept {
            line(field.name.of(bytes), field.value.of(bytes));
        }
        let protocol = self.head.upgrade.unwrap_or_default().of(self.bytes);
        if is_websocket(protocol)
            && let Some(key) = self.request_field(KEY)
        {
            line(ACCEPT, &websocket::accept_of(key));
        }
        line(b"connection", b"upgrade");
        line(b"upgrade", protocol);
        out.extend_from_slice(b"\r\n");
    }

    /// The value of a field of the request that has no kind of its own.
    fn request_field(&self, name: &[u8]) -> Option<&[u8]> {
        let fields = self.head.fields.iter().filter(|field| field.kind == FieldKind::Other);
        let mut fields = fields.filter(|field| field.name.of(self.bytes).eq_ignore_ascii_case(name));
        fields.next().map(|field| field.value.of(self.bytes))
    }
}

fn is_success(response: &ResponseHead) -> bool {
    (200..300).contains(&response.status)
}

fn is_websocket(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"websocket")
}
