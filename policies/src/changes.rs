//! What policies change in heads on their way through.

use ringway_protocols::message::{FieldKind, KindSet};

use crate::compress::Encode;

/// Changes of the fields of a head.
///
/// Names are compared without case, and `_` counts as `-`: origins that map names to variables cannot tell `X_User` from
/// `X-User`, so what is set or removed under one spelling is gone under the other.
#[derive(Debug, Default, Clone)]
pub struct HeaderChanges {
    kinds: KindSet,
    /// Those in use come first; behind them is what [`HeaderChanges::clear`] has kept.
    names: Vec<Vec<u8>>,
    names_used: usize,
    lines: Vec<u8>,
    /// Where each line begins.
    starts: Vec<u32>,
}

const HSTS: &[u8] = b"strict-transport-security";

/// What [`HeaderChanges::clear`] keeps of lines and of names.
const KEPT_BYTES_MAX: usize = 4096;
const KEPT_NAMES_MAX: usize = 32;

impl HeaderChanges {
    /// The field has this value, and no other that was received or added before.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.set_kind(FieldKind::of(name), name, value);
    }

    /// The same of a name whose kind is known.
    pub fn set_kind(&mut self, kind: FieldKind, name: &[u8], value: &[u8]) {
        self.remove_kind(kind, name);
        self.push_line(name, value);
    }

    /// One more field. What cannot stand in a line is left out of the value.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        if name.len() == HSTS.len() && is_same_name(name, HSTS) {
            // There is to be one only (RFC 6797, 7.1).
            self.remove(name);
        }
        self.push_line(name, value);
    }

    fn push_line(&mut self, name: &[u8], value: &[u8]) {
        self.starts.push(self.lines.len() as u32);
        self.lines.extend_from_slice(name);
        self.lines.extend_from_slice(b": ");
        // A value made of what a client said must not become a line of its own (RFC 9110 5.5).
        let ends_line = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        if value.iter().any(ends_line) {
            self.lines.extend(value.iter().filter(|byte| !ends_line(byte)));
        } else {
            self.lines.extend_from_slice(value);
        }
        self.lines.extend_from_slice(b"\r\n");
    }

    /// The field is left out, whatever was received or added before.
    pub fn remove(&mut self, name: &[u8]) {
        self.remove_kind(FieldKind::of(name), name);
    }

    /// The same of a name whose kind is known.
    pub fn remove_kind(&mut self, kind: FieldKind, name: &[u8]) {
        self.remove_lines(name);
        if kind != FieldKind::Other {
            self.kinds.insert(kind);
        }
        if self.names().iter().any(|known| is_same_name(known, name)) {
            return;
        }
        match self.names.get_mut(self.names_used) {
            Some(kept) => {
                kept.clear();
                kept.extend_from_slice(name);
            }
            None => self.names.push(name.to_vec()),
        }
        self.names_used += 1;
    }

    /// Lines that were rendered by their author: `name: value\r\n` each.
    pub fn add_lines(&mut self, lines: &[u8]) {
        self.add_rendered(|out| out.extend_from_slice(lines));
    }

    /// The same of lines that are appended by `render`.
    pub fn add_rendered(&mut self, render: impl FnOnce(&mut Vec<u8>)) {
        let mut start = self.lines.len();
        render(&mut self.lines);
        let added = self.lines.get(start..).unwrap_or_default();
        for line in added.split_inclusive(|byte| *byte == b'\n') {
            self.starts.push(start as u32);
            start += line.len();
        }
    }

    /// Those of other lines, `name: value\r\n` each, that are not left out.
    pub fn kept<'a>(&'a self, lines: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let is_left_out = move |name: &[u8]| self.names().iter().any(|known| is_same_name(known, name));
        lines.split_inclusive(|byte| *byte == b'\n').filter(move |line| !is_left_out(name_of(line)))
    }

    /// Kinds of received fields that are left out.
    pub fn kinds(&self) -> KindSet {
        self.kinds
    }

    /// Names of received fields that are left out.
    pub fn names(&self) -> &[Vec<u8>] {
        self.names.get(..self.names_used).unwrap_or_default()
    }

    /// What is appended, as `name: value\r\n` lines.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.names_used == 0
    }

    /// Makes it that of a request of which nothing is known yet. What memory it has serves again, within bounds.
    pub fn clear(&mut self) {
        (self.kinds, self.names_used) = (KindSet::EMPTY, 0);
        self.lines.clear();
        self.lines.shrink_to(KEPT_BYTES_MAX);
        self.starts.clear();
        self.names.truncate(KEPT_NAMES_MAX);
    }

    fn remove_lines(&mut self, name: &[u8]) {
        let mut at = 0;
        while let Some(start) = self.starts.get(at).map(|start| *start as usize) {
            let end = self.starts.get(at + 1).map_or(self.lines.len(), |next| *next as usize);
            let line = self.lines.get(start..end).unwrap_or_default();
            let is_named = line.get(name.len()) == Some(&b':')
                && line.get(..name.len()).is_some_and(|known| is_same_name(known, name));
            if !is_named {
                at += 1;
                continue;
            }
            self.lines.drain(start..end);
            self.starts.remove(at);
            self.starts.iter_mut().skip(at).for_each(|later| *later -= (end - start) as u32);
        }
    }
}

/// Whether one of these lines, `name: value\r\n` each, is of that name.
pub fn has_line(lines: &[u8], name: &[u8]) -> bool {
    lines.split_inclusive(|byte| *byte == b'\n').any(|line| is_same_name(name_of(line), name))
}

fn name_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or_default()
}

pub use ringway_protocols::message::is_same_name;

/// What the origin gets instead of what the client sent.
#[derive(Debug, Default, Clone)]
pub struct RequestChanges {
    pub headers: HeaderChanges,
    /// The path, in normal form and percent-encoded where it has to be.
    pub path: Option<Vec<u8>>,
    /// What follows `?`; an empty one takes the query away.
    pub query: Option<Vec<u8>>,
    /// The authority.
    pub host: Option<Vec<u8>>,
    /// The longest body that is taken from the client.
    pub body_bytes_max: Option<u64>,
}

impl RequestChanges {
    /// See [`HeaderChanges::clear`].
    pub fn clear(&mut self) {
        self.headers.clear();
        (self.path, self.query, self.host, self.body_bytes_max) = (None, None, None, None);
    }
}

/// What the client gets, whoever answers.
#[derive(Debug, Default)]
pub struct ResponseChanges {
    pub headers: HeaderChanges,
    /// The body is compressed on its way.
    pub encode: Option<Encode>,
    /// The longest body that is taken from the origin.
    pub body_bytes_max: Option<u64>,
}

impl ResponseChanges {
    /// See [`HeaderChanges::clear`].
    pub fn clear(&mut self) {
        self.headers.clear();
        (self.encode, self.body_bytes_max) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_one_request_is_left_for_the_next() {
        let mut changes = HeaderChanges::default();
        changes.set(b"x-a", b"1");
        changes.remove(b"server");
        changes.clear();
        assert!(changes.is_empty() && changes.names().is_empty() && changes.kinds() == KindSet::EMPTY);
        changes.set(b"x-longer-than-before", b"2");
        assert_eq!(changes.names(), [b"x-longer-than-before".to_vec()]);
        assert_eq!(changes.lines(), b"x-longer-than-before: 2\r\n");
        changes.add(b"x-b", &[b'b'; 10_000]);
        changes.clear();
        assert!(changes.lines.capacity() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn the_last_word_about_a_name_counts() {
        let mut changes = HeaderChanges::default();
        changes.add(b"x-a", b"1");
        changes.add(b"X-A", b"2");
        assert_eq!(changes.lines(), b"x-a: 1\r\nX-A: 2\r\n");
        changes.set(b"x_a", b"3");
        changes.add(b"x-b", b"4");
        assert_eq!(changes.lines(), b"x_a: 3\r\nx-b: 4\r\n");
        changes.remove(b"X-B");
        assert_eq!(changes.lines(), b"x_a: 3\r\n");
        // Lines of others are known by their names, too; those around them stay.
        changes.add_lines(b"x-c: 5\r\nx-d: 6\r\nX-C: 7\r\nx-cc: 8\r\n");
        changes.remove(b"x-c");
        assert_eq!(changes.lines(), b"x_a: 3\r\nx-d: 6\r\nx-cc: 8\r\n");
        changes.set(b"x-d", b"9");
        assert_eq!(changes.lines(), b"x_a: 3\r\nx-cc: 8\r\nx-d: 9\r\n");
        assert_eq!(changes.names().len(), 4);
    }

    #[test]
    fn there_is_one_line_only_of_what_there_is_to_be_one() {
        let mut changes = HeaderChanges::default();
        changes.add(b"strict-transport-security", b"max-age=1");
        changes.add(b"Strict-Transport-Security", b"max-age=2");
        assert_eq!(changes.lines(), b"Strict-Transport-Security: max-age=2\r\n");
        assert!(changes.kinds().contains(FieldKind::StrictTransportSecurity));
    }

    #[test]
    fn lines_of_others_are_left_out_by_name() {
        let mut changes = HeaderChanges::default();
        changes.set(b"server", b"mine");
        let lines = b"Server: yours\r\nx-a: 1\r\nserver_: 2\r\n";
        assert_eq!(changes.kept(lines).collect::<Vec<_>>().concat(), b"x-a: 1\r\nserver_: 2\r\n");
        assert!(has_line(lines, b"X_A") && !has_line(lines, b"x-b"));
    }

    #[test]
    fn a_value_stays_in_its_line() {
        let mut changes = HeaderChanges::default();
        changes.set(b"x-a", b"1\r\nx-admin: yes\0");
        assert_eq!(changes.lines(), b"x-a: 1x-admin: yes\r\n");
    }

    #[test]
    fn known_kinds_are_left_out_as_kinds_too() {
        let mut changes = HeaderChanges::default();
        changes.remove(b"Accept-Encoding");
        assert!(changes.kinds().contains(FieldKind::AcceptEncoding));
        assert!(!changes.is_empty());
    }
}
