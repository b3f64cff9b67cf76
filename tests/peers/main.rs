//! Programs that others wrote, as clients, as origins and as proxies in front: what they make of HTTP/1.1 is what
//! Ringway meets in the field.

mod curl;
mod servers;
mod two_readers;
mod varnishtest;
