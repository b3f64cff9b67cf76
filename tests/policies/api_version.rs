//! `api_version`: which version is asked for, and what clients of old ones are told.

use ringway_tests::{Io, Origin, each_driver};

use crate::with_policies;

each_driver! {
    the_origin_is_told_the_version_and_clients_of_old_ones_their_end,
    versions_that_there_are_not_are_refused,
}

fn the_origin_is_told_the_version_and_clients_of_old_ones_their_end(io: Io) {
    let origin = Origin::ok();
    let policies = "[{ api_version: { from: path, versions: [\
                    { name: v1, deprecated: 2023-06-30, sunset: 2099-01-01, link: https://shop.test/v1 }, { name: v2 }] } }]";
    let proxy = with_policies(&origin, "", "", policies).io(io).start();
    let old = proxy.exchange("GET /v1/users HTTP/1.1\r\nHost: a\r\nX-Api-Version: v9\r\n\r\n");
    assert_eq!(old.field("deprecation"), Some("@1688083200"));
    assert_eq!(old.field("sunset"), Some("Thu, 01 Jan 2099 00:00:00 GMT"));
    assert_eq!(old.field("link"), Some("<https://shop.test/v1>; rel=\"deprecation\"; type=\"text/html\""));
    let new = proxy.get("/v2/users");
    assert_eq!((new.status, new.field("deprecation"), new.field("sunset")), (200, None, None));
    let told: Vec<_> =
        origin.requests().iter().map(|request| request.fields_named("x-api-version").join(",")).collect();
    assert_eq!(told, ["v1", "v2"]);
}

fn versions_that_there_are_not_are_refused(io: Io) {
    let versions = "versions: [{ name: v1, sunset: 2020-01-01 }, { name: v2 }]";
    for (policy, lines, status, reason) in [
        (format!("{{ from: header, {versions} }}"), "X-Api-Version: v3\r\n", 400, "unknown_version"),
        (format!("{{ from: header, {versions} }}"), "", 400, "unknown_version"),
        (
            format!("{{ from: media_type, {versions} }}"),
            "Accept: application/vnd.x.v9+json\r\n",
            400,
            "unknown_version",
        ),
        (
            format!("{{ from: header, {versions}, after_sunset: refuse }}"),
            "X-Api-Version: v1\r\n",
            410,
            "version_gone",
        ),
    ] {
        let origin = Origin::ok();
        let proxy = with_policies(&origin, "", "", &format!("[{{ api_version: {policy} }}]")).io(io).start();
        let response = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        assert_eq!((response.status, response.field("x-ringway-reason")), (status, Some(reason)), "{policy}");
        origin.assert_saw_nothing();
    }
}
