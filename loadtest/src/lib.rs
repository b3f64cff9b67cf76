//! Ringway loadtest.
