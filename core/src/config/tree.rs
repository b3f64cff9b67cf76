//! YAML text → a tree of nodes that know where they were written.
//!
//! What YAML offers and a configuration does not need is refused here: several documents, tags, keys that are not
//! scalars, repeated keys. Aliases share their node; how much they would expand to is bounded, so that
//! a small file cannot ask for unbounded work ("billion laughs").

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use super::error::{ConfigError, Findings, Place, quote};

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
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

/// A file's text with its name: makes places for messages.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    pub path: Arc<str>,
    lines: Arc<[String]>,
}

impl Node {
    /// A node that nobody wrote.
    pub(super) fn nothing(at: Mark) -> Rc<Node> {
        Rc::new(Node { at, content: Content::Null, weight: 1 })
    }

    /// What a person calls this.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Scalar(text) => quote(text),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }
}

impl SourceFile {
    pub(super) fn new(path: &str, text: &str) -> Self {
        // A line in a message is for reading; the rest of a huge one is not kept.
        let lines = text.lines().map(|line| mask_token(line).chars().take(160).collect()).collect();
        SourceFile { path: path.into(), lines }
    }

    pub(super) fn place(&self, at: Mark) -> Place {
        let text =
            at.line.checked_sub(1).and_then(|index| self.lines.get(index)).cloned().unwrap_or_default();
        let length = text.chars().count();
        let column = at.column.clamp(1, length + 1);
        let width = at.width.clamp(1, (length + 1 - column).max(1));
        Place::File { path: self.path.clone(), line: at.line, column, width, text: show_tabs_only(&text) }
    }

    pub(super) fn whole(&self) -> Place {
        Place::WholeFile(self.path.clone())
    }
}

/// A secret must not reach a log through a message: what follows `token:` is starred, column by column.
fn mask_token(line: &str) -> std::borrow::Cow<'_, str> {
    const KEY: &str = "token:";
    let Some((before, secret)) = line.split_once(KEY) else { return line.into() };
    let starred = secret.chars().map(|c| if c == ' ' { ' ' } else { '*' });
    format!("{before}{KEY}{}", starred.collect::<String>()).into()
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
        ConfigError::mismatch(file.place(Mark { line, column, width: 1 }), "", "UTF-8 text", found)
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads a text into a tree. Findings that leave a usable tree are pushed to `errors`; `None` means that there is none.
pub(super) fn read(file: &SourceFile, text: &str, errors: &mut Findings) -> Option<Rc<Node>> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.block_nesting_limit = DEPTH_MAX * 2;
    options.flow_nesting_limit = DEPTH_MAX * 2;
    let mut builder =
        Builder { file, errors, open: Vec::new(), root: None, anchors: HashMap::new(), nodes: 0 };
    let mut documents = 0;
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Err(error) => {
                let mark = error.marker();
                let at = Mark { line: mark.line(), column: mark.col() + 1, width: 1 };
                let problem = format!("not valid YAML: {}", error.info());
                builder.errors.push(ConfigError::new(file.place(at), "", problem));
                return None;
            }
            Ok((Event::DocumentStart(..), span)) => {
                documents += 1;
                if documents > 1 {
                    let place = file.place(mark_of(&span));
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
    match builder.root {
        Some(root) if !matches!(root.content, Content::Null) => Some(root),
        _ => {
            let error =
                ConfigError::mismatch(file.whole(), "", "listeners, clusters and routes", "an empty file");
            errors.push(error);
            None
        }
    }
}

/// Builds the tree from events; `open` is the path from the root to the node being read.
struct Builder<'a> {
    file: &'a SourceFile,
    errors: &'a mut Findings,
    open: Vec<Open>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: u64,
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

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        let at = mark_of(&span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let content = if null { Content::Null } else { Content::Scalar(text.into_owned()) };
                self.finish(Node { at, content, weight: 1 }, anchor)
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
                    self.finish(Node { at: open.at, content, weight: open.weight }, open.anchor)
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
        self.nodes = self.nodes.saturating_add(if node.at == at { 1 } else { node.weight });
        if self.nodes > NODES_MAX {
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

fn mark_of(span: &Span) -> Mark {
    let (start, end) = (span.start, span.end);
    let width = if end.line() == start.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
    Mark { line: start.line(), column: start.col() + 1, width: width.max(1) }
}
