//! Paths with variables, after RFC 6570: `/users/{id}` takes one segment, and `{+rest}` at the end takes all that is
//! left, slashes included.

use std::fmt;

/// Segments of a template: a bound on how deep the search goes.
const SEGMENTS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A segment as it stands; empty at the end, where the template ends with a slash.
    Literal(Box<str>),
    /// One segment that is not empty.
    Variable(Box<str>),
    /// At least one byte.
    Rest(Box<str>),
}

impl Template {
    /// Reads a template whose literals are in the normal form of paths.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Template, &'static str> {
        let Some(rest) = text.strip_prefix('/') else { return Err("it begins with a slash") };
        let mut parts = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            let inner = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
            parts.push(match inner {
                None if segment.contains(['{', '}']) => {
                    return Err("a variable is a whole segment: use `regex` for parts of one");
                }
                None if segment.is_empty() && segments.peek().is_some() => {
                    return Err("two slashes in a row are no path");
                }
                None => Part::Literal(segment.into()),
                Some(inner) => {
                    let (name, is_rest) = match inner.strip_prefix('+') {
                        Some(name) => (name, true),
                        None => (inner, false),
                    };
                    let first = name.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
                    if !first || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                        return Err("a variable has a name of letters, digits and `_`, such as `{id}`");
                    }
                    if names.contains(&name) {
                        return Err("a variable has a name of its own");
                    }
                    names.push(name);
                    match is_rest {
                        true if segments.peek().is_some() => return Err("`{+…}` stands at the end"),
                        true => Part::Rest(name.into()),
                        false => Part::Variable(name.into()),
                    }
                }
            });
        }
        if parts.len() > SEGMENTS_MAX {
            return Err("a template has at most 64 segments");
        }
        Ok(Template { parts })
    }

    /// The literal segments with `x` for each variable: a path that the checks of paths can look at.
    pub fn sample(&self) -> String {
        let part = |part: &Part| match part {
            Part::Literal(text) => format!("/{text}"),
            Part::Variable(_) | Part::Rest(_) => "/x".to_owned(),
        };
        self.parts.iter().map(part).collect()
    }

    pub fn has_captures(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Literal(_)))
    }

    /// The template without the names of its variables: the same for templates that match the same.
    pub(super) fn shape(&self) -> String {
        let part = |part: &Part| match part {
            Part::Literal(text) => format!("/{text}"),
            Part::Variable(_) => "/{}".to_owned(),
            Part::Rest(_) => "/{+}".to_owned(),
        };
        self.parts.iter().map(part).collect()
    }

    /// What each segment is: a literal goes before a variable, and that before the rest.
    pub(super) fn kinds(&self) -> Vec<u8> {
        let kind = |part: &Part| match part {
            Part::Literal(_) => 0,
            Part::Variable(_) => 1,
            Part::Rest(_) => 2,
        };
        self.parts.iter().map(kind).collect()
    }

    /// Whether a path matches; `found` gets the variables of one that does, and perhaps some of one that does not.
    pub(super) fn fits<'p>(&self, path: &'p [u8], mut found: impl FnMut(&str, &'p [u8])) -> bool {
        let mut rest = Some(path);
        for part in &self.parts {
            let Some(left) = rest.and_then(|rest| rest.strip_prefix(b"/")) else { return false };
            let (segment, after) = split_segment(left);
            match part {
                Part::Literal(text) if text.as_bytes() == segment => {}
                Part::Variable(name) if !segment.is_empty() => found(name, segment),
                Part::Rest(name) => {
                    found(name, left);
                    return !left.is_empty();
                }
                _ => return false,
            }
            rest = after;
        }
        rest.is_none()
    }
}

/// The first segment, and what follows it from its slash on.
fn split_segment(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at..)),
        None => (path, None),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => write!(f, "/{text}"),
            Part::Variable(name) => write!(f, "/{{{name}}}"),
            Part::Rest(name) => write!(f, "/{{+{name}}}"),
        })
    }
}

/// The templates of one host, as a tree of segments: what it costs to find one does not depend on how many there are.
#[derive(Debug, Default)]
pub(super) struct TemplateTree {
    nodes: Vec<TreeNode>,
}

#[derive(Debug, Default)]
struct TreeNode {
    /// By text, in order.
    literals: Vec<(Box<str>, u32)>,
    variable: Option<u32>,
    /// What ends here, and what takes the rest from here.
    end: Option<u32>,
    rest: Option<u32>,
}

impl TemplateTree {
    pub(super) fn insert(&mut self, template: &Template, id: u32) {
        if self.nodes.is_empty() {
            self.nodes.push(TreeNode::default());
        }
        let mut at = 0;
        for part in &template.parts {
            let new = self.nodes.len() as u32;
            let Some(node) = self.nodes.get_mut(at as usize) else { return };
            let next = match part {
                Part::Rest(_) => {
                    node.rest = Some(id);
                    return;
                }
                Part::Variable(_) => *node.variable.get_or_insert(new),
                Part::Literal(text) => match node.literals.binary_search_by(|(known, _)| known.cmp(text)) {
                    Ok(at) => node.literals.get(at).map_or(new, |(_, next)| *next),
                    Err(at) => {
                        node.literals.insert(at, (text.clone(), new));
                        new
                    }
                },
            };
            if next == new {
                self.nodes.push(TreeNode::default());
            }
            at = next;
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.end = Some(id);
        }
    }

    /// The first template that matches and that `take` accepts. At each segment, from the left, a literal goes before a
    /// variable, and that before the rest.
    pub(super) fn find<T>(&self, path: &[u8], take: &impl Fn(u32) -> Option<T>) -> Option<T> {
        self.find_from(0, Some(path), take)
    }

    /// Each node is reached at most once: it stands at one depth. Recursion ends at [`SEGMENTS_MAX`].
    fn find_from<T>(&self, at: u32, path: Option<&[u8]>, take: &impl Fn(u32) -> Option<T>) -> Option<T> {
        let node = self.nodes.get(at as usize)?;
        let Some(path) = path else { return node.end.and_then(take) };
        let left = path.strip_prefix(b"/")?;
        let (segment, after) = split_segment(left);
        let literal = node.literals.binary_search_by(|(known, _)| known.as_bytes().cmp(segment)).ok();
        let literal = literal.and_then(|at| node.literals.get(at));
        literal
            .and_then(|(_, next)| self.find_from(*next, after, take))
            .or_else(|| self.find_from(node.variable.filter(|_| !segment.is_empty())?, after, take))
            .or_else(|| node.rest.filter(|_| !left.is_empty()).and_then(take))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn variables_take_whole_segments_and_the_rest_takes_slashes() {
        for (text, path, expected) in [
            ("/users/{id}", "/users/7", Some("id=7")),
            ("/users/{id}", "/users/", None),
            ("/users/{id}", "/users/7/", None),
            ("/users/{id}/", "/users/7/", Some("id=7")),
            ("/users/{id}", "/users", None),
            ("/users/{id}/orders/{order}", "/users/7/orders/8", Some("id=7 order=8")),
            ("/users/{id}/orders/{order}", "/users/7/items/8", None),
            ("/files/{+path}", "/files/a/b/", Some("path=a/b/")),
            ("/files/{+path}", "/files/", None),
            ("/files/{+path}", "/files", None),
            ("/{a}/{+b}", "/x/y/z", Some("a=x b=y/z")),
            ("/", "/", Some("")),
            ("/{a}", "*", None),
        ] {
            let mut found = Vec::new();
            let fits = template(text).fits(path.as_bytes(), |name, value| {
                found.push(format!("{name}={}", String::from_utf8_lossy(value)));
            });
            assert_eq!(fits.then(|| found.join(" ")).as_deref(), expected, "{text} {path}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "", "users", "/{", "/{}", "/{a}b", "/a{b}", "/{a}/{a}", "/{+a}/b", "/{1}", "/{a-b}", "//",
            "/a//b", "/{+}",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(Template::parse(&"/a".repeat(65)).is_err());
    }

    #[test]
    fn the_tree_prefers_literals_from_the_left() {
        let all = ["/a/{x}/c", "/a/b/{y}", "/{x}/b/c", "/a/{+rest}", "/{x}/{y}/{z}", "/a/b"];
        let mut tree = TemplateTree::default();
        for (id, text) in all.iter().enumerate() {
            tree.insert(&template(text), id as u32);
        }
        for (path, without, expected) in [
            ("/a/b/c", None, Some("/a/b/{y}")),
            ("/a/b/c", Some("/a/b/{y}"), Some("/a/{x}/c")),
            ("/a/q/c", None, Some("/a/{x}/c")),
            ("/a/q/d", None, Some("/a/{+rest}")),
            ("/q/b/c", None, Some("/{x}/b/c")),
            ("/q/q/q", None, Some("/{x}/{y}/{z}")),
            ("/a/b", None, Some("/a/b")),
            ("/a/b/c/d", None, Some("/a/{+rest}")),
            ("/q", None, None),
            ("/", None, None),
            ("*", None, None),
        ] {
            let take = |id: u32| all.get(id as usize).copied().filter(|text| Some(*text) != without);
            assert_eq!(tree.find(path.as_bytes(), &take), expected, "{path}");
        }
    }
}
