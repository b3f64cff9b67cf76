//! One attempt: the request goes up and the response comes down, at the same time if need be.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringway_protocols::message::ResponseHead;

use super::upload::{Upload, UploadError};
use super::{Exchange, Failure, Next, forwarding};
use crate::config::RouteConfig;
use crate::io::{self as rt, Chunk};
use crate::transport::Transport;
use crate::tunnel;
use crate::upstream::{Cluster, Origin, Upstream};

/// How far an attempt came whose response head was passed on.
pub(super) enum Ended {
    Response {
        /// The origin's connection has nothing left on it and stays open.
        origin_clean: bool,
        client_stays: bool,
    },
    /// The protocol was switched; what the origin sent behind its head comes first.
    Tunnel(Option<Chunk>),
}

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
        let origin = Origin::Http1(upstream);
        match ended.map_err(|error| self.failed_try(self.observed(error))) {
            Ok(ended) => Ok(self.conclude(ended, origin, cluster, route).await?),
            Err(error) => Err(self.give_up(error, origin, cluster)),
        }
    }

    /// What becomes of the origin's connection when the request is sent again.
    pub(super) fn give_up(&self, error: AttemptError, origin: Origin, cluster: &Cluster) -> AttemptError {
        if let AttemptError::Again { clean: true, .. } = error {
            give_back(origin, cluster);
        }
        error
    }

    /// What follows a response head that was passed on: a tunnel, or the next exchange.
    pub(super) async fn conclude(
        &self,
        ended: Ended,
        origin: Origin,
        cluster: &Cluster,
        route: &RouteConfig,
    ) -> Result<Next, Failure> {
        match ended {
            Ended::Tunnel(first) => {
                let (down, up) = (self.client.into(), (&origin).into());
                Box::pin(tunnel::relay(self, down, up, first, route.tunnel_idle_timeout)).await?;
                Ok(Next::Gone)
            }
            Ended::Response { origin_clean, client_stays } => {
                let uploaded = self.uploaded.get();
                if origin_clean && uploaded {
                    give_back(origin, cluster);
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

/// Gives a connection that has nothing left on it to its pool.
fn give_back(origin: Origin, cluster: &Cluster) {
    if let Origin::Http1(upstream) = origin
        && forwarding::is_poolable(&cluster.config)
    {
        upstream.release(cluster, rt::now());
    }
}
