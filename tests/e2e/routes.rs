//! Which cluster a request goes to.

use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    the_most_specific_host_and_then_the_longest_prefix_wins,
    hosts_are_matched_without_case_port_or_final_dot,
    routes_of_one_listener_are_not_seen_by_another,
    spellings_of_a_path_do_not_escape_their_route,
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

/// Threat rows 31, 32 and 36: `/admin` belongs to one cluster and all else to another. However it is spelt, a path that
/// an origin would read as `/admin…` must not reach the other one.
fn spellings_of_a_path_do_not_escape_their_route(io: Io) {
    let admin = Origin::ok();
    let public = Origin::ok();
    let routes =
        "  - { name: a, match: [{ path: { prefix: /admin } }], to: admin }\n  - { name: p, to: public }\n";
    let proxy = ringway(&[("public", &public), ("admin", &admin)], routes).io(io).start();
    for path in SPELLINGS_OF_ADMIN {
        let mut client = proxy.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let response = client.response();
        assert!(matches!(response.status, 200 | 400 | 404), "{path}: {}", response.status);
    }
    for request in public.requests() {
        let read = read_as_an_origin_might(&request.target);
        assert!(!read.iter().any(|path| is_admin(path)), "{} reached the public cluster", request.target);
    }
    for request in admin.requests() {
        let read = read_as_an_origin_might(&request.target);
        assert!(read.iter().any(|path| is_admin(path)), "{} reached the admin cluster", request.target);
    }
}

const SPELLINGS_OF_ADMIN: &[&str] = &[
    "/admin",
    "/admin/",
    "/admin/x",
    "/admin?x",
    "/admin;x",
    "/admin;x/y",
    "/admin#x",
    "/admin#.png",
    "/./admin",
    "/admin/.",
    "/admin/..",
    "/admin/../",
    "/x/../admin",
    "/x/../admin/y",
    "/x/y/../../admin",
    "//admin",
    "///admin",
    "/x//../admin",
    "/.//admin",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%2561dmin",
    "/x/%2e%2e/admin",
    "/x/%2E%2E/admin",
    "/x/.%2e/admin",
    "/x/%2e./admin",
    "/%2e/admin",
    "/x/..%2fadmin",
    "/x/..%2Fadmin",
    "/x%2f..%2fadmin",
    "/%2fadmin",
    "/%2Fadmin",
    "/admin%2f",
    "/admin%2F..%2fpublic",
    "/admin/%2e%2e/public",
    "/admin/../public",
    "/public/../admin",
    "/public/%2e%2e/admin",
    "/x\\..\\admin",
    "/x/..\\admin",
    "/\\admin",
    "/x%5c..%5cadmin",
    "/x/..%5cadmin",
    "/%5cadmin",
    "/admin%00",
    "/admin%00.png",
    "/admin%0a",
    "/admin%0d%0a",
    "/admin%20",
    "/admin%23",
    "/admin%3f",
    "/admin%3bx",
    "/x;/../admin",
    "/x/..;/admin",
    "/x/..;a=b/admin",
    "/;/admin",
    "/ADMIN",
    "/Admin",
    "/admin\t",
    "/..",
    "/../admin",
    "/../../admin",
    "/%c0%ae%c0%ae/admin",
    "/%ef%bc%8fadmin",
    "/x/../../admin",
    "/x/.././admin",
    "http://test/admin",
    "http://test//admin",
    "http://test/x/../admin",
    "admin",
    "*admin",
    "test/admin",
];

fn is_admin(path: &str) -> bool {
    path.split('/').nth(1) == Some("admin")
}

/// The paths for which some origin may take a target: decoded once or twice, dots removed, slashes merged, parameters
/// cut off, back-slashes turned.
fn read_as_an_origin_might(target: &str) -> Vec<String> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let once = decode(path);
    [path.to_owned(), once]
        .into_iter()
        .flat_map(|path| [path.clone(), path.replace('\\', "/")])
        .map(|path| {
            let mut kept: Vec<&str> = Vec::new();
            for segment in path.split('/') {
                match segment.split([';', '\0']).next().unwrap_or_default() {
                    "" | "." => {}
                    ".." => drop(kept.pop()),
                    plain => kept.push(plain),
                }
            }
            format!("/{}", kept.join("/"))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut index = 0;
    while index < bytes.len() {
        let pair = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.filter(|_| bytes[index] == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
