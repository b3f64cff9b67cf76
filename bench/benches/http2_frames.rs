//! `protocols/src/http2/frame.rs`: frame headers in and out, a thousand at a time.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway_protocols::http2::frame::{
    FRAME_HEADER_BYTES, FrameHeader, kind, write_header, write_window_update,
};

const FRAMES: usize = 1000;

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("http2_frames");
    group.throughput(Throughput::Elements(FRAMES as u64));
    let mut wire = Vec::new();
    for at in 0..FRAMES as u32 {
        write_header(&mut wire, at * 16, (at % 10) as u8, at as u8, at * 2 + 1);
    }
    group.bench_function("parse", |b| {
        b.iter(|| {
            let mut sum = 0_u32;
            for bytes in black_box(&wire).as_chunks::<FRAME_HEADER_BYTES>().0 {
                let header = FrameHeader::parse(bytes);
                sum = sum.wrapping_add(header.length ^ header.id ^ u32::from(header.kind ^ header.flags));
            }
            sum
        });
    });
    let mut out = Vec::with_capacity(FRAMES * 16);
    group.bench_function("write_header", |b| {
        b.iter(|| {
            out.clear();
            for id in 0..FRAMES as u32 {
                write_header(&mut out, black_box(16_384), kind::DATA, 0, black_box(id));
            }
            out.len()
        });
    });
    group.bench_function("write_window_update", |b| {
        b.iter(|| {
            out.clear();
            for id in 0..FRAMES as u32 {
                write_window_update(&mut out, black_box(id), black_box(65_535));
            }
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
