//! The Huffman code of HPACK (RFC 7541 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and those of the next
//! length go on where they stop. So the lengths say everything, and the tables are computed from them.

use super::CompressionError;

/// Appends what the code stands for: at most 8/5 of its length, as no code is shorter than 5 bits.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    out.reserve(input.len() * 8 / 5);
    let mut input = input;
    // The highest `count` of `bits` are still to be read; zeros follow them.
    let (mut bits, mut count) = (0u64, 0u32);
    loop {
        if let Some((word, tail)) = input.split_first_chunk::<4>() {
            // At most 29 bits are left, so that 32 more fit.
            bits |= u64::from(u32::from_be_bytes(*word)) << (32 - count);
            count += 32;
            input = tail;
        } else {
            for byte in std::mem::take(&mut input) {
                bits |= u64::from(*byte) << (56 - count);
                count += 8;
            }
        }
        // As many bits as the longest code has need no look at how many there are.
        while count >= LENGTH_MAX {
            let (mut symbol, mut length) = short_symbol_at(bits);
            if length == 0 {
                (symbol, length) = long_symbol_at(bits)?;
            }
            out.push(symbol);
            bits <<= length;
            count -= length;
        }
        if input.is_empty() {
            return decode_end(bits, count, out);
        }
    }
}

/// The last few symbols, and the padding.
fn decode_end(mut bits: u64, mut count: u32, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    loop {
        let (mut symbol, mut length) = short_symbol_at(bits);
        if length == 0 {
            (symbol, length) = long_symbol_at(bits)?;
        }
        if length > count {
            // RFC 7541 5.2: what remains is up to 7 bits of the beginning of EOS, which has only ones.
            let padding = if count == 0 { 0 } else { u64::MAX << (64 - count) };
            return if count <= 7 && bits == padding {
                Ok(())
            } else {
                Err(CompressionError::InvalidHuffman)
            };
        }
        out.push(symbol);
        bits <<= length;
        count -= length;
    }
}

/// The symbol whose code the bits start with, and the length of that code; a length of 0 where the code is long.
#[inline]
fn short_symbol_at(bits: u64) -> (u8, u32) {
    let entry = SHORT_CODES.get((bits >> (64 - SHORT_BITS)) as usize).copied().unwrap_or(0);
    (entry as u8, u32::from(entry >> 8))
}

/// Codes that are longer than [`SHORT_BITS`]: bytes that are rare in fields.
#[cold]
fn long_symbol_at(bits: u64) -> Result<(u8, u32), CompressionError> {
    let window = (bits >> 32) as u32;
    for group in &LONG_CODES {
        let distance = window.wrapping_sub(group.first) >> (32 - group.length);
        if window >= group.first && distance < group.count {
            let symbol = SORTED.get((group.sorted_at + distance) as usize).copied();
            // EOS, the only symbol that is not a byte, must not be in a string (RFC 7541 5.2).
            let byte = symbol.and_then(|symbol| u8::try_from(symbol).ok());
            return byte.map(|byte| (byte, group.length)).ok_or(CompressionError::InvalidHuffman);
        }
    }
    Err(CompressionError::InvalidHuffman)
}

/// Bytes that [`encode`] makes of the input.
pub(super) fn encoded_len(input: &[u8]) -> usize {
    let bits = input.iter().map(|byte| code(*byte).1 as usize).sum::<usize>();
    bits.div_ceil(8)
}

/// Appends the code of the input.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0u32);
    for byte in input {
        let (code, length) = code(*byte);
        bits = bits << length | u64::from(code);
        count += length;
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
        }
    }
    while count >= 8 {
        count -= 8;
        out.push((bits >> count) as u8);
    }
    if count > 0 {
        let padding = (1u64 << (8 - count)) - 1;
        out.push((bits << (8 - count) | padding) as u8);
    }
}

fn code(byte: u8) -> (u32, u32) {
    // There is one for every byte.
    CODES.get(usize::from(byte)).copied().unwrap_or_default()
}

const SYMBOLS: usize = 257;
const LENGTH_MAX: u32 = 30;
/// Codes of up to so many bits are found by one look: letters, digits, and what is usual in between.
const SHORT_BITS: u32 = 10;

/// Lengths of the codes by symbol, the last being EOS (RFC 7541 appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// Symbols in the order of their codes.
const SORTED: [u16; SYMBOLS] = {
    let mut sorted = [0; SYMBOLS];
    let (mut length, mut at) = (1, 0);
    while length <= LENGTH_MAX as u8 {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] == length {
                sorted[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    sorted
};

/// Code and length by symbol.
static CODES: [(u32, u32); SYMBOLS] = {
    let mut codes = [(0, 0); SYMBOLS];
    let (mut code, mut before, mut at) = (0u32, LENGTHS[SORTED[0] as usize], 0);
    while at < SYMBOLS {
        let symbol = SORTED[at] as usize;
        code <<= LENGTHS[symbol] - before;
        before = LENGTHS[symbol];
        codes[symbol] = (code, LENGTHS[symbol] as u32);
        code += 1;
        at += 1;
    }
    codes
};

/// Symbol, and above it the length, by the first bits; 0 where the code is longer.
static SHORT_CODES: [u16; 1 << SHORT_BITS] = {
    let mut table = [0; 1 << SHORT_BITS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let (code, length) = CODES[symbol];
        if length <= SHORT_BITS {
            let from = (code << (SHORT_BITS - length)) as usize;
            let mut at = from;
            while at < from + (1 << (SHORT_BITS - length)) {
                table[at] = (length as u16) << 8 | symbol as u16;
                at += 1;
            }
        }
        symbol += 1;
    }
    table
};

/// Codes of one length.
#[derive(Clone, Copy)]
struct Group {
    length: u32,
    /// The first code, as the highest bits.
    first: u32,
    count: u32,
    /// Where the symbols begin in [`SORTED`].
    sorted_at: u32,
}

static LONG_CODES: [Group; (LENGTH_MAX - SHORT_BITS) as usize] = {
    let mut groups =
        [Group { length: 0, first: 0, count: 0, sorted_at: 0 }; (LENGTH_MAX - SHORT_BITS) as usize];
    let mut index = 0;
    while index < groups.len() {
        let length = SHORT_BITS + 1 + index as u32;
        groups[index].length = length;
        let mut at = 0;
        while at < SYMBOLS {
            if LENGTHS[SORTED[at] as usize] as u32 == length {
                if groups[index].count == 0 {
                    groups[index].first = CODES[SORTED[at] as usize].0 << (32 - length);
                    groups[index].sorted_at = at as u32;
                }
                groups[index].count += 1;
            }
            at += 1;
        }
        index += 1;
    }
    groups
};
