//! `include`: other files, or directories of them, that are a part of the configuration.
//!
//! Files are put together as if they were one: lists follow each other, mappings are joined key by key, and what two
//! files set is an error that names both places. What is included includes nothing itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::error::{ConfigError, Findings, Place};
use super::file::join;
use super::inputs::Inputs;
use super::reference::{References, Secrets};
use super::source::ConfigSource;
use super::tree::{self, Content, Entry, FILE_BYTES_MAX, Mark, Node, Reading, SourceFile};

/// Files of one configuration.
const FILES_MAX: usize = 1_000;
const KEY: &str = "include";
const EXPECTED: &str = "the path of a directory of *.yaml files, or of one file";

/// The text of a configuration.
pub(super) struct Text {
    pub file: SourceFile,
    pub root: Rc<Node>,
    pub secrets: Secrets,
}

/// Reads a file and what it includes. `inputs` are complete also where there is an error.
pub(super) fn read(
    source: &ConfigSource,
    path: &Path,
    inputs: &mut Inputs,
    findings: &mut Findings,
) -> Option<Text> {
    let name = path.display().to_string();
    inputs.add(path);
    let text = match read_file(path, FILE_BYTES_MAX).and_then(|bytes| tree::decode(&name, bytes)) {
        Ok(text) => text,
        Err(error) => {
            findings.push(error);
            return None;
        }
    };
    let mut reader = Reader {
        source,
        file: SourceFile::new(&name, &text),
        directory: path.parent().unwrap_or(Path::new("")).to_owned(),
        secrets: Secrets::default(),
        inputs,
        findings,
        nodes: 0,
        bytes: text.len(),
    };
    let Some(main) = reader.tree(0, &text)? else {
        let expected = "listeners, clusters and routes";
        let error = ConfigError::mismatch(reader.file.whole(), "", expected, "an empty file");
        reader.findings.push(error);
        return None;
    };
    let root = reader.include(main)?;
    Some(Text { file: reader.file, root, secrets: reader.secrets })
}

pub(super) fn read_file(path: &Path, bytes_max: usize) -> Result<Vec<u8>, ConfigError> {
    let name = path.display().to_string();
    let wrong = |error: std::io::Error| {
        ConfigError::new(Place::WholeFile(name.as_str().into()), "", format!("cannot be read: {error}"))
    };
    let file = std::fs::File::open(path).map_err(wrong)?;
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is too much, and a device without an end does not fill memory.
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}

struct Reader<'a> {
    source: &'a ConfigSource,
    file: SourceFile,
    /// Of the file that includes: relative paths begin here.
    directory: PathBuf,
    secrets: Secrets,
    inputs: &'a mut Inputs,
    findings: &'a mut Findings,
    nodes: u64,
    bytes: usize,
}

impl Reader<'_> {
    fn tree(&mut self, number: u16, text: &str) -> Option<Option<Rc<Node>>> {
        let mut references = References {
            variables: &self.source.variables,
            directory: &self.directory,
            secrets: &mut self.secrets,
            inputs: self.inputs,
        };
        let reading =
            Reading { file: &self.file, number, references: Some(&mut references), nodes: &mut self.nodes };
        tree::read_file(reading, text, self.findings)
    }

    /// The tree of the first file with everything that it includes. Files with errors are left out, so that the others
    /// have theirs shown too.
    fn include(&mut self, main: Rc<Node>) -> Option<Rc<Node>> {
        let Content::Map(entries) = &main.content else { return Some(main) };
        let Some(include) = entries.iter().find(|entry| entry.key == KEY) else { return Some(main) };
        let mut whole = true;
        let mut root = main.clone();
        for (path, at) in self.paths(&include.value)? {
            match self.included(&path, at) {
                Some(Some(node)) => root = self.merge(&root, &node, ""),
                Some(None) => {}
                None => whole = false,
            }
        }
        // What refers to something in a file that could not be read would be an error that nobody made.
        whole.then_some(root)
    }

    /// The files that are included, in the order in which they count.
    fn paths(&mut self, node: &Node) -> Option<Vec<(PathBuf, Mark)>> {
        let items = match &node.content {
            Content::Scalar(text) => vec![(text, node.at)],
            Content::List(items) => {
                let text = |item: &Rc<Node>| match &item.content {
                    Content::Scalar(_) => Some(item.clone()),
                    _ => None,
                };
                if let Some(wrong) = items.iter().find(|item| text(item).is_none()) {
                    self.wrong(wrong.at, EXPECTED, wrong.describe());
                    return None;
                }
                let texts = items.iter().filter_map(|item| match &item.content {
                    Content::Scalar(text) => Some((text, item.at)),
                    _ => None,
                });
                texts.collect()
            }
            _ => {
                self.wrong(node.at, EXPECTED, node.describe());
                return None;
            }
        };
        let mut files = Vec::new();
        for (text, at) in items {
            let path = self.directory.join(text);
            self.inputs.add(&path);
            match std::fs::metadata(&path) {
                Ok(facts) if facts.is_dir() => match files_of(&path) {
                    Ok(found) => files.extend(found.into_iter().map(|path| (path, at))),
                    Err(error) => self.unreadable(at, &path, &error)?,
                },
                Ok(_) => files.push((path, at)),
                Err(error) => self.unreadable(at, &path, &error)?,
            }
        }
        if files.len() >= FILES_MAX {
            self.wrong(node.at, &format!("fewer than {FILES_MAX} files"), files.len().to_string());
            return None;
        }
        Some(files)
    }

    /// One file. `Some(None)`: there is nothing in it.
    fn included(&mut self, path: &Path, at: Mark) -> Option<Option<Rc<Node>>> {
        let name = path.display().to_string();
        self.inputs.add(path);
        let left = FILE_BYTES_MAX.saturating_sub(self.bytes);
        let bytes = match read_file(path, left) {
            Ok(bytes) if bytes.len() > left => {
                let limit = super::units::format_size(FILE_BYTES_MAX as u64);
                self.wrong(at, &format!("at most {limit} in all files"), format!("more with {name}"));
                return None;
            }
            Ok(bytes) => bytes,
            Err(error) => {
                let problem = format!("{name} {}", error.message());
                self.findings.push(ConfigError::new(self.file.place(at), KEY, problem));
                return None;
            }
        };
        self.bytes += bytes.len();
        let text = match tree::decode(&name, bytes) {
            Ok(text) => text,
            Err(error) => {
                self.findings.push(error);
                return None;
            }
        };
        let number = self.file.add(&name, &text);
        let node = self.tree(number, &text)?;
        let Some(root) = node else { return Some(None) };
        let nested = match &root.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == KEY),
            _ => {
                self.wrong(root.at, "a mapping", root.describe());
                return None;
            }
        };
        if let Some(nested) = nested {
            let problem = "a file that is included includes nothing itself";
            self.findings.push(ConfigError::new(self.file.place(nested.key_at), KEY, problem));
            return None;
        }
        Some(Some(root))
    }

    /// Two nodes as one.
    fn merge(&mut self, one: &Rc<Node>, other: &Rc<Node>, path: &str) -> Rc<Node> {
        match (&one.content, &other.content) {
            (Content::List(some), Content::List(more)) => {
                let items = some.iter().chain(more).cloned().collect();
                Rc::new(Node::of(one.at, Content::List(items)))
            }
            (Content::Map(some), Content::Map(more)) => {
                let copy = |entry: &Entry| Entry {
                    key: entry.key.clone(),
                    key_at: entry.key_at,
                    value: entry.value.clone(),
                };
                let mut entries: Vec<Entry> = some.iter().map(copy).collect();
                for entry in more {
                    match entries.iter_mut().find(|known| known.key == entry.key) {
                        None => entries.push(copy(entry)),
                        Some(known) => {
                            let path = join(path, &entry.key);
                            known.value = self.merge(&known.value, &entry.value, &path);
                        }
                    }
                }
                Rc::new(Node::of(one.at, Content::Map(entries)))
            }
            _ => {
                let first = self.file.path_of(one.at.file);
                let problem = format!("is set already, in {first}:{}", one.at.line);
                self.findings.push(ConfigError::new(self.file.place(other.at), path, problem));
                one.clone()
            }
        }
    }

    fn wrong(&mut self, at: Mark, expected: &str, found: String) {
        self.findings.push(ConfigError::mismatch(self.file.place(at), KEY, expected, found));
    }

    /// Always `None`.
    fn unreadable(&mut self, at: Mark, path: &Path, error: &std::io::Error) -> Option<()> {
        let problem = format!("{} cannot be read: {error}", path.display());
        self.findings.push(ConfigError::new(self.file.place(at), KEY, problem));
        None
    }
}

/// The files of a directory, by name. What begins with a dot is of editors and of Kubernetes, which swaps whole directories
/// that way.
fn files_of(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !name.starts_with('.') && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
