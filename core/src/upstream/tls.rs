//! TLS with an endpoint: the handshake, and what is said of one that failed.

use std::sync::Arc;

use ringway_protocols::tls::rustls::pki_types::ServerName;
use ringway_protocols::tls::rustls::{self, AlertDescription, ClientConfig, ProtocolVersion};
use ringway_protocols::tls::{Handshake, TlsError};

use super::Endpoint;
use crate::error::Reason;
use crate::handshakes::Side;
use crate::io::Elapsed;
use crate::tls::VerifyFailure;
use crate::transport::{HandshakeError, Transport};
use crate::worker::Worker;

/// Makes the handshake on a connection that was just made.
pub(super) async fn secure(
    worker: &Worker,
    stream: &mut Transport,
    settings: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<(), HandshakeError> {
    let asked: Option<Box<str>> = match &name {
        ServerName::DnsName(name) => Some(name.as_ref().into()),
        _ => None,
    };
    let handshake = Handshake::client(settings, name)?;
    let turn = async || worker.turns.take(Side::Upstream).await;
    stream.secure(handshake, &[], asked, turn).await.map(drop)
}

/// Counts a handshake and logs why it failed.
pub(super) fn account(
    worker: &Worker,
    cluster: &str,
    endpoint: &Endpoint,
    stream: &Transport,
    result: Result<Result<(), HandshakeError>, Elapsed>,
) -> Result<(), Reason> {
    let stats = &worker.stats.upstream_tls;
    let (reason, error) = match result {
        Ok(Ok(())) => {
            stats.handshakes.increment();
            let Some(facts) = stream.tls() else { return Ok(()) };
            if facts.resumed {
                stats.resumed.increment();
            }
            if facts.version == ProtocolVersion::TLSv1_2 {
                stats.version_12.increment();
            }
            return Ok(());
        }
        Ok(Err(error)) => (reason_of(&error), error.to_string()),
        Err(_) => (Reason::ConnectTimeout, "it was not complete in time".to_owned()),
    };
    stats.failures.increment();
    if worker.may_log() {
        crate::log_warning!(
            "no TLS connection to an endpoint cluster={cluster} endpoint={} reason={} error={error}",
            endpoint.name,
            reason.code()
        );
    }
    Err(reason)
}

fn reason_of(error: &HandshakeError) -> Reason {
    let HandshakeError::Tls(error) = error else { return Reason::UpstreamTlsHandshake };
    match error {
        TlsError::NotTls { .. } => Reason::UpstreamNotTls,
        TlsError::Rustls(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            Reason::UpstreamTlsProtocol
        }
        TlsError::Rustls(error) => match VerifyFailure::of(error) {
            None => Reason::UpstreamTlsHandshake,
            Some(VerifyFailure::Name) => Reason::UpstreamTlsName,
            Some(VerifyFailure::Identity) => Reason::UpstreamTlsIdentity,
            Some(VerifyFailure::Untrusted) => Reason::UpstreamTlsUntrusted,
        },
        _ => Reason::UpstreamTlsHandshake,
    }
}
