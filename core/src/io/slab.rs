//! A slab in pages: stable addresses, no doubling copy, an index that is reused only after its value was removed.

/// Values of one page. A page is never moved or freed while the slab lives.
const PAGE_LEN: usize = 64;

enum Entry<T> {
    Free { next: u32 },
    Used(T),
}

const NONE: u32 = u32::MAX;

/// Values by small integer keys.
pub(crate) struct Slab<T> {
    pages: Vec<Box<[Entry<T>]>>,
    free: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab::new()
    }
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Slab { pages: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Stores a value; its key stays valid until [`Slab::remove`].
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if self.free == NONE {
            self.grow();
        }
        let key = self.free;
        let entry = self.entry_mut(key).expect("the free list points into the slab");
        let Entry::Free { next } = *entry else { unreachable!("the free list holds free entries only") };
        *entry = Entry::Used(value);
        self.free = next;
        self.len += 1;
        key
    }

    #[inline]
    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        match self.pages.get(key as usize / PAGE_LEN)?.get(key as usize % PAGE_LEN)? {
            Entry::Used(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        match self.entry_mut(key)? {
            Entry::Used(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let next = self.free;
        let entry = self.entry_mut(key)?;
        if matches!(entry, Entry::Free { .. }) {
            return None;
        }
        let Entry::Used(value) = std::mem::replace(entry, Entry::Free { next }) else { return None };
        self.free = key;
        self.len -= 1;
        Some(value)
    }

    /// Keys of all values, ascending.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> + '_ {
        self.pages.iter().enumerate().flat_map(|(page, entries)| {
            entries.iter().enumerate().filter_map(move |(i, entry)| match entry {
                Entry::Used(value) => Some(((page * PAGE_LEN + i) as u32, value)),
                Entry::Free { .. } => None,
            })
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> + '_ {
        self.pages.iter_mut().enumerate().flat_map(|(page, entries)| {
            entries.iter_mut().enumerate().filter_map(move |(i, entry)| match entry {
                Entry::Used(value) => Some(((page * PAGE_LEN + i) as u32, value)),
                Entry::Free { .. } => None,
            })
        })
    }

    #[inline]
    fn entry_mut(&mut self, key: u32) -> Option<&mut Entry<T>> {
        self.pages.get_mut(key as usize / PAGE_LEN)?.get_mut(key as usize % PAGE_LEN)
    }

    fn grow(&mut self) {
        let first = (self.pages.len() * PAGE_LEN) as u32;
        assert!(first < NONE - PAGE_LEN as u32, "a slab holds at most 2^32 values");
        let last = first + PAGE_LEN as u32 - 1;
        let page = (first..=last)
            .map(|key| Entry::Free { next: if key == last { NONE } else { key + 1 } })
            .collect::<Vec<_>>();
        self.pages.push(page.into_boxed_slice());
        self.free = first;
    }
}

/// Memory of one entry.
#[cfg(test)]
pub(super) const fn entry_bytes<T>() -> usize {
    size_of::<Entry<T>>()
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn keys_are_reused_only_after_removal() {
        let mut slab = Slab::new();
        let keys: Vec<u32> = (0..1000).map(|i| slab.insert(i)).collect();
        assert_eq!(slab.len(), 1000);
        assert_eq!(slab.remove(keys[500]), Some(500));
        assert_eq!(slab.remove(keys[500]), None);
        assert_eq!(slab.get(keys[500]), None);
        assert_eq!(slab.insert(7), keys[500]);
        assert_eq!(slab.keys().count(), 1000);
        for (i, key) in keys.iter().enumerate().filter(|(i, _)| *i != 500) {
            assert_eq!(slab.get(*key), Some(&(i as i32)));
        }
    }
}
