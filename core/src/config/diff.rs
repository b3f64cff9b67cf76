//! What one configuration changes of another, by the values that are in effect: a changed default shows where it counts.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json};

use super::settings::{Change as Takes, Scope, Setting};
use super::{Config, restart_needed};

/// A difference between two configurations. Sections that change in the same way are one.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// `process`, `listener`, `cluster` or `route`.
    pub section: &'static str,
    /// Of the listeners, clusters or routes; empty for the process.
    pub names: Vec<String>,
    pub what: What,
    pub keys: Vec<KeyChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Added,
    Removed,
    Changed,
}

/// A value that differs, as it would be written. References are shown, not what they stand for.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyChange {
    pub key: String,
    pub old: Option<String>,
    pub new: Option<String>,
    /// A reload keeps the old value.
    pub restart: bool,
}

impl Config {
    /// What `new` changes of this configuration.
    pub fn changes(&self, new: &Config) -> Vec<Change> {
        let (old_json, new_json) = (self.to_json(), new.to_json());
        let mut changes = Vec::new();
        let mut process = compare(&old_json["process"], &new_json["process"]);
        for key in &mut process {
            let setting = Setting::of_scope(Scope::Process).find(|setting| setting.key == key.key);
            key.restart = setting.is_some_and(|setting| setting.change == Takes::Restart);
        }
        // A secret looks the same before and after.
        let secrets = restart_needed(self, new);
        let secrets = secrets.iter().filter_map(|line| line.strip_suffix(": changed").map(str::to_owned));
        let unseen: Vec<String> = secrets.filter(|key| process.iter().all(|seen| seen.key != *key)).collect();
        process.extend(unseen.into_iter().map(|key| KeyChange { key, old: None, new: None, restart: true }));
        let explain = self.process.explain_token != new.process.explain_token;
        if explain && process.iter().all(|seen| !seen.key.starts_with("explain.")) {
            process.push(KeyChange { key: "explain.token".to_owned(), old: None, new: None, restart: false });
        }
        if !process.is_empty() {
            changes.push(Change {
                section: "process",
                names: Vec::new(),
                what: What::Changed,
                keys: process,
            });
        }
        for (section, list) in [("listener", "listeners"), ("cluster", "clusters"), ("route", "routes")] {
            compare_lists(section, &old_json[list], &new_json[list], &mut changes);
        }
        changes
    }
}

/// Listeners, clusters or routes, by their names.
fn compare_lists(section: &'static str, old: &Json, new: &Json, changes: &mut Vec<Change>) {
    let name = |item: &Json| item["name"].as_str().unwrap_or_default().to_owned();
    let items = |list: &Json| list.as_array().cloned().unwrap_or_default();
    let (old, new) = (items(old), items(new));
    let by_name: HashMap<String, &Json> = old.iter().map(|item| (name(item), item)).collect();
    let mut added = Vec::new();
    // Where in `changes` those are that change in one way.
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for item in &new {
        let Some(before) = by_name.get(&name(item)) else {
            added.push(name(item));
            continue;
        };
        let keys = compare(before, item);
        if keys.is_empty() {
            continue;
        }
        let at = *alike.entry(format!("{keys:?}")).or_insert_with(|| {
            changes.push(Change { section, names: Vec::new(), what: What::Changed, keys });
            changes.len() - 1
        });
        if let Some(change) = changes.get_mut(at) {
            change.names.push(name(item));
        }
    }
    let names: Vec<String> = new.iter().map(name).collect();
    let kept: HashMap<&str, ()> = names.iter().map(|name| (name.as_str(), ())).collect();
    let removed: Vec<String> =
        old.iter().map(name).filter(|name| !kept.contains_key(name.as_str())).collect();
    for (names, what) in [(added, What::Added), (removed, What::Removed)] {
        if !names.is_empty() {
            changes.push(Change { section, names, what, keys: Vec::new() });
        }
    }
}

/// The keys that differ, in order.
fn compare(old: &Json, new: &Json) -> Vec<KeyChange> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten(old, "", &mut before);
    flatten(new, "", &mut after);
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let differs = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let change = |key: &String| KeyChange {
        key: key.clone(),
        old: before.get(key).cloned(),
        new: after.get(key).cloned(),
        restart: false,
    };
    differs.map(change).collect()
}

/// Values by the paths of their keys. Lists of plain values are one value.
fn flatten(json: &Json, path: &str, into: &mut BTreeMap<String, String>) {
    match json {
        Json::Object(entries) => match setting_value(entries) {
            Some(value) => flatten(value, path, into),
            None => {
                for (key, value) in entries {
                    // What `auto` came to is of this machine.
                    if path.is_empty() && key == "resolved" {
                        continue;
                    }
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    flatten(value, &path, into);
                }
            }
        },
        Json::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                flatten(item, &format!("{path}[{index}]"), into);
            }
        }
        Json::String(text) => drop(into.insert(path.to_owned(), text.clone())),
        Json::Array(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect();
            into.insert(path.to_owned(), format!("[{}]", items.join(", ")));
        }
        Json::Null => {}
        other => drop(into.insert(path.to_owned(), other.to_string())),
    }
}

/// The value of a setting in a dump, which says where it comes from.
fn setting_value(entries: &Map<String, Json>) -> Option<&Json> {
    match (entries.get("value"), entries.get("from")) {
        (Some(value), Some(Json::String(_))) if entries.len() == 2 => Some(value),
        _ => None,
    }
}
