//! What an authority is shown that validates by a handshake (TLS-ALPN-01, RFC 8737).
//!
//! Its handshake is told by the protocol that it offers, and has a configuration of its own: it has no certificate to show,
//! whatever clients are asked for, and gets nothing but the answer.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::{Part, Problems};
use crate::acme::{self, answers};

/// The certificate that answers a host's challenge.
#[derive(Debug)]
struct Answers;

impl ResolvesServerCert for Answers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        answers::certificate_for(hello.server_name()?)
    }
}

/// The configuration for handshakes of authorities.
pub(super) fn config(provider: &Arc<CryptoProvider>, problems: &mut Problems) -> Option<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = match builder {
        Ok(builder) => builder,
        Err(error) => {
            problems.error(Part::Settings, format!("suites and groups do not fit: {error}"), None);
            return None;
        }
    };
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Answers));
    config.alpn_protocols = vec![acme::ALPN.to_vec()];
    config.enable_secret_extraction = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Some(Arc::new(config))
}
