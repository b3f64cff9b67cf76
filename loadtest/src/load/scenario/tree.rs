//! YAML text → nodes that know where they were written, and messages that point there.
//!
//! What a scenario does not need is refused: several documents, tags, keys that are not names, repeated keys.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

/// A node of the file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Mark,
    pub(super) content: Content,
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
    pub(super) key: String,
    pub(super) key_at: Mark,
    pub(super) value: Rc<Node>,
}

/// Where something was written: line and column from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) at: Mark,
    pub(super) text: String,
}

/// All problems of a file, ready to be printed as `file:line:column: what`, with the line and a mark under it.
#[derive(Debug)]
pub(super) struct ScenarioError {
    path: String,
    lines: Vec<String>,
    problems: Vec<Problem>,
}

/// Size of a file.
pub(super) const FILE_BYTES_MAX: usize = 4 << 20;
/// Lists and mappings within each other.
const DEPTH_MAX: usize = 16;
/// Problems that are shown of one file.
const SHOWN_MAX: usize = 20;

impl Node {
    /// What a person calls this.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Scalar(text) => format!("`{text}`"),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }
}

impl ScenarioError {
    pub(super) fn new(path: &str, text: &str, mut problems: Vec<Problem>) -> ScenarioError {
        problems.sort_by_key(|problem| (problem.at.line, problem.at.column));
        let lines = text.lines().map(printable).collect();
        ScenarioError { path: path.to_owned(), lines, problems }
    }
}

/// Control characters must not reach a terminal through a message.
fn printable(line: &str) -> String {
    line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().take(SHOWN_MAX).enumerate() {
            let Mark { line, column, width } = problem.at;
            let gap = if position == 0 { "" } else { "\n" };
            write!(f, "{gap}{}:{line}:{column}: {}", self.path, problem.text)?;
            if let Some(text) = line.checked_sub(1).and_then(|index| self.lines.get(index)) {
                let rest = (text.chars().count() + 1).saturating_sub(column).max(1);
                let (before, under) =
                    (" ".repeat(column.saturating_sub(1)), "^".repeat(width.clamp(1, rest)));
                write!(f, "\n  | {text}\n  | {before}{under}")?;
            }
        }
        let more = self.problems.len().saturating_sub(SHOWN_MAX);
        if more > 0 { write!(f, "\nand {more} more") } else { Ok(()) }
    }
}

impl std::error::Error for ScenarioError {}

/// Reads a text into a tree.
pub(super) fn read(text: &str) -> Result<Rc<Node>, Problem> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.block_nesting_limit = DEPTH_MAX * 2;
    options.flow_nesting_limit = DEPTH_MAX * 2;
    let mut builder = Builder { open: Vec::new(), root: None, anchors: HashMap::new() };
    let mut documents = 0;
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| {
            let mark = error.marker();
            let at = Mark { line: mark.line(), column: mark.col() + 1, width: 1 };
            Problem { at, text: format!("not valid YAML: {}", error.info()) }
        })?;
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                return Err(Problem {
                    at: mark_of(&span),
                    text: "expected one document, found another (`---`)".into(),
                });
            }
        }
        builder.event(event, &span)?;
    }
    let start = Mark { line: 1, column: 1, width: 1 };
    let empty =
        || Problem { at: start, text: "expected `target` and `requests`, found an empty file".into() };
    builder.root.filter(|root| !matches!(root.content, Content::Null)).ok_or_else(empty)
}

/// Builds the tree from events; `open` is the path from the root to the node that is being read.
struct Builder {
    open: Vec<Open>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
}

struct Open {
    at: Mark,
    anchor: usize,
    content: Content,
    /// A key that waits for its value.
    key: Option<(String, Mark)>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let at = mark_of(span);
        let refuse_tag = |tagged: bool| {
            let text = "YAML tags (`!…`) are not used here".to_owned();
            if tagged { Err(Problem { at, text }) } else { Ok(()) }
        };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some())?;
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let content = if null { Content::Null } else { Content::Scalar(text.into_owned()) };
                self.finish(Node { at, content }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.is_some())?;
                self.enter(Open { at, anchor, content: Content::List(Vec::new()), key: None })
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.is_some())?;
                self.enter(Open { at, anchor, content: Content::Map(Vec::new()), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.finish(Node { at: open.at, content: open.content }, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.place(node, at),
                // The parser refuses unknown names, so this is an alias within its own node.
                None => Err(Problem { at, text: "this alias contains itself".into() }),
            },
            _ => Ok(()),
        }
    }

    fn enter(&mut self, open: Open) -> Result<(), Problem> {
        if self.open.len() >= DEPTH_MAX {
            let text = format!("more than {DEPTH_MAX} lists and mappings within each other");
            return Err(Problem { at: open.at, text });
        }
        self.open.push(open);
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        let at = node.at;
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node, at)
    }

    /// Puts a node, or an alias of it, where the file has it.
    fn place(&mut self, node: Rc<Node>, at: Mark) -> Result<(), Problem> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map(entries) => match open.key.take() {
                None => {
                    let Content::Scalar(name) = &node.content else {
                        let text = format!("expected a name as the key, found {}", node.describe());
                        return Err(Problem { at, text });
                    };
                    if let Some(first) = entries.iter().find(|entry| entry.key == *name) {
                        let text = format!("`{name}` is here twice, first in line {}", first.key_at.line);
                        return Err(Problem { at, text });
                    }
                    open.key = Some((name.clone(), at));
                }
                Some((key, key_at)) => entries.push(Entry { key, key_at, value: node }),
            },
            Content::Null | Content::Scalar(_) => {}
        }
        Ok(())
    }
}

fn mark_of(span: &Span) -> Mark {
    let (start, end) = (span.start, span.end);
    let width = if end.line() == start.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
    Mark { line: start.line(), column: start.col() + 1, width: width.max(1) }
}
