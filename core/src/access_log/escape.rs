//! Bytes that a peer chose → bytes that are safe in a log.
//!
//! **Invariant:** what comes out holds no control character, no line break, no unescaped quote or backslash: a value
//! can neither end its field nor its line, nor drive a terminal. JSON that comes out is valid UTF-8.

use super::number::push_number;

/// Appends `value` for the text formats: printable ASCII as it is, but `"`, `\` and every other byte as `\xHH` (as
/// nginx does), so the bytes can be had back.
#[inline]
pub(super) fn push_text(out: &mut Vec<u8>, value: &[u8], bytes_max: usize) {
    if value.len() <= bytes_max && is_plain(value) {
        out.extend_from_slice(value);
    } else {
        push_text_slowly(out, value, bytes_max);
    }
}

#[cold]
fn push_text_slowly(out: &mut Vec<u8>, value: &[u8], bytes_max: usize) {
    let shown = value.get(..bytes_max).unwrap_or(value);
    for byte in shown {
        if is_plain_byte(*byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    push_mark(out, value.len() - shown.len());
}

/// Appends `value` for the inside of a JSON string: UTF-8 as it is but for `"`, `\` and control characters (C0, DEL,
/// C1, and the line separators that some readers of lines take for line breaks); what is not UTF-8 becomes `\ufffd`.
#[inline]
pub(super) fn push_json(out: &mut Vec<u8>, value: &[u8], bytes_max: usize) {
    if value.len() <= bytes_max && is_plain(value) {
        return out.extend_from_slice(value);
    }
    let shown = match value.get(..bytes_max) {
        Some(shown) if value.len() > bytes_max => whole_characters(shown),
        _ => value,
    };
    push_json_slowly(out, shown);
    push_mark(out, value.len() - shown.len());
}

#[cold]
fn push_json_slowly(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => push_unicode_escape(out, c),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Only for characters of the basic plane, which all control characters are.
fn push_unicode_escape(out: &mut Vec<u8>, c: char) {
    let code = c as u32;
    out.extend_from_slice(b"\\u");
    out.extend([12, 8, 4, 0].map(|shift| hex((code >> shift) as u8 & 15)));
}

/// Cuts off a character of which only the first bytes are there.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    // A character has at most 3 continuation bytes (RFC 3629 section 3).
    let tail = bytes.iter().rev().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
    let start = bytes.len() - tail;
    let needed = match start.checked_sub(1).and_then(|at| bytes.get(at)) {
        Some(0xc0..=0xdf) => 1,
        Some(0xe0..=0xef) => 2,
        Some(0xf0..=0xf7) => 3,
        // No character begins here: it is not UTF-8 anyway.
        _ => return bytes,
    };
    if tail < needed { bytes.get(..start - 1).unwrap_or_default() } else { bytes }
}

/// Says how much was cut.
fn push_mark(out: &mut Vec<u8>, cut: usize) {
    if cut > 0 {
        out.extend_from_slice(b"[+");
        push_number(out, cut as u64);
        out.extend_from_slice(b" bytes]");
    }
}

fn hex(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + (nibble & 15) - 10,
    }
}

/// Printable ASCII other than `"` and `\`.
#[inline]
fn is_plain_byte(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) < 0x5f) & (byte != b'"') & (byte != b'\\')
}

/// Looks at every byte without leaving early, so that the compiler takes 16 of them at a time.
#[inline]
fn is_plain(value: &[u8]) -> bool {
    value.iter().fold(true, |plain, byte| plain & is_plain_byte(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &[u8]) -> String {
        let mut out = Vec::new();
        push_text(&mut out, value, 16);
        String::from_utf8(out).expect("text is ASCII")
    }

    fn json(value: &[u8]) -> String {
        let mut out = Vec::new();
        push_json(&mut out, value, 16);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn values_cannot_leave_their_field() {
        let table: &[(&[u8], &str, &str)] = &[
            (b"/a?b=c", "/a?b=c", "/a?b=c"),
            (b"a b", "a b", "a b"),
            (b"\"", "\\x22", "\\\""),
            (b"\\", "\\x5c", "\\\\"),
            (b"\\x22", "\\x5cx22", "\\\\x22"),
            (b"a\r\nb", "a\\x0d\\x0ab", "a\\u000d\\u000ab"),
            (b"\0\t\x1b[2J\x7f", "\\x00\\x09\\x1b[2J\\x7f", "\\u0000\\u0009\\u001b[2J\\u007f"),
            ("é".as_bytes(), "\\xc3\\xa9", "é"),
            ("\u{9b}2J".as_bytes(), "\\xc2\\x9b2J", "\\u009b2J"),
            ("\u{2028}".as_bytes(), "\\xe2\\x80\\xa8", "\\u2028"),
            (b"\xff\xfe", "\\xff\\xfe", "\\ufffd\\ufffd"),
            (b"a\xc3", "a\\xc3", "a\\ufffd"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\ufffd\\ufffd\\ufffd"),
            ("😀".as_bytes(), "\\xf0\\x9f\\x98\\x80", "😀"),
        ];
        for (value, as_text, as_json) in table {
            assert_eq!(text(value), *as_text, "{value:?}");
            assert_eq!(json(value), *as_json, "{value:?}");
        }
    }

    #[test]
    fn long_values_are_cut_between_characters_and_say_so() {
        assert_eq!(text(b"0123456789abcdef"), "0123456789abcdef");
        assert_eq!(text(b"0123456789abcdefgh"), "0123456789abcdef[+2 bytes]");
        assert_eq!(json("0123456789abcdeé".as_bytes()), "0123456789abcde[+2 bytes]");
        assert_eq!(json("0123456789abcd😀".as_bytes()), "0123456789abcd[+4 bytes]");
        assert_eq!(json("0123456789abcdé-".as_bytes()), "0123456789abcdé[+1 bytes]");
        assert_eq!(json(&[0x80; 20]), format!("{}[+4 bytes]", "\\ufffd".repeat(16)));
    }

    #[test]
    fn any_bytes_make_valid_json_and_one_line() {
        // A linear congruential sequence: the same bytes in every run.
        let mut state = 0x2545_f491_u32;
        for length in 0..2_000_usize {
            let value: Vec<u8> = (0..length % 40)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            let quoted = format!("\"{}\"", json(&value));
            let parsed: serde_json::Value = serde_json::from_str(&quoted).expect("valid JSON");
            assert!(parsed.is_string() && !quoted.chars().any(char::is_control), "{value:?}");
            assert!(text(&value).bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"'), "{value:?}");
        }
    }
}
