//! Ringway tests.
