//! What the authority is shown while it validates: read by every worker, written by the control thread.
//!
//! One table for the process. Configurations come and go while an authority validates, and the certificate that answers a
//! handshake is chosen where nothing but the handshake is known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::sign::CertifiedKey;

/// Answers at a time. An order has at most a hundred names, so many orders fit; what does not is an error of its order.
const ANSWERS_MAX: usize = 1_000;

static TABLE: Table = Table { count: AtomicUsize::new(0), answers: Mutex::new(BTreeMap::new()) };

struct Table {
    /// So that a look-up where there is none costs a load.
    count: AtomicUsize,
    answers: Mutex<BTreeMap<Key, Answer>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// The token of HTTP-01.
    Token(String),
    /// The host of TLS-ALPN-01, lower case.
    Host(String),
}

#[derive(Debug, Clone)]
enum Answer {
    Text(Arc<str>),
    Certificate(Arc<CertifiedKey>),
}

/// An answer that is given for as long as this lives.
#[derive(Debug)]
pub struct Offered(Key);

impl Drop for Offered {
    fn drop(&mut self) {
        let mut answers = lock();
        answers.remove(&self.0);
        TABLE.count.store(answers.len(), Relaxed);
    }
}

/// Answers HTTP-01. `None`: too many answers are offered already.
pub fn offer_text(token: &str, text: &str) -> Option<Offered> {
    offer(Key::Token(token.to_owned()), Answer::Text(text.into()))
}

/// Answers TLS-ALPN-01. `None`: too many answers are offered already.
pub fn offer_certificate(host: &str, certificate: Arc<CertifiedKey>) -> Option<Offered> {
    offer(Key::Host(host.to_ascii_lowercase()), Answer::Certificate(certificate))
}

/// The answer to a request for this path, if it is one of an authority that is expected.
pub fn text_for(path: &[u8]) -> Option<Arc<str>> {
    let token = path.strip_prefix(super::HTTP_PREFIX)?;
    if TABLE.count.load(Relaxed) == 0 {
        return None;
    }
    let token = std::str::from_utf8(token).ok()?;
    match lock().get(&Key::Token(token.to_owned())) {
        Some(Answer::Text(text)) => Some(Arc::clone(text)),
        _ => None,
    }
}

/// The certificate for a handshake of an authority that is expected.
pub fn certificate_for(host: &str) -> Option<Arc<CertifiedKey>> {
    if TABLE.count.load(Relaxed) == 0 {
        return None;
    }
    match lock().get(&Key::Host(host.to_ascii_lowercase())) {
        Some(Answer::Certificate(certificate)) => Some(Arc::clone(certificate)),
        _ => None,
    }
}

fn offer(key: Key, answer: Answer) -> Option<Offered> {
    let mut answers = lock();
    if answers.len() >= ANSWERS_MAX && !answers.contains_key(&key) {
        return None;
    }
    answers.insert(key.clone(), answer);
    TABLE.count.store(answers.len(), Relaxed);
    Some(Offered(key))
}

/// The table is consistent at every step, so a panic elsewhere does not make it unusable.
fn lock() -> MutexGuard<'static, BTreeMap<Key, Answer>> {
    TABLE.answers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_for_its_token_only_and_as_long_as_it_is_offered() {
        let path = |token: &str| [super::super::HTTP_PREFIX, token.as_bytes()].concat();
        let offered = offer_text("token-of-this-test", "token-of-this-test.thumb").unwrap();
        assert_eq!(text_for(&path("token-of-this-test")).as_deref(), Some("token-of-this-test.thumb"));
        for other in ["", "token-of-this-tes", "token-of-this-test/", "token-of-this-test?", "../x"] {
            assert!(text_for(&path(other)).is_none(), "{other}");
        }
        assert!(text_for(b"/token-of-this-test").is_none());
        assert!(certificate_for("token-of-this-test").is_none(), "a token is no host");
        drop(offered);
        assert!(text_for(&path("token-of-this-test")).is_none());
    }
}
