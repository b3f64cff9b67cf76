//! What RFC 9113 8.2 and 8.3 ask of a single field, found out once and kept with an entry of a table.

use crate::http1::is_token;
use crate::http2::head::Malformed;
use crate::http2::words;
use crate::message::FieldKind;

/// What a field name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Field(FieldKind),
    /// Pseudo-header fields (RFC 9113 8.3, RFC 8441 4).
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    UnknownPseudo,
    Broken(Malformed),
}

impl Name {
    /// RFC 9113 8.2.1: a token without capitals. A colon is only for pseudo-header fields, which are all known.
    pub fn of(name: &[u8]) -> Name {
        match name {
            [] => return Name::Broken(Malformed::EmptyName),
            [b':', pseudo @ ..] => return Name::of_pseudo(pseudo),
            _ => {}
        }
        // No early exit: names are short and nearly always in order.
        let sound =
            name.iter().fold(true, |sound, b| sound & NAME_BYTES.get(usize::from(*b)).is_some_and(|b| *b));
        if sound { Name::Field(FieldKind::of(name)) } else { Name::Broken(broken_name(name)) }
    }

    fn of_pseudo(name: &[u8]) -> Name {
        match name {
            b"method" => Name::Method,
            b"scheme" => Name::Scheme,
            b"authority" => Name::Authority,
            b"path" => Name::Path,
            b"protocol" => Name::Protocol,
            b"status" => Name::Status,
            _ => Name::UnknownPseudo,
        }
    }
}

#[cold]
fn broken_name(name: &[u8]) -> Malformed {
    let token = name.iter().all(|b| is_token(*b));
    if token { Malformed::UpperCaseName } else { Malformed::InvalidName }
}

/// RFC 9113 8.2.1 and RFC 9110 5.5: no control bytes, no white space at either end.
pub(super) fn broken_value(value: &[u8]) -> Option<Malformed> {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t');
    if value.first().is_some_and(is_space) || value.last().is_some_and(is_space) {
        return Some(Malformed::SpaceAroundValue);
    }
    // A tab is the one control byte that may be within.
    let is_control = |b: &u8| matches!(b, 0..0x20 | 0x7f) && *b != b'\t';
    let broken = !words::is_text(value) && value.iter().any(is_control);
    broken.then_some(Malformed::InvalidValue)
}

/// Bytes of a name: `tchar` (RFC 9110 5.6.2) without capitals.
static NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token(byte as u8) && !(byte as u8).is_ascii_uppercase();
        byte += 1;
    }
    table
};
