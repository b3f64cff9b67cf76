//! Does a configuration fit together? Names are unique and lead somewhere, no two listeners or routes
//! claim the same, and the limits fit the machine.

use std::collections::HashMap;

use super::cpus::Host;
use super::error::{ConfigError, Findings, Place, did_you_mean, quote};
use super::file::At;
use super::health::HealthKind;
use super::layer::View;
use super::settings::{Id, Setting};
use super::tree::SourceFile;
use super::units::{format_duration, format_size};
use super::value::Value;
use super::{ClusterConfig, Config, ListenerConfig, ProcessConfig, RouteConfig, UpstreamProtocol};
use crate::io::Address;

/// Names looked at for a suggestion.
const SUGGEST_AMONG: usize = 1_000;

/// Indices of names; a repeated name is an error at its second place.
pub(super) struct Names<'a> {
    what: &'static str,
    index: HashMap<&'a str, (usize, usize)>,
    /// In the order of the file, for suggestions.
    order: Vec<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn new(what: &'static str) -> Self {
        Names { what, index: HashMap::new(), order: Vec::new() }
    }

    /// Adds the name of the item at `index`.
    pub(super) fn add(
        &mut self,
        file: &SourceFile,
        key: String,
        name: &'a At<String>,
        index: usize,
        findings: &mut Findings,
    ) {
        if let Some((_, line)) = self.index.get(name.value.as_str()) {
            let problem =
                format!("the {} {} is here twice, first in line {line}", self.what, quote(&name.value));
            findings.push(ConfigError::new(file.place(name.at), key, problem));
            return;
        }
        self.index.insert(&name.value, (index, name.at.line));
        self.order.push(&name.value);
    }

    /// The item of a name that something else refers to.
    pub(super) fn find(
        &self,
        file: &SourceFile,
        key: String,
        name: &At<String>,
        findings: &mut Findings,
    ) -> Option<usize> {
        if let Some((index, _)) = self.index.get(name.value.as_str()) {
            return Some(*index);
        }
        if findings.is_full() {
            findings.push(ConfigError::new(file.place(name.at), key, "unknown name"));
            return None;
        }
        let known = self.order.iter().copied().take(SUGGEST_AMONG);
        let hint = did_you_mean(&name.value, known).or_else(|| match self.order.as_slice() {
            [] => Some(format!("the file has no {}s", self.what)),
            some if some.len() <= 8 => Some(format!("the {}s are: {}", self.what, some.join(", "))),
            _ => None,
        });
        let error = ConfigError::mismatch(
            file.place(name.at),
            key,
            format!("the name of a {}", self.what),
            quote(&name.value),
        );
        findings.push(error.hint(hint));
        None
    }
}

/// Addresses that are bound: each once.
#[derive(Default)]
pub(super) struct Binds {
    taken: HashMap<Address, String>,
}

impl Binds {
    /// Claims an address for what `owner` names.
    pub(super) fn claim(
        &mut self,
        address: &Address,
        owner: &str,
        place: Place,
        key: &str,
        findings: &mut Findings,
    ) {
        // Port 0 is another port each time.
        if matches!(address, Address::Tcp(address) if address.port() == 0) {
            return;
        }
        if let Some(other) = self.taken.get(address) {
            let problem = format!("the address {address} is already that of {other}");
            findings.push(ConfigError::new(place, key, problem));
            return;
        }
        self.taken.insert(address.clone(), owner.to_owned());
    }
}

/// Which route matches what: of two that match the same, one would never be chosen. A route that names its listener
/// goes before one for all listeners, so these two do not collide.
#[derive(Default)]
pub(super) struct Claims {
    claims: HashMap<(String, String), Vec<Claim>>,
}

struct Claim {
    /// Empty: all.
    listeners: Vec<usize>,
    route: String,
    line: usize,
}

impl Claims {
    /// Claims what a match wants of a host on some listeners; the earlier claim where there is one.
    pub(super) fn claim(
        &mut self,
        listeners: &[usize],
        host: &str,
        wanted: &str,
        route: &str,
        line: usize,
    ) -> Option<(String, usize)> {
        let claims = self.claims.entry((host.to_owned(), wanted.to_owned())).or_default();
        let overlaps = |claim: &&Claim| {
            (listeners.is_empty() && claim.listeners.is_empty())
                || listeners.iter().any(|it| claim.listeners.contains(it))
        };
        if let Some(earlier) = claims.iter().find(overlaps) {
            return Some((earlier.route.clone(), earlier.line));
        }
        claims.push(Claim { listeners: listeners.to_vec(), route: route.to_owned(), line });
        None
    }
}

/// The limits of the process against each other and against the machine.
pub(super) fn process(
    process: &ProcessConfig,
    view: &View<'_>,
    host: &Host,
    place: &dyn Fn(Id) -> Place,
    findings: &mut Findings,
) {
    let key = |id: Id| Setting::of(id).key;
    let buffers = &process.buffers;
    if buffers.connection_bytes_max < buffers.buffer_bytes {
        let expected = format!("at least one buffer ({})", format_size(u64::from(buffers.buffer_bytes)));
        let found = format_size(u64::from(buffers.connection_bytes_max));
        let id = Id::ConnectionBytes;
        findings.push(ConfigError::mismatch(place(id), key(id), expected, found));
    }
    let ring = u64::from(buffers.buffer_bytes) * u64::from(buffers.ring_buffers);
    if ring > buffers.worker_bytes_max {
        let expected = format!("at least the buffers offered to the kernel ({})", format_size(ring));
        let id = Id::WorkerBytes;
        let hint = format!("raise it, or lower `{}` or `{}`", key(Id::RingBuffers), key(Id::BufferBytes));
        let found = format_size(buffers.worker_bytes_max);
        findings.push(ConfigError::mismatch(place(id), key(id), expected, found).hint(hint));
    }
    memory(process, view, host, place, findings);
    if let Some(cpus) = Some(host.cpus.len()).filter(|cpus| *cpus > 0 && process.workers > *cpus) {
        let problem = format!("{} workers share {cpus} CPUs", process.workers);
        let warning = ConfigError::new(place(Id::Workers), key(Id::Workers), problem).warning();
        findings.push(warning.hint("one worker for each CPU is fastest: `auto`".to_owned()));
    }
    let open_admin = process.admin.filter(|admin| !admin.ip().is_loopback() && process.admin_token.is_none());
    if let Some(admin) = open_admin {
        let problem = format!("the admin listener on {admin} can be read from other machines");
        findings.push(ConfigError::new(place(Id::AdminBind), key(Id::AdminBind), problem).warning());
    }
}

/// Health checks that cannot work: what is expected, and what was found.
pub(super) fn health(cluster: &ClusterConfig, view: &View<'_>) -> Option<(&'static str, &'static str)> {
    let off = |id: Id| view.word(id) == Some("off");
    let ways = [!off(Id::HealthGrpc), !off(Id::HealthPath), view.bool(Id::HealthTcp)];
    if ways.iter().filter(|way| **way).count() > 1 {
        return Some(("one of `health.grpc`, `health.path` and `health.tcp`", "several"));
    }
    let asks_grpc = cluster.health.as_ref().is_some_and(|it| matches!(it.kind, HealthKind::Grpc { .. }));
    let clash = asks_grpc && cluster.protocol == UpstreamProtocol::Http1;
    clash
        .then_some(("`off` in a cluster that speaks HTTP/1.1: gRPC needs `protocol: http2`", "health checks"))
}

/// Bytes in flight against the memory limit. Only values that somebody wrote can be wrong: `auto` fits.
fn memory(
    process: &ProcessConfig,
    view: &View<'_>,
    host: &Host,
    place: &dyn Fn(Id) -> Place,
    findings: &mut Findings,
) {
    let id = Id::WorkerBytes;
    let Some(limit) = host.memory_bytes().filter(|_| view.word(id).is_none()) else { return };
    let whose = if host.cgroup_memory_bytes == Some(limit) {
        "the cgroup's memory limit"
    } else {
        "the machine's memory"
    };
    let total = process.buffers.worker_bytes_max.saturating_mul(process.workers as u64);
    let share = limit / 100 * view.number(Id::MemoryShare);
    let found = format!("{} × {} workers", format_size(process.buffers.worker_bytes_max), process.workers);
    if total > limit {
        let expected = format!("at most {whose} ({}) over all workers", format_size(limit));
        findings.push(ConfigError::mismatch(place(id), Setting::of(id).key, expected, found));
    } else if total > share {
        let problem = format!(
            "{found} is more than {}% of {whose} ({})",
            view.number(Id::MemoryShare),
            format_size(limit)
        );
        findings.push(ConfigError::new(place(id), Setting::of(id).key, problem).warning());
    }
}

/// What works and is probably not meant. `place` finds where an item of the file is.
pub(super) fn warnings(
    config: &Config,
    place: &dyn Fn(&str, usize) -> (Place, String),
    findings: &mut Findings,
) {
    let mut used = vec![false; config.clusters.len()];
    let mut served = vec![false; config.listeners.len()];
    for route in &config.routes {
        for cluster in route
            .targets
            .clusters()
            .chain(route.mirror.iter().flat_map(|mirror| &mirror.targets).map(|mirror| mirror.cluster))
        {
            if let Some(used) = used.get_mut(cluster) {
                *used = true;
            }
        }
        if route.listeners.is_empty() {
            served.fill(true);
        }
        for listener in &route.listeners {
            if let Some(served) = served.get_mut(*listener) {
                *served = true;
            }
        }
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        served[index] |= listener.tcp.is_some();
        for tcp in listener.tcp.iter().chain(&listener.passthrough) {
            for cluster in tcp.cluster.into_iter().chain(tcp.names.iter().map(|(_, cluster)| cluster)) {
                if let Some(used) = used.get_mut(cluster) {
                    *used = true;
                }
            }
        }
    }
    let mut warn = |what: &str, index: usize, problem: String| {
        let (place, key) = place(what, index);
        findings.push(ConfigError::new(place, key, problem).warning());
    };
    for (index, route) in config.routes.iter().enumerate() {
        let tcp =
            route.listeners.iter().filter_map(|at| config.listeners.get(*at)).find(|it| it.tcp.is_some());
        if let Some(listener) = tcp {
            let name = quote(&listener.name);
            warn("routes", index, format!("the listener {name} speaks TCP: routes do not count there"));
        }
    }
    for (index, cluster) in config.clusters.iter().enumerate().filter(|(index, _)| !used[*index]) {
        warn("clusters", index, format!("no route leads to the cluster {}", quote(&cluster.name)));
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        if !served[index] {
            warn(
                "listeners",
                index,
                format!("no route is on the listener {}: every request gets 404", quote(&listener.name)),
            );
        }
        if let Some((host, cluster)) = encrypted_twice(config, listener) {
            let name = quote(&cluster.name);
            let problem = format!(
                "connections for {host} are passed on with their TLS, and the cluster {name} adds its own"
            );
            warn("listeners", index, problem);
        }
        if let Some(host) = never_shown(listener) {
            let problem =
                format!("connections for {host} are passed on: the certificate for it is never shown");
            warn("listeners", index, problem);
        }
    }
    for (index, problem) in uncovered(config) {
        let (place, key) = place("routes", index);
        let warning = ConfigError::new(place, format!("{key}.hosts"), problem).warning();
        findings.push(warning.hint("add one, or put the route on other `listeners`".to_owned()));
    }
}

/// A server name whose connections reach a cluster with TLS around that which they bring.
fn encrypted_twice<'a>(
    config: &'a Config,
    listener: &'a ListenerConfig,
) -> Option<(&'a str, &'a ClusterConfig)> {
    // Where TLS is ended first there is nothing to encrypt twice.
    let by_name = listener.tcp.as_ref().filter(|_| listener.tls.is_none());
    let rest = listener.passthrough.as_ref().and_then(|passthrough| passthrough.cluster);
    let named = by_name.into_iter().chain(&listener.passthrough).flat_map(|tcp| tcp.names.iter());
    named.chain(rest.map(|cluster| ("*", cluster))).find_map(|(name, at)| {
        let cluster = config.clusters.get(at).filter(|cluster| cluster.tls.is_some())?;
        Some((name, &**cluster))
    })
}

/// A host of a certificate whose connections are passed on.
fn never_shown(listener: &ListenerConfig) -> Option<&str> {
    let (passthrough, tls) = listener.passthrough.as_ref().zip(listener.tls.as_ref())?;
    // Any label does for the asterisk.
    let same = |name: &str| tls.exactness(&name.replacen('*', "any", 1)) == passthrough.names.exactness(name);
    passthrough.names.iter().map(|(name, _)| name).find(|name| same(name))
}

/// Routes on listeners with TLS where no certificate is for one of their hosts, by their index, and what is said about each.
pub(crate) fn uncovered(config: &Config) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, route) in config.routes.iter().enumerate().filter(|(_, route)| !route.hosts.is_empty()) {
        for (at, listener) in config.listeners.iter().enumerate() {
            if route.listeners.is_empty() || route.listeners.contains(&at) {
                found.extend(uncovered_on(listener, route).map(|problem| (index, problem)));
            }
        }
    }
    found
}

fn uncovered_on(listener: &ListenerConfig, route: &RouteConfig) -> Option<String> {
    let tls = listener.tls.as_ref().filter(|_| listener.tcp.is_none())?;
    // The certificate of a workload is for no host; its clients look for its identity.
    if tls.settings().workload.is_some() {
        return None;
    }
    let ended_here = |host: &&String| !listener.passes_on(host);
    let mut hosts = route.hosts.iter().filter(ended_here).filter(|host| !tls.may_cover(host));
    let (first, more) = (hosts.next()?, hosts.count());
    let name = quote(&listener.name);
    let others = if more > 0 { format!(", nor for {more} more of these hosts") } else { String::new() };
    let shown = match tls.settings().strict_sni {
        true => "clients are turned away",
        false => "clients are shown one that is for another host",
    };
    Some(format!("no certificate of the listener {name} is for {first}{others}: {shown}"))
}

/// Values of one listener or cluster, or of the defaults, that are probably not meant.
pub(super) fn doubtful(id: Id, value: &Value) -> Option<String> {
    match (id, value) {
        (Id::PoolIdleTimeout, Value::Duration(time)) if time.as_secs() >= 60 => Some(format!(
            "connections to origins are kept for {}: many origins close after 60s or less, and a request that \
             meets a closed connection has to be sent again",
            format_duration(*time)
        )),
        (Id::ProxyProtocol, Value::Word("true")) => Some(
            "every peer may name any client address: list the load balancers' addresses instead".to_owned(),
        ),
        (Id::TrustedProxies, Value::Cidrs(cidrs)) if cidrs.iter().any(|cidr| cidr.prefix_length == 0) => {
            Some("every client may forge its address in the forwarding headers".to_owned())
        }
        _ => None,
    }
}
