//! Endpoints are asked for their health over HTTP or by a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ringway_tests::{Io, Origin, Proxy, each_driver, wait};

use crate::balancing::{answers, named, ringway};

each_driver! {
    an_endpoint_whose_answer_is_not_as_expected_is_not_used_until_it_is,
    one_prober_asks_for_all_workers,
    an_endpoint_that_takes_no_connection_is_not_used,
}

/// An origin with its name for an answer, and with a health of its own.
fn origin(name: &'static str, well: &Arc<AtomicBool>) -> Origin {
    let well = Arc::clone(well);
    Origin::start(move |conn| {
        while let Some(request) = conn.request() {
            let (status, body) = match request.target == "/healthz" {
                true if well.load(Relaxed) => (200, "state: ready"),
                true => (200, "state: starting"),
                false => (200, name),
            };
            if !conn.reply(status, body) {
                return;
            }
        }
    })
}

fn until(proxy: &Proxy, expected: &str) {
    wait::eventually(&format!("answers of {expected}"), || {
        let mut names: Vec<String> = answers(proxy, 8).into_keys().collect();
        names.sort();
        (names.concat() == expected).then_some(())
    });
}

fn an_endpoint_whose_answer_is_not_as_expected_is_not_used_until_it_is(io: Io) {
    let wells = [Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true))];
    let (a, b) = (origin("a", &wells[0]), origin("b", &wells[1]));
    let health =
        "health: { path: /healthz, body: ready, interval: 20ms, timeout: 5s, healthy: 1, unhealthy: 2 }";
    let proxy = ringway(&[(&a, ""), (&b, "")], health).io(io).workers(2).start();
    until(&proxy, "ab");
    wells[0].store(false, Relaxed);
    until(&proxy, "b");
    wells[0].store(true, Relaxed);
    until(&proxy, "ab");
}

fn one_prober_asks_for_all_workers(io: Io) {
    let well = Arc::new(AtomicBool::new(true));
    let a = origin("a", &well);
    let proxy = ringway(&[(&a, "")], "health: { path: /healthz, interval: 1h }").io(io).workers(4).start();
    a.wait_for_requests(1);
    assert_eq!(answers(&proxy, 4).len(), 1);
    let asked = a.requests().iter().filter(|request| request.target == "/healthz").count();
    assert_eq!(asked, 1);
}

fn an_endpoint_that_takes_no_connection_is_not_used(io: Io) {
    let b = named("b");
    let a = named("a");
    let gone = named("gone").address();
    let health = "health: { tcp: true, interval: 20ms, timeout: 5s, unhealthy: 1, panic: 10% }";
    let yaml =
        ringway(&[(&a, ""), (&b, "")], health).yaml().replace(&a.address().to_string(), &gone.to_string());
    let proxy = ringway_tests::Ringway::to_endpoints([]).config(yaml).io(io).start();
    let unhealthy =
        |stats: &ringway_tests::stats::Stats| stats.sum("ringway_upstream_endpoints_unhealthy") == 1.0;
    proxy.wait_for_stats("the endpoint to be out", unhealthy);
    until(&proxy, "b");
}
