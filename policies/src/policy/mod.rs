//! The frame of policies: what they are given, and what they may say.
//!
//! A policy is one file: its configuration ([`crate::fields`]), the step that builds it, and hooks. It returns a
//! [`Verdict`] and calls nobody back. Its `XConfig` is shared by all workers, and holds in atomics what a limit over all
//! of them is drawn from; its `X` belongs to one worker. Time and chance are parameters.
//!
//! Policies run in the order: global, listener, route, target; within each list as written. Responses pass them in reverse.

#[cfg(test)]
pub(crate) mod fixture;
mod list;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_protocols::message::{RequestHead, ResponseHead};

use crate::captures::Captures;
use crate::changes::{RequestChanges, ResponseChanges};
use crate::concurrency_limit::Wanted;
use crate::fields::{Problem, Values};
use crate::template::Facts;
use crate::watched::WatchedFile;
pub use list::{KINDS, Policy, PolicyConfig, PolicyKind};

/// How a policy comes from its configuration.
pub trait Configure: Sized {
    /// # Errors
    /// All that is wrong with values that fit their fields one by one.
    fn build(values: &Values, scope: Scope<'_>) -> Result<Self, Vec<Problem>>;

    /// At a reload: takes over what the policy of before has counted, where the parameters allow it.
    fn adopt(&mut self, _old: &Self) {}

    /// The file that it was built from, if it is to be followed.
    fn watched(&self) -> Option<&dyn WatchedFile> {
        None
    }
}

/// What a policy does, each when it is its turn.
pub trait Hooks {
    fn on_request(&self, _request: &mut RequestContext<'_>) -> Verdict {
        Verdict::Continue
    }

    /// Before the head of the final response is sent, whoever made it. Not for the response of this policy's own refusal.
    fn on_response(&self, _response: &mut ResponseContext<'_>) {}

    /// Once for each time that `on_request` let a request pass.
    fn on_end(&self, _end: &EndContext) {}
}

/// Where a policy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    pub level: Level,
    /// The name of the listener, route or cluster; empty for the whole proxy.
    pub name: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Global,
    Listener,
    Route,
    Target,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    Continue,
    /// This is the response.
    Reply(Reply),
    /// It is refused.
    Deny(Denial),
    /// It goes on after this time.
    Delay(Duration),
    /// It goes on once it has this slot, and holds it to its end.
    Wait(Wanted),
    /// This is the response, after this time.
    DelayedReply(Duration, Reply),
}

/// A response of a policy's own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// `name: value\r\n` each. Length and date are added.
    pub lines: Vec<u8>,
    pub body: Vec<u8>,
    /// The reason that logs and statistics give, where the reply is a refusal.
    pub denied: Option<Denied>,
}

/// A refusal, answered in the form that the client understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub kind: Denied,
    /// What the client is told besides; empty: nothing.
    pub detail: String,
    /// `name: value\r\n` each.
    pub lines: Vec<u8>,
}

impl From<Denied> for Denial {
    fn from(kind: Denied) -> Self {
        Denial { kind, detail: String::new(), lines: Vec::new() }
    }
}

/// Why a policy refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// More requests than its rate limit allows.
    RateLimited,
    /// There is no place to count the requests of another key.
    RateLimitFull,
    /// It says not, or wrongly, who it is.
    Unauthenticated,
    /// Who it is may not do this.
    Forbidden,
    /// A limit on what is under way at a time is reached.
    ConcurrencyLimit,
    /// A body larger than the route accepts.
    BodyTooLarge,
    /// What a policy makes of its path or host cannot be sent.
    BadRewrite,
    /// A version of an API that there is not.
    UnknownVersion,
    /// A version of an API that there is no longer.
    VersionGone,
    /// A fault that somebody asked for.
    FaultInjected,
}

/// A request as its policies see it.
pub struct RequestContext<'a> {
    pub head: &'a RequestHead,
    /// What the spans of `head` lie in.
    pub bytes: &'a [u8],
    /// In normal form, without the query.
    pub path: &'a [u8],
    /// The client, behind the forwarders that are trusted; `None` on a UNIX socket.
    pub client: Option<IpAddr>,
    pub listener: &'a str,
    /// The name of the route.
    pub route: &'a str,
    pub captures: &'a Captures,
    /// Nanoseconds of a clock that never goes back and is the same for all workers.
    pub now: u64,
    /// Seconds since 1970.
    pub unix_secs: u64,
    /// Fresh for each policy; good for spreading, not for secrets.
    pub random: u64,
    /// Whether the client speaks TLS.
    pub secure: bool,
    /// Who the client is by its certificate.
    pub certificate: Option<CertificateView<'a>>,
    /// The identifier of the request; empty where the listener writes none.
    pub request_id: &'a [u8],
    /// Who the client is, once a policy has found out.
    pub consumer: &'a mut Option<Arc<Consumer>>,
    /// What the origin gets. Routes have been matched by now.
    pub changes: &'a mut RequestChanges,
    /// What the client gets with whatever response there will be.
    pub response: &'a mut ResponseChanges,
}

/// A client certificate that was verified.
#[derive(Debug, Clone, Copy)]
pub struct CertificateView<'a> {
    pub subject: &'a str,
    /// DNS names among the subject's alternative names.
    pub dns: &'a [String],
    /// URIs among them.
    pub uris: &'a [String],
    pub fingerprint_sha256: &'a [u8; 32],
    pub spiffe_id: Option<&'a str>,
}

/// Who a client is, in the words of the policy that found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    pub name: String,
    pub groups: Vec<String>,
}

/// A response as the policies of its request see it.
pub struct ResponseContext<'a> {
    pub status: u16,
    /// The head that was received; `None`: the proxy answers itself.
    pub head: Option<&'a ResponseHead>,
    /// What the spans of `head` lie in.
    pub bytes: &'a [u8],
    /// What is known of the request.
    pub facts: Facts<'a>,
    pub now: u64,
    pub unix_secs: u64,
    pub changes: &'a mut ResponseChanges,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy)]
pub struct EndContext {
    /// 0 where there was no response.
    pub status: u16,
    pub now: u64,
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
}
