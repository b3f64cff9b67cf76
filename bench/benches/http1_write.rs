//! `protocols/src/http1/write.rs`: heads on their way out, with the edits that a default configuration makes.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_bench::samples;
use ringway_policies::forwarded::{ForwardedStyle, dropped_kinds};
use ringway_protocols::http1::{
    RequestEdits, ResponseEdits, parse_request, parse_response, response_needs_edit, write_request,
    write_response,
};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("http1_write_request");
    for (name, bytes) in samples::requests() {
        let mut head = RequestHead::default();
        parse_request(&bytes, &samples::LIMITS, &mut head).expect("the sample is a request");
        let edits = RequestEdits {
            drop: dropped_kinds(ForwardedStyle::XForwarded, false),
            append: b"x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nvia: 1.1 ringway\r\n",
            ..RequestEdits::default()
        };
        let mut out = Vec::with_capacity(16 << 10);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                write_request(&mut out, black_box(&bytes), black_box(&head), &edits);
            });
        });
    }
    group.finish();
}

fn responses(c: &mut Criterion) {
    let mut group = c.benchmark_group("http1_write_response");
    for (name, bytes) in samples::responses() {
        let mut head = ResponseHead::default();
        parse_response(&bytes, &samples::LIMITS, Method::Get, &mut head).expect("the sample is a response");
        let plain = ResponseEdits::default();
        group.bench_function(format!("{name}_needs_edit"), |b| {
            b.iter(|| response_needs_edit(black_box(&head), &plain));
        });
        let edits = ResponseEdits { append: b"via: 1.1 ringway\r\n", ..ResponseEdits::default() };
        let mut out = Vec::with_capacity(16 << 10);
        group.bench_function(format!("{name}_edited"), |b| {
            b.iter(|| {
                out.clear();
                write_response(&mut out, black_box(&bytes), black_box(&head), &edits);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, responses);
criterion_main!(benches);
