use super::*;
use crate::fields::Value;
use crate::policy::fixture::{Request, build, text, values, wrong};

fn version(fields: &[(&'static str, &str)]) -> Values {
    let mut item = Values::default();
    fields.iter().for_each(|(name, value)| item.insert(name, text(value)));
    item
}

fn config(from: &str, more: &[(&'static str, &str)]) -> Values {
    let versions = vec![
        version(&[
            ("name", "v1"),
            ("deprecated", "2023-06-30T23:59:59Z"),
            ("sunset", "2023-11-15"),
            ("link", "https://shop.test/v1"),
        ]),
        version(&[("name", "v2")]),
    ];
    let mut fields = values([
        ("from", text(from)),
        ("header", text("x-api-version")),
        ("versions", Value::List(versions)),
    ]);
    more.iter().for_each(|(name, value)| fields.insert(name, text(value)));
    fields
}

/// The version that the origin is told, or the refusal.
fn told(fields: &Values, mut request: Request) -> Result<String, Denied> {
    let policy = ApiVersion::new(&build(fields));
    match request.ask(&policy) {
        Verdict::Continue => {
            let sent = request.sent();
            let lines: Vec<_> = sent
                .lines()
                .filter_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("x-api-version: ").map(str::to_owned)
                })
                .collect();
            Ok(lines.join(","))
        }
        Verdict::Deny(denial) => Err(denial.kind),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_version_is_found_where_it_is_said_to_be() {
    let accept = |value| Request::get("/").with("Accept", value);
    let header = |value| Request::get("/").with("X-Api-Version", value);
    let unknown = Err(Denied::UnknownVersion);
    for (from, request, expected) in [
        ("path", Request::get("/v2/users"), Ok("v2")),
        ("path", Request::get("/api/v1"), Ok("v1")),
        ("path", Request::get("/v1x/v2x"), unknown),
        ("header", header("v2"), Ok("v2")),
        ("header", header("v3"), unknown),
        ("header", header("V2"), unknown),
        ("header", header("v1, v2"), unknown),
        ("header", header("v1").with("x-api-version", "v2"), unknown),
        ("header", Request::get("/v2"), unknown),
        ("media_type", accept("application/vnd.shop.v2+json"), Ok("v2")),
        ("media_type", accept("text/html, application/vnd.shop-v1+json;q=0.5"), Ok("v1")),
        ("media_type", accept("application/json; Version=v2"), Ok("v2")),
        ("media_type", accept("application/json;version=\"v1\""), Ok("v1")),
        ("media_type", accept("application/vnd.shop.v9+json"), unknown),
        ("media_type", accept("application/vnd.shop.video+json"), unknown),
        ("media_type", accept("*/*"), unknown),
    ] {
        assert_eq!(told(&config(from, &[]), request), expected.map(str::to_owned), "{from}");
    }
}

#[test]
fn who_names_none_gets_the_default() {
    for from in ["path", "header", "media_type"] {
        let fields = config(from, &[("default", "v2")]);
        assert_eq!(told(&fields, Request::get("/")), Ok("v2".to_owned()), "{from}");
    }
    let unknown = Request::get("/").with("X-Api-Version", "v7");
    assert_eq!(told(&config("header", &[("default", "v2")]), unknown), Err(Denied::UnknownVersion));
}

#[test]
fn what_a_client_says_of_the_version_elsewhere_is_replaced() {
    let request = Request::get("/v2/x").with("X-Api-Version", "v1").with("X_Api_Version", "v1");
    assert_eq!(told(&config("path", &[]), request), Ok("v2".to_owned()));
}

#[test]
fn clients_of_an_old_version_are_told() {
    let old = "deprecation: @1688169599\r\nsunset: Wed, 15 Nov 2023 00:00:00 GMT\r\n\
               link: <https://shop.test/v1>; rel=\"deprecation\"; type=\"text/html\"";
    for (from, target, expected) in [
        ("path", "/v1", format!("HTTP/1.1 200 OK\r\n{old}")),
        ("path", "/v2", "HTTP/1.1 200 OK".to_owned()),
        ("header", "/", "HTTP/1.1 200 OK\r\nvary: x-api-version".to_owned()),
        ("media_type", "/", "HTTP/1.1 200 OK\r\nvary: accept".to_owned()),
    ] {
        let policy = ApiVersion::new(&build(&config(from, &[])));
        assert_eq!(Request::get(target).answer(&policy, "HTTP/1.1 200 OK\r\n"), expected, "{from} {target}");
    }
}

#[test]
fn after_its_sunset_a_version_may_be_switched_off() {
    let sunset = 1_700_006_400;
    let at = |unix_secs| {
        let mut request = Request::get("/v1");
        request.unix_secs = unix_secs;
        request
    };
    let refuse = config("path", &[("after_sunset", "refuse")]);
    assert_eq!(told(&refuse, at(sunset - 1)), Ok("v1".to_owned()));
    assert_eq!(told(&refuse, at(sunset)), Err(Denied::VersionGone));
    assert_eq!(told(&config("path", &[]), at(sunset)), Ok("v1".to_owned()));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let versions = |items: Vec<Values>| {
        values([("from", text("path")), ("header", text("x-api-version")), ("versions", Value::List(items))])
    };
    for (fields, expected) in [
        (versions(vec![]), "versions"),
        (versions(vec![version(&[("name", "v1")]), version(&[("name", "v 2")])]), "versions[1]"),
        (versions(vec![version(&[("name", "v1")]), version(&[("name", "v1")])]), "versions[1]"),
        (versions(vec![version(&[("name", "v1"), ("sunset", "tomorrow")])]), "versions[0]"),
        (versions(vec![version(&[("name", "v1"), ("deprecated", "2026-02-30")])]), "versions[0]"),
        (
            versions(vec![version(&[
                ("name", "v1"),
                ("deprecated", "2026-02-02"),
                ("sunset", "2026-02-01"),
            ])]),
            "versions[0]",
        ),
        (versions(vec![version(&[("name", "v1"), ("link", "a>b")])]), "versions[0]"),
        (config("path", &[("default", "v3")]), "default"),
        (config("path", &[("header", "host")]), "header"),
    ] {
        assert_eq!(wrong::<ApiVersionConfig>(&fields), [expected]);
    }
}
