//! Where a body ends: Content-Length, Transfer-Encoding, and what disagrees (RFC 9112 section 6).

use ringway_tests::{Io, each_driver};

use crate::{HIDDEN, Stage, post};

each_driver! {
    refuses_both_length_and_chunked,
    refuses_several_lengths,
    refuses_lengths_that_are_not_plain_digits,
    refuses_transfer_codings_other_than_chunked_alone,
    refuses_every_obfuscation_of_transfer_encoding,
    refuses_every_obfuscation_of_content_length,
    refuses_transfer_encoding_in_http_1_0,
    never_reads_a_request_until_close,
    a_body_on_get_keeps_its_framing,
    an_obfuscated_name_that_is_another_field_changes_nothing,
}

/// Threat rows 18 and 24.
fn refuses_both_length_and_chunked(io: Io) {
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    Stage::new(io).refuses([
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &chunked),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &chunked),
        post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", &chunked),
        post("content-length: 100\r\ntransfer-encoding: CHUNKED\r\n", &chunked),
        post("Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 5\r\nConnection: X\r\n", &chunked),
        post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", &chunked),
        post("Transfer-Encoding:\r\nContent-Length: 5\r\n", &chunked),
    ]);
}

/// Threat rows 12 and 18.
fn refuses_several_lengths(io: Io) {
    Stage::new(io).refuses([
        post("Content-Length: 5\r\nContent-Length: 6\r\n", HIDDEN),
        post("Content-Length: 5\r\nContent-Length: 5\r\n", HIDDEN),
        post("Content-Length: 0\r\nContent-Length: 36\r\n", HIDDEN),
        post("Content-Length:\r\nContent-Length: 5\r\n", HIDDEN),
        post("Content-Length: 5\r\nContent-Length:\r\n", HIDDEN),
        post("Content-Length: 5, 5\r\n", HIDDEN),
        post("Content-Length: 5, 6\r\n", HIDDEN),
        post("Content-Length: 5,\r\n", HIDDEN),
        post("Content-Length: ,5\r\n", HIDDEN),
        post("Content-Length: 5 5\r\n", HIDDEN),
        post("Content-Length: 5;5\r\n", HIDDEN),
        post("content-length: 5\r\nCONTENT-LENGTH: 6\r\n", HIDDEN),
    ]);
}

/// Threat rows 12 and 18.
fn refuses_lengths_that_are_not_plain_digits(io: Io) {
    let values = [
        "",
        " ",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5x",
        "5.0",
        "5e1",
        "0b1",
        "0o5",
        "5 ,",
        "\"5\"",
        "five",
        "5\u{b}",
        "٥",
        "５",
        "1_0",
        "5'0",
        "18446744073709551616",
        "99999999999999999999999999",
        "-18446744073709551611",
        "18446744073709551621",
        "5\u{c}",
    ];
    Stage::new(io).refuses(values.map(|value| post(&format!("Content-Length: {value}\r\n"), HIDDEN)));
}

/// Threat rows 18, 21 and 24.
fn refuses_transfer_codings_other_than_chunked_alone(io: Io) {
    let values = [
        "",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "identity, chunked",
        "chunked,",
        ",chunked",
        ", chunked",
        "chunked ,",
        "chunked;q=1",
        "chunked; foo",
        "\"chunked\"",
        "'chunked'",
        "chunked\u{b}",
        "\u{b}chunked",
        "\u{c}chunked",
        "xchunked",
        "chunkedx",
        "x chunked",
        "chunked x",
        "chun ked",
        "chunked\t,",
        "ch\u{fc}nked",
        "cow",
        "\u{a0}chunked",
        "chunked\u{a0}",
        "CHUNKEd\u{1}",
        "chunKed\u{212a}",
        "{chunked}",
        "/chunked",
        "chunked/1.0",
    ];
    // 501 is what RFC 9112 section 6.1 names for codings that are well formed and not known.
    Stage::new(io).refuses_with(
        &[400, 501],
        values.map(|value| post(&format!("Transfer-Encoding: {value}\r\n"), &format!("0\r\n\r\n{HIDDEN}"))),
    );
}

/// Threat row 24: fields that some reader takes for Transfer-Encoding: chunked and another does not.
fn refuses_every_obfuscation_of_transfer_encoding(io: Io) {
    let lines = [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer-Encoding: \r\n chunked\r\n",
        "Transfer-Encoding:\r\n\tchunked\r\n",
        "Transfer-Encoding: chunked\r\n identity\r\n",
        " Transfer-Encoding: chunked\r\n",
        "\tTransfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\r\r\nTransfer-Encoding: chunked\r\n",
        "X: y\n\rTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\n",
        "Transfer-Encoding: chunked\r",
        "Transfer-Encoding: chun\rked\r\n",
        "Transfer-Encoding: chunked\r\r\n",
        "Transfer-Encoding: \0chunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "\0Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding chunked\r\n",
        "Transfer-Encoding=chunked\r\n",
        "Transfer Encoding: chunked\r\n",
        "\u{feff}Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding\u{a0}: chunked\r\n",
        "Tran\u{17f}fer-Encoding: chunked\r\n",
        "Transfer-Encoding:chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "(Transfer-Encoding): chunked\r\n",
        "\"Transfer-Encoding\": chunked\r\n",
        "Transfer-Encoding,: chunked\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "Transfer-Encoding: chunked\u{7f}\r\n",
        "X\r\nTransfer-Encoding: chunked\r\n",
        ":\r\nTransfer-Encoding: chunked\r\n",
    ];
    let body = format!("0\r\n\r\n{HIDDEN}");
    let stage = Stage::new(io);
    stage.refuses_with(&[400, 501], lines.map(|line| post(line, &body)));
    // The same beside a length, which is what such an attack needs.
    stage.refuses_with(&[400, 501], lines.map(|line| post(&format!("Content-Length: 5\r\n{line}"), &body)));
}

/// Threat row 24.
fn refuses_every_obfuscation_of_content_length(io: Io) {
    let lines = [
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        "Content-Length\r\n: 5\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length: 5\r\n 6\r\n",
        " Content-Length: 5\r\n",
        "X: y\r\n Content-Length: 5\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\r\r\nContent-Length: 5\r\n",
        "Content-Length: 5\n",
        "Content-Length: 5\r\r\n",
        "Content-Length: 5\0\r\n",
        "Content-Length: \x005\r\n",
        "Content-Length\0: 5\r\n",
        "Content Length: 5\r\n",
        "Content-Length 5\r\n",
        "Content-Length=5\r\n",
        "Content-Length\u{a0}: 5\r\n",
        "\"Content-Length\": 5\r\n",
        "Content-Length: 5\u{7f}\r\n",
        "Content-Length:\u{b}5\r\n",
    ];
    Stage::new(io).refuses(lines.map(|line| post(line, HIDDEN)));
}

/// Threat row 21.
fn refuses_transfer_encoding_in_http_1_0(io: Io) {
    let body = format!("0\r\n\r\n{HIDDEN}");
    Stage::new(io).refuses([
        format!("POST / HTTP/1.0\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
        format!("POST / HTTP/1.0\r\nHost: test\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n{body}"),
        format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{body}"),
    ]);
}

/// Threat row 21: a request without framing has no body, whatever follows it.
fn never_reads_a_request_until_close(io: Io) {
    let stage = Stage::new(io);
    for version in ["1.0", "1.1"] {
        let before = stage.origin.requests().len();
        let mut client = stage.proxy.connect();
        client
            .send(format!("POST /no-body HTTP/{version}\r\nHost: test\r\n\r\nthis is no body"))
            .finish_writing();
        assert_eq!(client.response().status, 200);
        client.until_closed();
        let requests = stage.origin.requests();
        assert_eq!(requests.len(), before + 1);
        assert!(requests[before].body.is_empty());
        stage.origin.assert_unambiguous();
    }
}

/// Threat row 18: the origin sees the same single framing.
fn a_body_on_get_keeps_its_framing(io: Io) {
    let stage = Stage::new(io);
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let length = HIDDEN.len();
        for request in [
            format!("{method} /fat HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
            format!(
                "{method} /fat HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"
            ),
        ] {
            let mut client = stage.proxy.connect();
            client.send(request).finish_writing();
            client.until_closed();
            let seen = stage.origin.requests().pop().expect("a request");
            assert_eq!((seen.target.as_str(), seen.body_text().as_str()), ("/fat", HIDDEN), "{method}");
        }
    }
    stage.saw_nothing_hidden();
}

/// What is a legal name of another field must not change where the body ends; an origin that folds names (`_` for
/// `-`) must not get it either.
fn an_obfuscated_name_that_is_another_field_changes_nothing(io: Io) {
    let stage = Stage::new(io);
    let lines = [
        "Transfer_Encoding: chunked\r\n",
        "TRANSFER_ENCODING: chunked\r\n",
        "Content_Length: 0\r\n",
        "content_length: 500\r\n",
        "X-Transfer-Encoding: chunked\r\n",
        "Transfer-Encodin: chunked\r\n",
        "xTransfer-Encoding: chunked\r\n",
    ];
    for line in lines {
        let request = post(&format!("Content-Length: 5\r\n{line}Connection: close\r\n"), "hello");
        let mut client = stage.proxy.connect();
        let status = client.send(request).response().status;
        assert!(matches!(status, 200 | 400), "{line:?}: {status}");
        if status == 200 {
            let seen = stage.origin.requests().pop().expect("a request");
            assert_eq!(seen.body_text(), "hello");
            let aliases = ["transfer_encoding", "content_length"].map(|name| seen.fields_named(name).len());
            assert_eq!(aliases, [0, 0], "{line:?}");
        }
    }
    stage.saw_nothing_hidden();
}
