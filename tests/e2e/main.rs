//! The whole program from outside: a real process, real sockets, a client and an origin that say what they are told.
//!
//! Each file holds one subject. Where the driver matters, a test runs on each (`each_driver!`).

mod access_log;
mod admin;
mod balance;
mod balancing;
mod cli;
mod connections;
mod deadline_header;
mod deadlines;
mod drain;
mod drivers;
mod early_response;
mod examples;
mod expect_continue;
mod explain;
mod faults;
mod forwarding;
mod grpc_calls;
mod grpc_health;
mod grpc_web;
mod health;
mod hedge;
mod http2_connections;
mod http2_translation;
mod http2_upstream;
mod limits;
mod local_replies;
mod memory;
mod messages;
mod mirror;
mod names;
mod outliers;
mod pools;
mod proxy_protocol;
mod reload;
mod retries;
mod retry_policy;
mod routes;
mod slow_peers;
mod split;
mod systemd;
mod targets;
mod tcp;
mod upgrade;
mod websocket_http2;
