//! The runtime, the data path and the command line of Ringway.
pub mod cli;
pub mod config;
pub mod error;
pub mod io;
pub mod outcome;
pub mod server;
