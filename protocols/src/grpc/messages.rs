//! Counting messages in a body that passes in pieces.

/// The prefix of a message: one byte of flags and its length in four (the protocol, "Length-Prefixed-Message").
const PREFIX_BYTES: u8 = 5;

/// Follows the messages of one direction. It holds no data: five bytes of state, however large a message is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages {
    prefix_bytes: u8,
    length: u32,
    /// Bytes of the present message that are still to come, its prefix complete.
    left: u32,
    complete: u64,
}

impl Messages {
    /// Takes the next piece of the body into account, however messages are split over pieces.
    pub fn take(&mut self, mut piece: &[u8]) {
        while let Some((first, rest)) = piece.split_first() {
            if self.prefix_bytes < PREFIX_BYTES {
                // The flags go through the length too, and are shifted out of it.
                self.length = self.length << 8 | u32::from(*first);
                self.prefix_bytes += 1;
                piece = rest;
                if self.prefix_bytes == PREFIX_BYTES {
                    self.left = self.length;
                }
            } else {
                let taken = piece.len().min(self.left as usize);
                self.left -= taken as u32;
                piece = piece.get(taken..).unwrap_or_default();
            }
            if self.prefix_bytes == PREFIX_BYTES && self.left == 0 {
                self.complete += 1;
                self.prefix_bytes = 0;
                self.length = 0;
            }
        }
    }

    /// Messages that were complete.
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// No message has been begun and not ended.
    pub fn is_between(&self) -> bool {
        self.prefix_bytes == 0
    }
}
