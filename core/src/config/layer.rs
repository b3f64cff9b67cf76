//! Layers of values: flag over environment over file over default, each value with its origin.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Cidr;
use super::error::{ConfigError, Findings, Place};
use super::settings::{Id, SETTINGS, Setting};
use super::tree::Mark;
use super::value::Value;

/// Where a value comes from. A later one wins over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    /// A line, from 1, of the file of this number.
    File {
        file: u16,
        line: u32,
    },
    Env,
    Flag,
}

/// A value for every setting.
#[derive(Debug, Clone)]
pub struct Layer {
    values: Vec<(Value, Origin)>,
}

/// The values that one listener, cluster or route has of its own.
#[derive(Debug, Clone, Default)]
pub struct Own {
    values: Vec<(Id, Value, Mark)>,
    /// The keys that are no settings as they were written, as a JSON object.
    written: Option<Box<str>>,
}

/// One listener's, cluster's or route's view: its own values over the defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub base: &'a Layer,
    pub own: &'a Own,
}

impl Default for Layer {
    /// The defaults of the table.
    fn default() -> Self {
        let default = |setting: &Setting| {
            // A test shows that every default of the table can be read; a word stands in to keep this total.
            let value = setting.kind.parse(setting.words, setting.default).unwrap_or(Value::Word("invalid"));
            (value, Origin::Default)
        };
        Layer { values: SETTINGS.iter().map(default).collect() }
    }
}

impl Layer {
    /// The value of a setting with its origin.
    pub fn get(&self, id: Id) -> (&Value, Origin) {
        // A layer has one value for each row of the table.
        let (value, origin) = &self.values[id as usize];
        (value, *origin)
    }

    /// Takes a setting over from another layer.
    pub fn copy(&mut self, id: Id, from: &Layer) {
        self.values[id as usize] = from.values[id as usize].clone();
    }

    /// Sets a value unless a stronger origin has set one.
    pub fn set(&mut self, id: Id, value: Value, origin: Origin) {
        let slot = &mut self.values[id as usize];
        if origin >= slot.1 {
            *slot = (value, origin);
        }
    }

    /// Reads texts of one origin, each with the place that it came from.
    pub fn set_texts(&mut self, texts: &[(Id, String)], origin: Origin, errors: &mut Findings) {
        for (id, text) in texts {
            let setting = Setting::of(*id);
            match setting.kind.parse(setting.words, text) {
                Ok(value) => self.set(*id, value, origin),
                Err(mismatch) => {
                    let place = match origin {
                        Origin::Env => Place::Env(setting.env()),
                        _ => Place::Flag(format!("--{}", setting.flag)),
                    };
                    let found = match setting.kind {
                        super::value::Kind::Secret => "something else".to_owned(),
                        _ => super::error::quote(text),
                    };
                    let error =
                        ConfigError::mismatch(place, "", mismatch.expected, found).hint(mismatch.hint);
                    errors.push(error);
                }
            }
        }
    }
}

impl Own {
    pub const fn new() -> Self {
        Own { values: Vec::new(), written: None }
    }

    pub fn set(&mut self, id: Id, value: Value, at: Mark) {
        self.values.push((id, value, at));
    }

    /// Notes the keys that are no settings, as they were written.
    pub(super) fn set_written(&mut self, written: serde_json::Map<String, serde_json::Value>) {
        self.written = (!written.is_empty()).then(|| serde_json::Value::Object(written).to_string().into());
    }

    /// What [`Own::set_written`] noted.
    pub(super) fn written(&self) -> serde_json::Map<String, serde_json::Value> {
        let written = self.written.as_deref().unwrap_or_default();
        // It was made by `set_written`; none stands for "no such keys".
        serde_json::from_str(written).unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Id, Value, Mark)> {
        self.values.iter()
    }

    pub fn get(&self, id: Id) -> Option<(&Value, Origin)> {
        let (_, value, at) = self.values.iter().find(|(own, _, _)| *own == id)?;
        Some((value, Origin::file(*at)))
    }

    /// Where the file sets a value.
    pub fn mark(&self, id: Id) -> Option<Mark> {
        self.values.iter().find(|(own, _, _)| *own == id).map(|(_, _, at)| *at)
    }
}

impl<'a> View<'a> {
    pub(super) fn get(&self, id: Id) -> (&'a Value, Origin) {
        self.own.get(id).unwrap_or_else(|| self.base.get(id))
    }

    pub(super) fn duration(&self, id: Id) -> Duration {
        match self.get(id).0 {
            Value::Duration(duration) => *duration,
            other => mismatched(id, other),
        }
    }

    /// A count, a size or a percentage; a word is 0.
    pub(super) fn number(&self, id: Id) -> u64 {
        match self.get(id).0 {
            Value::Count(number) | Value::Size(number) => *number,
            Value::Percent(number) => u64::from(*number),
            Value::Word(_) => 0,
            other => mismatched(id, other),
        }
    }

    /// [`View::number`] in a type that the bounds of the table make large enough.
    pub(super) fn number_as<T: TryFrom<u64> + Default>(&self, id: Id) -> T {
        T::try_from(self.number(id)).unwrap_or_else(|_| mismatched(id, self.get(id).0))
    }

    pub(super) fn bool(&self, id: Id) -> bool {
        match self.get(id).0 {
            Value::Bool(value) => *value,
            other => mismatched(id, other),
        }
    }

    /// The word, where the value is one.
    pub(super) fn word(&self, id: Id) -> Option<&'static str> {
        match self.get(id).0 {
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn cidrs(&self, id: Id) -> Vec<Cidr> {
        match self.get(id).0 {
            Value::Cidrs(cidrs) => cidrs.clone(),
            other => mismatched(id, other),
        }
    }

    pub(super) fn tokens(&self, id: Id) -> Vec<String> {
        match self.get(id).0 {
            Value::Tokens(tokens) => tokens.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn path(&self, id: Id) -> Option<PathBuf> {
        match self.get(id).0 {
            Value::Path(path) => Some(path.clone()),
            _ => None,
        }
    }

    pub(super) fn text(&self, id: Id) -> Option<String> {
        match self.get(id).0 {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn socket_addr(&self, id: Id) -> Option<SocketAddr> {
        match self.get(id).0 {
            Value::SocketAddr(address) => Some(*address),
            _ => None,
        }
    }
}

/// A reader asked for another type than the table says: an error of ours, which tests find.
fn mismatched<T: Default>(id: Id, value: &Value) -> T {
    debug_assert!(false, "{id:?} is {value:?}");
    T::default()
}

impl Origin {
    pub fn file(at: Mark) -> Origin {
        Origin::File { file: at.file, line: u32::try_from(at.line).unwrap_or(u32::MAX) }
    }

    /// The origin of a setting's value in words; `files` are the names of the files by their numbers.
    pub fn show(self, setting: &Setting, files: &[Arc<str>]) -> String {
        match self {
            Origin::Default => "default".to_owned(),
            Origin::File { file: 0, line } => format!("file, line {line}"),
            Origin::File { file, line } => {
                format!("{}, line {line}", files.get(usize::from(file)).map_or("?", |path| path))
            }
            Origin::Env => format!("environment, {}", setting.env()),
            Origin::Flag => format!("flag, --{}", setting.flag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_wins_over_environment_over_file_over_default() {
        use Origin::{Env, File, Flag};
        let file = File { file: 0, line: 3 };
        for (order, want) in [
            (vec![file], "3s"),
            (vec![Env], "2s"),
            (vec![Flag], "1s"),
            (vec![Flag, Env, file], "1s"),
            (vec![file, Env, Flag], "1s"),
            (vec![Env, file], "2s"),
        ] {
            let mut layer = Layer::default();
            for origin in &order {
                let seconds = match origin {
                    Flag => 1,
                    Env => 2,
                    _ => 3,
                };
                layer.set(Id::IdleTimeout, Value::Duration(Duration::from_secs(seconds)), *origin);
            }
            assert_eq!(layer.get(Id::IdleTimeout).0.show(), want, "{order:?}");
        }
        assert_eq!(Layer::default().get(Id::IdleTimeout).0.show(), "1m15s");
    }

    #[test]
    fn an_error_names_the_flag_or_the_variable() {
        let mut errors = Findings::default();
        let mut layer = Layer::default();
        layer.set_texts(&[(Id::IdleTimeout, "75".into())], Origin::Env, &mut errors);
        layer.set_texts(&[(Id::Workers, "many".into())], Origin::Flag, &mut errors);
        let lines: Vec<String> = errors.into_sorted().iter().map(ConfigError::one_line).collect();
        assert_eq!(
            lines,
            [
                "RINGWAY_IDLE_TIMEOUT: expected a duration from 1ms to 1d such as 1m30s or 500ms; found `75`; \
                 write the unit: `75s` or `75ms`",
                "--workers: expected a whole number from 1 to 1024, or auto; found `many`",
            ]
        );
    }
}
