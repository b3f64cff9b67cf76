//! `ringway-load URL`: the client that measures any HTTP server.
//!
//! It runs on its own raw ring, not on `ringway_core::io`: a tester keeps no body and needs no task for each
//! connection, and must cost less CPU per request than what it measures.
//!
//! Reading order: [`args`] → [`run`] → [`worker`] → [`codec`]; [`totals`] is what is counted, [`summary`] what is
//! printed. **Invariant:** every request that was started ends in exactly one answer or one error.

pub mod args;
pub mod arrivals;
pub mod codec;
pub mod compare;
pub mod config;
pub mod hdr_log;
pub mod html;
pub mod idle;
pub mod knee;
pub mod origin;
pub mod proto;
pub mod random;
pub mod request;
pub mod run;
pub mod scenario;
pub mod summary;
pub mod target;
pub mod template;
pub mod tls;
pub mod totals;
pub mod worker;
