//! Reads a whole configuration: flags, environment and file in, a [`Config`] or every error out.

use std::sync::Arc;

use super::assemble::Assembly;
use super::build::{self, RouteParts};
use super::check::{self, Binds};
use super::cpus::Host;
use super::error::{ConfigError, Findings, Place, Severity, quote};
use super::file::Walk;
use super::grammar;
use super::include::{self, Text};
use super::inputs::Inputs;
use super::layer::{Layer, Origin, Own, View};
use super::reference::Secrets;
use super::settings::{Id, Setting};
use super::source::{ConfigSource, Given};
use super::tls;
use super::tree::SourceFile;
use super::value::Value;
use super::{ClusterConfig, Config, EndpointTraits, Sources, UpstreamProtocol, built};
use crate::io::Address;
use crate::tls::ClientTls;

impl Config {
    /// Reads the configuration of a source. It may be called again at any time, on any thread: a reload does.
    ///
    /// # Errors
    /// Every error of flags, environment and file, in order; warnings are in [`Config::warnings`].
    pub fn load(source: &ConfigSource) -> Result<Config, Vec<ConfigError>> {
        Config::load_noting(source, &mut Inputs::default())
    }

    /// As [`Config::load`]; notes what was read, or was to be read, also where there is an error.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_noting(source: &ConfigSource, inputs: &mut Inputs) -> Result<Config, Vec<ConfigError>> {
        let mut findings = Findings::default();
        let host = Host::read(&source.root);
        let mut base = Layer::default();
        base.set_texts(&source.env, Origin::Env, &mut findings);
        base.set_texts(&source.flags, Origin::Flag, &mut findings);
        let mut secrets = Secrets::default();
        let config = match &source.path {
            Some(path) => {
                refuse_both(source, &mut findings);
                let text = include::read(source, path, inputs, &mut findings);
                text.and_then(|text| {
                    secrets = text.secrets.clone();
                    from_file(text, base, &host, &mut findings)
                })
            }
            None => from_flags(source, base, &host, &mut findings),
        };
        let failed = findings.has_errors();
        let mut findings = findings.into_sorted();
        findings.iter_mut().for_each(|finding| finding.hide(&secrets));
        match config {
            Some(mut config) if !failed => {
                config.warnings = findings;
                Arc::make_mut(&mut config.sources).inputs = inputs.clone();
                Ok(config)
            }
            // Warnings would hide what has to be repaired first.
            _ => Err(findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect()),
        }
    }
}

impl Config {
    /// The admin socket that a source names, whatever else of it is wrong: the way to a process that runs with another
    /// configuration.
    pub fn admin_socket(source: &ConfigSource) -> Option<std::path::PathBuf> {
        // What is wrong is said by whoever loads it.
        let mut findings = Findings::default();
        let mut base = Layer::default();
        base.set_texts(&source.env, Origin::Env, &mut findings);
        base.set_texts(&source.flags, Origin::Flag, &mut findings);
        let text = source.path.as_ref();
        let text = text.and_then(|path| include::read(source, path, &mut Inputs::default(), &mut findings));
        if let Some(Text { file, root, .. }) = text {
            let read = Walk { file: &file, errors: &mut findings }.read(&root);
            for (id, value, at) in read.process.iter() {
                base.set(*id, value.clone(), Origin::file(*at));
            }
        }
        match base.get(Id::AdminSocket).0 {
            Value::Path(path) => Some(path.clone()),
            _ => None,
        }
    }
}

/// One route from every listener of `--listen` to the origins of `--upstream`.
fn from_flags(source: &ConfigSource, base: Layer, host: &Host, findings: &mut Findings) -> Option<Config> {
    let mut binds = Binds::default();
    let mut listeners = Vec::new();
    let view = build::all(&base);
    let place = |id: Id| place_of(id, &base, None);
    for (index, given) in source.listen_or_default().iter().enumerate() {
        match given.text.parse::<Address>() {
            Ok(bind) => {
                let name = format!("listen-{}", index + 1);
                binds.claim(&bind, &format!("another {}", given.place()), given.place(), "", findings);
                let mut listener = build::listener(&name, bind, &view);
                if let Some(tcp) = &mut listener.tcp {
                    // The one cluster that there will be.
                    tcp.cluster = Some(0);
                }
                listeners.push(Arc::new(listener));
            }
            Err(_) => findings.push(ConfigError::mismatch(
                given.place(),
                "",
                "ADDRESS:PORT such as 127.0.0.1:8080, [::1]:8080, :8080 or unix:/path",
                quote(&given.text),
            )),
        }
    }
    let mut endpoints = Vec::new();
    for given in &source.upstream {
        match grammar::origin(&given.text) {
            Ok(endpoint) => endpoints.push((endpoint, EndpointTraits::default())),
            Err(mismatch) => {
                let error = ConfigError::mismatch(given.place(), "", mismatch.expected, quote(&given.text));
                findings.push(error.hint(mismatch.hint));
            }
        }
    }
    let http2 = source.upstream.iter().filter(|given| grammar::is_http2_origin(&given.text)).count();
    if http2 > 0
        && let Some(other) = source.upstream.iter().find(|given| !grammar::is_http2_origin(&given.text))
    {
        let expected = "h2c:// like the other origins: they are one cluster, with one protocol";
        findings.push(ConfigError::mismatch(other.place(), "", expected, quote(&other.text)));
    }
    let process = build::process(&base, host, &place, findings);
    check::process(&process, &view, host, &place, findings);
    if let Some(admin) = process.admin {
        binds.claim(&admin.into(), "a listener", place(Id::AdminBind), "admin.bind", findings);
    }
    let mut cluster = build::cluster("upstream", endpoints, &view);
    if http2 > 0 {
        cluster.protocol = UpstreamProtocol::Http2;
    }
    cluster.tls = client_tls(source, &cluster, &view, &place, findings);
    if let Some((expected, found)) = check::health(&cluster, &view) {
        let id = Id::HealthGrpc;
        findings.push(ConfigError::mismatch(place(id), Setting::of(id).key, expected, found));
    }
    let targets = Arc::new(super::Targets::one(0));
    let parts = RouteParts { matches: build::every_request(), targets, ..RouteParts::default() };
    let route = Arc::new(build::route("default".to_owned(), parts, &view));
    let sources = Sources { base, ..Sources::default() };
    Some(Config {
        generation: 1,
        revision: 1,
        process,
        policies: Vec::new(),
        listeners,
        clusters: vec![Arc::new(cluster)],
        route_table: built::route_table(std::slice::from_ref(&route)).unwrap_or_default().into(),
        routes: vec![route],
        sources: Arc::new(sources),
        warnings: Vec::new(),
    })
}

/// TLS to the origins of `--upstream`, all or none.
fn client_tls(
    source: &ConfigSource,
    cluster: &ClusterConfig,
    view: &View<'_>,
    place: &dyn Fn(Id) -> Place,
    findings: &mut Findings,
) -> Option<Arc<ClientTls>> {
    let https = source.upstream.iter().filter(|given| grammar::is_https(&given.text)).count();
    if https > 0
        && let Some(other) = source.upstream.iter().find(|given| !grammar::is_https(&given.text))
    {
        let expected = "https:// like the other origins: they are one cluster, with TLS or without";
        findings.push(ConfigError::mismatch(other.place(), "", expected, quote(&other.text)));
        return None;
    }
    let finding = |id: Id, problem: String| ConfigError::new(place(id), Setting::of(id).key, problem);
    tls::client(cluster, https > 0, view, &finding, findings)
}

fn from_file(text: Text, mut base: Layer, host: &Host, findings: &mut Findings) -> Option<Config> {
    let Text { file, root, secrets } = text;
    let read = Walk { file: &file, errors: findings }.read(&root);
    // A file of thousands of routes is large as a tree: its memory serves what is built next.
    drop(root);
    for own in [&read.process, &read.defaults] {
        for (id, value, at) in own.iter() {
            base.set(*id, value.clone(), Origin::file(*at));
        }
    }
    let mut config = Assembly { file: &file, read: &read, base: &base, host, findings }.config();
    Arc::make_mut(&mut config.sources).secrets = secrets;
    Some(config)
}

/// A file says which listeners and origins there are, so flags must not say it too.
fn refuse_both(source: &ConfigSource, findings: &mut Findings) {
    for (given, section) in [(source.listen.first(), "listeners"), (source.upstream.first(), "clusters")] {
        let Some(given) = given else { continue };
        let problem =
            format!("cannot be combined with {}: the file says it in `{section}`", source.path_place());
        findings.push(ConfigError::new(given.place(), "", problem));
    }
}

/// Where a setting was written: the flag, the variable, or the file.
pub(super) fn place_of(id: Id, base: &Layer, file: Option<(&SourceFile, &Own)>) -> Place {
    let setting = Setting::of(id);
    match base.get(id).1 {
        Origin::Flag => Place::Flag(format!("--{}", setting.flag)),
        Origin::Env => Place::Env(setting.env()),
        Origin::File { .. } => match file.and_then(|(file, own)| Some(file.place(own.mark(id)?))) {
            Some(place) => place,
            None => Place::Process,
        },
        Origin::Default => Place::Process,
    }
}

impl Given {
    fn place(&self) -> Place {
        match self.origin {
            Origin::Env => Place::Env(self.name.to_owned()),
            _ => Place::Flag(self.name.to_owned()),
        }
    }
}
