//! Verifiers: rustls checks chain, time, revocation and signatures; the identity by SPIFFE ID is checked here.
//!
//! Where identities are configured they take the place of the name of the host, in both directions: certificates of
//! workloads carry a URI, and seldom a DNS name.

use std::fmt;
use std::sync::Arc;

use ringway_policies::spiffe::{SpiffeId, SpiffePattern};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::certificate::CertificateFacts;

/// Why a peer's certificate was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyFailure {
    /// It is for another host.
    Name,
    /// It is for another workload, or for none.
    Identity,
    /// No chain to a root that is trusted, expired, or revoked.
    Untrusted,
}

impl VerifyFailure {
    /// What an error of a handshake says about the certificate of the peer, if it is about that.
    pub fn of(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(error) = error else { return None };
        Some(match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            CertificateError::Other(OtherError(other)) if other.is::<WrongIdentity>() => Self::Identity,
            _ => Self::Untrusted,
        })
    }
}

/// The SPIFFE ID of a peer is none of those that are configured.
#[derive(Debug)]
struct WrongIdentity(String);

impl fmt::Display for WrongIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongIdentity {}

/// Whether a certificate is that of one of the workloads meant.
pub(super) fn check_identity(der: &CertificateDer<'_>, wanted: &[SpiffePattern]) -> Result<(), Error> {
    let facts = CertificateFacts::read(der);
    let found = facts.as_ref().and_then(|facts| facts.spiffe_id.as_deref());
    let meant =
        found.and_then(SpiffeId::parse).is_some_and(|id| wanted.iter().any(|pattern| pattern.matches(id)));
    if meant {
        return Ok(());
    }
    let text = match found {
        Some(id) => format!("the peer is {id}, which is not one of those allowed"),
        None => "the certificate of the peer has no single SPIFFE ID".to_owned(),
    };
    Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(WrongIdentity(text))))))
}

/// How far endpoints are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamVerify {
    /// The chain, and the name or the identity.
    Full,
    /// The chain only.
    NoName,
    /// Nothing: whoever answers is taken for the endpoint.
    None,
}

/// Verifies endpoints.
#[derive(Debug)]
pub(super) struct UpstreamVerifier {
    chain: Arc<WebPkiServerVerifier>,
    mode: UpstreamVerify,
    identities: Vec<SpiffePattern>,
}

impl UpstreamVerifier {
    pub(super) fn build(
        roots: Arc<RootCertStore>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        mode: UpstreamVerify,
        identities: Vec<SpiffePattern>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
        if mode == UpstreamVerify::None {
            return Ok(Arc::new(NoVerifier(provider.clone())));
        }
        let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        let chain = builder.with_crls(crls).enforce_revocation_expiration().build()?;
        if mode == UpstreamVerify::Full && identities.is_empty() {
            return Ok(chain);
        }
        Ok(Arc::new(UpstreamVerifier { chain, mode, identities }))
    }
}

impl ServerCertVerifier for UpstreamVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match chain {
            Ok(_) => {}
            // The chain is verified before the name, so it is good where only the name is not.
            Err(error) if VerifyFailure::of(&error) == Some(VerifyFailure::Name) => {}
            Err(error) => return Err(error),
        }
        if self.mode == UpstreamVerify::Full {
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
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Takes whoever has the key of the certificate that it shows.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct DownstreamVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    identities: Vec<SpiffePattern>,
}

impl DownstreamVerifier {
    pub(super) fn build(
        roots: Arc<RootCertStore>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        required: bool,
        identities: Vec<SpiffePattern>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let builder = builder.with_crls(crls).enforce_revocation_expiration();
        let builder = if required { builder } else { builder.allow_unauthenticated() };
        let chain = builder.build()?;
        if identities.is_empty() {
            return Ok(chain);
        }
        Ok(Arc::new(DownstreamVerifier { chain, identities }))
    }
}

impl ClientCertVerifier for DownstreamVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        check_identity(end_entity, &self.identities)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
