//! What TLS has to do with an exchange: which hosts a connection may be asked for, what the origin learns of the client's
//! certificate, and what the client learns of TLS.

use std::io::Write;

use ringway_policies::changes;
use ringway_protocols::authority;
use ringway_protocols::message::{FieldKind, KindSet, RequestHead};

use super::{Exchange, Failure};
use crate::error::Reason;

impl Exchange<'_> {
    /// Refuses what this connection must not be asked for.
    ///
    /// # Errors
    /// [`Reason::MisdirectedRequest`] where the host has another certificate or asks its clients for one, which was not
    /// what the handshake was about (CVE-2025-23419), or where connections for it are passed on; [`Reason::RedirectToHttps`] where the listener wants TLS.
    pub(super) fn check_tls(&self) -> Result<(), Failure> {
        if self.listener.tls.is_none() && self.listener.redirect_to_https.is_none() {
            return Ok(());
        }
        let host = self.asked_host();
        if let (Some(tls), Some(facts)) = (&self.listener.tls, self.client.tls()) {
            // A name that is not text is for no certificate.
            let host = std::str::from_utf8(host).unwrap_or("?");
            // The same host, fully qualified (RFC 3986, 3.2.2); names of certificates have no dot at the end.
            let host = host.strip_suffix('.').unwrap_or(host);
            // A wildcard of ours may cover a host whose handshakes are for somebody else.
            let passed_on =
                self.listener.passthrough.is_some() && self.listener.passes_on(&host.to_ascii_lowercase());
            if passed_on || tls.is_misdirected(facts.server_name.as_deref(), host) {
                return Err(Reason::MisdirectedRequest.into());
            }
        }
        match self.listener.redirect_to_https {
            // Without a host there is nowhere to be sent to.
            Some(_) if host.is_empty() => Err(Reason::BadRequest.into()),
            Some(_) => Err(Reason::RedirectToHttps.into()),
            None => Ok(()),
        }
    }

    /// The host that the request names, without a port.
    fn asked_host(&self) -> &[u8] {
        asked_host(self.head, self.bytes)
    }

    /// Tells the origin about the client's certificate, where the listener says so. What the client itself says about
    /// one is never passed on.
    pub(super) fn forward_client_certificate(&self, append: &mut Vec<u8>, drop: &mut KindSet) {
        let Some(tls) = &self.listener.tls else { return };
        // Who speaks TLS with us is known by TLS; what it says about its own clients counts where it is trusted.
        if !tls.settings().client_auth.forward {
            return;
        }
        drop.insert(FieldKind::XForwardedClientCert);
        if let Some(peer) = self.client.tls().and_then(|facts| facts.peer()) {
            peer.push_header(append);
        }
    }

    /// The line that tells browsers to come back with TLS only, or nothing. It means nothing without TLS (RFC 6797, 7.2), and
    /// there is to be one only (7.1): that of a policy counts.
    pub(super) fn hsts_line(&self) -> &[u8] {
        let line = self.listener.tls.as_ref().map_or("", |tls| tls.hsts_line());
        let said = || self.response_headers().is_some_and(|changes| says_hsts(changes.lines()));
        if line.is_empty() || said() { b"" } else { line.as_bytes() }
    }

    /// What is left out of responses for the sake of that line: there is to be one only.
    pub(super) fn hsts_drop(&self) -> KindSet {
        if self.hsts_line().is_empty() {
            return KindSet::EMPTY;
        }
        KindSet::of(&[FieldKind::StrictTransportSecurity])
    }

    /// Lines of a local reply.
    pub(super) fn tls_reply_lines(&self, reason: Reason) -> Vec<u8> {
        let mut lines = self.hsts_line().to_vec();
        if reason == Reason::RedirectToHttps {
            let port = self.listener.redirect_to_https;
            push_https_location(
                &mut lines,
                self.head,
                self.bytes,
                self.normal_path.borrow().as_deref(),
                port,
            );
        }
        lines
    }
}

/// The host that a request names, without a port.
fn asked_host<'b>(head: &RequestHead, bytes: &'b [u8]) -> &'b [u8] {
    let whole = head.authority.of(bytes);
    authority::parse(whole).map_or(whole, |authority| authority.host)
}

/// The line that sends a client to the same place with TLS.
pub(crate) fn push_https_location(
    lines: &mut Vec<u8>,
    head: &RequestHead,
    bytes: &[u8],
    normal_path: Option<&[u8]>,
    port: Option<u16>,
) {
    lines.extend_from_slice(b"location: https://");
    lines.extend_from_slice(asked_host(head, bytes));
    if let Some(port) = port.filter(|port| *port != 443) {
        // Writing to a vector cannot fail.
        let _ = write!(lines, ":{port}");
    }
    // `*` of OPTIONS is no path that one could be sent to.
    let received = Some(head.path_of(bytes)).filter(|path| path.starts_with(b"/"));
    lines.extend_from_slice(normal_path.or(received).unwrap_or(b"/"));
    if let Some(query) = head.query {
        lines.push(b'?');
        lines.extend_from_slice(query.of(bytes));
    }
    lines.extend_from_slice(b"\r\n");
}

/// Whether one of these lines tells browsers to come back with TLS only.
pub(super) fn says_hsts(lines: &[u8]) -> bool {
    changes::has_line(lines, b"strict-transport-security")
}
