//! Policies: pure decisions about requests. No socket, no spawn, no clock, no lock: time and randomness are
//! parameters.
#![forbid(unsafe_code)]

pub mod balance;
pub mod captures;
pub mod changes;
pub mod cidr;
pub mod fields;
pub mod forwarded;
pub mod outlier;
pub mod path;
pub mod policy;
pub mod request_headers;
pub mod request_id;
pub mod route;
pub mod spiffe;
pub mod split;
