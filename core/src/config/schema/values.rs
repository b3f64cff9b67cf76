//! What a value may look like, by its kind.

use ringway_policies::fields::{Field, Kind as FieldKind, Need};
use serde_json::{Map, Value as Json, json};

use super::super::settings::Setting;
use super::super::value::Kind;
use super::{object, with_help};

const SIZE: &str = "^[0-9]+(B|KB|KiB|MB|MiB|GB|GiB|TB|TiB)?$";
const DURATION: &str = "^0$|^([0-9]+(us|ms|s|m|h|d))+$";
const PERCENT: &str = "^[0-9]+(\\.[0-9]{1,4})?%$";

/// A row of the table of settings.
pub(super) fn setting(setting: &Setting) -> Json {
    let mut schema = with_help(kind(&setting.kind, setting.words), setting.help);
    schema["default"] = json!(setting.default);
    schema
}

/// A value of a setting, or one of these words.
pub(super) fn kind(kind: &Kind, words: &[&str]) -> Json {
    let plain = match kind {
        Kind::Bool => boolean(),
        Kind::Count { min, max, zero } => whole(if zero.is_some() { 0 } else { *min }, *max),
        Kind::PowerOfTwo { min, max } => whole(*min, *max),
        Kind::Size { .. } => size(),
        Kind::Duration { .. } => duration(),
        Kind::Percent => text_like(PERCENT),
        Kind::Choice => return one_of(words.iter().copied().map(word).collect()),
        Kind::Names(known) => list(json!({ "enum": known })),
        kind if kind.is_list() => list(text()),
        _ => text(),
    };
    one_of(std::iter::once(plain).chain(words.iter().copied().map(word)).collect())
}

/// The fields of a policy.
pub(super) fn fields(fields: &[Field]) -> Json {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = with_help(self::field(&field.kind), field.help);
        if let Need::Default(default) = field.need {
            schema["default"] = json!(default);
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<&str> =
        fields.iter().filter(|field| field.need == Need::Required).map(|field| field.name).collect();
    object(properties, &required, "")
}

/// A value of a policy's field.
pub(super) fn field(kind: &FieldKind) -> Json {
    let plain = match kind {
        FieldKind::Bool => boolean(),
        FieldKind::Count { min, max } => whole(*min, *max),
        FieldKind::Bytes { .. } => size(),
        FieldKind::Duration { .. } => duration(),
        FieldKind::Percent => text_like(PERCENT),
        FieldKind::Choice(words) => return one_of(words.iter().copied().map(word).collect()),
        FieldKind::Status => whole(200, 599),
        FieldKind::Rate => text_like("^[0-9]+/[smhd]$"),
        FieldKind::Cidrs | FieldKind::Texts => list(text()),
        FieldKind::Pairs => json!({ "type": "object", "additionalProperties": text() }),
        FieldKind::Group(inner) => fields(inner),
        FieldKind::List(inner) => json!({ "type": "array", "items": fields(inner) }),
        FieldKind::Text | FieldKind::Name | FieldKind::File | FieldKind::Table(_) | FieldKind::Regex => {
            text()
        }
    };
    one_of(vec![plain])
}

/// Any of these, or a reference, unless that is text like any other.
fn one_of(mut schemas: Vec<Json>) -> Json {
    let takes_text = |schema: &Json| match &schema["type"] {
        Json::String(kind) => kind == "object" || kind == "array",
        Json::Array(_) => true,
        _ => false,
    };
    if schemas.len() == 1 && schemas.first().is_some_and(takes_text) {
        return schemas.swap_remove(0);
    }
    schemas.push(json!({ "$ref": "#/$defs/reference" }));
    json!({ "anyOf": schemas })
}

/// A word as YAML reads it.
fn word(word: &str) -> Json {
    match (word.parse::<bool>(), word.parse::<f64>()) {
        (Ok(value), _) => json!({ "const": value }),
        (_, Ok(number)) => json!({ "enum": [word, number] }),
        _ => json!({ "const": word }),
    }
}

fn boolean() -> Json {
    json!({ "enum": [true, false, "on", "off"] })
}

fn whole(min: u64, max: u64) -> Json {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

fn size() -> Json {
    json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, text_like(SIZE)] })
}

fn duration() -> Json {
    json!({ "anyOf": [{ "const": 0 }, text_like(DURATION)] })
}

fn text_like(pattern: &str) -> Json {
    json!({ "type": "string", "pattern": pattern })
}

/// Text that looks like a number or a truth value need not be quoted.
fn text() -> Json {
    json!({ "type": ["string", "number", "boolean"] })
}

/// A list, or one item of it.
fn list(item: Json) -> Json {
    json!({ "anyOf": [{ "type": "array", "items": item }, text()] })
}
