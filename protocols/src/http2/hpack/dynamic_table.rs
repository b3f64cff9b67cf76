//! The dynamic table of a decoder (RFC 7541 2.3.2 and 4).

use std::collections::VecDeque;

use super::rules::Name;
use crate::http2::head::Malformed;

/// What is known of an entry, beside its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Position of its line, counted from the first byte that was ever stored (modulo 2^32).
    position: u32,
    line_bytes: u32,
    pub(super) name_bytes: u32,
    pub(super) name: Name,
    pub(super) broken_value: Option<Malformed>,
}

/// Entries in the order in which they came, each with its text as the line `name: value\r\n`.
#[derive(Debug)]
pub(super) struct DynamicTable {
    entries: VecDeque<Entry>,
    /// Lines of all entries, after `dead` bytes of entries that are gone.
    lines: Vec<u8>,
    dead: usize,
    /// Position of the first byte of `lines`.
    origin: u32,
    /// Size as RFC 7541 4.1 counts it.
    bytes: u32,
    bytes_max: u32,
    /// Goes up with every change, so that a caller can tell whether there was one.
    changes: u64,
}

/// RFC 7541 4.1: what an entry counts beside its name and value.
const ENTRY_OVERHEAD_BYTES: u32 = 32;
/// Bytes of a line beside name and value: `: ` and CRLF.
const LINE_OVERHEAD_BYTES: u32 = 4;

impl DynamicTable {
    /// Gives back room that the entries do not fill.
    pub(super) fn release_memory(&mut self) {
        self.entries.shrink_to_fit();
        self.lines.shrink_to_fit();
    }

    pub(super) fn new(bytes_max: u32) -> DynamicTable {
        DynamicTable {
            entries: VecDeque::new(),
            lines: Vec::new(),
            dead: 0,
            origin: 0,
            bytes: 0,
            bytes_max,
            changes: 0,
        }
    }

    pub(super) fn bytes_max(&self) -> u32 {
        self.bytes_max
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The entry at this index, counted from 0 for the newest, and its line.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<(&Entry, &[u8])> {
        let newest = self.entries.len().checked_sub(1)?;
        let entry = self.entries.get(newest.checked_sub(index as usize)?)?;
        let start = entry.position.wrapping_sub(self.origin) as usize;
        let line = self.lines.get(start..start + entry.line_bytes as usize)?;
        Some((entry, line))
    }

    /// RFC 7541 4.4: makes room and adds an entry; one that is larger than the table empties it.
    pub(super) fn insert(
        &mut self,
        line: &[u8],
        name_bytes: u32,
        name: Name,
        broken_value: Option<Malformed>,
    ) {
        self.changes += 1;
        // A line is part of a header block, whose length is bounded far below 2^32.
        let line_bytes = line.len() as u32;
        let size = line_bytes - LINE_OVERHEAD_BYTES + ENTRY_OVERHEAD_BYTES;
        if size > self.bytes_max {
            self.clear();
            return;
        }
        self.evict_to(self.bytes_max - size);
        self.compact();
        let position = self.origin.wrapping_add(self.lines.len() as u32);
        self.lines.extend_from_slice(line);
        self.entries.push_back(Entry { position, line_bytes, name_bytes, name, broken_value });
        self.bytes += size;
    }

    /// RFC 7541 4.3.
    pub(super) fn set_bytes_max(&mut self, bytes_max: u32) {
        self.changes += 1;
        self.bytes_max = bytes_max;
        self.evict_to(bytes_max);
    }

    fn evict_to(&mut self, bytes: u32) {
        while self.bytes > bytes
            && let Some(oldest) = self.entries.pop_front()
        {
            self.dead += oldest.line_bytes as usize;
            self.bytes -= oldest.line_bytes - LINE_OVERHEAD_BYTES + ENTRY_OVERHEAD_BYTES;
        }
    }

    /// Moves the lines to the front once more than half of them are gone: each byte moves about once.
    fn compact(&mut self) {
        if self.dead * 2 > self.lines.len() {
            self.lines.drain(..self.dead);
            self.origin = self.origin.wrapping_add(self.dead as u32);
            self.dead = 0;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.origin = self.origin.wrapping_add(self.lines.len() as u32);
        self.lines.clear();
        self.dead = 0;
        self.bytes = 0;
    }
}
