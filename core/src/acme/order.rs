//! One order, from the account to the certificate on disk (RFC 8555 section 7.4).

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, ExternalAccountKey, Identifier, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::answers::{self, Offered};
use super::client::Client;
use super::{AcmeChallenge, AcmeConfig, store};

/// How long the authority may validate, and how long it may issue.
const POLL_TIMEOUT: Duration = Duration::from_secs(120);
/// The whole order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(600);

/// Orders a certificate and puts it on disk. The error is for a person.
pub(super) async fn run(config: &AcmeConfig, roots: RootCertStore) -> Result<(), String> {
    tokio::time::timeout(ORDER_TIMEOUT, order(config, roots))
        .await
        .unwrap_or_else(|_| Err("the order took too long".to_owned()))
}

async fn order(config: &AcmeConfig, roots: RootCertStore) -> Result<(), String> {
    let account = account(config, roots).await?;
    let hosts: Vec<_> = config.hosts.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&hosts)).await.map_err(words)?;
    // Answers are given until the authority has seen them all.
    let offered = answer_all(config, &mut order).await?;
    let poll = RetryPolicy::new().timeout(POLL_TIMEOUT);
    match order.poll_ready(&poll).await.map_err(words)? {
        OrderStatus::Ready => {}
        _ => return Err(format!("the authority refuses: {}", refusal(&mut order).await)),
    }
    drop(offered);
    let (key, request) = certificate_request(&config.hosts)?;
    order.finalize_csr(&request).await.map_err(words)?;
    let chain = order.poll_certificate(&poll).await.map_err(words)?;
    store::keep_certificate(config, &key, &chain)
}

/// The account that is on disk, or a new one.
async fn account(config: &AcmeConfig, roots: RootCertStore) -> Result<Account, String> {
    let builder = Account::builder_with_http(Box::new(Client::new(roots)?));
    if let Some(credentials) = store::account(config)? {
        return builder.from_credentials(credentials).await.map_err(words);
    }
    let external = match &config.external_account {
        Some(external) => {
            let shown = external.key_file.display();
            let text = fs::read_to_string(&external.key_file)
                .map_err(|error| format!("cannot read {shown}: {error}"))?;
            let key = base64url(text.trim()).ok_or_else(|| format!("{shown} is not base64url"))?;
            Some(ExternalAccountKey::new(external.key_id.clone(), &key))
        }
        None => None,
    };
    let contact: Vec<&str> = config.contact.as_deref().into_iter().collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) =
        builder.create(&new, config.directory.clone(), external.as_ref()).await.map_err(words)?;
    store::keep_account(config, &credentials)?;
    Ok(account)
}

/// Offers the answers to all challenges, and tells the authority to look.
async fn answer_all(config: &AcmeConfig, order: &mut instant_acme::Order) -> Result<Vec<Offered>, String> {
    let mut offered = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(words)?;
        match authorization.status {
            // Validated a short time ago.
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(format!("the authority's authorization is {other:?}")),
        }
        let (kind, name) = match config.challenge {
            AcmeChallenge::Http01 => (ChallengeType::Http01, "http-01"),
            AcmeChallenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        };
        let Some(mut challenge) = authorization.challenge(kind) else {
            return Err(format!("the authority does not offer {name}"));
        };
        let answer = answer(config.challenge, &challenge)?;
        offered.push(answer.ok_or("too many challenges at a time")?);
        challenge.set_ready().await.map_err(words)?;
    }
    Ok(offered)
}

fn answer(kind: AcmeChallenge, challenge: &ChallengeHandle<'_>) -> Result<Option<Offered>, String> {
    let key_authorization = challenge.key_authorization();
    match kind {
        AcmeChallenge::Http01 => Ok(answers::offer_text(&challenge.token, key_authorization.as_str())),
        AcmeChallenge::TlsAlpn01 => {
            let host = challenge.identifier().to_string();
            let certificate = challenge_certificate(&host, key_authorization.digest().as_ref())?;
            Ok(answers::offer_certificate(&host, Arc::new(certificate)))
        }
    }
}

/// The certificate that answers TLS-ALPN-01 (RFC 8737 section 3): for the host, with the digest in a critical extension.
fn challenge_certificate(host: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    let refused = |error: rcgen::Error| format!("no certificate for the challenge of {host}: {error}");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(refused)?;
    let mut params = CertificateParams::new([host.to_owned()]).map_err(refused)?;
    if digest.len() != 32 {
        return Err("the digest of the challenge has an odd length".to_owned());
    }
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(refused)?;
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(private);
    let key = key.map_err(|error| format!("no certificate for the challenge of {host}: {error}"))?;
    // Not `from_der`, which refuses what it does not know, such as this critical extension.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// A new key (PEM) and the request for a certificate of it (DER).
fn certificate_request(hosts: &[String]) -> Result<(String, Vec<u8>), String> {
    let refused = |error: rcgen::Error| format!("no request for a certificate can be made: {error}");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(refused)?;
    let mut params = CertificateParams::new(hosts).map_err(refused)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(refused)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

/// What the authority says of the challenges of an order that it does not fulfil.
async fn refusal(order: &mut instant_acme::Order) -> String {
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // What is known of it is from before the validation.
        if authorization.refresh().await.is_err() {
            continue;
        }
        let host = authorization.identifier().to_string();
        let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        found.extend(errors.map(|error| format!("{host}: {error}")));
    }
    if found.is_empty() { "it does not say why".to_owned() } else { found.join("; ") }
}

fn words(error: instant_acme::Error) -> String {
    error.to_string()
}

/// Base64 with the alphabet for URLs (RFC 4648 section 5), with or without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_of_a_challenge_has_its_host_and_its_digest_and_nothing_else() {
        let certified = challenge_certificate("shop.example.com", &[7; 32]).unwrap();
        let der = certified.cert.first().unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        // RFC 8737 section 6.1: id-pe-acmeIdentifier.
        let extension =
            certificate.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let extension = extension.unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
        assert!(challenge_certificate("shop.example.com", &[7; 31]).is_err());
    }

    #[test]
    fn keys_of_accounts_are_read_as_authorities_give_them() {
        let cases: [(&str, Option<&[u8]>); 6] = [
            ("aGVsbG8", Some(b"hello")),
            ("aGVsbG8=", Some(b"hello")),
            ("_-8", Some(&[0xff, 0xef])),
            ("/+8=", Some(&[0xff, 0xef])),
            ("", None),
            ("aGVs bG8", None),
        ];
        for (text, expected) in cases {
            assert_eq!(base64url(text).as_deref(), expected, "{text}");
        }
    }
}
