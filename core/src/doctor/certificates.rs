//! The certificates of a configuration: how long each is good for.

use super::Finding;
use crate::config::{Config, ConfigSource, uncovered};
use crate::tls::CertificateFacts;

const NAME: &str = "certificate";
const DAY_SECS: i64 = 86_400;
/// A renewal that has not happened by now has probably failed.
const DAYS_GOOD: i64 = 14;

/// One finding for each certificate, or the one that the configuration cannot be read.
pub(super) fn all(source: &ConfigSource, now: i64) -> Vec<Finding> {
    let config = match Config::load(source) {
        Ok(config) => config,
        Err(errors) => {
            let first = errors.first().map(|error| error.one_line()).unwrap_or_default();
            return vec![Finding::fail("configuration", first, "`ringway check` says all that is wrong")];
        }
    };
    let mut findings = Vec::new();
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        for (file, facts) in tls.certificate_files() {
            findings.push(of(&file.display().to_string(), &facts, now));
        }
    }
    for cluster in &config.clusters {
        let Some(tls) = &cluster.tls else { continue };
        if let (Some(files), Some(facts)) = (&tls.settings().certificate, tls.certificate()) {
            findings.push(of(&files.cert.display().to_string(), &facts, now));
        }
    }
    for (_, problem) in uncovered(&config) {
        findings.push(Finding::warn(NAME, problem, "add one, or put the route on other listeners"));
    }
    findings
}

fn of(file: &str, facts: &CertificateFacts, now: i64) -> Finding {
    let days = (facts.not_after - now) / DAY_SECS;
    let names = if facts.dns.is_empty() { facts.subject.clone() } else { facts.dns.join(", ") };
    if facts.not_after < now {
        return Finding::warn(NAME, format!("{file} ({names}) has expired"), "renew it: peers refuse it");
    }
    if facts.not_before > now {
        let advice = "wait, or set the clock of this machine right";
        return Finding::warn(NAME, format!("{file} ({names}) is not valid yet"), advice);
    }
    let text = format!("{file} ({names}) is good for {days} days");
    if days < DAYS_GOOD { Finding::warn(NAME, text, "renew it") } else { Finding::ok(NAME, text) }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_certificate_near_its_end_is_warned_of() {
        let facts = CertificateFacts {
            dns: vec!["shop.test".to_owned()],
            not_before: 0,
            not_after: 100 * DAY_SECS,
            ..CertificateFacts::default()
        };
        for (day, level, found) in [
            (-1, Level::Warn, "shop.pem (shop.test) is not valid yet"),
            (10, Level::Ok, "shop.pem (shop.test) is good for 90 days"),
            (90, Level::Warn, "shop.pem (shop.test) is good for 10 days"),
            (101, Level::Warn, "shop.pem (shop.test) has expired"),
        ] {
            let finding = of("shop.pem", &facts, day * DAY_SECS);
            assert_eq!((finding.level, finding.found.as_str()), (level, found));
        }
    }
}
