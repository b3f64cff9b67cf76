//! Conformance tests, by protocol and by section of the RFC that has the rule.

mod hpack;
mod http1;
mod http2;
