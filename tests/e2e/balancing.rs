//! Which endpoint of a cluster a request goes to.

use std::collections::HashMap;

use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    endpoints_share_requests_as_their_weights_say,
    a_key_of_the_request_leads_to_one_endpoint_on_every_worker,
    a_cookie_brings_a_client_back_to_its_endpoint,
    endpoints_of_a_lower_priority_wait_until_they_are_needed,
    endpoints_of_the_same_zone_come_first,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub(super) fn named(name: &str) -> Origin {
    Origin::replying(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

/// Origins that answer with their names.
pub(super) fn origins<const N: usize>() -> [Origin; N] {
    std::array::from_fn(|at| named(NAMES[at]))
}

/// A proxy in front of endpoints, each with what is said of it.
pub(super) fn ringway(endpoints: &[(&Origin, &str)], cluster: &str) -> Ringway {
    let endpoint =
        |(origin, more): &(&Origin, &str)| format!("{{ address: \"{}\"{more} }}", origin.address());
    let endpoints: Vec<String> = endpoints.iter().map(endpoint).collect();
    Ringway::to_endpoints([]).config(format!(
        "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - name: all\n    endpoints: [{}]\n{}\
         routes:\n  - {{ name: r, to: all }}\n",
        endpoints.join(", "),
        cluster.lines().map(|line| format!("    {line}\n")).collect::<String>(),
    ))
}

/// How often each origin answers `count` requests of one connection.
pub(super) fn answers(proxy: &Proxy, count: usize) -> HashMap<String, usize> {
    let mut client = proxy.connect();
    let mut hits = HashMap::new();
    for _ in 0..count {
        let response = client.get("/");
        let name = if response.status == 200 { response.body_text() } else { response.status.to_string() };
        *hits.entry(name).or_default() += 1;
    }
    hits
}

fn endpoints_share_requests_as_their_weights_say(io: Io) {
    let [a, b, c] = origins();
    let endpoints = [(&a, ", weight: 5"), (&b, ", weight: 2"), (&c, "")];
    let proxy = ringway(&endpoints, "").io(io).start();
    // Turns are exact up to where they begin.
    let hits = answers(&proxy, 160);
    for (name, expected) in [("a", 100), ("b", 40), ("c", 20)] {
        assert!(hits[name].abs_diff(expected) <= 2, "{hits:?}");
    }
}

fn a_key_of_the_request_leads_to_one_endpoint_on_every_worker(io: Io) {
    for balance in ["ring_hash", "maglev"] {
        let [a, b, c] = origins();
        let endpoints = [(&a, ""), (&b, ""), (&c, "")];
        let settings = format!("balance: {balance}\nhash: {{ key: \"header:x-user\" }}");
        let proxy = ringway(&endpoints, &settings).io(io).workers(2).start();
        let mut clients: Vec<Client> = (0..4).map(|_| proxy.connect()).collect();
        let mut of_user: HashMap<usize, String> = HashMap::new();
        for round in 0..3 {
            for user in 0..30 {
                for client in &mut clients {
                    let response =
                        client.exchange(format!("GET / HTTP/1.1\r\nHost: x\r\nX-User: {user}\r\n\r\n"));
                    let name = response.body_text();
                    let first = of_user.entry(user).or_insert_with(|| name.clone());
                    assert_eq!(*first, name, "{balance}: user {user}, round {round}");
                }
            }
        }
        let mut used: Vec<&String> = of_user.values().collect();
        used.sort();
        used.dedup();
        assert_eq!(used, ["a", "b", "c"], "{balance}: every endpoint has users");
    }
}

fn a_cookie_brings_a_client_back_to_its_endpoint(io: Io) {
    let [a, b, c] = origins();
    let endpoints = [(&a, ""), (&b, ""), (&c, "")];
    let proxy = ringway(&endpoints, "sticky: { cookie: at, ttl: 1h }").io(io).workers(2).start();
    let mut client = proxy.connect();
    let mut seen = Vec::new();
    for _ in 0..6 {
        let first = client.get("/");
        let cookie = first.field("set-cookie").expect("a cookie").to_owned();
        let (value, rest) = cookie.split_once("; ").expect("attributes");
        assert_eq!(rest, "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
        assert!(!cookie.contains("127.0.0.1"), "{cookie}");
        let mut back = proxy.connect();
        for _ in 0..4 {
            let again = back.exchange(format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: x=1; {value}\r\n\r\n"));
            assert_eq!(again.body_text(), first.body_text());
            assert_eq!(again.field("set-cookie"), None, "it has it already");
        }
        seen.push(first.body_text());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["a", "b", "c"], "clients without a cookie are spread");
    for forged in ["at=zz", "at=0123456789abcdef", "at="] {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {forged}\r\n\r\n");
        let response = client.exchange(request);
        assert!(response.status == 200 && response.field("set-cookie").is_some(), "{forged}");
    }
}

fn endpoints_of_a_lower_priority_wait_until_they_are_needed(io: Io) {
    let [a, b, c] = origins();
    let endpoints = [(&a, ""), (&b, ", priority: 1"), (&c, ", priority: 2")];
    let proxy = ringway(&endpoints, "").io(io).start();
    assert_eq!(answers(&proxy, 20), HashMap::from([("a".to_owned(), 20)]));
    assert_eq!((b.connections(), c.connections()), (0, 0));
    // What cannot be connected to is left for the next one, without a word to the client.
    let gone = {
        let closed = named("gone");
        closed.address()
    };
    let refused = Ringway::to_endpoints([]).config(format!(
        "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - name: all\n    endpoints: [\"{gone}\", \
         {{ address: \"{}\", priority: 1 }}]\nroutes:\n  - {{ name: r, to: all }}\n",
        b.address()
    ));
    let proxy = refused.io(io).start();
    assert_eq!(answers(&proxy, 5), HashMap::from([("b".to_owned(), 5)]));
}

fn endpoints_of_the_same_zone_come_first(io: Io) {
    let [a, b, c] = origins();
    let endpoints = [(&a, ", zone: east"), (&b, ", zone: west"), (&c, "")];
    let proxy = ringway(&endpoints, "").io(io).set("zone", "west").start();
    assert_eq!(answers(&proxy, 12), HashMap::from([("b".to_owned(), 12)]));
    let proxy = ringway(&endpoints, "locality: false").io(io).set("zone", "west").start();
    let hits = answers(&proxy, 12);
    assert_eq!(hits.len(), 3, "{hits:?}");
}
