//! Names the rule that a refused head breaks. Only runs on heads that are refused anyway.
//!
//! `httparse` says at what kind of byte it stopped; an operator wants to know which rule that was. Walking the
//! lines once more, slowly, keeps the path of good heads free of that question.

use super::head::HeadError;

/// What is wrong with the start line, or with the line end at which the tokeniser stopped.
#[cold]
pub(super) fn start_line_rule(head: &[u8]) -> HeadError {
    let line = head.split_inclusive(|b| *b == b'\n').next().unwrap_or_default();
    match line.strip_suffix(b"\r\n") {
        Some(text) if text.contains(&b'\r') => HeadError::BareLineEnd,
        // In order as far as it goes: it was another line end.
        Some(text) if text.ends_with(b" HTTP/1.1") || text.ends_with(b" HTTP/1.0") => HeadError::BareLineEnd,
        None if line.ends_with(b"\n") => HeadError::BareLineEnd,
        _ => HeadError::InvalidStartLine,
    }
}

/// The first rule that a field line breaks; `fallback` where each of them looks right.
#[cold]
pub(super) fn field_rule(head: &[u8], fallback: HeadError) -> HeadError {
    for line in head.split_inclusive(|b| *b == b'\n').skip(1) {
        let (text, ended) = match line.strip_suffix(b"\r\n") {
            Some(text) => (text, true),
            None if line.ends_with(b"\n") => return HeadError::BareLineEnd,
            // Where the input stops a CR may still get its LF.
            None => (line.strip_suffix(b"\r").unwrap_or(line), false),
        };
        if text.contains(&b'\r') {
            return HeadError::BareLineEnd;
        }
        if let Some(rule) = line_rule(text, ended) {
            return rule;
        }
    }
    fallback
}

fn line_rule(text: &[u8], ended: bool) -> Option<HeadError> {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Some(HeadError::LineFolding);
    }
    let colon = text.iter().position(|b| *b == b':');
    let (name, value) = text.split_at(colon.unwrap_or(text.len()));
    if colon.is_some() && matches!(name.last(), Some(b' ' | b'\t')) {
        return Some(HeadError::SpaceBeforeColon);
    }
    // The empty line and a name that goes on have no colon.
    let nameless = name.is_empty() || (colon.is_none() && ended);
    if !name.iter().all(|b| is_token(*b)) || (nameless && !text.is_empty()) {
        return Some(HeadError::InvalidFieldName);
    }
    let is_control = |b: &u8| (*b < 0x20 && *b != b'\t') || *b == 0x7f;
    value.iter().any(is_control).then_some(HeadError::InvalidFieldValue)
}

/// `tchar` of RFC 9110 5.6.2.
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
        | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}
