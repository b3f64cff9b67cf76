//! Ringway bench.
