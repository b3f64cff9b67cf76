//! The forms of a request target and the Host that goes with them (RFC 9112 sections 3.2 and 3.3).

use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    origin_form_passes_in_its_normal_form,
    absolute_form_becomes_origin_form_with_its_authority_as_host,
    asterisk_form_is_for_options_only,
    host_and_port_pass_as_they_are,
    an_encoded_slash_is_sent_as_it_is_where_that_is_asked_for,
}

fn origin_form_passes_in_its_normal_form(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    // One spelling of a path reaches routes and origins alike: encodings of what needs none are decoded (RFC 3986
    // section 6.2.2.2); a query is never touched.
    let table = [
        ("/", "/"),
        ("/a?b=c&d", "/a?b=c&d"),
        ("/?", "/?"),
        ("/a;b=c/d", "/a;b=c/d"),
        ("/%7Euser/%41?%41", "/~user/A?%41"),
        ("/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;="),
        ("/~x", "/~x"),
        ("/a?x=/../y", "/a?x=/../y"),
        ("/a%20b", "/a%20b"),
        ("/?url=http://x//y", "/?url=http://x//y"),
    ];
    for (target, want) in table {
        assert_eq!(client.get(target).status, 200, "{target}");
        assert_eq!(origin.requests().pop().expect("a request").target, want);
    }
}

fn absolute_form_becomes_origin_form_with_its_authority_as_host(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    // Section 3.2.2: the Host is ignored and replaced by the authority of the target. Where they disagree, refusing
    // is safe as well: two readers of one request could take it for two hosts (threat row 15).
    let cases = [
        ("http://a.example/x?y", "a.example", "/x?y", "a.example"),
        ("http://a.example", "a.example", "/", "a.example"),
        ("HTTP://a.example:81/x", "a.example:81", "/x", "a.example:81"),
        ("http://a.example?q=1", "a.example", "/?q=1", "a.example"),
    ];
    for (target, host, want_target, want_host) in cases {
        let response = client.exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(response.status, 200, "{target}");
        let seen = origin.requests().pop().expect("a request");
        assert_eq!(seen.target, want_target, "{target}");
        assert_eq!(seen.fields_named("host"), [want_host], "{target}");
    }
}

fn asterisk_form_is_for_options_only(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    assert_eq!(proxy.exchange("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n").status, 200);
    let seen = origin.only_request();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("OPTIONS", "*"));
    // Section 3.2.4: an absolute form without a path means `*` to the last proxy.
    assert_eq!(proxy.exchange("OPTIONS http://test HTTP/1.1\r\nHost: test\r\n\r\n").status, 200);
    assert_eq!(origin.requests().pop().expect("a request").target, "*");
    for request in
        ["GET * HTTP/1.1\r\nHost: test\r\n\r\n", "POST * HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"]
    {
        assert_eq!(proxy.exchange(request).status, 400, "{request:?}");
    }
    assert_eq!(origin.requests().len(), 2);
}

fn host_and_port_pass_as_they_are(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    for host in ["a.example", "A.Example:8080", "127.0.0.1", "[::1]:80", "x_y.test", "a.example."] {
        assert_eq!(client.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 200, "{host}");
        assert_eq!(origin.requests().pop().expect("a request").fields_named("host"), [host]);
    }
    // RFC 9110 section 7.2: HTTP/1.0 needs no Host, HTTP/1.1 does, and nginx refuses an empty one: the endpoint's.
    assert_eq!(proxy.exchange("GET /none HTTP/1.0\r\n\r\n").status, 200);
    let sent = origin.requests().pop().expect("a request");
    assert_eq!(sent.fields_named("host"), [origin.address().to_string()]);
}

fn an_encoded_slash_is_sent_as_it_is_where_that_is_asked_for(io: Io) {
    let origin = Origin::ok();
    let refusing = Ringway::to(&origin).io(io).start();
    assert_eq!(refusing.get("/projects/a%2Fb").status, 400);
    assert_eq!(origin.connections(), 0);
    let keeping = Ringway::to(&origin).io(io).listener("encoded_slash: keep").start();
    assert_eq!(keeping.get("/projects/a%2fb").status, 200);
    assert_eq!(origin.only_request().target, "/projects/a%2Fb");
}
