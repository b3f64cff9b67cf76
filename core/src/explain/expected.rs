//! What is expected of a request beside what would become of it.

use std::fmt::Write as _;
use std::net::IpAddr;

use ringway_policies::route::FieldMatch;

use super::routes::percent;
use super::{Explanation, OriginAnswer, Outcome, Question, Sent, Url, explain};
use crate::config::Config;
use crate::config::expectations::{Case, Expect};

/// Shares are written with fewer digits than they have.
const SHARE_ERROR: f64 = 0.000_5;

/// What did not come as expected, each in one line; none where all did.
///
/// `at`: the moment, in seconds since 1970, where the test names none.
///
/// # Errors
/// What about the request makes no sense for this configuration.
pub fn differences(config: &Config, case: &Case, client: IpAddr, at: u64) -> Result<Vec<String>, String> {
    let request = &case.request;
    let question = Question {
        method: request.method.clone(),
        url: Url::parse(&request.url)?,
        fields: request.headers.clone(),
        peer: Some(request.client_ip.unwrap_or(client)),
        listener: request.listener.clone(),
        unix_secs: request.at.unwrap_or(at),
        repeat: request.repeat,
    };
    let origin = OriginAnswer { status: case.origin.0, fields: case.origin.1.clone() };
    let told = explain(config, &question, &origin)?;
    Ok(compare(config, &case.expect, &told))
}

/// What is expected has to hold whatever chance decides.
fn compare(config: &Config, expect: &Expect, told: &Explanation) -> Vec<String> {
    let mut wrong = Vec::new();
    compare_places(config, expect, told, &mut wrong);
    for outcome in &told.outcomes {
        let mut found = Vec::new();
        compare_outcome(config, expect, outcome, &mut found);
        let when = if told.outcomes.len() > 1 {
            format!(" ({} of such requests)", percent(outcome.chance))
        } else {
            String::new()
        };
        wrong.extend(found.into_iter().map(|text| text + &when));
    }
    wrong
}

/// Routes and clusters, over all that chance may decide.
fn compare_places(config: &Config, expect: &Expect, told: &Explanation, wrong: &mut Vec<String>) {
    let outcomes = &told.outcomes;
    if let Some(wanted) = &expect.route {
        let found = sorted(outcomes.iter().filter_map(|outcome| outcome.route_name(config)));
        if sorted(wanted.iter().map(String::as_str)) != found {
            wrong.push(expected("route", &list(wanted), &list(&found)));
        }
    }
    let Some(wanted) = &expect.cluster else { return };
    let mut found: Vec<(&str, f64)> = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.is_sent()) {
        let Some(name) = outcome.cluster_name(config) else { continue };
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, share)) => *share += outcome.chance,
            None => found.push((name, outcome.chance)),
        }
    }
    let share_of = |name: &str| found.iter().find(|(known, _)| *known == name).map(|(_, share)| *share);
    let fits = |(name, share): &(String, Option<f64>)| {
        share_of(name)
            .is_some_and(|found| share.is_none_or(|share| (share / 100.0 - found).abs() < SHARE_ERROR))
    };
    if wanted.len() != found.len() || !wanted.iter().all(fits) {
        let with_shares = wanted.iter().any(|(_, share)| share.is_some());
        let show = |(name, share): &(&str, f64)| {
            if with_shares { format!("{name} {}", percent(*share)) } else { (*name).to_owned() }
        };
        let wanted: Vec<String> = wanted
            .iter()
            .map(|(name, share)| share.map_or_else(|| name.clone(), |share| format!("{name} {share}%")))
            .collect();
        wrong.push(expected("cluster", &list(&wanted), &list(&found.iter().map(show).collect::<Vec<_>>())));
    }
}

fn compare_outcome(config: &Config, expect: &Expect, outcome: &Outcome, wrong: &mut Vec<String>) {
    if let Some(wanted) = expect.matched {
        let found = outcome.spot.map(|spot| spot.item + 1);
        if found != Some(wanted) {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            wrong.push(expected("match", &wanted.to_string(), &found));
        }
    }
    if let Some(wanted) = &expect.policies {
        let found: Vec<&str> = outcome.asked.iter().map(|step| step.name).collect();
        if *wanted != found {
            wrong.push(expected("policies", &list(wanted), &list(&found)));
        }
    }
    if let Some(wanted) = &expect.endpoints {
        let first = outcome.endpoints.iter().filter(|endpoint| endpoint.first);
        let found = sorted(first.map(|endpoint| endpoint.name.as_str()));
        if sorted(wanted.iter().map(String::as_str)) != found {
            wrong.push(expected("endpoints", &list(wanted), &list(&found)));
        }
    }
    if let Some(wanted) = &expect.mirrors {
        let found = sorted(outcome.mirror_names(config).into_iter());
        if sorted(wanted.iter().map(String::as_str)) != found {
            wrong.push(expected("mirrors", &list(wanted), &list(&found)));
        }
    }
    let refusal = outcome.refusal.as_ref().map(|(reason, detail)| (reason.code(), detail.as_str()));
    if let Some(wanted) = expect.status {
        let found = outcome.response.as_ref().map_or(0, |response| response.status);
        if found != wanted {
            let why = refusal.map(|(code, _)| format!(" ({code})")).unwrap_or_default();
            wrong.push(expected("status", &wanted.to_string(), &format!("{found}{why}")));
        }
    }
    if let Some(wanted) = &expect.reason {
        let found = refusal.map_or("none", |(code, _)| code);
        if found != wanted {
            let detail = refusal.filter(|(_, detail)| !detail.is_empty());
            let detail = detail.map(|(_, detail)| format!(" ({detail})")).unwrap_or_default();
            wrong.push(expected("reason", wanted, &format!("{found}{detail}")));
        }
    }
    let fields = outcome.response.as_ref().map(|response| response.fields.as_slice());
    compare_fields("headers", &expect.headers, fields.unwrap_or_default(), wrong);
    compare_sent(expect, outcome.sent.as_ref(), wrong);
}

fn compare_sent(expect: &Expect, sent: Option<&Sent>, wrong: &mut Vec<String>) {
    let wanted = &expect.sent;
    let Some(sent) = sent else {
        if wanted.target.is_some() || wanted.host.is_some() || !wanted.headers.is_empty() {
            wrong.push("sent: expected a request to the origin; found none".to_owned());
        }
        return;
    };
    for (what, wanted, found) in
        [("target", &wanted.target, &sent.target), ("host", &wanted.host, &sent.host)]
    {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != found) {
            wrong.push(expected(&format!("sent.{what}"), wanted, found));
        }
    }
    compare_fields("sent.headers", &wanted.headers, &sent.fields, wrong);
}

/// Several lines of one name are one value (RFC 9110 5.2).
fn compare_fields(what: &str, wanted: &[FieldMatch], fields: &[(String, String)], wrong: &mut Vec<String>) {
    for field in wanted {
        let named = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&field.name));
        let values: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
        let value = (!values.is_empty()).then(|| values.join(", "));
        if !field.value.fits(value.as_deref().map(str::as_bytes)) {
            let found = value.map_or("none".to_owned(), |value| format!("{value:?}"));
            wrong.push(expected(what, &field.to_string(), &found));
        }
    }
}

fn expected(what: &str, wanted: &str, found: &str) -> String {
    format!("{what}: expected {wanted}; found {found}")
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn list(names: &[impl AsRef<str>]) -> String {
    let mut out = String::new();
    for name in names {
        if !out.is_empty() {
            out.push_str(", ");
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{}", name.as_ref());
    }
    if out.is_empty() { "none".to_owned() } else { out }
}
