//! Fields that belong to one hop, and those that a proxy adds (RFC 9110 section 7.6, RFC 7239).

use ringway_tests::{Client, Io, Origin, Request, Ringway, each_driver};

each_driver! {
    hop_by_hop_fields_go_no_further,
    fields_named_by_connection_go_no_further,
    connection_naming_framing_fields_is_refused,
    connection_cannot_strip_identity_or_forwarding_fields,
    forwarding_fields_of_strangers_are_replaced,
    forwarding_fields_of_trusted_proxies_are_kept_and_appended,
    forwarded_replaces_the_x_fields_when_chosen,
    switched_off_nothing_is_added,
    via_names_every_hop_and_its_version,
    request_ids_are_made_and_kept_only_from_trusted_peers,
    underscore_aliases_of_forwarding_fields_are_not_passed_on,
    the_reason_header_of_an_origin_is_stripped,
}

fn seen(proxy: &ringway_tests::Proxy, origin: &Origin, fields: &str) -> Request {
    let before = origin.requests().len();
    let response = proxy.exchange(format!("GET /f HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n"));
    assert_eq!(response.status, 200, "{fields:?}");
    let mut requests = origin.requests();
    assert_eq!(requests.len(), before + 1);
    requests.pop().expect("a request")
}

fn hop_by_hop_fields_go_no_further(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\n\
         Proxy-Authenticate: Basic\r\nX-Public: 2\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Ringway::to(&origin).io(io).start();
    let request = seen(
        &proxy,
        &origin,
        "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
         Proxy-Authorization: Basic eA==\r\nX-Public: 1\r\n",
    );
    for name in ["keep-alive", "proxy-connection", "te", "proxy-authorization"] {
        assert_eq!(request.field(name), None, "{name}");
    }
    assert_eq!(request.field("x-public"), Some("1"));
    let response = proxy.get("/r");
    for name in ["keep-alive", "x-private"] {
        assert_eq!(response.field(name), None, "{name}");
    }
    assert_eq!(response.field("x-public"), Some("2"));
}

fn fields_named_by_connection_go_no_further(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let request = seen(
        &proxy,
        &origin,
        "X-One: 1\r\nConnection: x-one, X-TWO\r\nX-Two: 2\r\nConnection: ,x-three,\r\nx-THREE: 3\r\nX-Four: 4\r\n",
    );
    for name in ["x-one", "x-two", "x-three"] {
        assert_eq!(request.field(name), None, "{name}");
    }
    assert_eq!(request.field("x-four"), Some("4"));
}

fn connection_naming_framing_fields_is_refused(io: Io) {
    // Threat row 25.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for name in ["Host", "content-length", "Transfer-Encoding", "close, CONTENT-LENGTH", "x,host"] {
        let mut client = proxy.connect();
        let response = client.exchange(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nConnection: {name}\r\nContent-Length: 2\r\n\r\nab"
        ));
        assert_eq!((response.status, response.reason_code()), (400, Some("bad_request")), "{name}");
        client.expect_closed();
    }
    origin.assert_saw_nothing();
}

fn connection_cannot_strip_identity_or_forwarding_fields(io: Io) {
    // Threat rows 25 and 26.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let request = seen(
        &proxy,
        &origin,
        "Authorization: Bearer x\r\nCookie: a=b\r\nConnection: Authorization, Cookie, X-Forwarded-For, X-Forwarded-Proto, \
         X-Forwarded-Host, X-Real-Ip, X-Request-Id, Via, Forwarded\r\nX-Forwarded-For: 6.6.6.6\r\n",
    );
    assert_eq!(request.field("authorization"), Some("Bearer x"));
    assert_eq!(request.field("cookie"), Some("a=b"));
    assert_eq!(request.fields_named("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.fields_named("x-forwarded-proto"), ["http"]);
    assert_eq!(request.fields_named("x-forwarded-host"), ["shop.test"]);
    assert_eq!(request.fields_named("x-request-id").len(), 1);
    assert_eq!(request.fields_named("via").len(), 1);
}

fn forwarding_fields_of_strangers_are_replaced(io: Io) {
    // Threat rows 33, 34 and 39.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let request = seen(
        &proxy,
        &origin,
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
         Forwarded: for=6.6.6.6\r\nX-Request-Id: forged\r\nX-Real-IP: 6.6.6.6\r\n",
    );
    assert_eq!(request.fields_named("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.fields_named("x-forwarded-proto"), ["http"]);
    assert_eq!(request.fields_named("x-forwarded-host"), ["shop.test"]);
    assert!(
        !request.head.windows(7).any(|part| part == b"6.6.6.6"),
        "{}",
        String::from_utf8_lossy(&request.head)
    );
    assert!(request.field("x-request-id").is_some_and(|id| id != "forged"));
}

fn forwarding_fields_of_trusted_proxies_are_kept_and_appended(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("trusted-proxies", "127.0.0.1/32").start();
    let request = seen(
        &proxy,
        &origin,
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: front\r\nX-Request-Id: kept-1\r\n",
    );
    let list = request.fields_named("x-forwarded-for").join(", ");
    assert_eq!(list.split(',').map(str::trim).collect::<Vec<_>>(), ["6.6.6.6", "127.0.0.1"]);
    assert_eq!(request.fields_named("x-forwarded-proto"), ["https"]);
    assert_eq!(request.fields_named("x-forwarded-host"), ["front"]);
    assert_eq!(request.fields_named("x-request-id"), ["kept-1"]);
    // Another peer is not trusted.
    let mut stranger = Client::connect_from("127.0.0.2".parse().expect("an address"), proxy.address());
    stranger.exchange("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    let request = origin.requests().pop().expect("a request");
    assert_eq!(request.fields_named("x-forwarded-for"), ["127.0.0.2"]);
}

fn forwarded_replaces_the_x_fields_when_chosen(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("forwarded-style", "forwarded").start();
    let request = seen(&proxy, &origin, "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\n");
    let value = request.fields_named("forwarded").join(", ");
    assert!(
        value.contains("for=127.0.0.1") && value.contains("proto=http") && value.contains("host=shop.test"),
        "{value}"
    );
    assert!(!value.contains("6.6.6.6"), "{value}");
    let both = Ringway::to(&origin).io(io).set("forwarded-style", "both").start();
    let request = seen(&both, &origin, "");
    assert_eq!(
        (request.fields_named("forwarded").len(), request.fields_named("x-forwarded-for").len()),
        (1, 1)
    );
}

fn switched_off_nothing_is_added(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin)
        .io(io)
        .set("forwarded-style", "off")
        .set("via", false)
        .set("request-id", false)
        .start();
    let request = seen(&proxy, &origin, "X-Mine: 1\r\n");
    let names: Vec<&str> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "X-Mine"]);
}

fn via_names_every_hop_and_its_version(io: Io) {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n");
    let proxy = Ringway::to(&origin).io(io).start();
    let request = seen(&proxy, &origin, "Via: 1.0 outer\r\n");
    let value = request.fields_named("via").join(", ");
    assert!(value.starts_with("1.0 outer, 1.1 "), "{value}");
}

fn request_ids_are_made_and_kept_only_from_trusted_peers(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).workers(2).start();
    let mut ids: Vec<String> =
        (0..50).map(|_| seen(&proxy, &origin, "").field("x-request-id").expect("an id").to_owned()).collect();
    for id in &ids {
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'7', "version 7: {id}");
        assert!(b"89ab".contains(&id.as_bytes()[19]), "variant: {id}");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50, "no id twice");
}

fn underscore_aliases_of_forwarding_fields_are_not_passed_on(io: Io) {
    // Threat row 33: to a CGI-style origin `X_Forwarded_For` and `X-Forwarded-For` are one name.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let request = seen(
        &proxy,
        &origin,
        "X_Forwarded_For: 6.6.6.6\r\nx_forwarded-proto: https\r\nX_Real_IP: 6.6.6.6\r\nmy_own: 1\r\n",
    );
    assert!(
        !request.head.windows(7).any(|part| part == b"6.6.6.6"),
        "{}",
        String::from_utf8_lossy(&request.head)
    );
    assert_eq!(request.fields_named("x_forwarded-proto").len(), 0);
}

fn the_reason_header_of_an_origin_is_stripped(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 503 No\r\nX-Ringway-Reason: forged\r\nx-ringway-reason: twice\r\nContent-Length: 0\r\n\r\n",
    );
    let proxy = Ringway::to(&origin).io(io).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (503, None));
}
