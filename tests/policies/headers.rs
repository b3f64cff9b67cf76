//! `request_headers` and `response_headers`, and the variables in their values.

use ringway_tests::http2::Http2Client;
use ringway_tests::{Client, Io, Origin, each_driver};

use crate::with_policies;

each_driver! {
    variables_say_what_the_request_says,
    what_a_client_says_makes_no_other_line,
    responses_are_changed_whoever_answers,
    responses_over_http2_are_changed_the_same_way,
    connection_does_not_take_away_what_a_policy_sets,
}

fn variables_say_what_the_request_says(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ request_headers: { set: { x-client: \"{client_ip}\", x-id: \"{request_id}\", \
                    x-at: \"{method} {scheme}://{host}{path}?{query} {route} {listener}\", \
                    x-sid: \"{cookie.sid}\", x-page: \"{query.page}\", x-agent: \"{header.user-agent}\" } } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    let response = proxy.exchange(
        "GET /a%20b?page=2&x HTTP/1.1\r\nHost: shop.test:80\r\nCookie: a=b; sid=7\r\nUser-Agent: test/1\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    let request = origin.only_request();
    assert_eq!(request.field("x-client"), Some("127.0.0.1"));
    assert_eq!(request.field("x-id"), request.field("x-request-id"));
    assert_eq!(request.field("x-at"), Some("GET http://shop.test/a%20b?page=2&x all web"));
    assert_eq!(request.field("x-sid"), Some("7"));
    assert_eq!(request.field("x-page"), Some("2"));
    assert_eq!(request.field("x-agent"), Some("test/1"));
}

fn what_a_client_says_makes_no_other_line(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ request_headers: { set: { x-copy: \"{path} {query} {header.x-in}\" } } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    let response = proxy
        .exchange("GET /a?b=%0d%0ax-admin:%20yes HTTP/1.1\r\nHost: a\r\nX-In: %0d%0ax-admin: yes\r\n\r\n");
    assert_eq!(response.status, 200);
    let request = origin.only_request();
    assert_eq!(request.field("x-admin"), None);
    assert_eq!(request.field("x-copy"), Some("/a b=%0d%0ax-admin:%20yes %0d%0ax-admin: yes"));
    origin.assert_unambiguous();
}

const RESPONSE: &str = "[{ response_headers: { set: { x-served-by: \"{route}\" }, remove: [server, x-powered-by], \
                        default: { cache-control: no-store } } }]";

fn responses_are_changed_whoever_answers(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nX-Powered-By: PHP\r\nx_powered_by: PHP\r\nCache-Control: max-age=1\r\n\
         X-Served-By: origin\r\nContent-Length: 2\r\n\r\nok",
    );
    let deny = "[{ ip_access: { deny: [127.0.0.0/8] } }]";
    let proxy = with_policies(&origin, RESPONSE, "", "").io(io).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.body_text().as_str()), (200, "ok"));
    assert_eq!(response.fields_named("x-served-by"), ["all"]);
    assert_eq!(response.fields_named("cache-control"), ["max-age=1"]);
    for name in ["server", "x-powered-by", "x_powered_by"] {
        assert_eq!(response.field(name), None, "{name}");
    }
    let proxy = with_policies(&origin, RESPONSE, "", deny).io(io).start();
    let response = proxy.get("/");
    assert_eq!(response.status, 403);
    assert_eq!(response.fields_named("x-served-by"), ["all"]);
    assert_eq!(response.fields_named("cache-control"), ["no-store"]);
}

fn responses_over_http2_are_changed_the_same_way(io: Io) {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\nok");
    let proxy = with_policies(&origin, RESPONSE, "", "").io(io).start();
    let mut client = Http2Client::begin(Client::connect(proxy.address()), &[]);
    let id = client.get("/");
    let response = client.response(id);
    assert_eq!(response.status, 200);
    assert_eq!(response.field("x-served-by"), Some("all"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    assert_eq!(response.field("server"), None);
}

/// RFC 9110 7.6.1: `Connection` names fields of the client's, not of the proxy's.
fn connection_does_not_take_away_what_a_policy_sets(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ request_headers: { set: { x-gateway: ringway, authorization: proxy } } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    let response = proxy.exchange(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-gateway, authorization\r\nX-Gateway: me\r\nAuthorization: me\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    let request = origin.only_request();
    assert_eq!(request.fields_named("x-gateway"), ["ringway"]);
    assert_eq!(request.fields_named("authorization"), ["proxy"]);
}
