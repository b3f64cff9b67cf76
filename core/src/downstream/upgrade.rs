//! `Upgrade: h2c`: HTTP/2 on a connection that began with a request of HTTP/1.1 (RFC 7540 3.2, which RFC 9113 3.1 leaves to
//! those who still want it: off unless the listener says otherwise, and never forwarded).

use ringway_protocols::http2::decode_settings_field;
use ringway_protocols::message::{RequestHead, Version};

use super::Downstream;
use crate::config::ListenerConfig;
use crate::http2::{ReceivedRequest, server::Upgraded};

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";

/// Answers 101 where a request asks for HTTP/2 and may have it. A request that may not is one of HTTP/1.1 like any other.
pub(super) fn accept(
    config: &ListenerConfig,
    conn: &Downstream,
    head: &mut RequestHead,
    bytes: &[u8],
) -> Option<Box<Upgraded>> {
    // `upgrade` is only set for HTTP/1.1, where `Connection` names it, and where there is no body.
    let asked = head.upgrade.filter(|_| config.http2.enabled && config.http2.upgrade)?;
    if !lists_h2c(asked.of(bytes)) {
        return None;
    }
    let mut fields = head.fields.iter().filter(|field| is_settings(field.name.of(bytes)));
    let (settings, more) = (fields.next()?, fields.next());
    // Exactly one, and for this connection only (RFC 7540 3.2.1).
    if more.is_some() || !settings.hop_by_hop {
        return None;
    }
    let settings = decode_settings_field(settings.value.of(bytes))?;
    conn.stream.send(SWITCHING).ok()?;
    let mut request = ReceivedRequest::take();
    let received = &mut *request;
    std::mem::swap(&mut received.head, head);
    received.bytes.extend_from_slice(bytes);
    // From here on it is a request of HTTP/2; what asked for the switch is marked as hop-by-hop.
    received.head.version = Version::Http2;
    received.head.upgrade = None;
    received.head.keep_alive = true;
    Some(Box::new(Upgraded { request, settings }))
}

/// `Upgrade` may list several protocols (RFC 9110 7.8).
fn lists_h2c(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

fn is_settings(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"http2-settings")
}
