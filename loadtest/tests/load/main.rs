//! `ringway-load` against servers that behave, and servers that do not.

mod harness;
mod hostile;
mod http1;
mod origins;
mod paths;
mod proofs;
mod scenario;
mod tls;
