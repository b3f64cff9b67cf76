#![forbid(unsafe_code)]
//! Wire protocols as pure functions and state machines.
