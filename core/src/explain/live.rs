//! What is told, in fields of its response, of a request that is served. What it says is bounded, and visible ASCII.

use std::net::IpAddr;

use ringway_policies::changes::HeaderChanges;
use ringway_policies::route::RouteRequest;

use super::routes::{Spot, address, misfit_text, routing};
use crate::config::{Config, ListenerConfig, TargetConfig};
use crate::error::Reason;
use crate::upstream::Standing;

/// The field that asks, with the token.
pub const ASKED_BY: &[u8] = b"x-ringway-explain";
/// Fields that are added: a reply of our own has room for 64 in all.
const FIELDS_MAX: usize = 32;
/// Matches that do not hold which are named.
const MISSED_MAX: usize = 8;
/// Endpoints that are named.
const ENDPOINTS_MAX: usize = 8;
/// Bytes of one value, and of all.
const VALUE_BYTES_MAX: usize = 300;
const BYTES_MAX: usize = 4096;

/// What is known of a request when its response begins.
pub struct Told<'a> {
    pub config: &'a Config,
    pub listener: &'a ListenerConfig,
    pub client: Option<IpAddr>,
    pub request: RouteRequest<'a>,
    /// The path is another one than was received.
    pub changed_path: bool,
    /// The match that took it.
    pub spot: Option<Spot>,
    /// A route was looked for.
    pub routed: bool,
    /// Policies in their order, each with where it stands.
    pub policies: Vec<(&'static str, &'static str)>,
    /// How many of them let the request pass.
    pub passed: usize,
    pub target: Option<&'a TargetConfig>,
    /// How many targets its route has.
    pub targets: usize,
    pub endpoints: Vec<Standing>,
    /// The endpoint that was asked, by its index.
    pub picked: Option<usize>,
    pub attempts: u32,
    pub refusal: Option<Reason>,
}

impl Told<'_> {
    /// Adds what is told.
    pub fn add_to(&self, headers: &mut HeaderChanges) {
        let mut fields = Fields { headers, count: 0, bytes: 0 };
        fields.say("listener", &self.listener.name);
        fields.say("client", &address(self.client));
        if self.changed_path {
            fields.say("path", &String::from_utf8_lossy(self.request.path));
        }
        if self.routed {
            self.say_routes(&mut fields);
        }
        self.say_policies(&mut fields);
        self.say_cluster(&mut fields);
        if let Some(reason) = self.refusal {
            fields.say("refused", &format!("{}: {}", reason.code(), reason.info().text));
        }
        // What is told to one must not be kept and shown to others.
        fields.headers.set(b"cache-control", b"no-store");
    }

    fn say_routes(&self, fields: &mut Fields<'_>) {
        let config = self.config;
        match self.spot {
            Some(spot) => {
                let wanted = spot.of(config).map(ToString::to_string).unwrap_or_default();
                fields.say("route", &format!("{}: {wanted}", spot.name(config)));
            }
            None => fields.say("route", "none"),
        }
        let routing = routing(config, &self.request);
        for (spot, misfit) in routing.missed.iter().take(MISSED_MAX) {
            let why = misfit_text(config, *spot, *misfit, &self.request);
            fields.say("not", &format!("{}: {why}", spot.name(config)));
        }
        let more = routing.missed.len().saturating_sub(MISSED_MAX);
        if more > 0 {
            fields.say("not", &format!("and {more} more"));
        }
    }

    fn say_policies(&self, fields: &mut Fields<'_>) {
        for (index, (level, name)) in self.policies.iter().enumerate() {
            let says = match index.cmp(&self.passed) {
                std::cmp::Ordering::Less => "passes",
                std::cmp::Ordering::Equal => "answers",
                std::cmp::Ordering::Greater => "is not asked",
            };
            fields.say("policy", &format!("{name} ({level}): {says}"));
        }
    }

    fn say_cluster(&self, fields: &mut Fields<'_>) {
        let Some(target) = self.target else { return };
        let Some(cluster) = self.config.clusters.get(target.cluster) else { return };
        let weight = if self.targets > 1 { format!(", weight {}", target.weight()) } else { String::new() };
        fields.say("cluster", &format!("{}{weight}", cluster.name));
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let picked = self.picked == Some(index);
            if index < ENDPOINTS_MAX || picked {
                let picked = match self.attempts {
                    _ if !picked => String::new(),
                    0 | 1 => ", picked".to_owned(),
                    tries => format!(", picked in try {tries}"),
                };
                fields.say("endpoint", &format!("{}: {}{picked}", endpoint.name, endpoint.state.text()));
            }
        }
        let more = self.endpoints.len().saturating_sub(ENDPOINTS_MAX);
        if more > 0 {
            fields.say("endpoint", &format!("and {more} more"));
        }
    }
}

/// Fields that are added, as far as there is room.
struct Fields<'a> {
    headers: &'a mut HeaderChanges,
    count: usize,
    bytes: usize,
}

impl Fields<'_> {
    fn say(&mut self, what: &str, words: &str) {
        let visible = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
        let value: String = words.chars().map(visible).take(VALUE_BYTES_MAX).collect();
        let name = format!("x-ringway-explain-{what}");
        let bytes = name.len() + value.len();
        if self.count < FIELDS_MAX && self.bytes + bytes <= BYTES_MAX {
            self.count += 1;
            self.bytes += bytes;
            self.headers.add(name.as_bytes(), value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_visible_ascii_and_bounded() {
        let mut headers = HeaderChanges::default();
        let mut fields = Fields { headers: &mut headers, count: 0, bytes: 0 };
        fields.say("route", "é\r\nx-evil: 1\u{1b}");
        fields.say("not", &"x".repeat(1000));
        for _ in 0..100 {
            fields.say("policy", "p");
        }
        let text = String::from_utf8(headers.lines().to_vec()).expect("ASCII");
        assert!(text.starts_with("x-ringway-explain-route: ???x-evil: 1?\r\n"), "{text}");
        assert_eq!(text.lines().count(), FIELDS_MAX);
        assert!(text.lines().all(|line| line.len() <= VALUE_BYTES_MAX + 40));
    }
}
