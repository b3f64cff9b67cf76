use std::io::Read;

use super::*;

fn offered() -> Vec<(Coding, u32)> {
    vec![(Coding::Zstd, 3), (Coding::Brotli, 4), (Coding::Gzip, 5)]
}

#[test]
fn the_client_gets_what_it_likes_best() {
    for (lines, expected) in [
        (&[][..], None),
        (&[""], None),
        (&["gzip"], Some("gzip")),
        (&["x-gzip"], Some("gzip")),
        (&["GZip"], Some("gzip")),
        (&["gzip, deflate, br, zstd"], Some("zstd")),
        (&["gzip, deflate, br"], Some("br")),
        (&["gzip;q=1.0, br;q=0.5"], Some("gzip")),
        (&["gzip;q=0.5", "br;q=0.501"], Some("br")),
        (&["*"], Some("zstd")),
        (&["*, zstd;q=0"], Some("br")),
        (&["*;q=0"], None),
        (&["gzip;q=0"], None),
        (&["gzip;q=0.000"], None),
        (&["gzip;q=0.5, identity"], None),
        (&["gzip;q=0.5, identity;q=0.5"], Some("gzip")),
        (&["identity;q=0, gzip"], Some("gzip")),
        (&["deflate, compress"], None),
        (&["gzip;q=2"], None),
        (&["gzip;q=a"], None),
        (&["gzip;q=0.1234"], None),
        (&["gzip;q="], None),
        (&["gzip ; Q=0.3 "], Some("gzip")),
        (&["gzipped"], None),
        (&[",,gzip,,"], Some("gzip")),
    ] {
        let chosen = negotiate::choose(lines.iter().map(|line| line.as_bytes()), &offered());
        assert_eq!(chosen.map(|(coding, _)| coding.name()), expected, "{lines:?}");
    }
}

fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).expect("gzip"),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).expect("br"),
        Coding::Zstd => {
            zstd::stream::read::Decoder::new(bytes).and_then(|mut d| d.read_to_end(&mut out)).expect("zstd")
        }
    };
    out
}

fn encode(coding: Coding) -> Encode {
    Encode { coding, level: 4, active: Arc::new(AtomicU64::new(1)) }
}

#[test]
fn what_goes_in_comes_out_smaller_and_whole() {
    let text = "It was a dark and stormy night. ".repeat(4_000);
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
        for piece in [1, 1_000, text.len()] {
            let mut encoder = Encoder::new(encode(coding)).expect("an encoder");
            let mut out = Vec::new();
            for part in text.as_bytes().chunks(piece.max(17)) {
                encoder.write(part).expect("written");
                out.append(&mut encoder.take());
            }
            out.append(&mut encoder.finish().expect("finished"));
            assert!(out.len() < text.len() / 20, "{coding:?}: {}", out.len());
            assert_eq!(decode(coding, &out), text.as_bytes(), "{coding:?} in pieces of {piece}");
        }
    }
}

/// A reader must not wait for what was sent long ago.
#[test]
fn a_flush_brings_out_all_that_went_in() {
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
        let mut encoder = Encoder::new(encode(coding)).expect("an encoder");
        encoder.write(b"first").expect("written");
        assert!(encoder.holds_back());
        encoder.flush().expect("flushed");
        assert!(!encoder.holds_back());
        let out = encoder.take();
        let mut read = [0; 5];
        let whole = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(&out[..]).read_exact(&mut read),
            Coding::Brotli => brotli::Decompressor::new(&out[..], 4096).read_exact(&mut read),
            Coding::Zstd => {
                zstd::stream::read::Decoder::new(&out[..]).and_then(|mut d| d.read_exact(&mut read))
            }
        };
        assert!(whole.is_ok() && &read == b"first", "{coding:?}: {whole:?}");
    }
}

#[test]
fn an_empty_body_is_a_valid_stream() {
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
        let out = Encoder::new(encode(coding)).and_then(Encoder::finish).expect("finished");
        assert_eq!(decode(coding, &out), b"", "{coding:?}");
    }
}

#[test]
fn no_more_bodies_are_compressed_at_a_time_than_may_be() {
    let mut values = Values::default();
    values.insert("active_max", crate::fields::Value::Number(1));
    let scope = Scope { level: crate::policy::Level::Global, name: "" };
    let config = CompressConfig::build(&values, scope).expect("a configuration");
    let first = config.begin(Coding::Gzip, 1);
    assert!(first.is_some());
    assert!(config.begin(Coding::Gzip, 1).is_none());
    drop(first);
    assert!(config.begin(Coding::Gzip, 1).is_some());
}

#[test]
fn types_are_compared_without_case_and_parameters() {
    let scope = Scope { level: crate::policy::Level::Global, name: "" };
    let config = CompressConfig::build(&Values::default(), scope).expect("a configuration");
    for (field, expected) in [
        ("text/html", true),
        ("Text/HTML; charset=utf-8", true),
        ("application/json", true),
        ("application/json ;x", true),
        ("image/png", false),
        ("text/event-stream", false),
        ("application/grpc", false),
        ("application/jsonx", false),
        ("text", false),
        ("", false),
    ] {
        assert_eq!(config.has_type(field.as_bytes()), expected, "{field}");
    }
}

#[test]
fn wrong_codings_and_types_are_named() {
    let mut values = Values::default();
    values.insert("codings", crate::fields::Value::Texts(vec!["gzip".to_owned(), "deflate".to_owned()]));
    values.insert("types", crate::fields::Value::Texts(vec!["json".to_owned()]));
    let scope = Scope { level: crate::policy::Level::Global, name: "" };
    let problems = CompressConfig::build(&values, scope).expect_err("two problems");
    let fields: Vec<_> = problems.iter().map(|problem| (problem.field.as_str(), problem.item)).collect();
    assert_eq!(fields, [("codings", Some(1)), ("types", Some(0))]);
}
