//! The last block of a connection, in case it comes again.
//!
//! Clients that send the same request again and again send the same bytes once their table has settled, and then one
//! comparison stands for all the work. A block has to come twice before its head is kept, so that others cost no more
//! than a copy of their bytes.

use crate::http1::HeadLimits;
use crate::message::{Field, Method};

/// What a head depends on, beside its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) limits: HeadLimits,
    pub(super) end_stream: bool,
    pub(super) connect_protocol: bool,
    pub(super) method: Method,
    pub(super) table_changes: u64,
}

/// A block, and once it has come again what it says.
#[derive(Debug, Default)]
pub(super) struct Repeat<H> {
    block: Vec<u8>,
    asked: Option<Asked>,
    /// Without its fields.
    head: Option<H>,
    fields: Vec<Field>,
    bytes: Vec<u8>,
}

/// Blocks and renditions above this are not kept: they bound what an idle connection occupies.
const BLOCK_BYTES_MAX: usize = 512;
const HEAD_BYTES_MAX: usize = 1024;

impl<H: Clone> Repeat<H> {
    /// Whether this is the block, and would mean the same.
    pub(super) fn is(&self, block: &[u8], asked: &Asked) -> bool {
        self.block == block && self.asked == Some(*asked)
    }

    /// Copies what is kept; gives the head without its fields.
    pub(super) fn kept(&self, bytes: &mut Vec<u8>, fields: &mut Vec<Field>) -> Option<&H> {
        let head = self.head.as_ref()?;
        bytes.clear();
        bytes.extend_from_slice(&self.bytes);
        fields.clear();
        fields.extend_from_slice(&self.fields);
        Some(head)
    }

    /// Keeps a block, or what it says where it is the same again. `head` has no fields.
    pub(super) fn remember(&mut self, block: &[u8], asked: Asked, head: &H, bytes: &[u8], fields: &[Field]) {
        if block.len() > BLOCK_BYTES_MAX || bytes.len() > HEAD_BYTES_MAX {
            return;
        }
        if self.is(block, &asked) {
            self.head = Some(head.clone());
            self.fields.clear();
            self.fields.extend_from_slice(fields);
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
        } else {
            self.head = None;
            self.block.clear();
            self.block.extend_from_slice(block);
            self.asked = Some(asked);
        }
    }
}
