//! The runtime: one event loop per worker.
pub mod address;
pub use address::Address;
