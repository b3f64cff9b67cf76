//! How long an origin has: told to it, reduced by what has passed, and heard from trusted proxies only.

use ringway_tests::either::{EITHER, ask};
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    an_origin_is_told_how_long_it_has,
    a_trusted_proxy_sets_an_earlier_deadline,
}

const NAME: &str = "x-envoy-expected-rq-timeout-ms";

fn an_origin_is_told_how_long_it_has(io: Io) {
    for (route, most) in [
        ("timeout: 50s", Some(50_000)),
        ("retry: { per_try_timeout: 20s }", Some(20_000)),
        ("timeout: 0", None),
        ("deadline_header: false", None),
    ] {
        for speaks in EITHER {
            let origin = Origin::ok();
            let mut proxy = Ringway::to(&origin).io(io).route(route);
            if route.starts_with("deadline") {
                proxy = proxy.route("timeout: 9s");
            }
            let proxy = proxy.start();
            // What an untrusted client says is replaced where there is something to say.
            assert_eq!(ask(&proxy, speaks, "GET", "/", &[(NAME, "99999999")], b"").status, 200);
            let seen = origin.only_request();
            let seen = seen.fields_named(NAME);
            match most {
                Some(most) => {
                    let [told] = seen[..] else { panic!("{seen:?}, {route} {speaks:?}") };
                    let told: u64 = told.parse().expect("a number");
                    assert!((1..=most).contains(&told), "{told} {route} {speaks:?}");
                }
                None => assert_eq!(seen, ["99999999"], "{route} {speaks:?}"),
            }
        }
    }
}

fn a_trusted_proxy_sets_an_earlier_deadline(io: Io) {
    let hanging = || {
        Origin::start(|conn| {
            if conn.request().is_some() {
                conn.until_closed();
            }
        })
    };
    for speaks in EITHER {
        let origin = hanging();
        let trusting = Ringway::to(&origin).io(io).listener("forwarded: { trusted_proxies: [127.0.0.0/8] }");
        let answer = ask(&trusting.start(), speaks, "GET", "/", &[(NAME, "300")], b"");
        assert_eq!((answer.status, answer.reason.as_str()), (504, "request_timeout"), "{speaks:?}");
        let seen = origin.only_request();
        let told: u64 = seen.fields_named(NAME)[0].parse().expect("a number");
        assert!((1..=300).contains(&told), "{told}");
        // From anybody else it is nothing.
        let origin = hanging();
        let proxy = Ringway::to(&origin).io(io).cluster("timeouts: { response_head: 700ms }").start();
        let answer = ask(&proxy, speaks, "GET", "/", &[(NAME, "300")], b"");
        assert_eq!((answer.status, answer.reason.as_str()), (504, "response_head_timeout"), "{speaks:?}");
    }
}
