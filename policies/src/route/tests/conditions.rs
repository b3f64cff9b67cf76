//! What matches ask for besides host and prefix, and which of several is chosen.

use ringway_protocols::http1::{HeadLimits, parse_request};

use super::*;

/// A request for the tests, from its head.
struct Asked {
    head: RequestHead,
    text: Vec<u8>,
}

impl Asked {
    fn new(text: &str) -> Asked {
        let text = format!("{text}\r\n\r\n").replace('|', "\r\n").into_bytes();
        let limits = HeadLimits { bytes_max: 65_536, fields_max: 100, target_bytes_max: 8_192 };
        let mut head = RequestHead::default();
        let parsed = parse_request(&text, &limits, &mut head);
        assert!(parsed.is_ok(), "{parsed:?} {}", String::from_utf8_lossy(&text));
        Asked { head, text }
    }

    fn request(&self) -> RouteRequest<'_> {
        RouteRequest {
            listener: 0,
            host: self.head.authority.of(&self.text),
            path: self.head.path.of(&self.text),
            head: &self.head,
            bytes: &self.text,
            client: "192.0.2.7".parse().ok(),
            // A Monday, 10:00.
            unix_secs: 1_795_428_000,
            random: 0,
        }
    }
}

fn is(name: &str, value: &str) -> FieldMatch {
    FieldMatch { name: name.to_owned(), value: ValueMatch::Exact(value.to_owned()) }
}

fn like(name: &str, pattern: &str) -> FieldMatch {
    FieldMatch { name: name.to_owned(), value: ValueMatch::Regex(Arc::new(regex(pattern))) }
}

fn regex(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn path(kind: &str, text: &str) -> RouteMatch {
    let path = match kind {
        "exact" => PathMatch::Exact(text.to_owned()),
        "regex" => PathMatch::Regex(Arc::new(regex(text))),
        "template" => {
            PathMatch::Template(Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")))
        }
        _ => PathMatch::Prefix(text.to_owned()),
    };
    RouteMatch { path, ..RouteMatch::default() }
}

fn clients(block: &str) -> Clients {
    Clients::new(vec![block.parse().unwrap_or_else(|error| panic!("{error}"))])
}

#[test]
fn each_condition_holds_for_what_it_says_and_for_nothing_else() {
    let methods = |names: &[&str]| RouteMatch {
        methods: names.iter().map(|name| (*name).to_owned()).collect(),
        ..RouteMatch::default()
    };
    let header = |field| RouteMatch { headers: vec![field], ..RouteMatch::default() };
    let query = |field| RouteMatch { query: vec![field], ..RouteMatch::default() };
    let cookie = |field| RouteMatch { cookies: vec![field], ..RouteMatch::default() };
    let present = |name: &str, value| FieldMatch { name: name.to_owned(), value };
    let time = |from, to| RouteMatch {
        time: Some(TimeWindow { from: Some(from), to: Some(to), ..TimeWindow::default() }),
        ..RouteMatch::default()
    };
    let grpc = || RouteMatch { grpc: true, ..RouteMatch::default() };
    let post = "POST /a.B/C HTTP/1.1|Host: h|Content-Length: 0|Content-Type: ";
    for (wanted, request, misfit) in [
        (methods(&["GET", "POST"]), "GET / HTTP/1.1|Host: h", None),
        (methods(&["POST"]), "GET / HTTP/1.1|Host: h", Some(Misfit::Method)),
        (methods(&["PURGE"]), "PURGE / HTTP/1.1|Host: h", None),
        (methods(&["PURGE"]), "purge / HTTP/1.1|Host: h", Some(Misfit::Method)),
        (header(is("x-user", "7")), "GET / HTTP/1.1|Host: h|X-User: 7", None),
        (header(is("x-user", "7")), "GET / HTTP/1.1|Host: h|X-User: 77", Some(Misfit::Header(0))),
        (header(is("x-user", "7")), "GET / HTTP/1.1|Host: h|X_User: 7", Some(Misfit::Header(0))),
        (header(is("x-user", "7")), "GET / HTTP/1.1|Host: h|X-User: 7|X-User: 8", Some(Misfit::Header(0))),
        (header(is("x-user", "7, 8")), "GET / HTTP/1.1|Host: h|X-User: 7|X-User: 8", None),
        (header(is("x-user", "")), "GET / HTTP/1.1|Host: h", Some(Misfit::Header(0))),
        (header(like("x-user", "[0-9]+")), "GET / HTTP/1.1|Host: h|X-User: 123", None),
        (header(like("x-user", "[0-9]+")), "GET / HTTP/1.1|Host: h|X-User: 123a", Some(Misfit::Header(0))),
        (header(present("x-a", ValueMatch::Present)), "GET / HTTP/1.1|Host: h|X-A:", None),
        (header(present("x-a", ValueMatch::Present)), "GET / HTTP/1.1|Host: h", Some(Misfit::Header(0))),
        (header(present("x-a", ValueMatch::Absent)), "GET / HTTP/1.1|Host: h", None),
        (
            header(present("x-a", ValueMatch::Absent)),
            "GET / HTTP/1.1|Host: h|x-a: 1",
            Some(Misfit::Header(0)),
        ),
        (query(is("a", "1")), "GET /?b=2&a=1 HTTP/1.1|Host: h", None),
        (query(is("a", "1")), "GET /?a=2&a=1 HTTP/1.1|Host: h", Some(Misfit::Query(0))),
        (query(is("a", "1")), "GET /?A=1 HTTP/1.1|Host: h", Some(Misfit::Query(0))),
        (query(is("a b", "ü=&")), "GET /?%61+b=%C3%bc%3D%26 HTTP/1.1|Host: h", None),
        (query(is("a", "")), "GET /?a HTTP/1.1|Host: h", None),
        (query(is("a", "")), "GET /? HTTP/1.1|Host: h", Some(Misfit::Query(0))),
        (query(is("a", "")), "GET / HTTP/1.1|Host: h", Some(Misfit::Query(0))),
        (query(is("a", "%")), "GET /?a=% HTTP/1.1|Host: h", None),
        (query(like("a", "x.*")), "GET /?a=%78yz HTTP/1.1|Host: h", None),
        (query(present("a", ValueMatch::Absent)), "GET /?ab HTTP/1.1|Host: h", None),
        (cookie(is("c", "1")), "GET / HTTP/1.1|Host: h|Cookie: b=2; c=1", None),
        (cookie(is("c", "1")), "GET / HTTP/1.1|Host: h|Cookie: b=2|Cookie: c=1", None),
        (cookie(is("c", "1")), "GET / HTTP/1.1|Host: h|Cookie: C=1", Some(Misfit::Cookie(0))),
        (
            RouteMatch { clients: clients("192.0.2.0/24"), ..RouteMatch::default() },
            "GET / HTTP/1.1|Host: h",
            None,
        ),
        (
            RouteMatch { clients: clients("192.0.3.0/24"), ..RouteMatch::default() },
            "GET / HTTP/1.1|Host: h",
            Some(Misfit::Client),
        ),
        (time(9 * 3600, 17 * 3600), "GET / HTTP/1.1|Host: h", None),
        (time(11 * 3600, 17 * 3600), "GET / HTTP/1.1|Host: h", Some(Misfit::Time)),
        (grpc(), &format!("{post}application/grpc"), None),
        (grpc(), &format!("{post}Application/gRPC+proto"), None),
        (grpc(), &format!("{post}application/grpc-web-text"), None),
        (grpc(), &format!("{post}application/grpcs"), Some(Misfit::Grpc)),
        (grpc(), &format!("{post}application/json"), Some(Misfit::Grpc)),
        (grpc(), "GET / HTTP/1.1|Host: h|Content-Type: application/grpc", Some(Misfit::Grpc)),
        (
            RouteMatch { share: Some(0), ..RouteMatch::default() },
            "GET / HTTP/1.1|Host: h",
            Some(Misfit::Share),
        ),
        (RouteMatch { share: Some(1_000_000), ..RouteMatch::default() }, "GET / HTTP/1.1|Host: h", None),
    ] {
        let asked = Asked::new(request);
        assert_eq!(wanted.misfit(&asked.request(), 1), misfit, "{wanted} for {request}");
        let table = table(&[wanting(&[], &[], vec![wanted.clone()])]);
        assert_eq!(table.find(&asked.request()).is_some(), misfit.is_none(), "{wanted} for {request}");
    }
}

/// The table of docs/routing.md: of each pair the first goes before the second, however the file has them.
#[test]
fn precedence_is_that_of_the_gateway_api() {
    let get = "GET /a/b?q=1&r=2 HTTP/1.1|Host: x.y.example.com|X-A: 1|X-B: 2|Cookie: c=1; d=2";
    let on = |host: &str, wanted: RouteMatch| (vec![], vec![host.to_owned()], wanted);
    let any = |wanted: RouteMatch| (vec![], vec![], wanted);
    let with = |change: fn(&mut RouteMatch)| {
        let mut wanted = path("prefix", "/a");
        change(&mut wanted);
        any(wanted)
    };
    let methods = with(|m| m.methods = vec!["GET".to_owned()]);
    let one_header = with(|m| m.headers = vec![is("x-a", "1")]);
    let two_headers = with(|m| m.headers = vec![is("x-a", "1"), is("x-b", "2")]);
    let one_query = with(|m| m.query = vec![is("q", "1")]);
    let two_queries = with(|m| m.query = vec![is("q", "1"), is("r", "2")]);
    let one_cookie = with(|m| m.cookies = vec![is("c", "1")]);
    let two_cookies = with(|m| m.cookies = vec![is("c", "1"), is("d", "2")]);
    let some_clients = with(|m| m.clients = clients("192.0.2.0/24"));
    let in_time = with(|m| m.time = Some(TimeWindow { days: 1, ..TimeWindow::default() }));
    let a_share = with(|m| m.share = Some(1_000_000));
    let named_listener = (vec![0], vec![], path("prefix", "/a"));
    let plain = any(path("prefix", "/a"));
    let pairs = [
        (on("x.y.example.com", path("prefix", "/")), on("*.y.example.com", path("exact", "/a/b"))),
        (on("*.y.example.com", path("prefix", "/")), on("*.example.com", path("exact", "/a/b"))),
        (on("*.example.com", path("prefix", "/")), any(path("exact", "/a/b"))),
        (any(path("exact", "/a/b")), any(path("template", "/a/{x}"))),
        (any(path("template", "/a/{x}")), any(path("template", "/{x}/b"))),
        (any(path("template", "/a/{x}")), any(path("template", "/a/{+x}"))),
        (any(path("template", "/{+x}")), any(path("regex", "/a/b"))),
        (any(path("regex", "/a/[a-z]+")), any(path("regex", "/a/b"))),
        (any(path("regex", "/.*")), any(path("prefix", "/a/b"))),
        (any(path("prefix", "/a/b")), two_headers.clone()),
        (methods, two_headers.clone()),
        (two_headers, one_header.clone()),
        (one_header, two_queries.clone()),
        (two_queries, one_query.clone()),
        (one_query, two_cookies.clone()),
        (two_cookies, one_cookie.clone()),
        (one_cookie, some_clients.clone()),
        (some_clients, in_time.clone()),
        (in_time, a_share.clone()),
        (a_share, named_listener.clone()),
        (named_listener, plain),
    ];
    let asked = Asked::new(get);
    for (first, second) in pairs {
        let shown = format!("{:?} {} before {:?} {}", first.1, first.2, second.1, second.2);
        let made = |(listeners, hosts, wanted): &(Vec<usize>, Vec<String>, RouteMatch)| Rule {
            listeners: listeners.clone(),
            hosts: hosts.clone(),
            matches: vec![Arc::new(wanted.clone())],
        };
        let alone = table(&[made(&second)]);
        assert!(alone.find(&asked.request()).is_some(), "the second holds: {shown}");
        for (rules, expected) in [([made(&first), made(&second)], 0), ([made(&second), made(&first)], 1)] {
            let table = table(&rules);
            assert_eq!(table.find(&asked.request()).map(|found| found.rule), Some(expected), "{shown}");
        }
    }
}

#[test]
fn of_equals_the_first_in_the_file_wins() {
    let header = |name: &str| {
        wanting(&[], &[], vec![RouteMatch { headers: vec![is(name, "1")], ..RouteMatch::default() }])
    };
    let asked = Asked::new("GET / HTTP/1.1|Host: h|X-A: 1|X-B: 1");
    for rules in [[header("x-a"), header("x-b")], [header("x-b"), header("x-a")]] {
        let table = table(&rules);
        assert_eq!(table.find(&asked.request()), Some(Found { rule: 0, item: 0 }));
    }
}

#[test]
fn a_match_that_does_not_hold_leaves_the_request_to_less_specific_ones() {
    let wanted = |kind: &str, text: &str| RouteMatch { methods: vec!["PUT".to_owned()], ..path(kind, text) };
    let rules = [
        wanting(&[], &["a.example.com"], vec![wanted("exact", "/x/y"), wanted("template", "/x/{z}")]),
        wanting(&[], &["a.example.com"], vec![wanted("regex", "/x/.*"), wanted("prefix", "/x/y")]),
        wanting(&[], &["*.example.com"], vec![wanted("prefix", "/")]),
        wanting(&[], &[], vec![path("exact", "/x/q"), path("prefix", "/x")]),
    ];
    let table = table(&rules);
    for (request, expected) in [
        ("PUT /x/y HTTP/1.1|Host: a.example.com", Some((0, 0))),
        ("PUT /x/q HTTP/1.1|Host: a.example.com", Some((0, 1))),
        ("PUT /x/q/r HTTP/1.1|Host: a.example.com", Some((1, 0))),
        ("PUT /q HTTP/1.1|Host: a.example.com", Some((2, 0))),
        ("GET /x/y HTTP/1.1|Host: a.example.com", Some((3, 1))),
        ("GET /q HTTP/1.1|Host: a.example.com", None),
    ] {
        let asked = Asked::new(request);
        let found = table.find(&asked.request()).map(|found| (found.rule, found.item));
        assert_eq!(found, expected, "{request}");
    }
}

#[test]
fn variables_are_taken_from_the_path() {
    for (wanted, path, expected) in [
        (path("template", "/users/{id}/{+rest}"), "/users/7/a/b", &[("id", "7"), ("rest", "a/b")][..]),
        (path("regex", r"/v(?<version>\d+)/.*"), "/v2/x", &[("version", "2")]),
        (path("regex", r"/v(?<version>\d+)?/(?<other>x)?.*"), "/v/x", &[("other", "x")]),
        (path("template", "/users/{id}"), "/users/7;admin=1", &[("id", "7")]),
        (path("prefix", "/users"), "/users/7", &[]),
        (path("exact", "/users"), "/users", &[]),
    ] {
        let mut captures = Captures::default();
        expected.iter().for_each(|(name, text)| captures.push(name, text.as_bytes()));
        assert_eq!(RouteTable::captures(&wanted, path.as_bytes()), captures, "{wanted} for {path}");
    }
}

#[test]
fn a_share_of_the_requests_is_taken_by_chance_and_each_match_draws_anew() {
    let share = |ppm| RouteMatch { share: Some(ppm), ..RouteMatch::default() };
    let rules = [
        wanting(&[], &[], vec![share(250_000)]),
        wanting(&[], &[], vec![share(500_000)]),
        rule(&[], &[], "/"),
    ];
    let table = table(&rules);
    let asked = Asked::new("GET / HTTP/1.1|Host: h");
    let mut counts = [0u32; 3];
    let mut random = 0x1234_5678u64;
    for _ in 0..100_000 {
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let found = table.find(&RouteRequest { random, ..asked.request() });
        counts[found.map(|found| found.rule).unwrap_or_default()] += 1;
    }
    // A quarter, half of the rest, the rest: six standard deviations are below 1,000.
    for (count, expected) in counts.iter().zip([25_000u32, 37_500, 37_500]) {
        assert!(count.abs_diff(expected) < 1_000, "{counts:?}");
    }
}

/// Many matches of one path: told apart by fields or not, and with more such fields than are looked up.
#[test]
fn many_matches_of_one_path_are_searched_as_few_are() {
    let seed = 0x51ed_270b_9f0c_4d21_u64;
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let names = ["x-a", "X-B", "x-c", "x-d", "x-e", "x-f"];
    let values = ["1", "2", "3", "4", "1, 2"];
    for round in 0..60 {
        let mut kept: Vec<Rule> = Vec::new();
        for _ in 0..random(60) {
            let mut wanted = path("prefix", "/x");
            let field = |name: usize, value: usize| is(names[name], values[value]);
            wanted.headers =
                (0..random(3)).map(|_| field(random(names.len()), random(values.len()))).collect();
            wanted.query = (0..random(2)).map(|_| is("q", values[random(4)])).collect();
            wanted.cookies = (0..random(2)).map(|_| is("c", values[random(4)])).collect();
            if random(5) == 0 {
                wanted.headers.push(like("x-a", "[12]"));
            }
            if random(4) == 0 {
                wanted.methods = vec![["GET", "PUT"][random(2)].to_owned()];
            }
            let listeners = if random(6) == 0 { vec![random(2)] } else { vec![] };
            kept.push(wanting(&listeners, &[], vec![wanted]));
            if build(&kept).is_err() {
                kept.pop();
            }
        }
        let (table, rules) = (table(&kept), rules(&kept));
        for _ in 0..60 {
            let mut text = format!("{} /x/y", ["GET", "PUT"][random(2)]);
            if random(2) == 0 {
                text += &format!("?q=%3{}&q=9", 1 + random(4));
            }
            text += " HTTP/1.1|Host: h";
            for _ in 0..random(5) {
                text += &format!("|{}: {}", names[random(names.len())].to_uppercase(), 1 + random(4));
            }
            if random(2) == 0 {
                text += &format!("|Cookie: b=1; c={}", 1 + random(4));
            }
            let asked = Asked::new(&text);
            let request = asked.request();
            let ranks = rules.iter().enumerate();
            let ranks =
                ranks.filter_map(|(index, rule)| Some((examine(rule, index, 0, &request).ok()?, index)));
            let linear = ranks.min().map(|(_, index)| index);
            assert_eq!(
                table.find(&request).map(|found| found.rule),
                linear,
                "seed {seed}, round {round}: {text}"
            );
        }
    }
}

#[test]
fn a_value_that_is_wanted_is_looked_up() {
    let tenant = |n: usize| {
        wanting(
            &[],
            &[],
            vec![RouteMatch { headers: vec![is("x-tenant", &n.to_string())], ..path("prefix", "/") }],
        )
    };
    let mut all: Vec<Rule> = (0..5_000).map(tenant).collect();
    all.push(rule(&[], &[], "/"));
    let table = table(&all);
    let Some(node) = table.nodes.iter().find(|node| node.entries.len() > 5_000) else { panic!("one path") };
    let index = node.index.as_ref().expect("an index");
    for (header, expected, tried_max) in
        [("|X-Tenant: 4711", 4711, 1), ("|X-Tenant: none", 5_000, 1), ("", 5_000, 1)]
    {
        let asked = Asked::new(&format!("GET / HTTP/1.1|Host: h{header}"));
        assert_eq!(table.find(&asked.request()).map(|found| found.rule), Some(expected), "{header}");
        let mut tried = 0;
        index.find(&asked.request(), |position| {
            tried += 1;
            let entry = table.entries.get(node.entries[position] as usize)?;
            entry.wanted.misfit(&asked.request(), 0).is_none().then_some(())
        });
        assert!(tried <= tried_max, "{header}: {tried} matches were tried");
    }
}

#[test]
fn the_table_agrees_with_a_linear_search() {
    let seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let hosts = ["", "a.b", "*.b", "*.a.b", "c.a.b", "b", "*.c"];
    let paths = [
        ("prefix", "/"),
        ("prefix", "/x"),
        ("prefix", "/x/y"),
        ("prefix", "/x/yz"),
        ("exact", "/x"),
        ("exact", "/x/"),
        ("exact", "/x/y/z/w"),
        ("template", "/{a}"),
        ("template", "/x/{a}"),
        ("template", "/{a}/y/{+b}"),
        ("template", "/x/{+b}"),
        ("regex", "/x.*"),
        ("regex", "/[a-z]+/y.*"),
    ];
    for round in 0..100 {
        let mut kept: Vec<Rule> = Vec::new();
        for _ in 0..random(16) {
            let host = hosts[random(hosts.len())];
            let (kind, text) = paths[random(paths.len())];
            let mut wanted = path(kind, text);
            if random(3) == 0 {
                wanted.methods = vec![["GET", "PUT"][random(2)].to_owned()];
            }
            wanted.headers = (0..random(3)).map(|n| is(["x-a", "x-b"][n], ["1", "2"][random(2)])).collect();
            wanted.query = (0..random(2)).map(|_| is("q", ["1", "2"][random(2)])).collect();
            let listeners = if random(4) == 0 { vec![random(2)] } else { vec![] };
            kept.push(wanting(
                &listeners,
                if host.is_empty() { &[] } else { std::slice::from_ref(&host) },
                vec![wanted],
            ));
            if build(&kept).is_err() {
                kept.pop();
            }
        }
        let table = table(&kept);
        let rules = rules(&kept);
        for host in ["a.b", "c.a.b", "d.c.a.b", "b", "x.b", "x.c", "zz"] {
            for target in ["/", "/x", "/x/", "/x/y/z/w", "/x/yz", "/xyz", "/y/x?q=1", "/q?q=2", "/q/y/r"] {
                let method = ["GET", "PUT"][random(2)];
                let asked = Asked::new(&format!("{method} {target} HTTP/1.1|Host: {host}|X-A: 1|X-B: 2"));
                let request = asked.request();
                let ranks = rules.iter().enumerate();
                let ranks =
                    ranks.filter_map(|(index, rule)| Some((examine(rule, index, 0, &request).ok()?, index)));
                let linear = ranks.min().map(|(_, index)| index);
                let found = table.find(&request).map(|found| found.rule);
                assert_eq!(found, linear, "seed {seed}, round {round}: {method} {host} {target}");
            }
        }
    }
}
