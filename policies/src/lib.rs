//! Policies: pure decisions about requests. No socket, no spawn, no clock, no lock: time and randomness are
//! parameters.
#![forbid(unsafe_code)]

pub mod api_key;
pub mod api_version;
pub mod balance;
pub mod basic_auth;
pub mod body_size;
pub mod captures;
pub mod changes;
pub mod cidr;
pub mod compress;
pub mod concurrency_limit;
pub mod cors;
pub mod credentials;
pub mod date;
pub mod fault;
pub mod field_name;
pub mod fields;
pub mod fixed_response;
pub mod forwarded;
pub mod header_edits;
pub mod identity;
pub mod ip_access;
pub mod outlier;
pub mod path;
pub mod path_change;
pub mod pieces;
pub mod policy;
pub mod rate_limit;
pub mod redirect;
pub mod request_headers;
pub mod request_id;
pub mod response_headers;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod spiffe;
pub mod split;
pub mod template;
pub mod watched;
