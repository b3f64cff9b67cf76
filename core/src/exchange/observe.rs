//! What an exchange tells its cluster of how the endpoint answered.

use super::Exchange;
use super::attempt::AttemptError;
use crate::error::Fault;
use crate::io as rt;
use crate::upstream::Answer;

impl Exchange<'_> {
    /// The head of the final response is there.
    pub(super) fn observe_status(&self, status: u16) {
        self.observe(Answer::Status(status));
    }

    /// An attempt failed. Only what the endpoint did counts.
    pub(super) fn observed(&self, error: AttemptError) -> AttemptError {
        if let AttemptError::Failed(failure) = &error
            && failure.reason.info().fault == Fault::Upstream
        {
            self.observe(Answer::Nothing);
        }
        error
    }

    fn observe(&self, answer: Answer) {
        let record = &self.record;
        let cluster = record.cluster.get().and_then(|index| self.view.clusters.get(index));
        let (Some(cluster), Some((_, endpoint))) = (cluster, &*record.endpoint.borrow()) else { return };
        let began = record.connected.get().unwrap_or(record.head_received);
        cluster.observe(self.worker, endpoint, answer, rt::now().saturating_duration_since(began));
    }
}
