//! Identities that come from outside while the proxy runs: certificates by ACME, and the SPIFFE Workload API.

mod acme;
mod agent;
mod certificates;
mod spiffe;
