//! Fields into header blocks (RFC 7541 6), without a dynamic table and without Huffman coding.

use super::{huffman, integer, static_table};
use crate::message::FieldKind;

/// The pseudo-header fields of the static table (RFC 7541 appendix A) by index; a value that is not there follows the
/// index as a literal.
pub(crate) const AUTHORITY: u8 = 1;
pub(crate) const METHOD: u8 = 2;
pub(crate) const METHOD_POST: u8 = 3;
pub(crate) const PATH: u8 = 4;
pub(crate) const SCHEME: u8 = 6;
pub(crate) const SCHEME_HTTPS: u8 = 7;
pub(crate) const STATUS: u8 = 8;

/// A whole field of the static table (6.1).
#[inline]
pub(crate) fn indexed(out: &mut Vec<u8>, index: u8) {
    out.push(0x80 | index);
}

/// A table size update to zero (6.3): nothing that we send needs a table.
pub(crate) fn no_table(out: &mut Vec<u8>) {
    out.push(0x20);
}

/// A literal with a name of the static table (6.2.2, 6.2.3).
#[inline]
pub(crate) fn literal_indexed(out: &mut Vec<u8>, index: u8, value: &[u8], never_indexed: bool) {
    integer::encode(out, literal_pattern(never_indexed), 4, usize::from(index));
    string(out, value);
}

/// The same with a value in parts.
pub(crate) fn literal_indexed_parts(out: &mut Vec<u8>, index: u8, parts: [&[u8]; 3]) {
    integer::encode(out, literal_pattern(false), 4, usize::from(index));
    integer::encode(out, 0, 7, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// A literal with its name, which is lower case already.
#[inline]
pub fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8], never_indexed: bool) {
    out.push(literal_pattern(never_indexed));
    string(out, name);
    string(out, value);
}

/// A literal of a name in any case: by the index of its kind, where it has one.
#[inline]
pub(crate) fn field(out: &mut Vec<u8>, kind: FieldKind, name: &[u8], value: &[u8], never_indexed: bool) {
    let index = static_table::index_of(kind);
    if index != 0 {
        literal_indexed(out, index, value, never_indexed);
        return;
    }
    out.push(literal_pattern(never_indexed));
    integer::encode(out, 0, 7, name.len());
    let start = out.len();
    out.extend_from_slice(name);
    out.get_mut(start..).unwrap_or_default().make_ascii_lowercase();
    string(out, value);
}

fn literal_pattern(never_indexed: bool) -> u8 {
    if never_indexed { 0x10 } else { 0 }
}

/// RFC 7541 5.2, as it is.
#[inline]
fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer::encode(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// RFC 7541 5.2 with Huffman coding: for the bench that says why it is not used, and for the tests of the decoder.
pub fn huffman_string(out: &mut Vec<u8>, text: &[u8]) {
    integer::encode(out, 0x80, 7, huffman::encoded_len(text));
    huffman::encode(text, out);
}
