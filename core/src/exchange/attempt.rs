//! One attempt: the request goes up and the response comes down, at the same time if need be.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringway_protocols::message::ResponseHead;

use super::download::Ended;
use super::upload::{Upload, UploadError};
use super::{Exchange, Failure, Next, forwarding};
use crate::config::RouteConfig;
use crate::io as rt;
use crate::transport::Transport;
use crate::tunnel::{self, End};
use crate::upstream::{Cluster, Upstream};

/// How an attempt ends without a response.
pub(super) enum AttemptError {
    /// The pooled connection was dead, nothing came back, and sending the request again is safe.
    Stale,
    /// The origin did nothing with the request and says so: it may be sent again, on whatever connection.
    NotProcessed,
    /// The request is to be sent again, after a wait. `clean`: the origin's connection has nothing left on it.
    Again {
        wait: Duration,
        clean: bool,
    },
    Failed(Failure),
}

impl<T: Into<Failure>> From<T> for AttemptError {
    fn from(failure: T) -> Self {
        AttemptError::Failed(failure.into())
    }
}

impl Exchange<'_> {
    pub(super) async fn attempt(
        &self,
        down: &Transport,
        upstream: Upstream,
        cluster: &Cluster,
        route: &RouteConfig,
        response: &mut ResponseHead,
    ) -> Result<Next, AttemptError> {
        let mut upload = Upload::new(self);
        let mut out = rt::take_vec();
        self.write_request(&mut out, route);
        // A failed send is not the end: the origin may have answered before it closed. The download tells.
        let sending = upload.begin(self, &upstream.stream, out)?;
        self.uploaded.set(upload.is_done());
        // What few exchanges need is boxed here and below: the state of the usual one is small enough to stay in the
        // cache while it waits.
        let ended = {
            let mut uploading = (sending && !upload.is_done())
                .then(|| Box::pin(upload.run(self, down, &upstream.stream, &cluster.config)));
            let mut download = pin!(self.download(down, &upstream, &cluster.config, route, response));
            poll_fn(|cx| {
                if let Some(upload) = &mut uploading
                    && let Poll::Ready(result) = upload.as_mut().poll(cx)
                {
                    uploading = None;
                    match result {
                        Ok(()) => self.uploaded.set(true),
                        Err(UploadError::Upstream) => {}
                        Err(UploadError::Client(failure)) => return Poll::Ready(Err(failure.into())),
                    }
                }
                download.as_mut().poll(cx)
            })
            .await
        };
        let ended = match ended.map_err(|error| self.failed_try(self.observed(error))) {
            Ok(ended) => ended,
            Err(error) => {
                if let AttemptError::Again { clean: true, .. } = error
                    && forwarding::is_poolable(&cluster.config)
                {
                    upstream.release(cluster, rt::now());
                }
                return Err(error);
            }
        };
        match ended {
            Ended::Tunnel(first) => {
                let (down, up) = (End::Connection(down), End::Connection(&upstream.stream));
                Box::pin(tunnel::relay(self, down, up, first, route.tunnel_idle_timeout)).await?;
                Ok(Next::Gone)
            }
            Ended::Response { upstream_clean, client_stays } => {
                let uploaded = self.uploaded.get();
                if upstream_clean && uploaded && forwarding::is_poolable(&cluster.config) {
                    upstream.release(cluster, rt::now());
                }
                Ok(match (uploaded, client_stays) {
                    (true, true) => Next::KeepAlive,
                    (true, false) => Next::Close,
                    // The response is complete and the request is not: the rest of it is of no use to anybody.
                    (false, _) => Next::Linger,
                })
            }
        }
    }
}
