//! The runtime, the data path and the command line of Ringway.
pub mod access_log;
pub mod cli;
pub mod config;
pub mod control;
pub mod doctor;
pub mod error;
pub mod io;
pub mod log;
pub mod outcome;
pub mod server;
pub mod stats;
