//! The shape of a policy's configuration, as data.
//!
//! A policy says by a table which fields it has. Whoever reads a file reads it by that table, so that wrong values,
//! unknown names and missing fields are found and placed in one way for all policies; the schema and the documentation
//! come from the same table.

use std::path::PathBuf;
use std::time::Duration;

use crate::cidr::CidrSet;

/// One field of a policy's configuration.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    /// One or two sentences.
    pub help: &'static str,
}

/// What becomes of a field that is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
    /// This value, as a file would have it.
    Default(&'static str),
}

/// What a field holds, with its bounds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Bool,
    Count {
        min: u64,
        max: u64,
    },
    /// A size such as `64KiB`.
    Bytes {
        min: u64,
        max: u64,
    },
    Duration {
        min: Duration,
        max: Duration,
    },
    /// A share such as `5%` or `0.1%`.
    Percent,
    Choice(&'static [&'static str]),
    Text,
    /// The name of a header field or a cookie.
    Name,
    /// The status of a response: 200 to 599.
    Status,
    /// A rate such as `100/m`.
    Rate,
    /// Address blocks.
    Cidrs,
    /// The path of a file.
    File,
    /// A regular expression.
    Regex,
    /// The path of a YAML file of this shape, which is read with the configuration.
    Table(&'static [Field]),
    /// Texts, or one of them.
    Texts,
    /// A mapping from text to text.
    Pairs,
    Group(&'static [Field]),
    List(&'static [Field]),
}

/// A value that fits its [`Kind`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    /// Counts, sizes in bytes and statuses.
    Number(u64),
    Duration(Duration),
    /// Millionths.
    Ppm(u32),
    Text(String),
    Rate(Rate),
    Cidrs(CidrSet),
    Texts(Vec<String>),
    Pairs(Vec<(String, String)>),
    Group(Values),
    List(Vec<Values>),
    /// What a file says.
    Table {
        path: PathBuf,
        values: Values,
    },
}

/// So many requests in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub requests: u64,
    pub period: Duration,
}

impl Rate {
    /// Reads `100/s`, `100/m`, `100/h` or `100/d`.
    pub fn parse(text: &str) -> Option<Rate> {
        let (requests, unit) = text.split_once('/')?;
        let digits = !requests.is_empty() && requests.bytes().all(|b| b.is_ascii_digit());
        let requests =
            requests.parse().ok().filter(|requests| digits && (1..=RATE_MAX).contains(requests))?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        Some(Rate { requests, period: Duration::from_secs(seconds) })
    }
}

/// Requests of a rate: more than one in a nanosecond cannot be told apart.
const RATE_MAX: u64 = 1_000_000_000;

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.period.as_secs() {
            1 => "s",
            60 => "m",
            3_600 => "h",
            _ => "d",
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

/// The fields of one policy as they were read, those with a default included.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values(Vec<(&'static str, Value)>);

impl Values {
    pub fn insert(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, held)) => *held = value,
            None => self.0.push((name, value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// False where it is not there.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Bool(true)))
    }

    pub fn opt_number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// 0 where it is not there.
    pub fn number(&self, name: &str) -> u64 {
        self.opt_number(name).unwrap_or_default()
    }

    pub fn opt_duration(&self, name: &str) -> Option<Duration> {
        match self.get(name)? {
            Value::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    pub fn duration(&self, name: &str) -> Duration {
        self.opt_duration(name).unwrap_or_default()
    }

    /// Millionths; 0 where it is not there.
    pub fn ppm(&self, name: &str) -> u32 {
        match self.get(name) {
            Some(Value::Ppm(ppm)) => *ppm,
            _ => 0,
        }
    }

    pub fn opt_text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Empty where it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.opt_text(name).unwrap_or_default()
    }

    pub fn rate(&self, name: &str) -> Option<Rate> {
        match self.get(name)? {
            Value::Rate(rate) => Some(*rate),
            _ => None,
        }
    }

    pub fn cidrs(&self, name: &str) -> Option<&CidrSet> {
        match self.get(name)? {
            Value::Cidrs(cidrs) => Some(cidrs),
            _ => None,
        }
    }

    pub fn texts(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    pub fn pairs(&self, name: &str) -> &[(String, String)] {
        match self.get(name) {
            Some(Value::Pairs(pairs)) => pairs,
            _ => &[],
        }
    }

    pub fn group(&self, name: &str) -> Option<&Values> {
        match self.get(name)? {
            Value::Group(values) => Some(values),
            _ => None,
        }
    }

    pub fn list(&self, name: &str) -> &[Values] {
        match self.get(name) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }
}

/// What is wrong with values that fit their kinds one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted, such as `header.set`; empty: the policy as a whole.
    pub field: String,
    /// Which item of the field, where that is a list or a mapping.
    pub item: Option<usize>,
    pub expected: String,
    pub found: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(field: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Problem {
            field: field.to_owned(),
            item: None,
            expected: expected.into(),
            found: found.into(),
            hint: None,
        }
    }

    /// As `field` or `field[item]`.
    pub fn named(&self) -> String {
        match self.item {
            Some(item) => format!("{}[{item}]", self.field),
            None => self.field.clone(),
        }
    }

    /// At the item of that index.
    pub fn item(mut self, item: usize) -> Self {
        self.item = Some(item);
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_strictly_and_shown_as_they_are_written() {
        for text in ["1/s", "100/m", "5000/h", "1000000000/d"] {
            assert_eq!(Rate::parse(text).map(|rate| rate.to_string()).as_deref(), Some(text));
        }
        for text in ["", "/s", "0/s", "100", "100/", "100/w", "+1/s", "-1/s", "1.5/s", " 1/s", "1000000001/s"]
        {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_is_found_by_its_name_and_its_kind() {
        let mut values = Values::default();
        values.insert("limit", Value::Number(3));
        values.insert("limit", Value::Number(4));
        assert_eq!(values.number("limit"), 4);
        assert_eq!(values.opt_text("limit"), None);
        assert_eq!(values.opt_number("other"), None);
    }
}
