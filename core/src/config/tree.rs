//! YAML text → a tree of nodes that know where they were written.
//!
//! What YAML offers and a configuration does not need is refused here: several documents, tags, keys that are not
//! scalars, repeated keys. Aliases share their node; how much they would expand to is bounded, so that
//! a small file cannot ask for unbounded work ("billion laughs").
//!
//! References (`${NAME}`, `${file:PATH}`) in values are resolved here; a node remembers how it was written, and that is
//! what is shown.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use super::error::{ConfigError, Findings, Place, quote};
use super::reference::References;

/// Size of a file.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;
/// Nodes of a file with every alias written out.
pub(super) const NODES_MAX: u64 = 1_000_000;
/// Lists and mappings within each other.
pub(super) const DEPTH_MAX: usize = 32;

/// A node of the file.
#[derive(Debug)]
pub(super) struct Node {
    pub at: Mark,
    pub content: Content,
    /// A scalar as it was written, where that has references in it: what is shown of it.
    pub written: Option<Box<str>>,
    /// Nodes in it with every alias written out, itself included.
    weight: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(String),
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Mark,
    pub value: Rc<Node>,
}

/// Where something was written; line and column from 1, columns and width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Number of the file: 0 for the one that includes the others.
    pub file: u16,
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

/// A file's text with its name, and those of the files that it includes: makes places for messages.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub path: Arc<str>,
    files: Vec<FileText>,
}

#[derive(Debug)]
struct FileText {
    path: Arc<str>,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Node {
    /// A node that nobody wrote.
    pub(super) fn nothing(at: Mark) -> Rc<Node> {
        Rc::new(Node::of(at, Content::Null))
    }

    /// What a person calls this.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Scalar(text) => quote(self.written.as_deref().unwrap_or(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }

    /// As it was written, for dumps: references are not resolved, and secrets are not shown.
    pub(super) fn as_written(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.content {
            Content::Null => Json::Null,
            Content::Scalar(text) => self.written.as_deref().unwrap_or(text).into(),
            Content::List(items) => items.iter().map(|item| item.as_written()).collect(),
            Content::Map(entries) => {
                let show = |entry: &Entry| {
                    let secret = SECRET_KEYS.contains(&entry.key.as_str()) && entry.value.written.is_none();
                    let value = if secret { "***".into() } else { entry.value.as_written() };
                    (entry.key.clone(), value)
                };
                Json::Object(entries.iter().map(show).collect())
            }
        }
    }

    /// A node that was put together from others.
    pub(super) fn of(at: Mark, content: Content) -> Node {
        let weight = match &content {
            Content::Null | Content::Scalar(_) => 0,
            Content::List(items) => items.iter().map(|item| item.weight).sum(),
            Content::Map(entries) => entries.iter().map(|entry| entry.value.weight).sum(),
        };
        Node { at, content, written: None, weight: weight.saturating_add(1) }
    }
}

impl SourceFile {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let mut file = SourceFile { path: path.into(), files: Vec::new() };
        file.add(path, text);
        file
    }

    /// Adds a file that is included; returns its number.
    pub(super) fn add(&mut self, path: &str, text: &str) -> u16 {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        self.files.push(FileText { path: path.into(), text: text.to_owned(), lines });
        u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX)
    }

    /// The names of all files, by their numbers.
    pub(super) fn paths(&self) -> Vec<Arc<str>> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }

    pub(super) fn place(&self, at: Mark) -> Place {
        let text = self.files.get(usize::from(at.file)).map(|file| file.line(at.line)).unwrap_or_default();
        let length = text.chars().count();
        let column = at.column.clamp(1, length + 1);
        let width = at.width.clamp(1, (length + 1 - column).max(1));
        let path = self.path_of(at.file);
        Place::File { path, file: at.file, line: at.line, column, width, text: show_tabs_only(&text) }
    }

    pub(super) fn whole(&self) -> Place {
        Place::WholeFile(self.path.clone())
    }

    pub(super) fn path_of(&self, file: u16) -> Arc<str> {
        self.files.get(usize::from(file)).map_or(&self.path, |file| &file.path).clone()
    }
}

impl FileText {
    /// A line, counted from 1. It is for reading in a message: the rest of a huge one is left out.
    fn line(&self, number: usize) -> String {
        let Some(index) = number.checked_sub(1) else { return String::new() };
        let Some(start) = self.lines.get(index) else { return String::new() };
        let end = self.lines.get(number).copied().unwrap_or(self.text.len());
        let line = self.text.get(*start..end).unwrap_or_default();
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        mask_secrets(line).chars().take(160).collect()
    }
}

/// Keys whose values are secrets, even where they are written in the file itself.
pub(super) const SECRET_KEYS: &[&str] = &["token", "password", "secret"];

/// A secret must not reach a log through a message: what follows such a key is starred, column by column.
fn mask_secrets(line: &str) -> std::borrow::Cow<'_, str> {
    let after = |key: &&str| {
        let mut found = line.match_indices(*key).map(|(at, key)| at + key.len());
        found.find_map(|end| {
            let rest = line.get(end..)?.trim_start_matches(['"', '\'']).trim_start();
            rest.starts_with(':').then(|| line.len() - rest.len() + 1)
        })
    };
    let Some(from) = SECRET_KEYS.iter().filter_map(after).min() else { return line.into() };
    let (before, secret) = line.split_at(from);
    let starred = secret.chars().map(|c| if c == ' ' { ' ' } else { '*' });
    format!("{before}{}", starred.collect::<String>()).into()
}

/// Control characters must not reach a terminal through a message.
fn show_tabs_only(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Decodes a file: UTF-8, with or without a byte order mark.
pub(super) fn decode(path: &str, bytes: Vec<u8>) -> Result<String, ConfigError> {
    let whole = || Place::WholeFile(path.into());
    if bytes.len() > FILE_BYTES_MAX {
        let limit = super::units::format_size(FILE_BYTES_MAX as u64);
        return Err(ConfigError::mismatch(whole(), "", format!("a file of at most {limit}"), "a larger one"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(ConfigError::mismatch(whole(), "", "UTF-8 text", "UTF-16 text"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
        let (line, column) =
            (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or("").chars().count() + 1);
        let found = format!("the byte 0x{:02x}", bytes.get(valid).copied().unwrap_or_default());
        let file = SourceFile::new(path, &String::from_utf8_lossy(bytes));
        ConfigError::mismatch(
            file.place(Mark { line, column, width: 1, ..Mark::default() }),
            "",
            "UTF-8 text",
            found,
        )
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// How one of several files is read.
pub(super) struct Reading<'a, 'r> {
    pub file: &'a SourceFile,
    pub number: u16,
    /// What references stand for; without it they are plain text.
    pub references: Option<&'a mut References<'r>>,
    /// Nodes of all files so far.
    pub nodes: &'a mut u64,
}

/// Reads a text into a tree. Findings that leave a usable tree are pushed to `errors`; `None` means that there is none,
/// `Some(None)` that there is nothing in the file.
pub(super) fn read_file(
    reading: Reading<'_, '_>,
    text: &str,
    errors: &mut Findings,
) -> Option<Option<Rc<Node>>> {
    let Reading { file, number, references, nodes } = reading;
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.block_nesting_limit = DEPTH_MAX * 2;
    options.flow_nesting_limit = DEPTH_MAX * 2;
    let mut builder = Builder {
        file,
        number,
        references,
        errors,
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        nodes,
    };
    let mut documents = 0;
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Err(error) => {
                let mark = error.marker();
                let at = Mark { file: number, line: mark.line(), column: mark.col() + 1, width: 1 };
                let problem = format!("not valid YAML: {}", error.info());
                builder.errors.push(ConfigError::new(file.place(at), "", problem));
                return None;
            }
            Ok((Event::DocumentStart(..), span)) => {
                documents += 1;
                if documents > 1 {
                    let place = file.place(mark_of(&span, number));
                    builder.errors.push(ConfigError::mismatch(
                        place,
                        "",
                        "one document",
                        "another one (`---`)",
                    ));
                    return None;
                }
                Ok(())
            }
            Ok((event, span)) => builder.event(event, span),
        };
        if let Err(error) = step {
            builder.errors.push(*error);
            return None;
        }
    }
    Some(builder.root.filter(|root| !matches!(root.content, Content::Null)))
}

/// Builds the tree from events; `open` is the path from the root to the node being read.
struct Builder<'a, 'r> {
    file: &'a SourceFile,
    number: u16,
    references: Option<&'a mut References<'r>>,
    errors: &'a mut Findings,
    open: Vec<Open>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: &'a mut u64,
}

struct Open {
    at: Mark,
    anchor: usize,
    weight: u64,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, seen: HashMap<String, Mark>, key: Option<(Option<String>, Mark)> },
}

type Step = Result<(), Box<ConfigError>>;

impl Builder<'_, '_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        let at = mark_of(&span, self.number);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                if null {
                    return self
                        .finish(Node { at, content: Content::Null, written: None, weight: 1 }, anchor);
                }
                let (text, written) = self.resolve(text.into_owned(), at);
                self.finish(Node { at, content: Content::Scalar(text), written, weight: 1 }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                self.enter(at, anchor, OpenContent::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                self.enter(
                    at,
                    anchor,
                    OpenContent::Map { entries: Vec::new(), seen: HashMap::new(), key: None },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                None => Ok(()),
                Some(open) => {
                    let content = match open.content {
                        OpenContent::List(items) => Content::List(items),
                        OpenContent::Map { entries, .. } => Content::Map(entries),
                    };
                    let node = Node { at: open.at, content, written: None, weight: open.weight };
                    self.finish(node, open.anchor)
                }
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.place(node, at),
                // The parser refuses unknown names, so this is an alias within its own node.
                None => {
                    Err(Box::new(ConfigError::new(self.file.place(at), "", "this alias contains itself")))
                }
            },
            _ => Ok(()),
        }
    }

    /// The references of a value, not of a key. What cannot be resolved is an error and stays as it was written.
    fn resolve(&mut self, text: String, at: Mark) -> (String, Option<Box<str>>) {
        let is_key =
            matches!(self.open.last(), Some(Open { content: OpenContent::Map { key: None, .. }, .. }));
        let Some(references) = self.references.as_mut().filter(|_| !is_key && text.contains("${")) else {
            return (text, None);
        };
        match references.resolve(&text) {
            Ok(resolved) => (resolved, Some(text.into())),
            Err(unresolved) => {
                let error = ConfigError::new(self.file.place(at), self.path(), unresolved.problem);
                self.errors.push(error.hint(unresolved.hint));
                // Whatever else is said of this value is said of what it is not.
                self.errors.mute(at);
                (text, None)
            }
        }
    }

    /// The path of the value that comes next.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.content {
                OpenContent::List(items) => path.push_str(&format!("[{}]", items.len())),
                OpenContent::Map { key, .. } => {
                    let name = key.as_ref().and_then(|(name, _)| name.as_deref()).unwrap_or("?");
                    path = super::file::join(&path, name);
                }
            }
        }
        path
    }

    fn refuse_tag(&self, has_tag: bool, at: Mark) -> Step {
        if !has_tag {
            return Ok(());
        }
        Err(Box::new(ConfigError::new(self.file.place(at), "", "YAML tags (`!…`) are not used here")))
    }

    fn enter(&mut self, at: Mark, anchor: usize, content: OpenContent) -> Step {
        if self.open.len() >= DEPTH_MAX {
            let found = format!("more than {DEPTH_MAX} levels of lists and mappings");
            return Err(Box::new(ConfigError::new(self.file.place(at), "", found)));
        }
        self.open.push(Open { at, anchor, weight: 1, content });
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Step {
        let at = node.at;
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node, at)
    }

    /// Puts a node, or an alias of it, where the file has it.
    fn place(&mut self, node: Rc<Node>, at: Mark) -> Step {
        // Lists and mappings weigh what they contain, which was counted when it was placed; an alias counts again.
        *self.nodes = self.nodes.saturating_add(if node.at == at { 1 } else { node.weight });
        if *self.nodes > NODES_MAX {
            let found = format!("more than {NODES_MAX} nodes once aliases are written out");
            return Err(Box::new(ConfigError::new(self.file.place(at), "", found)));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.weight = open.weight.saturating_add(node.weight);
        match &mut open.content {
            OpenContent::List(items) => items.push(node),
            OpenContent::Map { entries, seen, key } => match key.take() {
                None => {
                    let name = match &node.content {
                        Content::Scalar(name) => Some(name.clone()),
                        _ => {
                            let place = self.file.place(at);
                            self.errors.push(ConfigError::mismatch(
                                place,
                                "",
                                "a name as the key",
                                node.describe(),
                            ));
                            None
                        }
                    };
                    *key = Some((name, at));
                }
                Some((None, _)) => {}
                Some((Some(name), key_at)) => match seen.get(&name) {
                    Some(first) => {
                        let problem =
                            format!("the key {} is here twice, first in line {}", quote(&name), first.line);
                        self.errors.push(ConfigError::new(self.file.place(key_at), "", problem));
                    }
                    None => {
                        seen.insert(name.clone(), key_at);
                        entries.push(Entry { key: name, key_at, value: node });
                    }
                },
            },
        }
        Ok(())
    }
}

fn mark_of(span: &Span, file: u16) -> Mark {
    let (start, end) = (span.start, span.end);
    let width = if end.line() == start.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
    Mark { file, line: start.line(), column: start.col() + 1, width: width.max(1) }
}
