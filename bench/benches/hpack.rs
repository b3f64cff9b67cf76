//! `protocols/src/http2/{hpack,head,encode}`: header blocks into heads and back, and what was not built: Huffman code on
//! sending, and a table of our own.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_bench::samples;
use ringway_protocols::http1::{RequestEdits, ResponseEdits, parse_request, parse_response};
use ringway_protocols::http2::hpack::encoder;
use ringway_protocols::http2::{HeadDecoder, HeadEncoder};
use ringway_protocols::message::{KindSet, Method, RequestHead, ResponseHead};

/// A request as a browser sends it.
const REQUEST: [(&str, &str); 10] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "shop.example.com"),
    (":path", "/api/v7/orders/1234567?expand=items"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example.com/cart"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
];

const OTHER_PATH: &str = "/api/v7/orders/7654321?expand=items";

/// What a proxy adds.
const APPENDED: &[u8] = b"x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n\
    x-forwarded-host: shop.example.com\r\nvia: 2 ringway\r\nx-request-id: 0123456789abcdef0123456789abcdef\r\n";

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack_decode_request");
    let mut other = REQUEST;
    other[3].1 = OTHER_PATH;
    let plain = [literals(&REQUEST, false), literals(&other, false)];
    let huffman = [literals(&REQUEST, true), literals(&other, true)];
    let (table, first) = indexed(REQUEST[3].1);
    let (_, second) = indexed(OTHER_PATH);
    for (name, table, blocks) in [
        ("literals", &[][..], plain),
        ("huffman_literals", &[], huffman),
        ("indexed_but_the_path", &table, [first.clone(), second]),
        ("repeated", &table, [first.clone(), first]),
    ] {
        let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
        let mut decoder = HeadDecoder::new(4096);
        decoder.discard(table).expect("a good block");
        let mut turn = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                turn ^= 1;
                decoder.request(
                    black_box(&blocks[turn]),
                    &samples::LIMITS,
                    true,
                    false,
                    &mut head,
                    &mut bytes,
                )
            });
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack_encode_request");
    let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
    HeadDecoder::new(4096)
        .request(&literals(&REQUEST, false), &samples::LIMITS, true, false, &mut head, &mut bytes)
        .expect("a good block");
    let mut out = Vec::new();
    let appended = RequestEdits { append: APPENDED, drop: KindSet::FORWARDING, ..RequestEdits::default() };
    for (name, edits) in [("http2", RequestEdits::default()), ("http2_and_5_appended", appended)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                HeadEncoder::default().request(&mut out, black_box(&bytes), &head, &edits, "http");
            });
        });
    }
    for (name, http1) in samples::requests() {
        let mut head = RequestHead::default();
        parse_request(&http1, &samples::LIMITS, &mut head).expect("a good head");
        group.bench_function(format!("http1_{name}"), |b| {
            b.iter(|| {
                out.clear();
                HeadEncoder::default().request(
                    &mut out,
                    black_box(&http1),
                    &head,
                    &RequestEdits::default(),
                    "http",
                );
            });
        });
    }
    group.finish();
}

fn responses(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack_response");
    for (name, http1) in samples::responses() {
        let (mut head, mut block, mut bytes) = (ResponseHead::default(), Vec::new(), Vec::new());
        parse_response(&http1, &samples::LIMITS, Method::Get, &mut head).expect("a good head");
        group.bench_function(format!("encode_{name}"), |b| {
            b.iter(|| {
                block.clear();
                HeadEncoder::default().response(
                    &mut block,
                    black_box(&http1),
                    &head,
                    &ResponseEdits::default(),
                );
            });
        });
        let mut decoder = HeadDecoder::new(4096);
        group.bench_function(format!("decode_repeated_{name}"), |b| {
            b.iter(|| {
                decoder.response(
                    black_box(&block),
                    &samples::LIMITS,
                    false,
                    Method::Get,
                    &mut head,
                    &mut bytes,
                )
            });
        });
    }
    group.finish();
}

/// The fields of one request encoded in the ways that were weighed: bare loops, without what a head needs beside it.
fn ways_to_encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack_ways_to_encode");
    let mut out = Vec::new();
    group.bench_function("literals", |b| {
        b.iter(|| {
            out.clear();
            for (name, value) in black_box(&REQUEST) {
                encoder::literal(&mut out, name.as_bytes(), value.as_bytes(), false);
            }
        });
    });
    println!("literals: {} bytes", out.len());
    group.bench_function("huffman_literals", |b| {
        b.iter(|| {
            out.clear();
            for (name, value) in black_box(&REQUEST) {
                out.push(0);
                encoder::huffman_string(&mut out, name.as_bytes());
                encoder::huffman_string(&mut out, value.as_bytes());
            }
        });
    });
    println!("huffman_literals: {} bytes", out.len());
    let mut table = Table::default();
    group.bench_function("table", |b| {
        b.iter(|| {
            out.clear();
            for (name, value) in black_box(&REQUEST) {
                table.encode(&mut out, name.as_bytes(), value.as_bytes());
            }
        });
    });
    println!("table: {} bytes", out.len());
    let rendition: Vec<u8> =
        REQUEST.iter().flat_map(|(n, v)| [n.as_bytes(), b": ", v.as_bytes(), b"\r\n"].concat()).collect();
    let (last, block) = (rendition.clone(), literals(&REQUEST, false));
    group.bench_function("last_block_again", |b| {
        b.iter(|| {
            out.clear();
            if black_box(&rendition) == black_box(&last) {
                out.extend_from_slice(&block);
            }
        });
    });
    group.finish();
}

/// A table for sending in its cheapest form: nothing is ever evicted, and every field is in it after the first block.
#[derive(Default)]
struct Table {
    slots: Vec<Option<Entry>>,
    entries: u32,
}

struct Entry {
    number: u32,
    text: Vec<u8>,
}

impl Table {
    fn encode(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        self.slots.resize_with(128, || None);
        let slot = &mut self.slots[(hash(name) ^ hash(value).rotate_left(7)) as usize % 128];
        match slot {
            Some(entry) if entry.text.strip_prefix(name).is_some_and(|rest| rest == value) => {
                out.push(0x80 | (61 + self.entries - entry.number) as u8);
            }
            _ => {
                self.entries += 1;
                *slot = Some(Entry { number: self.entries, text: [name, value].concat() });
                out.push(0x40);
                encoder::literal(out, name, value, false);
            }
        }
    }
}

/// FxHash, eight bytes at a time.
fn hash(text: &[u8]) -> u64 {
    let (words, tail) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    words.iter().chain([&last]).fold(text.len() as u64, |hash, word| {
        (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x517c_c1b7_2722_0a95)
    }) >> 32
}

/// A block in which nothing is indexed.
fn literals(fields: &[(&str, &str)], huffman: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        if huffman {
            block.push(0);
            encoder::huffman_string(&mut block, name.as_bytes());
            encoder::huffman_string(&mut block, value.as_bytes());
        } else {
            encoder::literal(&mut block, name.as_bytes(), value.as_bytes(), false);
        }
    }
    block
}

/// What a client sends once its table has settled, and the block that fills the table before.
fn indexed(path: &str) -> (Vec<u8>, Vec<u8>) {
    let mut table = Vec::new();
    for (name, value) in [&REQUEST[2..3], &REQUEST[4..]].concat() {
        table.push(0x40);
        encoder::huffman_string(&mut table, name.as_bytes());
        encoder::huffman_string(&mut table, value.as_bytes());
    }
    // GET, https, the authority, the path as a literal, and the rest, oldest entry first.
    let mut block = vec![0x82, 0x87, 0x80 | 68, 0x04];
    encoder::huffman_string(&mut block, path.as_bytes());
    block.extend((62..68).rev().map(|index| 0x80 | index));
    (table, block)
}

criterion_group!(benches, decode, encode, responses, ways_to_encode);
criterion_main!(benches);
