//! RFC 9113 section 8: requests, well-formed and not.

use ringway_tests::{Io, each_driver, hpack};

use super::*;

each_driver! {
    requests_of_every_kind_are_answered,
    header_names,
    pseudo_headers,
    required_pseudo_headers,
    connection_specific_fields,
    content_length,
    trailers,
    tables_stay_in_step_over_what_was_refused,
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    hpack::block(fields.iter().copied())
}

fn refused(name: &'static str, fields: &[(&str, &str)]) -> Case {
    case(name, [headers(END | HEAD, 1, block(fields))], MALFORMED)
}

/// Section 8.1.
fn requests_of_every_kind_are_answered(io: Io) {
    let simple = |method: &str| [headers(END | HEAD, 1, hpack::request(method, "/"))];
    Stage::new(io).run([
        case("GET", simple("GET"), Expect::Answer(200)),
        case("HEAD", simple("HEAD"), Expect::Answer(200)),
        case("DELETE", simple("DELETE"), Expect::Answer(200)),
        case("a method of one's own", simple("PROPFIND"), Expect::Answer(200)),
        case("POST without content", simple("POST"), Expect::Answer(200)),
        case("POST", [post(1), data(END, 1, "content")], Expect::Answer(200)),
        case("OPTIONS *", [headers(END | HEAD, 1, hpack::request("OPTIONS", "*"))], Expect::Answer(200)),
        case(
            "Host in place of :authority",
            [headers(
                END | HEAD,
                1,
                block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "test")]),
            )],
            Expect::Answer(200),
        ),
        case("te: trailers", [headers(END | HEAD, 1, with(&[("te", "trailers")]))], Expect::Answer(200)),
        case(
            "cookie crumbs",
            [headers(END | HEAD, 1, with(&[("cookie", "a=b"), ("cookie", "c=d")]))],
            Expect::Answer(200),
        ),
        case(
            "a second HEADERS without END_STREAM",
            [post(1), headers(HEAD, 1, hpack::literal("x", "y"))],
            MALFORMED,
        ),
    ]);
}

/// Section 8.2.1.
fn header_names(io: Io) {
    Stage::new(io).run([
        case("upper case", [headers(END | HEAD, 1, with(&[("X-Test", "y")]))], MALFORMED),
        case("one letter in upper case", [headers(END | HEAD, 1, with(&[("x-tesT", "y")]))], MALFORMED),
        case("empty", [headers(END | HEAD, 1, with(&[("", "y")]))], MALFORMED),
        case("a blank", [headers(END | HEAD, 1, with(&[("x y", "y")]))], MALFORMED),
        case("a colon", [headers(END | HEAD, 1, with(&[("x:y", "y")]))], MALFORMED),
        case("a byte above ASCII", [headers(END | HEAD, 1, with(&[("x\u{e9}", "y")]))], MALFORMED),
        case("a value that begins with a blank", [headers(END | HEAD, 1, with(&[("x", " y")]))], MALFORMED),
        case("a value that ends with a tab", [headers(END | HEAD, 1, with(&[("x", "y\t")]))], MALFORMED),
        case("a value with CR LF", [headers(END | HEAD, 1, with(&[("x", "y\r\nz: 1")]))], MALFORMED),
        case("a value with NUL", [headers(END | HEAD, 1, with(&[("x", "y\0")]))], MALFORMED),
    ]);
}

/// Section 8.3.
fn pseudo_headers(io: Io) {
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")];
    let and = |more: (&'static str, &'static str)| get.iter().copied().chain([more]).collect::<Vec<_>>();
    let after_regular = [("x", "y"), get[0], get[1], get[2], get[3]];
    let in_the_middle = [get[0], get[1], ("x", "y"), get[2], get[3]];
    Stage::new(io).run([
        refused("one that nobody knows", &and((":test", "ok"))),
        refused("an empty name behind the colon", &and((":", "ok"))),
        refused(":status in a request", &and((":status", "200"))),
        refused(":protocol without CONNECT", &and((":protocol", "websocket"))),
        refused("behind a field", &after_regular),
        refused("around a field", &in_the_middle),
        refused(":method twice", &and(get[0])),
        refused(":scheme twice", &and(get[1])),
        refused(":path twice", &and(get[2])),
        refused(":authority twice", &and(get[3])),
        refused("Host that is another than :authority", &and(("host", "other"))),
    ]);
}

/// Section 8.3.1.
fn required_pseudo_headers(io: Io) {
    let request =
        |method: &'static str, scheme: &'static str, path: &'static str, authority: &'static str| {
            block(&[(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)])
        };
    let bad = |name: &'static str, block: Vec<u8>| case(name, [headers(END | HEAD, 1, block)], MALFORMED);
    Stage::new(io).run([
        refused("no :method", &[(":scheme", "http"), (":path", "/"), (":authority", "test")]),
        refused("no :scheme", &[(":method", "GET"), (":path", "/"), (":authority", "test")]),
        refused("no :path", &[(":method", "GET"), (":scheme", "http"), (":authority", "test")]),
        refused("nothing at all", &[]),
        refused("fields only", &[("x", "y")]),
        bad("an empty :path", request("GET", "http", "", "test")),
        bad("an empty :method", request("", "http", "/", "test")),
        bad("an empty :scheme", request("GET", "", "/", "test")),
        bad(":path without a slash", request("GET", "http", "index", "test")),
        bad(":path * for another method than OPTIONS", request("GET", "http", "*", "test")),
        bad(":path with a fragment", request("GET", "http", "/a#b", "test")),
        bad(":authority with user information", request("GET", "http", "/", "user@test")),
        bad(":authority with a comma", request("GET", "http", "/", "a,b")),
        refused("CONNECT with :path", &[(":method", "CONNECT"), (":path", "/"), (":authority", "test:80")]),
        refused(
            "CONNECT with :scheme",
            &[(":method", "CONNECT"), (":scheme", "http"), (":authority", "test:80")],
        ),
        refused("CONNECT without :authority", &[(":method", "CONNECT")]),
    ]);
}

/// Section 8.2.2.
fn connection_specific_fields(io: Io) {
    let bad = |name: &'static str, value: &'static str| {
        case(name, [headers(END | HEAD, 1, with(&[(name, value)]))], MALFORMED)
    };
    Stage::new(io).run([
        bad("connection", "keep-alive"),
        bad("connection", "close"),
        bad("keep-alive", "timeout=5"),
        bad("proxy-connection", "keep-alive"),
        bad("transfer-encoding", "chunked"),
        bad("upgrade", "h2c"),
        bad("te", "trailers, deflate"),
        bad("te", "gzip"),
    ]);
}

/// Section 8.1.1.
fn content_length(io: Io) {
    let post = |length: &str| {
        headers(HEAD, 1, [hpack::request("POST", "/"), hpack::literal("content-length", length)].concat())
    };
    let ended = |length: &str| {
        headers(
            END | HEAD,
            1,
            [hpack::request("POST", "/"), hpack::literal("content-length", length)].concat(),
        )
    };
    let trailers = || headers(END | HEAD, 1, hpack::literal("x", "y"));
    Stage::new(io).run([
        case("right", [post("4"), data(END, 1, "test")], Expect::Answer(200)),
        case("right over two frames", [post("4"), data(0, 1, "te"), data(END, 1, "st")], Expect::Answer(200)),
        case("right, with trailers", [post("4"), data(0, 1, "test"), trailers()], Expect::Answer(200)),
        case("none, said", [ended("0")], Expect::Answer(200)),
        case("too small", [post("1"), data(END, 1, "test")], MALFORMED),
        case("too large", [post("5"), data(END, 1, "test")], MALFORMED),
        case("too small over two frames", [post("1"), data(0, 1, "te"), data(END, 1, "st")], MALFORMED),
        case("too large, with an empty end", [post("5"), data(0, 1, "test"), data(END, 1, "")], MALFORMED),
        case("too large, with trailers", [post("5"), data(0, 1, "test"), trailers()], MALFORMED),
        case("some, and the end on HEADERS", [ended("5")], MALFORMED),
        case("not a number", [post("x"), data(END, 1, "test")], MALFORMED),
        case("a sign", [post("+4"), data(END, 1, "test")], MALFORMED),
        case("a list", [post("4, 4"), data(END, 1, "test")], MALFORMED),
        case("empty", [post(""), data(END, 1, "test")], MALFORMED),
        case("an overflow", [post("18446744073709551620"), data(END, 1, "test")], MALFORMED),
    ]);
}

/// Section 8.1: trailers.
fn trailers(io: Io) {
    let behind = |block: Vec<u8>| [post(1), data(0, 1, "x"), headers(END | HEAD, 1, block)];
    Stage::new(io).run([
        case("a field", behind(hpack::literal("x", "y")), Expect::Answer(200)),
        case("a pseudo-header", behind(hpack::literal(":method", "GET")), MALFORMED),
        case("upper case", behind(hpack::literal("X", "y")), MALFORMED),
        case("CR LF", behind(hpack::literal("x", "y\r\nz: 1")), MALFORMED),
        case("an empty name", behind(hpack::literal("", "y")), MALFORMED),
        case(
            "a connection-specific field",
            behind(hpack::literal("transfer-encoding", "chunked")),
            MALFORMED,
        ),
    ]);
}

/// A malformed request is decoded to its end, or the next block would be read with another table (RFC 7541 2.2).
fn tables_stay_in_step_over_what_was_refused(io: Io) {
    let stage = Stage::new(io);
    let mut client = stage.connect();
    let bad = [
        hpack::request("GET", "/"),
        hpack::incremental("X-Bad", "1"),
        hpack::incremental(":path", "/from-the-table"),
    ]
    .concat();
    let good =
        [hpack::indexed(2), hpack::indexed(6), hpack::indexed(62), hpack::literal(":authority", "test")]
            .concat();
    client.client().send([headers(END | HEAD, 1, bad), headers(END | HEAD, 3, good)].concat());
    assert_eq!(client.response(3).status, 200);
    let requests = stage._origin.requests();
    assert_eq!(
        requests.iter().map(|request| request.target.as_str()).collect::<Vec<_>>(),
        ["/from-the-table"]
    );
}
