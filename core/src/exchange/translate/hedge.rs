//! A second copy of a request to another endpoint, when the first is slow: whichever answers first is heard.

use std::cell::{OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ringway_protocols::http1::ResponseError;
use ringway_protocols::message::{BodyLength, ResponseHead};

use super::Exchange;
use super::answer::{Answer, NoAnswer, final_answer};
use crate::config::RouteConfig;
use crate::error::{Fault, Reason};
use crate::exchange::attempt::AttemptError;
use crate::exchange::{Failure, Next, add, failure_of};
use crate::io as rt;
use crate::upstream::{self, Asked, Cluster, Endpoint, Origin, Source};

/// Endpoints that have a copy and have not answered it, each with when it got it.
type Waiting = RefCell<Vec<(Rc<Endpoint>, Instant)>>;

/// One copy on its way, with its answer.
type Leg<'l> = Pin<Box<dyn Future<Output = Result<(Origin, Answer), AttemptError>> + 'l>>;

impl Exchange<'_> {
    /// How long the first copy gets before there is a second; `None` where there is none.
    pub(in crate::exchange) fn hedge_delay(&self, route: &RouteConfig) -> Option<Duration> {
        let delay = route.resilience.as_ref()?.hedge_delay?;
        // Both copies may be acted on, and a body cannot be sent to two endpoints at the pace of each.
        let twice = self.head.method.is_idempotent() && self.head.body == BodyLength::Empty;
        (twice && self.call.is_none() && self.head.upgrade.is_none() && self.is_first_try()).then_some(delay)
    }

    /// One try with up to two copies.
    pub(in crate::exchange) async fn hedged(
        &self,
        delay: Duration,
        source: Source,
        cluster: &Cluster,
        route: &RouteConfig,
        asked: Asked<'_>,
        response: &mut ResponseHead,
    ) -> Result<Next, AttemptError> {
        let result = self.race(delay, source, cluster, route, asked).await;
        let (origin, answer) = result.map_err(|error| self.failed_try(error))?;
        let (index, endpoint) = match &origin {
            Origin::Http1(upstream) => (upstream.index, &upstream.endpoint),
            Origin::Http2(stream) => (stream.index, &stream.endpoint),
        };
        *self.record.endpoint.borrow_mut() = Some((index, Rc::clone(endpoint)));
        self.record.first_byte.set(Some(rt::now()));
        add(&self.record.wire.from_origin, answer.bytes.len());
        let Answer { response: head, bytes, end, rest } = answer;
        *response = head;
        if let Err(again) = self.consider(response, &bytes, rest.as_ref().map_or(0, rt::Chunk::len)) {
            return Err(self.give_up(again, origin, cluster));
        }
        let ended = self.pass_response(&origin, &cluster.config, response, bytes, end, rest).await?;
        Ok(self.conclude(ended, origin, cluster, route).await?)
    }

    /// The first answer that is no failure; else the first there is.
    async fn race(
        &self,
        delay: Duration,
        source: Source,
        cluster: &Cluster,
        route: &RouteConfig,
        asked: Asked<'_>,
    ) -> Result<(Origin, Answer), AttemptError> {
        // The endpoint of the first copy, which the second avoids.
        let taken = OnceCell::<Vec<usize>>::new();
        let taken = &taken;
        let waiting = Waiting::default();
        let first: Leg<'_> = Box::pin(self.leg(source, cluster, route, asked, &waiting));
        let mut legs = [Some(first), None];
        let mut failed: Option<Result<(Origin, Answer), AttemptError>> = None;
        let mut hedge = Some(Box::pin(rt::sleep_until(rt::now() + delay)));
        self.timer.arm(self.head_limit(cluster.config.response_head_timeout));
        poll_fn(|cx| {
            if let Some(sleep) = &mut hedge
                && sleep.as_mut().poll(cx).is_ready()
            {
                hedge = None;
                if self.may_hedge() {
                    let first = self.record.endpoint.borrow().as_ref().map(|(index, _)| *index);
                    let avoid = taken.get_or_init(|| first.into_iter().collect());
                    let asked = Asked { avoid, ..asked };
                    legs[1] = Some(Box::pin(self.leg(source, cluster, route, asked, &waiting)));
                }
            }
            for leg in &mut legs {
                let Some(running) = leg else { continue };
                let Poll::Ready(result) = running.as_mut().poll(cx) else { continue };
                *leg = None;
                if matches!(&result, Ok((_, answer)) if answer.response.status < 500) {
                    return Poll::Ready(result);
                }
                // A response, whichever it is, says more than none.
                if failed.as_ref().is_none_or(Result::is_err) {
                    failed = Some(result);
                }
            }
            if legs.iter().all(Option::is_none)
                && let Some(result) = failed.take()
            {
                return Poll::Ready(result);
            }
            if self.client.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Reason::ClientClosed.into()));
            }
            let late = || AttemptError::Failed(self.timed_out(Reason::ResponseHeadTimeout));
            self.timer.poll_expired(cx).map(|()| {
                self.blame(cluster, &waiting, delay);
                failed.take().unwrap_or_else(|| Err(late()))
            })
        })
        .await
    }

    /// Time ran out: that counts against the endpoints that had enough of it.
    fn blame(&self, cluster: &Cluster, waiting: &Waiting, enough: Duration) {
        for (endpoint, since) in waiting.borrow().iter() {
            let took = rt::now().saturating_duration_since(*since);
            if took >= enough {
                cluster.observe(self.worker, endpoint, upstream::Answer::Nothing, took);
            }
        }
    }

    /// One copy, from its connection to its answer, which the endpoint is judged by even where another one is heard.
    async fn leg(
        &self,
        source: Source,
        cluster: &Cluster,
        route: &RouteConfig,
        asked: Asked<'_>,
        waiting: &Waiting,
    ) -> Result<(Origin, Answer), AttemptError> {
        let origin = self.checkout(cluster, source, asked).await?;
        let endpoint = Rc::clone(match &origin {
            Origin::Http1(upstream) => &upstream.endpoint,
            Origin::Http2(stream) => &stream.endpoint,
        });
        let began = rt::now();
        waiting.borrow_mut().push((Rc::clone(&endpoint), began));
        let result = self.answer_of(&origin, cluster, route).await;
        waiting.borrow_mut().retain(|(other, _)| !Rc::ptr_eq(other, &endpoint));
        let judged = match &result {
            Ok(answer) => Some(upstream::Answer::Status(answer.response.status)),
            Err(AttemptError::Failed(failure)) if failure.reason.info().fault == Fault::Upstream => {
                Some(upstream::Answer::Nothing)
            }
            Err(_) => None,
        };
        if let Some(judged) = judged {
            cluster.observe(self.worker, &endpoint, judged, rt::now().saturating_duration_since(began));
        }
        result.map(|answer| (origin, answer))
    }

    async fn answer_of(
        &self,
        origin: &Origin,
        cluster: &Cluster,
        route: &RouteConfig,
    ) -> Result<Answer, AttemptError> {
        self.send_request(origin, route, None)?;
        match final_answer(origin, &cluster.config, self.head.method).await {
            Ok(answer) => Ok(answer),
            Err(NoAnswer::Closed) => Err(Reason::UpstreamClosed.into()),
            Err(NoAnswer::Io(error)) => Err(failure_of(&error, Reason::UpstreamReset).into()),
            Err(NoAnswer::Stream(error)) => Err(self.origin_lost(error)),
            Err(NoAnswer::Invalid(error)) => {
                let reason = match error {
                    ResponseError::HeadTooLarge | ResponseError::TooManyFields => {
                        Reason::UpstreamHeadTooLarge
                    }
                    _ => Reason::UpstreamBadResponse,
                };
                Err(Failure { reason, detail: error.to_string() }.into())
            }
            Err(NoAnswer::Unexpected) => Err(Reason::UpstreamBadResponse.into()),
        }
    }
}
