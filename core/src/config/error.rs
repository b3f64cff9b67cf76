//! What is wrong with a configuration, for people (with the line and a caret) and for programs (JSON).

use std::fmt;
use std::sync::Arc;

use super::reference::Secrets;
use super::tree::Mark;

/// Findings shown before "and N more": a bound on what a hostile file makes us print.
pub(super) const FINDINGS_MAX: usize = 200;

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    pub severity: Severity,
    pub place: Place,
    /// The key's path, such as `listeners[0].limits.header_timeout`; empty for the whole file.
    pub key: String,
    /// What is wrong, where it is not simply that something else was expected.
    pub problem: Option<String>,
    pub expected: Option<String>,
    pub found: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Works, and is probably not what was meant.
    Warning,
    Error,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    File {
        path: Arc<str>,
        /// Its number among the files of the configuration.
        file: u16,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// Characters to underline, at least 1.
        width: usize,
        /// The line itself, shortened.
        text: String,
    },
    /// The file as a whole.
    WholeFile(Arc<str>),
    /// With its dashes.
    Flag(String),
    Env(String),
    /// The process and its surroundings.
    Process,
}

impl ConfigError {
    /// An error with a sentence of its own.
    pub fn new(place: Place, key: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigError {
            severity: Severity::Error,
            place,
            key: key.into(),
            problem: Some(problem.into()),
            expected: None,
            found: None,
            hint: None,
        }
    }

    /// An error of the form "expected …, found …".
    pub fn mismatch(
        place: Place,
        key: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        ConfigError {
            severity: Severity::Error,
            place,
            key: key.into(),
            problem: None,
            expected: Some(expected.into()),
            found: Some(found.into()),
            hint: None,
        }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// With what would have been right.
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// As something that does not prevent a start.
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// What is wrong, in one line without the place.
    pub fn message(&self) -> String {
        match (&self.problem, &self.expected, &self.found) {
            (Some(problem), _, _) => problem.clone(),
            (None, Some(expected), Some(found)) => format!("expected {expected}; found {found}"),
            _ => "not valid".to_owned(),
        }
    }

    /// Everything in one line, for logs.
    pub fn one_line(&self) -> String {
        let mut out = String::new();
        let place = self.place.to_string();
        for part in [place.as_str(), self.key.as_str()] {
            if !part.is_empty() {
                out.push_str(part);
                out.push_str(": ");
            }
        }
        out.push_str(&self.message());
        if let Some(hint) = &self.hint {
            out.push_str("; ");
            out.push_str(hint);
        }
        out
    }

    fn sort_key(&self) -> (usize, u16, usize, usize) {
        match &self.place {
            Place::Process => (0, 0, 0, 0),
            Place::Env(_) => (1, 0, 0, 0),
            Place::Flag(_) => (2, 0, 0, 0),
            Place::WholeFile(_) => (3, 0, 0, 0),
            Place::File { file, line, column, .. } => (4, *file, *line, *column),
        }
    }

    /// Shows references instead of what they stand for.
    pub(super) fn hide(&mut self, secrets: &Secrets) {
        for text in
            [&mut self.problem, &mut self.expected, &mut self.found, &mut self.hint].into_iter().flatten()
        {
            if let std::borrow::Cow::Owned(hidden) = secrets.hide(text) {
                *text = hidden;
            }
        }
    }

    /// For programs: the fields that apply.
    pub fn to_json(&self) -> serde_json::Value {
        let (mut file, mut line, mut column, mut flag, mut env) = (None, None, None, None, None);
        match &self.place {
            Place::File { path, line: at, column: in_line, .. } => {
                (file, line, column) = (Some(path.as_ref()), Some(*at), Some(*in_line));
            }
            Place::WholeFile(path) => file = Some(path.as_ref()),
            Place::Flag(name) => flag = Some(name),
            Place::Env(name) => env = Some(name),
            Place::Process => {}
        }
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        let mut json = serde_json::json!({
            "severity": severity, "file": file, "line": line, "column": column, "flag": flag, "env": env,
            "key": self.key, "message": self.message(),
            "expected": self.expected, "found": self.found, "hint": self.hint,
        });
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        json
    }
}

/// Findings as they come, bounded: what is beyond [`FINDINGS_MAX`] is only counted.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<ConfigError>,
    left_out: usize,
    has_errors: bool,
    /// Values that are wrong already.
    muted: Vec<Mark>,
}

impl Findings {
    pub fn push(&mut self, finding: ConfigError) {
        if let Place::File { file, line, column, .. } = &finding.place
            && self.muted.iter().any(|at| (at.file, at.line, at.column) == (*file, *line, *column))
        {
            return;
        }
        self.has_errors |= finding.severity == Severity::Error;
        if self.list.len() < FINDINGS_MAX {
            self.list.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    /// Nothing more is said of what was written there.
    pub(super) fn mute(&mut self, at: Mark) {
        // Bounded as what is shown is: what is beyond is not shown anyway.
        if self.muted.len() < FINDINGS_MAX {
            self.muted.push(at);
        }
    }

    pub fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// How many there are, counted ones included.
    pub(super) fn count(&self) -> usize {
        self.list.len() + self.left_out
    }

    /// Counts an error without a word about it, once [`Findings::is_full`].
    pub(super) fn count_error(&mut self) {
        self.has_errors = true;
        self.left_out += 1;
    }

    /// Whether another finding would only be counted, so that no work is spent on it.
    pub fn is_full(&self) -> bool {
        self.list.len() >= FINDINGS_MAX
    }

    /// All of them in the order of the file, what comes from elsewhere first.
    pub fn into_sorted(mut self) -> Vec<ConfigError> {
        self.list.sort_by_key(ConfigError::sort_key);
        if self.left_out > 0 {
            let mut more =
                ConfigError::new(Place::Process, "", format!("and {} more findings", self.left_out));
            more.severity = if self.has_errors { Severity::Error } else { Severity::Warning };
            self.list.push(more);
        }
        self.list
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line, column, .. } => write!(f, "{path}:{line}:{column}"),
            Place::WholeFile(path) => f.write_str(path),
            Place::Flag(name) | Place::Env(name) => f.write_str(name),
            Place::Process => Ok(()),
        }
    }
}

impl fmt::Display for ConfigError {
    /// Several lines: what and where, the line with a caret, what was expected, what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.severity == Severity::Error { "error: " } else { "warning: " })?;
        let place = self.place.to_string();
        for part in [place.as_str(), self.key.as_str()] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message())?;
        if let Place::File { line, column, width, text, .. } = &self.place {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let indent: String =
                text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n {number} | {text}\n {margin} | {indent}{}", "^".repeat(*width))?;
        }
        if self.problem.is_some()
            && let Some(expected) = &self.expected
        {
            write!(f, "\n   = expected {expected}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n   = help: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// `did you mean …?` with the nearest of the known names, if one is near.
pub fn did_you_mean<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(found, known).map(|name| format!("did you mean `{name}`?"))
}

/// The known name that is nearest to `found`, if it could be a slip of it.
pub(super) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if found.len() > 64 {
        return None;
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    let found = plain(found);
    let distance_max = (found.len() / 3).clamp(1, 4);
    known
        .map(|name| (distance(&found, &plain(name)), name))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits between two short texts, a swap of neighbours being one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let width = b.len() + 1;
    let mut rows = vec![0; (a.len() + 1) * width];
    let at = |i: usize, j: usize| i * width + j;
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[at(i, j)] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best =
                    (rows[at(i - 1, j)] + 1).min(rows[at(i, j - 1)] + 1).min(rows[at(i - 1, j - 1)] + same);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[at(i - 2, j - 2)] + 1);
                }
                best
            };
        }
    }
    rows[at(a.len(), b.len())]
}

/// A text as it is quoted in a message: shortened, control characters escaped.
pub(super) fn quote(text: &str) -> String {
    if text.is_empty() {
        return "an empty text".to_owned();
    }
    let mut out = String::from("`");
    for c in text.chars().take(60) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out.push('`');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["name", "bind", "limits", "header_timeout", "idle_timeout"];
        for (found, want) in [
            ("bnd", Some("bind")),
            ("lmiits", Some("limits")),
            ("header-timeout", Some("header_timeout")),
            ("headerTimeout", Some("header_timeout")),
            ("timeout", None),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(found, known.into_iter()), want, "{found:?}");
        }
    }

    #[test]
    fn quotes_without_control_characters() {
        assert_eq!(quote("a\nb\u{1b}[31m"), "`a\\nb\\u{1b}[31m`");
        assert_eq!(quote(&"x".repeat(100)), format!("`{}…`", "x".repeat(60)));
    }
}
