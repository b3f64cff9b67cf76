//! How long an origin has, told to it, and heard from proxies before us.
//!
//! gRPC has a field of its own for that, see [`super::call`]. Everything else goes by the header that Envoy made common.

use std::time::Duration;

use super::Exchange;
use crate::io as rt;

/// The header: milliseconds, from when the request is sent.
pub(super) const EXPECTED_TIMEOUT: &[u8] = b"x-envoy-expected-rq-timeout-ms";

impl Exchange<'_> {
    /// Takes over the deadline of a trusted proxy before us, where it is the earlier one. Anybody else's word is not heeded.
    pub(super) fn heed_received_deadline(&self) {
        if !self.trusted.get() || !self.tells_deadline() {
            return;
        }
        let mut fields = self.head.fields.iter();
        let field = fields.find(|field| field.name.of(self.bytes).eq_ignore_ascii_case(EXPECTED_TIMEOUT));
        let text = field.and_then(|field| std::str::from_utf8(field.value.of(self.bytes)).ok());
        // Zero means no deadline, as with Envoy's own time-outs.
        let Some(ms) = text.and_then(|text| text.parse::<u64>().ok()).filter(|ms| *ms > 0) else { return };
        if let Some(at) = self.record.head_received.checked_add(Duration::from_millis(ms)) {
            self.deadline.set(Some(self.until(at)));
        }
    }

    /// Appends what is left for this try. `false`: there is no end to it.
    pub(super) fn push_deadline(&self, append: &mut Vec<u8>) -> bool {
        let Some(at) = self.deadline.get().into_iter().chain(self.try_deadline.get()).min() else {
            return false;
        };
        if !self.tells_deadline() {
            return false;
        }
        // At least 1: 0 would mean that there is no end.
        let left = at.saturating_duration_since(rt::now()).as_millis().max(1);
        append.extend_from_slice(EXPECTED_TIMEOUT);
        append.extend_from_slice(format!(": {left}\r\n").as_bytes());
        true
    }

    fn tells_deadline(&self) -> bool {
        let route = self.record.route.get().and_then(|index| self.view.config().routes.get(index));
        route.is_some_and(|route| route.deadline_header)
    }
}
