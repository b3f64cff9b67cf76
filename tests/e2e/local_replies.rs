//! Replies that Ringway makes itself: a stable code, in text or JSON, and never mistaken for an origin's.

use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    carry_the_code_in_a_field_and_say_it_in_words,
    come_as_json_to_those_who_accept_it,
    have_no_body_for_head,
    do_not_carry_the_field_where_it_is_switched_off,
    keep_the_connection_where_the_request_was_complete,
}

const NO_ROUTE: &str = "GET /x HTTP/1.1\r\nHost: nowhere.test\r\n";

fn ringway(origin: &Origin, io: Io) -> Ringway {
    Ringway::to(origin).io(io).route("hosts: [\"shop.test\"]")
}

fn carry_the_code_in_a_field_and_say_it_in_words(io: Io) {
    let origin = Origin::ok();
    let proxy = ringway(&origin, io).start();
    let response = proxy.exchange(format!("{NO_ROUTE}\r\n"));
    assert_eq!((response.status, response.reason_code()), (404, Some("no_route")));
    assert!(
        response.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
        "{:?}",
        response.fields
    );
    assert!(response.body_text().starts_with("404 Not Found: "), "{}", response.body_text());
    assert!(response.field("date").is_some(), "RFC 9110 section 6.6.1");
}

fn come_as_json_to_those_who_accept_it(io: Io) {
    let origin = Origin::ok();
    let proxy = ringway(&origin, io).start();
    // The first type named decides.
    let json = [
        "application/json",
        "application/json; charset=utf-8",
        "application/json, text/html;q=0.5",
        "APPLICATION/JSON",
        "application/problem+json",
    ];
    for accept in json {
        let response = proxy.exchange(format!("{NO_ROUTE}Accept: {accept}\r\n\r\n"));
        assert_eq!(
            response.field("content-type").map(|kind| kind.starts_with("application/json")),
            Some(true),
            "{accept}"
        );
        let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert!(body.to_string().contains("no_route"), "{body}");
    }
    for accept in
        ["text/html", "*/*", "text/plain", "application/jsonx", "text/html, application/json", ",", ""]
    {
        let response = proxy.exchange(format!("{NO_ROUTE}Accept: {accept}\r\n\r\n"));
        assert!(
            response.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
            "{accept}"
        );
    }
}

fn have_no_body_for_head(io: Io) {
    let origin = Origin::ok();
    let proxy = ringway(&origin, io).start();
    let mut client = proxy.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: nowhere.test\r\n\r\nGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status, 404);
    assert_eq!(client.response().status, 200);
}

fn do_not_carry_the_field_where_it_is_switched_off(io: Io) {
    let origin = Origin::ok();
    let proxy = ringway(&origin, io).set("reason-header", false).start();
    let response = proxy.exchange(format!("{NO_ROUTE}\r\n"));
    assert_eq!((response.status, response.reason_code()), (404, None));
}

fn keep_the_connection_where_the_request_was_complete(io: Io) {
    // Threat row 29: with a body still to come, the connection is drained or closed, and the body is no request.
    let origin = Origin::ok();
    let proxy = ringway(&origin, io).start();
    let mut client = proxy.connect();
    assert_eq!(client.exchange(format!("{NO_ROUTE}\r\n")).status, 404);
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").status, 200);
    let hidden = "GET /evil HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    for length in [hidden.len(), 1_000_000] {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: nowhere.test\r\nContent-Length: {length}\r\n\r\n"));
        let mut body = hidden.repeat(length / hidden.len());
        body.push_str(&" ".repeat(length - body.len()));
        client.try_send(body);
        assert_eq!(client.response().status, 404);
        client.try_send("GET /after HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        let rest = client.try_response("GET");
        assert!(rest.is_err() || rest.is_ok_and(|response| response.status == 200));
    }
    assert!(origin.requests().iter().all(|request| request.target != "/evil"));
}
