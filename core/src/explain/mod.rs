//! Why a request goes where it goes.
//!
//! `ringway explain` and `ringway test` ask about requests that nobody sent ([`explain`]): the steps are those of
//! [`crate::exchange`], with the same functions where these are pure, no socket, and an origin that answers as it is told.
//! What chance decides is followed in every direction. The running proxy tells the same of a request that it serves, to
//! who has the token for it ([`live`]).
//!
//! **Invariant:** nothing here decides about a request that is served.

mod dry_run;
mod endpoints;
pub mod expected;
pub mod live;
mod question;
pub mod routes;
mod show;

use std::net::IpAddr;

use ringway_policies::path::{self, PathVerdict};
use ringway_policies::{forwarded, split};
use ringway_protocols::message::Method;

use crate::config::{Config, ListenerConfig, MirrorTarget, RouteConfig};
use crate::error::Reason;
use crate::exchange::Failure;
use dry_run::Scene;
pub use endpoints::{EndpointView, endpoints};
pub use question::{Asked, Entrance, Question, Url, parse_field};
use routes::{Spot, misfit_text, routing};

/// What the origin of a request that nobody sent answers.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginAnswer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
}

impl Default for OriginAnswer {
    fn default() -> Self {
        OriginAnswer { status: 200, fields: Vec::new() }
    }
}

/// What would become of a request.
#[derive(Debug)]
pub struct Explanation {
    /// Method and URL.
    pub name: String,
    pub entrance: Entrance,
    /// The client, behind the forwarders that are trusted.
    pub client: Option<IpAddr>,
    /// What the peer says about where the request comes from is believed.
    pub trusted: bool,
    /// The path in normal form, where it is not that already.
    pub normal_path: Option<String>,
    pub routes: RouteReport,
    /// Each with its chance; they sum up to 1.
    pub outcomes: Vec<Outcome>,
}

/// What is said of the matches that do not get the request.
#[derive(Debug, Default)]
pub struct RouteReport {
    /// Those of this host, each with what does not hold.
    pub missed: Vec<(String, String)>,
    /// Those that hold too and are less specific.
    pub later: Vec<String>,
    /// How many are for other hosts and listeners.
    pub elsewhere: usize,
}

/// One way that a request may take.
#[derive(Debug, Default)]
pub struct Outcome {
    pub chance: f64,
    /// A route was looked for.
    pub routed: bool,
    /// The match that takes it; `None`: it does not come so far, or there is none.
    pub spot: Option<Spot>,
    /// Index of the cluster.
    pub cluster: Option<usize>,
    /// Why this one of several.
    pub cluster_why: String,
    /// Policies that were asked, in their order.
    pub asked: Vec<Step>,
    /// Policies that were not, because one before them answered.
    pub unasked: Vec<Step>,
    /// What the origin gets; `None`: nothing.
    pub sent: Option<Sent>,
    pub endpoints: Vec<EndpointView>,
    /// Clusters that copies of it may go to.
    pub mirrors: Vec<MirrorTarget>,
    /// What the client gets; `None` where the proxy only passes bytes on.
    pub response: Option<Message>,
    /// Why the proxy refuses it.
    pub refusal: Option<(Reason, String)>,
}

/// One policy.
#[derive(Debug, Clone)]
pub struct Step {
    /// `global`, `listener`, `route` or `target`.
    pub level: &'static str,
    pub name: &'static str,
    pub says: String,
}

/// A request as the origin gets it.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub method: String,
    pub target: String,
    pub host: String,
    pub fields: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default)]
pub struct Message {
    pub status: u16,
    pub fields: Vec<(String, String)>,
}

/// Finds out what would become of a request.
///
/// # Errors
/// What about the question makes no sense for this configuration.
pub fn explain(config: &Config, question: &Question, origin: &OriginAnswer) -> Result<Explanation, String> {
    let entrance = question.entrance(config)?;
    let listener =
        config.listeners.get(entrance.listener).ok_or_else(|| "there is no listener".to_owned())?;
    let mut told = Explanation {
        name: question.name(),
        client: question.peer_at(listener),
        trusted: false,
        normal_path: None,
        routes: RouteReport::default(),
        outcomes: Vec::new(),
        entrance,
    };
    if listener.tcp.is_some() {
        told.outcomes.push(passed_on(config, listener, question));
        return Ok(told);
    }
    let (asked, refused) = match question.ask(listener) {
        Ok(asked) => (asked, None),
        Err((failure, asked)) => (asked, Some(failure)),
    };
    let mut scene = Scene::new(config, &told.entrance, listener, question, &asked, origin);
    if let Some(failure) = refused {
        told.outcomes.push(scene.unread(failure));
        return Ok(told);
    }
    (told.client, told.trusted) = client(listener, question, &asked);
    (scene.client, scene.trusted) = (told.client, told.trusted);
    match normal_path(listener, &asked) {
        Ok(Some(normal)) => {
            told.normal_path = Some(String::from_utf8_lossy(&normal).into_owned());
            scene.path = normal;
            scene.changed_path = true;
        }
        Ok(None) => {}
        Err(failure) => {
            told.outcomes.push(scene.unread(failure));
            return Ok(told);
        }
    }
    if listener.redirect_to_https.is_some() {
        told.outcomes.push(scene.unread(Reason::RedirectToHttps.into()));
        return Ok(told);
    }
    told.follow(&scene);
    Ok(told)
}

impl Explanation {
    /// From the routes on, in every direction.
    fn follow(&mut self, scene: &Scene<'_>) {
        let config = scene.config;
        let request = scene.route_request();
        let routing = routing(config, &request);
        self.routes = RouteReport {
            missed: (routing.missed.iter())
                .map(|(spot, misfit)| (spot.name(config), misfit_text(config, *spot, *misfit, &request)))
                .collect(),
            later: routing.later.iter().map(|spot| spot.name(config)).collect(),
            elsewhere: routing.elsewhere,
        };
        for (spot, chance) in routing.taken {
            let Some(route) = config.routes.get(spot.route) else { continue };
            for (target, share, why) in targets(route, scene) {
                let mut outcome = scene.run(spot, target, self.outcomes.len());
                outcome.chance = chance * share;
                outcome.routed = true;
                outcome.cluster_why = why;
                self.outcomes.push(outcome);
            }
        }
        if routing.unmatched > 0.0 {
            let mut outcome = scene.refused(Reason::NoRoute.into(), self.outcomes.len());
            outcome.chance = routing.unmatched;
            outcome.routed = true;
            self.outcomes.push(outcome);
        }
    }
}

/// A connection that is passed on as it is.
fn passed_on(config: &Config, listener: &ListenerConfig, question: &Question) -> Outcome {
    let host = ringway_protocols::authority::parse(question.url.authority.as_bytes());
    let host = host.map(|host| String::from_utf8_lossy(host.host).into_owned()).unwrap_or_default();
    let by_name = |host: &str| listener.tcp.as_ref()?.names.find(host);
    let named = question.url.secure.then(|| by_name(&host)).flatten();
    let cluster = named.or(listener.tcp.as_ref().and_then(|tcp| tcp.cluster));
    let why = if named.is_some() { format!("by the server name {host}") } else { String::new() };
    Outcome {
        chance: 1.0,
        cluster,
        cluster_why: why,
        endpoints: cluster
            .and_then(|index| config.clusters.get(index))
            .map_or(Vec::new(), |cluster| endpoints(cluster)),
        refusal: cluster.is_none().then(|| (Reason::ServerNameUnknown, String::new())),
        ..Outcome::default()
    }
}

/// Who the client is, and whether its peer is believed.
fn client(listener: &ListenerConfig, question: &Question, asked: &Asked) -> (Option<IpAddr>, bool) {
    let config = &listener.forwarded;
    match question.peer_at(listener) {
        Some(peer) if config.trusted.contains(peer) => {
            let client =
                forwarded::client_address(config.style, peer, &config.trusted, &asked.head, &asked.bytes);
            (Some(client), true)
        }
        peer => (peer, false),
    }
}

/// The path in normal form, where it is another.
fn normal_path(listener: &ListenerConfig, asked: &Asked) -> Result<Option<Vec<u8>>, Failure> {
    if asked.head.method == Method::Connect {
        return Ok(None);
    }
    let mut normal = Vec::new();
    match path::check_or_normalise(asked.head.path_of(&asked.bytes), listener.path_rules, &mut normal) {
        Ok(PathVerdict::Unchanged) => Ok(None),
        Ok(PathVerdict::Normalised) => Ok(Some(normal)),
        Err(error) => Err(Failure { reason: Reason::BadRequest, detail: error.to_string() }),
    }
}

/// The targets that the request may go to, by index, each with its share and why.
fn targets(route: &RouteConfig, scene: &Scene<'_>) -> Vec<(Option<usize>, f64, String)> {
    let list = &route.targets.list;
    if list.len() <= 1 {
        return vec![((!list.is_empty()).then_some(0), 1.0, String::new())];
    }
    let (head, bytes) = (&scene.asked.head, scene.asked.bytes.as_slice());
    let key = route.sticky.as_ref().and_then(|key| Some((key, key.hash(head, bytes, scene.client)?)));
    if let Some((key, hash)) = key {
        let index = route.targets.choose(Some(hash), || 0).unwrap_or(0);
        return vec![(Some(index), 1.0, format!("always for this {}", key_name(key)))];
    }
    let total: u64 = list.iter().map(|target| u64::from(target.weight())).sum();
    if total == 0 {
        return vec![(Some(0), 1.0, "the first, because every weight is 0".to_owned())];
    }
    let weighted = list.iter().enumerate().filter(|(_, target)| target.weight() > 0);
    let each = weighted.map(|(index, target)| {
        let weight = target.weight();
        (Some(index), f64::from(weight) / total as f64, format!("weight {weight} of {total}"))
    });
    each.collect()
}

fn key_name(key: &split::SplitKey) -> String {
    match key {
        split::SplitKey::Header(name) => format!("value of {name}"),
        split::SplitKey::Cookie(name) => format!("cookie {name}"),
        split::SplitKey::Client => "client".to_owned(),
    }
}
