//! Requests that are sent again because their route says so: after what, how often, when, and never more than its budget.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use ringway_tests::certificates::{Authority, Wanted};
use ringway_tests::either::{EITHER, Speaks, ask, get};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::temp::TempDir;
use ringway_tests::tls::server_config;
use ringway_tests::wait::PATIENCE;
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    a_listed_status_is_sent_again_whatever_is_spoken,
    a_request_is_sent_as_often_as_the_route_says,
    what_may_have_been_done_is_only_done_again_where_that_is_allowed,
    a_body_is_sent_again_as_it_was_up_to_its_bound,
    a_connection_that_ends_without_a_response_is_another_try,
    a_try_has_its_own_time,
    another_endpoint_comes_first,
    retry_after_is_waited_for,
    retries_never_exceed_their_budget,
    a_retry_that_would_be_late_is_none,
    a_connection_that_cannot_be_made_is_another_try_whatever_the_method,
    no_more_retries_are_under_way_than_the_breaker_lets_through,
}

/// Answers the first `failures` requests by `fail`, and the others with 200 and their body.
fn failing(http2: bool, failures: usize, status: u16, fields: &'static str) -> (Origin, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let origin = Origin::start(move |conn| {
        if http2 {
            let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
            while let Some(request) = conn.request() {
                if count.fetch_add(1, Ordering::SeqCst) < failures {
                    conn.reply(request.id, status, "failed");
                } else {
                    conn.reply(request.id, 200, &request.body);
                }
            }
            return;
        }
        while let Some(request) = conn.request() {
            if count.fetch_add(1, Ordering::SeqCst) < failures {
                conn.send(format!("HTTP/1.1 {status} No\r\n{fields}Content-Length: 6\r\n\r\nfailed"));
            } else {
                conn.reply(200, &request.body);
            }
        }
    });
    (origin, seen)
}

fn to(origin: &Origin, http2: bool, io: Io, retry: &str) -> Ringway {
    let ringway = Ringway::to(origin).io(io).route(&format!("retry: {{ {retry} }}"));
    if http2 { ringway.cluster("protocol: http2") } else { ringway }
}

fn a_listed_status_is_sent_again_whatever_is_spoken(io: Io) {
    for http2 in [false, true] {
        for speaks in EITHER {
            let (origin, seen) = failing(http2, 1, 503, "");
            let proxy = to(&origin, http2, io, "on: [5xx]").start();
            let answer = get(&proxy, speaks, "/");
            assert_eq!((answer.status, seen.load(Ordering::SeqCst)), (200, 2), "{speaks:?} {http2}");
            assert_eq!(proxy.stats().sum("ringway_retries_total"), 1.0);
            let (origin, seen) = failing(http2, 1, 503, "");
            let proxy = to(&origin, http2, io, "on: [502]").start();
            let answer = get(&proxy, speaks, "/");
            assert_eq!((answer.status, answer.body.as_str()), (503, "failed"), "passed on as it is");
            assert_eq!(seen.load(Ordering::SeqCst), 1, "{speaks:?} {http2}");
        }
    }
}

fn a_request_is_sent_as_often_as_the_route_says(io: Io) {
    for speaks in EITHER {
        for attempts in [1, 2, 4] {
            let (origin, seen) = failing(false, 100, 500, "");
            let proxy =
                to(&origin, false, io, &format!("on: [5xx], attempts: {attempts}, backoff: 1ms")).start();
            let answer = get(&proxy, speaks, "/");
            assert_eq!((answer.status, answer.body.as_str()), (500, "failed"), "the last answer");
            assert_eq!(seen.load(Ordering::SeqCst), attempts, "{speaks:?}");
            assert_eq!(origin.connections(), 1, "its connection stays clean");
        }
    }
}

fn what_may_have_been_done_is_only_done_again_where_that_is_allowed(io: Io) {
    for speaks in EITHER {
        for (methods, want) in [("idempotent", (503, 1)), ("any", (200, 2))] {
            let (origin, seen) = failing(false, 1, 503, "");
            let proxy = to(&origin, false, io, &format!("on: [5xx], methods: {methods}")).start();
            let answer = ask(&proxy, speaks, "POST", "/pay", &[], b"100");
            assert_eq!((answer.status, seen.load(Ordering::SeqCst)), want, "{speaks:?} {methods}");
        }
    }
}

fn a_body_is_sent_again_as_it_was_up_to_its_bound(io: Io) {
    let body: Vec<u8> = (0..20_000u32).map(|number| b'a' + (number % 26) as u8).collect();
    for http2 in [false, true] {
        for speaks in EITHER {
            for (bound, want) in [("64KiB", (200, 2)), ("19KiB", (503, 1))] {
                let (origin, seen) = failing(http2, 1, 503, "");
                let proxy = to(&origin, http2, io, &format!("on: [5xx], body_bytes: {bound}")).start();
                let answer = ask(&proxy, speaks, "PUT", "/x", &[], &body);
                let got = (answer.status, seen.load(Ordering::SeqCst));
                assert_eq!(got, want, "{speaks:?} {http2} {bound}");
                if answer.status == 200 {
                    assert_eq!(answer.body.as_bytes(), body, "{speaks:?} {http2}");
                }
            }
        }
    }
}

fn a_connection_that_ends_without_a_response_is_another_try(io: Io) {
    for speaks in EITHER {
        for (on, want) in [("reset", (200, "")), ("5xx", (502, "upstream_closed"))] {
            let origin = Origin::start(|conn| {
                while conn.request().is_some() && conn.index > 0 {
                    conn.reply(200, "again");
                }
            });
            let proxy = to(&origin, false, io, &format!("on: [{on}]")).start();
            let answer = get(&proxy, speaks, "/");
            assert_eq!((answer.status, answer.reason.as_str()), want, "{speaks:?}");
        }
    }
}

fn a_try_has_its_own_time(io: Io) {
    for http2 in [false, true] {
        for speaks in EITHER {
            let hanging = move |tries: usize| {
                let seen = AtomicUsize::new(0);
                Origin::start(move |conn| {
                    if http2 {
                        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
                        while let Some(request) = conn.request() {
                            if seen.fetch_add(1, Ordering::SeqCst) >= tries {
                                conn.reply(request.id, 200, "in time");
                            }
                        }
                        return;
                    }
                    while conn.request().is_some() {
                        if seen.fetch_add(1, Ordering::SeqCst) < tries {
                            conn.until_closed();
                            return;
                        }
                        conn.reply(200, "in time");
                    }
                })
            };
            let origin = hanging(1);
            let proxy = to(&origin, http2, io, "on: [5xx], attempts: 10, per_try_timeout: 500ms").start();
            let answer = get(&proxy, speaks, "/");
            assert_eq!((answer.status, answer.body.as_str()), (200, "in time"), "{speaks:?} {http2}");
            // Without conditions a try that runs out of its time is the end.
            let origin = hanging(1);
            let proxy = to(&origin, http2, io, "per_try_timeout: 100ms").start();
            let answer = get(&proxy, speaks, "/");
            assert_eq!(
                (answer.status, answer.reason.as_str()),
                (504, "per_try_timeout"),
                "{speaks:?} {http2}"
            );
        }
    }
}

fn another_endpoint_comes_first(io: Io) {
    let (bad, _) = failing(false, usize::MAX, 503, "");
    let good = Origin::ok();
    let endpoints = [&bad, &good].map(|origin| origin.address().to_string());
    for balance in ["round_robin", "random"] {
        let proxy = Ringway::to_endpoints(endpoints.clone())
            .io(io)
            .cluster(&format!("balance: {balance}"))
            .route("retry: { on: [5xx], backoff: 0 }")
            .start();
        for speaks in EITHER {
            for _ in 0..10 {
                assert_eq!(get(&proxy, speaks, "/").status, 200, "{balance} {speaks:?}");
            }
        }
    }
    assert!(!bad.requests().is_empty(), "it had its turn");
}

fn retry_after_is_waited_for(io: Io) {
    let (origin, seen) = failing(false, 1, 503, "Retry-After: 1\r\n");
    let proxy = to(&origin, false, io, "on: [retry_after]").start();
    let begin = Instant::now();
    assert_eq!(get(&proxy, Speaks::Http1, "/").status, 200);
    assert!(begin.elapsed() >= Duration::from_secs(1), "not before the origin said");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    for speaks in EITHER {
        let (origin, seen) = failing(false, 1, 503, "Retry-After: 3600\r\n");
        let proxy = to(&origin, false, io, "on: [retry_after, 5xx]").start();
        assert_eq!(get(&proxy, speaks, "/").status, 503, "nobody waits for an hour");
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }
}

/// Opens once, for all who wait.
#[derive(Default)]
struct Gate {
    open: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    /// Counts one arrival; returns its number.
    fn arrive(&self) -> usize {
        let mut state = self.open.lock().expect("the gate");
        state.0 += 1;
        self.changed.notify_all();
        state.0
    }

    fn wait_for_arrivals(&self, count: usize) {
        let state = self.open.lock().expect("the gate");
        let (state, late) =
            self.changed.wait_timeout_while(state, PATIENCE, |state| state.0 < count).expect("the gate");
        assert!(!late.timed_out(), "{} of {count} came", state.0);
    }

    fn open(&self) {
        self.open.lock().expect("the gate").1 = true;
        self.changed.notify_all();
    }

    fn wait_until_open(&self) {
        let state = self.open.lock().expect("the gate");
        drop(self.changed.wait_while(state, |state| !state.1).expect("the gate"));
    }
}

fn retries_never_exceed_their_budget(io: Io) {
    const CLIENTS: usize = 20;
    for speaks in EITHER {
        // Holds all first tries until they are there, and fails them together; then it holds what comes after.
        let (gate, seen) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
        let (of_origin, count) = (Arc::clone(&gate), Arc::clone(&seen));
        let origin = Origin::start(move |conn| {
            while conn.request().is_some() {
                if count.arrive() <= CLIENTS {
                    count.wait_for_arrivals(CLIENTS);
                } else {
                    of_origin.wait_until_open();
                }
                conn.reply(503, "failed");
            }
        });
        let proxy = to(&origin, false, io, "on: [5xx], budget: 20%, budget_min: 0").workers(2).start();
        let (sender, answers) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let (proxy, sender) = (&proxy, sender.clone());
                scope.spawn(move || sender.send(get(proxy, speaks, "/").status));
            }
            // Four of twenty are sent again; the others get what there is, while the four are still held.
            for _ in 0..CLIENTS - 4 {
                assert_eq!(answers.recv_timeout(PATIENCE), Ok(503));
            }
            seen.wait_for_arrivals(CLIENTS + 4);
            gate.open();
            for _ in 0..4 {
                assert_eq!(answers.recv_timeout(PATIENCE), Ok(503));
            }
        });
        assert_eq!(origin.requests().len(), CLIENTS + 4, "{speaks:?}");
        assert_eq!(proxy.stats().sum("ringway_retries_denied_total"), (CLIENTS - 4) as f64);
    }
}

fn a_retry_that_would_be_late_is_none(io: Io) {
    let (origin, seen) = failing(false, 1, 503, "Retry-After: 30\r\n");
    let proxy =
        to(&origin, false, io, "on: [retry_after], retry_after_max: 1m").route("timeout: 20s").start();
    for speaks in EITHER {
        let tries = seen.load(Ordering::SeqCst);
        let answer = get(&proxy, speaks, "/");
        assert_eq!(seen.load(Ordering::SeqCst), tries + 1);
        assert_eq!(answer.status, if tries == 0 { 503 } else { 200 });
    }
}

fn a_connection_that_cannot_be_made_is_another_try_whatever_the_method(io: Io) {
    let authority = Authority::new("ca");
    let directory = TempDir::new();
    let ca = authority.write(&directory, "ca.pem");
    let issued = authority.issue(&Wanted::server(&["127.0.0.1"]));
    for speaks in EITHER {
        for (on, want) in
            [("connect_failure", (200, "paid")), ("reset, 5xx", (502, "upstream_tls_handshake"))]
        {
            let origin = Origin::start_tls(server_config(&issued, &["http/1.1"], None), |conn| {
                // The first is closed before its handshake.
                while conn.index > 0 && conn.request().is_some() {
                    conn.reply(200, "paid");
                }
            });
            let proxy = to(&origin, false, io, &format!("on: [{on}]"))
                .cluster(&format!("tls: {{ ca: {} }}", ca.display()))
                .start();
            let answer = ask(&proxy, speaks, "POST", "/pay", &[], b"100");
            let said = if answer.status == 200 { &answer.body } else { &answer.reason };
            assert_eq!((answer.status, said.as_str()), want, "{speaks:?}");
            assert_eq!(origin.connections(), 1 + usize::from(want.0 == 200), "{speaks:?}");
        }
    }
}

fn no_more_retries_are_under_way_than_the_breaker_lets_through(io: Io) {
    for speaks in EITHER {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let tries = AtomicUsize::new(0);
        let origin = Origin::start(move |conn| {
            while let Some(request) = conn.request() {
                if request.target == "/a" && tries.fetch_add(1, Ordering::SeqCst) == 1 {
                    conn.reached("the retry");
                    let _ = held.lock().expect("not poisoned").recv();
                    conn.reply(200, "at last");
                } else {
                    conn.reply(503, "failed");
                }
            }
        });
        let proxy =
            to(&origin, false, io, "on: [5xx], budget_min: 100").cluster("limits: { retries: 1 }").start();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| get(&proxy, speaks, "/a"));
            origin.wait_until_reached("the retry");
            let denied = get(&proxy, speaks, "/b");
            assert_eq!((denied.status, denied.body.as_str()), (503, "failed"), "{speaks:?}");
            assert_eq!(origin.requests().iter().filter(|request| request.target == "/b").count(), 1);
            assert_eq!(proxy.stats().sum("ringway_retries_denied_total"), 1.0);
            release.send(()).expect("the origin waits");
            assert_eq!(first.join().expect("an answer").body, "at last");
        });
        // It is given back.
        let again = get(&proxy, speaks, "/b");
        assert_eq!(again.status, 503);
        assert_eq!(
            origin.requests().iter().filter(|request| request.target == "/b").count(),
            3,
            "{speaks:?}"
        );
    }
}
