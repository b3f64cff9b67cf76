//! Endpoints that are found while the proxy runs: by DNS, as addresses of a name or hosts of a service, and in a file.

use std::net::{Ipv4Addr, SocketAddr};

use ringway_tests::dns::Dns;
use ringway_tests::temp::TempDir;
use ringway_tests::wait::eventually;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver};

use crate::balancing::{answers, named, origins};

each_driver! {
    each_address_of_a_name_is_an_endpoint_and_changes_are_followed,
    hosts_of_a_service_are_endpoints_by_priority_and_changes_are_followed,
    what_was_found_stays_in_use_while_the_resolver_fails_and_it_says_so,
    a_resolver_that_fails_at_the_start_does_not_keep_the_proxy_from_starting,
    a_changed_file_of_endpoints_is_in_use_without_a_reload,
    a_bad_file_of_endpoints_is_refused_whole_and_the_last_good_one_is_kept_and_said,
    an_endpoint_that_stays_keeps_its_connections_and_one_that_goes_ends_its_exchanges_first,
    a_reload_keeps_what_was_found,
}

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A proxy in front of one cluster whose endpoints come from elsewhere.
fn ringway(source: &str, dns: Option<&Dns>) -> Ringway {
    let servers = dns.map_or(String::new(), |dns| format!("dns: {{ servers: [\"{}\"] }}\n", dns.address()));
    Ringway::to_endpoints([]).config(format!(
        "{servers}listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - name: found\n    {source}\n\
         routes:\n  - {{ name: all, to: found }}\n"
    ))
}

/// Waits until requests are answered by these, and no others.
fn until(proxy: &Proxy, expected: &str) {
    eventually(&format!("answers of {expected}"), || {
        let mut names: Vec<String> = answers(proxy, 8).into_keys().collect();
        names.sort();
        (names.concat() == expected).then_some(())
    });
}

fn each_address_of_a_name_is_an_endpoint_and_changes_are_followed(io: Io) {
    let a = named("a");
    let port = a.address().port();
    let b = Origin::start_at(SocketAddr::from(([127, 0, 0, 2], port)), |conn| {
        while conn.request().is_some() {
            conn.reply(200, "b");
        }
    });
    let dns = Dns::start();
    dns.set_addresses("app.test", &[LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]);
    let proxy = ringway(&format!("dns: \"app.test:{port}\""), Some(&dns)).io(io).workers(2).start();
    // Both from the first request on: it is not ready before what is known is in use.
    assert_eq!(answers(&proxy, 8).len(), 2);
    for address in [a.address(), b.address()] {
        let label = format!("endpoint=\"{address}\"");
        proxy.wait_for_stats(&label, |stats| {
            stats.sum_where("ringway_endpoint_responses_total", &label) == 4.0
        });
    }
    dns.set_addresses("app.test", &[Ipv4Addr::new(127, 0, 0, 2)]);
    until(&proxy, "b");
    dns.set_addresses("app.test", &[LOCALHOST]);
    until(&proxy, "a");
}

fn hosts_of_a_service_are_endpoints_by_priority_and_changes_are_followed(io: Io) {
    let [a, b, c] = origins();
    let dns = Dns::start();
    for host in ["a.test", "b.test", "c.test"] {
        dns.set_addresses(host, &[LOCALHOST]);
    }
    let (of_a, of_b, of_c) = (a.address().port(), b.address().port(), c.address().port());
    dns.set_service(
        "_http._tcp.app.test",
        &[(10, 3, of_a, "a.test"), (10, 1, of_b, "b.test"), (20, 1, of_c, "c.test")],
    );
    let proxy = ringway("srv: _http._tcp.app.test", Some(&dns)).io(io).workers(2).start();
    let hits = answers(&proxy, 80);
    assert!(hits["a"].abs_diff(60) <= 2 && hits["b"].abs_diff(20) <= 2, "{hits:?}");
    assert!(!hits.contains_key("c"), "a later priority waits: {hits:?}");
    dns.set_service("_http._tcp.app.test", &[(10, 1, of_b, "b.test"), (10, 1, of_c, "c.test")]);
    until(&proxy, "bc");
    dns.set_service("_http._tcp.app.test", &[(5, 0, of_a, "a.test"), (10, 1, of_b, "b.test")]);
    until(&proxy, "a");
}

fn what_was_found_stays_in_use_while_the_resolver_fails_and_it_says_so(io: Io) {
    let a = named("a");
    let dns = Dns::start();
    dns.set_addresses("a.test", &[LOCALHOST]);
    dns.set_service("_http._tcp.app.test", &[(0, 0, a.address().port(), "a.test")]);
    let proxy = ringway("srv: _http._tcp.app.test", Some(&dns)).io(io).start();
    until(&proxy, "a");
    dns.set_fails(true);
    proxy.wait_for_log("what was known stays in use");
    // The service, and its host.
    proxy.wait_for_stats("both to be stale", |stats| stats.sum("ringway_discovery_stale") == 2.0);
    until(&proxy, "a");
    let shown = proxy.admin_get("/endpoints").body_text();
    assert!(shown.contains("\"from\": \"srv _http._tcp.app.test\""), "{shown}");
    assert!(
        shown.contains(&format!("a.test:{}", a.address().port())) && !shown.contains("\"stale\": null"),
        "{shown}"
    );
    // A service that answers that it is nowhere is no reason to have nothing, either.
    dns.set_service("_http._tcp.app.test", &[]);
    dns.set_fails(false);
    proxy.wait_for_stats("the host to be known again", |stats| stats.sum("ringway_discovery_stale") == 1.0);
    until(&proxy, "a");
    let b = named("b");
    dns.set_service("_http._tcp.app.test", &[(0, 0, b.address().port(), "a.test")]);
    until(&proxy, "b");
    proxy.wait_for_stats("nothing to be stale", |stats| stats.sum("ringway_discovery_stale") == 0.0);
    assert!(proxy.admin_get("/endpoints").body_text().contains("\"stale\": null"));
}

fn a_resolver_that_fails_at_the_start_does_not_keep_the_proxy_from_starting(io: Io) {
    let a = named("a");
    let dns = Dns::start();
    dns.set_fails(true);
    dns.set_addresses("a.test", &[LOCALHOST]);
    dns.set_service("_http._tcp.app.test", &[(0, 0, a.address().port(), "a.test")]);
    let proxy = ringway("srv: _http._tcp.app.test", Some(&dns)).io(io).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (503, Some("no_endpoint")));
    dns.set_fails(false);
    until(&proxy, "a");
}

fn file(directory: &TempDir, content: &str) {
    // By renaming, so that no half of it is ever seen.
    let whole = directory.write("next.yaml", content);
    std::fs::rename(whole, directory.path().join("endpoints.yaml")).expect("renamed");
}

fn endpoints(of: &[&Origin]) -> String {
    let items: Vec<String> = of.iter().map(|origin| format!("  - \"{}\"\n", origin.address())).collect();
    format!("endpoints:\n{}", items.concat())
}

fn from_file(directory: &TempDir) -> Ringway {
    ringway(&format!("endpoints_file: {}/endpoints.yaml", directory.path().display()), None)
}

fn a_changed_file_of_endpoints_is_in_use_without_a_reload(io: Io) {
    let ([a, b], directory) = (origins(), TempDir::new());
    file(&directory, &endpoints(&[&a]));
    let proxy = from_file(&directory).io(io).workers(2).start();
    assert_eq!(answers(&proxy, 4)["a"], 4);
    file(&directory, &endpoints(&[&a, &b]));
    until(&proxy, "ab");
    let weighted =
        format!("endpoints:\n  - {{ address: \"{}\", priority: 1 }}\n  - \"{}\"\n", a.address(), b.address());
    file(&directory, &weighted);
    until(&proxy, "b");
    let stats = proxy.stats();
    assert_eq!(stats.sum("ringway_config_generation"), 1.0, "no reload");
    assert_eq!(stats.sum("ringway_endpoint_changes_total"), 2.0);
}

fn a_bad_file_of_endpoints_is_refused_whole_and_the_last_good_one_is_kept_and_said(io: Io) {
    let ([a, b], directory) = (origins(), TempDir::new());
    file(&directory, &endpoints(&[&a]));
    let proxy = from_file(&directory).io(io).start();
    for (bad, said) in [
        (format!("{}  - nonsense\n", endpoints(&[&b])), "add the port"),
        ("endpoints: []\n".to_owned(), "at least one endpoint"),
        (String::new(), "an empty file"),
        ("endpoints:\n  - { address: \"127.0.0.1:1\", wieght: 2 }\n".to_owned(), "did you mean `weight`?"),
        ("endpoints: [\"https://app.test\"]\n".to_owned(), "the cluster says with `tls`"),
    ] {
        file(&directory, &bad);
        proxy.wait_for_log(said);
        assert_eq!(answers(&proxy, 4)["a"], 4, "{bad}");
        proxy.wait_for_stats("the file to be stale", |stats| stats.sum("ringway_discovery_stale") == 1.0);
    }
    let shown = proxy.admin_get("/endpoints").body_text();
    assert!(shown.contains("the cluster says with"), "{shown}");
    std::fs::remove_file(directory.path().join("endpoints.yaml")).expect("removed");
    proxy.wait_for_log("cannot be read");
    assert_eq!(answers(&proxy, 4)["a"], 4);
    file(&directory, &endpoints(&[&b]));
    until(&proxy, "b");
    proxy.wait_for_stats("nothing to be stale", |stats| stats.sum("ringway_discovery_stale") == 0.0);
    // A start or a reload has no earlier answer: there it is an error.
    file(&directory, "endpoints: []\n");
    let (_, said) = from_file(&directory).io(io).start_refused();
    assert!(said.contains("at least one endpoint"), "{said}");
}

fn an_endpoint_that_stays_keeps_its_connections_and_one_that_goes_ends_its_exchanges_first(io: Io) {
    let a = named("a");
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let slow = Origin::start(move |conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl");
            conn.reached("the half");
            // The test gives up with an answer, too.
            let _ = held.lock().expect("not poisoned").recv();
            conn.send("ow");
        }
    });
    let directory = TempDir::new();
    file(&directory, &endpoints(&[&a]));
    let proxy = from_file(&directory).io(io).start();
    assert_eq!(answers(&proxy, 3)["a"], 3);
    let both = endpoints(&[&a, &slow]);
    file(&directory, &both);
    proxy.wait_for_stats("the change", |stats| stats.sum("ringway_endpoint_changes_total") == 1.0);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.wire().head().expect("a head");
        if String::from_utf8_lossy(&head).contains("Content-Length: 4") {
            break;
        }
        assert_eq!(client.wire().exactly(1).expect("the body"), b"a");
    }
    slow.wait_until_reached("the half");
    file(&directory, &endpoints(&[&a]));
    proxy.wait_for_stats("the change", |stats| stats.sum("ringway_endpoint_changes_total") == 2.0);
    assert_eq!(answers(&proxy, 6)["a"], 6);
    assert_eq!(a.connections(), 1, "the endpoint that stayed kept its connection");
    release.send(()).expect("the origin waits");
    assert_eq!(client.wire().exactly(4).expect("the body"), b"slow");
    // What was busy closes after its exchange.
    slow.wait_for_end(0);
}

fn a_reload_keeps_what_was_found(io: Io) {
    let a = named("a");
    let dns = Dns::start();
    dns.set_addresses("a.test", &[LOCALHOST]);
    dns.set_service("_http._tcp.app.test", &[(0, 0, a.address().port(), "a.test")]);
    let ringway = ringway("srv: _http._tcp.app.test", Some(&dns)).io(io).workers(2);
    let proxy = ringway.start();
    until(&proxy, "a");
    dns.set_fails(true);
    proxy.wait_for_stats("both to be stale", |stats| stats.sum("ringway_discovery_stale") == 2.0);
    let mut client = proxy.connect();
    for setting in ["balance: random", "balance: maglev", "pool: { idle: 7 }"] {
        let line = proxy.reload(ringway.yaml().replace("    srv:", &format!("    {setting}\n    srv:")));
        assert!(line.contains("configuration reloaded"), "{line}");
        assert_eq!(client.get("/").body_text(), "a");
    }
    assert_eq!(a.connections(), 1, "what changed does not concern connections");
}
