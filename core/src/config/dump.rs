//! The effective configuration as JSON, each value with where it comes from; secrets are masked.

use serde_json::{Map, Value as Json, json};

use super::layer::{Own, View};
use super::settings::{Scope, Setting};
use super::value::{Kind, Value};
use super::{Config, EndpointConfig, ServerNames, Targets};

static NOTHING_OWN: Own = Own::new();

impl Config {
    /// The effective configuration: `{"generation":…,"file":…,"process":{…},"listeners":[…],"clusters":[…],"routes":[…]}`.
    /// Each setting is `{"value":…,"from":"default"|"file, line 3"|"environment, NAME"|"flag, --name"}`.
    pub fn to_json(&self) -> Json {
        let mut process = self.settings(Scope::Process, &NOTHING_OWN);
        process.insert("resolved".to_owned(), self.resolved());
        add_written(&mut process, &self.sources.top);
        let mut dump = json!({
            "generation": self.generation,
            "file": self.sources.file.as_deref(),
            "process": process,
            "listeners": each(&self.listeners, &self.sources.listeners, |listener, own| {
                let mut item = self.settings(Scope::Listener, own);
                item.insert("name".to_owned(), json!(listener.name));
                item.insert("bind".to_owned(), json!(listener.bind.to_string()));
                if let Some(tcp) = &listener.tcp {
                    item.insert("tcp.to".to_owned(), json!(self.cluster_name(tcp.cluster)));
                    item.insert("tcp.sni".to_owned(), self.show_names(&tcp.names));
                }
                if let Some(passthrough) = &listener.passthrough {
                    let mut names = self.show_names(&passthrough.names);
                    if passthrough.cluster.is_some() {
                        names["*"] = json!(self.cluster_name(passthrough.cluster));
                    }
                    item.insert("tls.passthrough".to_owned(), names);
                }
                item
            }),
            "clusters": each(&self.clusters, &self.sources.clusters, |cluster, own| {
                let mut item = self.settings(Scope::Cluster, own);
                let endpoints: Vec<String> = cluster.endpoints.iter().map(show_endpoint).collect();
                item.insert("name".to_owned(), json!(cluster.name));
                item.insert("endpoints".to_owned(), json!(endpoints));
                item
            }),
            "routes": each(&self.routes, &self.sources.routes, |route, own| {
                let mut item = self.settings(Scope::Route, own);
                let listeners = route.listeners.iter().filter_map(|index| self.listeners.get(*index));
                let listeners: Vec<&str> = listeners.map(|listener| listener.name.as_str()).collect();
                item.insert("name".to_owned(), json!(route.name));
                item.insert("listeners".to_owned(), json!(listeners));
                item.insert("hosts".to_owned(), json!(route.hosts));
                let matches: Vec<String> = route.matches.iter().map(ToString::to_string).collect();
                item.insert("matches".to_owned(), json!(matches));
                item.insert("to".to_owned(), self.show_targets(&route.targets));
                item
            }),
        });
        self.sources.secrets.hide_json(&mut dump);
        dump
    }

    /// Server names, each with the name of its cluster.
    fn show_names(&self, names: &ServerNames) -> Json {
        let each = names.iter().map(|(name, to)| (name.to_owned(), json!(self.cluster_name(Some(to)))));
        Json::Object(each.collect())
    }

    /// The name of one cluster, or the list with the weights in force.
    fn show_targets(&self, targets: &Targets) -> Json {
        let weights = self.weights(targets);
        match weights.as_slice() {
            [(name, ..)] => json!(name),
            several => several
                .iter()
                .map(|(name, weight, written)| {
                    json!({ "cluster": name, "weight": weight, "weight_of_file": written })
                })
                .collect(),
        }
    }

    fn cluster_name(&self, index: Option<usize>) -> Option<&str> {
        self.clusters.get(index?).map(|cluster| cluster.name.as_str())
    }

    fn settings(&self, scope: Scope, own: &Own) -> Map<String, Json> {
        let view = View { base: &self.sources.base, own };
        let show = |setting: &Setting| {
            let (value, origin) = view.get(setting.id);
            (
                setting.key.to_owned(),
                json!({ "value": show_value(setting, value), "from": origin.show(setting, &self.sources.files) }),
            )
        };
        Setting::of_scope(scope).map(show).collect()
    }

    /// What `auto` came to.
    fn resolved(&self) -> Json {
        let process = &self.process;
        json!({
            "workers": process.workers,
            "cpus": process.cpus,
            "worker_bytes": process.buffers.worker_bytes_max,
            "admin_token_set": process.admin_token.is_some(),
            "explain_token_set": process.explain_token.is_some(),
        })
    }
}

/// The items of a list, each with the values of its own.
fn each<T>(items: &[T], owns: &[Own], show: impl Fn(&T, &Own) -> Map<String, Json>) -> Vec<Json> {
    let own = |index: usize| owns.get(index).unwrap_or(&NOTHING_OWN);
    let all = items.iter().enumerate().map(|(index, item)| {
        let mut shown = show(item, own(index));
        add_written(&mut shown, own(index));
        Json::Object(shown)
    });
    all.collect()
}

/// What is shown of keys that are no settings, unless something better is shown already.
fn add_written(shown: &mut Map<String, Json>, own: &Own) {
    for (key, value) in own.written() {
        shown.entry(key).or_insert(value);
    }
}

fn show_value(setting: &Setting, value: &Value) -> Json {
    match value {
        Value::Word(word) => json!(word),
        _ if matches!(setting.kind, Kind::Secret) => json!("***"),
        Value::Bool(value) => json!(value),
        Value::Count(value) => json!(value),
        Value::Cidrs(cidrs) => cidrs.iter().map(ToString::to_string).collect(),
        Value::Tokens(tokens) => json!(tokens),
        other => json!(other.show()),
    }
}

fn show_endpoint(endpoint: &EndpointConfig) -> String {
    match endpoint {
        EndpointConfig::Address(address) => address.to_string(),
        EndpointConfig::Name { host, port } => format!("{host}:{port}"),
    }
}
