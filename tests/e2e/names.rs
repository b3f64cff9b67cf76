//! Endpoints by name: resolved on the control thread, both families tried.

use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    a_name_with_both_families_reaches_the_one_that_answers,
    a_name_that_nobody_knows_is_503_and_does_not_keep_the_proxy_from_starting,
}

/// `localhost` is `::1` and `127.0.0.1`; the origin listens on the second only, and the first is tried first.
fn a_name_with_both_families_reaches_the_one_that_answers(io: Io) {
    let origin = Origin::ok();
    let name = format!("localhost:{}", origin.address().port());
    let proxy = Ringway::to_endpoints([name.clone()]).io(io).start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status, 200);
    }
    // What is counted for it is counted under the name that the configuration gives it.
    let label = format!("endpoint=\"{name}\"");
    let stats = proxy.wait_for_stats("3 responses", |stats| {
        stats.sum_where("ringway_endpoint_responses_total", &label) == 3.0
    });
    assert!(stats.sum("ringway_dns_resolutions_total") >= 1.0);
}

fn a_name_that_nobody_knows_is_503_and_does_not_keep_the_proxy_from_starting(io: Io) {
    // RFC 6761 section 6.4: names under "invalid" never exist.
    let proxy = Ringway::to_endpoints(["nowhere.invalid:80".to_owned()]).io(io).start();
    proxy.wait_for_log("cannot be resolved");
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (503, Some("no_endpoint")));
    assert_eq!(proxy.admin_get("/live").status, 200);
}
