//! From a request to an origin, and to another one where that is safe.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ringway_protocols::message::{BodyLength, Method, ResponseHead};

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

impl<'a> Exchange<'a> {
    /// The path of a request over HTTP/1.1, from its head to the end of its response.
    pub(super) async fn proxy(&self, down: &Transport, response: &mut ResponseHead) -> Result<Next, Failure> {
        if let Some(text) = self.challenge() {
            return Ok(Box::pin(self.answer_challenge(&text, response)).await);
        }
        if self.may_answer(None)
            && let Some(next) = Box::pin(self.answer_for_grpc(None, response)).await
        {
            return Ok(next);
        }
        let (route, cluster) = self.begin()?;
        if self.may_answer(Some(route))
            && let Some(next) = Box::pin(self.answer_for_grpc(Some(route), response)).await
        {
            return Ok(next);
        }
        if self.has_policies()
            && let Some(next) = Box::pin(self.ask_policies(route, response)).await?
        {
            return Ok(next);
        }
        let cluster = cluster.ok_or(Reason::NoEndpoint)?;
        let mut trial = self.first_trial(cluster);
        self.begin_mirror(route);
        // Only a body that was kept can be sent again, and what keeps it is the relay between versions.
        let plain = self.head.body == BodyLength::Empty || self.kept_body_bytes().is_none();
        loop {
            self.begin_try();
            let result = if self.hedge_delay(route).is_some() {
                self.hedge(&trial, cluster, route, response).await
            } else {
                let origin =
                    self.checkout(cluster, self.place(), trial.source, self.asked(route, &trial)).await;
                match origin {
                    Ok(Origin::Http1(upstream)) if self.head.method == Method::Connect => {
                        return Box::pin(tunnel::connect(self, self.client, upstream, route)).await;
                    }
                    Ok(Origin::Http1(upstream)) if plain => {
                        self.attempt(down, upstream, cluster, route, response).await
                    }
                    Ok(origin) => {
                        Box::pin(self.translate(origin, &mut trial.body, cluster, route, response)).await
                    }
                    Err(failure) => Err(self.checkout_failure(failure)),
                }
            };
            match result {
                Ok(next) => return Ok(next),
                Err(error) => self.try_again(&mut trial, error)?,
            }
            if !trial.wait.is_zero() {
                Box::pin(self.wait(trial.wait)).await?;
            }
        }
    }

    /// The same of a stream. What carries the message is part of this future, not a box of its own: tasks of streams stay
    /// and are used again.
    pub(super) async fn proxy_stream(&self, response: &mut ResponseHead) -> Result<(), Failure> {
        if let Some(text) = self.challenge() {
            Box::pin(self.answer_challenge(&text, response)).await;
            return Ok(());
        }
        if self.may_answer(None) && Box::pin(self.answer_for_grpc(None, response)).await.is_some() {
            return Ok(());
        }
        let (route, cluster) = self.begin()?;
        if self.may_answer(Some(route))
            && Box::pin(self.answer_for_grpc(Some(route), response)).await.is_some()
        {
            return Ok(());
        }
        if self.has_policies() && Box::pin(self.ask_policies(route, response)).await?.is_some() {
            return Ok(());
        }
        let cluster = cluster.ok_or(Reason::NoEndpoint)?;
        let mut trial = self.first_trial(cluster);
        self.begin_mirror(route);
        loop {
            self.begin_try();
            let result = if self.hedge_delay(route).is_some() {
                self.hedge(&trial, cluster, route, response).await
            } else {
                let origin =
                    self.checkout(cluster, self.place(), trial.source, self.asked(route, &trial)).await;
                match origin {
                    Ok(Origin::Http1(upstream)) if self.head.method == Method::Connect => {
                        return Box::pin(tunnel::connect(self, self.client, upstream, route)).await.map(drop);
                    }
                    Ok(origin) => self.translate(origin, &mut trial.body, cluster, route, response).await,
                    Err(failure) => Err(self.checkout_failure(failure)),
                }
            };
            match result {
                Ok(_) => return Ok(()),
                Err(error) => self.try_again(&mut trial, error)?,
            }
            if !trial.wait.is_zero() {
                Box::pin(self.wait(trial.wait)).await?;
            }
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
        cluster: &'f Cluster,
        route: &'f RouteConfig,
        response: &'f mut ResponseHead,
    ) -> Pin<Box<dyn Future<Output = Result<Next, AttemptError>> + 'f>> {
        let delay = self.hedge_delay(route).unwrap_or_default();
        Box::pin(self.hedged(delay, trial.source, cluster, route, self.asked(route, trial), response))
    }

    pub(super) fn place(&self) -> Place {
        let cluster = self.record.cluster.get().unwrap_or_default();
        Place { generation: self.view.config().generation, cluster }
    }

    fn asked<'t>(&self, route: &RouteConfig, trial: &'t Trial<'a>) -> Asked<'t> {
        Asked {
            method: self.head.method,
            protocol: self.head.upgrade.is_some() && self.wanted_protocol(route).is_some(),
            greeting: (!trial.greeting.is_empty()).then_some(&trial.greeting[..]),
            key: &trial.key,
            avoid: &trial.avoid,
            unlimited: false,
        }
    }

    fn first_trial(&self, cluster: &Cluster) -> Trial<'a> {
        let poolable = self.head.method != Method::Connect && forwarding::is_poolable(&cluster.config);
        let source = if poolable { Source::Any } else { Source::Fresh };
        let mut greeting = Vec::new();
        self.write_proxy_header(&mut greeting, &cluster.config);
        let (greeting, key) = (greeting.into(), self.pick_key(&cluster.config));
        let unread = self.unread.borrow().clone();
        Trial { source, body: None, unread, greeting, key, wait: Duration::ZERO, avoid: Vec::new() }
    }

    /// Prepares the next trial after one that may be repeated.
    fn try_again(&self, trial: &mut Trial<'a>, error: AttemptError) -> Result<(), Failure> {
        trial.wait = Duration::ZERO;
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
                trial.wait = wait;
                // Nobody's, where no connection was made; then the checkout has tried them all.
                let tried = self.record.endpoint.borrow().as_ref().map(|(index, _)| *index);
                trial.avoid.extend(tried);
                Ok(())
            }
            AttemptError::Failed(failure) => Err(failure),
        }
    }
}

/// What is known when an origin is asked for the second time.
struct Trial<'a> {
    source: Source,
    /// The request body, where it has been taken from the client.
    body: Option<Box<RequestBody<'a>>>,
    /// Kept until the response begins, in case the pooled connection turns out to be dead.
    unread: Option<Chunk>,
    /// The PROXY protocol header, where the cluster wants one.
    greeting: Box<[u8]>,
    /// What an endpoint is picked by.
    key: PickKey,
    /// What the next try waits for.
    wait: Duration,
    /// Endpoints of earlier tries: others are taken where there are any.
    avoid: Vec<usize>,
}
