//! Another path for a request: in full, by its prefix, or by a regular expression. What the policies `rewrite` and
//! `redirect` share.
//!
//! **Invariant:** what comes out is in normal form ([`crate::path`]), whatever the client put into variables and captures.

use regex::bytes::{Captures, Regex, RegexBuilder};

use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::path::{self, EncodedSlash, PathRules, PathVerdict, RepeatedSlashes};
use crate::template::{Facts, Place, Template};

pub const PATH: Field = Field {
    name: "path",
    kind: Kind::Text,
    need: Need::Optional,
    help: "The whole new path, without the query. It may have variables such as `{capture.id}`.",
};
pub const STRIP_PREFIX: Field = Field {
    name: "strip_prefix",
    kind: Kind::Text,
    need: Need::Optional,
    help: "These segments at the start of the path are taken away.",
};
pub const PREFIX: Field = Field {
    name: "prefix",
    kind: Kind::Group(&[
        Field {
            name: "from",
            kind: Kind::Text,
            need: Need::Required,
            help: "Whole segments at the start of the path.",
        },
        Field {
            name: "to",
            kind: Kind::Text,
            need: Need::Required,
            help: "What stands there instead; `/`: nothing.",
        },
    ]),
    need: Need::Optional,
    help: "Another start of the path. Paths that do not start so stay as they are.",
};
pub const REGEX: Field = Field {
    name: "regex",
    kind: Kind::Group(&[
        Field {
            name: "pattern",
            kind: Kind::Regex,
            need: Need::Required,
            help: "What is looked for in the path.",
        },
        Field {
            name: "with",
            kind: Kind::Text,
            need: Need::Required,
            help: "What each match becomes: `{1}` and `{name}` are its groups, `{0}` is all of it.",
        },
    ]),
    need: Need::Optional,
    help: "Every match of a regular expression is replaced. Its time is linear in the length of the path.",
};

/// Bytes of a compiled expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// How a path is changed.
#[derive(Debug)]
pub enum PathChange {
    Full(Template),
    /// Both without a slash at the end.
    Prefix {
        from: Box<[u8]>,
        to: Box<[u8]>,
    },
    Regex {
        pattern: Regex,
        with: Vec<Piece>,
    },
}

impl PartialEq for PathChange {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (PathChange::Full(a), PathChange::Full(b)) => a == b,
            (PathChange::Prefix { from, to }, PathChange::Prefix { from: a, to: b }) => from == a && to == b,
            (PathChange::Regex { pattern, with }, PathChange::Regex { pattern: a, with: b }) => {
                pattern.as_str() == a.as_str() && with == b
            }
            _ => false,
        }
    }
}

/// Part of what a match becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(Box<[u8]>),
    Group(usize),
}

/// Why there is no new path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeError {
    /// It would be longer than the policy allows.
    TooLong,
    /// It would mean different things to different readers.
    Ambiguous(path::PathError),
}

impl std::fmt::Display for ChangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ChangeError::TooLong => f.write_str("the rewritten path is too long"),
            ChangeError::Ambiguous(error) => write!(f, "the rewritten path is not one: {error}"),
        }
    }
}

impl PathChange {
    /// Reads the fields of this file, at most one of which may be there.
    pub fn build(values: &Values, problems: &mut Vec<Problem>) -> Option<PathChange> {
        let ways = ["path", "strip_prefix", "prefix", "regex"];
        let given: Vec<&str> = ways.into_iter().filter(|name| values.get(name).is_some()).collect();
        let name = *given.first()?;
        if let Some(second) = given.get(1) {
            problems.push(
                Problem::new(second, "one way to change the path", format!("`{name}` and `{second}`"))
                    .hint("write two policies: they run one after the other"),
            );
            return None;
        }
        let change = match name {
            "path" => full(values.text("path")),
            "strip_prefix" => prefix(("strip_prefix", values.text("strip_prefix")), ("strip_prefix", "/")),
            "prefix" => {
                let group = values.group("prefix")?;
                prefix(("prefix.from", group.text("from")), ("prefix.to", group.text("to")))
            }
            _ => {
                let group = values.group("regex")?;
                regex(group.text("pattern"), group.text("with"))
            }
        };
        change.map_err(|problem| problems.push(problem)).ok()
    }

    /// The new form of `from`, of at most so many bytes; `None` where it stays as it is.
    ///
    /// # Errors
    /// What comes out is too long, or no path.
    pub fn apply(
        &self,
        from: &[u8],
        facts: &Facts<'_>,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, ChangeError> {
        let mut changed = Vec::with_capacity(from.len() + 32);
        match self {
            PathChange::Full(template) => template.render(facts, Place::Path, &mut changed),
            PathChange::Prefix { from: prefix, to } => {
                let Some(rest) = after_prefix(from, prefix) else { return Ok(None) };
                changed.extend_from_slice(to);
                changed.extend_from_slice(rest);
                if changed.is_empty() {
                    changed.push(b'/');
                }
            }
            PathChange::Regex { pattern, with } => {
                let mut copied = 0;
                for captures in pattern.captures_iter(from) {
                    let Some(whole) = captures.get(0) else { break };
                    changed.extend_from_slice(from.get(copied..whole.start()).unwrap_or_default());
                    push_pieces(with, &captures, &mut changed);
                    copied = whole.end();
                    if changed.len() > bytes_max {
                        return Err(ChangeError::TooLong);
                    }
                }
                changed.extend_from_slice(from.get(copied..).unwrap_or_default());
            }
        }
        if changed == from {
            return Ok(None);
        }
        if changed.len() > bytes_max {
            return Err(ChangeError::TooLong);
        }
        // Nobody wrote these on purpose: a variable or a group did, and would leave the place that was meant for it.
        if changed.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b"..")) {
            return Err(ChangeError::Ambiguous(path::PathError::HiddenDotSegment));
        }
        // What was let through with encoded or repeated slashes keeps them.
        let repeated = from.windows(2).any(|pair| pair == b"//");
        let repeated_slashes = if repeated { RepeatedSlashes::Keep } else { RepeatedSlashes::Merge };
        let encoded_slash = EncodedSlash::Keep;
        let rules = PathRules { encoded_slash, repeated_slashes, ..PathRules::default() };
        let mut normal = Vec::new();
        match path::check_or_normalise(&changed, rules, &mut normal) {
            Ok(_) if !changed.starts_with(b"/") => Err(ChangeError::Ambiguous(path::PathError::NotAbsolute)),
            Ok(PathVerdict::Unchanged) => Ok(Some(changed)),
            Ok(PathVerdict::Normalised) => Ok(Some(normal)),
            Err(error) => Err(ChangeError::Ambiguous(error)),
        }
    }
}

fn push_pieces(pieces: &[Piece], captures: &Captures<'_>, out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Group(index) => {
                out.extend_from_slice(captures.get(*index).map(|group| group.as_bytes()).unwrap_or_default());
            }
        }
    }
}

/// What follows the prefix, from its slash on; `None` where the path does not start with these segments. Segments are
/// compared as routes do it: without parameters, and `%2F` and `//` are a slash.
fn after_prefix<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let mut wanted = prefix.iter();
    let mut in_parameters = false;
    let mut before = 0;
    let mut rest = path;
    loop {
        let (byte, width) = match rest {
            [] => return wanted.next().is_none().then_some(rest),
            [b'%', b'2', b'F' | b'f', ..] => (b'/', 3),
            [b'%', b'3', b'B' | b'b', ..] => (b';', 3),
            [b'/', after @ ..] if before == b'/' => {
                rest = after;
                continue;
            }
            [byte, ..] => (*byte, 1),
        };
        before = byte;
        match byte {
            b'/' if wanted.as_slice().is_empty() => return Some(rest),
            b'/' => in_parameters = false,
            b';' => in_parameters = true,
            _ => {}
        }
        if !in_parameters && wanted.next() != Some(&byte) {
            return None;
        }
        rest = rest.get(width..).unwrap_or_default();
    }
}

fn full(text: &str) -> Result<PathChange, Problem> {
    if !text.starts_with('/') && !text.starts_with("{path}") {
        return Err(Problem::new("path", "a path such as /v2/{capture.id}", format!("`{text}`")));
    }
    check_path_text("path", text)?;
    Template::parse("path", text).map(PathChange::Full)
}

fn prefix(from: (&'static str, &str), to: (&'static str, &str)) -> Result<PathChange, Problem> {
    for (field, text) in [from, to] {
        let verdict = path::check_or_normalise(text.as_bytes(), PathRules::default(), &mut Vec::new());
        if !text.starts_with('/') || verdict != Ok(PathVerdict::Unchanged) || text.contains(';') {
            return Err(Problem::new(field, "a path such as /api, in normal form", format!("`{text}`")));
        }
    }
    let trimmed = |text: &str| text.strip_suffix('/').unwrap_or(text).as_bytes().into();
    Ok(PathChange::Prefix { from: trimmed(from.1), to: trimmed(to.1) })
}

fn regex(pattern: &str, with: &str) -> Result<PathChange, Problem> {
    let pattern = RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| {
            // The last line says what is wrong; the ones before it draw the place.
            let text = error.to_string();
            let said = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Problem::new("regex.pattern", "a regular expression", format!("`{pattern}`")).hint(said)
        })?;
    check_path_text("regex.with", with)?;
    let with = pieces(&pattern, with)?;
    Ok(PathChange::Regex { pattern, with })
}

fn check_path_text(field: &str, text: &str) -> Result<(), Problem> {
    if let Some(other) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '\\')) {
        let problem = Problem::new(field, "a path", format!("`{text}` with {other:?} in it"));
        return Err(if other == '?' { problem.hint("the query is changed by `query`") } else { problem });
    }
    Ok(())
}

/// Reads `{1}` and `{name}`; `{{` and `}}` are the braces themselves.
fn pieces(pattern: &Regex, text: &str) -> Result<Vec<Piece>, Problem> {
    let mut pieces = Vec::new();
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        plain.extend_from_slice(before.as_bytes());
        if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
            plain.extend(brace.bytes().next());
            rest = after;
            continue;
        }
        let (name, after) =
            brace.strip_prefix('{').and_then(|inner| inner.split_once('}')).ok_or_else(|| {
                Problem::new(
                    "regex.with",
                    "a path whose groups are written `{1}` or `{name}`",
                    format!("`{text}`"),
                )
                .hint("a brace of the path itself is doubled: `{{` and `}}`")
            })?;
        let by_number = name.parse::<usize>().ok().filter(|index| *index < pattern.captures_len());
        let by_name = || pattern.capture_names().position(|known| known == Some(name));
        let index = by_number.or_else(by_name).ok_or_else(|| {
            let expected = format!("groups of the pattern, which has {}", pattern.captures_len() - 1);
            Problem::new("regex.with", expected, format!("`{{{name}}}`"))
        })?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
        }
        pieces.push(Piece::Group(index));
        rest = after;
    }
    plain.extend_from_slice(rest.as_bytes());
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests;
