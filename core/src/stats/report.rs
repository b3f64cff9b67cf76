//! The statistics as JSON.
