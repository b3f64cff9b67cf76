//! The tree of a file → typed values that remember where they were written. Every error of the file is found in one
//! walk; what names something else is checked afterwards, in [`super::check`].

use std::rc::Rc;

use super::error::{ConfigError, Findings, did_you_mean, quote};
use super::layer::Own;
use super::settings::{Id, Scope, Setting};
use super::tree::{Content, Mark, Node, SourceFile};
use super::value::{Kind, Mismatch, Value};

/// Lists of a file: bounds on what is held and compared.
const LISTENERS_MAX: usize = 256;
const CLUSTERS_MAX: usize = 10_000;
const ROUTES_MAX: usize = 50_000;
const ITEMS_MAX: usize = 10_000;

/// A value with the place where it was written.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub at: Mark,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct FileConfig {
    pub process: Own,
    /// Defaults of listeners, clusters and routes.
    pub defaults: Own,
    pub listeners: Vec<FileListener>,
    pub clusters: Vec<FileCluster>,
    pub routes: Vec<FileRoute>,
}

#[derive(Debug)]
pub(super) struct FileListener {
    pub index: usize,
    pub at: Mark,
    pub name: Option<At<String>>,
    pub bind: Option<At<String>>,
    /// `tcp.to`
    pub tcp_to: Option<At<String>>,
    /// `tcp.sni`: names and clusters.
    pub tcp_sni: Vec<(At<String>, At<String>)>,
    /// `None`: plain text.
    pub tls: Option<FileTls>,
    pub own: Own,
}

/// What a listener's `tls` has besides settings.
#[derive(Debug)]
pub(super) struct FileTls {
    pub at: Mark,
    pub certificates: Vec<FileCertificate>,
}

#[derive(Debug)]
pub(super) struct FileCertificate {
    pub at: Mark,
    pub cert: Option<At<String>>,
    pub key: Option<At<String>>,
    pub ocsp: Option<At<String>>,
    pub hosts: Vec<At<String>>,
    pub client_auth: Option<FileClientAuth>,
}

/// What clients of one certificate are asked for; what is left out is as for the listener.
#[derive(Debug)]
pub(super) struct FileClientAuth {
    pub mode: Option<At<String>>,
    pub ca: Option<Vec<At<String>>>,
    pub crl: Option<Vec<At<String>>>,
    pub identity: Option<Vec<At<String>>>,
}

#[derive(Debug)]
pub(super) struct FileCluster {
    pub index: usize,
    pub at: Mark,
    pub name: Option<At<String>>,
    pub endpoints: Option<Vec<At<String>>>,
    pub own: Own,
}

#[derive(Debug)]
pub(super) struct FileRoute {
    pub index: usize,
    pub at: Mark,
    pub name: Option<At<String>>,
    pub listeners: Vec<At<String>>,
    pub hosts: Vec<At<String>>,
    /// Empty: every path.
    pub prefixes: Vec<At<String>>,
    pub to: Option<At<String>>,
    pub own: Own,
    /// Something in it is wrong: what it matches is not known.
    pub(super) broken: bool,
}

/// Walks a tree.
pub(super) struct Walk<'a> {
    pub file: &'a SourceFile,
    pub errors: &'a mut Findings,
}

/// Keys of a list's items that are not in the table of settings, some of them below a group of settings.
struct Structure {
    scope: Scope,
    keys: &'static [&'static str],
    /// Keys that later versions will have, each with a word on what to do now.
    later: &'static [(&'static str, &'static str)],
}

const TOP: Structure = Structure {
    scope: Scope::Process,
    keys: &["defaults", "listeners", "clusters", "routes"],
    later: &[("policies", ""), ("discovery", ""), ("tracing", "")],
};
const LISTENER: Structure = Structure {
    scope: Scope::Listener,
    keys: &["name", "bind", "tcp.to", "tcp.sni", "tls.certificates"],
    later: &[("policies", "")],
};
const CLUSTER: Structure = Structure {
    scope: Scope::Cluster,
    keys: &["name", "endpoints"],
    later: &[
        ("dns", "list the name as an endpoint: `endpoints: [\"name:port\"]`"),
        ("outlier", ""),
        ("limits", "`pool.connections` bounds the connections of an endpoint"),
    ],
};
const ROUTE: Structure = Structure {
    scope: Scope::Route,
    keys: &["name", "listeners", "hosts", "match", "to"],
    later: &[("policies", ""), ("retry", ""), ("mirror", ""), ("rewrite", ""), ("redirect", "")],
};
const CERTIFICATE: &[&str] = &["cert", "key", "ocsp", "hosts", "client_auth"];
const CLIENT_AUTH: &[&str] = &["mode", "ca", "crl", "identity"];
const CERTIFICATES_MAX: usize = 10_000;
const MATCH: (&[&str], &[(&str, &str)]) = (
    &["path"],
    &[
        ("methods", ""),
        ("headers", ""),
        ("query", ""),
        ("grpc", ""),
        ("host", "hosts are listed in the route: `hosts:`"),
    ],
);
const PATH: (&[&str], &[(&str, &str)]) =
    (&["prefix"], &[("exact", "only `prefix`"), ("regex", "only `prefix`")]);

impl Walk<'_> {
    /// The whole file.
    pub(super) fn read(&mut self, root: &Rc<Node>) -> FileConfig {
        let mut config = FileConfig::default();
        let Some(keys) = self.section(root, "", &TOP, &mut config.process) else { return config };
        for (key, path, node) in keys {
            match key {
                "defaults" => self.defaults(&node, &path, &mut config.defaults),
                "listeners" => {
                    config.listeners = self.each(&node, &path, LISTENERS_MAX, Self::listener);
                }
                "clusters" => config.clusters = self.each(&node, &path, CLUSTERS_MAX, Self::cluster),
                _ => config.routes = self.each(&node, &path, ROUTES_MAX, Self::route),
            }
        }
        config
    }

    fn defaults(&mut self, node: &Rc<Node>, path: &str, into: &mut Own) {
        const KEYS: [(&str, Scope); 3] =
            [("listeners", Scope::Listener), ("clusters", Scope::Cluster), ("routes", Scope::Route)];
        let names = KEYS.map(|(name, _)| name);
        let Some(entries) = self.map(node, path) else { return };
        for entry in entries {
            let path = join(path, &entry.key);
            match KEYS.iter().find(|(name, _)| *name == entry.key) {
                Some((_, scope)) => {
                    let structure = Structure { scope: *scope, keys: &[], later: &[] };
                    self.section(&entry.value, &path, &structure, into);
                }
                None => self.unknown_key(entry.key_at, &path, &entry.key, &names, &[]),
            }
        }
    }

    fn listener(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileListener> {
        let mut item = FileListener {
            index,
            at: node.at,
            name: None,
            bind: None,
            tls: None,
            tcp_to: None,
            tcp_sni: Vec::new(),
            own: Own::default(),
        };
        // A group without anything in it is there all the same.
        if let Some(tls) = entry(node, "tls") {
            item.tls = Some(FileTls { at: tls.key_at, certificates: Vec::new() });
        }
        for (key, path, node) in self.section(node, path, &LISTENER, &mut item.own)? {
            match key {
                "name" => item.name = self.name(&node, &path),
                "tcp.to" => item.tcp_to = self.text(&node, &path, "the name of one cluster"),
                "tcp.sni" => item.tcp_sni = self.server_names(&node, &path),
                "tls.certificates" => {
                    let certificates = self.each(&node, &path, CERTIFICATES_MAX, Self::certificate);
                    if let Some(tls) = &mut item.tls {
                        tls.certificates = certificates;
                    }
                }
                _ => {
                    item.bind = self.text(
                        &node,
                        &path,
                        "ADDRESS:PORT such as 127.0.0.1:8080, [::1]:8080, :8080 or unix:/path",
                    )
                }
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        self.require(item.bind.is_some(), &item.at, path, "bind", node);
        Some(item)
    }

    /// `sni: { shop.example.com: shop, "*.example.com": other }`
    fn server_names(&mut self, node: &Rc<Node>, path: &str) -> Vec<(At<String>, At<String>)> {
        let mut names = Vec::new();
        let Some(entries) = self.map(node, path) else { return names };
        if entries.len() > ITEMS_MAX {
            let (place, found) = (self.file.place(node.at), entries.len().to_string());
            self.errors.push(ConfigError::mismatch(place, path, format!("at most {ITEMS_MAX} names"), found));
            return names;
        }
        for entry in entries {
            let path = join(path, &entry.key);
            if let Some(cluster) = self.text(&entry.value, &path, "the name of one cluster") {
                names.push((At { value: entry.key.clone(), at: entry.key_at }, cluster));
            }
        }
        names
    }

    /// One item of `tls.certificates`.
    fn certificate(&mut self, _: usize, node: &Rc<Node>, path: &str) -> Option<FileCertificate> {
        let mut item = FileCertificate {
            at: node.at,
            cert: None,
            key: None,
            ocsp: None,
            hosts: Vec::new(),
            client_auth: None,
        };
        for (key, path, node) in self.keys(node, path, CERTIFICATE, &[])? {
            match key {
                "cert" => item.cert = self.path(&node, &path),
                "key" => item.key = self.path(&node, &path),
                "ocsp" => item.ocsp = self.path(&node, &path),
                "client_auth" => item.client_auth = self.client_auth(&node, &path),
                _ => item.hosts = self.texts(&node, &path, "a host name").unwrap_or_default(),
            }
        }
        self.require(item.cert.is_some(), &item.at, path, "cert", node);
        self.require(item.key.is_some(), &item.at, path, "key", node);
        Some(item)
    }

    fn client_auth(&mut self, node: &Rc<Node>, path: &str) -> Option<FileClientAuth> {
        let mut auth = FileClientAuth { mode: None, ca: None, crl: None, identity: None };
        for (key, path, node) in self.keys(node, path, CLIENT_AUTH, &[])? {
            match key {
                "mode" => auth.mode = self.text(&node, &path, "none, optional, required"),
                "ca" => auth.ca = self.texts(&node, &path, "the path of a file"),
                "crl" => auth.crl = self.texts(&node, &path, "the path of a file"),
                _ => auth.identity = self.texts(&node, &path, "a SPIFFE ID"),
            }
        }
        Some(auth)
    }

    fn cluster(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileCluster> {
        let mut item = FileCluster { index, at: node.at, name: None, endpoints: None, own: Own::default() };
        // `tls: {}` says that there is TLS.
        if let Some(tls) = entry(node, "tls").filter(|tls| matches!(tls.value.content, Content::Map(_)))
            && entry(&tls.value, "enabled").is_none()
        {
            item.own.set(Id::UpstreamTls, Value::Bool(true), tls.key_at);
        }
        for (key, path, node) in self.section(node, path, &CLUSTER, &mut item.own)? {
            match key {
                "name" => item.name = self.name(&node, &path),
                _ => item.endpoints = self.texts(&node, &path, "HOST:PORT or unix:/path"),
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        self.require(item.endpoints.is_some(), &item.at, path, "endpoints", node);
        Some(item)
    }

    fn route(&mut self, index: usize, node: &Rc<Node>, path: &str) -> Option<FileRoute> {
        let mut item = FileRoute {
            index,
            at: node.at,
            name: None,
            listeners: Vec::new(),
            hosts: Vec::new(),
            prefixes: Vec::new(),
            to: None,
            own: Own::default(),
            broken: false,
        };
        let errors_before = self.errors.count();
        for (key, path, node) in self.section(node, path, &ROUTE, &mut item.own)? {
            match key {
                "name" => item.name = self.name(&node, &path),
                "listeners" => {
                    item.listeners = self.texts(&node, &path, "the name of a listener").unwrap_or_default()
                }
                "hosts" => item.hosts = self.texts(&node, &path, "a host name").unwrap_or_default(),
                "match" => item.prefixes = self.matches(&node, &path),
                _ => item.to = self.target(&node, &path),
            }
        }
        self.require(item.name.is_some(), &item.at, path, "name", node);
        self.require(item.to.is_some(), &item.at, path, "to", node);
        item.broken = self.errors.count() > errors_before;
        Some(item)
    }

    /// `match: [{ path: { prefix: /x } }]`
    fn matches(&mut self, node: &Rc<Node>, path: &str) -> Vec<At<String>> {
        self.each(node, path, ITEMS_MAX, |walk, _, node, path| {
            let mut prefix = None;
            for (key, path, node) in walk.keys(node, path, MATCH.0, MATCH.1)? {
                if key != "path" {
                    continue;
                }
                for (_, path, node) in walk.keys(&node, &path, PATH.0, PATH.1)? {
                    prefix = walk.text(&node, &path, "a path such as /checkout");
                }
            }
            // A match without a path is any path.
            Some(prefix.unwrap_or(At { value: "/".to_owned(), at: node.at }))
        })
    }

    /// `to: NAME`
    fn target(&mut self, node: &Rc<Node>, path: &str) -> Option<At<String>> {
        if let Content::List(items) = &node.content {
            let weighted = items.iter().any(|item| matches!(item.content, Content::Map(_)));
            let hint = weighted
                .then(|| "several clusters with weights are not supported by this version".to_owned());
            let error =
                ConfigError::mismatch(self.file.place(node.at), path, "the name of one cluster", "a list");
            self.errors.push(error.hint(hint));
            return None;
        }
        self.text(node, path, "the name of one cluster")
    }

    /// One item of a list or the top: settings of its scope go to `own`, other keys are returned.
    fn section(
        &mut self,
        node: &Rc<Node>,
        path: &str,
        structure: &Structure,
        own: &mut Own,
    ) -> Option<Vec<(&'static str, String, Rc<Node>)>> {
        let mut keys = Vec::new();
        self.settings(node, path, "", structure, own, &mut keys).then_some(keys)
    }

    /// The keys below `within` (a path in the table of settings). False where there was no mapping.
    fn settings(
        &mut self,
        node: &Rc<Node>,
        path: &str,
        within: &str,
        structure: &Structure,
        own: &mut Own,
        keys: &mut Vec<(&'static str, String, Rc<Node>)>,
    ) -> bool {
        let Some(entries) = self.map(node, path) else { return false };
        for entry in entries {
            let (path, key) = (join(path, &entry.key), join(within, &entry.key));
            let known = structure.keys.iter().find(|known| **known == key);
            if let Some(known) = known {
                keys.push((*known, path, entry.value.clone()));
            } else if let Some(setting) = find(structure.scope, &key) {
                self.setting(setting, &entry.value, &path, own);
            } else if let Some(setting) = short_form(structure.scope, &key, &entry.value) {
                self.setting(setting, &entry.value, &path, own);
            } else if is_group(structure, &key) {
                self.settings(&entry.value, &path, &key, structure, own, keys);
            } else if self.errors.is_full() {
                // A hostile file has many: no work is spent on what is not shown.
                self.errors.count_error();
            } else {
                let later = if within.is_empty() { structure.later } else { &[] };
                let names = siblings(structure, within);
                self.unknown_key(entry.key_at, &path, &entry.key, &names, later);
            }
        }
        true
    }

    /// The value of one setting.
    fn setting(&mut self, setting: &'static Setting, node: &Node, path: &str, own: &mut Own) {
        let parsed = match &node.content {
            Content::Scalar(text) => setting.kind.parse(setting.words, text),
            Content::List(items) if setting.kind.is_list() => {
                if let Some(value) = self.list_value(setting, items, path) {
                    own.set(setting.id, value, node.at);
                }
                return;
            }
            _ => Err(Mismatch { expected: setting.expected(), hint: None }),
        };
        match parsed {
            Ok(value) => own.set(setting.id, value, node.at),
            Err(mismatch) => {
                let found = match setting.kind {
                    Kind::Secret => "something else".to_owned(),
                    _ => node.describe(),
                };
                let place = self.file.place(node.at);
                self.errors
                    .push(ConfigError::mismatch(place, path, mismatch.expected, found).hint(mismatch.hint));
            }
        }
    }

    /// A list of address blocks or tokens; each wrong item is an error of its own.
    fn list_value(&mut self, setting: &'static Setting, items: &[Rc<Node>], path: &str) -> Option<Value> {
        let (mut cidrs, mut tokens, mut whole) = (Vec::new(), Vec::new(), true);
        for (index, item) in items.iter().enumerate() {
            let parsed = match &item.content {
                Content::Scalar(text) if !text.contains(',') && !text.trim().is_empty() => {
                    setting.kind.parse(setting.words, text)
                }
                _ => Err(Mismatch { expected: setting.kind.expected(&[]), hint: None }),
            };
            match parsed {
                Ok(Value::Cidrs(mut some)) => cidrs.append(&mut some),
                Ok(Value::Tokens(mut some)) => tokens.append(&mut some),
                Ok(_) => {
                    whole = false;
                    let (place, path) = (self.file.place(item.at), format!("{path}[{index}]"));
                    let problem = format!("{} stands alone, without a list", item.describe());
                    self.errors.push(ConfigError::new(place, path, problem));
                }
                Err(mismatch) => {
                    whole = false;
                    let (place, path) = (self.file.place(item.at), format!("{path}[{index}]"));
                    self.errors.push(
                        ConfigError::mismatch(place, path, mismatch.expected, item.describe())
                            .hint(mismatch.hint),
                    );
                }
            }
        }
        let value =
            if matches!(setting.kind, Kind::Cidrs) { Value::Cidrs(cidrs) } else { Value::Tokens(tokens) };
        whole.then_some(value)
    }

    /// A mapping with these keys only.
    fn keys(
        &mut self,
        node: &Rc<Node>,
        path: &str,
        known: &'static [&'static str],
        later: &[(&str, &str)],
    ) -> Option<Vec<(&'static str, String, Rc<Node>)>> {
        let mut keys = Vec::new();
        for entry in self.map(node, path)? {
            let path = join(path, &entry.key);
            match known.iter().find(|known| **known == entry.key) {
                Some(known) => keys.push((*known, path, entry.value.clone())),
                None => self.unknown_key(entry.key_at, &path, &entry.key, known, later),
            }
        }
        Some(keys)
    }

    fn map<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [super::tree::Entry]> {
        if let Content::Map(entries) = &node.content {
            return Some(entries);
        }
        self.errors.push(ConfigError::mismatch(self.file.place(node.at), path, "a mapping", node.describe()));
        None
    }

    /// The items of a list, each read by `read`.
    fn each<T>(
        &mut self,
        node: &Rc<Node>,
        path: &str,
        items_max: usize,
        read: impl Fn(&mut Self, usize, &Rc<Node>, &str) -> Option<T>,
    ) -> Vec<T> {
        let Content::List(items) = &node.content else {
            self.errors.push(ConfigError::mismatch(
                self.file.place(node.at),
                path,
                "a list",
                node.describe(),
            ));
            return Vec::new();
        };
        if items.len() > items_max {
            let (place, found) = (self.file.place(node.at), items.len().to_string());
            self.errors.push(ConfigError::mismatch(place, path, format!("at most {items_max} items"), found));
            return Vec::new();
        }
        let each = items.iter().enumerate();
        each.filter_map(|(index, item)| read(self, index, item, &format!("{path}[{index}]"))).collect()
    }

    fn text(&mut self, node: &Node, path: &str, expected: &str) -> Option<At<String>> {
        if let Content::Scalar(text) = &node.content {
            return Some(At { value: text.clone(), at: node.at });
        }
        self.errors.push(ConfigError::mismatch(self.file.place(node.at), path, expected, node.describe()));
        None
    }

    /// The path of a file.
    fn path(&mut self, node: &Node, path: &str) -> Option<At<String>> {
        const EXPECTED: &str = "the path of a file";
        let text = self.text(node, path, EXPECTED)?;
        if text.value.is_empty() || text.value.contains('\0') {
            let place = self.file.place(text.at);
            self.errors.push(ConfigError::mismatch(place, path, EXPECTED, node.describe()));
            return None;
        }
        Some(text)
    }

    /// A list of texts; one text alone is a list of one.
    fn texts(&mut self, node: &Rc<Node>, path: &str, expected: &str) -> Option<Vec<At<String>>> {
        match &node.content {
            Content::Scalar(_) => Some(self.text(node, path, expected).into_iter().collect()),
            Content::List(_) => {
                Some(self.each(node, path, ITEMS_MAX, |walk, _, node, path| walk.text(node, path, expected)))
            }
            _ => {
                let error = ConfigError::mismatch(self.file.place(node.at), path, "a list", node.describe());
                self.errors.push(error);
                None
            }
        }
    }

    /// A name: what labels of statistics and log lines may hold.
    fn name(&mut self, node: &Node, path: &str) -> Option<At<String>> {
        const EXPECTED: &str = "a name of 1 to 63 letters, digits, `-`, `_` and `.`";
        let name = self.text(node, path, EXPECTED)?;
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        if !(1..=63).contains(&name.value.len()) || !name.value.bytes().all(allowed) {
            self.errors.push(ConfigError::mismatch(
                self.file.place(name.at),
                path,
                EXPECTED,
                quote(&name.value),
            ));
        }
        Some(name)
    }

    fn require(&mut self, there: bool, at: &Mark, path: &str, key: &str, node: &Node) {
        let Content::Map(entries) = &node.content else { return };
        // A key that is there with a wrong value has its error already.
        if !there && entries.iter().all(|entry| entry.key != key) {
            let problem = format!("the key `{key}` is missing");
            self.errors.push(ConfigError::new(self.file.place(Mark { width: 1, ..*at }), path, problem));
        }
    }

    fn unknown_key(&mut self, at: Mark, path: &str, key: &str, known: &[&str], later: &[(&str, &str)]) {
        if self.errors.is_full() {
            self.errors.count_error();
            return;
        }
        let place = self.file.place(at);
        let error = if let Some((_, instead)) = later.iter().find(|(name, _)| *name == key) {
            let hint = (!instead.is_empty()).then(|| (*instead).to_owned());
            ConfigError::new(place, path, format!("`{key}` is not supported by this version")).hint(hint)
        } else if key == "<<" {
            ConfigError::new(place, path, "merge keys (`<<`) are not supported")
                .hint("put shared values below `defaults`".to_owned())
        } else {
            ConfigError::new(place, path, format!("unknown key {}", quote(key)))
                .expected(format!("one of: {}", known.join(", ")))
                .hint(did_you_mean(key, known.iter().copied()))
        };
        self.errors.push(error);
    }
}

/// The entry of a mapping.
fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n super::tree::Entry> {
    match &node.content {
        Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
        _ => None,
    }
}

fn find(scope: Scope, key: &str) -> Option<&'static Setting> {
    Setting::of_scope(scope).find(|setting| setting.key == key)
}

/// `admin: ADDRESS` for `admin: { bind: ADDRESS }`, and `access_log: TARGET` likewise.
fn short_form(scope: Scope, key: &str, node: &Node) -> Option<&'static Setting> {
    let long = match (scope, key, &node.content) {
        (Scope::Process, "admin", Content::Scalar(_)) => "admin.bind",
        (Scope::Process, "access_log", Content::Scalar(_)) => "access_log.target",
        (Scope::Cluster, "tls", Content::Scalar(_)) => "tls.enabled",
        _ => return None,
    };
    find(scope, long)
}

fn is_group(structure: &Structure, key: &str) -> bool {
    let mut known = all_keys(structure);
    known.any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

fn all_keys(structure: &Structure) -> impl Iterator<Item = &'static str> {
    structure.keys.iter().copied().chain(Setting::of_scope(structure.scope).map(|setting| setting.key))
}

/// The keys that could stand at a place.
fn siblings(structure: &Structure, within: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in all_keys(structure) {
        let rest = match within {
            "" => Some(key),
            within => key.strip_prefix(within).and_then(|rest| rest.strip_prefix('.')),
        };
        let Some(name) = rest.and_then(|rest| rest.split('.').next()) else { continue };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn join(path: &str, key: &str) -> String {
    let key = if key.len() > 60 || key.chars().any(char::is_control) { "…" } else { key };
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
