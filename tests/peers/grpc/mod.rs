//! gRPC between programs of others: tonic and grpcio as clients and as origins, curl as a browser's gRPC-Web client,
//! with HTTP/2 or HTTP/1.1 behind the proxy that they meet.

mod tonic_client;
mod tonic_origin;
mod web;

use std::net::SocketAddr;

use bytes::Bytes;
use ringway_tests::grpcio::{self, GrpcioOrigin};
use ringway_tests::peers::find;
use ringway_tests::{Io, Proxy, Ringway, each_driver};

use tonic_client::Client;
use tonic_origin::TonicOrigin;
use web::Browser;

each_driver! {
    every_kind_of_call,
    large_messages,
    much_metadata,
    statuses_and_messages,
    deadlines,
    cancellation,
    grpcio_asks_everything,
    browsers_call_by_grpc_web,
}

const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A message that can be told from every other.
fn numbered(number: u32, size: usize) -> Bytes {
    (0..size).map(|index| ((number as usize + index) % 251) as u8).collect()
}

/// What is between client and origin.
#[derive(Debug, Clone, Copy)]
enum Between {
    /// Nothing: the parts understand each other, so that what fails elsewhere is ours.
    Nothing,
    /// One proxy, HTTP/2 on both sides.
    Http2,
    /// Two proxies, HTTP/1.1 between them: each translates.
    Http1,
}

/// The proxies, and the address for the client.
fn between(io: Io, between: Between, origin: SocketAddr) -> (Vec<Proxy>, SocketAddr) {
    let to = |address, protocol: &str| {
        Ringway::to_address(address).io(io).cluster(&format!("protocol: {protocol}")).start()
    };
    let proxies = match between {
        Between::Nothing => Vec::new(),
        Between::Http2 => vec![to(origin, "http2")],
        Between::Http1 => {
            let inner = to(origin, "http2");
            vec![to(inner.address(), "http1"), inner]
        }
    };
    let first = proxies.first().map_or(origin, Proxy::address);
    (proxies, first)
}

/// Runs a check of the tonic client against every origin, over everything that may be between.
fn everywhere(io: Io, check: fn(&mut Client)) {
    let tonic = TonicOrigin::start();
    let grpcio = grpcio::python().map(|python| GrpcioOrigin::start(&python));
    let grpcio = grpcio.as_ref().map(|origin| ("grpcio", origin.address()));
    for (name, origin) in [("tonic", tonic.address())].into_iter().chain(grpcio) {
        for way in [Between::Nothing, Between::Http2, Between::Http1] {
            println!("tonic to {name}, between them {way:?}");
            let (_proxies, address) = between(io, way, origin);
            check(&mut Client::connect(address));
        }
    }
}

fn every_kind_of_call(io: Io) {
    everywhere(io, Client::every_kind_of_call);
}

fn large_messages(io: Io) {
    everywhere(io, Client::large_messages);
}

fn much_metadata(io: Io) {
    everywhere(io, Client::much_metadata);
}

fn statuses_and_messages(io: Io) {
    everywhere(io, Client::statuses_and_messages);
}

fn deadlines(io: Io) {
    everywhere(io, Client::deadlines);
}

fn cancellation(io: Io) {
    everywhere(io, Client::cancellation);
}

fn grpcio_asks_everything(io: Io) {
    let Some(python) = grpcio::python() else { return };
    let (tonic, grpcio) = (TonicOrigin::start(), GrpcioOrigin::start(&python));
    for (name, origin) in [("tonic", tonic.address()), ("grpcio", grpcio.address())] {
        for way in [Between::Nothing, Between::Http2, Between::Http1] {
            println!("grpcio to {name}, between them {way:?}");
            let (_proxies, address) = between(io, way, origin);
            grpcio::ask_everything(&python, address);
        }
    }
}

fn browsers_call_by_grpc_web(io: Io) {
    let Some(curl) = find("curl") else { return };
    let tonic = TonicOrigin::start();
    let grpcio = grpcio::python().map(|python| GrpcioOrigin::start(&python));
    let grpcio = grpcio.as_ref().map(|origin| ("grpcio", origin.address()));
    for (name, origin) in [("tonic", tonic.address())].into_iter().chain(grpcio) {
        for way in [Between::Http2, Between::Http1] {
            let (_proxies, to) = between(io, way, origin);
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                for text in [false, true] {
                    println!("curl {version} to {name}, between them {way:?}, text {text}");
                    Browser { curl: &curl, to, version, text }.every_call();
                }
            }
        }
    }
}
