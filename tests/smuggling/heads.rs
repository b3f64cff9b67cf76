//! Request heads, read exactly (RFC 9112 sections 2 to 5).

use ringway_tests::{Io, each_driver};

use crate::{HIDDEN, Stage};

each_driver! {
    refuses_line_ends_other_than_crlf,
    refuses_folded_fields,
    refuses_names_that_are_no_tokens,
    refuses_an_empty_name,
    refuses_control_bytes_in_values,
    refuses_broken_request_lines,
    refuses_targets_with_fragments_controls_or_blanks,
    refuses_other_versions,
    refuses_names_as_long_as_counters_wrap,
    refuses_other_protocols,
}

fn with(line: &str) -> String {
    format!("GET /attack HTTP/1.1\r\nHost: test\r\n{line}\r\n\r\n{HIDDEN}")
}

/// Threat row 24.
fn refuses_line_ends_other_than_crlf(io: Io) {
    Stage::new(io).refuses([
        "GET / HTTP/1.1\nHost: test\n\n".to_owned(),
        "GET / HTTP/1.1\nHost: test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: test\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: test\r\n\n".to_owned() + HIDDEN,
        "GET / HTTP/1.1\rHost: test\r\r".to_owned() + "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: test\r\n\rX: y\r\n\r\n".to_owned(),
        with("A: b\rC: d"),
        with("A: b\nC: d"),
        with("A: b\r\r"),
        with("A: b\r"),
        with("\rA: b"),
        with("A\r: b"),
        with("A:\rb"),
        with("A: b\r\n\rTransfer-Encoding: chunked"),
    ]);
}

fn refuses_folded_fields(io: Io) {
    Stage::new(io).refuses([
        with("A: b\r\n c"),
        with("A: b\r\n\tc"),
        with("A: b\r\n "),
        with("A:\r\n b"),
        "GET / HTTP/1.1\r\n Host: test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n \r\nHost: test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: test\r\n evil\r\n\r\n".to_owned(),
    ]);
}

fn refuses_names_that_are_no_tokens(io: Io) {
    let names = [
        "A B", "A\t", " A", "A(", "A)", "A/", "A@", "A[", "A]", "A{", "A}", "A\"", "A,", "A;", "A<", "A>",
        "A=", "A?", "A\\", "\u{e9}", "A\u{7f}", "A\u{1}", "A\0", "A\u{a0}",
    ];
    Stage::new(io).refuses(names.map(|name| with(&format!("{name}: x"))));
}

/// Threat row 11.
fn refuses_an_empty_name(io: Io) {
    Stage::new(io).refuses([
        with(": x"),
        with(":"),
        with(" : x"),
        with("\t: x"),
        with("::"),
        with("no colon"),
        with("="),
    ]);
}

/// Threat row 30.
fn refuses_control_bytes_in_values(io: Io) {
    let bytes: Vec<u8> = (0..0x20).filter(|byte| *byte != b'\t').chain([0x7f]).collect();
    let requests = bytes.into_iter().flat_map(|byte| {
        [&[b'x', byte, b'y'][..], &[byte, b'y'], &[b'x', byte]].map(|value| {
            [b"GET /attack HTTP/1.1\r\nHost: test\r\nA: ", value, b"\r\n\r\n", HIDDEN.as_bytes()].concat()
        })
    });
    Stage::new(io)
        .refuses(requests.filter(|request| !request.windows(13).any(|part| part == b"A: x\r\r\n\r\nGET /")));
}

fn refuses_broken_request_lines(io: Io) {
    let lines = [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1\t",
        "GET HTTP/1.1",
        "GET /",
        "GET",
        "/ HTTP/1.1",
        "GET / / HTTP/1.1",
        "G(T / HTTP/1.1",
        "GE\u{e9} / HTTP/1.1",
        "GET\0 / HTTP/1.1",
        "GET / HTTP/1.1\0",
        "\0GET / HTTP/1.1",
        "GET: / HTTP/1.1",
        "\"GET\" / HTTP/1.1",
        "GET\u{b}/ HTTP/1.1",
        "GET /\u{c}HTTP/1.1",
        "HTTP/1.1 200 OK",
        "GET,POST / HTTP/1.1",
    ];
    Stage::new(io).refuses(lines.map(|line| format!("{line}\r\nHost: test\r\n\r\n")));
}

/// Threat rows 13 and 36.
fn refuses_targets_with_fragments_controls_or_blanks(io: Io) {
    let targets: Vec<String> = [
        "/admin#.png",
        "/#",
        "#",
        "/a#b?c",
        "/a\u{1}",
        "/a\0",
        "/a\u{7f}",
        "/a b",
        "a",
        "admin",
        "pkg.Svc/M",
        "?x",
        "*x",
        "/a\tb",
        "http:/test/",
        "http//test/",
        "://test/",
        "http://",
        "http:///x",
        "http://@/",
        "http://user@test/",
        "http://user:pw@test/",
        "ftp://test/",
        "file:///etc/passwd",
        "javascript:x",
        "http://te st/",
        "http://test:99999/",
        "http://test:x/",
        "http://[::1/",
        "http://test#x",
        "\\admin",
        "..",
        "test:80",
    ]
    .map(|target| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
    .into();
    Stage::new(io).refuses(targets);
}

fn refuses_other_versions(io: Io) {
    let versions = [
        "HTTP/1.2",
        "HTTP/0.9",
        "HTTP/2.0",
        "HTTP/3",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/11",
        "http/1.1",
        "Http/1.1",
        "HTP/1.1",
        "HTTPS/1.1",
        "HTTP/1,1",
        "HTTP 1.1",
        "HTTP/-1.1",
        "HTTP/1.1x",
        "HTTP/\u{661}.1",
    ];
    Stage::new(io).refuses_with(
        &[400, 505],
        versions.map(|version| format!("GET / {version}\r\nHost: test\r\n\r\n{HIDDEN}")),
    );
}

/// Threat row 10: a name or value whose length wraps a 16-bit counter, with a length behind it.
fn refuses_names_as_long_as_counters_wrap(io: Io) {
    let stage = Stage::new(io);
    for length in [255, 256, 257, 32_767, 32_768, 65_279, 65_535, 65_536, 65_537, 65_540, 131_072] {
        let name = "n".repeat(length);
        let value = "v".repeat(length);
        for line in [
            format!("{name}: x\r\n"),
            format!("X: {value}\r\n"),
            format!("{name}:\r\n"),
            format!("Content-Length0{name}:\r\n"),
        ] {
            stage.refuses_or_forwards_one([format!(
                "POST /attack HTTP/1.1\r\nHost: test\r\n{line}Content-Length: {}\r\n\r\n{HIDDEN}",
                HIDDEN.len()
            )]);
        }
    }
    for request in stage.origin.requests() {
        assert_eq!((request.target.as_str(), request.body_text().as_str()), ("/attack", HIDDEN));
    }
}

fn refuses_other_protocols(io: Io) {
    let bytes: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\r\n\r\n",
        b"EHLO test\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n\r\n",
        b"PRI * HTTP/1.1\r\nSM\r\n\r\n",
    ];
    Stage::new(io).refuses(bytes);
}
