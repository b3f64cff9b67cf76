//! Which matches of the routes hold for a request, in which order, and why the others do not.

use std::fmt::Write as _;
use std::net::IpAddr;

use ringway_policies::route::{Misfit, Rank, RouteMatch, RouteRequest, RouteRule, examine, rank};

use crate::config::{Config, RouteConfig};

/// One match of one route, both by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub route: usize,
    pub item: usize,
}

/// What the routes say to a request. Slow and plain: it looks at every match, where the data path looks at few.
#[derive(Debug, Default, PartialEq)]
pub struct Routing {
    /// Where the request goes, each with its chance. More than one where matches have a `percent`.
    pub taken: Vec<(Spot, f64)>,
    /// The chance that no match takes it.
    pub unmatched: f64,
    /// Matches that hold too and come later in the order of precedence.
    pub later: Vec<Spot>,
    /// Matches of this listener and host that do not hold: those whose path does come first.
    pub missed: Vec<(Spot, Misfit)>,
    /// Matches of other listeners and hosts.
    pub elsewhere: usize,
}

/// Looks at every match of the configuration.
pub fn routing(config: &Config, request: &RouteRequest<'_>) -> Routing {
    let mut routing = Routing::default();
    let mut holding: Vec<(Rank, Spot)> = Vec::new();
    for (route, of) in config.routes.iter().enumerate() {
        let rule = rule_of(of);
        for item in 0..of.matches.len() {
            let spot = Spot { route, item };
            match examine(&rule, route, item, request) {
                Ok(rank) => holding.push((rank, spot)),
                Err(Misfit::Listener | Misfit::Host) => routing.elsewhere += 1,
                // Everything but chance speaks for it: what chance may say is said below.
                Err(Misfit::Share) => {
                    holding.extend(rank(&rule, item, request).ok().map(|rank| (rank, spot)))
                }
                Err(misfit) => routing.missed.push((spot, misfit)),
            }
        }
    }
    // Stable: of equals the first of the configuration comes first.
    holding.sort_by(|(a, _), (b, _)| a.cmp(b));
    routing.missed.sort_by_key(|(_, misfit)| *misfit == Misfit::Path);
    routing.spread(config, holding.into_iter().map(|(_, spot)| spot));
    routing
}

impl Routing {
    /// Shares the request out among the matches that hold, the first of them first.
    fn spread(&mut self, config: &Config, holding: impl Iterator<Item = Spot>) {
        let mut left = 1.0;
        for spot in holding {
            let share = spot.of(config).and_then(|wanted| wanted.share);
            let share = share.map_or(1.0, |share| f64::from(share) / 1_000_000.0);
            if left > 0.0 && share > 0.0 {
                self.taken.push((spot, left * share));
                left *= 1.0 - share;
            } else {
                self.later.push(spot);
            }
        }
        self.unmatched = left;
    }
}

impl Spot {
    /// The match itself.
    pub fn of(self, config: &Config) -> Option<&RouteMatch> {
        config.routes.get(self.route)?.matches.get(self.item).map(|wanted| &**wanted)
    }

    /// The name of the route, and which of its matches where it has several.
    pub fn name(self, config: &Config) -> String {
        let Some(route) = config.routes.get(self.route) else { return String::new() };
        match route.matches.len() {
            0 | 1 => route.name.clone(),
            several => format!("{}, match {} of {several}", route.name, self.item + 1),
        }
    }
}

fn rule_of(route: &RouteConfig) -> RouteRule<'_> {
    RouteRule { listeners: &route.listeners, hosts: &route.hosts, matches: &route.matches }
}

/// Why a match does not hold, in a few words: what it wants, and what the request has instead.
pub fn misfit_text(config: &Config, spot: Spot, misfit: Misfit, request: &RouteRequest<'_>) -> String {
    let (Some(route), Some(wanted)) = (config.routes.get(spot.route), spot.of(config)) else {
        return String::new();
    };
    let method = || text(request.head.method_span.of(request.bytes));
    match misfit {
        Misfit::Listener => {
            let names = route.listeners.iter().filter_map(|index| config.listeners.get(*index));
            let names: Vec<&str> = names.map(|listener| listener.name.as_str()).collect();
            format!("it is for the listener {}", names.join(", "))
        }
        Misfit::Host => format!("it is for the host {}", route.hosts.join(", ")),
        Misfit::Path => format!("the path is not {}", wanted.path.to_string().trim_start_matches("path ")),
        Misfit::Method => format!("the method is {}, not {}", method(), wanted.methods.join(" or ")),
        Misfit::Grpc => "it is no gRPC call: a POST with a content type of gRPC".to_owned(),
        Misfit::Header(index) => {
            let field = wanted.headers.get(index);
            let found = field.map(|field| header(request, &field.name)).unwrap_or_default();
            wanted_text("header", field, &found)
        }
        Misfit::Query(index) => wanted_text("parameter", wanted.query.get(index), &[]),
        Misfit::Cookie(index) => wanted_text("cookie", wanted.cookies.get(index), &[]),
        Misfit::Client => {
            let blocks: Vec<String> = wanted.clients.blocks.iter().map(ToString::to_string).collect();
            format!("the client {} is not in {}", address(request.client), blocks.join(", "))
        }
        Misfit::Time => {
            let time = wanted.time.map(|time| time.to_string()).unwrap_or_default();
            format!("the time is not {time}")
        }
        Misfit::Share => {
            format!("it takes {} of such requests", percent(f64::from(wanted.share.unwrap_or(0)) / 1e6))
        }
    }
}

fn wanted_text(what: &str, field: Option<&ringway_policies::route::FieldMatch>, found: &[String]) -> String {
    let Some(field) = field else { return String::new() };
    let mut out = format!("it wants the {what} {field}");
    if let [first, ..] = found {
        // Writing to a String cannot fail.
        let _ = write!(out, "; found {first:?}");
    }
    out
}

/// The values of a header.
fn header(request: &RouteRequest<'_>, name: &str) -> Vec<String> {
    let fields = request.head.fields.iter();
    let named = fields.filter(|field| field.name.of(request.bytes).eq_ignore_ascii_case(name.as_bytes()));
    named.map(|field| text(field.value.of(request.bytes))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The client's address, as a person reads it.
pub fn address(client: Option<IpAddr>) -> String {
    client.map_or("without an address".to_owned(), |client| client.to_string())
}

/// A share as a percentage without needless zeros.
pub fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_written_without_needless_zeros() {
        for (share, expected) in
            [(1.0, "100%"), (0.5, "50%"), (0.05, "5%"), (0.125, "12.5%"), (0.000_001, "0.0001%"), (0.0, "0%")]
        {
            assert_eq!(percent(share), expected);
        }
    }
}
