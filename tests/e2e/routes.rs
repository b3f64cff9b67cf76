//! Which cluster a request goes to.

use ringway_tests::http2::{Http2Client, Instead, code};
use ringway_tests::spellings::{is_admin, read_as_an_origin_might, try_each_of_admin};
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    the_most_specific_host_and_then_the_longest_prefix_wins,
    hosts_are_matched_without_case_port_or_final_dot,
    routes_of_one_listener_are_not_seen_by_another,
    spellings_of_a_path_do_not_escape_their_route,
    hosts_over_http2_are_matched_the_same_way,
}

fn named(name: &str) -> Origin {
    Origin::replying(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

fn ringway(origins: &[(&str, &Origin)], routes: &str) -> Ringway {
    let clusters: String = origins
        .iter()
        .map(|(name, origin)| format!("  - {{ name: {name}, endpoints: [\"{}\"] }}\n", origin.address()))
        .collect();
    let first = origins[0].1;
    Ringway::to(first).config(format!(
        "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\n  - {{ name: side, bind: \"127.0.0.1:0\" }}\n\
         clusters:\n{clusters}routes:\n{routes}"
    ))
}

fn get(address: std::net::SocketAddr, host: &str, path: &str) -> String {
    let mut client = ringway_tests::Client::connect(address);
    let response = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    if response.status == 200 { response.body_text() } else { response.status.to_string() }
}

fn the_most_specific_host_and_then_the_longest_prefix_wins(io: Io) {
    let origins = ["any", "wild", "deep", "exact", "sub"].map(|name| (name, named(name)));
    let pairs: Vec<(&str, &Origin)> = origins.iter().map(|(name, origin)| (*name, origin)).collect();
    let routes = "  - { name: r1, match: [{ path: { prefix: / } }], to: any }\n  \
                  - { name: r2, hosts: [\"*.shop.test\"], to: wild }\n  \
                  - { name: r3, hosts: [\"*.eu.shop.test\"], to: deep }\n  \
                  - { name: r4, hosts: [\"www.shop.test\"], to: exact }\n  \
                  - { name: r5, hosts: [\"www.shop.test\"], match: [{ path: { prefix: /api } }], to: sub }\n";
    let proxy = ringway(&pairs, routes).io(io).start();
    let table = [
        ("other.test", "/", "any"),
        ("shop.test", "/", "any"),
        ("a.shop.test", "/", "wild"),
        ("a.b.shop.test", "/x", "wild"),
        ("a.eu.shop.test", "/", "deep"),
        ("www.shop.test", "/", "exact"),
        ("www.shop.test", "/api", "sub"),
        ("www.shop.test", "/api/x?y", "sub"),
        ("www.shop.test", "/api?x", "sub"),
        ("www.shop.test", "/apix", "exact"),
        ("www.shop.test", "/Api", "exact"),
    ];
    for (host, path, want) in table {
        assert_eq!(get(proxy.address(), host, path), want, "{host}{path}");
    }
}

fn hosts_are_matched_without_case_port_or_final_dot(io: Io) {
    // Threat row 42: with few hosts and with many.
    let shop = named("shop");
    for count in [1, 99, 101, 10_000] {
        let more: String = (1..count)
            .map(|number| format!("  - {{ name: x{number}, hosts: [\"h{number}.test\"], to: shop }}\n"))
            .collect();
        let routes = format!("  - {{ name: r, hosts: [\"www.shop.test\"], to: shop }}\n{more}");
        let proxy = ringway(&[("shop", &shop)], &routes).io(io).start();
        for host in
            ["www.shop.test", "WWW.Shop.TEST", "www.shop.test.", "www.shop.test:80", "WWW.SHOP.TEST.:8080"]
        {
            assert_eq!(get(proxy.address(), host, "/"), "shop", "{host} of {count}");
        }
        for host in
            ["shop.test", "www.shop.test.evil", "xwww.shop.test", "www.shop.tes", "", ".", "www.shop.test.."]
        {
            let answer = get(proxy.address(), host, "/");
            assert!(matches!(answer.as_str(), "404" | "400"), "{host:?} of {count}: {answer}");
        }
    }
}

fn routes_of_one_listener_are_not_seen_by_another(io: Io) {
    let (web, side) = (named("for web"), named("for side"));
    let routes = "  - { name: r1, listeners: [web], to: web }\n  - { name: r2, listeners: [side], match: [{ path: { prefix: /side } }], to: side }\n";
    let proxy = ringway(&[("web", &web), ("side", &side)], routes).io(io).start();
    assert_eq!(get(proxy.address(), "test", "/side"), "for web");
    assert_eq!(get(proxy.address_of("side"), "test", "/side"), "for side");
    assert_eq!(get(proxy.address_of("side"), "test", "/"), "404");
}

/// Threat rows 42 and 15: `:authority` is what Host is.
fn hosts_over_http2_are_matched_the_same_way(io: Io) {
    let shop = named("shop");
    let more: String = (0..100)
        .map(|number| format!("  - {{ name: x{number}, hosts: [\"h{number}.test\"], to: shop }}\n"))
        .collect();
    for more in ["", more.as_str()] {
        let routes = format!("  - {{ name: r, hosts: [\"www.shop.test\"], to: shop }}\n{more}");
        let proxy = ringway(&[("shop", &shop)], &routes).io(io).start();
        let mut client = Http2Client::connect(proxy.address());
        client.settled();
        for (authority, expected) in [
            ("www.shop.test", Some(200)),
            ("WWW.Shop.TEST", Some(200)),
            ("www.shop.test.", Some(200)),
            ("WWW.SHOP.TEST.:8080", Some(200)),
            ("www.shop.test..", None),
            ("shop.test", Some(404)),
            ("www.shop.test.evil", Some(404)),
            ("www.shop.test,evil", None),
            ("evil@www.shop.test", None),
        ] {
            let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", authority)];
            let id = client.open(&fields, true);
            match client.try_response(id) {
                Ok(response) if expected.is_none() => {
                    assert!(matches!(response.status, 400 | 404), "{authority}: {}", response.status);
                }
                Ok(response) => assert_eq!(Some(response.status), expected, "{authority}"),
                Err(Instead::Reset(code::PROTOCOL_ERROR)) => assert_eq!(expected, None, "{authority}"),
                other => panic!("{authority}: {other:?}"),
            }
        }
    }
}

/// Threat rows 31, 32 and 36: `/admin` belongs to one cluster and all else to another. However it is spelt and whatever
/// the settings, a path that an origin would read as `/admin…` must not reach the other one.
fn spellings_of_a_path_do_not_escape_their_route(io: Io) {
    let routes =
        "  - { name: a, match: [{ path: { prefix: /admin } }], to: admin }\n  - { name: p, to: public }\n";
    for settings in [
        &[][..],
        &[("encoded-slash", "keep"), ("repeated-slashes", "keep")],
        &[("encoded-slash", "decode")],
        &[
            ("repeated-slashes", "refuse"),
            ("dot-segments", "refuse"),
            ("encoded-unreserved", "refuse"),
            ("path-parameters", "refuse"),
        ],
    ] {
        let (admin, public) = (Origin::ok(), Origin::ok());
        let mut ringway = ringway(&[("public", &public), ("admin", &admin)], routes).io(io);
        for (flag, value) in settings {
            ringway = ringway.set(flag, value);
        }
        let proxy = ringway.start();
        try_each_of_admin(&proxy, |path, status| {
            assert!(matches!(status, 200 | 400 | 404), "{path}: {status}");
        });
        for request in public.requests() {
            let read = read_as_an_origin_might(&request.target);
            assert!(!read.iter().any(|path| is_admin(path)), "{} {settings:?}", request.target);
        }
        for request in admin.requests() {
            let read = read_as_an_origin_might(&request.target);
            assert!(read.iter().any(|path| is_admin(path)), "{} {settings:?}", request.target);
        }
        // With every setting there are spellings that are good, and spellings that are not.
        assert!(admin.requests().len() >= 6, "{settings:?}");
    }
}
