//! The order of policies, and what their changes do to heads of either version of HTTP.

use ringway_tests::http2::Http2Client;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::with_policies;

each_driver! {
    policies_run_from_the_whole_proxy_to_the_route_and_as_written,
    what_is_set_replaces_every_spelling_that_was_received,
    a_request_over_http2_is_changed_the_same_way,
    policies_of_a_target_run_last_and_for_its_requests_only,
}

const ORDER: [&str; 3] = [
    "[{ request_headers: { set: { x-last: global }, add: { x-order: g1 } } }, { request_headers: { add: { x-order: g2 } } }]",
    "[{ request_headers: { set: { x-last: listener }, add: { x-order: l1 } } }]",
    "[{ request_headers: { set: { x-last: route }, add: { x-order: r1 } } }]",
];

fn policies_run_from_the_whole_proxy_to_the_route_and_as_written(io: Io) {
    let origin = Origin::ok();
    let proxy = with_policies(&origin, ORDER[0], ORDER[1], ORDER[2]).io(io).start();
    assert_eq!(proxy.get("/").status, 200);
    let request = origin.only_request();
    assert_eq!(request.fields_named("x-order"), ["g1", "g2", "l1", "r1"]);
    assert_eq!(request.fields_named("x-last"), ["route"]);
}

fn what_is_set_replaces_every_spelling_that_was_received(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ request_headers: { set: { x-user: proxy }, remove: [x-debug, accept-encoding] } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    let response = proxy.exchange(
        "GET / HTTP/1.1\r\nHost: a\r\nX-User: me\r\nx_user: me too\r\nX-DEBUG: 1\r\nX_Debug: 1\r\n\
         Accept-Encoding: gzip\r\nX-Users: kept\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    let request = origin.only_request();
    assert_eq!(request.fields_named("x-user"), ["proxy"]);
    for name in ["x_user", "x-debug", "x_debug", "accept-encoding"] {
        assert_eq!(request.field(name), None, "{name}");
    }
    assert_eq!(request.field("x-users"), Some("kept"));
}

fn a_request_over_http2_is_changed_the_same_way(io: Io) {
    let origin = Origin::ok();
    let proxy = with_policies(&origin, ORDER[0], ORDER[1], ORDER[2]).io(io).start();
    let mut client = Http2Client::begin(Client::connect(proxy.address()), &[]);
    let id = client.open(
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x_last", "me")],
        true,
    );
    assert_eq!(client.response(id).status, 200);
    let request = origin.only_request();
    assert_eq!(request.fields_named("x-order"), ["g1", "g2", "l1", "r1"]);
    assert_eq!(request.fields_named("x-last"), ["route"]);
    assert_eq!(request.field("x_last"), None);
}

fn policies_of_a_target_run_last_and_for_its_requests_only(io: Io) {
    let (old, new) = (Origin::ok(), Origin::ok());
    let route = "[{ request_headers: { set: { x-last: route }, add: { x-order: r1 } } }]";
    let target = "[{ request_headers: { set: { x-last: new }, add: { x-order: t1 } } }]";
    let proxy = Ringway::to(&old)
        .config(format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - {{ name: old, endpoints: [\"{}\"] }}\n  \
             - {{ name: new, endpoints: [\"{}\"] }}\nroutes:\n  - {{ name: all, policies: {route}, to: [{{ cluster: old }}, \
             {{ cluster: new, policies: {target} }}] }}\n",
            old.address(),
            new.address()
        ))
        .io(io)
        .start();
    // By chance each gets half of them: that one of the two gets none of 64 does not happen.
    for _ in 0..64 {
        assert_eq!(proxy.get("/").status, 200);
    }
    let (old, new) = (old.requests(), new.requests());
    assert!(!old.is_empty() && !new.is_empty());
    assert!(old.iter().all(|request| request.fields_named("x-last") == ["route"]));
    assert!(old.iter().all(|request| request.fields_named("x-order") == ["r1"]));
    assert!(new.iter().all(|request| request.fields_named("x-last") == ["new"]));
    assert!(new.iter().all(|request| request.fields_named("x-order") == ["r1", "t1"]));
}
