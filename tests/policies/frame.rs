//! The order of policies, and what their changes do to heads of either version of HTTP.

use ringway_tests::either::{EITHER, get};
use ringway_tests::http2::Http2Client;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::with_policies;

each_driver! {
    policies_run_from_the_whole_proxy_to_the_route_and_as_written,
    what_is_set_replaces_every_spelling_that_was_received,
    a_request_over_http2_is_changed_the_same_way,
    policies_of_a_target_run_last_and_for_its_requests_only,
    policies_of_proxy_and_listener_run_where_no_route_matches,
    a_response_that_is_refused_has_the_fields_of_policies_once,
    a_reply_of_a_policy_has_each_field_once,
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

fn policies_of_proxy_and_listener_run_where_no_route_matches(io: Io) {
    let origin = Origin::ok();
    let yaml = |global: &str, listener: &str| {
        format!(
            "policies: {global}\nlisteners:\n  - {{ name: web, bind: \"127.0.0.1:0\", policies: {listener} }}\nclusters:\n  \
             - {{ name: origin, endpoints: [\"{}\"] }}\nroutes:\n  \
             - {{ name: api, to: origin, match: [{{ path: {{ prefix: /api }} }}], policies: [{{ response_headers: {{ set: {{ x-route: api }} }} }}] }}\n",
            origin.address()
        )
    };
    let fields = "[{ response_headers: { set: { x-global: \"{route}|{path}\" } } }]";
    // Who looks for paths that there are is counted, and learns nothing once the limit is reached.
    let counted = "[{ rate_limit: { limit: 4/d } }]";
    for speaks in EITHER {
        let proxy = Ringway::to(&origin).config(yaml(fields, counted)).io(io).start();
        let statuses: Vec<u16> =
            ["/a", "/api", "/b", "/c", "/d", "/api"].map(|path| get(&proxy, speaks, path).status).into();
        assert_eq!(statuses, [404, 200, 404, 404, 429, 429], "{speaks:?}");
        let proxy = Ringway::to(&origin)
            .config(yaml(fields, "[{ ip_access: { deny: [127.0.0.0/8] } }]"))
            .io(io)
            .start();
        for path in ["/a", "/api"] {
            assert_eq!(get(&proxy, speaks, path).reason, "forbidden", "{speaks:?} {path}");
        }
    }
    let proxy = Ringway::to(&origin).config(yaml(fields, counted)).io(io).start();
    let response = proxy.get("/nowhere/./x");
    assert_eq!((response.status, response.reason_code()), (404, Some("no_route")));
    assert_eq!(response.fields_named("x-global"), ["|/nowhere/x"]);
    assert_eq!(response.fields_named("x-route").len(), 0, "of a route that was not taken");
    assert!(response.field("x-ratelimit-remaining").is_some(), "{:?}", response.fields);
}

fn a_response_that_is_refused_has_the_fields_of_policies_once(io: Io) {
    let policies = "[{ rate_limit: { limit: 100/d } }, { response_headers: { add: { x-once: \"1\" }, default: { x-default: d } } }, \
                    { body_size: { response: 10B } }]";
    for reply in [
        "HTTP/1.1 200 OK\r\nX-Default: o\r\nContent-Length: 11\r\n\r\n12345678901",
        "HTTP/1.1 200 OK\r\nX-Default: o\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Default: o\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    ] {
        let origin = Origin::replying_once(reply);
        let proxy = with_policies(&origin, "", "", policies).io(io).start();
        let response = proxy.get("/");
        assert_eq!(response.status, 502, "{reply:?}");
        assert_eq!(response.fields_named("x-once"), ["1"], "{reply:?}");
        assert_eq!(response.fields_named("x-ratelimit-remaining"), ["99"], "{reply:?}");
    }
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nX-Default: o\r\nContent-Length: 11\r\n\r\n12345678901");
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    let id = client.get("/");
    let response = client.response(id);
    let named = |name: &str| response.fields.iter().filter(|(known, _)| known == name).count();
    assert_eq!((response.status, named("x-once"), named("x-ratelimit-remaining")), (502, 1, 1));
    // The origin's response was not passed on, so its fields count for nothing.
    assert_eq!(response.field("x-default"), Some("d"));
}

fn a_reply_of_a_policy_has_each_field_once(io: Io) {
    let origin = Origin::ok();
    let reply = "{ fixed_response: { body: here, headers: { server: theirs, x-other: kept } } }";
    let policies =
        format!("[{{ response_headers: {{ set: {{ server: ours }}, remove: [x-gone] }} }}, {reply}]");
    let proxy = with_policies(&origin, "", "", &policies).io(io).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.body_text().as_str()), (200, "here"));
    assert_eq!(response.fields_named("server"), ["ours"]);
    assert_eq!(response.fields_named("x-other"), ["kept"]);
    origin.assert_saw_nothing();
}
