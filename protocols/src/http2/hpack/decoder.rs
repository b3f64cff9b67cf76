//! Header blocks into lines (RFC 7541 3 and 6).

use super::dynamic_table::DynamicTable;
use super::rules::{Name, broken_value};
use super::{CompressionError, INITIAL_TABLE_BYTES, huffman, integer, static_table};
use crate::http2::head::Malformed;

/// A field that was decoded: its line ends the bytes that were given, and this is what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Where the line starts.
    pub start: usize,
    pub name_bytes: usize,
    pub name: Name,
    pub broken_value: Option<Malformed>,
    /// A literal that is never indexed (RFC 7541 6.2.3).
    pub never_indexed: bool,
}

impl Line {
    /// Where the value starts.
    pub fn value_start(&self) -> usize {
        self.start + self.name_bytes + SEPARATOR.len()
    }
}

/// What follows a name in a line, and ends the line.
const SEPARATOR: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

/// The decoder of one connection: blocks have to come in the order in which they were received.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    /// What we announced, in force once the peer has acknowledged it.
    announced_bytes: u32,
    /// The largest table size that the peer may choose now.
    table_bytes_max: u32,
}

impl Decoder {
    /// Gives back room that the entries do not fill.
    pub fn release_memory(&mut self) {
        self.table.release_memory();
    }

    pub fn new(announced_bytes: u32) -> Decoder {
        Decoder {
            table: DynamicTable::new(INITIAL_TABLE_BYTES),
            announced_bytes,
            table_bytes_max: announced_bytes.max(INITIAL_TABLE_BYTES),
        }
    }

    pub fn settings_acknowledged(&mut self) {
        self.table_bytes_max = self.announced_bytes;
    }

    /// Changes with the dynamic table.
    pub fn table_changes(&self) -> u64 {
        self.table.changes()
    }

    /// Whether the next block has to start with a table size update.
    pub fn awaits_size_update(&self) -> bool {
        self.table.bytes_max() > self.table_bytes_max
    }

    /// Reads the table size updates at the start of a block (RFC 7541 4.2) and moves past them.
    pub fn begin(&mut self, block: &[u8], at: &mut usize) -> Result<(), CompressionError> {
        while block.get(*at).is_some_and(|first| first >> 5 == 0b001) {
            let bytes_max = integer::decode(block, at, 5)?;
            if bytes_max > self.table_bytes_max {
                return Err(CompressionError::TableTooLarge);
            }
            self.table.set_bytes_max(bytes_max);
        }
        if self.awaits_size_update() { Err(CompressionError::MissingSizeUpdate) } else { Ok(()) }
    }

    /// Appends the line of the field at `at` and moves past it; `None` at the end of the block.
    #[inline(always)]
    pub fn next(
        &mut self,
        block: &[u8],
        at: &mut usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<Line>, CompressionError> {
        let Some(first) = block.get(*at) else { return Ok(None) };
        let line = if first & 0x80 != 0 {
            let index = integer::decode(block, at, 7)?;
            self.indexed(index, out)?
        } else if first >> 6 == 0b01 {
            let line = self.literal(block, at, 6, out)?;
            let text = out.get(line.start..).unwrap_or_default();
            self.table.insert(text, line.name_bytes as u32, line.name, line.broken_value);
            line
        } else if first >> 5 == 0b001 {
            return Err(CompressionError::MisplacedSizeUpdate);
        } else {
            let never_indexed = first >> 4 == 0b0001;
            Line { never_indexed, ..self.literal(block, at, 4, out)? }
        };
        Ok(Some(line))
    }

    /// Reads the rest of a block for the table alone. An indexed field is not copied here: one byte could otherwise
    /// stand for the work of a whole table, as often as the block is long.
    pub fn skip_rest(&mut self, block: &[u8], mut at: usize) -> Result<(), CompressionError> {
        let mut scratch = Vec::new();
        while let Some(first) = block.get(at) {
            if first & 0x80 != 0 {
                let index = integer::decode(block, &mut at, 7)?;
                self.check_index(index)?;
            } else {
                scratch.clear();
                self.next(block, &mut at, &mut scratch)?;
            }
        }
        Ok(())
    }

    fn check_index(&self, index: u32) -> Result<(), CompressionError> {
        let known = static_table::get(index).is_some()
            || self.table.get(index.wrapping_sub(static_table::LEN + 1)).is_some();
        if known { Ok(()) } else { Err(CompressionError::InvalidIndex) }
    }

    /// RFC 7541 6.1.
    #[inline]
    fn indexed(&self, index: u32, out: &mut Vec<u8>) -> Result<Line, CompressionError> {
        let start = out.len();
        if let Some(entry) = static_table::get(index) {
            out.extend_from_slice(entry.line);
            return Ok(Line {
                start,
                name_bytes: entry.name_bytes as usize,
                name: entry.name,
                broken_value: None,
                never_indexed: false,
            });
        }
        let (entry, line) = self.dynamic(index)?;
        out.extend_from_slice(line);
        Ok(Line {
            start,
            name_bytes: entry.name_bytes as usize,
            name: entry.name,
            broken_value: entry.broken_value,
            never_indexed: false,
        })
    }

    fn dynamic(&self, index: u32) -> Result<(&super::dynamic_table::Entry, &[u8]), CompressionError> {
        // An index of 0 wraps around to one that no table has.
        self.table.get(index.wrapping_sub(static_table::LEN + 1)).ok_or(CompressionError::InvalidIndex)
    }

    /// RFC 7541 6.2.
    fn literal(
        &self,
        block: &[u8],
        at: &mut usize,
        prefix_bits: u32,
        out: &mut Vec<u8>,
    ) -> Result<Line, CompressionError> {
        let start = out.len();
        let index = integer::decode(block, at, prefix_bits)?;
        let name = if index == 0 {
            string(block, at, out)?;
            Name::of(out.get(start..).unwrap_or_default())
        } else if let Some(entry) = static_table::get(index) {
            out.extend_from_slice(entry.line.get(..entry.name_bytes as usize).unwrap_or_default());
            entry.name
        } else {
            let (entry, line) = self.dynamic(index)?;
            out.extend_from_slice(line.get(..entry.name_bytes as usize).unwrap_or_default());
            entry.name
        };
        let name_bytes = out.len() - start;
        out.extend_from_slice(SEPARATOR);
        let value_start = out.len();
        string(block, at, out)?;
        let broken_value = broken_value(out.get(value_start..).unwrap_or_default());
        out.extend_from_slice(LINE_END);
        Ok(Line { start, name_bytes, name, broken_value, never_indexed: false })
    }
}

/// RFC 7541 5.2: appends a string literal.
fn string(block: &[u8], at: &mut usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let coded = block.get(*at).is_some_and(|first| first & 0x80 != 0);
    let length = integer::decode(block, at, 7)? as usize;
    let text = block.get(*at..*at + length).ok_or(CompressionError::Truncated)?;
    *at += length;
    if coded {
        huffman::decode(text, out)
    } else {
        out.extend_from_slice(text);
        Ok(())
    }
}
