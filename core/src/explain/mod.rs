//! Why a request goes where it goes, for who has the right to know it.
//!
//! **Invariant:** nothing here decides about a request that is served.

pub mod live;
pub mod routes;
