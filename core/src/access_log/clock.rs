//! The date of a line, rendered once per second.

use std::time::{SystemTime, UNIX_EPOCH};

use super::date;
use super::number::push_millis;

/// Remembers the last second that was rendered.
#[derive(Debug, Default)]
pub(super) struct Clock {
    iso_second: Option<u64>,
    /// Up to and with the seconds: `2026-01-02T03:04:05`.
    iso: String,
    clf_second: Option<u64>,
    clf: String,
}

/// What follows the seconds.
const SECONDS_TAIL: usize = ".000Z".len();

impl Clock {
    #[inline]
    pub(super) fn push_iso(&mut self, out: &mut Vec<u8>, wall: SystemTime) {
        // A clock before 1970 shows as 1970.
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.iso_second != Some(since.as_secs()) {
            self.iso_second = Some(since.as_secs());
            self.iso.clear();
            date::push_iso(&mut self.iso, since.as_secs(), 0);
            self.iso.truncate(self.iso.len() - SECONDS_TAIL);
        }
        out.extend_from_slice(self.iso.as_bytes());
        out.push(b'.');
        push_millis(out, since.subsec_millis());
        out.push(b'Z');
    }

    #[inline]
    pub(super) fn push_clf(&mut self, out: &mut Vec<u8>, wall: SystemTime) {
        let second = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.clf_second != Some(second) {
            self.clf_second = Some(second);
            self.clf.clear();
            date::push_clf(&mut self.clf, second);
        }
        out.extend_from_slice(self.clf.as_bytes());
    }
}
