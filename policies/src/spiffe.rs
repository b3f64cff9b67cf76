//! SPIFFE IDs, and patterns over them: who a workload says it is, and whom another one talks to.
//!
//! The grammar is that of the SPIFFE-ID standard, section 2: `spiffe://TRUST-DOMAIN/PATH`, with few characters and
//! without escapes, so that two spellings of one identity do not exist. Anything else is no SPIFFE ID.

use std::fmt;

/// Longest SPIFFE ID (SPIFFE-ID, 2.3).
const ID_BYTES_MAX: usize = 2048;
/// Longest trust domain (SPIFFE-ID, 2.3).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
const SCHEME: &str = "spiffe://";

/// A SPIFFE ID of a workload, borrowed from a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpiffeId<'a> {
    pub trust_domain: &'a str,
    /// With its leading slash, or empty for the trust domain itself.
    pub path: &'a str,
}

/// Which SPIFFE IDs are meant: one of them, or a trust domain with a pattern of the path.
///
/// In a pattern `*` stands for one segment of the path and `**`, at the end, for one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffePattern {
    trust_domain: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Is(String),
    /// `*`
    Any,
    /// `**`
    Rest,
}

impl<'a> SpiffeId<'a> {
    /// Reads an ID. `None` for whatever the standard does not allow.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > ID_BYTES_MAX {
            return None;
        }
        let rest = text.strip_prefix(SCHEME)?;
        let (trust_domain, path) = split(rest);
        let segments = path.strip_prefix('/').map(|path| path.split('/'));
        let valid = is_trust_domain(trust_domain) && segments.into_iter().flatten().all(is_segment);
        valid.then_some(SpiffeId { trust_domain, path })
    }
}

impl SpiffePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence on what to write instead, where that can be guessed.
    pub fn parse(text: &str) -> Result<Self, Option<String>> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return Err(Some(format!("begin with `{SCHEME}`")));
        };
        let (trust_domain, path) = split(rest);
        if text.len() > ID_BYTES_MAX || !is_trust_domain(trust_domain) {
            return Err(Some("a trust domain has lower-case letters, digits, `.`, `-` and `_`".to_owned()));
        }
        let Some(path) = path.strip_prefix('/') else {
            return Err(Some(format!("write `{text}/**` for every workload of the trust domain")));
        };
        let mut segments = Vec::new();
        for part in path.split('/') {
            if segments.last() == Some(&Segment::Rest) {
                return Err(Some("`**` stands at the end only".to_owned()));
            }
            segments.push(match part {
                "*" => Segment::Any,
                "**" => Segment::Rest,
                part if is_segment(part) => Segment::Is(part.to_owned()),
                part if part.contains('*') => return Err(Some("`*` stands for a whole segment".to_owned())),
                _ => return Err(None),
            });
        }
        Ok(SpiffePattern { trust_domain: trust_domain.to_owned(), segments })
    }

    /// Whether this ID is meant.
    pub fn matches(&self, id: SpiffeId<'_>) -> bool {
        if self.trust_domain != id.trust_domain {
            return false;
        }
        let mut path = id.path.strip_prefix('/').into_iter().flat_map(|path| path.split('/'));
        for segment in &self.segments {
            let Some(found) = path.next() else { return false };
            match segment {
                Segment::Rest => return true,
                Segment::Is(wanted) if wanted != found => return false,
                Segment::Is(_) | Segment::Any => {}
            }
        }
        path.next().is_none()
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.trust_domain)?;
        for segment in &self.segments {
            let text = match segment {
                Segment::Is(text) => text,
                Segment::Any => "*",
                Segment::Rest => "**",
            };
            write!(f, "/{text}")?;
        }
        Ok(())
    }
}

/// The trust domain, and the path with its slash.
fn split(rest: &str) -> (&str, &str) {
    rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash))
}

fn is_trust_domain(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
    (1..=TRUST_DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_segment(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_the_standard_allows() {
        for (text, want) in [
            ("spiffe://shop/ns/prod/sa/payments", Some(("shop", "/ns/prod/sa/payments"))),
            ("spiffe://shop.example.com", Some(("shop.example.com", ""))),
            ("spiffe://shop/A_b-c.1", Some(("shop", "/A_b-c.1"))),
            ("SPIFFE://shop/a", None),
            ("spiffe://Shop/a", None),
            ("spiffe:///a", None),
            ("spiffe://shop/", None),
            ("spiffe://shop/a/", None),
            ("spiffe://shop//a", None),
            ("spiffe://shop/a/../b", None),
            ("spiffe://shop/./b", None),
            ("spiffe://shop/%61", None),
            ("spiffe://shop/a?b", None),
            ("spiffe://shop/a#b", None),
            ("spiffe://shop:80/a", None),
            ("spiffe://me@shop/a", None),
            ("spiffe://shop/a\0", None),
            ("spiffe://shop/ä", None),
            ("https://shop/a", None),
            ("", None),
        ] {
            let read = SpiffeId::parse(text).map(|id| (id.trust_domain, id.path));
            assert_eq!(read, want, "{text:?}");
        }
        assert!(SpiffeId::parse(&format!("spiffe://shop/{}", "a".repeat(2100))).is_none());
        assert!(SpiffeId::parse(&format!("spiffe://{}/a", "a".repeat(256))).is_none());
    }

    #[test]
    fn a_pattern_matches_whole_segments() {
        for (pattern, id, want) in [
            ("spiffe://shop/sa/payments", "spiffe://shop/sa/payments", true),
            ("spiffe://shop/sa/payments", "spiffe://shop/sa/payments2", false),
            ("spiffe://shop/sa/payments", "spiffe://shop/sa", false),
            ("spiffe://shop/sa/payments", "spiffe://shop/sa/payments/x", false),
            ("spiffe://shop/sa/payments", "spiffe://shop.evil/sa/payments", false),
            ("spiffe://shop/sa/payments", "spiffe://shop/SA/payments", false),
            ("spiffe://shop/ns/*/sa/pay", "spiffe://shop/ns/prod/sa/pay", true),
            ("spiffe://shop/ns/*/sa/pay", "spiffe://shop/ns/a/b/sa/pay", false),
            ("spiffe://shop/ns/**", "spiffe://shop/ns/a/b", true),
            ("spiffe://shop/ns/**", "spiffe://shop/ns", false),
            ("spiffe://shop/**", "spiffe://shop/a", true),
            ("spiffe://shop/**", "spiffe://shop", false),
            ("spiffe://shop/**", "spiffe://other/a", false),
        ] {
            let read = SpiffePattern::parse(pattern).expect(pattern);
            assert_eq!(read.to_string(), pattern);
            assert_eq!(read.matches(SpiffeId::parse(id).expect(id)), want, "{pattern} {id}");
        }
    }

    #[test]
    fn refuses_patterns_that_mean_something_else_than_they_seem() {
        for text in [
            "shop/a",
            "spiffe://shop",
            "spiffe://*/a",
            "spiffe://shop/**/a",
            "spiffe://shop/a*",
            "spiffe://shop/",
            "spiffe://shop/a/..",
        ] {
            assert!(SpiffePattern::parse(text).is_err(), "{text:?}");
        }
    }
}
