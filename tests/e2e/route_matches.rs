//! What requests are matched by, one kind of match after the other, on the running proxy and over both versions of HTTP.

use ringway_tests::either::{EITHER, Speaks, ask, get};
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    paths_are_matched_as_it_is_written,
    conditions_hold_for_what_they_say,
    the_more_specific_match_goes_first,
    clients_are_matched_by_the_address_that_is_believed,
    times_and_shares_are_drawn_for_each_request,
    variables_of_the_path_reach_origin_and_client,
    many_routes_of_one_path_are_told_apart,
}

/// A proxy whose routes answer by themselves with their names; what none of them wants gets "other".
fn named(io: Io, origin: &Origin, routes: &[(&str, &str)]) -> Proxy {
    let mut list = String::new();
    for (name, wanted) in routes {
        list += &format!(
            "  - {{ name: {name}, match: [{wanted}], policies: [{{ fixed_response: {{ body: {name} }} }}] }}\n"
        );
    }
    list += "  - { name: other, policies: [{ fixed_response: { body: other } }] }\n";
    Ringway::to(origin)
        .io(io)
        .config(format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"] }}\n\
             routes:\n{list}",
            origin.address()
        ))
        .start()
}

/// Method, target, fields, and the name of the route that answers, or the status where none does.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

fn check(proxy: &Proxy, cases: &[Case<'_>]) {
    for speaks in EITHER {
        for (method, target, fields, expected) in cases {
            let answer = ask(proxy, speaks, method, target, fields, b"");
            let said = if answer.status == 200 { answer.body } else { answer.status.to_string() };
            assert_eq!(said, *expected, "{speaks:?} {method} {target} {fields:?}");
        }
    }
}

fn paths_are_matched_as_it_is_written(io: Io) {
    let origin = Origin::ok();
    let routes = [
        ("prefix", "{ path: { prefix: /a } }"),
        ("exact", "{ path: { exact: /a/exact } }"),
        ("template", "{ path: { template: \"/t/{id}/items\" } }"),
        ("rest", "{ path: { template: \"/t/{id}/files/{+rest}\" } }"),
        ("regex", "{ path: { regex: \"/v[0-9]+/.*\" } }"),
    ];
    let proxy = named(io, &origin, &routes);
    let cases = [
        ("/a", "prefix"),
        ("/a/", "prefix"),
        ("/a/b?c", "prefix"),
        ("/a;x=y/b", "prefix"),
        ("/%61/b", "prefix"),
        ("/x/../a", "prefix"),
        ("//a", "prefix"),
        ("/ab", "other"),
        ("/A", "other"),
        ("/a/exact", "exact"),
        ("/a/exact/", "prefix"),
        ("/a/exact?x=y", "exact"),
        ("/t/7/items", "template"),
        ("/t/a%20b/items", "template"),
        ("/t//items", "other"),
        ("/t/7/items/", "other"),
        ("/t/7/files/a/b", "rest"),
        ("/t/7/files/", "other"),
        ("/v12/x", "regex"),
        ("/v12", "other"),
        ("/x/v1/y", "other"),
        ("/va/y", "other"),
        ("/a/%2e%2e/b", "400"),
        ("/a%2fexact", "400"),
    ];
    check(&proxy, &cases.map(|(path, expected)| ("GET", path, &[][..], expected)));
    origin.assert_saw_nothing();
}

fn conditions_hold_for_what_they_say(io: Io) {
    let origin = Origin::ok();
    let routes = [
        ("put", "{ path: { prefix: /m }, methods: [PUT, PURGE] }"),
        ("header", "{ path: { prefix: /h }, headers: { X-Tenant: blue } }"),
        ("like", "{ path: { prefix: /h }, headers: { x-user: { regex: \"[0-9]+\" } } }"),
        ("debug", "{ path: { prefix: /h }, headers: { x-debug: { present: true } } }"),
        ("plain", "{ path: { prefix: /n }, headers: { x-debug: { present: false } } }"),
        ("query", "{ path: { prefix: /q }, query: { \"a b\": \"1&2\" } }"),
        ("asked", "{ path: { prefix: /q }, query: { debug: { present: true } } }"),
        ("cookie", "{ path: { prefix: /c }, cookies: { canary: always } }"),
        ("both", "{ path: { prefix: /b }, headers: { x-a: \"1\" }, query: { b: \"2\" } }"),
        ("call", "{ grpc: { service: shop.v1.Cart, method: Add } }"),
    ];
    let proxy = named(io, &origin, &routes);
    let grpc = ("content-type", "application/grpc+proto");
    check(
        &proxy,
        &[
            ("PUT", "/m", &[], "put"),
            ("PURGE", "/m", &[], "put"),
            ("GET", "/m", &[], "other"),
            ("put", "/m", &[], "other"),
            ("GET", "/h", &[("x-tenant", "blue")], "header"),
            ("GET", "/h", &[("x-tenant", "Blue")], "other"),
            ("GET", "/h", &[("x_tenant", "blue")], "other"),
            // Several lines are one value (RFC 9110 5.2): who is matched by one of them cannot add another.
            ("GET", "/h", &[("x-tenant", "blue"), ("x-tenant", "red")], "other"),
            ("GET", "/h", &[("x-user", "123")], "like"),
            ("GET", "/h", &[("x-user", "123x")], "other"),
            ("GET", "/h", &[("x-debug", "")], "debug"),
            ("GET", "/n", &[], "plain"),
            ("GET", "/n", &[("x-debug", "0")], "other"),
            ("GET", "/q?c=d&%61+b=1%262", &[], "query"),
            ("GET", "/q?a%20b=1&2", &[], "other"),
            ("GET", "/q?A+B=1%262", &[], "other"),
            ("GET", "/q?debug", &[], "asked"),
            ("GET", "/c", &[("cookie", "x=y; canary=always")], "cookie"),
            ("GET", "/c", &[("cookie", "x=y"), ("cookie", "canary=always")], "cookie"),
            ("GET", "/c", &[("cookie", "Canary=always")], "other"),
            ("GET", "/b?b=2", &[("x-a", "1")], "both"),
            ("GET", "/b?b=2", &[], "other"),
            ("GET", "/b", &[("x-a", "1")], "other"),
            ("POST", "/shop.v1.Cart/Add", &[("content-type", "text/plain")], "other"),
        ],
    );
    // A local reply to a call says what it has to say in fields.
    for (path, expected) in [
        ("/shop.v1.Cart/Add", "call"),
        // No method is spelt so: refused, and not one for the other route.
        ("/shop.v1.Cart/%41dd", ""),
        ("/shop.v1.Cart/add", "other"),
        ("/Shop.v1.Cart/Add", "other"),
    ] {
        let answer = ask(&proxy, Speaks::Http2, "POST", path, &[grpc], b"");
        assert_eq!((answer.status, answer.body.as_str()), (200, expected), "{path}");
    }
    origin.assert_saw_nothing();
}

/// Each request is one for both routes.
fn the_more_specific_match_goes_first(io: Io) {
    let origin = Origin::ok();
    let fields = [("x-a", "1"), ("x-b", "2"), ("cookie", "c=1")];
    for (first, second) in [
        ("{ path: { exact: /x/y } }", "{ path: { template: \"/x/{a}\" } }"),
        ("{ path: { template: \"/x/{a}\" } }", "{ path: { regex: \"/x/[a-z]\" } }"),
        ("{ path: { regex: \"/x/[a-z]\" } }", "{ path: { prefix: /x/y } }"),
        ("{ path: { prefix: /x/y } }", "{ path: { prefix: /x }, methods: [GET] }"),
        ("{ methods: [GET] }", "{ headers: { x-a: \"1\", x-b: \"2\" } }"),
        ("{ headers: { x-a: \"1\", x-b: \"2\" } }", "{ headers: { x-a: \"1\" }, query: { q: \"1\" } }"),
        ("{ headers: { x-a: \"1\" } }", "{ query: { q: \"1\" }, cookies: { c: \"1\" } }"),
        ("{ query: { q: \"1\" } }", "{ cookies: { c: \"1\" }, clients: [127.0.0.0/8] }"),
        ("{ cookies: { c: \"1\" } }", "{ clients: [127.0.0.0/8] }"),
        ("{ clients: [127.0.0.0/8] }", "{ percent: 100% }"),
    ] {
        for routes in [[("first", first), ("second", second)], [("second", second), ("first", first)]] {
            let proxy = named(io, &origin, &routes);
            for speaks in EITHER {
                let answer = ask(&proxy, speaks, "GET", "/x/y?q=1", &fields, b"");
                assert_eq!(answer.body, "first", "{speaks:?} {routes:?}");
            }
        }
    }
}

fn clients_are_matched_by_the_address_that_is_believed(io: Io) {
    let origin = Origin::ok();
    let yaml = |trusted: &str| {
        format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\", forwarded: {{ trusted_proxies: [{trusted}] }} }}\nclusters:\n  \
             - {{ name: origin, endpoints: [\"{}\"] }}\nroutes:\n  \
             - {{ name: inside, match: [{{ clients: [10.0.0.0/8, \"127.0.0.7\"] }}], policies: [{{ fixed_response: {{ body: inside }} }}] }}\n  \
             - {{ name: other, policies: [{{ fixed_response: {{ body: other }} }}] }}\n",
            origin.address()
        )
    };
    let claims = [("x-forwarded-for", "10.1.2.3")];
    for (trusted, expected) in [("", "other"), ("127.0.0.1", "inside")] {
        let proxy = Ringway::to(&origin).io(io).config(yaml(trusted)).start();
        for speaks in EITHER {
            assert_eq!(ask(&proxy, speaks, "GET", "/", &claims, b"").body, expected, "{speaks:?} {trusted}");
            assert_eq!(get(&proxy, speaks, "/").body, "other", "{speaks:?}");
        }
        let neighbour = "127.0.0.7".parse().expect("an address");
        let mut client = Client::connect_from(neighbour, proxy.address());
        assert_eq!(client.get("/").body_text(), "inside");
    }
}

fn times_and_shares_are_drawn_for_each_request(io: Io) {
    let origin = Origin::ok();
    let routes = [
        ("over", "{ path: { prefix: /t }, time: { end: \"2020-01-01T00:00:00Z\" } }"),
        (
            "now",
            "{ path: { prefix: /t }, time: { start: \"2020-01-01T00:00:00Z\", end: \"2999-01-01T00:00:00Z\" } }",
        ),
        ("none", "{ path: { prefix: /p }, percent: 0% }"),
        ("half", "{ path: { prefix: /p }, percent: 50% }"),
    ];
    let proxy = named(io, &origin, &routes);
    for speaks in EITHER {
        assert_eq!(get(&proxy, speaks, "/t").body, "now", "{speaks:?}");
    }
    let mut client = proxy.connect();
    let answers: Vec<String> = (0..400).map(|_| client.get("/p").body_text()).collect();
    let of = |name: &str| answers.iter().filter(|answer| *answer == name).count();
    assert_eq!(of("none"), 0);
    // Half of 400 within seven standard deviations of 10.
    assert!((130..=270).contains(&of("half")) && of("half") + of("other") == 400, "{} of 400", of("half"));
}

fn variables_of_the_path_reach_origin_and_client(io: Io) {
    let origin = Origin::ok();
    let yaml = format!(
        "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\", encoded_slash: keep }}\nclusters:\n  \
         - {{ name: origin, endpoints: [\"{}\"] }}\nroutes:\n  \
         - {{ name: template, match: [{{ path: {{ template: \"/users/{{id}}/files/{{+rest}}\" }} }}], to: origin, policies: [\
         {{ request_headers: {{ set: {{ x-user: \"{{capture.id}}\", x-rest: \"{{capture.rest}}\" }} }} }}, \
         {{ response_headers: {{ set: {{ x-for: \"{{capture.id}}\" }} }} }}, \
         {{ rewrite: {{ path: \"/u/{{capture.id}}/{{capture.rest}}\" }} }}] }}\n  \
         - {{ name: regex, match: [{{ path: {{ regex: \"/v(?<version>[0-9]+)/(?<name>[a-z]+)\" }} }}], to: origin, policies: [\
         {{ request_headers: {{ set: {{ x-version: \"{{capture.version}}\", x-none: \"{{capture.name}}\" }} }} }}] }}\n",
        origin.address()
    );
    let proxy = Ringway::to(&origin).io(io).config(yaml).start();
    for speaks in EITHER {
        for (path, target, user, rest) in [
            ("/users/7/files/a/b", "/u/7/a/b", "7", "a/b"),
            ("/users/a%20b/files/x?q", "/u/a%20b/x?q", "a%20b", "x"),
            // Parameters are not matched, and so are no part of a variable.
            ("/users/7;admin=1/files/x;y", "/u/7/x", "7", "x"),
        ] {
            assert_eq!(get(&proxy, speaks, path).status, 200, "{speaks:?} {path}");
            let request = origin.requests().pop().expect("a request");
            assert_eq!(request.target, target, "{speaks:?}");
            assert_eq!(request.fields_named("x-user"), [user], "{speaks:?} {path}");
            assert_eq!(request.fields_named("x-rest"), [rest], "{speaks:?} {path}");
        }
        assert_eq!(get(&proxy, speaks, "/v12/cart").status, 200);
        let request = origin.requests().pop().expect("a request");
        assert_eq!((request.field("x-version"), request.field("x-none")), (Some("12"), Some("cart")));
    }
    let response = proxy.get("/users/7/files/a");
    assert_eq!(response.fields_named("x-for"), ["7"]);
}

fn many_routes_of_one_path_are_told_apart(io: Io) {
    let origin = Origin::ok();
    let names: Vec<(String, String)> = (0..300)
        .map(|n| {
            (format!("tenant{n}"), format!("{{ path: {{ prefix: /api }}, headers: {{ x-tenant: t{n} }} }}"))
        })
        .collect();
    let mut routes: Vec<(&str, &str)> =
        names.iter().map(|(name, wanted)| (name.as_str(), wanted.as_str())).collect();
    routes.push(("guest", "{ path: { prefix: /api } }"));
    let proxy = named(io, &origin, &routes);
    check(
        &proxy,
        &[
            ("GET", "/api/x", &[("x-tenant", "t0")], "tenant0"),
            ("GET", "/api/x", &[("x-tenant", "t299")], "tenant299"),
            ("GET", "/api/x", &[("x-tenant", "t300")], "guest"),
            ("GET", "/api/x", &[("x-tenant", "t1"), ("x-tenant", "t2")], "guest"),
            ("GET", "/api/x", &[], "guest"),
            ("GET", "/other", &[("x-tenant", "t1")], "other"),
        ],
    );
}
