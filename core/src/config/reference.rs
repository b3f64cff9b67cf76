//! References in values: `${NAME}`, `${NAME:-default}` and `${file:PATH}`.
//!
//! **Invariant:** what a reference stands for is taken for a secret. It is in the configuration and nowhere else: messages,
//! logs and dumps show the reference as it was written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use super::error::quote;
use super::inputs::Inputs;

/// Size of a file that a reference names.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// A shorter value is hidden only where it is all of a text: as a part, it would be found in texts that have
/// nothing to do with it.
const PART_BYTES_MIN: usize = 4;
/// As much of a text as a message quotes.
const QUOTED_CHARS: usize = 60;

/// Where variables come from.
#[derive(Debug, Clone, Default)]
pub enum Variables {
    /// The environment of this process.
    #[default]
    Process,
    /// These and no others.
    Given(HashMap<String, String>),
}

/// Resolves references, and notes what must not be shown and which files were read.
pub(super) struct References<'a> {
    pub variables: &'a Variables,
    /// Relative paths begin here.
    pub directory: &'a Path,
    pub secrets: &'a mut Secrets,
    pub inputs: &'a mut Inputs,
}

/// Why a reference cannot be resolved.
#[derive(Debug, PartialEq)]
pub(super) struct Unresolved {
    pub problem: String,
    pub hint: Option<String>,
}

impl References<'_> {
    /// A text with its references replaced by what they stand for. `$${` is `${` itself.
    pub(super) fn resolve(&mut self, text: &str) -> Result<String, Unresolved> {
        let (mut out, mut rest, mut any) = (String::new(), text, false);
        while let Some(at) = rest.find("${") {
            let (before, reference) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = reference.strip_prefix("${").unwrap_or_default();
                continue;
            }
            out.push_str(before);
            let end = reference.find('}').ok_or_else(|| malformed(reference))?;
            let (reference, after) = reference.split_at(end + 1);
            let value = self.value(reference)?;
            self.secrets.add(&value, reference);
            out.push_str(&value);
            (rest, any) = (after, true);
        }
        out.push_str(rest);
        if any {
            self.secrets.add(&out, text);
        }
        Ok(out)
    }

    /// What one reference, with its braces, stands for.
    fn value(&mut self, reference: &str) -> Result<String, Unresolved> {
        let inner =
            reference.strip_prefix("${").and_then(|inner| inner.strip_suffix('}')).unwrap_or_default();
        if let Some(path) = inner.strip_prefix("file:") {
            return self.file(path).map_err(|problem| Unresolved { problem, hint: None });
        }
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let valid = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(valid) {
            return Err(malformed(reference));
        }
        // As for the variables of settings, one that is set to nothing counts as not set.
        match (self.variables.get(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => one_line(value, &format!("the variable `{name}`"))
                .map_err(|problem| Unresolved { problem, hint: None }),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Unresolved {
                problem: format!("the variable `{name}` is not set"),
                hint: Some(format!("set it, or write `${{{name}:-default}}`")),
            }),
        }
    }

    /// The text of a file, without the end of its line.
    fn file(&mut self, path: &str) -> Result<String, String> {
        let path = self.directory.join(path);
        let shown = path.display();
        self.inputs.add(&path);
        let cannot = |error: &dyn fmt::Display| format!("the file {shown} cannot be read: {error}");
        // Reading a pipe would wait for its writer.
        let facts = std::fs::metadata(&path).map_err(|error| cannot(&error))?;
        if !facts.is_file() {
            return Err(cannot(&"it is not a regular file"));
        }
        let file = std::fs::File::open(&path).map_err(|error| cannot(&error))?;
        let mut text = String::new();
        file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| cannot(&error))?;
        if text.len() as u64 > SECRET_BYTES_MAX {
            return Err(cannot(&format!("it has more than {} KiB", SECRET_BYTES_MAX >> 10)));
        }
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(format!("the file {shown} is empty"));
        }
        one_line(text.to_owned(), &format!("the file {shown}"))
    }
}

fn one_line(value: String, what: &str) -> Result<String, String> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("{what} has more than one line, or control characters"));
    }
    Ok(value)
}

fn malformed(reference: &str) -> Unresolved {
    Unresolved {
        problem: format!(
            "expected a reference as ${{NAME}}, ${{NAME:-default}} or ${{file:PATH}}; found {}",
            quote(reference)
        ),
        hint: Some("write `$${` for `${` itself".to_owned()),
    }
}

impl Variables {
    fn get(&self, name: &str) -> Option<String> {
        match self {
            // A variable that is not UTF-8 could not be a value of the file either.
            Variables::Process => std::env::var(name).ok(),
            Variables::Given(values) => values.get(name).cloned(),
        }
    }
}

/// What references stood for, each with the reference that is shown instead.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The longest value first, so that a part of it does not give the rest away.
    values: Vec<(String, String)>,
}

impl Secrets {
    fn add(&mut self, value: &str, shown: &str) {
        let mut put = |value: &str| {
            if value.is_empty() || self.values.iter().any(|(known, _)| known == value) {
                return;
            }
            let at = self.values.partition_point(|(known, _)| known.len() >= value.len());
            self.values.insert(at, (value.to_owned(), shown.to_owned()));
        };
        put(value);
        // Messages quote the beginning of a long text.
        if let Some((end, _)) = value.char_indices().nth(QUOTED_CHARS) {
            put(value.get(..end).unwrap_or_default());
        }
    }

    /// The text with references in the place of what they stand for.
    pub fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut hidden = Cow::Borrowed(text);
        for (value, shown) in &self.values {
            let quoted = || quote(value);
            if hidden == value.as_str() {
                return Cow::Owned(shown.clone());
            }
            if value.len() >= PART_BYTES_MIN {
                if hidden.contains(value.as_str()) {
                    hidden = Cow::Owned(hidden.replace(value.as_str(), shown));
                }
            } else if hidden.contains(&quoted()) {
                hidden = Cow::Owned(hidden.replace(&quoted(), &quote(shown)));
            }
        }
        hidden
    }

    /// The same for all texts of a JSON value, keys of mappings included.
    pub fn hide_json(&self, json: &mut serde_json::Value) {
        use serde_json::Value as Json;
        if self.values.is_empty() {
            return;
        }
        match json {
            Json::String(text) => {
                if let Cow::Owned(hidden) = self.hide(text) {
                    *text = hidden;
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.hide_json(item)),
            Json::Object(entries) => {
                let old = std::mem::take(entries);
                for (key, mut value) in old {
                    self.hide_json(&mut value);
                    entries.insert(self.hide(&key).into_owned(), value);
                }
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> (Result<String, Unresolved>, Secrets) {
        let given = [("TOKEN", "hunter2-hunter2"), ("PIN", "123"), ("EMPTY", ""), ("LINES", "a\nb")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (mut secrets, mut inputs) = (Secrets::default(), Inputs::default());
        let mut references = References {
            variables: &Variables::Given(HashMap::from(given)),
            directory: Path::new("/nowhere"),
            secrets: &mut secrets,
            inputs: &mut inputs,
        };
        let resolved = references.resolve(text);
        (resolved, secrets)
    }

    #[test]
    fn references_are_replaced_and_everything_else_is_left() {
        for (text, want) in [
            ("${TOKEN}", Ok("hunter2-hunter2")),
            ("Bearer ${TOKEN}!", Ok("Bearer hunter2-hunter2!")),
            ("${PIN}${PIN}", Ok("123123")),
            ("${EMPTY:-none}", Ok("none")),
            ("${UNSET:-}", Ok("")),
            ("${UNSET:-a:-b}", Ok("a:-b")),
            ("$${TOKEN}", Ok("${TOKEN}")),
            ("$$${PIN}", Ok("$${PIN}")),
            ("$PIN and $", Ok("$PIN and $")),
            ("${UNSET}", Err("the variable `UNSET` is not set")),
            ("${EMPTY}", Err("the variable `EMPTY` is not set")),
            ("${LINES}", Err("the variable `LINES` has more than one line, or control characters")),
            ("${file:secret}", Err("the file /nowhere/secret cannot be read")),
            ("${1}", Err("expected a reference")),
            ("${A B}", Err("expected a reference")),
            ("${}", Err("expected a reference")),
            ("${TOKEN", Err("expected a reference")),
        ] {
            let found = resolve(text).0;
            match want {
                Ok(want) => assert_eq!(found.as_deref(), Ok(want), "{text}"),
                Err(want) => {
                    let problem = found.expect_err(text).problem;
                    assert!(problem.starts_with(want), "{text}: {problem}");
                }
            }
        }
    }

    #[test]
    fn what_a_reference_stands_for_is_not_shown() {
        let secrets = resolve("Bearer ${TOKEN}").1;
        for (text, want) in [
            ("found `hunter2-hunter2`", "found `${TOKEN}`"),
            ("found `Bearer hunter2-hunter2`", "found `Bearer ${TOKEN}`"),
            ("authorization: Bearer hunter2-hunter2\r\n", "authorization: Bearer ${TOKEN}\r\n"),
            ("hunter2", "hunter2"),
        ] {
            assert_eq!(secrets.hide(text), want);
        }
        let short = resolve("${PIN}").1;
        assert_eq!(short.hide("123"), "${PIN}");
        assert_eq!(short.hide("expected 1 to 1234; found `123`"), "expected 1 to 1234; found `${PIN}`");
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    }

    #[test]
    fn the_beginning_of_a_long_secret_is_not_shown() {
        let (mut secrets, long) = (Secrets::default(), "s".repeat(100));
        secrets.add(&long, "${LONG}");
        assert_eq!(secrets.hide(&quote(&long)), "`${LONG}…`");
    }
}
