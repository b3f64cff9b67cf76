//! Lists of policies: each item is a mapping with one key, the kind of policy, and its fields by that kind's table.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringway_policies::cidr::CidrSet;
use ringway_policies::fields::{self, Field, Need, Rate, Values};
use ringway_policies::policy::{KINDS, PolicyKind};

use super::{ITEMS_MAX, Walk, join};
use crate::config::error::{ConfigError, did_you_mean, quote};
use crate::config::policy_file;
use crate::config::tree::{Content, Entry, Mark, Node};
use crate::config::value::{Kind, Mismatch, Value, parse_token};

/// Policies of one list.
const POLICIES_MAX: usize = 64;

/// A policy of a file, each field of which fits its kind.
#[derive(Debug)]
pub(in crate::config) struct FilePolicy {
    pub kind: &'static PolicyKind,
    pub at: Mark,
    /// The key's path, such as `routes[0].policies[1].rate_limit`.
    pub path: String,
    pub values: Values,
    /// Where each field was written, by its dotted name.
    pub marks: Vec<(String, Mark)>,
}

impl Walk<'_> {
    /// The value of a key `policies`.
    pub(super) fn policies(&mut self, node: &Rc<Node>, path: &str) -> Vec<FilePolicy> {
        self.each(node, path, POLICIES_MAX, |walk, _, node, path| walk.policy(node, path))
    }

    fn policy(&mut self, node: &Rc<Node>, path: &str) -> Option<FilePolicy> {
        let empty = Node::nothing(node.at);
        let (key, key_at, value) = match &node.content {
            // A policy without fields may stand alone: `- compress`.
            Content::Scalar(name) => (name, node.at, &empty),
            Content::Map(entries) => match entries.as_slice() {
                [Entry { key, key_at, value }] => (key, *key_at, value),
                _ => return self.not_a_policy(node, path),
            },
            _ => return self.not_a_policy(node, path),
        };
        let path = join(path, key);
        let Some(kind) = KINDS.iter().find(|kind| kind.name == key) else {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let problem = format!("unknown policy {}", quote(key));
            let error = ConfigError::new(self.file.place(key_at), path, problem);
            let hint = did_you_mean(key, names.iter().copied());
            self.errors.push(error.expected(format!("one of: {}", names.join(", "))).hint(hint));
            return None;
        };
        let errors_before = self.errors.count();
        let mut marks = Vec::new();
        let values = self.fields(value, &path, "", kind.fields, key_at, &mut marks);
        let whole = self.errors.count() == errors_before;
        whole.then_some(FilePolicy { kind, at: key_at, path, values, marks })
    }

    fn not_a_policy<T>(&mut self, node: &Node, path: &str) -> Option<T> {
        let found = match &node.content {
            Content::Map(entries) => format!("a mapping with {} keys", entries.len()),
            _ => node.describe(),
        };
        let expected = "one policy such as `rate_limit: { limit: 100/m }`";
        self.errors.push(ConfigError::mismatch(self.file.place(node.at), path, expected, found));
        None
    }

    /// A mapping by a table of fields. `within` is the dotted name of the group that it is, for the marks.
    pub(in crate::config) fn fields(
        &mut self,
        node: &Rc<Node>,
        path: &str,
        within: &str,
        table: &'static [Field],
        at: Mark,
        marks: &mut Vec<(String, Mark)>,
    ) -> Values {
        let mut values = Values::default();
        let entries = match &node.content {
            Content::Null => &[][..],
            _ => self.map(node, path).unwrap_or_default(),
        };
        for entry in entries {
            let path = join(path, &entry.key);
            let Some(field) = table.iter().find(|field| field.name == entry.key) else {
                let known: Vec<&str> = table.iter().map(|field| field.name).collect();
                self.unknown_key(entry.key_at, &path, &entry.key, &known, &[]);
                continue;
            };
            let name = join(within, field.name);
            marks.push((name.clone(), entry.value.at));
            if let Some(value) = self.field(&field.kind, &entry.value, &path, &name, marks) {
                values.insert(field.name, value);
            }
        }
        for field in table {
            if entries.iter().any(|entry| entry.key == field.name) {
                continue;
            }
            match field.need {
                Need::Optional => {}
                Need::Required => {
                    let problem = format!("the key `{}` is missing", field.name);
                    self.errors.push(ConfigError::new(self.file.place(at), path, problem));
                }
                Need::Default(text) => {
                    if let Ok(value) = scalar(&field.kind, text) {
                        values.insert(field.name, value);
                    }
                }
            }
        }
        values
    }

    fn field(
        &mut self,
        kind: &'static fields::Kind,
        node: &Rc<Node>,
        path: &str,
        name: &str,
        marks: &mut Vec<(String, Mark)>,
    ) -> Option<fields::Value> {
        match kind {
            fields::Kind::Group(table) => {
                Some(fields::Value::Group(self.fields(node, path, name, table, node.at, marks)))
            }
            fields::Kind::List(table) => {
                let Content::List(items) = &node.content else {
                    return self.mismatch(node, path, "a list");
                };
                if items.len() > ITEMS_MAX {
                    return self.mismatch(node, path, &format!("at most {ITEMS_MAX} items"));
                }
                let items = items.iter().enumerate().map(|(index, item)| {
                    let name = format!("{name}[{index}]");
                    marks.push((name.clone(), item.at));
                    self.fields(item, &format!("{path}[{index}]"), &name, table, item.at, marks)
                });
                Some(fields::Value::List(items.collect()))
            }
            fields::Kind::Table(table) => {
                let text = self.text(node, path, &expected(kind))?;
                match policy_file::read(Path::new(&text.value), table) {
                    Ok(values) => Some(fields::Value::Table { path: PathBuf::from(text.value), values }),
                    Err(errors) => {
                        errors.into_iter().for_each(|error| self.errors.push(error));
                        None
                    }
                }
            }
            fields::Kind::Pairs => self.pairs(node, path, name, marks).map(fields::Value::Pairs),
            fields::Kind::Texts | fields::Kind::Cidrs => {
                let texts = self.texts(node, path, expected(kind).as_str())?;
                for (index, text) in texts.iter().enumerate() {
                    marks.push((format!("{name}[{index}]"), text.at));
                }
                if matches!(kind, fields::Kind::Texts) {
                    return Some(fields::Value::Texts(texts.into_iter().map(|text| text.value).collect()));
                }
                let mut cidrs = Vec::new();
                for (index, text) in texts.iter().enumerate() {
                    match Kind::Cidrs.parse(&[], &text.value) {
                        Ok(Value::Cidrs(mut some)) => cidrs.append(&mut some),
                        Ok(_) => {}
                        Err(mismatch) => {
                            let place = self.file.place(text.at);
                            let (path, found) = (format!("{path}[{index}]"), quote(&text.value));
                            let error = ConfigError::mismatch(place, path, mismatch.expected, found);
                            self.errors.push(error.hint(mismatch.hint));
                        }
                    }
                }
                Some(fields::Value::Cidrs(CidrSet::new(&cidrs)))
            }
            kind => {
                let Content::Scalar(text) = &node.content else {
                    return self.mismatch(node, path, &expected(kind));
                };
                match scalar(kind, text) {
                    Ok(value) => Some(value),
                    Err(mismatch) => {
                        let place = self.file.place(node.at);
                        let error = ConfigError::mismatch(place, path, mismatch.expected, node.describe());
                        self.errors.push(error.hint(mismatch.hint));
                        None
                    }
                }
            }
        }
    }

    fn pairs(
        &mut self,
        node: &Rc<Node>,
        path: &str,
        name: &str,
        marks: &mut Vec<(String, Mark)>,
    ) -> Option<Vec<(String, String)>> {
        let entries = self.map(node, path)?;
        let mut pairs = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            marks.push((format!("{name}[{index}]"), entry.key_at));
            let path = join(path, &entry.key);
            if let Some(text) = self.text(&entry.value, &path, "text") {
                pairs.push((entry.key.clone(), text.value));
            }
        }
        Some(pairs)
    }

    fn mismatch<T>(&mut self, node: &Node, path: &str, expected: &str) -> Option<T> {
        self.errors.push(ConfigError::mismatch(self.file.place(node.at), path, expected, node.describe()));
        None
    }
}

/// Reads what is written in one piece.
fn scalar(kind: &fields::Kind, text: &str) -> Result<fields::Value, Mismatch> {
    let plain = |kind: Kind| kind.parse(&[], text);
    let mismatch = || Mismatch { expected: expected(kind), hint: None };
    Ok(match *kind {
        fields::Kind::Bool => match plain(Kind::Bool)? {
            Value::Bool(flag) => fields::Value::Bool(flag),
            _ => return Err(mismatch()),
        },
        fields::Kind::Count { min, max } => match plain(Kind::Count { min, max, zero: None })? {
            Value::Count(number) => fields::Value::Number(number),
            _ => return Err(mismatch()),
        },
        fields::Kind::Status => match plain(Kind::Count { min: 200, max: 599, zero: None }) {
            Ok(Value::Count(number)) => fields::Value::Number(number),
            _ => return Err(mismatch()),
        },
        fields::Kind::Bytes { min, max } => match plain(Kind::Size { min, max, zero: None })? {
            Value::Size(number) => fields::Value::Number(number),
            _ => return Err(mismatch()),
        },
        fields::Kind::Duration { min, max } => match plain(Kind::Duration { min, max, zero: None })? {
            Value::Duration(duration) => fields::Value::Duration(duration),
            _ => return Err(mismatch()),
        },
        fields::Kind::Percent => fields::Value::Ppm(percent(text).ok_or_else(mismatch)?),
        fields::Kind::Choice(words) => {
            if !words.contains(&text) {
                let hint = did_you_mean(text, words.iter().copied());
                return Err(Mismatch { expected: expected(kind), hint });
            }
            fields::Value::Text(text.to_owned())
        }
        fields::Kind::Name => fields::Value::Text(parse_token(text).ok_or_else(mismatch)?),
        fields::Kind::Rate => fields::Value::Rate(Rate::parse(text).ok_or_else(mismatch)?),
        fields::Kind::File if text.is_empty() || text.contains('\0') => return Err(mismatch()),
        fields::Kind::Text | fields::Kind::Regex | fields::Kind::File => fields::Value::Text(text.to_owned()),
        fields::Kind::Texts => fields::Value::Texts(vec![text.to_owned()]),
        fields::Kind::Cidrs => match plain(Kind::Cidrs)? {
            Value::Cidrs(cidrs) => fields::Value::Cidrs(CidrSet::new(&cidrs)),
            _ => return Err(mismatch()),
        },
        fields::Kind::Pairs | fields::Kind::Group(_) | fields::Kind::List(_) | fields::Kind::Table(_) => {
            return Err(mismatch());
        }
    })
}

/// What is expected, with bounds and an example.
fn expected(kind: &fields::Kind) -> String {
    match *kind {
        fields::Kind::Bool => Kind::Bool.expected(&[]),
        fields::Kind::Count { min, max } => Kind::Count { min, max, zero: None }.expected(&[]),
        fields::Kind::Bytes { min, max } => Kind::Size { min, max, zero: None }.expected(&[]),
        fields::Kind::Duration { min, max } => Kind::Duration { min, max, zero: None }.expected(&[]),
        fields::Kind::Percent => "a share from 0% to 100% such as 5% or 0.1%".to_owned(),
        fields::Kind::Choice(words) => words.join(", "),
        fields::Kind::Text => "text".to_owned(),
        fields::Kind::Name => "a name such as x-api-key".to_owned(),
        fields::Kind::Status => "a status from 200 to 599".to_owned(),
        fields::Kind::Rate => "a rate such as 100/m: a number and s, m, h or d".to_owned(),
        fields::Kind::Cidrs => Kind::Cidrs.expected(&[]),
        fields::Kind::File | fields::Kind::Table(_) => Kind::Path.expected(&[]),
        fields::Kind::Regex => "a regular expression".to_owned(),
        fields::Kind::Texts => "a list of texts".to_owned(),
        fields::Kind::Pairs | fields::Kind::Group(_) => "a mapping".to_owned(),
        fields::Kind::List(_) => "a list".to_owned(),
    }
}

/// A share in millionths: `5%`, `0.1%`, with up to four decimals.
pub(super) fn percent(text: &str) -> Option<u32> {
    const DECIMALS: usize = 4;
    let number = text.strip_suffix('%')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > DECIMALS {
        return None;
    }
    let ppm: u32 = format!("{whole}{decimals:0<DECIMALS$}").parse().ok()?;
    (ppm <= 1_000_000).then_some(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_to_four_decimals() {
        for (text, ppm) in [
            ("0%", 0),
            ("5%", 50_000),
            ("0.1%", 1_000),
            ("0.0001%", 1),
            ("33.33%", 333_300),
            ("100%", 1_000_000),
        ] {
            assert_eq!(percent(text), Some(ppm), "{text}");
        }
        for text in ["", "%", "5", "101%", "100.1%", "-1%", "1.%", ".5%", "0.00001%", "1e1%", "5 %", "1000%"]
        {
            assert_eq!(percent(text), None, "{text}");
        }
    }

    /// A default that cannot be read would be no default.
    #[test]
    fn every_default_of_every_policy_is_read() {
        fn check(table: &[Field], of: &str) {
            for field in table {
                if let Need::Default(text) = field.need {
                    assert!(scalar(&field.kind, text).is_ok(), "{of}.{}: {text}", field.name);
                }
                if let fields::Kind::Group(table) | fields::Kind::List(table) = field.kind {
                    check(table, of);
                }
            }
        }
        KINDS.iter().for_each(|kind| check(kind.fields, kind.name));
    }
}
