//! What is said of a request, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::dry_run::failure_text;
use super::endpoints::balance_text;
use super::routes::{address, percent};
use super::{EndpointView, Explanation, Outcome, Sent, Step};
use crate::config::Config;
use crate::exchange::Failure;

/// Matches that do not hold which are shown, unless all are asked for.
const MISSED_MAX: usize = 20;
/// Where what is said of something begins.
const MARGIN: usize = 11;

impl Explanation {
    /// For people: one line for each thing that is said. `all`: however many there are.
    pub fn to_text(&self, config: &Config, all: bool) -> String {
        let mut page = Page::default();
        page.text.push_str(&format!("{}\n\n", visible(&self.name)));
        if let Some(listener) = config.listeners.get(self.entrance.listener) {
            page.say("listener", &format!("{} ({}): {}", listener.name, listener.bind, self.entrance.why));
        }
        let trusted = if self.trusted { ", behind a trusted forwarder" } else { "" };
        page.say("client", &format!("{}{trusted}", address(self.client)));
        if let Some(normal) = &self.normal_path {
            page.say("path", &format!("{normal}, in its normal form"));
        }
        let several = self.outcomes.len() > 1;
        self.push_routes(&mut page, config, all);
        for outcome in &self.outcomes {
            if several {
                page.text.push_str(&format!("\n{} of such requests:\n", percent(outcome.chance)));
            }
            outcome.push_to(&mut page, config);
        }
        page.text
    }

    fn push_routes(&self, page: &mut Page, config: &Config, all: bool) {
        let mut shown: Vec<String> = Vec::new();
        for outcome in &self.outcomes {
            let text = match outcome.spot {
                Some(spot) => {
                    let wanted = spot.of(config).map(ToString::to_string).unwrap_or_default();
                    format!("{}: {wanted}", spot.name(config))
                }
                None => continue,
            };
            if !shown.contains(&text) {
                page.say("route", &text);
                shown.push(text);
            }
        }
        let missed_max = if all { usize::MAX } else { MISSED_MAX };
        for (name, why) in self.routes.missed.iter().take(missed_max) {
            page.say("", &format!("not {name}: {why}"));
        }
        if let Some(more) = self.routes.missed.len().checked_sub(missed_max).filter(|more| *more > 0) {
            page.say("", &format!("nor {more} more (`--all` shows them)"));
        }
        for name in &self.routes.later {
            page.say("", &format!("{name} holds too, and comes later"));
        }
        match self.routes.elsewhere {
            0 => {}
            1 => page.say("", "1 match is for another host or listener"),
            count => page.say("", &format!("{count} matches are for other hosts or listeners")),
        }
    }

    /// For programs.
    pub fn to_json(&self, config: &Config) -> Json {
        let listener = config.listeners.get(self.entrance.listener);
        let missed = self.routes.missed.iter().map(|(name, why)| json!({ "match": name, "why": why }));
        json!({
            "request": self.name,
            "listener": listener.map(|listener| listener.name.as_str()),
            "listener_why": self.entrance.why,
            "client": self.client.map(|client| client.to_string()),
            "trusted_forwarder": self.trusted,
            "normal_path": self.normal_path,
            "not_matched": missed.collect::<Vec<_>>(),
            "less_specific": self.routes.later,
            "of_other_hosts_or_listeners": self.routes.elsewhere,
            "outcomes": self.outcomes.iter().map(|outcome| outcome.to_json(config)).collect::<Vec<_>>(),
        })
    }
}

impl Outcome {
    /// The name of the cluster that gets the request, or would.
    pub fn cluster_name<'c>(&self, config: &'c Config) -> Option<&'c str> {
        config.clusters.get(self.cluster?).map(|cluster| cluster.name.as_str())
    }

    /// The name of the route.
    pub fn route_name<'c>(&self, config: &'c Config) -> Option<&'c str> {
        config.routes.get(self.spot?.route).map(|route| route.name.as_str())
    }

    /// Names of the clusters that copies of it may go to.
    pub fn mirror_names<'c>(&self, config: &'c Config) -> Vec<&'c str> {
        let clusters = self.mirrors.iter().filter_map(|mirror| config.clusters.get(mirror.cluster));
        clusters.map(|cluster| cluster.name.as_str()).collect()
    }

    /// It goes to a cluster.
    pub fn is_sent(&self) -> bool {
        self.cluster.is_some() && (self.sent.is_some() || self.response.is_none())
    }

    fn push_to(&self, page: &mut Page, config: &Config) {
        if self.spot.is_none() && self.response.is_some() {
            page.say("route", if self.routed { "none" } else { "none is looked for" });
        }
        let count = self.asked.len();
        for (index, step) in self.asked.iter().enumerate() {
            page.say(if index == 0 { "policies" } else { "" }, &format!("{} {}", index + 1, step.to_text()));
        }
        for (index, step) in self.unasked.iter().enumerate() {
            page.say("", &format!("{} {} ({}): is not asked", count + index + 1, step.name, step.level));
        }
        if let Some(name) = self.cluster_name(config).filter(|_| self.is_sent()) {
            let why =
                if self.cluster_why.is_empty() { String::new() } else { format!(": {}", self.cluster_why) };
            page.say("cluster", &format!("{name}{why}"));
        }
        self.push_endpoints(page, config);
        for mirror in &self.mirrors {
            let cluster = config.clusters.get(mirror.cluster).map_or("", |cluster| &cluster.name);
            page.say(
                "mirror",
                &format!("{cluster}, for {} of requests", percent(f64::from(mirror.share_ppm) / 1e6)),
            );
        }
        if let Some(sent) = &self.sent {
            sent.push_to(page);
        }
        if let Some((reason, detail)) = &self.refusal {
            let failure = Failure { reason: *reason, detail: detail.clone() };
            page.say("refused", &format!("{}: {}", failure_text(&failure), reason.info().text));
        }
        if let Some(response) = &self.response {
            let whose = if self.sent.is_some() { "from the origin" } else { "from the proxy" };
            page.say("response", &format!("{} {whose}", response.status));
            for (name, value) in &response.fields {
                page.say("", &format!("{name}: {value}"));
            }
        }
    }

    fn push_endpoints(&self, page: &mut Page, config: &Config) {
        let Some(cluster) = self.cluster.and_then(|index| config.clusters.get(index)) else { return };
        if !self.is_sent() {
            return;
        }
        let checked = if cluster.health.is_some() { " among those that are healthy" } else { "" };
        page.say("endpoints", &format!("chosen{checked} {}", balance_text(cluster)));
        if let Some(discovery) = &cluster.discovery {
            page.say("", &format!("found at run time: {discovery}"));
        }
        for endpoint in &self.endpoints {
            page.say("", &endpoint.to_text());
        }
    }

    fn to_json(&self, config: &Config) -> Json {
        let step = |step: &Step| json!({ "policy": step.name, "level": step.level, "says": step.says });
        let cluster = self.cluster.and_then(|index| config.clusters.get(index));
        let endpoint = |endpoint: &EndpointView| {
            json!({
                "endpoint": endpoint.name, "weight": endpoint.weight, "priority": endpoint.priority,
                "zone": endpoint.zone, "first": endpoint.first,
            })
        };
        json!({
            "chance": self.chance,
            "route": self.route_name(config),
            "match": self.spot.map(|spot| spot.item + 1),
            "wanted": self.spot.and_then(|spot| spot.of(config)).map(ToString::to_string),
            "policies": self.asked.iter().map(step).collect::<Vec<_>>(),
            "policies_not_asked": self.unasked.iter().map(|it| json!({ "policy": it.name, "level": it.level })).collect::<Vec<_>>(),
            "cluster": self.cluster_name(config),
            "cluster_why": self.cluster_why,
            "balance": cluster.map(|cluster| balance_text(cluster)),
            "endpoints": self.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            "endpoints_found_by": cluster.and_then(|cluster| cluster.discovery.as_ref()).map(ToString::to_string),
            "mirrors": self.mirror_names(config),
            "sent": self.sent.as_ref().map(|sent| json!({
                "method": sent.method, "target": sent.target, "host": sent.host, "headers": fields(&sent.fields),
            })),
            "refused": self.refusal.as_ref().map(|(reason, detail)| json!({ "reason": reason.code(), "detail": detail })),
            "response": self.response.as_ref().map(|response| json!({
                "status": response.status, "headers": fields(&response.fields),
            })),
        })
    }
}

impl Step {
    fn to_text(&self) -> String {
        format!("{} ({}): {}", self.name, self.level, self.says)
    }
}

impl Sent {
    fn push_to(&self, page: &mut Page) {
        page.say("sent", &format!("{} {} to {}", self.method, self.target, self.host));
        for (name, value) in &self.fields {
            page.say("", &format!("{name}: {value}"));
        }
    }
}

impl EndpointView {
    fn to_text(&self) -> String {
        let mut text = self.name.clone();
        // Writing to a String cannot fail.
        if self.weight != 1 {
            let _ = write!(text, ", weight {}", self.weight);
        }
        if self.priority != 0 {
            let _ = write!(text, ", priority {}", self.priority);
        }
        if let Some(zone) = &self.zone {
            let _ = write!(text, ", zone {zone}");
        }
        if !self.first {
            text.push_str(": only when those before it cannot take everything");
        }
        text
    }
}

fn fields(fields: &[(String, String)]) -> Vec<Json> {
    fields.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// Lines whose words begin below each other.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn say(&mut self, what: &str, words: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{what:MARGIN$}{}", visible(words));
    }
}

/// What is written comes from files and from the command line: nothing of it drives a terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
