//! What an exchange tells its cluster of how the endpoint answered.

use ringway_protocols::grpc::{Form, Status};
use ringway_protocols::message::{FieldKind, ResponseHead};

use super::Exchange;
use super::attempt::AttemptError;
use crate::error::{Fault, Reason};
use crate::grpc::Call;
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
            // It was judged when its head was read.
            && failure.reason != Reason::UpstreamNotGrpc
        {
            self.observe(Answer::Nothing);
        }
        error
    }

    /// The head of a call's response. Where its status comes in trailers, the end tells ([`Self::observe_call`]).
    pub(super) fn observe_call_head(&self, call: &Call, response: &ResponseHead, bytes: &[u8]) {
        if call.form() != Form::Grpc && !call.is_translated() || response.status != 200 {
            return self.observe_status(response.status);
        }
        if let Some(status) = response.lookup(FieldKind::GrpcStatus) {
            self.observe_status(http_status(Status::of_field(status.of(bytes))));
        }
    }

    /// A call whose response had a body has ended with a status.
    pub(super) fn observe_call(&self, status: Status) {
        self.observe_status(http_status(status));
    }

    fn observe(&self, answer: Answer) {
        let record = &self.record;
        let cluster = record.cluster.get().and_then(|index| self.view.clusters.get(index));
        let (Some(cluster), Some((_, endpoint))) = (cluster, &*record.endpoint.borrow()) else { return };
        let began = record.connected.get().unwrap_or(record.head_received);
        // How long a call goes on says nothing of how soon its endpoint answers.
        let answered = match (answer, record.first_byte.get()) {
            (Answer::Status(_), Some(first_byte)) => first_byte,
            _ => rt::now(),
        };
        cluster.observe(self.worker, endpoint, answer, answered.saturating_duration_since(began));
    }
}

/// A status of gRPC as balancers and ejections see it. What says something of the request, of the method or of the time that the
/// client gave is no failure of the endpoint: else a client could have endpoints ejected at will.
fn http_status(status: Status) -> u16 {
    match status {
        Status::Unavailable => 503,
        Status::Unknown | Status::Internal | Status::DataLoss => 500,
        _ => 200,
    }
}
