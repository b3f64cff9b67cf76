//! TLS of the whole program: with programs that others wrote on either side, with peers that break its rules, and with what is
//! known to have broken stacks of TLS. Certificates are made when the tests run.

mod bad_clients;
mod bad_origins;
mod bounds;
mod clients;
mod files;
mod misdirected;
mod ocsp;
mod origins;
mod passthrough;
mod proxy_protocol;
mod raw;
mod site;
mod swaps;
mod tcp;
mod tickets;
mod told;
