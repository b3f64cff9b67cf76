//! Who asked, for what, and through whom: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via` (RFC 9110 7.6.3).
//!
//! What an untrusted peer says of this is dropped whatever its spelling, and replaced. What a trusted peer says is
//! kept, and the peer is added to it.

use std::io::Write;
use std::net::IpAddr;

use ringway_protocols::message::{FieldKind, KindSet, RequestHead, Version};

use crate::cidr::CidrSet;

/// Which fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedStyle {
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    Both,
    Off,
}

impl ForwardedStyle {
    fn x_forwarded(self) -> bool {
        matches!(self, ForwardedStyle::XForwarded | ForwardedStyle::Both)
    }

    fn forwarded(self) -> bool {
        matches!(self, ForwardedStyle::Forwarded | ForwardedStyle::Both)
    }
}

/// The last hop, as this proxy saw it.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// Who connected, or whom the PROXY protocol names; `None` for a UNIX socket.
    pub peer: Option<IpAddr>,
    /// Whether the peer is one whose forwarding fields are believed.
    pub trusted: bool,
    /// `http` or `https`: how the request came.
    pub scheme: &'a str,
    /// The authority that was asked for.
    pub host: &'a [u8],
}

/// Kinds of fields that must not pass as they are. The request id is the caller's to keep, so it is not among them.
pub fn dropped_kinds(style: ForwardedStyle, trusted: bool) -> KindSet {
    if !trusted {
        return UNTRUSTED;
    }
    // From a trusted peer only what is written anew goes; the rest stays as it came.
    let mut kinds = KindSet::EMPTY;
    if style.x_forwarded() {
        kinds.insert(FieldKind::XForwardedFor);
    }
    if style.forwarded() {
        kinds.insert(FieldKind::Forwarded);
    }
    kinds
}

const UNTRUSTED: KindSet = KindSet::of(&[
    FieldKind::Forwarded,
    FieldKind::XForwardedFor,
    FieldKind::XForwardedProto,
    FieldKind::XForwardedHost,
    FieldKind::XForwardedClientCert,
    FieldKind::XForwardedOther,
    FieldKind::XRealIp,
    FieldKind::XClientIp,
    FieldKind::XOriginal,
    FieldKind::XConsumer,
    FieldKind::XRingwayReason,
]);

/// Appends the field lines for a request whose fields of [`dropped_kinds`] are left out.
pub fn render(out: &mut Vec<u8>, style: ForwardedStyle, hop: &Hop<'_>, head: &RequestHead, bytes: &[u8]) {
    if style.x_forwarded() {
        render_x_forwarded(out, hop, head, bytes);
    }
    if style.forwarded() {
        render_forwarded(out, hop, head, bytes);
    }
}

/// Appends a `Via` line for a message that was received in this version. Earlier hops' lines stay before it.
pub fn render_via(out: &mut Vec<u8>, received: Version) {
    out.extend_from_slice(match received {
        Version::Http10 => b"via: 1.0 ringway\r\n",
        Version::Http11 => b"via: 1.1 ringway\r\n",
        Version::Http2 => b"via: 2.0 ringway\r\n",
    });
}

fn render_x_forwarded(out: &mut Vec<u8>, hop: &Hop<'_>, head: &RequestHead, bytes: &[u8]) {
    let kept = hop.trusted && head.kinds.contains(FieldKind::XForwardedFor);
    if kept || hop.peer.is_some() {
        out.extend_from_slice(b"x-forwarded-for: ");
        if kept {
            push_values(out, FieldKind::XForwardedFor, head, bytes);
        }
        if let Some(peer) = hop.peer {
            if kept {
                out.extend_from_slice(b", ");
            }
            push_address(out, peer);
        }
        out.extend_from_slice(b"\r\n");
    }
    let said = |kind| hop.trusted && head.kinds.contains(kind);
    if !said(FieldKind::XForwardedProto) {
        push_line(out, b"x-forwarded-proto: ", hop.scheme.as_bytes());
    }
    if !said(FieldKind::XForwardedHost) && !hop.host.is_empty() {
        push_line(out, b"x-forwarded-host: ", hop.host);
    }
}

/// RFC 7239 4.
fn render_forwarded(out: &mut Vec<u8>, hop: &Hop<'_>, head: &RequestHead, bytes: &[u8]) {
    out.extend_from_slice(b"forwarded: ");
    if hop.trusted && head.kinds.contains(FieldKind::Forwarded) {
        push_values(out, FieldKind::Forwarded, head, bytes);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(b"for=");
    match hop.peer.map(|peer| peer.to_canonical()) {
        // RFC 7239 6: an IPv6 address is in brackets, and brackets need quotes.
        Some(peer @ IpAddr::V6(_)) => {
            out.extend_from_slice(b"\"[");
            push_address(out, peer);
            out.extend_from_slice(b"]\"");
        }
        Some(peer) => push_address(out, peer),
        None => out.extend_from_slice(b"unknown"),
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(hop.scheme.as_bytes());
    if !hop.host.is_empty() {
        out.extend_from_slice(b";host=");
        // The grammar of an authority has nothing that would have to be escaped within quotes.
        let quoted = hop.host.iter().any(|b| matches!(b, b':' | b'[' | b']'));
        if quoted {
            out.push(b'"');
        }
        out.extend_from_slice(hop.host);
        if quoted {
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// All values of a kind as one list: several lines mean the same (RFC 9110 5.3).
fn push_values(out: &mut Vec<u8>, kind: FieldKind, head: &RequestHead, bytes: &[u8]) {
    let values = head.fields.iter().filter(|field| field.kind == kind).map(|field| field.value.of(bytes));
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(value);
    }
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        // By hand: the formatting machinery costs more than the rest of these fields together.
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                push_octet(out, octet);
            }
        }
        // Writing to a vector cannot fail.
        v6 @ IpAddr::V6(_) => drop(write!(out, "{v6}")),
    }
}

fn push_octet(out: &mut Vec<u8>, octet: u8) {
    if octet >= 100 {
        out.push(b'0' + octet / 100);
    }
    if octet >= 10 {
        out.push(b'0' + octet / 10 % 10);
    }
    out.push(b'0' + octet % 10);
}

/// The client: the nearest address of the chain that is not a trusted forwarder's.
///
/// Reads `X-Forwarded-For`, or `Forwarded` where that is the style, from the end, because everything left of the
/// first untrusted hop is hearsay.
pub fn client_address(
    style: ForwardedStyle,
    peer: IpAddr,
    trusted: &CidrSet,
    head: &RequestHead,
    bytes: &[u8],
) -> IpAddr {
    let kind =
        if style == ForwardedStyle::Forwarded { FieldKind::Forwarded } else { FieldKind::XForwardedFor };
    let mut client = peer.to_canonical();
    if !head.kinds.contains(kind) || !trusted.contains(client) {
        return client;
    }
    let lines = head.fields.iter().rev().filter(|field| field.kind == kind);
    for element in lines.flat_map(|field| field.value.of(bytes).rsplit(|b| *b == b',')) {
        let address = if kind == FieldKind::Forwarded { forwarded_for(element) } else { Some(element) };
        let Some(address) = address.and_then(parse_address) else { return client };
        client = address;
        if !trusted.contains(client) {
            return client;
        }
    }
    client
}

/// The `for` parameter of one element of `Forwarded`.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    element.split(|b| *b == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })
}

/// An address as forwarders write it: with or without port, brackets and quotes.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']).trim_matches('"');
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    }
    text.rsplit_once(':')?.0.parse::<IpAddr>().ok()
}

#[cfg(test)]
mod tests;
