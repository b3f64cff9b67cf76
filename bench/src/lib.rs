//! Benches: how fast, compared with whom, and how to repeat it.
//!
//! `benches/` mirrors `protocols` and `policies` file by file with criterion; [`compare`] runs Ringway beside other
//! proxies; [`bare_relay`] is the practical floor that they are compared with.

pub mod bare_relay;
pub mod cli;
pub mod compare;
mod framing;
pub mod relay;
pub mod reload;
pub mod samples;
