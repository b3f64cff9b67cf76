//! `redirect` and `fixed_response`: answers without an origin, in routes that lead nowhere.

use ringway_tests::http2::Http2Client;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::with_policies;

each_driver! {
    clients_are_sent_to_the_new_place,
    a_fixed_response_is_what_is_written,
    a_route_that_answers_needs_no_cluster,
    head_gets_no_body_and_the_connection_goes_on,
}

fn clients_are_sent_to_the_new_place(io: Io) {
    let origin = Origin::ok();
    for (policy, target, status, location) in [
        ("{ scheme: https, status: 301 }", "/a?b=c", 301, "https://shop.test/a?b=c"),
        ("{ scheme: https, port: 8443, status: 308 }", "/", 308, "https://shop.test:8443/"),
        ("{ host: www.shop.test }", "/a", 302, "http://www.shop.test:8080/a"),
        (
            "{ prefix: { from: /old, to: /new }, query: drop, status: 307 }",
            "/old/x?a",
            307,
            "http://shop.test:8080/new/x",
        ),
        ("{ host: new.test, path: \"/moved{path}\" }", "//evil.test/..", 302, "http://new.test:8080/moved/"),
    ] {
        let proxy = with_policies(&origin, "", "", &format!("[{{ redirect: {policy} }}]")).io(io).start();
        let request = format!("GET {target} HTTP/1.1\r\nHost: shop.test:8080\r\n\r\n");
        let response = proxy.exchange(&request);
        assert_eq!((response.status, response.field("location")), (status, Some(location)), "{policy}");
        let mut client = Http2Client::begin(Client::connect(proxy.address()), &[]);
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":path", target), (":authority", "shop.test:8080")];
        let id = client.open(&fields, true);
        let response = client.response(id);
        assert_eq!((response.status, response.field("location")), (status, Some(location)), "{policy}");
    }
    origin.assert_saw_nothing();
}

fn a_fixed_response_is_what_is_written(io: Io) {
    let origin = Origin::ok();
    for (policy, status, media, body) in [
        (
            "{ status: 503, body: \"back soon\", headers: { retry-after: 60 } }",
            503,
            Some("text/plain; charset=utf-8"),
            "back soon",
        ),
        ("{ body: '{\"a\": 1}' }", 200, Some("application/json"), "{\"a\": 1}"),
        ("{ status: 204 }", 204, None, ""),
        ("{ body: \"<p>\", content_type: text/html }", 200, Some("text/html"), "<p>"),
    ] {
        let proxy =
            with_policies(&origin, "", "", &format!("[{{ fixed_response: {policy} }}]")).io(io).start();
        let mut client = proxy.connect();
        for _ in 0..2 {
            let response = client.get("/");
            assert_eq!((response.status, response.body_text().as_str()), (status, body), "{policy}");
            assert_eq!(response.field("content-type"), media, "{policy}");
        }
    }
    origin.assert_saw_nothing();
}

fn a_route_that_answers_needs_no_cluster(io: Io) {
    let origin = Origin::ok();
    let config = |route: &str| {
        format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"] }}\n\
             routes:\n  - {{ name: all, to: origin }}\n  - {{ name: old, match: [{{ path: {{ prefix: /old }} }}]{route} }}\n",
            origin.address()
        )
    };
    let answers = ", policies: [{ fixed_response: { status: 410, body: gone } }]";
    let proxy = Ringway::to(&origin).config(config(answers)).io(io).start();
    assert_eq!(proxy.get("/old/x").status, 410);
    assert_eq!(proxy.get("/new").status, 200);
    assert_eq!(origin.only_request().target, "/new");
    let (_, said) = Ringway::to(&origin).config(config("")).io(io).start_refused();
    assert!(said.contains("the key `to` is missing"), "{said}");
}

fn head_gets_no_body_and_the_connection_goes_on(io: Io) {
    let origin = Origin::ok();
    let proxy = with_policies(&origin, "[{ fixed_response: { body: hello } }]", "", "").io(io).start();
    let mut client = proxy.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response_to("HEAD");
    assert_eq!((response.status, response.field("content-length")), (200, Some("5")));
    // A body that the client has sent with its request is read away, and not a byte of what follows it.
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    client.send(format!("{post}{post}GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    for _ in 0..3 {
        let response = client.response();
        assert_eq!((response.status, response.body_text().as_str()), (200, "hello"));
    }
    assert_eq!(client.get("/").body_text(), "hello");
    origin.assert_saw_nothing();
}
