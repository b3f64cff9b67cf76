//! A second copy of a request when the first is slow: who gets one, whose answer counts, what becomes of the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringway_tests::either::{EITHER, ask, get};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::origin::End;
use ringway_tests::{Io, Origin, Ringway, each_driver, wait};

each_driver! {
    a_slow_endpoint_is_overtaken_by_another,
    a_slow_stream_is_overtaken_and_reset,
    only_what_may_be_done_twice_is_sent_twice,
    a_second_copy_counts_towards_the_budget,
    a_failure_waits_for_the_other_copy,
}

fn hanging() -> Origin {
    Origin::start(|conn| {
        if conn.request().is_some() {
            conn.until_closed();
        }
    })
}

fn to(origins: [&Origin; 2], io: Io) -> Ringway {
    Ringway::to_endpoints(origins.map(|origin| origin.address().to_string()))
        .io(io)
        .route("hedge: { delay: 20ms }")
}

fn a_slow_endpoint_is_overtaken_by_another(io: Io) {
    for speaks in EITHER {
        let (slow, fast) = (hanging(), Origin::ok());
        let proxy = to([&slow, &fast], io).start();
        for _ in 0..6 {
            let answer = get(&proxy, speaks, "/");
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{speaks:?}");
        }
        assert!(proxy.stats().sum("ringway_hedged_requests_total") >= 1.0);
        // The loser is not left hanging.
        for connection in 0..slow.connections() {
            assert!(matches!(slow.wait_for_end(connection), End::Closed | End::Reset));
        }
    }
}

fn a_slow_stream_is_overtaken_and_reset(io: Io) {
    for speaks in EITHER {
        let slow = Origin::start(|conn| {
            let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
            while let Some(request) = conn.request() {
                if conn.until_reset(request.id).is_some() {
                    conn.conn().reached("reset");
                }
            }
        });
        let fast = Origin::start(|conn| {
            if let Some(mut conn) = Http2Conn::accept(conn, &[]) {
                conn.serve("ok");
            }
        });
        let proxy = to([&slow, &fast], io).cluster("protocol: http2").start();
        for _ in 0..4 {
            let answer = get(&proxy, speaks, "/");
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{speaks:?}");
        }
        slow.wait_until_reached("reset");
    }
}

fn only_what_may_be_done_twice_is_sent_twice(io: Io) {
    for speaks in EITHER {
        let origin = hanging();
        let proxy = to([&origin, &origin], io).cluster("timeouts: { response_head: 400ms }").start();
        for (method, body) in [("POST", &b""[..]), ("POST", b"x"), ("PUT", b"x"), ("PATCH", b"")] {
            let before = origin.requests().len();
            let answer = ask(&proxy, speaks, method, "/", &[], body);
            assert_eq!((answer.status, answer.reason.as_str()), (504, "response_head_timeout"), "{speaks:?}");
            assert_eq!(origin.requests().len(), before + 1, "{method} {speaks:?}");
        }
        let before = origin.requests().len();
        assert_eq!(get(&proxy, speaks, "/").status, 504);
        assert_eq!(origin.wait_for_requests(before + 2).len(), before + 2, "{speaks:?}");
    }
}

fn a_second_copy_counts_towards_the_budget(io: Io) {
    let origin = hanging();
    let proxy = Ringway::to(&origin)
        .io(io)
        .route("hedge: { delay: 20ms }")
        .route("retry: { budget: 1%, budget_min: 0, per_try_timeout: 300ms }")
        .start();
    for speaks in EITHER {
        let before = origin.requests().len();
        let answer = get(&proxy, speaks, "/");
        assert_eq!((answer.status, answer.reason.as_str()), (504, "per_try_timeout"));
        assert_eq!(origin.requests().len(), before + 1);
    }
    assert_eq!(proxy.stats().sum("ringway_hedged_requests_total"), 0.0);
    assert_eq!(proxy.stats().sum("ringway_retries_denied_total"), 2.0);
}

fn a_failure_waits_for_the_other_copy(io: Io) {
    for speaks in EITHER {
        // Whichever copy comes first fails once the second is there; that one succeeds somewhat later.
        let seen = std::sync::Arc::new(AtomicUsize::new(0));
        let script = |seen: std::sync::Arc<AtomicUsize>| {
            Origin::start(move |conn| {
                while conn.request().is_some() {
                    if seen.fetch_add(1, Ordering::SeqCst) == 0 {
                        wait::eventually("the second copy", || {
                            (seen.load(Ordering::SeqCst) == 2).then_some(())
                        });
                        conn.reply(503, "failed");
                    } else {
                        // The stimulus is time: the failure comes first.
                        wait::pause(Duration::from_millis(200));
                        conn.reply(200, "ok");
                    }
                }
            })
        };
        let (one, other) = (script(seen.clone()), script(seen.clone()));
        let proxy = to([&one, &other], io).start();
        let answer = get(&proxy, speaks, "/");
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{speaks:?}");
        assert_eq!((one.requests().len(), other.requests().len()), (1, 1), "each had one copy");
    }
}
