//! The steps of an exchange on a request that nobody sent. Read [`Scene::run`] beside [`crate::exchange`].
//!
//! What it leaves out: bodies (so nothing is compressed), deadlines told to origins, certificates of clients, cookies that
//! name an endpoint, and limits that other requests would have filled.

use std::net::IpAddr;
use std::sync::Arc;

use ringway_policies::captures::Captures;
use ringway_policies::changes::{RequestChanges, ResponseChanges};
use ringway_policies::forwarded::{self, Hop};
use ringway_policies::policy::{
    Consumer, Policy, PolicyConfig, Reply, RequestContext, ResponseContext, Verdict,
};
use ringway_policies::route::{RouteRequest, RouteTable};
use ringway_policies::template::Facts;
use ringway_protocols::http1::{
    self, ConnectionField, HeadLimits, RequestEdits, ResponseEdits, reason_phrase,
};
use ringway_protocols::message::{BodyLength, FieldKind, KindSet, Method, RequestHead, ResponseHead};
use ringway_protocols::websocket;

use super::endpoints::endpoints;
use super::routes::Spot;
use super::{Asked, Entrance, Message, OriginAnswer, Outcome, Question, Sent, Step};
use crate::config::{Config, ListenerConfig, RouteConfig};
use crate::error::Reason;
use crate::exchange::{self, Failure};
use crate::grpc::{self, Call, cors};
use crate::reply::LocalReply;

/// Bounds of heads that are read back: those that were written here.
const LIMITS: HeadLimits = HeadLimits { bytes_max: 4 << 20, fields_max: 20_000, target_bytes_max: 2 << 20 };
/// The moment of all policies, in nanoseconds: as much later for each way that a request may take that limits have
/// forgotten those before it.
const WAY_NANOS: u64 = 400 * 86_400 * 1_000_000_000;
/// Chance that falls to nobody: a policy for a share of requests does nothing unless that is all of them.
const RANDOM: u64 = u64::MAX;
/// What stands for an identifier that is another one for each request.
const REQUEST_ID: &[u8] = b"00000000-0000-7000-8000-000000000000";

/// What is known of a request before a route is looked for.
pub(super) struct Scene<'a> {
    pub config: &'a Config,
    pub index: usize,
    pub listener: &'a ListenerConfig,
    pub asked: &'a Asked,
    pub origin: &'a OriginAnswer,
    /// In normal form.
    pub path: Vec<u8>,
    /// That is not how it was asked for.
    pub changed_path: bool,
    pub peer: Option<IpAddr>,
    pub client: Option<IpAddr>,
    pub trusted: bool,
    pub secure: bool,
    pub unix_secs: u64,
    /// How often the request is sent, all at once.
    pub repeat: u32,
}

/// One request on its one way.
struct Run<'a> {
    scene: &'a Scene<'a>,
    now: u64,
    route: Option<&'a RouteConfig>,
    captures: Captures,
    consumer: Option<Arc<Consumer>>,
    changes: RequestChanges,
    response: ResponseChanges,
    /// Policies that let it pass.
    passed: Vec<Policy>,
    outcome: Outcome,
}

/// How a request ends before it is sent.
enum End {
    Refused(Failure),
    Answered(Reply),
    /// A whole response, rendered.
    Rendered(Vec<u8>),
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        config: &'a Config,
        entrance: &Entrance,
        listener: &'a ListenerConfig,
        question: &Question,
        asked: &'a Asked,
        origin: &'a OriginAnswer,
    ) -> Scene<'a> {
        let path = match asked.head.method {
            Method::Connect => b"/".to_vec(),
            _ => asked.head.path_of(&asked.bytes).to_vec(),
        };
        Scene {
            config,
            index: entrance.listener,
            listener,
            asked,
            origin,
            path,
            changed_path: false,
            peer: question.peer_at(listener),
            client: question.peer_at(listener),
            trusted: false,
            secure: question.url.secure,
            unix_secs: question.unix_secs,
            repeat: question.repeat.max(1),
        }
    }

    pub(super) fn route_request(&self) -> RouteRequest<'_> {
        RouteRequest {
            listener: self.index,
            host: self.asked.head.authority.of(&self.asked.bytes),
            path: &self.path,
            head: &self.asked.head,
            bytes: &self.asked.bytes,
            client: self.client,
            unix_secs: self.unix_secs,
            random: RANDOM,
        }
    }

    /// A request that no route is looked for, because of its head, its path or how it came: nobody is asked.
    pub(super) fn unread(&self, failure: Failure) -> Outcome {
        Run::new(self, None, 0).end(End::Refused(failure))
    }

    /// A request that no route matches: only the policies of the whole proxy and of the listener are asked.
    pub(super) fn refused(&self, failure: Failure, way: usize) -> Outcome {
        self.repeated(|| {
            let mut run = Run::new(self, None, way);
            let end = run.ask_policies(None, None).err().unwrap_or_else(|| End::Refused(failure.clone()));
            run.end(end)
        })
    }

    /// A request that this match takes, to this target of its route. `way`: which of all that it may take.
    pub(super) fn run(&self, spot: Spot, target: Option<usize>, way: usize) -> Outcome {
        let Some(route) = self.config.routes.get(spot.route) else {
            return self.refused(Reason::NoRoute.into(), way);
        };
        self.repeated(|| {
            let mut run = Run::new(self, Some(route), way);
            run.outcome.spot = Some(spot);
            let cluster = target.and_then(|target| route.targets.list.get(target));
            run.outcome.cluster = cluster.map(|target| target.cluster);
            match run.reach_origin(route, spot, target) {
                Ok(()) => run.origin_answers(),
                Err(end) => run.end(end),
            }
        })
    }

    /// What becomes of the last of so many.
    fn repeated(&self, once: impl Fn() -> Outcome) -> Outcome {
        for _ in 1..self.repeat {
            once();
        }
        once()
    }
}

impl<'a> Run<'a> {
    fn new(scene: &'a Scene<'a>, route: Option<&'a RouteConfig>, way: usize) -> Run<'a> {
        Run {
            scene,
            now: WAY_NANOS.saturating_mul(way as u64 + 1),
            route,
            captures: Captures::default(),
            consumer: None,
            changes: RequestChanges::default(),
            response: ResponseChanges::default(),
            passed: Vec::new(),
            outcome: Outcome { chance: 1.0, ..Outcome::default() },
        }
    }

    /// What comes before an origin gets the request.
    fn reach_origin(&mut self, route: &RouteConfig, spot: Spot, target: Option<usize>) -> Result<(), End> {
        let (head, bytes) = (&self.scene.asked.head, self.scene.asked.bytes.as_slice());
        self.check_allowed(route)?;
        if let Some(call) = Call::of(head, bytes)
            && let Err(detail) = call.check(head, bytes)
        {
            return Err(End::Refused(Failure { reason: Reason::BadRequest, detail: detail.to_owned() }));
        }
        if let Some(origin) = cors::allowed_origin(&route.grpc.web_origins, head, bytes)
            && Call::of(head, bytes).is_none()
            && cors::is_preflight(head, bytes)
        {
            let mut reply = Vec::new();
            cors::render_preflight(&mut reply, origin, head, bytes);
            return Err(End::Rendered(reply));
        }
        if let Some(wanted) = spot.of(self.scene.config) {
            self.captures = RouteTable::captures(wanted, &self.scene.path);
        }
        self.ask_policies(Some(route), target)?;
        let cluster = self.outcome.cluster.and_then(|index| self.scene.config.clusters.get(index));
        let cluster = cluster.ok_or_else(|| refused(Reason::NoEndpoint))?;
        self.outcome.endpoints = endpoints(cluster);
        self.outcome.sent = Some(self.sent(route));
        // What becomes a tunnel is not copied.
        let upgrade =
            head.upgrade.and_then(|field| websocket::upgrade_token(field.of(bytes), &route.upgrades));
        if let Some(mirror) =
            route.mirror.as_ref().filter(|_| upgrade.is_none() && head.method != Method::Connect)
        {
            self.outcome.mirrors.clone_from(&mirror.targets);
        }
        Ok(())
    }

    fn check_allowed(&self, route: &RouteConfig) -> Result<(), End> {
        let max = self.scene.listener.limits.body_bytes_max;
        match (self.scene.asked.head.method, self.scene.asked.head.body) {
            (Method::Connect, _) if !route.connect => Err(refused(Reason::MethodNotAllowed)),
            (_, BodyLength::Exact(length)) if max > 0 && length > max => Err(refused(Reason::BodyTooLarge)),
            _ => Ok(()),
        }
    }

    /// Asks the policies of the request one after the other, and names those that are not reached.
    fn ask_policies(&mut self, route: Option<&RouteConfig>, target: Option<usize>) -> Result<(), End> {
        let target = route.zip(target).and_then(|(route, target)| route.targets.list.get(target));
        let lists: [(&'static str, &[PolicyConfig]); 4] = [
            ("global", &self.scene.config.policies),
            ("listener", &self.scene.listener.policies),
            ("route", route.map(|route| route.policies.as_slice()).unwrap_or_default()),
            ("target", target.map(|target| target.policies.as_slice()).unwrap_or_default()),
        ];
        let mut ended = None;
        for (level, config) in
            lists.into_iter().flat_map(|(level, list)| list.iter().map(move |it| (level, it)))
        {
            let mut step = Step { level, name: config.name(), says: String::new() };
            if ended.is_some() {
                self.outcome.unasked.push(step);
                continue;
            }
            let policy = config.instance();
            let before = (self.changes.clone(), self.consumer.clone());
            let verdict = self.ask(&policy);
            (step.says, ended) = match verdict {
                Verdict::Continue => ("passes".to_owned(), None),
                Verdict::Delay(delay) => (format!("passes after {delay:?}"), None),
                Verdict::Wait(wanted) => {
                    (format!("passes while fewer than {} are under way", wanted.limit), None)
                }
                Verdict::Reply(reply) => (format!("answers {}", reply.status), Some(End::Answered(reply))),
                Verdict::DelayedReply(delay, reply) => {
                    (format!("answers {} after {delay:?}", reply.status), Some(End::Answered(reply)))
                }
                Verdict::Deny(denial) => {
                    self.response.headers.add_lines(&denial.lines);
                    let failure = Failure { reason: denial.kind.into(), detail: denial.detail };
                    (format!("refuses: {}", failure_text(&failure)), Some(End::Refused(failure)))
                }
            };
            if ended.is_none() {
                step.says.push_str(&self.changed(&before));
                self.passed.push(policy);
            }
            self.outcome.asked.push(step);
        }
        ended.map_or(Ok(()), Err)
    }

    fn ask(&mut self, policy: &Policy) -> Verdict {
        policy.on_request(&mut RequestContext {
            head: &self.scene.asked.head,
            bytes: &self.scene.asked.bytes,
            path: &self.scene.path,
            client: self.scene.client,
            listener: &self.scene.listener.name,
            route: self.route.map_or("", |route| &route.name),
            captures: &self.captures,
            now: self.now,
            unix_secs: self.scene.unix_secs,
            random: RANDOM,
            secure: self.scene.secure,
            certificate: None,
            request_id: self.request_id(),
            consumer: &mut self.consumer,
            changes: &mut self.changes,
            response: &mut self.response,
        })
    }

    /// What a policy has changed, for a person.
    fn changed(&self, (before, consumer): &(RequestChanges, Option<Arc<Consumer>>)) -> String {
        let mut out = String::new();
        let mut say = |what: String| {
            out.push_str("; ");
            out.push_str(&what);
        };
        let after = &self.changes;
        if let Some(found) = self.consumer.as_ref().filter(|found| Some(*found) != consumer.as_ref()) {
            say(format!("the consumer is {}", found.name));
        }
        for (what, before, after) in [
            ("path", &before.path, &after.path),
            ("query", &before.query, &after.query),
            ("host", &before.host, &after.host),
        ] {
            if let Some(after) = after.as_ref().filter(|_| before != after) {
                say(format!("the {what} becomes {}", text(after)));
            }
        }
        let names = after.headers.names().iter().filter(|name| !before.headers.names().contains(name));
        let gone: Vec<String> = names.map(|name| text(name)).collect();
        let old = text(before.headers.lines());
        let lines: Vec<String> = (text(after.headers.lines()).lines())
            .filter(|line| !old.lines().any(|known| known == *line))
            .map(str::to_owned)
            .collect();
        let is_set = |name: &String| {
            lines
                .iter()
                .any(|line| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(':')))
        };
        for line in &lines {
            say(format!("the origin gets {line}"));
        }
        for name in gone.iter().filter(|name| !is_set(name)) {
            say(format!("the origin does not get {name}"));
        }
        out
    }

    /// The request as the origin gets it.
    fn sent(&self, route: &RouteConfig) -> Sent {
        let scene = self.scene;
        let (head, bytes) = (&scene.asked.head, scene.asked.bytes.as_slice());
        let config = &scene.listener.forwarded;
        let mut append = Vec::new();
        let hop = Hop {
            peer: scene.peer,
            trusted: scene.trusted,
            scheme: if scene.secure { "https" } else { "http" },
            host: head.authority.of(bytes),
        };
        forwarded::render(&mut append, config.style, &hop, head, bytes);
        let mut drop = forwarded::dropped_kinds(config.style, scene.trusted);
        drop.insert(FieldKind::XRingwayExplain);
        if config.request_id && self.request_id() == REQUEST_ID {
            drop.insert(FieldKind::XRequestId);
            append.extend_from_slice(&[b"x-request-id: ", REQUEST_ID, b"\r\n"].concat());
        }
        if scene.listener.tls.as_ref().is_some_and(|tls| tls.settings().client_auth.forward) {
            drop.insert(FieldKind::XForwardedClientCert);
        }
        if config.via {
            forwarded::render_via(&mut append, head.version);
        }
        drop = drop.union(self.changes.headers.kinds());
        append.extend_from_slice(self.changes.headers.lines());
        let normal = scene.changed_path.then_some(scene.path.as_slice());
        let target = exchange::forwarding::target_of(head, bytes, normal, Some(&self.changes));
        let upgrade =
            head.upgrade.and_then(|field| websocket::upgrade_token(field.of(bytes), &route.upgrades));
        let edits = RequestEdits {
            drop,
            drop_names: self.changes.headers.names(),
            target: target.as_deref(),
            host: self.changes.host.as_deref(),
            append: &append,
            connection: upgrade.map_or(ConnectionField::None, ConnectionField::Upgrade),
            te_trailers: head.te_trailers,
        };
        let mut out = Vec::new();
        http1::write_request(&mut out, bytes, head, &edits);
        read_request(&out)
    }

    /// The identifier that a trusted peer brings, or what stands for a new one.
    fn request_id(&self) -> &'a [u8] {
        let scene = self.scene;
        if !scene.listener.forwarded.request_id {
            return b"";
        }
        let received = scene.asked.head.lookup(FieldKind::XRequestId);
        let received = received.map(|id| id.of(&scene.asked.bytes));
        let kept = |id: &&[u8]| scene.trusted && ringway_policies::request_id::may_be_kept(id);
        received.filter(kept).unwrap_or(REQUEST_ID)
    }

    /// Tells the policies that let the request pass of its response, in reverse order.
    fn respond(&mut self, status: u16, head: Option<(&ResponseHead, &[u8])>) -> ResponseChanges {
        let scene = self.scene;
        for policy in self.passed.iter().rev() {
            policy.on_response(&mut ResponseContext {
                status,
                head: head.map(|(head, _)| head),
                bytes: head.map(|(_, bytes)| bytes).unwrap_or_default(),
                facts: Facts {
                    head: &scene.asked.head,
                    bytes: &scene.asked.bytes,
                    path: &scene.path,
                    client: scene.client,
                    listener: &scene.listener.name,
                    route: self.route.map_or("", |route| &route.name),
                    captures: &self.captures,
                    secure: scene.secure,
                    certificate: None,
                    request_id: self.request_id(),
                    consumer: self.consumer.as_deref(),
                },
                now: self.now,
                unix_secs: scene.unix_secs,
                changes: &mut self.response,
            });
        }
        std::mem::take(&mut self.response)
    }

    /// The response of the origin, as the client gets it.
    fn origin_answers(mut self) -> Outcome {
        let origin = self.scene.origin;
        let mut bytes =
            format!("HTTP/1.1 {} {}\r\n", origin.status, reason_phrase(origin.status)).into_bytes();
        for (name, value) in &origin.fields {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let mut head = ResponseHead::default();
        if http1::parse_response(&bytes, &LIMITS, self.scene.asked.head.method, &mut head).is_err() {
            return self.end(refused(Reason::UpstreamBadResponse));
        }
        let changes = self.respond(head.status, Some((&head, &bytes)));
        let hsts = self.hsts_line();
        let mut drop = exchange::OWN_FIELDS.union(changes.headers.kinds());
        if !hsts.is_empty() {
            drop.insert(FieldKind::StrictTransportSecurity);
        }
        let append = [hsts.as_bytes(), changes.headers.lines()].concat();
        let edits = ResponseEdits {
            drop,
            drop_names: changes.headers.names(),
            append: &append,
            connection: ConnectionField::None,
        };
        let mut out = Vec::new();
        http1::write_response(&mut out, &bytes, &head, &edits);
        self.outcome.response = Some(read_response(&out));
        self.outcome
    }

    /// What the client gets of the proxy itself.
    fn end(mut self, end: End) -> Outcome {
        let rendered = match end {
            End::Rendered(reply) => reply,
            End::Answered(reply) => self.policy_reply(&reply),
            End::Refused(failure) => self.local_reply(failure),
        };
        self.outcome.response = Some(read_response(&rendered));
        self.outcome
    }

    fn policy_reply(&mut self, reply: &Reply) -> Vec<u8> {
        if let Some(denied) = reply.denied {
            self.outcome.refusal = Some((denied.into(), String::new()));
        }
        let changes = self.respond(reply.status, None);
        let mut out = format!("HTTP/1.1 {} {}\r\n", reply.status, reason_phrase(reply.status)).into_bytes();
        out.extend_from_slice(&reply.lines);
        out.extend_from_slice(changes.headers.lines());
        out.extend_from_slice(self.hsts_line().as_bytes());
        if !matches!(reply.status, 204 | 304) {
            out.extend_from_slice(format!("content-length: {}\r\n", reply.body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    fn local_reply(&mut self, failure: Failure) -> Vec<u8> {
        let scene = self.scene;
        let (head, bytes) = (&scene.asked.head, scene.asked.bytes.as_slice());
        self.outcome.refusal = Some((failure.reason, failure.detail.clone()));
        let call = Call::of(head, bytes);
        let status = if call.is_some() { 200 } else { failure.reason.status() };
        let mut lines = self.hsts_line().as_bytes().to_vec();
        if failure.reason == Reason::RedirectToHttps {
            let normal = scene.changed_path.then_some(scene.path.as_slice());
            exchange::push_https_location(&mut lines, head, bytes, normal, scene.listener.redirect_to_https);
        }
        let changes = self.respond(status, None);
        lines.extend_from_slice(changes.headers.lines());
        let grpc = call.map(|call| {
            let mut lines = Vec::new();
            call.push_content_type(&mut lines, call.form());
            grpc::push_status(&mut lines, failure.reason.info().grpc, failure.reason.info().text);
            lines
        });
        let reply = LocalReply {
            failure,
            grpc,
            accept: head.lookup(FieldKind::Accept).unwrap_or_default().of(bytes),
            head_only: head.method == Method::Head,
            keep_alive: true,
            http10: false,
            reason_header: scene.listener.forwarded.reason_header,
            lines: &lines,
        };
        let mut out = Vec::new();
        reply.render(&mut out);
        out
    }

    fn hsts_line(&self) -> &'a str {
        self.scene.listener.tls.as_ref().map_or("", |tls| tls.hsts_line())
    }
}

fn refused(reason: Reason) -> End {
    End::Refused(reason.into())
}

/// A refusal in a few words.
pub(super) fn failure_text(failure: &Failure) -> String {
    let info = failure.reason.info();
    match failure.detail.as_str() {
        "" => format!("{} {}", info.status, info.code),
        detail => format!("{} {} ({detail})", info.status, info.code),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads a head that was written here.
fn read_request(bytes: &[u8]) -> Sent {
    let mut head = RequestHead::default();
    if http1::parse_request(bytes, &LIMITS, &mut head).is_err() {
        return Sent::default();
    }
    let fields = head.fields.iter().filter(|field| field.kind != FieldKind::Host);
    Sent {
        method: text(head.method_span.of(bytes)),
        target: text(head.target.of(bytes)),
        host: text(head.authority.of(bytes)),
        fields: fields.map(|field| (text(field.name.of(bytes)), text(field.value.of(bytes)))).collect(),
    }
}

/// The same of a response. The date is left out: it is another one each time.
fn read_response(bytes: &[u8]) -> Message {
    const LEFT_OUT: KindSet = KindSet::of(&[FieldKind::Date]);
    let mut head = ResponseHead::default();
    if http1::parse_response(bytes, &LIMITS, Method::Get, &mut head).is_err() {
        return Message::default();
    }
    let fields = head.fields.iter().filter(|field| !LEFT_OUT.contains(field.kind));
    Message {
        status: head.status,
        fields: fields.map(|field| (text(field.name.of(bytes)), text(field.value.of(bytes)))).collect(),
    }
}
