//! Verifiers: rustls checks chain, time, revocation and signatures; the identity by SPIFFE ID is checked here.
//!
//! Where identities are configured they take the place of the name of the host, in both directions: certificates of
//! workloads carry a URI, and seldom a DNS name. Whether the authorities come from files or from the Workload API makes
//! one difference only: which of them may vouch for a peer ([`Chains`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ringway_policies::spiffe::{SpiffeId, SpiffePattern};
use ringway_protocols::tls::{AnyServer, Signatures};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::certificate::CertificateFacts;
use super::spiffe::Identity;

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
fn check_identity(der: &CertificateDer<'_>, wanted: &[SpiffePattern]) -> Result<(), Error> {
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

/// What verifies the chain of a peer.
#[derive(Debug)]
enum Chains<V> {
    /// The authorities of files or of the system, for everybody.
    One(V),
    /// The bundle of the peer's *own* trust domain. An authority of one domain must not vouch for workloads of another one
    /// (SPIFFE Trust Domain and Bundle, 3): the roots are chosen by the SPIFFE ID first, and then the chain is verified
    /// with those only.
    ByTrustDomain(BTreeMap<String, V>),
}

impl<V> Chains<V> {
    fn of(&self, end_entity: &CertificateDer<'_>) -> Result<&V, Error> {
        let domains = match self {
            Chains::One(chain) => return Ok(chain),
            Chains::ByTrustDomain(domains) => domains,
        };
        let facts = CertificateFacts::read(end_entity);
        let id = facts.as_ref().and_then(|facts| facts.spiffe_id.as_deref()).and_then(SpiffeId::parse);
        let chain = id.and_then(|id| domains.get(id.trust_domain));
        chain.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    /// One verifier for each trust domain that has authorities. Without an identity there is none, and nobody is trusted.
    fn by_trust_domain<E>(
        identity: Option<&Identity>,
        build: impl Fn(Arc<RootCertStore>) -> Result<V, E>,
    ) -> Result<Self, E> {
        let bundles = identity.into_iter().flat_map(|identity| &identity.bundles);
        let bundles = bundles.filter(|(_, roots)| !roots.is_empty());
        let each = bundles.map(|(domain, roots)| Ok((domain.clone(), build(roots.clone())?)));
        each.collect::<Result<_, E>>().map(Chains::ByTrustDomain)
    }
}

type Revoked = CertificateRevocationListDer<'static>;

/// Verifies endpoints without a look at their names.
#[derive(Debug)]
pub(super) struct UpstreamVerifier {
    chains: Chains<Arc<WebPkiServerVerifier>>,
    /// Empty: whoever has a good chain.
    identities: Vec<SpiffePattern>,
    signatures: Signatures,
}

impl UpstreamVerifier {
    pub(super) fn build(
        roots: Arc<RootCertStore>,
        crls: Vec<Revoked>,
        mode: UpstreamVerify,
        identities: Vec<SpiffePattern>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
        if mode == UpstreamVerify::None {
            return Ok(Arc::new(AnyServer::new(provider.clone())));
        }
        let chain = server_chain(roots, crls, provider)?;
        if mode == UpstreamVerify::Full && identities.is_empty() {
            return Ok(chain);
        }
        let identities = if mode == UpstreamVerify::Full { identities } else { Vec::new() };
        let signatures = Signatures::new(provider.clone());
        Ok(Arc::new(UpstreamVerifier { chains: Chains::One(chain), identities, signatures }))
    }

    /// By the bundles of an identity.
    pub(super) fn by_workload(
        identity: Option<&Identity>,
        crls: &[Revoked],
        identities: Vec<SpiffePattern>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
        let chains = Chains::by_trust_domain(identity, |roots| server_chain(roots, crls.to_vec(), provider))?;
        let signatures = Signatures::new(provider.clone());
        Ok(Arc::new(UpstreamVerifier { chains, identities, signatures }))
    }
}

fn server_chain(
    roots: Arc<RootCertStore>,
    crls: Vec<Revoked>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
    builder.with_crls(crls).enforce_revocation_expiration().build()
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
        let chain = self.chains.of(end_entity)?;
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
        self.signatures.verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct DownstreamVerifier {
    chains: Chains<Arc<dyn ClientCertVerifier>>,
    required: bool,
    /// Empty: whoever has a good chain.
    identities: Vec<SpiffePattern>,
    signatures: Signatures,
}

impl DownstreamVerifier {
    pub(super) fn build(
        roots: Arc<RootCertStore>,
        crls: Vec<Revoked>,
        required: bool,
        identities: Vec<SpiffePattern>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let chain = client_chain(roots, crls, required, provider)?;
        if identities.is_empty() {
            return Ok(chain);
        }
        let signatures = Signatures::new(provider.clone());
        Ok(Arc::new(DownstreamVerifier { chains: Chains::One(chain), required, identities, signatures }))
    }

    /// By the bundles of an identity.
    pub(super) fn by_workload(
        identity: Option<&Identity>,
        crls: &[Revoked],
        required: bool,
        identities: Vec<SpiffePattern>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let build = |roots| client_chain(roots, crls.to_vec(), required, provider);
        let chains = Chains::by_trust_domain(identity, build)?;
        let signatures = Signatures::new(provider.clone());
        Ok(Arc::new(DownstreamVerifier { chains, required, identities, signatures }))
    }
}

fn client_chain(
    roots: Arc<RootCertStore>,
    crls: Vec<Revoked>,
    required: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let builder = builder.with_crls(crls).enforce_revocation_expiration();
    if required { builder.build() } else { builder.allow_unauthenticated().build() }
}

impl ClientCertVerifier for DownstreamVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.chains {
            Chains::One(chain) => chain.root_hint_subjects(),
            // Workloads have one certificate; they need no hint which to choose.
            Chains::ByTrustDomain(_) => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.of(end_entity)?.verify_client_cert(end_entity, intermediates, now)?;
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
        self.signatures.verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}
