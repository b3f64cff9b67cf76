//! Fuzz targets, and a smoke run of each on the stable toolchain.
//!
//! A target is `run(data)`: it asserts what must hold for any bytes. A smoke run feeds it seeds and mutations of
//! them. It prints its random seed; `RINGWAY_FUZZ_SEED` repeats a run and `RINGWAY_FUZZ_ITERATIONS` makes it longer.

mod chunked;
mod client_hello;
mod http1_request;
mod http1_response;
mod http1_stream;
mod http2_frames;
mod http2_heads;
mod http2_hpack;
mod http2_sequence;
mod mutate;
mod path;
mod proxy_protocol;
mod reference;
mod route;
mod tls;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mutate::Mutator;

/// Mutations per target in a usual run: well under a second each.
const ITERATIONS: u64 = 20_000;
/// And where each of them is a handshake.
const HANDSHAKES: u64 = 1000;

fn smoke(target: &str, run: fn(&[u8]), seeds: &[&[u8]], dictionary: &[&[u8]]) {
    smoke_of(ITERATIONS, target, run, seeds, dictionary);
}

/// The same with another number of mutations in a usual run.
fn smoke_of(usual: u64, target: &str, run: fn(&[u8]), seeds: &[&[u8]], dictionary: &[&[u8]]) {
    let (seed, iterations) = (seed(), from_environment("RINGWAY_FUZZ_ITERATIONS").unwrap_or(usual));
    println!("{target}: RINGWAY_FUZZ_SEED={seed} RINGWAY_FUZZ_ITERATIONS={iterations}");
    let mut mutator = Mutator::new(seed, dictionary);
    let mut corpus: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    for data in &corpus {
        check(target, run, data);
    }
    for iteration in 0..iterations {
        // Every second time from a seed, as what has drifted far is mostly refused at once.
        let bases = if iteration % 2 == 0 { seeds.len() } else { corpus.len() };
        let mut data = corpus[mutator.below(bases)].clone();
        let other = corpus[mutator.below(corpus.len())].clone();
        mutator.mutate(&mut data, &other);
        check(target, run, &data);
        // A small corpus that drifts away from the seeds.
        if iteration % 64 == 0 && data.len() < 4096 {
            let at = if corpus.len() < seeds.len() + 64 {
                corpus.push(Vec::new());
                corpus.len() - 1
            } else {
                seeds.len() + mutator.below(64)
            };
            corpus[at] = data;
        }
    }
}

/// The seed of this run: random, or the one that is to be repeated.
fn seed() -> u64 {
    from_environment("RINGWAY_FUZZ_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        now.as_nanos() as u64
    })
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn check(target: &str, run: fn(&[u8]), data: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(data))) {
        println!("{target} fails on b\"{}\"", data.escape_ascii());
        resume_unwind(panic);
    }
}

#[test]
fn http1_request_smoke() {
    smoke("http1_request", http1_request::run, http1_request::SEEDS, mutate::HTTP1);
}

#[test]
fn http1_response_smoke() {
    smoke("http1_response", http1_response::run, http1_response::SEEDS, mutate::HTTP1);
}

#[test]
fn http1_stream_smoke() {
    smoke("http1_stream", http1_stream::run, http1_stream::SEEDS, mutate::HTTP1);
}

#[test]
fn http2_hpack_smoke() {
    smoke("http2_hpack", http2_hpack::run, http2_hpack::SEEDS, mutate::HPACK);
}

#[test]
fn http2_frames_smoke() {
    smoke("http2_frames", http2_frames::run, http2_frames::SEEDS, mutate::FRAMES);
}

#[test]
fn http2_heads_smoke() {
    smoke("http2_heads", http2_heads::run, http2_heads::SEEDS, mutate::HEADS);
}

#[test]
fn http2_sequence_smoke() {
    smoke("http2_sequence", http2_sequence::run, http2_sequence::SEEDS, mutate::OPERATIONS);
}

#[test]
fn client_hello_smoke() {
    assert!(client_hello::is_read(client_hello::SEEDS[0]), "both readers take the first seed");
    smoke("client_hello", client_hello::run, client_hello::SEEDS, mutate::HELLOS);
}

#[test]
fn chunked_smoke() {
    smoke("chunked", chunked::run, chunked::SEEDS, mutate::CHUNKS);
}

#[test]
fn proxy_protocol_smoke() {
    smoke("proxy_protocol", proxy_protocol::run, proxy_protocol::SEEDS, mutate::PROXY);
}

#[test]
fn path_smoke() {
    smoke("path", path::run, path::SEEDS, mutate::PATHS);
}

#[test]
fn tls_smoke() {
    smoke_of(HANDSHAKES, "tls", tls::run, tls::SEEDS, tls::DICTIONARY);
}

#[test]
fn route_smoke() {
    smoke("route", route::run, route::SEEDS, mutate::PATHS);
}
