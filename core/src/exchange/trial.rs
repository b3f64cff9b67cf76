//! From a request to an origin, and to another one where that is safe.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ringway_protocols::message::{BodyLength, FieldKind, Method, ResponseHead};

use super::attempt::AttemptError;
use super::translate::RequestBody;
use super::{Exchange, Failure, Next, add, forwarding};
use crate::acme;
use crate::config::RouteConfig;
use crate::error::Reason;
use crate::io::{self as rt, Chunk};
use crate::transport::Transport;
use crate::tunnel;
use crate::upstream::{Asked, Cluster, Origin, PickKey, Place, Source};

/// How far an exchange has come: on to its next part, or to its end.
enum Step<T> {
    On(T),
    Ended(Next),
}

impl<'a> Exchange<'a> {
    /// The path of a request over HTTP/1.1, from its head to the end of its response.
    pub(super) async fn proxy(&self, down: &Transport, response: &mut ResponseHead) -> Result<Next, Failure> {
        let mut trial = match self.prepare(response).await? {
            Step::On(trial) => trial,
            Step::Ended(next) => return Ok(next),
        };
        // Only a body that was kept can be sent again, and what keeps it is the relay between versions.
        let plain = self.head.body == BodyLength::Empty || self.kept_body_bytes().is_none();
        loop {
            let origin = match self.reach(&mut trial, response).await? {
                Step::On(origin) => origin,
                Step::Ended(next) => return Ok(next),
            };
            let (cluster, route) = (trial.cluster, trial.route);
            let result = match origin {
                Origin::Http1(upstream) if plain => {
                    self.attempt(down, upstream, cluster, route, response).await
                }
                origin => Box::pin(self.translate(origin, &mut trial.body, cluster, route, response)).await,
            };
            match result {
                Ok(next) => return Ok(next),
                Err(error) => self.try_again(&mut trial, error)?,
            }
        }
    }

    /// The same of a stream. What carries the message is part of this future, not a box of its own: tasks of streams stay
    /// and are used again.
    pub(super) async fn proxy_stream(&self, response: &mut ResponseHead) -> Result<(), Failure> {
        let mut trial = match self.prepare(response).await? {
            Step::On(trial) => trial,
            Step::Ended(_) => return Ok(()),
        };
        while let Step::On(origin) = self.reach(&mut trial, response).await? {
            let (cluster, route) = (trial.cluster, trial.route);
            match self.translate(origin, &mut trial.body, cluster, route, response).await {
                Ok(_) => break,
                Err(error) => self.try_again(&mut trial, error)?,
            }
        }
        Ok(())
    }

    /// What comes before an origin is asked. Some requests get their answer here.
    async fn prepare(&self, response: &mut ResponseHead) -> Result<Step<Trial<'a>>, Failure> {
        if let Some(text) = self.challenge() {
            return Ok(Step::Ended(Box::pin(self.answer_challenge(&text, response)).await));
        }
        if self.may_answer(None)
            && let Some(next) = Box::pin(self.answer_for_grpc(None, response)).await
        {
            return Ok(Step::Ended(next));
        }
        let (route, cluster) = match self.begin() {
            Ok(begun) => begun,
            Err(failure) => {
                return Box::pin(self.ask_without_route(failure, response)).await.map(Step::Ended);
            }
        };
        if self.may_answer(Some(route))
            && let Some(next) = Box::pin(self.answer_for_grpc(Some(route), response)).await
        {
            return Ok(Step::Ended(next));
        }
        if self.has_policies()
            && let Some(next) = self.ask_policies(Some(route), response).await?
        {
            return Ok(Step::Ended(next));
        }
        let trial = self.first_trial(route, cluster.ok_or(Reason::NoEndpoint)?);
        self.begin_mirror(route);
        Ok(Step::On(trial))
    }

    /// A connection to an origin for the next try. A tunnel, and a race of two copies, need nobody to carry their message.
    async fn reach(
        &self,
        trial: &mut Trial<'a>,
        response: &mut ResponseHead,
    ) -> Result<Step<Origin>, Failure> {
        loop {
            let wait = trial.again.as_mut().map(|again| std::mem::take(&mut again.wait)).unwrap_or_default();
            if !wait.is_zero() {
                Box::pin(self.wait(wait)).await?;
            }
            self.begin_try();
            let error = if self.hedge_delay(trial.route).is_some() {
                match self.hedge(trial, response).await {
                    Ok(next) => return Ok(Step::Ended(next)),
                    Err(error) => error,
                }
            } else {
                let origin = self.checkout(trial.cluster, trial.source, self.asked(trial)).await;
                match origin {
                    Ok(Origin::Http1(upstream)) if self.head.method == Method::Connect => {
                        let tunnel = tunnel::connect(self, self.client, upstream, trial.route);
                        return Box::pin(tunnel).await.map(Step::Ended);
                    }
                    Ok(origin) => return Ok(Step::On(origin)),
                    Err(failure) => self.checkout_failure(failure),
                }
            };
            self.try_again(trial, error)?;
        }
    }

    /// The answer to an authority that looks who owns a host (ACME, HTTP-01). What is no challenge of ours goes on to its
    /// route: an origin may have its own.
    fn challenge(&self) -> Option<Arc<str>> {
        let asks = matches!(self.head.method, Method::Get | Method::Head);
        acme::answers::text_for(self.head.path_of(self.bytes)).filter(|_| asks)
    }

    async fn answer_challenge(&self, text: &str, response: &mut ResponseHead) -> Next {
        let (length, body) = (text.len(), if self.head.method == Method::Head { "" } else { text });
        let mut reply = rt::take_vec();
        reply.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n");
        reply.extend_from_slice(format!("content-length: {length}\r\n\r\n{body}").as_bytes());
        add(&self.record.response_body_bytes, body.len());
        self.send_reply(reply, body.len(), response).await
    }

    /// What comes before an origin is asked.
    fn begin(&self) -> Result<(&'a RouteConfig, Option<&'a Cluster>), Failure> {
        self.identify_client();
        if self.head.kinds.contains(FieldKind::XRingwayExplain) {
            self.begin_explaining();
        }
        self.normalise_path()?;
        self.check_tls()?;
        let route = self.find_route()?;
        self.check_allowed(route)?;
        let cluster = self.choose_target(route);
        if !route.timeout.is_zero() {
            self.deadline.set(Some(self.record.head_received + route.timeout));
        }
        self.heed_received_deadline();
        if let Some(call) = &self.call {
            self.begin_call(call)?;
        }
        self.begin_tries(route);
        Ok((route, cluster))
    }

    /// Which of the route's clusters gets the request, whatever becomes of it. A route that always answers by itself has none.
    fn choose_target(&self, route: &RouteConfig) -> Option<&'a Cluster> {
        let targets = &route.targets;
        let key = route.sticky.as_ref().filter(|_| targets.list.len() > 1);
        let key = key.and_then(|key| key.hash(self.head, self.bytes, self.client_ip.get()));
        let index = targets.choose(key, || self.worker.random()).unwrap_or(0);
        let cluster = targets.list.get(index)?.cluster;
        self.record.target.set(Some(index));
        self.record.cluster.set(Some(cluster));
        self.view.clusters.get(cluster).map(|cluster| &**cluster)
    }

    /// A try with up to two copies, boxed with all that it takes: few routes ask for it.
    fn hedge<'f>(
        &'f self,
        trial: &'f Trial<'a>,
        response: &'f mut ResponseHead,
    ) -> Pin<Box<dyn Future<Output = Result<Next, AttemptError>> + 'f>> {
        let Trial { cluster, route, source, .. } = *trial;
        let delay = self.hedge_delay(route).unwrap_or_default();
        Box::pin(self.hedged(delay, source, cluster, route, self.asked(trial), response))
    }

    pub(super) fn place(&self) -> Place {
        let cluster = self.record.cluster.get().unwrap_or_default();
        Place { revision: self.view.config().revision, cluster }
    }

    fn asked<'t>(&self, trial: &'t Trial<'a>) -> Asked<'t> {
        Asked {
            method: self.head.method,
            protocol: self.head.upgrade.is_some() && self.wanted_protocol(trial.route).is_some(),
            greeting: (!trial.greeting.is_empty()).then_some(&trial.greeting[..]),
            key: &trial.key,
            avoid: trial.again.as_ref().map_or(&[], |again| &again.avoid),
            unlimited: false,
        }
    }

    fn first_trial(&self, route: &'a RouteConfig, cluster: &'a Cluster) -> Trial<'a> {
        let poolable = self.head.method != Method::Connect && forwarding::is_poolable(&cluster.config);
        let source = if poolable { Source::Any } else { Source::Fresh };
        let mut greeting = Vec::new();
        self.write_proxy_header(&mut greeting, &cluster.config);
        let (greeting, key) = (greeting.into(), self.pick_key(&cluster.config));
        let unread = self.unread.borrow().clone();
        Trial { route, cluster, source, body: None, unread, greeting, key, again: None }
    }

    /// Prepares the next trial after one that may be repeated.
    fn try_again(&self, trial: &mut Trial<'a>, error: AttemptError) -> Result<(), Failure> {
        match error {
            AttemptError::Stale => {
                trial.source = Source::Fresh;
                if trial.body.is_none() {
                    self.unread.borrow_mut().clone_from(&trial.unread);
                    self.record.request_body_bytes.set(0);
                }
                Ok(())
            }
            // The body that was sent is kept, where there is one.
            AttemptError::NotProcessed => Ok(()),
            AttemptError::Again { wait, .. } => {
                // Nobody's, where no connection was made; then the checkout has tried them all.
                let tried = self.record.endpoint.borrow().as_ref().map(|(index, _)| *index);
                let again = trial.again.get_or_insert_default();
                again.wait = wait;
                again.avoid.extend(tried);
                Ok(())
            }
            AttemptError::Failed(failure) => Err(failure),
        }
    }
}

/// What is known when an origin is asked, the second time too.
struct Trial<'a> {
    route: &'a RouteConfig,
    cluster: &'a Cluster,
    source: Source,
    /// The request body, where it has been taken from the client.
    body: Option<Box<RequestBody<'a>>>,
    /// Kept until the response begins, in case the pooled connection turns out to be dead.
    unread: Option<Chunk>,
    /// The PROXY protocol header, where the cluster wants one.
    greeting: Box<[u8]>,
    /// What an endpoint is picked by.
    key: PickKey,
    again: Option<Box<Again>>,
}

/// What a request that is sent again has to heed. Boxed, because few are.
#[derive(Default)]
struct Again {
    /// What the next try waits for.
    wait: Duration,
    /// Endpoints of earlier tries: others are taken where there are any.
    avoid: Vec<usize>,
}
