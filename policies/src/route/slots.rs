//! An index from hash to id, and the hash.

/// Open addressing. Its keys come from the configuration, so that a client can look for collisions but not make any:
/// the hash needs no secret.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Ids plus one; 0 is empty. The length is a power of two and at least twice the number of ids.
    pub(super) ids: Vec<u32>,
    used: usize,
}

impl Slots {
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.ids.len().checked_sub(1)?;
        let mut at = slot(hash, mask);
        loop {
            // At most half of the slots are used: an empty one ends the search.
            let id = self.ids.get(at)?.checked_sub(1)?;
            if is_it(id) {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
    }

    pub(super) fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.used + 1) * 2 > self.ids.len() {
            let old = std::mem::take(&mut self.ids);
            self.ids = vec![0; (old.len() * 2).max(8)];
            for id in old.into_iter().filter_map(|id| id.checked_sub(1)) {
                self.place(hash_of(id), id);
            }
        }
        self.place(hash, id);
        self.used += 1;
    }

    fn place(&mut self, hash: u64, id: u32) {
        let Some(mask) = self.ids.len().checked_sub(1) else { return };
        let mut at = slot(hash, mask);
        while let Some(slot) = self.ids.get_mut(at) {
            if *slot == 0 {
                *slot = id + 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

fn slot(hash: u64, mask: usize) -> usize {
    // The multiplication of `hash_byte` leaves the best bits on top.
    (hash >> 32) as usize & mask
}

pub(super) const HASH_SEED: u64 = 0x517c_c1b7_2722_0a95;

/// Paths of different hosts must not meet, least of all the empty one that most hosts have.
pub(super) fn path_seed(host: u32) -> u64 {
    (HASH_SEED ^ u64::from(host)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One step of FNV-1a, with a multiplier that spreads to the top bits at once.
pub(super) fn hash_byte(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
