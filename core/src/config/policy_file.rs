//! Files that policies are built from, such as those of API keys: YAML, read by a table of the policy's.

use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use ringway_policies::fields::{Field, Values};

use super::error::{ConfigError, Findings, Place};
use super::file::Walk;
use super::tree::{self, FILE_BYTES_MAX, Node, Reading, SourceFile};

/// Reads a file. Relative paths begin at the working directory, as those of certificates do.
///
/// # Errors
/// Everything that is wrong with it, with lines and columns, but without what is written there: it may be a secret.
pub fn read(path: &Path, table: &'static [Field]) -> Result<Values, Vec<ConfigError>> {
    let mut errors = Findings::default();
    let values = read_into(path, table, &mut errors);
    match values {
        Some(values) if !errors.has_errors() => Ok(values),
        _ => {
            let mut errors = errors.into_sorted();
            for error in &mut errors {
                if let Place::File { text, .. } = &mut error.place {
                    text.clear();
                }
            }
            Err(errors)
        }
    }
}

fn read_into(path: &Path, table: &'static [Field], errors: &mut Findings) -> Option<Values> {
    let (file, root) =
        read_tree(path, || table.iter().map(|field| field.name).collect::<Vec<_>>().join(", "), errors)?;
    let mut walk = Walk { file: &file, errors };
    Some(walk.fields(&root, "", "", table, root.at, &mut Vec::new()))
}

/// Reads a file that is no part of the configuration's own text: nothing in it is a reference. `expected` says what
/// would have to be in an empty one.
pub(super) fn read_tree(
    path: &Path,
    expected: impl FnOnce() -> String,
    errors: &mut Findings,
) -> Option<(SourceFile, Rc<Node>)> {
    let name = path.display().to_string();
    let text = match read_text(path).and_then(|bytes| tree::decode(&name, bytes)) {
        Ok(text) => text,
        Err(error) => {
            errors.push(error);
            return None;
        }
    };
    let file = SourceFile::new(&name, &text);
    let reading = Reading { file: &file, number: 0, references: None, nodes: &mut 0 };
    let Some(root) = tree::read_file(reading, &text, errors)? else {
        errors.push(ConfigError::mismatch(file.whole(), "", expected(), "an empty file"));
        return None;
    };
    Some((file, root))
}

fn read_text(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let wrong = |error: std::io::Error| {
        let whole = Place::WholeFile(path.display().to_string().into());
        let hint = (error.kind() == std::io::ErrorKind::NotFound && path.is_relative()).then(|| {
            let directory = std::env::current_dir().unwrap_or_default();
            format!("paths begin at the working directory, {}", directory.display())
        });
        ConfigError::new(whole, "", format!("cannot be read: {error}")).hint(hint)
    };
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is too much.
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}
