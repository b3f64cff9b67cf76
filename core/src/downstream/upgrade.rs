//! `Upgrade: h2c`: HTTP/2 on a connection that began with a request of HTTP/1.1 (RFC 7540 3.2, which RFC 9113 3.1 leaves to
//! those who still want it: off unless the listener says otherwise, and never forwarded).

use ringway_protocols::message::{Field, FieldKind, RequestHead, Version};

use super::Downstream;
use crate::config::ListenerConfig;
use crate::http2::ReceivedRequest;
use crate::http2::server::Upgraded;
use crate::http2::settings;

const SETTINGS: &[u8] = b"http2-settings";
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";

/// Answers 101 where a request asks for HTTP/2 and may have it. A request that may not is one of HTTP/1.1 like any other.
pub(super) fn accept(
    config: &ListenerConfig,
    conn: &Downstream,
    head: &mut RequestHead,
    bytes: &[u8],
) -> Option<Box<Upgraded>> {
    // `upgrade` is only set for HTTP/1.1, where `Connection` names it, and where there is no body.
    let http2 = settings::of(config);
    // In TLS the protocol was agreed on before (RFC 9113 3.2).
    let plain = conn.stream.tls().is_none();
    let asked = head.upgrade.filter(|_| plain && http2.enabled && http2.upgrade)?;
    // `Upgrade` may list several protocols (RFC 9110 7.8).
    if !lists(asked.of(bytes), b"h2c") {
        return None;
    }
    let mut fields = head.fields.iter().filter(|field| field.name.of(bytes).eq_ignore_ascii_case(SETTINGS));
    let (settings, more) = (fields.next()?, fields.next());
    // Exactly one, and for this connection only (RFC 7540 3.2.1).
    let listed = |field: &Field| lists(field.value.of(bytes), SETTINGS);
    let is_option = head.fields.iter().any(|field| field.kind == FieldKind::Connection && listed(field));
    if more.is_some() || !is_option {
        return None;
    }
    let settings = decode_base64url(settings.value.of(bytes))?;
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

/// Whether a list of tokens has this one.
fn lists(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token))
}

/// RFC 4648 5, without padding, as RFC 7540 3.2.1 has it.
fn decode_base64url(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut pending, mut bits) = (0u32, 0);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        pending = pending << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((pending >> bits) as u8);
            pending &= (1 << bits) - 1;
        }
    }
    // One digit left over is no byte, and bits left over are zero.
    (bits < 6 && pending == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_base64url_without_padding() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(decode_base64url(text.as_bytes()).as_deref(), expected, "{text:?}");
        };
        check("", Some(b""));
        check("AAMAAABkAAQAAP__", Some(b"\0\x03\0\0\0\x64\0\x04\0\0\xff\xff"));
        check("AA", Some(b"\0"));
        check("AAA", Some(b"\0\0"));
        check("A", None);
        check("AB", None);
        check("AA==", None);
        check("A+/A", None);
        check("A A", None);
    }

    #[test]
    fn h2c_may_be_one_of_several_protocols() {
        for (value, expected) in
            [("h2c", true), ("H2C", true), ("foo, h2c", true), ("h2", false), ("h2c2", false), ("", false)]
        {
            assert_eq!(lists(value.as_bytes(), b"h2c"), expected, "{value}");
        }
    }
}
