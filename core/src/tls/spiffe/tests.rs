use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use ringway_policies::spiffe::SpiffePattern;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::*;
use crate::tls::verify::{DownstreamVerifier, UpstreamVerifier};

type Case<'a> = (&'a CertifiedIssuer<'static, KeyPair>, &'a [&'a str], &'a [SpiffePattern], bool);

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate with these URIs, and its key.
fn workload(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    uris: &[&str],
) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.subject_alt_names =
        uris.iter().map(|uri| SanType::URI((*uri).to_owned().try_into().unwrap())).collect();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.der().clone(), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[test]
fn an_authority_vouches_for_workloads_of_its_own_trust_domain_only() {
    let (shop, partner) = (authority("shop"), authority("partner"));
    let (own, key) = workload(&shop, &["spiffe://shop/proxy"]);
    let bundles = [("shop", &shop), ("partner", &partner)]
        .map(|(domain, authority)| (domain.to_owned(), vec![authority.der().clone()]));
    let identity = Identity::new(vec![own], key, bundles, &provider()).unwrap();
    let pattern = |text: &str| SpiffePattern::parse(text).unwrap();
    let (any, payments) = (vec![], vec![pattern("spiffe://shop/payments"), pattern("spiffe://partner/**")]);
    let stranger = authority("stranger");
    // Issuer, URIs, whom is allowed, whether that is good.
    let cases: [Case<'_>; 10] = [
        (&shop, &["spiffe://shop/payments"], &any, true),
        (&shop, &["spiffe://shop/payments"], &payments, true),
        (&shop, &["spiffe://shop/other"], &payments, false),
        (&partner, &["spiffe://partner/x"], &payments, true),
        // A federated authority may not make workloads of ours, nor ours of theirs.
        (&partner, &["spiffe://shop/payments"], &payments, false),
        (&shop, &["spiffe://partner/x"], &any, false),
        (&stranger, &["spiffe://shop/payments"], &any, false),
        (&stranger, &["spiffe://stranger/x"], &any, false),
        (&shop, &["spiffe://shop/payments", "spiffe://shop/other"], &any, false),
        (&shop, &[], &any, false),
    ];
    let now = UnixTime::now();
    let name = ServerName::try_from("10.0.0.1").unwrap();
    for (issuer, uris, patterns, expected) in cases {
        let (peer, _) = workload(issuer, uris);
        let servers =
            UpstreamVerifier::by_workload(Some(&identity), &[], patterns.to_vec(), &provider()).unwrap();
        let result = servers.verify_server_cert(&peer, &[], &name, &[], now);
        assert_eq!(result.is_ok(), expected, "as an endpoint: {uris:?}, {patterns:?}: {result:?}");
        let clients =
            DownstreamVerifier::by_workload(Some(&identity), &[], true, patterns.to_vec(), &provider())
                .unwrap();
        let result = clients.verify_client_cert(&peer, &[], now);
        assert_eq!(result.is_ok(), expected, "as a client: {uris:?}, {patterns:?}: {result:?}");
    }
}

#[test]
fn nobody_is_trusted_without_an_identity() {
    let shop = authority("shop");
    let (peer, _) = workload(&shop, &["spiffe://shop/payments"]);
    let name = ServerName::try_from("10.0.0.1").unwrap();
    let servers = UpstreamVerifier::by_workload(None, &[], vec![], &provider()).unwrap();
    assert!(servers.verify_server_cert(&peer, &[], &name, &[], UnixTime::now()).is_err());
    let clients = DownstreamVerifier::by_workload(None, &[], false, vec![], &provider()).unwrap();
    assert!(clients.verify_client_cert(&peer, &[], UnixTime::now()).is_err());
}

#[test]
fn an_identity_needs_one_spiffe_id_and_its_own_key() {
    let shop = authority("shop");
    let bundle = || [("shop".to_owned(), vec![shop.der().clone()])];
    let (good, good_key) = workload(&shop, &["spiffe://shop/proxy"]);
    let (_, other_key) = workload(&shop, &["spiffe://shop/proxy"]);
    let (nameless, nameless_key) = workload(&shop, &[]);
    assert!(Identity::new(vec![good.clone()], other_key, bundle(), &provider()).is_err());
    assert!(Identity::new(vec![nameless], nameless_key, bundle(), &provider()).is_err());
    assert!(Identity::new(vec![], good_key.clone_key(), bundle(), &provider()).is_err());
    let identity = Identity::new(vec![good], good_key, bundle(), &provider()).unwrap();
    assert_eq!(identity.id(), "spiffe://shop/proxy");
}
