//! Which of the configured hosts a request is for: its own name, then the longest wildcard, then any host.

use super::slots::{HASH_SEED, Slots, hash_byte};

/// Hosts of the configuration, each with an id in the order of their coming.
#[derive(Debug, Default)]
pub struct HostTable {
    names: Vec<Name>,
    pub(super) slots: Slots,
    /// The entry for rules without hosts.
    any: Option<u32>,
    has_wildcards: bool,
}

/// Lower case; a wildcard starts with its dot.
#[derive(Debug)]
struct Name {
    text: Box<[u8]>,
    hash: u64,
}

/// Labels of a wildcard, which bounds how many can match one host.
const WILDCARD_LABELS_MAX: usize = 16;

/// Hosts that match one request, from the most specific.
pub(super) struct Matching {
    ids: [u32; WILDCARD_LABELS_MAX + 2],
    count: usize,
}

impl Matching {
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ids.iter().take(self.count).rev().copied()
    }

    fn push(&mut self, id: u32) {
        if let Some(slot) = self.ids.get_mut(self.count) {
            *slot = id;
            self.count += 1;
        }
    }
}

impl HostTable {
    /// Names and patterns such as `*.example.com`, each found by its index.
    ///
    /// # Errors
    /// The index of one without meaning, or of one that is there twice.
    pub fn build<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<HostTable, usize> {
        let mut table = HostTable::default();
        for (index, name) in names.into_iter().enumerate() {
            let name = checked_host(name).ok_or(index)?;
            if table.id_of(&name) as usize != index {
                return Err(index);
            }
        }
        Ok(table)
    }

    /// The most specific one for a host.
    pub fn find(&self, host: &[u8]) -> Option<usize> {
        self.matching(host).iter().next().map(|id| id as usize)
    }

    /// All that match a host, which may have a port and a trailing dot, in any case of letters.
    pub(super) fn matching(&self, authority: &[u8]) -> Matching {
        let host = host_name(authority);
        let mut matching = Matching { ids: [0; WILDCARD_LABELS_MAX + 2], count: 0 };
        if let Some(any) = self.any {
            matching.push(any);
        }
        // From the right, so that on the way every suffix has its hash. Shorter suffixes come first.
        let mut hash = HASH_SEED;
        for (at, byte) in host.iter().enumerate().rev() {
            hash = hash_byte(hash, byte.to_ascii_lowercase());
            // The label that the asterisk stands for must not be empty.
            if *byte == b'.'
                && self.has_wildcards
                && at > 0
                && let Some(id) = self.known(hash, host.get(at..).unwrap_or_default())
            {
                matching.push(id);
            }
        }
        // A name that starts with a dot would find the wildcard that is kept under it.
        if !matches!(host, [] | [b'.', ..])
            && let Some(id) = self.known(hash, host)
        {
            matching.push(id);
        }
        matching
    }

    /// The id of a host in the table's form, new or not; the empty one is any host.
    pub(super) fn id_of(&mut self, name: &[u8]) -> u32 {
        if let Some(id) = self.any.filter(|_| name.is_empty()) {
            return id;
        }
        let hash = name.iter().rev().fold(HASH_SEED, |hash, byte| hash_byte(hash, *byte));
        if let Some(id) = self.known(hash, name).filter(|_| !name.is_empty()) {
            return id;
        }
        let id = self.names.len() as u32;
        self.names.push(Name { text: name.into(), hash });
        if name.is_empty() {
            self.any = Some(id);
        } else {
            self.has_wildcards |= name.starts_with(b".");
            self.slots.insert(hash, id, |id| self.names.get(id as usize).map_or(0, |name| name.hash));
        }
        id
    }

    fn known(&self, hash: u64, name: &[u8]) -> Option<u32> {
        self.slots.find(hash, |id| {
            self.names
                .get(id as usize)
                .is_some_and(|known| known.hash == hash && known.text.eq_ignore_ascii_case(name))
        })
    }
}

/// Host without port and trailing dot.
pub(super) fn host_name(authority: &[u8]) -> &[u8] {
    let end = if authority.first() == Some(&b'[') {
        authority.iter().position(|b| *b == b']').map_or(authority.len(), |close| close + 1)
    } else {
        authority.iter().position(|b| *b == b':').unwrap_or(authority.len())
    };
    let host = authority.get(..end).unwrap_or(authority);
    host.strip_suffix(b".").unwrap_or(host)
}

/// The table's form of a configured host: lower case, and a wildcard begins with its dot.
pub(super) fn checked_host(host: &str) -> Option<Vec<u8>> {
    let (name, wildcard) = match host.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (host, false),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let authority = ringway_protocols::authority::parse(name.as_bytes())?;
    if authority.host.len() != name.len() || (wildcard && name.starts_with('[')) {
        return None;
    }
    if wildcard && name.split('.').count() > WILDCARD_LABELS_MAX {
        return None;
    }
    let mut text = if wildcard { vec![b'.'] } else { Vec::new() };
    text.extend(name.bytes().map(|b| b.to_ascii_lowercase()));
    Some(text)
}
