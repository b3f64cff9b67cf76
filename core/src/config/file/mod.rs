//! The tree of a file → typed values that remember where they were written. Every error of the file is found in one
//! walk; what names something else is checked afterwards, in [`super::check`].

mod cluster;
mod expectations;
mod listener;
mod policies;
mod route;
mod route_match;
mod route_target;

use std::rc::Rc;

use crate::config::error::{ConfigError, Findings, did_you_mean, quote};
use crate::config::layer::Own;
use crate::config::settings::{Scope, Setting};
use crate::config::tree::{Content, Mark, Node, SourceFile};
use crate::config::value::{Kind, Mismatch, Value};

/// Lists of a file: bounds on what is held and compared.
const LISTENERS_MAX: usize = 256;
const CLUSTERS_MAX: usize = 10_000;
const ROUTES_MAX: usize = 50_000;
const ITEMS_MAX: usize = 10_000;

pub(super) use cluster::{FileCluster, FileDiscovery, FileEndpoint};
pub(super) use listener::{FileClientAuth, FileListener, FileTls};
pub(super) use policies::FilePolicy;
pub(super) use route::FileRoute;
pub(super) use route_target::FileMirror;

/// A value with the place where it was written.
#[derive(Debug, Clone)]
pub(in crate::config) struct At<T> {
    pub value: T,
    pub at: Mark,
}

/// What a file says.
#[derive(Debug, Default)]
pub(in crate::config) struct FileConfig {
    pub process: Own,
    /// Defaults of listeners, clusters and routes.
    pub defaults: Own,
    /// Policies of every request.
    pub policies: Vec<FilePolicy>,
    pub listeners: Vec<FileListener>,
    pub clusters: Vec<FileCluster>,
    pub routes: Vec<FileRoute>,
}

/// Walks a tree.
pub(in crate::config) struct Walk<'a> {
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

/// Keys at the top that hold sections of their own.
const LISTS: &[&str] = &["defaults", "listeners", "clusters", "routes"];

const TOP: Structure = Structure {
    scope: Scope::Process,
    keys: &["include", "defaults", "policies", "listeners", "clusters", "routes"],
    later: &[("discovery", ""), ("tracing", "")],
};

impl Walk<'_> {
    /// The whole file.
    pub(in crate::config) fn read(&mut self, root: &Rc<Node>) -> FileConfig {
        let mut config = FileConfig::default();
        let Some(keys) = self.section(root, "", &TOP, &mut config.process) else { return config };
        for (key, path, node) in keys {
            match key {
                // It has been followed already.
                "include" => {}
                "defaults" => self.defaults(&node, &path, &mut config.defaults),
                "policies" => config.policies = self.policies(&node, &path),
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

    /// One item of a list or the top: settings of its scope go to `own`, other keys are returned.
    fn section(
        &mut self,
        node: &Rc<Node>,
        path: &str,
        structure: &Structure,
        own: &mut Own,
    ) -> Option<Vec<(&'static str, String, Rc<Node>)>> {
        let mut keys = Vec::new();
        if !self.settings(node, path, "", structure, own, &mut keys) {
            return None;
        }
        // The lists of listeners, clusters and routes have what is theirs.
        let own_keys = keys.iter().filter(|(key, ..)| !LISTS.contains(key));
        own.set_written(own_keys.map(|(key, _, node)| ((*key).to_owned(), node.as_written())).collect());
        Some(keys)
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

    fn map<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [crate::config::tree::Entry]> {
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
fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n crate::config::tree::Entry> {
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

pub(super) fn join(path: &str, key: &str) -> String {
    let key = if key.len() > 60 || key.chars().any(char::is_control) { "…" } else { key };
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
