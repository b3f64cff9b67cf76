//! The policies of an exchange: asked before an origin is, told of the response, and of the end.

use std::cell::{Ref, RefCell};
use std::future::poll_fn;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_policies::captures::Captures;
use ringway_policies::changes::{HeaderChanges, RequestChanges, ResponseChanges};
use ringway_policies::compress::Encode;
use ringway_policies::concurrency_limit::Wanted;
use ringway_policies::policy::{
    CertificateView, Consumer, Denied, EndContext, Policy, Reply, RequestContext, ResponseContext, Verdict,
};
use ringway_policies::route::RouteTable;
use ringway_policies::template::Facts;
use ringway_protocols::http1::reason_phrase;
use ringway_protocols::message::{Method, ResponseHead, Version};

use super::secure::says_hsts;
use super::slots::{Slot, Waiting};
use super::{Exchange, Failure, Next, RequestId, add};
use crate::config::{Config, RouteConfig};
use crate::error::Reason;
use crate::io as rt;
use crate::reply;

/// States that one worker keeps for its next exchanges.
const SPARE_MAX: usize = 256;

/// The policies of one worker, for one generation of the configuration.
#[derive(Default)]
pub struct Policies {
    /// States of exchanges that are over, to be used again.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    spare: RefCell<Vec<Box<PolicyState>>>,
    global: Vec<Policy>,
    listeners: Vec<Vec<Policy>>,
    routes: Vec<RoutePolicies>,
}

#[derive(Default)]
struct RoutePolicies {
    own: Vec<Policy>,
    targets: Vec<Vec<Policy>>,
}

impl Policies {
    pub fn new(config: &Config) -> Self {
        let instances = |configs: &[ringway_policies::policy::PolicyConfig]| {
            configs.iter().map(|config| config.instance()).collect()
        };
        Policies {
            spare: RefCell::default(),
            global: instances(&config.policies),
            listeners: config.listeners.iter().map(|listener| instances(&listener.policies)).collect(),
            routes: config
                .routes
                .iter()
                .map(|route| RoutePolicies {
                    own: instances(&route.policies),
                    targets: route.targets.list.iter().map(|target| instances(&target.policies)).collect(),
                })
                .collect(),
        }
    }

    fn keep(&self, mut state: Box<PolicyState>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            state.clear();
            spare.push(state);
        }
    }

    /// Those of a request, in the order in which they are asked.
    fn of(
        &self,
        listener: usize,
        route: Option<usize>,
        target: Option<usize>,
    ) -> impl DoubleEndedIterator<Item = &Policy> + Clone {
        let listener = self.listeners.get(listener).map(Vec::as_slice).unwrap_or_default();
        let route = route.and_then(|route| self.routes.get(route));
        let target = route.zip(target).and_then(|(route, target)| route.targets.get(target));
        let own = route.map(|route| route.own.as_slice()).unwrap_or_default();
        self.global.iter().chain(listener).chain(own).chain(target.map(Vec::as_slice).unwrap_or_default())
    }
}

/// What the policies of an exchange have said so far.
#[derive(Default)]
pub(super) struct PolicyState {
    /// Policies that have let the request pass: the first so many.
    pub(super) passed: usize,
    pub(super) captures: Captures,
    pub(super) consumer: Option<Arc<Consumer>>,
    /// What the origin gets.
    pub(super) request: RequestChanges,
    /// What the client gets with whatever response.
    pub(super) response: ResponseChanges,
    /// They have been told of the response.
    told: bool,
    /// What it holds of concurrency limits.
    slots: Vec<Slot>,
}

impl PolicyState {
    /// Gives up what the exchange holds, and forgets what was said.
    fn clear(&mut self) {
        (self.passed, self.told, self.consumer) = (0, false, None);
        self.captures = Captures::default();
        self.request.clear();
        self.response.clear();
        self.slots.clear();
    }
}

/// A policy does not simply let the request pass.
struct Halt {
    verdict: Verdict,
    /// Which policy is asked next, where one is.
    next: usize,
}

impl Exchange<'_> {
    fn own_policies(&self) -> impl DoubleEndedIterator<Item = &Policy> + Clone {
        let record = &self.record;
        self.view.policies.of(self.listener_index, record.route.get(), record.target.get())
    }

    /// Whether any policy has to be asked.
    pub(super) fn has_policies(&self) -> bool {
        self.own_policies().next().is_some()
    }

    /// A request that cannot go on to a route is one for the policies of the proxy and of its listener all the same: who may not
    /// come in learns nothing of the routes there are, and who asks for what there is not is counted by the limits.
    ///
    /// # Errors
    /// `failure`, unless a policy says something else.
    pub(super) async fn ask_without_route(
        &self,
        failure: Failure,
        response: &mut ResponseHead,
    ) -> Result<Next, Failure> {
        if failure.reason == Reason::NoRoute
            && self.has_policies()
            && let Some(next) = self.ask_policies(None, response).await?
        {
            return Ok(next);
        }
        Err(failure)
    }

    /// Asks the policies of the request one after the other. `Some`: one of them has answered it.
    ///
    /// # Errors
    /// When a policy refuses the request, and when the client goes away or time runs out meanwhile.
    pub(super) async fn ask_policies(
        &self,
        route: Option<&RouteConfig>,
        response: &mut ResponseHead,
    ) -> Result<Option<Next>, Failure> {
        self.settle_request_id();
        let mut state = self.view.policies.spare.borrow_mut().pop().unwrap_or_default();
        state.captures = route.map(|route| self.captures(route)).unwrap_or_default();
        self.policies.replace(Some(state));
        match self.ask_from(0) {
            None => Ok(None),
            // Most requests get here without a wait, and so without the state of one.
            Some(halt) => Box::pin(self.heed(halt, response)).await,
        }
    }

    /// Asks the policies from this one on, as long as they let the request pass at once.
    fn ask_from(&self, first: usize) -> Option<Halt> {
        for (index, policy) in self.own_policies().enumerate().skip(first) {
            let verdict = self.ask(policy);
            let passed = !matches!(verdict, Verdict::Reply(_) | Verdict::Deny(_) | Verdict::DelayedReply(..));
            let slot = if let Verdict::Wait(wanted) = &verdict { Slot::try_take(wanted) } else { None };
            if let Some(state) = self.policies.borrow_mut().as_mut().filter(|_| passed) {
                state.passed += 1;
                if let Some(slot) = slot {
                    state.slots.push(slot);
                    continue;
                }
            }
            if !matches!(verdict, Verdict::Continue) {
                return Some(Halt { verdict, next: index + 1 });
            }
        }
        None
    }

    /// Does as a policy says, and asks those behind it where it says no more than that.
    async fn heed(&self, mut halt: Halt, response: &mut ResponseHead) -> Result<Option<Next>, Failure> {
        loop {
            match halt.verdict {
                Verdict::Continue => {}
                Verdict::Delay(delay) => self.wait(delay).await?,
                Verdict::Wait(wanted) => self.take_slot(&wanted).await?,
                Verdict::Deny(denial) => {
                    if let Some(state) = &mut *self.policies.borrow_mut() {
                        state.response.headers.add_lines(&denial.lines);
                    }
                    return Err(Failure { reason: denial.kind.into(), detail: denial.detail });
                }
                Verdict::Reply(reply) => return Ok(Some(self.send_policy_reply(reply, response).await)),
                Verdict::DelayedReply(delay, reply) => {
                    self.wait(delay).await?;
                    return Ok(Some(self.send_policy_reply(reply, response).await));
                }
            }
            match self.ask_from(halt.next) {
                Some(next) => halt = next,
                None => return Ok(None),
            }
        }
    }

    /// What the variables of the match stand for.
    fn captures(&self, route: &RouteConfig) -> Captures {
        let Some(wanted) = route.matches.get(self.record.matched.get()) else { return Captures::default() };
        let normal_path = self.normal_path.borrow();
        RouteTable::captures(wanted, self.route_path(normal_path.as_deref()))
    }

    fn ask(&self, policy: &Policy) -> Verdict {
        let mut state = self.policies.borrow_mut();
        let Some(state) = &mut *state else { return Verdict::Continue };
        let normal_path = self.normal_path.borrow();
        let request_id = self.record.request_id.borrow();
        policy.on_request(&mut RequestContext {
            head: self.head,
            bytes: self.bytes,
            path: normal_path.as_deref().unwrap_or_else(|| self.head.path_of(self.bytes)),
            client: self.client_ip.get(),
            listener: &self.listener.name,
            route: self.route_name(),
            captures: &state.captures,
            now: self.policy_now(),
            unix_secs: self.unix_secs(),
            random: self.worker.random(),
            secure: self.client.tls().is_some(),
            certificate: self.certificate_view(),
            request_id: self.request_id_bytes(&request_id),
            consumer: &mut state.consumer,
            changes: &mut state.request,
            response: &mut state.response,
        })
    }

    /// Tells the policies that have passed the request of its response, in reverse order and once. What they want changed in
    /// its head is then in [`Self::response_headers`]; how its body is to be encoded, if it is, comes back. `head`: what was
    /// received; `None` for a reply of our own.
    pub(super) fn tell_of_response(
        &self,
        status: u16,
        head: Option<(&ResponseHead, &[u8])>,
    ) -> Option<Encode> {
        let encode = self.tell_policies(status, head);
        if self.explaining.get() {
            // There may be no policies that have something to say.
            let mut headers =
                std::mem::take(&mut self.policies.borrow_mut().get_or_insert_default().response.headers);
            self.explain_in(&mut headers);
            self.policies.borrow_mut().get_or_insert_default().response.headers = headers;
        }
        encode
    }

    fn tell_policies(&self, status: u16, head: Option<(&ResponseHead, &[u8])>) -> Option<Encode> {
        let mut state = self.policies.borrow_mut();
        let state = state.as_mut()?;
        // A reply of ours in the place of a response that turned out to be broken gets what that one would have got.
        if std::mem::replace(&mut state.told, true) {
            return None;
        }
        let normal_path = self.normal_path.borrow();
        let request_id = self.record.request_id.borrow();
        let facts = Facts {
            head: self.head,
            bytes: self.bytes,
            path: normal_path.as_deref().unwrap_or_else(|| self.head.path_of(self.bytes)),
            client: self.client_ip.get(),
            listener: &self.listener.name,
            route: self.route_name(),
            captures: &state.captures,
            secure: self.client.tls().is_some(),
            certificate: self.certificate_view(),
            request_id: self.request_id_bytes(&request_id),
            consumer: state.consumer.as_deref(),
        };
        let policies = self.own_policies();
        let not_asked = policies.clone().count().saturating_sub(state.passed);
        let (now, unix_secs) = (self.policy_now(), self.unix_secs());
        for policy in policies.rev().skip(not_asked) {
            policy.on_response(&mut ResponseContext {
                status,
                head: head.map(|(head, _)| head),
                bytes: head.map(|(_, bytes)| bytes).unwrap_or_default(),
                facts,
                now,
                unix_secs,
                changes: &mut state.response,
            });
        }
        state.response.encode.take()
    }

    /// What policies change in the head that goes to the client, once they have been told of it.
    pub(super) fn response_headers(&self) -> Option<Ref<'_, HeaderChanges>> {
        let policies = self.policies.borrow();
        Ref::filter_map(policies, |state| state.as_ref().map(|state| &state.response.headers)).ok()
    }

    /// The longest body that policies let the origin send.
    pub(super) fn response_bytes_max(&self) -> Option<u64> {
        self.policies.borrow().as_ref().and_then(|state| state.response.body_bytes_max)
    }

    /// The longest body that is taken from the client: as the listener says, or a policy that says less.
    pub(super) fn request_bytes_max(&self) -> u64 {
        let listener = Some(self.listener.limits.body_bytes_max).filter(|max| *max > 0);
        let policies = self.policies.borrow();
        let policy = policies.as_ref().and_then(|state| state.request.body_bytes_max);
        listener.unwrap_or(u64::MAX).min(policy.unwrap_or(u64::MAX))
    }

    /// Tells them of the end, once.
    pub(super) fn end_policies(&self) {
        let Some(state) = self.policies.borrow_mut().take() else { return };
        let end = EndContext {
            status: self.record.status.get(),
            now: self.policy_now(),
            request_body_bytes: self.record.request_body_bytes.get(),
            response_body_bytes: self.record.response_body_bytes.get(),
        };
        let policies = self.own_policies();
        policies.take(state.passed).for_each(|policy| policy.on_end(&end));
        self.view.policies.keep(state);
    }

    /// Waits as long as a policy says, the client is there, and there is time.
    pub(super) async fn wait(&self, delay: Duration) -> Result<(), Failure> {
        let until = self.until(rt::now() + delay);
        let mut sleep = pin!(rt::sleep_until(until));
        poll_fn(|cx| {
            if self.client.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Failure::from(Reason::ClientClosed)));
            }
            sleep.as_mut().poll(cx).map(Ok)
        })
        .await?;
        if self.is_past_deadline() { Err(Reason::RequestTimeout.into()) } else { Ok(()) }
    }

    /// Takes a slot of a limit, which the exchange then holds to its end.
    async fn take_slot(&self, wanted: &Wanted) -> Result<(), Failure> {
        let slot = match Slot::try_take(wanted) {
            Some(slot) => slot,
            None => self.wait_for_slot(wanted).await?,
        };
        if let Some(state) = &mut *self.policies.borrow_mut() {
            state.slots.push(slot);
        }
        Ok(())
    }

    /// Waits in the queue of a limit, as long as that allows, the client is there, and there is time.
    async fn wait_for_slot(&self, wanted: &Wanted) -> Result<Slot, Failure> {
        let mut waiting = Waiting::begin(wanted).ok_or(Reason::ConcurrencyLimit)?;
        let mut sleep = pin!(rt::sleep_until(self.until(rt::now() + wanted.timeout)));
        poll_fn(|cx| {
            if let Poll::Ready(slot) = waiting.poll_slot(cx) {
                return Poll::Ready(Ok(slot));
            }
            if self.client.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Reason::ClientClosed.into()));
            }
            sleep.as_mut().poll(cx).map(|()| Err(self.timed_out(Reason::ConcurrencyLimit)))
        })
        .await
    }

    async fn send_policy_reply(&self, reply: Reply, response: &mut ResponseHead) -> Next {
        if let Some(denied) = reply.denied {
            self.record.reason.set(Some(denied.into()));
        }
        self.tell_of_response(reply.status, None);
        let keep = self.client_stays() && (self.uploaded.get() || self.discard_received_body());
        let mut out = rt::take_vec();
        // Writing to a vector cannot fail.
        let _ = write!(out, "HTTP/1.1 {} {}\r\n", reply.status, reason_phrase(reply.status));
        match self.response_headers() {
            Some(changes) => {
                changes.kept(&reply.lines).for_each(|line| out.extend_from_slice(line));
                out.extend_from_slice(changes.lines());
            }
            None => out.extend_from_slice(&reply.lines),
        }
        if !says_hsts(&reply.lines) {
            out.extend_from_slice(self.hsts_line());
        }
        reply::push_date(&mut out);
        // RFC 9110 8.6: these have no body, and must not have a length.
        let bodiless = matches!(reply.status, 204 | 304);
        if !bodiless {
            let _ = write!(out, "content-length: {}\r\n", reply.body.len());
        }
        match (keep, self.head.version) {
            (_, Version::Http2) | (true, Version::Http11) => {}
            (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        let body = if bodiless || self.head.method == Method::Head { &b""[..] } else { &reply.body };
        out.extend_from_slice(body);
        add(&self.record.response_body_bytes, body.len());
        match self.send_reply(out, body.len(), response).await {
            Next::KeepAlive if !keep && self.head.version != Version::Http2 => Next::Close,
            next => next,
        }
    }

    /// Empty where no route has been found.
    fn route_name(&self) -> &str {
        let routes = &self.view.config().routes;
        self.record.route.get().and_then(|index| routes.get(index)).map_or("", |route| &route.name)
    }

    fn certificate_view(&self) -> Option<CertificateView<'_>> {
        let peer = self.client.tls()?.peer()?;
        let facts = &peer.facts;
        Some(CertificateView {
            subject: &facts.subject,
            dns: &facts.dns,
            uris: &facts.uris,
            fingerprint_sha256: &peer.fingerprint_sha256,
            spiffe_id: facts.spiffe_id.as_deref(),
        })
    }

    fn policy_now(&self) -> u64 {
        self.worker.shared.nanos(rt::now())
    }

    pub(super) fn unix_secs(&self) -> u64 {
        self.worker.unix_secs()
    }

    fn request_id_bytes<'t>(&'t self, id: &'t RequestId) -> &'t [u8] {
        use ringway_protocols::message::FieldKind;
        match id {
            RequestId::None => b"",
            RequestId::Received => self.head.lookup(FieldKind::XRequestId).unwrap_or_default().of(self.bytes),
            RequestId::Made(id) => id,
        }
    }
}

impl From<Denied> for Reason {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::RateLimited => Reason::RateLimited,
            Denied::RateLimitFull => Reason::RateLimitFull,
            Denied::Unauthenticated => Reason::Unauthenticated,
            Denied::Forbidden => Reason::Forbidden,
            Denied::ConcurrencyLimit => Reason::ConcurrencyLimit,
            Denied::BodyTooLarge => Reason::BodyTooLarge,
            Denied::BadRewrite => Reason::BadRewrite,
            Denied::UnknownVersion => Reason::UnknownVersion,
            Denied::VersionGone => Reason::VersionGone,
            Denied::FaultInjected => Reason::FaultInjected,
        }
    }
}
