//! Attacks on what routes and policies decide, mounted over both versions of HTTP: what was decided about is what an origin
//! gets, and who says who they are is not believed.

use ringway_tests::either::{EITHER, ask};
use ringway_tests::spellings::{is_admin, read_as_an_origin_might, try_each_of_admin};
use ringway_tests::{Io, Origin, Ringway, each_driver};

use crate::with_policies;

each_driver! {
    no_spelling_of_a_path_gets_past_a_policy,
    the_path_that_is_decided_about_is_the_one_that_is_sent,
    captures_bring_in_nothing_but_a_part_of_a_path,
    fields_of_strangers_decide_nothing_and_reach_nobody,
    fields_that_come_twice_get_past_no_policy,
    copies_have_no_more_in_them_than_requests,
}

/// Threat rows 31 and 36: a route that nobody may enter, beside one for everything else.
fn no_spelling_of_a_path_gets_past_a_policy(io: Io) {
    for settings in [
        &[][..],
        &[("encoded-slash", "keep"), ("repeated-slashes", "keep")],
        &[("encoded-slash", "decode"), ("repeated-slashes", "keep")],
    ] {
        let origin = Origin::ok();
        let mut ringway = Ringway::to(&origin).io(io).config(format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"] }}\n\
             routes:\n  - {{ name: all, to: origin }}\n  \
             - {{ name: guarded, to: origin, match: [{{ path: {{ prefix: /admin }} }}], policies: [{{ ip_access: {{ deny: [\"0.0.0.0/0\"] }} }}] }}\n",
            origin.address()
        ));
        for (flag, value) in settings {
            ringway = ringway.set(flag, value);
        }
        let proxy = ringway.start();
        let refused = std::cell::Cell::new(0);
        try_each_of_admin(&proxy, |path, status| {
            assert!(matches!(status, 200 | 400 | 403), "{path}: {status}");
            refused.set(refused.get() + u32::from(status == 403));
        });
        assert!(refused.get() >= 40, "{} of both versions were refused by the policy", refused.get());
        for request in origin.requests() {
            let read = read_as_an_origin_might(&request.target);
            assert!(!read.iter().any(|path| is_admin(path)), "{} {settings:?}", request.target);
        }
    }
}

/// Threat row 32: what is left of a path when a prefix is taken away is the rest of what was matched, encoded as it was.
fn the_path_that_is_decided_about_is_the_one_that_is_sent(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin)
        .io(io)
        .set("encoded-slash", "keep")
        .set("repeated-slashes", "keep")
        .config(format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"] }}\n\
             routes:\n  - {{ name: api, to: origin, match: [{{ path: {{ prefix: /api }} }}], policies: [\
             {{ rewrite: {{ strip_prefix: /api }} }}, {{ request_headers: {{ set: {{ x-decided: \"{{path}}\" }} }} }}] }}\n",
            origin.address()
        ))
        .start();
    for speaks in EITHER {
        for (path, decided, sent) in [
            ("/api/x", "/api/x", "/x"),
            ("/api", "/api", "/"),
            ("/api/", "/api/", "/"),
            ("/%61pi/%78", "/api/x", "/x"),
            ("/api/a%2fb", "/api/a%2Fb", "/a%2Fb"),
            ("/api%2Fx", "/api%2Fx", "%2Fx"),
            ("/api//x", "/api//x", "/x"),
            ("//api/x", "/api/x", "/x"),
            ("/api/a//b", "/api/a//b", "/a//b"),
            ("/api;v=1/x;y", "/api;v=1/x;y", "/x;y"),
            ("/api/a%20b%3fc?d=/../e", "/api/a%20b%3Fc", "/a%20b%3Fc?d=/../e"),
            ("/x/../api/y", "/api/y", "/y"),
        ] {
            let before = origin.requests().len();
            let answer = ask(&proxy, speaks, "GET", path, &[], b"");
            if !sent.starts_with('/') {
                // What would be left is no path.
                assert_eq!((answer.status, origin.requests().len()), (400, before), "{speaks:?} {path}");
                continue;
            }
            assert_eq!(answer.status, 200, "{speaks:?} {path}");
            let request = origin.requests().pop().expect("a request");
            assert_eq!(request.target, sent, "{speaks:?} {path}");
            assert_eq!(request.fields_named("x-decided"), [decided], "{speaks:?}");
        }
        let before = origin.requests().len();
        for path in ["/api/..%2fadmin", "/api/%2e%2e/admin", "/api/..;/admin", "/api%2f..%2fadmin"] {
            assert_eq!(ask(&proxy, speaks, "GET", path, &[], b"").status, 400, "{speaks:?} {path}");
        }
        // Resolved before it is matched, it is no path of this route.
        assert_eq!(ask(&proxy, speaks, "GET", "/api/../admin", &[], b"").status, 404);
        assert_eq!(origin.requests().len(), before);
    }
}

/// Threat row 46: captures of any length, with line ends, across each other.
fn captures_bring_in_nothing_but_a_part_of_a_path(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ rewrite: { regex: { pattern: \"/old/(?<all>(?<first>[^/]*)/?(.*))\", with: \"/new/{first}/{all}/{1}{1}\" }, bytes_max: 4KiB } }]";
    let proxy = with_policies(&origin, "", "", policies)
        .io(io)
        .set("headers-bytes", "256KiB")
        .set("target-bytes", "128KiB")
        .start();
    let long = format!("/old/{}", "a".repeat(64 * 1024));
    let just = format!("/old/{}", "a".repeat(1_000));
    for speaks in EITHER {
        let before = origin.requests().len();
        for path in [
            "/old/a%0d%0ax-evil:%201",
            "/old/%0d%0a%0d%0aGET%20/hidden%20HTTP/1.1",
            "/old/a%00b",
            "/old/..%2f..%2fadmin",
            "/old/%5c..%5cadmin",
            "/old/%2e%2e/x",
            "/old/..;/x",
            "/old/%252e%252e/x",
            if speaks == ringway_tests::either::Speaks::Http1 { &long } else { "/old/%" },
        ] {
            let shown = &path[..path.len().min(60)];
            let answer = ask(&proxy, speaks, "GET", path, &[], b"");
            assert_eq!(answer.status, 400, "{speaks:?} {shown}");
        }
        assert_eq!(origin.requests().len(), before);
        assert_eq!(ask(&proxy, speaks, "GET", "/old/x/y%20z", &[], b"").status, 200);
        let sent = origin.requests().pop().expect("a request").target;
        assert_eq!(sent, "/new/x/x/y%20z/x/y%20zx/y%20z", "{speaks:?}");
        assert_eq!(ask(&proxy, speaks, "GET", &just, &[], b"").status, 200, "{speaks:?}");
        assert_eq!(origin.requests().pop().expect("a request").target.len(), "/new///".len() + 4_000);
    }
    origin.assert_unambiguous();
}

/// What says where a request came from, what it was before, and who sent it.
const SPOOFED: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-user",
    "x-forwarded-client-cert",
    "x_forwarded_for",
    "x_forwarded-host",
    "x-forwarded_proto",
    "x_forwarded_prefix",
    "forwarded",
    "x-real-ip",
    "x_real_ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-cluster-client-ip",
    "x-original-url",
    "x-original-path",
    "x-original-host",
    "x_original_url",
    "x-rewrite-url",
    "x-http-host-override",
    "x-consumer-name",
    "x-consumer-groups",
    "x-consumer-custom-id",
    "x_consumer_name",
    "x-consumer_groups",
    "x-ringway-reason",
    "x-request-id",
];

/// Threat rows 33, 34, 39 and 60: on a route that asks for a key and on one that asks for nothing.
fn fields_of_strangers_decide_nothing_and_reach_nobody(io: Io) {
    const LIE: &str = "10.6.6.6";
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin)
        .io(io)
        .config(format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"] }}\n\
             routes:\n  - {{ name: open, to: origin }}\n  \
             - {{ name: inside, to: origin, match: [{{ path: {{ prefix: /inside }} }}], policies: [{{ ip_access: {{ allow: [10.0.0.0/8] }} }}] }}\n  \
             - {{ name: theirs, to: origin, match: [{{ clients: [10.0.0.0/8] }}], policies: [{{ fixed_response: {{ status: 418 }} }}] }}\n",
            origin.address()
        ))
        .start();
    for speaks in EITHER {
        for name in SPOOFED {
            let before = origin.requests().len();
            for path in ["/inside", "/admin/../inside"] {
                let answer = ask(&proxy, speaks, "GET", path, &[(name, LIE), (name, "127.0.0.1")], b"");
                assert_eq!((answer.status, answer.reason.as_str()), (403, "forbidden"), "{speaks:?} {name}");
            }
            assert_eq!(origin.requests().len(), before);
            let answer = ask(&proxy, speaks, "GET", "/", &[(name, LIE), (name, "/inside")], b"");
            assert_eq!(answer.status, 200, "{speaks:?} {name}");
            let request = origin.requests().pop().expect("a request");
            let head = String::from_utf8_lossy(&request.head).into_owned();
            assert!(!head.contains(LIE) && !head.contains("/inside"), "{speaks:?} {name}: {head}");
            assert_eq!(request.fields_named("x-forwarded-for"), ["127.0.0.1"], "{speaks:?} {name}");
        }
    }
}

/// Threat row 35: which of two would the next reader believe?
fn fields_that_come_twice_get_past_no_policy(io: Io) {
    let directory = ringway_tests::temp::TempDir::new();
    let keys = directory
        .write("keys.yaml", "salt: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
    let users = directory
        .write("users.yaml", "salt: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
    let api_key = format!("[{{ api_key: {{ keys_file: \"{}\", required: false }} }}]", keys.display());
    let basic = format!("[{{ basic_auth: {{ users_file: \"{}\" }} }}]", users.display());
    let version = "[{ api_version: { from: header, default: v1, versions: [{ name: v1 }, { name: v2 }] } }]";
    for (policies, name, values, status) in [
        (api_key.as_str(), "x-api-key", ["rw_a", "rw_b"], 401),
        (&basic, "authorization", ["Basic YTpi", "Basic YTpi"], 401),
        (version, "x-api-version", ["v1", "v2"], 400),
    ] {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", "", policies).io(io).start();
        for speaks in EITHER {
            let fields = values.map(|value| (name, value));
            assert_eq!(ask(&proxy, speaks, "GET", "/", &fields, b"").status, status, "{speaks:?} {name}");
        }
        origin.assert_saw_nothing();
    }
    // An address of several lines of one field is that of all of them, in order: the last that is not a forwarder's.
    let origin = Origin::ok();
    let policies = "[{ ip_access: { allow: [10.0.0.0/8] } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).set("trusted-proxies", "127.0.0.1").start();
    for speaks in EITHER {
        for (lines, status) in [
            (&["10.0.0.1"][..], 200),
            (&["192.0.2.1", "10.0.0.1"], 200),
            (&["10.0.0.1", "192.0.2.1"], 403),
            (&["10.0.0.1, 192.0.2.1"], 403),
            (&["10.0.0.1", "192.0.2.1, 127.0.0.1"], 403),
        ] {
            let fields: Vec<(&str, &str)> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let answer = ask(&proxy, speaks, "GET", "/", &fields, b"");
            assert_eq!(answer.status, status, "{speaks:?} {lines:?}");
        }
    }
}

/// Threat rows 33, 52 and 60 for mirrors: the copy has what the request has, and nothing of what was taken out of it.
fn copies_have_no_more_in_them_than_requests(io: Io) {
    let (origin, mirror) = (Origin::ok(), Origin::ok());
    let proxy = Ringway::to(&origin)
        .io(io)
        .config(format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"] }}\n  \
             - {{ name: shadow, endpoints: [\"{}\"] }}\nroutes:\n  \
             - {{ name: all, to: origin, mirror: {{ cluster: shadow }}, policies: [{{ rewrite: {{ strip_prefix: /api }} }}, \
             {{ request_headers: {{ remove: [authorization] }} }}] }}\n",
            origin.address(),
            mirror.address()
        ))
        .start();
    let spoofed: Vec<(&str, &str)> = SPOOFED.iter().map(|name| (*name, "10.6.6.6")).collect();
    let fields = [&spoofed[..], &[("authorization", "Bearer secret"), ("x-kept", "yes")]].concat();
    for (count, speaks) in EITHER.into_iter().enumerate() {
        assert_eq!(ask(&proxy, speaks, "GET", "/api/x", &fields, b"").status, 200, "{speaks:?}");
        let copy = mirror.wait_for_requests(count + 1).pop().expect("a copy");
        let sent = origin.requests().pop().expect("a request");
        assert_eq!(copy.target, "/x", "{speaks:?}");
        assert_eq!(copy.fields, sent.fields, "{speaks:?}");
        let head = String::from_utf8_lossy(&copy.head).into_owned();
        assert!(!head.contains("10.6.6.6") && !head.contains("secret"), "{speaks:?}: {head}");
        assert_eq!(copy.field("x-kept"), Some("yes"));
    }
}
