//! Conformance tests, by protocol and by section of the RFC that has the rule.

mod http1;
