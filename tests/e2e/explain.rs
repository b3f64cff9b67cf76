//! A running proxy that explains where a request went, to who has the token for it and to nobody else.

use ringway_core::config::{Config, ConfigSource};
use ringway_core::explain::{OriginAnswer, Question, Url, explain};
use ringway_tests::http2::Http2Client;
use ringway_tests::temp::TempDir;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    who_has_the_token_is_told_where_the_request_went,
    a_refusal_is_explained_too,
    without_the_right_token_nothing_is_told_and_the_field_goes_no_further,
    an_origin_cannot_say_what_only_the_proxy_says,
    a_reload_changes_the_token,
    what_is_explained_without_sending_is_what_happens,
}

const TOKEN: &str = "a-token-that-nobody-guesses";

/// Fields of a response; mostly those whose names begin with `x-ringway-explain`.
type Told = Vec<(String, String)>;

fn start(io: Io, origin: &Origin, token: &str) -> Proxy {
    Ringway::to(origin).io(io).config(yaml(origin, token)).start()
}

fn yaml(origin: &Origin, token: &str) -> String {
    let token = if token.is_empty() { String::new() } else { format!("explain: {{ token: {token} }}\n") };
    let address = origin.address();
    format!(
        r#"{token}policies: [{{ response_headers: {{ set: {{ x-frame-options: DENY }} }} }}]
listeners:
  - {{ name: web, bind: "127.0.0.1:0" }}
clusters:
  - {{ name: app, endpoints: ["{address}"] }}
routes:
  - name: guarded
    match: [{{ path: {{ prefix: /guarded }} }}]
    policies: [{{ ip_access: {{ allow: [192.0.2.0/24] }} }}, {{ request_headers: {{ set: {{ x-a: b }} }} }}]
    to: app
  - name: shop
    match:
      - {{ path: {{ prefix: /cart }}, methods: [POST] }}
      - {{ path: {{ prefix: /cart }}, headers: {{ x-user: "7" }} }}
    policies: [{{ request_headers: {{ set: {{ x-a: b }} }} }}]
    to: app
"#
    )
}

fn fields_of(fields: &[(String, String)]) -> Told {
    fields
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-ringway-explain"))
        .cloned()
        .collect()
}

/// The same request in both versions: statuses, what is told, and the whole response's fields.
fn ask(proxy: &Proxy, path: &str, fields: &[(&str, &str)]) -> [(u16, Told, Told); 2] {
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    let one = Client::connect(proxy.address()).exchange(text + "\r\n");
    let mut client = Http2Client::connect(proxy.address());
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)];
    let lower: Vec<(String, &str)> =
        fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
    let all: Vec<(&str, &str)> =
        pseudo.into_iter().chain(lower.iter().map(|(name, value)| (name.as_str(), *value))).collect();
    let id = client.open(&all, true);
    let two = client.response(id);
    [
        (one.status, fields_of(&one.fields), one.fields.clone()),
        (two.status, fields_of(&two.fields), two.fields),
    ]
}

fn values<'t>(told: &'t Told, what: &str) -> Vec<&'t str> {
    let name = format!("x-ringway-explain-{what}");
    told.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_str()).collect()
}

fn assert_origin_saw_no_token(origin: &Origin) {
    for request in origin.requests() {
        let names = request.fields.iter().map(|(name, _)| name.to_ascii_lowercase().replace('_', "-"));
        assert!(names.into_iter().all(|name| !name.starts_with("x-ringway")), "{request:?}");
    }
}

fn who_has_the_token_is_told_where_the_request_went(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = start(io, &origin, TOKEN);
    for (status, told, fields) in ask(&proxy, "/cart/%61", &[("X-Ringway-Explain", TOKEN), ("x-user", "7")]) {
        assert_eq!(status, 200);
        assert_eq!(values(&told, "listener"), ["web"]);
        assert_eq!(values(&told, "client"), ["127.0.0.1"]);
        assert_eq!(values(&told, "path"), ["/cart/a"]);
        assert_eq!(values(&told, "route"), ["shop, match 2 of 2: path prefix /cart header x-user=\"7\""]);
        assert_eq!(
            values(&told, "not"),
            ["shop, match 1 of 2: the method is GET, not POST", "guarded: the path is not prefix /guarded"]
        );
        assert_eq!(
            values(&told, "policy"),
            ["response_headers (global): passes", "request_headers (route): passes"]
        );
        assert_eq!(values(&told, "cluster"), ["app"]);
        assert_eq!(values(&told, "endpoint"), [format!("{}: used, picked", origin.address())]);
        assert!(values(&told, "refused").is_empty());
        // No cache may keep it and tell others.
        let cache: Vec<_> =
            fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cache-control")).collect();
        assert!(matches!(cache.as_slice(), [(_, value)] if value == "no-store"), "{cache:?}");
    }
    assert_origin_saw_no_token(&origin);
}

fn a_refusal_is_explained_too(io: Io) {
    let origin = Origin::ok();
    let proxy = start(io, &origin, TOKEN);
    let token = [("x-ringway-explain", TOKEN)];
    for (status, told, _) in ask(&proxy, "/guarded", &token) {
        assert_eq!(status, 403);
        assert_eq!(
            values(&told, "policy"),
            [
                "response_headers (global): passes",
                "ip_access (route): answers",
                "request_headers (route): is not asked"
            ]
        );
        assert!(values(&told, "refused")[0].starts_with("forbidden: "), "{told:?}");
    }
    for (status, told, _) in ask(&proxy, "/nowhere", &token) {
        assert_eq!(status, 404);
        assert_eq!(values(&told, "route"), ["none"]);
        assert_eq!(values(&told, "not").len(), 3, "{told:?}");
    }
    for (status, told, _) in ask(&proxy, "/a/%2e%2e/b", &token) {
        assert_eq!(status, 400);
        assert!(
            values(&told, "route").is_empty() && values(&told, "refused")[0].starts_with("bad_request: ")
        );
    }
    origin.assert_saw_nothing();
}

fn without_the_right_token_nothing_is_told_and_the_field_goes_no_further(io: Io) {
    let origin = Origin::ok();
    let wrong: &[&[(&str, &str)]] = &[
        &[("x-ringway-explain", "a-token-that-nobody-guesseS")],
        &[("x-ringway-explain", "a-token-that-nobody-guesses-")],
        &[("x-ringway-explain", "")],
        &[("x-ringway-explain", TOKEN), ("x-ringway-explain", TOKEN)],
        &[("x-ringway-explain-token", TOKEN)],
        &[("x_ringway_explain", TOKEN)],
        &[("authorization", "a-token-that-nobody-guesses")],
    ];
    let with = start(io, &origin, TOKEN);
    for fields in wrong {
        for (status, told, _) in ask(&with, "/cart", &[fields, &[("x-user", "7")][..]].concat()) {
            assert_eq!((status, told), (200, Vec::new()), "{fields:?}");
        }
    }
    // Where there is no token nobody has the right one.
    let without = start(io, &origin, "");
    for value in [TOKEN, "", "off"] {
        for (status, told, _) in ask(&without, "/cart", &[("x-ringway-explain", value), ("x-user", "7")]) {
            assert_eq!((status, told), (200, Vec::new()), "{value}");
        }
    }
    assert_origin_saw_no_token(&origin);
}

fn an_origin_cannot_say_what_only_the_proxy_says(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nX-Ringway-Explain-Route: admin\r\nx-ringway-explain: yes\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = start(io, &origin, TOKEN);
    for (_, told, _) in ask(&proxy, "/cart", &[("x-user", "7")]) {
        assert_eq!(told, Vec::new());
    }
    for (_, told, _) in ask(&proxy, "/cart", &[("x-user", "7"), ("x-ringway-explain", TOKEN)]) {
        assert_eq!(values(&told, "route").len(), 1, "{told:?}");
    }
}

fn a_reload_changes_the_token(io: Io) {
    let origin = Origin::ok();
    let proxy = start(io, &origin, TOKEN);
    let told = |token: &str| {
        ask(&proxy, "/cart", &[("x-user", "7"), ("x-ringway-explain", token)])
            .map(|(_, told, _)| !told.is_empty())
    };
    assert_eq!(told(TOKEN), [true, true]);
    const NEXT: &str = "another-token-than-before";
    let line = proxy.reload(yaml(&origin, NEXT));
    assert!(line.contains("configuration reloaded"), "{line}");
    assert_eq!((told(TOKEN), told(NEXT)), ([false, false], [true, true]));
}

/// Fields that are others each time.
const FRESH: &[&str] = &["date", "x-request-id", "ratelimit", "x-ratelimit-reset", "retry-after"];

/// Names in lower case and values, in order, without those of [`FRESH`].
fn plain(fields: &[(String, String)]) -> Vec<(String, String)> {
    let lower = fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut plain: Vec<_> = lower.filter(|(name, _)| !FRESH.contains(&name.as_str())).collect();
    plain.sort();
    plain
}

fn guarded(address: std::net::SocketAddr) -> String {
    format!(
        r#"policies: [{{ response_headers: {{ set: {{ x-frame-options: DENY }} }} }}]
listeners:
  - name: web
    bind: "127.0.0.1:0"
    limits: {{ body_bytes: 10 }}
    policies: [{{ cors: {{ allow_origins: ["https://everywhere.test"] }} }}]
  - {{ name: redirecting, bind: "127.0.0.1:0", redirect_to_https: 8443 }}
  - {{ name: trusting, bind: "127.0.0.1:0", forwarded: {{ trusted_proxies: [127.0.0.1], style: both, via: false }} }}
clusters:
  - {{ name: app, endpoints: ["{address}"] }}
routes:
  - name: users
    match: [{{ path: {{ template: "/users/{{id}}" }} }}]
    policies:
      - rate_limit: {{ limit: 1000/m, key: client_ip }}
      - rewrite: {{ path: "/u/{{capture.id}}", query: {{ set: {{ via: gateway }}, remove: [debug] }} }}
      - request_headers: {{ set: {{ x-user: "{{capture.id}}" }}, remove: [x-debug] }}
      - response_headers: {{ set: {{ x-served-by: "{{route}}" }}, remove: [server] }}
    to: app
  - name: old
    match: [{{ path: {{ prefix: /old }} }}]
    policies: [{{ redirect: {{ prefix: {{ from: /old, to: /new }} }} }}]
    to: app
  - name: mock
    match: [{{ path: {{ exact: /mock }} }}]
    policies: [{{ fixed_response: {{ status: 418, body: tea, headers: {{ x-tea: green }} }} }}]
  - name: inside
    match: [{{ path: {{ prefix: /inside }} }}]
    policies: [{{ response_headers: {{ set: {{ x-a: b }} }} }}, {{ ip_access: {{ allow: [192.0.2.0/24] }} }}]
    to: app
  - name: pages
    match: [{{ path: {{ prefix: /pages }}, methods: [GET, OPTIONS] }}]
    policies: [{{ cors: {{ allow_origins: ["https://shop.test"] }} }}]
    to: app
  - name: files
    match: [{{ path: {{ prefix: /files }} }}]
    policies: [{{ rewrite: {{ strip_prefix: /files, host: files.test }} }}]
    to: app
"#
    )
}

/// The dry run has steps of its own: they have to come to what the data path comes to.
fn what_is_explained_without_sending_is_what_happens(io: Io) {
    let origin = Origin::replying(
        "HTTP/1.1 200 OK\r\nX-App: 1\r\nServer: app\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    );
    let fields = [("X-App", "1"), ("Server", "app"), ("Keep-Alive", "timeout=5"), ("Content-Length", "2")];
    let answer = OriginAnswer {
        status: 200,
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    let yaml = guarded(origin.address());
    let proxy = Ringway::to(&origin).io(io).config(&yaml).start();
    let directory = TempDir::new();
    let config = directory.write("ringway.yaml", yaml);
    let config = Config::load(&ConfigSource::file(config)).expect("a configuration");
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        ("web", "GET", "/users/7?debug=1&x=y", &[("X-Debug", "1"), ("X-Real-IP", "10.0.0.1")]),
        ("web", "GET", "/users/%37", &[("Connection", "x-hop"), ("x-hop", "1"), ("TE", "trailers")]),
        ("web", "GET", "/old/place?x", &[]),
        ("web", "GET", "/mock", &[("X-Forwarded-For", "10.0.0.1")]),
        ("web", "GET", "/inside/out", &[("Accept", "application/json")]),
        (
            "web",
            "OPTIONS",
            "/pages/1",
            &[("Origin", "https://shop.test"), ("Access-Control-Request-Method", "GET")],
        ),
        ("web", "GET", "/pages/1", &[("Origin", "https://shop.test")]),
        ("web", "PUT", "/pages/1", &[]),
        ("web", "GET", "/files/a//b", &[("Upgrade", "websocket"), ("Connection", "Upgrade")]),
        ("web", "GET", "/nowhere", &[]),
        (
            "web",
            "OPTIONS",
            "/nowhere",
            &[("Origin", "https://everywhere.test"), ("Access-Control-Request-Method", "GET")],
        ),
        ("web", "GET", "/a/%2e%2e/b", &[]),
        ("web", "POST", "/files/a", &[("Content-Length", "11")]),
        ("web", "POST", "/nowhere", &[("Content-Type", "application/grpc")]),
        ("web", "GET", "/files/a", &[("Content-Length", "1"), ("Content-Length", "1")]),
        ("redirecting", "GET", "/x?y", &[]),
        ("trusting", "GET", "/files/a", &[("X-Forwarded-For", "203.0.113.9"), ("X-Request-ID", "mine")]),
        ("trusting", "GET", "/inside/out", &[("X-Forwarded-For", "192.0.2.7")]),
    ];
    for (listener, method, path, fields) in cases {
        let name = format!("{listener} {method} {path} {fields:?}");
        let question = Question {
            method: (*method).to_owned(),
            url: Url::parse(&format!("http://shop.test{path}")).expect("a URL"),
            fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            peer: "127.0.0.1".parse().ok(),
            listener: Some((*listener).to_owned()),
            unix_secs: 1_800_000_000,
            repeat: 1,
        };
        let told = explain(&config, &question, &answer).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let [outcome] = told.outcomes.as_slice() else { panic!("{name}: {:?}", told.outcomes) };

        let before = origin.requests().len();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: shop.test\r\n");
        for (name, value) in *fields {
            text += &format!("{name}: {value}\r\n");
        }
        let mut client = Client::connect(proxy.address_of(listener));
        client.send(text + "\r\n");
        let response = client.response_to(method);
        let expected = outcome.response.as_ref().expect("a response");
        assert_eq!(response.status, expected.status, "{name}");
        let mut fields = plain(&response.fields);
        // What is said of the connection is left to the connection.
        fields.retain(|(name, _)| name != "connection");
        assert_eq!(fields, plain(&expected.fields), "{name}");
        let sent = origin.requests().get(before).cloned();
        match (&outcome.sent, sent) {
            (None, None) => {}
            (Some(expected), Some(sent)) => {
                assert_eq!((&expected.method, &expected.target), (&sent.method, &sent.target), "{name}");
                let mut fields = plain(&sent.fields);
                fields.retain(|(name, value)| name != "host" || *value != expected.host);
                assert_eq!(fields, plain(&expected.fields), "{name}");
            }
            (expected, found) => panic!("{name}: expected {expected:?}; found {found:?}"),
        }
    }
}
