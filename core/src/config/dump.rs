//! The effective configuration as JSON, each value with where it comes from; secrets are masked.

use super::json::Json;
use super::layer::{Own, View};
use super::settings::{Scope, Setting};
use super::value::{Kind, Value};
use super::{Config, EndpointConfig};

impl Config {
    /// The effective configuration: `{"generation":…,"process":{…},"listeners":[…],"clusters":[…],"routes":[…]}`.
    /// Each setting is `{"value":…,"from":"default"|"file, line 3"|"environment, NAME"|"flag, --name"}`.
    pub fn to_json(&self) -> String {
        let nothing = Own::new();
        let own = |list: &[Own], index: usize| list.get(index).cloned().unwrap_or_default();
        let mut json = Json::new();
        json.object(|json| {
            json.key("generation").number(self.generation);
            match &self.sources.file {
                Some(path) => json.key("file").string(path),
                None => json.key("file").null(),
            }
            json.key("process").object(|json| {
                self.settings(json, Scope::Process, &nothing);
                self.resolved(json);
            });
            json.key("listeners").array(|json| {
                for (index, listener) in self.listeners.iter().enumerate() {
                    json.object(|json| {
                        json.key("name").string(&listener.name);
                        json.key("bind").string(&listener.bind.to_string());
                        self.settings(json, Scope::Listener, &own(&self.sources.listeners, index));
                    });
                }
            });
            json.key("clusters").array(|json| {
                for (index, cluster) in self.clusters.iter().enumerate() {
                    json.object(|json| {
                        json.key("name").string(&cluster.name);
                        json.key("endpoints").array(|json| {
                            cluster
                                .endpoints
                                .iter()
                                .for_each(|endpoint| json.string(&show_endpoint(endpoint)));
                        });
                        self.settings(json, Scope::Cluster, &own(&self.sources.clusters, index));
                    });
                }
            });
            json.key("routes").array(|json| {
                for index in 0..self.routes.len() {
                    self.route(json, index, &own(&self.sources.routes, index));
                }
            });
        });
        json.finish()
    }

    fn route(&self, json: &mut Json, index: usize, own: &Own) {
        let Some(route) = self.routes.get(index) else { return };
        json.object(|json| {
            json.key("name").string(&route.name);
            json.key("listeners").array(|json| {
                let names = route.listeners.iter().filter_map(|index| self.listeners.get(*index));
                names.for_each(|listener| json.string(&listener.name));
            });
            json.key("hosts").array(|json| route.hosts.iter().for_each(|host| json.string(host)));
            json.key("path_prefix").string(&route.path_prefix);
            match self.clusters.get(route.cluster) {
                Some(cluster) => json.key("to").string(&cluster.name),
                None => json.key("to").null(),
            }
            self.settings(json, Scope::Route, own);
        });
    }

    fn settings(&self, json: &mut Json, scope: Scope, own: &Own) {
        let view = View { base: &self.sources.base, own };
        for setting in Setting::of_scope(scope) {
            let (value, origin) = view.get(setting.id);
            json.key(setting.key).object(|json| {
                json.key("value");
                write_value(json, setting, value);
                json.key("from").string(&origin.show(setting));
            });
        }
    }

    /// What `auto` came to.
    fn resolved(&self, json: &mut Json) {
        let process = &self.process;
        json.key("resolved").object(|json| {
            json.key("workers").number(process.workers as u64);
            json.key("cpus").array(|json| process.cpus.iter().for_each(|cpu| json.number(*cpu as u64)));
            json.key("worker_bytes").number(process.buffers.worker_bytes_max);
            json.key("admin_token_set").bool(process.admin_token.is_some());
        });
    }
}

fn write_value(json: &mut Json, setting: &Setting, value: &Value) {
    match value {
        Value::Word(word) => json.string(word),
        _ if matches!(setting.kind, Kind::Secret) => json.string("***"),
        Value::Bool(value) => json.bool(*value),
        Value::Count(value) => json.number(*value),
        Value::Cidrs(cidrs) => {
            json.array(|json| cidrs.iter().for_each(|cidr| json.string(&cidr.to_string())))
        }
        Value::Tokens(tokens) => json.array(|json| tokens.iter().for_each(|token| json.string(token))),
        other => json.string(&other.show()),
    }
}

fn show_endpoint(endpoint: &EndpointConfig) -> String {
    match endpoint {
        EndpointConfig::Address(address) => address.to_string(),
        EndpointConfig::Name { host, port } => format!("{host}:{port}"),
    }
}
