//! The configuration: read from flags, environment and a file, checked whole, and built into what the
//! data path reads.
//!
//! ```text
//! file    include (the file and what it includes, as one)
//!         tree    (YAML → nodes that know their line, references resolved)
//!         file    (nodes → typed values, every error at once)
//! flags ┐
//! env   ┼ layer   (flag > environment > file > default, each value with its origin)
//! file  ┘
//!         load    assemble (check: does it fit together?  build: the structures of `built`)
//! ```
//!
//! All settings are rows of one table, [`settings`]. **Invariant:** a [`Config`] that was built is valid; nothing
//! is checked again on the request path.

mod assemble;
mod balance;
mod build;
mod built;
mod check;
pub mod cpus;
mod defaults;
mod diff;
pub mod discovery;
#[cfg(test)]
mod docs;
mod dump;
pub mod endpoints_file;
mod error;
pub mod expectations;
mod file;
mod grammar;
mod health;
mod identity;
mod include;
mod inputs;
mod layer;
mod load;
mod policies;
pub mod policy_file;
mod reference;
mod reload;
mod resilience;
mod schema;
pub mod settings;
mod source;
mod target;
mod tls;
mod tree;
pub mod units;
mod value;

pub use balance::{BalanceConfig, BreakerLimits, EndpointTraits, HashKey, StickyConfig};
pub use built::*;
pub(crate) use check::uncovered;
pub use diff::{Change, KeyChange, What};
pub use discovery::DiscoveryConfig;
pub use error::{ConfigError, Place, Severity, did_you_mean};
pub use health::{HealthKind, HttpHealth};
pub use inputs::Inputs;
pub use layer::{Layer, Origin, Own};
pub use reference::{Secrets, Variables};
pub use reload::restart_needed;
pub use resilience::{MirrorConfig, MirrorTarget, ResilienceConfig};
pub use schema::schema;
pub use source::{ConfigSource, Given, LISTEN_DEFAULT};
pub use target::{TargetConfig, Targets};
pub use value::{Kind, Mismatch, Value};
