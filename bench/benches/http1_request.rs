//! `protocols/src/http1/request.rs`: request heads, whole and in pieces.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway_bench::samples;
use ringway_protocols::http1::{HeadProgress, parse_request, parse_request_resumed};
use ringway_protocols::message::RequestHead;

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("http1_request");
    for (name, bytes) in samples::requests() {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut head = RequestHead::default();
        group.bench_function(name, |b| {
            b.iter(|| parse_request(black_box(&bytes), &samples::LIMITS, &mut head));
        });
    }
    group.finish();
}

/// A head that arrives in pieces must not cost the square of their number.
fn in_pieces(c: &mut Criterion) {
    let mut group = c.benchmark_group("http1_request_in_pieces");
    let (_, bytes) = samples::requests().pop().expect("there are samples");
    for piece_bytes in [1, 16, 256] {
        let mut head = RequestHead::default();
        group.bench_function(format!("{piece_bytes}_bytes_each"), |b| {
            b.iter(|| {
                let mut progress = HeadProgress::default();
                let mut end = 0;
                while end < bytes.len() {
                    end = (end + piece_bytes).min(bytes.len());
                    let seen = black_box(&bytes[..end]);
                    let _ =
                        black_box(parse_request_resumed(seen, &samples::LIMITS, &mut progress, &mut head));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, whole, in_pieces);
criterion_main!(benches);
