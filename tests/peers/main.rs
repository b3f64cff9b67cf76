//! Programs that others wrote, as clients, as origins and as proxies in front: what they make of HTTP is what Ringway
//! meets in the field.

mod curl;
mod grpc;
mod http2;
mod servers;
mod two_readers;
mod varnishtest;
