//! `request_headers`: fields of the request that the origin gets, changed.

use std::sync::Arc;

use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::policy::{Configure, Hooks, RequestContext, Scope, Verdict};

pub const HELP: &str = "Sets, adds and removes fields of the request on its way to the origin.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "set",
        kind: Kind::Pairs,
        need: Need::Optional,
        help: "Fields that have this value and no other.",
    },
    Field {
        name: "add",
        kind: Kind::Pairs,
        need: Need::Optional,
        help: "Fields that are added to what there is.",
    },
    Field { name: "remove", kind: Kind::Texts, need: Need::Optional, help: "Fields that are left out." },
];

#[derive(Debug, PartialEq)]
pub struct RequestHeadersConfig {
    set: Vec<(String, String)>,
    add: Vec<(String, String)>,
    remove: Vec<String>,
}

impl Configure for RequestHeadersConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        Ok(RequestHeadersConfig {
            set: values.pairs("set").to_vec(),
            add: values.pairs("add").to_vec(),
            remove: values.texts("remove").to_vec(),
        })
    }
}

pub struct RequestHeaders(Arc<RequestHeadersConfig>);

impl RequestHeaders {
    pub fn new(config: &Arc<RequestHeadersConfig>) -> Self {
        RequestHeaders(Arc::clone(config))
    }
}

impl Hooks for RequestHeaders {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let headers = &mut request.changes.headers;
        self.0.remove.iter().for_each(|name| headers.remove(name.as_bytes()));
        self.0.set.iter().for_each(|(name, value)| headers.set(name.as_bytes(), value.as_bytes()));
        self.0.add.iter().for_each(|(name, value)| headers.add(name.as_bytes(), value.as_bytes()));
        Verdict::Continue
    }
}
