//! Policies from outside: one file for each, and one for the frame that they stand in.

mod api_version;
mod attacks;
mod body_size;
mod compress;
mod concurrency_limit;
mod cors;
mod credentials;
mod fault;
mod frame;
mod headers;
mod ip_access;
mod rate_limit;
mod redirect;
mod refusals;
mod rewrite;

use ringway_tests::{Origin, Ringway};

/// A proxy with one listener and one route to `origin`, and these policies at each level (flow or block YAML, on one line).
fn with_policies(origin: &Origin, global: &str, listener: &str, route: &str) -> Ringway {
    let list = |policies: &str| if policies.is_empty() { "[]".to_owned() } else { policies.to_owned() };
    Ringway::to(origin).config(format!(
        "policies: {}\nlisteners:\n  - {{ name: web, bind: \"127.0.0.1:0\", policies: {} }}\nclusters:\n  \
         - {{ name: origin, endpoints: [\"{}\"] }}\nroutes:\n  - {{ name: all, to: origin, policies: {} }}\n",
        list(global),
        list(listener),
        origin.address(),
        list(route)
    ))
}
