//! Verifies peers by the bundle of *their* trust domain.
//!
//! An authority of one domain must not vouch for workloads of another one (SPIFFE Trust Domain and Bundle, 3): the roots
//! are chosen by the SPIFFE ID first, and then the chain is verified with those only.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_policies::spiffe::{SpiffeId, SpiffePattern};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::Identity;
use crate::tls::certificate::CertificateFacts;
use crate::tls::verify::{VerifyFailure, check_identity};

/// What verifies the chains of each trust domain.
#[derive(Debug)]
struct Domains<V>(BTreeMap<String, V>);

impl<V> Domains<V> {
    /// The verifier for a peer. Nobody else's will do.
    fn of(&self, end_entity: &CertificateDer<'_>) -> Result<&V, Error> {
        let facts = CertificateFacts::read(end_entity);
        let id = facts.as_ref().and_then(|facts| facts.spiffe_id.as_deref()).and_then(SpiffeId::parse);
        let verifier = id.and_then(|id| self.0.get(id.trust_domain));
        verifier.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

/// Verifies endpoints.
#[derive(Debug)]
pub(in crate::tls) struct WorkloadServers {
    domains: Domains<Arc<WebPkiServerVerifier>>,
    /// Empty: every workload of the domains.
    identities: Vec<SpiffePattern>,
    provider: Arc<CryptoProvider>,
}

impl WorkloadServers {
    pub(in crate::tls) fn build(
        identity: Option<&Identity>,
        crls: &[CertificateRevocationListDer<'static>],
        identities: Vec<SpiffePattern>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
        let mut domains = BTreeMap::new();
        for (domain, roots) in identity.into_iter().flat_map(|identity| &identity.bundles) {
            if roots.is_empty() {
                continue;
            }
            let builder = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone());
            let verifier = builder.with_crls(crls.to_vec()).enforce_revocation_expiration().build()?;
            domains.insert(domain.clone(), verifier);
        }
        Ok(Arc::new(WorkloadServers { domains: Domains(domains), identities, provider: provider.clone() }))
    }
}

impl ServerCertVerifier for WorkloadServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = self.domains.of(end_entity)?;
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(_) => {}
            // The chain is verified before the name, so it is good where only the name is not.
            Err(error) if VerifyFailure::of(&error) == Some(VerifyFailure::Name) => {}
            Err(error) => return Err(error),
        }
        if !self.identities.is_empty() {
            check_identity(end_entity, &self.identities)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies clients.
#[derive(Debug)]
pub(in crate::tls) struct WorkloadClients {
    domains: Domains<Arc<dyn ClientCertVerifier>>,
    /// Empty: every workload of the domains.
    identities: Vec<SpiffePattern>,
    required: bool,
    provider: Arc<CryptoProvider>,
}

impl WorkloadClients {
    pub(in crate::tls) fn build(
        identity: Option<&Identity>,
        crls: &[CertificateRevocationListDer<'static>],
        required: bool,
        identities: Vec<SpiffePattern>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let mut domains = BTreeMap::new();
        for (domain, roots) in identity.into_iter().flat_map(|identity| &identity.bundles) {
            if roots.is_empty() {
                continue;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
            let verifier = builder.with_crls(crls.to_vec()).enforce_revocation_expiration().build()?;
            domains.insert(domain.clone(), verifier);
        }
        let (domains, provider) = (Domains(domains), provider.clone());
        Ok(Arc::new(WorkloadClients { domains, identities, required, provider }))
    }
}

impl ClientCertVerifier for WorkloadClients {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    /// Workloads have one certificate; they need no hint which to choose.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.domains.of(end_entity)?.verify_client_cert(end_entity, intermediates, now)?;
        if !self.identities.is_empty() {
            check_identity(end_entity, &self.identities)?;
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
