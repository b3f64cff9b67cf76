//! Identity from the SPIFFE Workload API: two proxies that know each other by it, with an agent each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringway_tests::wait::eventually;
use ringway_tests::{Client, Origin, Proxy, Ringway};
use time::Duration;

use crate::agent::{Agent, Socket, Svid};
use crate::certificates::Authority;

const FRONT: &str = "spiffe://shop/front";
const BACK: &str = "spiffe://shop/back";

/// An SVID of the trust domain `shop`.
fn svid(id: &str, issuer: &Authority, trusted: &[&Authority], lives: Duration) -> Svid {
    let bundle = trusted.iter().flat_map(|authority| authority.der()).collect();
    Svid { id: id.to_owned(), made: issuer.issue(&[id], lives), bundle, federated: Vec::new() }
}

/// The proxy that clients talk to, which talks to the other one.
fn front(back: &Proxy, socket: &Socket, allowed: &str) -> Proxy {
    Ringway::to_address(back.address())
        .cluster(&format!("tls: {{ spiffe: {{ socket: \"{}\" }}, identity: [\"{allowed}\"] }}", socket.uri()))
        // Every request is a handshake.
        .cluster("pool: { idle: 0 }")
        .start()
}

/// The proxy that only the other one may talk to.
fn back(origin: &Origin, socket: &Socket, allowed: &str) -> Proxy {
    let auth = format!("client_auth: {{ mode: required, identity: [\"{allowed}\"] }}");
    Ringway::to(origin)
        .listener(&format!("tls: {{ spiffe: {{ socket: \"{}\" }}, {auth} }}", socket.uri()))
        .start()
}

fn is_ready(proxy: &Proxy) -> Option<()> {
    (proxy.admin_get("/ready").status == 200).then_some(())
}

fn updates(proxy: &Proxy) -> f64 {
    proxy.stats().sum("ringway_workload_identity_updates_total")
}

#[test]
fn rotation_of_identities_and_authorities_under_load_fails_no_request() {
    let (origin, old, new) = (Origin::ok(), Authority::new("old"), Authority::new("new"));
    let (front_socket, back_socket) = (Socket::new(), Socket::new());
    let hour = Duration::hours(1);
    let both = [&old, &new];
    let front_agent = Agent::start(&front_socket, svid(FRONT, &old, &[&old], hour));
    let back_agent = Agent::start(&back_socket, svid(BACK, &old, &[&old], hour));
    let back = back(&origin, &back_socket, FRONT);
    eventually("the back to know who it is", || is_ready(&back));
    let front = front(&back, &front_socket, BACK);
    eventually("the front to know who it is", || is_ready(&front));

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stopped, counted, address) = (stop.clone(), done.clone(), front.address());
    let load = std::thread::spawn(move || {
        let mut wrong = Vec::new();
        while !stopped.load(Ordering::SeqCst) {
            let response = Client::connect(address).get("/");
            if response.status != 200 {
                wrong.push(format!("{} {:?}", response.status, response.reason_code()));
            }
            counted.fetch_add(1, Ordering::SeqCst);
        }
        wrong
    });
    let more = |count: usize| {
        let before = done.load(Ordering::SeqCst);
        eventually("more requests", || (done.load(Ordering::SeqCst) >= before + count).then_some(()));
    };
    // As SPIRE does it: the new authority is trusted, then it issues, then the old one goes.
    let steps: [(&Authority, &[&Authority]); 4] =
        [(&old, &[&old]), (&old, &both), (&new, &both), (&new, &[&new])];
    for (step, (issuer, trusted)) in steps.into_iter().enumerate() {
        front_agent.rotate(svid(FRONT, issuer, trusted, hour));
        back_agent.rotate(svid(BACK, issuer, trusted, hour));
        for proxy in [&front, &back] {
            eventually("the identity", || (updates(proxy) >= step as f64 + 2.0).then_some(()));
        }
        more(20);
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(load.join().expect("the load"), Vec::<String>::new());
    assert_eq!(front_agent.calls(), 1, "one stream is enough");
}

#[test]
fn peers_with_another_identity_are_refused_in_both_directions() {
    let (origin, shop) = (Origin::ok(), Authority::new("shop"));
    let (front_socket, back_socket) = (Socket::new(), Socket::new());
    let hour = Duration::hours(1);
    let _front_agent = Agent::start(&front_socket, svid(FRONT, &shop, &[&shop], hour));
    let _back_agent = Agent::start(&back_socket, svid(BACK, &shop, &[&shop], hour));
    // Whom the front takes, whom the back takes, and what becomes of the request.
    let cases = [
        (BACK, FRONT, 200, None),
        ("spiffe://shop/other", FRONT, 502, Some("upstream_tls_identity")),
        ("spiffe://elsewhere/**", FRONT, 502, Some("upstream_tls_identity")),
        (BACK, "spiffe://shop/other", 502, None),
    ];
    for (by_front, by_back, status, reason) in cases {
        let back = back(&origin, &back_socket, by_back);
        eventually("the back to know who it is", || is_ready(&back));
        let front = front(&back, &front_socket, by_front);
        eventually("the front to know who it is", || is_ready(&front));
        let response = front.get("/");
        assert_eq!(response.status, status, "{by_front} {by_back}: {:?}", response.reason_code());
        if let Some(reason) = reason {
            assert_eq!(response.reason_code(), Some(reason), "{by_front} {by_back}");
        }
    }
    assert_eq!(origin.requests().len(), 1, "nothing of the others reached it");
}

#[test]
fn without_an_agent_nothing_is_trusted_and_the_process_is_not_ready() {
    let (origin, shop) = (Origin::ok(), Authority::new("shop"));
    let (socket, back_socket) = (Socket::new(), Socket::new());
    let _back_agent = Agent::start(&back_socket, svid(BACK, &shop, &[&shop], Duration::hours(1)));
    let back = back(&origin, &back_socket, FRONT);
    eventually("the back to know who it is", || is_ready(&back));
    let proxy = front(&back, &socket, BACK);
    proxy.wait_for_log("the SPIFFE Workload API fails");
    let ready = proxy.admin_get("/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.body_text().contains("no identity from the SPIFFE Workload API"), "{}", ready.body_text());
    assert!(proxy.stats().sum("ringway_workload_api_failures_total") >= 1.0);
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (502, Some("upstream_tls_untrusted")));
    origin.assert_saw_nothing();
    let _agent = Agent::start(&socket, svid(FRONT, &shop, &[&shop], Duration::hours(1)));
    eventually("the identity", || is_ready(&proxy));
    assert_eq!(proxy.stats().sum("ringway_workload_identities"), 1.0);
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn the_last_identity_stays_in_use_without_the_agent_until_it_expires() {
    let (origin, shop, socket) = (Origin::ok(), Authority::new("shop"), Socket::new());
    let short = Duration::seconds(8);
    let agent = Agent::start(&socket, svid(FRONT, &shop, &[&shop], short));
    let tls = format!("tls: {{ spiffe: {{ socket: \"{}\" }}, identity: [\"{BACK}\"] }}", socket.uri());
    let proxy = Ringway::to(&origin).cluster(&tls).start();
    eventually("the identity", || (updates(&proxy) == 1.0).then_some(()));
    drop(agent);
    let line = proxy.wait_for_log("the SPIFFE Workload API fails");
    assert!(line.contains("stays in use until"), "{line}");
    proxy.wait_for_log("the identity has expired");
    let ready = proxy.admin_get("/ready");
    assert_eq!(
        (ready.status, ready.body_text().contains("has expired")),
        (503, true),
        "{}",
        ready.body_text()
    );
    eventually("the metric", || (proxy.stats().sum("ringway_workload_identities") == 0.0).then_some(()));
    let _agent = Agent::start(&socket, svid(FRONT, &shop, &[&shop], Duration::hours(1)));
    eventually("another identity", || is_ready(&proxy));
}
