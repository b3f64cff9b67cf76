//! Other peoples programs.
