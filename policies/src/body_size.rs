//! `body_size`: how long the bodies of requests and responses may be.
//!
//! A body that says its length is refused before any of it is read. One that does not is counted as it passes, and cut off where
//! it becomes too long: by then its head, and what came before, may have gone on.

use std::sync::Arc;

use ringway_protocols::message::BodyLength;

use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::policy::{Configure, Denied, Hooks, RequestContext, Scope, Verdict};

pub const HELP: &str = "Bounds the length of the bodies of requests and responses.";

const SIZE: Kind = Kind::Bytes { min: 0, max: 1 << 50 };

pub const FIELDS: &[Field] = &[
    Field {
        name: "request",
        kind: SIZE,
        need: Need::Optional,
        help: "The longest body of a request; a longer one is answered with 413. It can only narrow `limits.body_bytes` of \
               the listener.",
    },
    Field {
        name: "response",
        kind: SIZE,
        need: Need::Optional,
        help: "The longest body of a response, as the origin sends it; a longer one becomes a 502 where it says its \
               length, and is cut off where it does not.",
    },
];

#[derive(Debug)]
pub struct BodySizeConfig {
    request: Option<u64>,
    response: Option<u64>,
}

impl Configure for BodySizeConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let config =
            BodySizeConfig { request: values.opt_number("request"), response: values.opt_number("response") };
        match config {
            BodySizeConfig { request: None, response: None } => {
                Err(vec![Problem::new("", "`request`, `response` or both", "neither")])
            }
            config => Ok(config),
        }
    }
}

pub struct BodySize(Arc<BodySizeConfig>);

impl BodySize {
    pub fn new(config: &Arc<BodySizeConfig>) -> Self {
        BodySize(Arc::clone(config))
    }
}

impl Hooks for BodySize {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        if let Some(max) = self.0.request {
            if matches!(request.head.body, BodyLength::Exact(length) if length > max) {
                return Verdict::Deny(Denied::BodyTooLarge.into());
            }
            narrow(&mut request.changes.body_bytes_max, max);
        }
        if let Some(max) = self.0.response {
            narrow(&mut request.response.body_bytes_max, max);
        }
        Verdict::Continue
    }
}

/// Of several limits the smallest counts.
fn narrow(held: &mut Option<u64>, max: u64) {
    *held = Some(held.map_or(max, |held| held.min(max)));
}
