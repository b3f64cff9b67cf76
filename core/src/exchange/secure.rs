//! What TLS has to do with an exchange: which hosts a connection may be asked for, what the origin learns of the client's
//! certificate, and what the client learns of TLS.

use std::io::Write;

use ringway_protocols::authority;
use ringway_protocols::message::{FieldKind, KindSet};

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
        let whole = self.head.authority.of(self.bytes);
        authority::parse(whole).map_or(whole, |authority| authority.host)
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

    /// The line that tells browsers to come back with TLS only, or nothing. It means nothing without TLS (RFC 6797, 7.2).
    pub(super) fn hsts_line(&self) -> &[u8] {
        self.listener.tls.as_ref().map_or(b"", |tls| tls.hsts_line().as_bytes())
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
        if let (Reason::RedirectToHttps, Some(port)) = (reason, self.listener.redirect_to_https) {
            lines.extend_from_slice(b"location: https://");
            lines.extend_from_slice(self.asked_host());
            if port != 443 {
                // Writing to a vector cannot fail.
                let _ = write!(lines, ":{port}");
            }
            match &*self.normal_path.borrow() {
                Some(normal) => lines.extend_from_slice(normal),
                // `*` of OPTIONS is no path that one could be sent to.
                None => match self.head.path_of(self.bytes) {
                    path if path.starts_with(b"/") => lines.extend_from_slice(path),
                    _ => lines.push(b'/'),
                },
            }
            if let Some(query) = self.head.query {
                lines.push(b'?');
                lines.extend_from_slice(query.of(self.bytes));
            }
            lines.extend_from_slice(b"\r\n");
        }
        lines
    }
}
