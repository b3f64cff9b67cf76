//! The JSON Schema (2020-12) of a configuration file: `ringway schema`.
//!
//! Settings come from their table and policies from theirs. What is neither is in [`shapes`]; a test compares the keys of
//! every mapping with those that the loader takes.

mod shapes;
mod values;

use serde_json::{Map, Value as Json, json};

use super::settings::{Scope, Setting};
use shapes::{Key, Shape};

/// Where the schema is published under this name, editors find it.
const ID: &str = "https://ringway.dev/schema/ringway.json";

/// The schema of a whole file.
pub fn schema() -> Json {
    let mut root = mapping(Scope::Process, shapes::TOP);
    let defaults = [Scope::Listener, Scope::Cluster, Scope::Route];
    let defaults = defaults.map(|scope| (scope.plural().to_owned(), mapping(scope, &[])));
    if let Some(properties) = root.get_mut("properties").and_then(Json::as_object_mut) {
        let help = "Values for all listeners, clusters and routes that say nothing else.";
        properties.insert("defaults".to_owned(), object(Map::from_iter(defaults), &[], help));
        let lists = [
            (Scope::Listener, shapes::LISTENER),
            (Scope::Cluster, shapes::CLUSTER),
            (Scope::Route, shapes::ROUTE),
        ];
        for (scope, keys) in lists {
            properties
                .insert(scope.plural().to_owned(), json!({ "type": "array", "items": mapping(scope, keys) }));
        }
    }
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["$id"] = json!(ID);
    root["title"] = json!("Configuration of Ringway");
    root["$defs"] = json!({ "reference": {
        "type": "string",
        "pattern": "\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}|\\$\\{file:[^}]+\\}",
        "description": "A reference to a variable of the environment or a file.",
    }});
    root
}

/// The settings of a scope, in groups by the dots of their keys, with the keys that are no settings.
fn mapping(scope: Scope, keys: &[Key]) -> Json {
    let mut properties = Map::new();
    for setting in Setting::of_scope(scope) {
        put(&mut properties, setting.key, values::setting(setting));
    }
    for key in keys {
        put(&mut properties, key.name, with_help(shape(&key.shape), key.help));
    }
    for (short, long) in
        shapes::SHORT_FORMS.iter().filter(|(of, ..)| *of == scope).map(|(_, short, long)| (short, long))
    {
        let Some(setting) = Setting::of_scope(scope).find(|setting| setting.key == *long) else { continue };
        if let Some(group) = properties.get_mut(*short) {
            *group = json!({ "anyOf": [group.take(), values::setting(setting)] });
        }
    }
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    object(properties, &required, "")
}

/// Puts a value at the path of its key, with the groups that it takes.
fn put(properties: &mut Map<String, Json>, key: &str, value: Json) {
    match key.split_once('.') {
        None => {
            properties.insert(key.to_owned(), value);
        }
        Some((group, rest)) => {
            let group = properties.entry(group).or_insert_with(|| object(Map::new(), &[], ""));
            if let Some(inner) = group.get_mut("properties").and_then(Json::as_object_mut) {
                put(inner, rest, value);
            }
        }
    }
}

fn object(properties: Map<String, Json>, required: &[&str], help: &str) -> Json {
    let mut object = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    with_help(object, help)
}

fn with_help(mut schema: Json, help: &str) -> Json {
    if !help.is_empty() {
        schema["description"] = json!(help);
    }
    schema
}

fn shape(of: &Shape) -> Json {
    match of {
        Shape::Setting(kind) => values::kind(kind, &[]),
        Shape::Field(kind) => values::field(kind),
        Shape::AnyOf(shapes) => json!({ "anyOf": shapes.iter().map(shape).collect::<Vec<_>>() }),
        Shape::List(item) => json!({ "type": "array", "items": shape(item) }),
        Shape::MapOf(value) => json!({ "type": "object", "additionalProperties": shape(value) }),
        Shape::Object(keys) => keys_of(keys),
        Shape::Policies => policies(),
    }
}

fn keys_of(keys: &[Key]) -> Json {
    let mut properties = Map::new();
    for key in keys {
        put(&mut properties, key.name, with_help(shape(&key.shape), key.help));
    }
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    object(properties, &required, "")
}

/// A list of policies: each item a mapping of one key, the policy's name.
fn policies() -> Json {
    let kinds = ringway_policies::policy::KINDS.iter();
    let properties =
        kinds.map(|kind| (kind.name.to_owned(), with_help(values::fields(kind.fields), kind.help)));
    let item = json!({
        "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        "properties": Map::from_iter(properties),
    });
    json!({ "type": "array", "items": item })
}

#[cfg(test)]
mod tests;
