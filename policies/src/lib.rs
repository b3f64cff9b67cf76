//! Policies: pure decisions about requests. No socket, no spawn, no clock, no lock.
#![forbid(unsafe_code)]

pub mod cidr;
