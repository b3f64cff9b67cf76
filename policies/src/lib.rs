//! Policies: pure decisions about requests. No socket, no spawn, no clock, no lock: time and randomness are
//! parameters.
#![forbid(unsafe_code)]

pub mod balance;
pub mod cidr;
pub mod forwarded;
pub mod path;
pub mod request_id;
pub mod route;
pub mod spiffe;
pub mod split;
