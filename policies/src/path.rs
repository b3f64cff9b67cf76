//! One meaning for every path that is let through: what is matched is what is sent.
//!
//! Proxies are bypassed where they and the origin read a path differently: `/public/..;/admin`, `/%61dmin`,
//! `//admin`. So a path is brought into one normal form before any route or policy sees it, that form is what the
//! origin gets, and spellings whose meaning depends on who reads them are refused:
//!
//! | in the path | becomes | or, by [`PathRules`] |
//! |---|---|---|
//! | percent-encoded letters, digits, `-._~` | the character (RFC 3986 6.2.2.2) | refused |
//! | other percent-encodings | upper-case digits (RFC 3986 6.2.2.1), never decoded | |
//! | `//` | `/` | refused, or kept and matched as `/` |
//! | segments `.` and `..`, written plainly | resolved (RFC 3986 5.2.4); above the root: refused | refused |
//! | `.` and `..` that are encoded, or that have parameters (`..;x`) | refused | |
//! | `;parameters` | sent; a prefix matches the segment without them, and `%3B` counts as `;` there | refused |
//! | a segment of parameters only (`/;x/`) | refused | |
//! | `%2F` | refused | kept and matched as `/`, or decoded before everything else |
//! | `\`, `%5C`, encoded controls and NUL, bad encodings, overlong UTF-8 | refused | |
//! | `%25` before the digits of a plain character, `/`, `\`, `;`, `%` or a control (encoded twice) | refused | |
//!
//! Letters keep their case: paths are case-sensitive (RFC 9110 4.2.3), and so are prefixes. The query is not
//! looked at.

/// What is left to the operator. Whatever is chosen, no path is matched as another one than an origin may take it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathRules {
    pub encoded_slash: EncodedSlash,
    pub repeated_slashes: RepeatedSlashes,
    pub dot_segments: DotSegments,
    pub encoded_unreserved: EncodedUnreserved,
    pub parameters: Parameters,
}

/// What is done about `%2F`, which origins take for `/` or for a character of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncodedSlash {
    #[default]
    Refuse,
    /// Sent as it is, and matched as the `/` that it may become.
    Keep,
    /// A slash like any other, before anything else is looked at.
    Decode,
}

/// What is done about `//`, which most origins take for `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RepeatedSlashes {
    #[default]
    Merge,
    Refuse,
    /// Sent as it is, and matched as `/`. Those at the start are merged all the same: `//name` is a host to who follows it
    /// (RFC 3986 4.2).
    Keep,
}

/// What is done about the segments `.` and `..`. They are never sent: who resolves them decides what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DotSegments {
    #[default]
    Resolve,
    Refuse,
}

/// What is done about percent-encoded letters, digits and `-._~`, which no client has to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncodedUnreserved {
    #[default]
    Decode,
    Refuse,
}

/// What is done about `;parameters`, which some origins cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parameters {
    /// Sent as they are, and not matched.
    #[default]
    Keep,
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathVerdict {
    /// The path is in normal form.
    Unchanged,
    /// The normal form was written to `out`.
    Normalised,
}

/// Why a path is refused (400).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathError {
    /// Does not start with `/`.
    NotAbsolute,
    /// A byte that no path has: a control, a space, `?`, `#`, anything but ASCII.
    InvalidByte,
    /// `%` without two hexadecimal digits.
    InvalidEncoding,
    EncodedControl,
    EncodedSlash,
    /// A letter, digit or `-._~` that is encoded.
    EncodedUnreserved,
    RepeatedSlash,
    Backslash,
    /// `.` or `..`, written plainly.
    DotSegment,
    /// `.` or `..` that is encoded, has parameters, or stands between encoded slashes.
    HiddenDotSegment,
    /// `..` that leaves the root.
    AboveRoot,
    Parameters,
    /// Parameters without a segment, which hides an empty one.
    EmptySegment,
    OverlongEncoding,
    DoubleEncoding,
}

impl std::error::Error for PathError {}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ambiguous path: {self:?}")
    }
}

/// Checks a path, without its query. `*` and the empty path (of CONNECT) are left alone. `out` is cleared; its
/// content only means something after `Normalised`.
pub fn check_or_normalise(
    path: &[u8],
    rules: PathRules,
    out: &mut Vec<u8>,
) -> Result<PathVerdict, PathError> {
    if is_plain(path) {
        return Ok(PathVerdict::Unchanged);
    }
    normalise(path, rules, out)
}

/// Whether nothing in the path needs a closer look: the usual case.
fn is_plain(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return path.is_empty() || path == b"*";
    }
    let mut before = 0;
    for byte in path {
        let class = CLASS.get(usize::from(*byte)).copied().unwrap_or(Class::LookCloser);
        match class {
            Class::Plain => {}
            Class::AfterSlash if before != b'/' => {}
            _ => return false,
        }
        before = *byte;
    }
    true
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    /// Plain unless a slash is before it: `//`, `/.`.
    AfterSlash,
    LookCloser,
}

const CLASS: [Class; 256] = {
    let mut table = [Class::LookCloser; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'/' | b'.' => Class::AfterSlash,
            b'%' | b';' | b'\\' | b'#' | b'?' => Class::LookCloser,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

#[cold]
fn normalise(path: &[u8], rules: PathRules, out: &mut Vec<u8>) -> Result<PathVerdict, PathError> {
    out.clear();
    let with_slashes = if rules.encoded_slash == EncodedSlash::Decode { decode_slashes(path) } else { None };
    if !path.starts_with(b"/") {
        return Err(PathError::NotAbsolute);
    }
    let received = with_slashes.as_deref().unwrap_or(path);
    let mut segments = received.get(1..).unwrap_or_default().split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let start = out.len();
        out.push(b'/');
        let hidden = push_segment(segment, rules, out)?;
        match out.get(start + 1..).unwrap_or_default() {
            // At the end it makes the path a directory.
            b"" if !last => match rules.repeated_slashes {
                RepeatedSlashes::Refuse => return Err(PathError::RepeatedSlash),
                RepeatedSlashes::Keep if start > 0 => {}
                _ => out.truncate(start),
            },
            b"." | b".." if hidden => return Err(PathError::HiddenDotSegment),
            b"." | b".." if rules.dot_segments == DotSegments::Refuse => return Err(PathError::DotSegment),
            b"." => {
                out.truncate(start);
                if last {
                    out.push(b'/');
                }
            }
            b".." => {
                out.truncate(start);
                let parent = out.iter().rposition(|b| *b == b'/').ok_or(PathError::AboveRoot)?;
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            written => check_parts(written, rules)?,
        }
    }
    Ok(if out == path { PathVerdict::Unchanged } else { PathVerdict::Normalised })
}

/// Appends one segment in normal form; says whether a dot in it was encoded.
fn push_segment(segment: &[u8], rules: PathRules, out: &mut Vec<u8>) -> Result<bool, PathError> {
    let mut encoded_dot = false;
    let mut rest = segment;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match *byte {
            b'%' => {
                let value = decoded(after)?;
                rest = after.get(2..).unwrap_or_default();
                check_encoded(value, rest, rules)?;
                if is_unreserved(value) {
                    if rules.encoded_unreserved == EncodedUnreserved::Refuse {
                        return Err(PathError::EncodedUnreserved);
                    }
                    encoded_dot |= value == b'.';
                    out.push(value);
                } else {
                    out.extend_from_slice(&[b'%', upper_hex(value >> 4), upper_hex(value & 0xf)]);
                }
            }
            b'\\' => return Err(PathError::Backslash),
            b'#' | b'?' | ..=0x20 | 0x7f.. => return Err(PathError::InvalidByte),
            byte => out.push(byte),
        }
    }
    Ok(encoded_dot)
}

fn check_encoded(value: u8, after: &[u8], rules: PathRules) -> Result<(), PathError> {
    match value {
        0..0x20 | 0x7f => Err(PathError::EncodedControl),
        b'\\' => Err(PathError::Backslash),
        b'/' if rules.encoded_slash == EncodedSlash::Refuse => Err(PathError::EncodedSlash),
        b';' if rules.parameters == Parameters::Refuse => Err(PathError::Parameters),
        // Two to four bytes where UTF-8 has a shorter form: how `/` and `.` once got past checks.
        0xc0 | 0xc1 | 0xe0 | 0xf0 => {
            let next = after.strip_prefix(b"%").map(decoded);
            let overlong = matches!(
                (value, next),
                (0xc0 | 0xc1, Some(Ok(0x80..=0xbf)))
                    | (0xe0, Some(Ok(0x80..=0x9f)))
                    | (0xf0, Some(Ok(0x80..=0x8f)))
            );
            if overlong { Err(PathError::OverlongEncoding) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// The path with every `%2F` as a slash, where it has any.
fn decode_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let is_slash = |triple: &[u8]| matches!(triple, b"%2F" | b"%2f");
    path.windows(3).any(is_slash).then(|| {
        let mut decoded = Vec::with_capacity(path.len());
        let mut rest = path;
        while let Some((byte, after)) = rest.split_first() {
            let slash = rest.get(..3).is_some_and(is_slash);
            decoded.push(if slash { b'/' } else { *byte });
            rest = if slash { rest.get(3..).unwrap_or_default() } else { after };
        }
        decoded
    })
}

/// Checks a segment in normal form: its name before parameters, what encoded slashes separate, and what decoding it
/// twice would give.
fn check_parts(segment: &[u8], rules: PathRules) -> Result<(), PathError> {
    if !segment.iter().any(|b| matches!(b, b';' | b'%')) {
        return Ok(());
    }
    if rules.parameters == Parameters::Refuse && segment.contains(&b';') {
        return Err(PathError::Parameters);
    }
    let mut rest = segment;
    while let Some(at) = rest.windows(3).position(|w| w == b"%25") {
        rest = rest.get(at + 3..).unwrap_or_default();
        // `%2520` and the like come from clients that encode twice by mistake, and hide nothing.
        let hides =
            |value| is_unreserved(value) || value < 0x20 || matches!(value, b'/' | b'\\' | b'%' | b';');
        if decoded(rest).is_ok_and(hides) {
            return Err(PathError::DoubleEncoding);
        }
    }
    let mut parts = vec![Vec::new()];
    match_key(segment, |byte| {
        if byte == b'/' {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
    });
    for part in parts {
        match part.as_slice() {
            b"" => return Err(PathError::EmptySegment),
            b"." | b".." => return Err(PathError::HiddenDotSegment),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a path is compared in another form than it is sent in.
pub(crate) fn needs_match_key(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().any(|byte| {
        let repeated = *byte == b'/' && before == b'/';
        before = *byte;
        repeated || matches!(byte, b';' | b'%')
    })
}

/// Gives the bytes that paths of routes are compared with: the path without parameters, `%2F` and `//` as `/`.
pub(crate) fn match_key(path: &[u8], mut emit: impl FnMut(u8)) {
    let mut rest = path;
    let mut in_parameters = false;
    let mut before = 0;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let mut byte = *byte;
        let encoded = if byte == b'%' { decoded(after).ok() } else { None };
        if let Some(value @ (b'/' | b';')) = encoded {
            byte = value;
            rest = after.get(2..).unwrap_or_default();
        } else if byte == b'/' && before == b'/' {
            continue;
        }
        before = byte;
        match byte {
            b'/' => {
                in_parameters = false;
                emit(b'/');
            }
            b';' => in_parameters = true,
            byte if !in_parameters => emit(byte),
            _ => {}
        }
    }
}

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that two hexadecimal digits stand for.
fn decoded(digits: &[u8]) -> Result<u8, PathError> {
    let [high, low, ..] = digits else { return Err(PathError::InvalidEncoding) };
    match ((*high as char).to_digit(16), (*low as char).to_digit(16)) {
        (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
        _ => Err(PathError::InvalidEncoding),
    }
}

fn upper_hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}

#[cfg(test)]
mod tests;
