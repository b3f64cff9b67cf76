//! `protocols/src/http1/body.rs`: bodies of both framings, as they come from a receive buffer.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway_bench::samples;
use ringway_protocols::http1::{BodyDecoder, BodyStep, TrailerLimits};
use ringway_protocols::message::BodyLength;

const TRAILERS: TrailerLimits = TrailerLimits { bytes_max: 4096, fields_max: 32 };

fn chunked(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunked");
    for chunk_bytes in [1, 64, 1024, 16 << 10] {
        let body = samples::chunked_body(64 << 10, chunk_bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{chunk_bytes}_byte_chunks"), |b| {
            b.iter(|| decode(BodyLength::Chunked, black_box(&body)));
        });
    }
    let plain = vec![b'x'; 64 << 10];
    group.bench_function("content_length", |b| {
        b.iter(|| decode(BodyLength::Exact(plain.len() as u64), black_box(&plain)));
    });
    group.finish();
}

/// Receives of 16 KiB, each looked at until nothing is left. Returns the bytes of content.
fn decode(length: BodyLength, body: &[u8]) -> usize {
    let mut decoder = BodyDecoder::new(length, &TRAILERS);
    let mut content = 0;
    for mut received in body.chunks(16 << 10) {
        loop {
            match decoder.next(received).expect("the sample is a body") {
                BodyStep::Framing(bytes) | BodyStep::Trailer(bytes) => received = &received[bytes..],
                BodyStep::Data(bytes) => {
                    content += bytes;
                    received = &received[bytes..];
                }
                BodyStep::Done | BodyStep::NeedMore => break,
            }
        }
    }
    assert!(decoder.is_done(), "the sample is a whole body");
    content
}

criterion_group!(benches, chunked);
criterion_main!(benches);
