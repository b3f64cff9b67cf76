//! Integers with a prefix of some bits (RFC 7541 5.1).

use super::CompressionError;

/// Bytes that may follow the prefix. What they hold, more than 268 million, is beyond every length and table size that
/// is allowed; an endless row of zeros is refused by it too.
const CONTINUATION_BYTES_MAX: u32 = 4;

/// Reads an integer at `at` and moves past it.
#[inline]
pub(super) fn decode(block: &[u8], at: &mut usize, prefix_bits: u32) -> Result<u32, CompressionError> {
    let prefix_max = (1u32 << prefix_bits) - 1;
    let first = u32::from(*block.get(*at).ok_or(CompressionError::Truncated)?) & prefix_max;
    *at += 1;
    if first < prefix_max { Ok(first) } else { decode_rest(block, at, prefix_max) }
}

fn decode_rest(block: &[u8], at: &mut usize, prefix_max: u32) -> Result<u32, CompressionError> {
    let mut value = prefix_max;
    for group in 0..CONTINUATION_BYTES_MAX {
        let byte = *block.get(*at).ok_or(CompressionError::Truncated)?;
        *at += 1;
        // Four groups of seven bits and a prefix fit into 32 bits.
        value += u32::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(CompressionError::IntegerOverflow)
}

/// Appends an integer; `pattern` has the bits before the prefix.
#[inline]
pub(super) fn encode(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let prefix_max = (1usize << prefix_bits) - 1;
    if value < prefix_max {
        // Below 128 by the line above.
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | prefix_max as u8);
    let mut rest = value - prefix_max;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
