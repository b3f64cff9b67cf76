use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::super::error::Findings;
use super::super::tree::{self, Content, Node, Reading, SourceFile};
use super::super::{Config, ConfigSource};
use super::schema;

const UNKNOWN: &str = "zzz_unknown";

/// The places of all mappings with known keys: a file around `{}` of each, and the keys.
fn mappings(schema: &Json, around: &dyn Fn(String) -> String, found: &mut Vec<(String, BTreeSet<String>)>) {
    for branch in schema["anyOf"].as_array().into_iter().flatten() {
        mappings(branch, around, found);
    }
    if let Some(properties) = schema["properties"].as_object() {
        if schema["maxProperties"] != 1 {
            let file = around(format!("{{ {UNKNOWN}: 1 }}"));
            found.push((file, properties.keys().cloned().collect()));
        }
        for (key, value) in properties {
            mappings(value, &|inner| around(format!("{{ {key}: {inner} }}")), found);
        }
    }
    if schema["type"] == "array" {
        mappings(&schema["items"], &|inner| around(format!("[{inner}]")), found);
    }
}

/// What the loader says that could stand where the unknown key is.
fn known_to_the_loader(text: &str) -> Option<BTreeSet<String>> {
    let path = std::env::temp_dir().join(format!("ringway-schema-{}.yaml", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    let errors = Config::load(&ConfigSource::file(&path)).map(drop).expect_err(text);
    let _ = std::fs::remove_file(&path);
    let error = errors.iter().find(|error| error.key.ends_with(UNKNOWN))?;
    let names = error.expected.as_deref()?.strip_prefix("one of: ")?;
    Some(names.split(", ").map(str::to_owned).collect())
}

#[test]
fn every_mapping_has_the_keys_that_the_loader_takes() {
    let mut found = Vec::new();
    mappings(&schema(), &|inner| inner, &mut found);
    assert!(found.len() > 20, "{} mappings", found.len());
    for (text, keys) in found {
        let loader = known_to_the_loader(&text);
        assert_eq!(
            Some(keys),
            loader,
            "left: core/src/config/schema/shapes.rs, right: the loader, at {text}"
        );
    }
}

/// As much of JSON Schema as ours uses. YAML's plain scalars are text to the loader, so text may look like any type.
fn fits(node: &Node, schema: &Json, root: &Json) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).expect(reference);
        return fits(node, target, root);
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        let problems: Vec<String> =
            branches.iter().map_while(|branch| fits(node, branch, root).err()).collect();
        return if problems.len() < branches.len() { Ok(()) } else { Err(problems.join("; ")) };
    }
    match &node.content {
        Content::Map(entries) => {
            for entry in entries {
                let value = &schema["properties"][&entry.key];
                let value = if value.is_null() { &schema["additionalProperties"] } else { value };
                if value.is_null() || *value == json!(false) {
                    return Err(format!("{} is not known", entry.key));
                }
                fits(&entry.value, value, root).map_err(|problem| format!("{}: {problem}", entry.key))?;
            }
            let missing = schema["required"].as_array().into_iter().flatten();
            let missing = missing.filter_map(Json::as_str).find(|key| entries.iter().all(|e| e.key != *key));
            missing.map_or(Ok(()), |key| Err(format!("{key} is missing")))
        }
        Content::List(_) if schema["type"] != "array" => Err("a list".to_owned()),
        Content::List(items) => items.iter().try_for_each(|item| fits(item, &schema["items"], root)),
        Content::Null => Ok(()),
        Content::Scalar(text) => scalar_fits(text, schema),
    }
}

fn scalar_fits(text: &str, schema: &Json) -> Result<(), String> {
    let is = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned) == text;
    let fits = match (&schema["const"], &schema["enum"], &schema["type"], schema["pattern"].as_str()) {
        (Json::Null, Json::Null, Json::String(kind), None) if kind == "integer" => {
            let number = text.parse::<u64>().ok();
            let (min, max) = (schema["minimum"].as_u64(), schema["maximum"].as_u64());
            number.is_some_and(|number| {
                min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)
            })
        }
        // What the pattern says in short: a reference, or a number with a unit.
        (Json::Null, Json::Null, Json::String(kind), Some(pattern)) if kind == "string" => {
            let digits = text.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<u64>().is_err();
            if pattern.starts_with("\\$") { text.contains("${") } else { digits }
        }
        (Json::Null, Json::Null, Json::Array(_), _) => true,
        (Json::Null, Json::Array(words), ..) => words.iter().any(is),
        (word, ..) if !word.is_null() => is(word),
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("{text:?} is not {schema}")) }
}

#[test]
fn good_files_fit_the_schema() {
    let root = schema();
    let mut count = 0;
    for directory in ["../tests/config/corpus", "../docs/examples"] {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        for entry in std::fs::read_dir(directory).expect("files") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let example = path.parent().is_some_and(|parent| parent.ends_with("examples"));
            // What is expected of an example has a schema of its own.
            if !name.ends_with(".yaml")
                || name.ends_with(".tests.yaml")
                || !(example || name.starts_with("good-"))
            {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a file");
            let (file, mut findings) = (SourceFile::new(&name, &text), Findings::default());
            let reading = Reading { file: &file, number: 0, references: None, nodes: &mut 0 };
            let node = tree::read_file(reading, &text, &mut findings).flatten().expect("a tree");
            fits(&node, &root, &root).unwrap_or_else(|problem| panic!("{name}: {problem}"));
            count += 1;
        }
    }
    assert!(count >= 6, "{count} files");
}

#[test]
fn wrong_files_do_not_fit_the_schema() {
    let root = schema();
    for text in [
        "wrong: 1",
        "workers: many",
        "workers: 0",
        "listeners: { name: web }",
        "listeners: [{ name: web }]",
        "listeners: [{ name: web, bind: \":80\", limits: { idle: 1s } }]",
        "io: kqueue",
        "routes: [{ name: a, to: b, policies: [{ no_such_policy: {} }] }]",
    ] {
        let (file, mut findings) = (SourceFile::new("wrong.yaml", text), Findings::default());
        let reading = Reading { file: &file, number: 0, references: None, nodes: &mut 0 };
        let node = tree::read_file(reading, text, &mut findings).flatten().expect("a tree");
        assert!(fits(&node, &root, &root).is_err(), "{text}");
    }
}
