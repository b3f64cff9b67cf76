//! What a file says → a [`Config`]: names become indices, texts become addresses, and what does not fit together is an
//! error at its place.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringway_policies::policy::{Level, PolicyConfig};
use ringway_policies::route::RouteTable;

use super::build::{self, RouteParts};
use super::check::{self, Binds, Claims, Names};
use super::cpus::Host;
use super::discovery::{DiscoveryConfig, Endpoints};
use super::endpoints_file;
use super::error::{ConfigError, Findings, quote};
use super::file::{At, FileCluster, FileConfig, FileDiscovery, FileListener, FileMirror, FileRoute};
use super::grammar;
use super::layer::{Layer, Own, View};
use super::load::place_of;
use super::policies;
use super::settings::{Id, Setting};
use super::tls::{self, Where};
use super::tree::{Mark, SourceFile};
use super::value::Mismatch;
use super::{
    ClusterConfig, Config, ListenerConfig, MirrorTarget, RouteConfig, ServerNames, Sources, Targets,
    TcpConfig, built,
};
use crate::io::Address;
use crate::tls::ClientTls;

/// Puts the parts of a file together.
pub(super) struct Assembly<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) read: &'a FileConfig,
    pub(super) base: &'a Layer,
    pub(super) host: &'a Host,
    pub(super) findings: &'a mut Findings,
}

impl<'a> Assembly<'a> {
    pub(super) fn config(mut self) -> Config {
        let (base, file, read) = (self.base, self.file, self.read);
        let place = |id: Id| place_of(id, base, Some((file, &read.process)));
        let view = build::all(base);
        let process = build::process(base, self.host, &place, self.findings);
        check::process(&process, &view, self.host, &place, self.findings);
        self.doubtful(&read.defaults, "defaults");

        let mut cluster_names = Names::new("cluster");
        let mut clusters = Vec::new();
        for (index, cluster) in read.clusters.iter().enumerate() {
            let path = format!("clusters[{}]", cluster.index);
            let name = self.add_name(&mut cluster_names, &cluster.name, &path, index);
            let (endpoints, discovery) = self.endpoints(cluster, &path);
            self.doubtful(&cluster.own, &path);
            let view = View { base, own: &cluster.own };
            let mut built = build::cluster(&name, endpoints, &view);
            built.discovery = discovery;
            built.tls = self.client_tls(&built, cluster, &path, &view);
            if let Some((expected, found)) = check::health(&built, &view) {
                let place = self.file.place(cluster.at);
                let key = format!("{path}.{}", Setting::of(Id::HealthGrpc).key);
                self.findings.push(ConfigError::mismatch(place, key, expected, found));
            }
            clusters.push(Arc::new(built));
        }
        let mut binds = Binds::default();
        let (listeners, listener_names) = self.listeners(&mut binds, &cluster_names);
        if let Some(admin) = process.admin {
            binds.claim(&admin.into(), "a listener", place(Id::AdminBind), "admin.bind", self.findings);
        }
        let (routes, route_owns) = self.routes(&listener_names, &cluster_names);
        let sources = Sources {
            base: base.clone(),
            listeners: read.listeners.iter().map(|it| it.own.clone()).collect(),
            clusters: read.clusters.iter().map(|it| it.own.clone()).collect(),
            routes: route_owns,
            file: Some(file.path.clone()),
            files: file.paths(),
            top: read.process.clone(),
            ..Sources::default()
        };
        let route_table = self.route_table(&routes);
        let policies = policies::build(&read.policies, Level::Global, "", file, self.findings);
        let config = Config {
            generation: 1,
            revision: 1,
            process,
            policies,
            listeners,
            clusters,
            routes,
            route_table: Arc::new(route_table),
            sources: Arc::new(sources),
            warnings: Vec::new(),
        };
        self.overall(&config);
        config
    }

    fn listeners(
        &mut self,
        binds: &mut Binds,
        clusters: &Names<'a>,
    ) -> (Vec<Arc<ListenerConfig>>, Names<'a>) {
        let mut names = Names::new("listener");
        let mut listeners = Vec::new();
        for (index, listener) in self.read.listeners.iter().enumerate() {
            let path = format!("listeners[{}]", listener.index);
            let name = self.add_name(&mut names, &listener.name, &path, index);
            self.doubtful(&listener.own, &path);
            let bind = listener.bind.as_ref().and_then(|bind| self.bind(bind, &name, &path, binds));
            // An address that cannot be bound stands in for a wrong one, which is an error already.
            let bind = bind.unwrap_or_else(|| Address::Tcp(([0, 0, 0, 0], 0).into()));
            let view = View { base: self.base, own: &listener.own };
            let mut built = build::listener(&name, bind, &view);
            let at = Where { file: self.file, path: &path, at: listener.at };
            built.tls = listener.tls.as_ref().and_then(|tls| tls::server(tls, &view, &at, self.findings));
            if built.tls.is_some() && built.redirect_to_https.is_some() {
                let problem = "a listener with TLS has nothing to redirect: set it on the one without";
                self.findings.push(at.error(Id::RedirectToHttps, &view, problem));
            }
            built.policies =
                policies::build(&listener.policies, Level::Listener, &name, self.file, self.findings);
            self.tcp(listener, &path, clusters, &mut built);
            if !listener.passthrough.is_empty() {
                let key = format!("{path}.tls.passthrough");
                let idle_timeout = view.duration(Id::TcpIdleTimeout);
                built.passthrough = Some(self.passthrough(listener, key, clusters, idle_timeout));
            }
            listeners.push(Arc::new(built));
        }
        (listeners, names)
    }

    /// Where a listener of TCP leads.
    fn tcp(&mut self, listener: &FileListener, path: &str, clusters: &Names<'a>, built: &mut ListenerConfig) {
        let Some(tcp) = &mut built.tcp else {
            let first = listener.tcp_sni.first().map(|(name, _)| name.at);
            if let Some(at) = listener.tcp_to.as_ref().map(|to| to.at).or(first) {
                let place = self.file.place(at);
                let problem = "`tcp` leads connections on only where the listener has `protocol: tcp`";
                self.findings.push(ConfigError::new(place, format!("{path}.tcp"), problem));
            }
            return;
        };
        if listener.tcp_to.is_none() && listener.tcp_sni.is_empty() {
            let at = listener.own.iter().find(|(id, ..)| *id == Id::ListenerProtocol).map(|(.., at)| *at);
            let place = self.file.place(at.unwrap_or(Mark { width: 1, ..listener.at }));
            let error = ConfigError::new(place, path, "a listener of TCP leads to a cluster");
            self.findings.push(error.hint(Some("add `tcp: { to: NAME }`".to_owned())));
        }
        let to = listener.tcp_to.as_ref();
        tcp.cluster = to.and_then(|to| clusters.find(self.file, format!("{path}.tcp.to"), to, self.findings));
        tcp.names = self.server_names(&listener.tcp_sni, format!("{path}.tcp.sni"), clusters);
    }

    /// Where connections are passed on to; `*` is every name that nothing else is for.
    fn passthrough(
        &mut self,
        listener: &FileListener,
        key: String,
        clusters: &Names<'a>,
        idle_timeout: Duration,
    ) -> TcpConfig {
        let (rest, named): (Vec<_>, Vec<_>) =
            listener.passthrough.iter().cloned().partition(|(name, _)| name.value == "*");
        let rest = rest.first().map(|(_, to)| to);
        let cluster = rest.and_then(|to| clusters.find(self.file, key.clone(), to, self.findings));
        TcpConfig { idle_timeout, cluster, names: self.server_names(&named, key, clusters) }
    }

    /// Server names and their clusters.
    fn server_names(
        &mut self,
        written: &[(At<String>, At<String>)],
        key: String,
        clusters: &Names<'a>,
    ) -> ServerNames {
        let mut names: Vec<(String, usize)> = Vec::new();
        let mut seen = HashSet::new();
        for (name, to) in written {
            let place = self.file.place(name.at);
            let cluster = clusters.find(self.file, key.clone(), to, self.findings);
            match grammar::host_pattern(&name.value) {
                Ok(host) if !seen.insert(host.clone()) => {
                    let problem = format!("{} is here twice", quote(&host));
                    self.findings.push(ConfigError::new(place, key.clone(), problem));
                }
                Ok(host) => names.extend(cluster.map(|cluster| (host, cluster))),
                Err(mismatch) => {
                    let error =
                        ConfigError::mismatch(place, key.clone(), mismatch.expected, quote(&name.value));
                    self.findings.push(error.hint(mismatch.hint));
                }
            }
        }
        ServerNames::build(names).unwrap_or_else(|_| {
            // Twice or without meaning: the checks above have said so.
            let place =
                written.first().map_or_else(|| self.file.whole(), |(name, _)| self.file.place(name.at));
            self.findings.push(ConfigError::new(place, key, "no usable name"));
            ServerNames::default()
        })
    }

    fn client_tls(
        &mut self,
        built: &ClusterConfig,
        cluster: &FileCluster,
        path: &str,
        view: &View<'_>,
    ) -> Option<Arc<ClientTls>> {
        let texts = cluster.endpoints.as_deref().unwrap_or_default();
        let texts = || texts.iter().map(|endpoint| &endpoint.address);
        let https = texts().filter(|text| grammar::is_https(&text.value)).count();
        // Those with another scheme are errors already.
        let mut plain = texts().enumerate().filter(|(_, text)| !text.value.contains("://"));
        if let (1.., Some((index, plain)), Some(_)) = (https, plain.next(), view.word(Id::UpstreamTls)) {
            let expected = "https:// like the other endpoints: a cluster has TLS or has not";
            let (place, key) = (self.file.place(plain.at), format!("{path}.endpoints[{index}]"));
            self.findings.push(ConfigError::mismatch(place, key, expected, quote(&plain.value)));
            return None;
        }
        let at = Where { file: self.file, path, at: cluster.at };
        let finding = |id: Id, problem: String| at.error(id, view, problem);
        tls::client(built, https > 0, view, &finding, self.findings)
    }

    fn bind(&mut self, bind: &At<String>, name: &str, path: &str, binds: &mut Binds) -> Option<Address> {
        let (place, key) = (self.file.place(bind.at), format!("{path}.bind"));
        let Ok(address) = bind.value.parse::<Address>() else {
            let expected = "ADDRESS:PORT such as 127.0.0.1:8080, [::1]:8080, :8080 or unix:/path";
            let port = bind.value.parse::<u16>().ok();
            let hint =
                port.map(|port| format!("write `\":{port}\"` for every address or `127.0.0.1:{port}`"));
            self.findings.push(ConfigError::mismatch(place, key, expected, quote(&bind.value)).hint(hint));
            return None;
        };
        binds.claim(&address, &format!("listener {}", quote(name)), place, &key, self.findings);
        Some(address)
    }

    /// The endpoints of a cluster, and where they come from if not from here.
    fn endpoints(&mut self, cluster: &FileCluster, path: &str) -> (Endpoints, Option<DiscoveryConfig>) {
        if let Some(FileDiscovery { key, value }) = &cluster.discovery {
            let found = discovery(key, &value.value, self.findings);
            if let Err(mismatch) = found {
                let place = self.file.place(value.at);
                let error = ConfigError::mismatch(
                    place,
                    format!("{path}.{key}"),
                    mismatch.expected,
                    quote(&value.value),
                );
                self.findings.push(error.hint(mismatch.hint));
                return (Endpoints::new(), None);
            }
            return found.unwrap_or_default();
        }
        let items = cluster.endpoints.as_deref().unwrap_or_default();
        let path = format!("{path}.endpoints");
        if cluster.endpoints.is_some() && items.is_empty() {
            let place = self.file.place(Mark { width: 1, ..cluster.at });
            self.findings.push(ConfigError::mismatch(place, &*path, "at least one endpoint", "none"));
        }
        (endpoints_file::build(items, self.file, &path, self.findings), None)
    }

    fn routes(&mut self, listeners: &Names<'a>, clusters: &Names<'a>) -> (Vec<Arc<RouteConfig>>, Vec<Own>) {
        let mut names = Names::new("route");
        let mut claims = Claims::default();
        let (mut routes, mut owns) = (Vec::new(), Vec::new());
        for (index, route) in self.read.routes.iter().enumerate() {
            let path = format!("routes[{}]", route.index);
            let findings_before = self.findings.count();
            let name = self.add_name(&mut names, &route.name, &path, index);
            let targets = Arc::new(self.targets(route, clusters));
            self.one_sticky(route, &path);
            let mirrors = self.mirrors(route, clusters);
            let on = route.listeners.iter().enumerate().filter_map(|(at, listener)| {
                listeners.find(self.file, format!("{path}.listeners[{at}]"), listener, self.findings)
            });
            let on: Vec<usize> = on.collect();
            let hosts = self.hosts(route, &path);
            let policies = policies::build(&route.policies, Level::Route, &name, self.file, self.findings);
            // What a route with errors matches is not known yet.
            let whole = !route.broken && self.findings.count() == findings_before;
            if whole {
                self.claim(&mut claims, route, &name, &path, (&on, &hosts));
            }
            let every = route.matches.is_empty();
            let parts = RouteParts {
                listeners: on,
                hosts,
                matches: if every { build::every_request() } else { route.matches.clone() },
                targets,
                mirrors,
                policies,
            };
            let view = View { base: self.base, own: &route.own };
            routes.push(Arc::new(build::route(name, parts, &view)));
            owns.push(route.own.clone());
        }
        (routes, owns)
    }

    fn mirrors(&mut self, route: &FileRoute, clusters: &Names<'a>) -> Vec<MirrorTarget> {
        let mut found: Vec<MirrorTarget> = Vec::new();
        for FileMirror { key, cluster: name, share_ppm } in &route.mirrors {
            let Some(cluster) = clusters.find(self.file, key.clone(), name, self.findings) else { continue };
            if found.iter().any(|other| other.cluster == cluster) {
                let problem = format!("the cluster {} is here twice", quote(&name.value));
                self.findings.push(ConfigError::new(self.file.place(name.at), key.clone(), problem));
            }
            found.push(MirrorTarget { cluster, share_ppm: *share_ppm });
        }
        found
    }

    fn targets(&mut self, route: &FileRoute, clusters: &Names<'a>) -> Targets {
        let mut found: Vec<(usize, &str, u32, Vec<PolicyConfig>)> = Vec::new();
        for target in &route.to {
            let name = &target.cluster;
            let index = clusters.find(self.file, target.key.clone(), name, self.findings);
            let Some(index) = index else { continue };
            if found.iter().any(|(other, ..)| *other == index) {
                let problem = format!("the cluster {} is here twice", quote(&name.value));
                self.findings.push(ConfigError::new(self.file.place(name.at), target.key.clone(), problem));
            }
            let policies =
                policies::build(&target.policies, Level::Target, &name.value, self.file, self.findings);
            found.push((index, &name.value, target.weight, policies));
        }
        if let Some(first) = route.to.first()
            && route.to.iter().all(|target| target.weight == 0)
        {
            let place = self.file.place(first.at);
            let key = format!("routes[{}].to", route.index);
            self.findings.push(ConfigError::mismatch(place, key, "at least one weight above 0", "none"));
        }
        Targets::new(found)
    }

    /// A client is kept with a target by one thing only.
    fn one_sticky(&mut self, route: &FileRoute, path: &str) {
        let view = View { base: self.base, own: &route.own };
        let given = [view.text(Id::StickyHeader).is_some(), view.text(Id::StickyCookie).is_some()];
        let given = given.into_iter().chain([view.bool(Id::StickyClient)]).filter(|given| *given).count();
        let at = Where { file: self.file, path, at: route.at };
        for id in [Id::StickyHeader, Id::StickyCookie] {
            if view.text(id).is_some_and(|name| super::value::parse_token(&name).is_none()) {
                self.findings.push(at.error(id, &view, "this is no name of a header or a cookie"));
            }
        }
        if given > 1 {
            let problem = "only one of `header`, `cookie` and `client` keeps a client with a target";
            self.findings.push(at.error(Id::StickyClient, &view, problem));
        }
    }

    /// The match table. What it refuses beyond the checks above is an error too.
    fn route_table(&mut self, routes: &[Arc<RouteConfig>]) -> RouteTable {
        built::route_table(routes).unwrap_or_else(|error| {
            if !self.findings.has_errors() {
                let name = routes.get(error.rule()).map_or("?", |route| &route.name);
                let key = format!("routes ({name})");
                self.findings.push(ConfigError::new(self.file.whole(), key, error.to_string()));
            }
            RouteTable::default()
        })
    }

    fn hosts(&mut self, route: &FileRoute, path: &str) -> Vec<String> {
        let mut hosts = Vec::new();
        for (index, host) in route.hosts.iter().enumerate() {
            let (place, key) = (self.file.place(host.at), format!("{path}.hosts[{index}]"));
            match grammar::host_pattern(&host.value) {
                Ok(host) if hosts.contains(&host) => {
                    self.findings.push(
                        ConfigError::new(place, key, format!("{} is here twice", quote(&host))).warning(),
                    );
                }
                Ok(host) => hosts.push(host),
                Err(mismatch) => {
                    let error = ConfigError::mismatch(place, key, mismatch.expected, quote(&host.value));
                    self.findings.push(error.hint(mismatch.hint));
                }
            }
        }
        hosts
    }

    /// Two routes that match the same are an error at the second; so are two matches of one route.
    fn claim(
        &mut self,
        claims: &mut Claims,
        route: &FileRoute,
        name: &str,
        path: &str,
        what: (&[usize], &[String]),
    ) {
        let (on, hosts) = what;
        let any_host = [String::new()];
        let hosts = if hosts.is_empty() { &any_host[..] } else { hosts };
        let every = build::every_request();
        let matches = if route.matches.is_empty() { &every } else { &route.matches };
        // A share leaves something to the next of its kind.
        for wanted in matches.iter().filter(|wanted| wanted.share.is_none()) {
            let shown = wanted.to_string();
            for host in hosts {
                let earlier = claims.claim(on, host, &shown, name, route.at.line);
                let Some((earlier, line)) = earlier else { continue };
                let host =
                    if host.is_empty() { "every host".to_owned() } else { format!("host {}", quote(host)) };
                let problem = format!(
                    "{host} with {shown} is already matched by route {} in line {line}",
                    quote(&earlier)
                );
                let at = route.name.as_ref().map_or(route.at, |name| name.at);
                self.findings.push(ConfigError::new(self.file.place(at), path, problem));
            }
        }
    }

    fn add_name(
        &mut self,
        names: &mut Names<'a>,
        name: &'a Option<At<String>>,
        path: &str,
        index: usize,
    ) -> String {
        let Some(name) = name else { return String::new() };
        names.add(self.file, format!("{path}.name"), name, index, self.findings);
        name.value.clone()
    }

    fn doubtful(&mut self, own: &Own, path: &str) {
        for (id, value, at) in own.iter() {
            let Some(problem) = check::doubtful(*id, value) else { continue };
            let setting = Setting::of(*id);
            let key = match path {
                "defaults" => setting.file_key(),
                path => format!("{path}.{}", setting.key),
            };
            self.findings.push(ConfigError::new(self.file.place(*at), key, problem).warning());
        }
    }

    /// What only shows once everything is read.
    fn overall(&mut self, config: &Config) {
        if self.findings.has_errors() {
            return;
        }
        if config.listeners.is_empty() {
            let expected = "at least one listener";
            self.findings.push(ConfigError::mismatch(self.file.whole(), "listeners", expected, "none"));
            return;
        }
        let (file, read) = (self.file, self.read);
        let place = |what: &str, index: usize| {
            let at = match what {
                "clusters" => read.clusters.get(index).and_then(|it| it.name.as_ref()),
                "routes" => read.routes.get(index).and_then(|it| it.name.as_ref()),
                _ => read.listeners.get(index).and_then(|it| it.name.as_ref()),
            };
            let at = at.map(|name| name.at).unwrap_or_default();
            (file.place(at), format!("{what}[{index}]"))
        };
        check::warnings(config, &place, self.findings);
    }
}

/// What a key that says where endpoints come from means, with the endpoints that are known now.
fn discovery(
    key: &str,
    text: &str,
    findings: &mut Findings,
) -> Result<(Endpoints, Option<DiscoveryConfig>), Mismatch> {
    let found = match key {
        "dns" => grammar::name_and_port(text).map(|(host, port)| DiscoveryConfig::Dns { host, port })?,
        "srv" => grammar::service(text).map(|service| DiscoveryConfig::Srv { service })?,
        _ => DiscoveryConfig::File { path: PathBuf::from(text) },
    };
    let mut endpoints = Endpoints::new();
    if let DiscoveryConfig::File { path } = &found {
        match endpoints_file::read(path) {
            Ok(listed) => endpoints = listed,
            Err(errors) => errors.into_iter().for_each(|error| findings.push(error)),
        }
    }
    Ok((endpoints, Some(found)))
}
