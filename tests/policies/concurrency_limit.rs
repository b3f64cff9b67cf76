//! `concurrency_limit` from outside: requests that stay under way as long as their origin says.

use std::thread;

use ringway_tests::http2::Http2Client;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::with_policies;

each_driver! {
    no_more_than_the_limit_reach_the_origin,
    who_waits_goes_on_in_order,
    a_full_queue_refuses,
    a_wait_ends_with_its_time,
    a_client_that_leaves_gives_its_place_back,
    a_response_that_is_cut_off_gives_its_slot_back,
    workers_share_the_slots,
    slots_are_kept_over_a_reload,
}

fn limited(origin: &Origin, limit: &str) -> Ringway {
    with_policies(origin, "", "", &format!("[{{ concurrency_limit: {{ {limit} }} }}]"))
}

/// An origin that begins a response to `/hold` and does not end it.
fn holding() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.request() {
            if request.target.starts_with("/hold") {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
                conn.until_closed();
            } else {
                conn.reply(200, "done");
            }
        }
    })
}

fn ask(client: &mut Client, path: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
}

/// A request that is under way: its response has begun and does not end.
fn hold(proxy: &ringway_tests::Proxy) -> Client {
    let mut client = proxy.connect();
    ask(&mut client, "/hold");
    client.wire().head().expect("the head of a response that does not end");
    client
}

fn no_more_than_the_limit_reach_the_origin(io: Io) {
    let origin = holding();
    let proxy = limited(&origin, "limit: 2").io(io).start();
    let _held = [hold(&proxy), hold(&proxy)];
    let refused = proxy.get("/");
    assert_eq!((refused.status, refused.reason_code()), (503, Some("concurrency_limit")));
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(origin.requests().len(), 2);
}

fn who_waits_goes_on_in_order(io: Io) {
    let origin = holding();
    let proxy = limited(&origin, "limit: 1, queue: 10, queue_timeout: 1h").io(io).start();
    let held = hold(&proxy);
    let mut http2 = Http2Client::connect(proxy.address());
    let ids: Vec<u32> = ["/a", "/b", "/c"].iter().map(|path| http2.get(path)).collect();
    proxy.wait_for_stats("four under way", |stats| stats.sum("ringway_exchanges_open") == 4.0);
    assert_eq!(origin.requests().len(), 1);
    held.reset();
    for id in ids {
        assert_eq!(http2.response(id).status, 200);
    }
    let targets: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/hold", "/a", "/b", "/c"]);
}

fn a_full_queue_refuses(io: Io) {
    let origin = holding();
    let proxy = limited(&origin, "limit: 1, queue: 1, queue_timeout: 1h").io(io).start();
    let held = hold(&proxy);
    let mut waiting = proxy.connect();
    ask(&mut waiting, "/waits");
    proxy.wait_for_stats("two under way", |stats| stats.sum("ringway_exchanges_open") == 2.0);
    assert_eq!(proxy.get("/").status, 503);
    held.reset();
    assert_eq!(waiting.response().status, 200);
}

fn a_wait_ends_with_its_time(io: Io) {
    let origin = holding();
    let proxy = limited(&origin, "limit: 1, queue: 1, queue_timeout: 100ms").io(io).start();
    let held = hold(&proxy);
    let response = proxy.get("/");
    assert_eq!((response.status, response.reason_code()), (503, Some("concurrency_limit")));
    held.reset();
    proxy.wait_for_stats("nothing under way", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    assert_eq!(proxy.get("/").status, 200);
}

fn a_client_that_leaves_gives_its_place_back(io: Io) {
    let origin = holding();
    let proxy = limited(&origin, "limit: 1, queue: 1, queue_timeout: 1h").io(io).start();
    let held = hold(&proxy);
    for _ in 0..3 {
        let mut waiting = proxy.connect();
        ask(&mut waiting, "/waits");
        proxy.wait_for_stats("two under way", |stats| stats.sum("ringway_exchanges_open") == 2.0);
        waiting.reset();
        proxy.wait_for_stats("one under way", |stats| stats.sum("ringway_exchanges_open") == 1.0);
    }
    held.reset();
    proxy.wait_for_stats("nothing under way", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    assert_eq!(proxy.get("/").status, 200);
    let targets: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/hold", "/"]);
}

fn a_response_that_is_cut_off_gives_its_slot_back(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
        }
    });
    let proxy = limited(&origin, "limit: 1").io(io).start();
    for _ in 0..5 {
        let mut client = proxy.connect();
        ask(&mut client, "/");
        assert!(client.try_response("GET").is_err(), "it was cut off");
        proxy.wait_for_stats("nothing under way", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    }
}

/// However many workers: never more at the origin than the limit, and everybody's turn comes.
fn workers_share_the_slots(io: Io) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            counters.1.fetch_max(counters.0.fetch_add(1, SeqCst) + 1, SeqCst);
            thread::yield_now();
            counters.0.fetch_sub(1, SeqCst);
            conn.reply(200, "done");
        }
    });
    let proxy = limited(&origin, "limit: 3, queue: 100, queue_timeout: 1h").io(io).workers(3).start();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..20 {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    assert!(most.load(SeqCst) <= 3, "{most:?} at a time");
    assert_eq!(origin.requests().len(), 240);
}

fn slots_are_kept_over_a_reload(io: Io) {
    let origin = holding();
    let proxy = limited(&origin, "limit: 2").io(io).start();
    let held = hold(&proxy);
    let said = proxy.reload(limited(&origin, "limit: 1").yaml());
    assert!(said.contains("configuration reloaded"), "{said}");
    assert_eq!(proxy.get("/").status, 503);
    held.reset();
    proxy.wait_for_stats("nothing under way", |stats| stats.sum("ringway_exchanges_open") == 0.0);
    assert_eq!(proxy.get("/").status, 200);
}
