//! Names the rule that a refused head breaks. Only runs on heads that are refused anyway.
//!
//! `httparse` says at what kind of byte it stopped; an operator wants to know which rule that was. Walking the
//! lines once more, slowly, keeps the path of good requests free of that question.

use super::head::HeadError;

/// The first rule that the lines of `head` break; `fallback` where the lines themselves look right.
#[cold]
pub(super) fn broken_rule(head: &[u8], fallback: HeadError) -> HeadError {
    let mut first = true;
    for line in head.split_inclusive(|b| *b == b'\n') {
        let Some(text) = line.strip_suffix(b"\r\n") else {
            // A line without its end: LF alone, or where the input stops.
            return if line.ends_with(b"\n") {
                HeadError::BareLineEnd
            } else {
                in_line(line, first, fallback)
            };
        };
        if text.contains(&b'\r') {
            return HeadError::BareLineEnd;
        }
        let rule = in_line(text, first, HeadError::InvalidStartLine);
        if first {
            // What is wrong with the start line is the caller's to say.
            if text.is_empty() || fallback == HeadError::InvalidStartLine {
                return fallback;
            }
        } else if text.is_empty() {
            return fallback;
        } else if rule != HeadError::InvalidStartLine {
            return rule;
        }
        first = false;
    }
    fallback
}

fn in_line(text: &[u8], first: bool, fallback: HeadError) -> HeadError {
    if first {
        return fallback;
    }
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return HeadError::LineFolding;
    }
    let Some(colon) = text.iter().position(|b| *b == b':') else {
        // No colon: not a field, or the name has not ended yet.
        let whole = text.iter().all(|b| is_token(*b));
        return if whole { fallback } else { HeadError::InvalidFieldName };
    };
    let (name, value) = text.split_at(colon);
    if name.is_empty() {
        return HeadError::InvalidFieldName;
    }
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return HeadError::SpaceBeforeColon;
    }
    if !name.iter().all(|b| is_token(*b)) {
        return HeadError::InvalidFieldName;
    }
    if value.contains(&b'\r') {
        return HeadError::BareLineEnd;
    }
    if value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
        return HeadError::InvalidFieldValue;
    }
    fallback
}

/// `tchar` of RFC 9110 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
        | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}
