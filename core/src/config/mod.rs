//! The configuration: read from flags, environment and a file, checked whole, and built into what the
//! data path reads.

mod built;
mod source;

pub use built::*;
pub use source::ConfigSource;
