use std::time::Duration;

use super::*;
use crate::http2::ErrorCode;

#[test]
fn a_path_names_exactly_one_service_and_one_method() {
    let ok = |path: &str| split_path(path.as_bytes()).is_some();
    assert_eq!(split_path(b"/pkg.Greeter/SayHello"), Some((&b"pkg.Greeter"[..], &b"SayHello"[..])));
    for path in ["/S/M", "/a.b_c.S-1/M"] {
        assert!(ok(path), "{path}");
    }
    // CVE-2026-33186, and its relatives.
    for path in [
        "pkg.S/M", "*", "", "/", "/S", "/S/", "//M", "/S/M/", "/S/M/x", "//S/M", "/S%2FM", "/S/%4d", "/S/M?x",
    ] {
        assert!(!ok(path), "{path}");
    }
}

#[test]
fn calls_are_recognised_by_their_type_alone() {
    let table = [
        ("application/grpc", Some((Form::Grpc, ""))),
        ("application/grpc+proto", Some((Form::Grpc, "+proto"))),
        ("Application/GRPC ; charset=utf-8", Some((Form::Grpc, ""))),
        ("application/grpc-web", Some((Form::Web, ""))),
        ("application/grpc-web+json", Some((Form::Web, "+json"))),
        ("application/grpc-web-text+proto", Some((Form::WebText, "+proto"))),
        ("application/grpcx", None),
        ("application/json", None),
        ("", None),
    ];
    for (text, expected) in table {
        let found = ContentType::parse(text.as_bytes());
        let found = found.map(|found| (found.form, std::str::from_utf8(found.encoding).unwrap()));
        assert_eq!(found, expected, "{text}");
    }
    let web = ContentType::parse(b"application/grpc-web-text+proto").unwrap();
    assert_eq!(web.render(Form::Grpc), b"application/grpc+proto");
    assert_eq!(web.render(Form::WebText), b"application/grpc-web-text+proto");
}

#[test]
fn messages_are_counted_wherever_the_body_is_split() {
    let body = [&[0, 0, 0, 0, 0][..], &[1, 0, 0, 0, 3, 7, 7, 7], &[0, 0, 0, 1, 0], &[9; 256]].concat();
    for size in 1..=body.len() {
        let mut messages = Messages::default();
        for piece in body.chunks(size) {
            messages.take(piece);
        }
        assert_eq!(messages.complete(), 3, "pieces of {size}");
        assert!(messages.is_between(), "pieces of {size}");
    }
    let mut cut = Messages::default();
    cut.take(&body[..body.len() - 1]);
    assert_eq!((cut.complete(), cut.is_between()), (2, false));
}

#[test]
fn timeouts_are_eight_digits_and_a_unit() {
    let table = [
        ("1n", Some(Duration::from_nanos(1))),
        ("99999999u", Some(Duration::from_micros(99_999_999))),
        ("250m", Some(Duration::from_millis(250))),
        ("0S", Some(Duration::ZERO)),
        ("2M", Some(Duration::from_secs(120))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("100000000n", None),
        ("", None),
        ("S", None),
        ("10", None),
        ("-1S", None),
        ("+1S", None),
        ("1 S", None),
        ("1s", None),
    ];
    for (text, expected) in table {
        assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn a_timeout_is_passed_on_rounded_down() {
    let table = [
        (Duration::ZERO, "0n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_millis(100), "100000u"),
        (Duration::from_micros(99_999_999) + Duration::from_nanos(999), "99999999u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(99_999_999 * 3600), "99999999H"),
        (Duration::MAX, "99999999H"),
    ];
    for (timeout, expected) in table {
        let text = render_timeout(timeout);
        assert_eq!(text, expected);
        assert!(parse_timeout(text.as_bytes()).unwrap() <= timeout);
    }
}

#[test]
fn statuses_have_the_numbers_of_the_specification() {
    assert_eq!(STATUSES.len(), 17);
    for (index, (status, name, word)) in STATUSES.iter().enumerate() {
        assert_eq!((usize::from(status.code()), status.name()), (index, *name));
        assert_eq!(Status::find(word), Some(*status));
        assert_eq!(Status::of_field(index.to_string().as_bytes()), *status);
        assert_eq!(name.to_lowercase().replace('_', "-"), *word);
    }
    for text in ["17", "-1", "+1", "01", "", "OK", "x"] {
        assert_eq!(Status::of_field(text.as_bytes()), Status::Unknown, "{text}");
    }
}

#[test]
fn http_and_resets_have_a_meaning_as_a_status() {
    let http = [
        (400, "INTERNAL"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "UNIMPLEMENTED"),
        (429, "UNAVAILABLE"),
        (502, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
        (504, "UNAVAILABLE"),
        (200, "UNKNOWN"),
        (500, "UNKNOWN"),
    ];
    for (status, name) in http {
        assert_eq!(Status::of_http(status).name(), name, "{status}");
    }
    let resets = [
        (0, "INTERNAL"),
        (1, "INTERNAL"),
        (5, "UNKNOWN"),
        (7, "UNAVAILABLE"),
        (8, "CANCELLED"),
        (11, "RESOURCE_EXHAUSTED"),
        (12, "PERMISSION_DENIED"),
        (99, "UNKNOWN"),
    ];
    for (code, name) in resets {
        assert_eq!(Status::of_reset(ErrorCode::of(code)).name(), name, "{code}");
    }
}

#[test]
fn messages_of_a_status_are_percent_encoded() {
    assert_eq!(encode_message("no route: 100% \u{e9}\n"), "no route: 100%25 %C3%A9%0A");
}

#[test]
fn base64_survives_every_split_and_padding_between_pieces() {
    let bytes: Vec<u8> = (0..=255).collect();
    for size in 1..40 {
        let text: Vec<u8> = bytes.chunks(size).flat_map(encode_base64).collect();
        for cut in 1..9 {
            let (mut decoder, mut out) = (Base64Decoder::default(), Vec::new());
            for piece in text.chunks(cut) {
                decoder.decode(piece, &mut out).unwrap();
            }
            assert!(decoder.is_complete());
            assert_eq!(out, bytes, "encoded by {size}, decoded by {cut}");
        }
    }
    assert_eq!(encode_base64(b"Man"), b"TWFu");
    assert_eq!(encode_base64(b"Ma"), b"TWE=");
    assert_eq!(encode_base64(b"M"), b"TQ==");
}

#[test]
fn what_is_not_base64_is_refused() {
    for text in ["T", "TWF", "TWF u", "T===", "=WFu", "TQ=a", "TW-_", "TWFu\n"] {
        let mut decoder = Base64Decoder::default();
        let decoded = decoder.decode(text.as_bytes(), &mut Vec::new());
        assert!(decoded.is_err() || !decoder.is_complete(), "{text}");
    }
}

#[test]
fn trailers_become_a_frame_of_the_body() {
    assert_eq!(trailers_frame(b"grpc-status: 0\r\n"), b"\x80\0\0\0\x10grpc-status: 0\r\n");
}
