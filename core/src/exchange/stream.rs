//! An exchange whose client speaks HTTP/2.

use std::rc::Rc;

use crate::http2::ErrorCode;
use crate::http2::server::Incoming;
use crate::worker::Worker;

/// Runs the exchange of one stream. The stream is given up when this ends.
pub async fn run_stream(_worker: Rc<Worker>, incoming: Incoming) {
    incoming.stream.reset(ErrorCode::RefusedStream);
}
