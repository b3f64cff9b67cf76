//! The load tester. [`load`] measures any server; the rest is closed- and open-loop HTTP/1.1 clients and an origin in one
//! very light process, which `ringway-bench compare` uses.
//!
//! Client and origin share one thread and one ring, and talk to the kernel directly, because the tester must cost
//! less CPU per request than any proxy that it measures. What it does not do: keep bodies (they are counted and
//! thrown away), or follow redirects.
//!
//! Reading order: [`cli`] → [`engine`] → [`client`] and [`origin`] → [`ring`]; [`process`] reads the CPU time and
//! the memory of the proxy under test, [`report`] is what is printed.

pub mod affinity;
pub mod cli;
pub mod client;
pub mod engine;
pub mod head;
mod http2;
pub mod idle;
pub mod load;
pub mod origin;
pub mod process;
pub mod report;
pub mod ring;
pub mod slow_read;
pub mod socket;
