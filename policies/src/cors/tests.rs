use super::*;
use crate::fields::Value;
use crate::policy::fixture::{Request, build, text, texts, values, wrong};

fn config(origins: &[&str], more: Vec<(&'static str, Value)>) -> Values {
    let mut fields = values([
        ("allow_origins", texts(origins)),
        ("allow_methods", texts(&["PUT", "DELETE"])),
        ("allow_headers", texts(&["X-Api-Key", "content-type"])),
        ("max_age", Value::Duration(Duration::from_secs(600))),
    ]);
    more.into_iter().for_each(|(name, value)| fields.insert(name, value));
    fields
}

fn preflight(origin: &str, method: &str, headers: &str) -> Request {
    let request =
        Request::new("OPTIONS", "/a").with("Origin", origin).with("Access-Control-Request-Method", method);
    if headers.is_empty() { request } else { request.with("Access-Control-Request-Headers", headers) }
}

/// The reply to a preflight, `vary` left out.
fn answer(fields: &Values, mut request: Request) -> (u16, String) {
    let policy = Cors::new(&build(fields));
    let Verdict::Reply(reply) = request.ask(&policy) else { panic!("a preflight is answered") };
    assert!(reply.lines.starts_with(VARY_PREFLIGHT));
    let own =
        String::from_utf8_lossy(reply.lines.get(VARY_PREFLIGHT.len()..).unwrap_or_default()).into_owned();
    let short = own.replace("access-control-", "").replace("\r\n", "|");
    (reply.status, short.trim_end_matches('|').to_owned())
}

#[test]
fn a_preflight_is_told_what_it_asks_for_and_may_do() {
    let some = config(&["https://a.test"], vec![]);
    let all = config(&["*"], vec![("allow_methods", texts(&["*"])), ("allow_headers", texts(&["*"]))]);
    let cookies = config(&["https://a.test"], vec![("credentials", Value::Bool(true))]);
    let a = "allow-origin: https://a.test";
    for (fields, method, headers, expected) in [
        (&some, "PUT", "", format!("{a}|allow-methods: PUT|max-age: 600")),
        (&some, "GET", "x-api-key", format!("{a}|allow-methods: GET|allow-headers: x-api-key|max-age: 600")),
        (&some, "PATCH", "", format!("{a}|max-age: 600")),
        (&some, "put", "", format!("{a}|max-age: 600")),
        (
            &some,
            "PUT",
            "x-other, content-type,x_api_key",
            format!("{a}|allow-methods: PUT|allow-headers: content-type|max-age: 600"),
        ),
        (
            &all,
            "PATCH",
            "x-a,authorization",
            "allow-origin: *|allow-methods: PATCH|allow-headers: x-a, authorization|max-age: 600".to_owned(),
        ),
        (&all, "BAD METHOD", "a b", "allow-origin: *|max-age: 600".to_owned()),
        (&cookies, "PUT", "", format!("{a}|allow-credentials: true|allow-methods: PUT|max-age: 600")),
    ] {
        let (status, lines) = answer(fields, preflight("https://a.test", method, headers));
        assert_eq!((status, lines), (204, expected), "{method} {headers}");
    }
}

#[test]
fn a_preflight_of_another_origin_gets_nothing() {
    let fields = config(&["https://a.test"], vec![]);
    for origin in
        ["https://b.test", "http://a.test", "https://a.test:8443", "https://a.test.evil", "null", ""]
    {
        assert_eq!(answer(&fields, preflight(origin, "PUT", "")), (403, String::new()), "{origin}");
    }
    let twice = preflight("https://a.test", "PUT", "").with("Origin", "https://a.test");
    assert_eq!(answer(&fields, twice), (403, String::new()), "two lines");
}

#[test]
fn options_that_is_no_preflight_goes_on() {
    let policy = Cors::new(&build(&config(&["https://a.test"], vec![])));
    let asked = ("Access-Control-Request-Method", "PUT");
    for mut request in [
        Request::new("OPTIONS", "/").with("Origin", "https://a.test"),
        Request::new("OPTIONS", "/").with(asked.0, asked.1),
        Request::get("/").with("Origin", "https://a.test").with(asked.0, asked.1),
    ] {
        assert!(matches!(request.ask(&policy), Verdict::Continue));
    }
}

#[test]
fn origins_are_compared_as_origins() {
    for (allowed, origin, expected) in [
        ("https://a.test", "https://a.test", true),
        ("https://A.test", "https://a.TEST", true),
        ("https://a.test:8443", "https://a.test:8443", true),
        ("https://*.a.test", "https://x.a.test", true),
        ("https://*.a.test", "https://x.y.a.test", true),
        ("https://*.a.test", "https://a.test", false),
        ("https://*.a.test", "https://.a.test", false),
        ("https://*.a.test", "http://x.a.test", false),
        ("https://*.a.test", "https://evil.test/.a.test", false),
        ("https://*.a.test", "https://evil.test:1@x.a.test", false),
        ("https://*.a.test", "https://evil.test#.a.test", false),
        ("https://*.a.test", "https://xa.test", false),
        ("https://*.a.test", "https://x.a.test.evil", false),
        ("https://*.a.test:8443", "https://x.a.test:8443", true),
        ("https://*.a.test:8443", "https://x.a.test", false),
        ("null", "null", true),
        ("https://a.test", "null", false),
        ("*", "https://any.test", true),
    ] {
        let mut origins = Origins::default();
        origins.add(allowed).expect("an origin");
        assert_eq!(origins.allow(origin.as_bytes()), expected, "{allowed}: {origin}");
    }
}

#[test]
fn answers_can_be_read_by_allowed_origins_only_and_caches_know() {
    let some = config(
        &["https://a.test"],
        vec![("expose_headers", texts(&["x-total"])), ("credentials", Value::Bool(true))],
    );
    let all = config(&["*"], vec![]);
    let server = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nA: b\r\n";
    let readable = "A: b|vary: origin|access-control-allow-origin: https://a.test|access-control-allow-credentials: true|\
                    access-control-expose-headers: x-total";
    for (fields, origin, expected) in [
        (&some, Some("https://a.test"), readable),
        (&some, Some("https://b.test"), "A: b|vary: origin"),
        (&some, None, "A: b|vary: origin"),
        (&all, Some("https://b.test"), "A: b|access-control-allow-origin: *"),
        (&all, None, "A: b"),
    ] {
        let policy = Cors::new(&build(fields));
        let mut request = Request::get("/");
        if let Some(origin) = origin {
            request.field("Origin", origin);
        }
        assert!(matches!(request.ask(&policy), Verdict::Continue));
        let answer = request.answer(&policy, server).replace("\r\n", "|");
        assert_eq!(answer.strip_prefix("HTTP/1.1 200 OK|").unwrap_or_default(), expected, "{origin:?}");
    }
}

#[test]
fn refusals_can_be_read_by_the_page_that_asked() {
    let policy = Cors::new(&build(&config(&["https://a.test"], vec![])));
    let mut request = Request::get("/").with("Origin", "https://a.test");
    let answer = request.answer(&policy, "");
    assert!(answer.contains("access-control-allow-origin: https://a.test"), "{answer}");
}

#[test]
fn requests_of_other_origins_pass_unless_they_are_to_be_refused() {
    for (choice, passes) in [("pass", true), ("deny", false)] {
        let policy = Cors::new(&build(&config(&["https://a.test"], vec![("other_origins", text(choice))])));
        let mut request = Request::new("POST", "/").with("Origin", "https://b.test");
        assert_eq!(matches!(request.ask(&policy), Verdict::Continue), passes, "{choice}");
        assert!(matches!(Request::get("/").ask(&policy), Verdict::Continue), "no origin");
    }
}

#[test]
fn private_networks_are_opened_only_where_that_is_said() {
    for (open, expected) in [(true, true), (false, false)] {
        let fields = config(&["https://a.test"], vec![("private_network", Value::Bool(open))]);
        let request =
            preflight("https://a.test", "PUT", "").with("Access-Control-Request-Private-Network", "true");
        assert_eq!(answer(&fields, request).1.contains("allow-private-network: true"), expected);
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let credentials = || ("credentials", Value::Bool(true));
    for (fields, expected) in [
        (config(&["a.test"], vec![]), "allow_origins[0]"),
        (config(&["https://a.test", "https://a.test/"], vec![]), "allow_origins[1]"),
        (config(&["https://a.test:443"], vec![]), "allow_origins[0]"),
        (config(&["https://a.*.test"], vec![]), "allow_origins[0]"),
        (config(&["https://*"], vec![]), "allow_origins[0]"),
        (config(&["*"], vec![credentials()]), "credentials"),
        (
            config(&["https://a.test"], vec![credentials(), ("expose_headers", texts(&["*"]))]),
            "expose_headers",
        ),
        (config(&["https://a.test"], vec![("allow_methods", texts(&["P T"]))]), "allow_methods[0]"),
        (config(&["https://a.test"], vec![("allow_headers", texts(&["a", "b:"]))]), "allow_headers[1]"),
    ] {
        assert_eq!(wrong::<CorsConfig>(&fields), [expected]);
    }
}
