//! Kept connections to endpoints: reuse, order, age, number, and the loan across workers.

use std::time::Duration;

use ringway_tests::wait::pause;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    many_clients_share_few_upstream_connections,
    the_last_used_connection_is_used_first,
    idle_connections_are_closed_in_time,
    a_connection_ends_after_its_last_allowed_request,
    a_connection_ends_at_its_age,
    no_more_idle_connections_than_allowed_are_kept,
    the_cluster_limit_is_a_503,
    a_connection_that_said_something_unasked_is_not_used_again,
    two_workers_lend_connections_to_each_other,
}

fn many_clients_share_few_upstream_connections(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for _ in 0..50 {
        assert_eq!(proxy.get("/").status, 200);
    }
    assert_eq!(origin.connections(), 1);
    let stats = proxy.stats();
    assert_eq!((stats.sum("ringway_pool_misses_total"), stats.sum("ringway_pool_hits_total")), (1.0, 49.0));
}

/// Opens `count` upstream connections by as many requests at once; the origin's script answers when all are there.
fn open_at_once(proxy: &Proxy, origin: &Origin, count: usize) {
    let before = origin.requests().len();
    let mut clients: Vec<Client> = (0..count).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET /gate HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    origin.wait_for_requests(before + count);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
}

/// Holds each `/gate` until `count` of them are open, and answers everything else at once.
fn gate(count: usize) -> Origin {
    let barrier = std::sync::Barrier::new(count);
    Origin::start(move |conn| {
        while let Some(request) = conn.request() {
            if request.target == "/gate" {
                barrier.wait();
            }
            conn.reply(200, "ok");
        }
    })
}

fn the_last_used_connection_is_used_first(io: Io) {
    let origin = gate(4);
    let proxy = Ringway::to(&origin).io(io).start();
    open_at_once(&proxy, &origin, 4);
    assert_eq!(origin.connections(), 4);
    let used: Vec<usize> = (0..10)
        .map(|_| {
            proxy.get("/");
            origin.requests().pop().expect("a request").connection
        })
        .collect();
    assert!(
        used.iter().all(|connection| *connection == used[0]),
        "one hot connection, the others age: {used:?}"
    );
}

fn idle_connections_are_closed_in_time(io: Io) {
    let origin = gate(3);
    let proxy = Ringway::to(&origin).io(io).set("pool-idle-timeout", "200ms").start();
    open_at_once(&proxy, &origin, 3);
    for connection in 0..3 {
        origin.wait_for_end(connection);
    }
    proxy.wait_for_stats("no idle connection", |stats| stats.sum("ringway_upstream_connections_idle") == 0.0);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(origin.connections(), 4);
}

fn a_connection_ends_after_its_last_allowed_request(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("pool-requests", 5).start();
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(origin.connections(), 4);
}

fn a_connection_ends_at_its_age(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("pool-lifetime", "150ms").start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status, 200);
    pause(Duration::from_millis(250));
    assert_eq!(client.get("/").status, 200);
    assert_eq!(origin.connections(), 2);
}

fn no_more_idle_connections_than_allowed_are_kept(io: Io) {
    let origin = gate(6);
    let proxy = Ringway::to(&origin).io(io).set("pool-idle", 2).start();
    open_at_once(&proxy, &origin, 6);
    proxy.wait_for_stats("two idle connections", |stats| {
        stats.sum("ringway_upstream_connections_idle") == 2.0
            && stats.sum("ringway_upstream_connections_open") == 2.0
    });
}

fn the_cluster_limit_is_a_503(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.until_closed();
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("pool-connections", 1).start();
    let mut first = proxy.connect();
    first.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.wait_for_requests(1);
    let response = proxy.get("/second");
    assert_eq!((response.status, response.reason_code()), (503, Some("upstream_limit")));
    assert_eq!(origin.connections(), 1);
}

fn a_connection_that_said_something_unasked_is_not_used_again(io: Io) {
    // Bytes behind a response belong to nobody: whoever asks next must not get them (response splitting).
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let origin = Origin::start(move |conn| {
        let first = conn.index == 0;
        while conn.request().is_some() {
            conn.reply(200, "good");
            if first {
                conn.send(evil);
                conn.reached("said it");
            }
        }
    });
    for together in [false, true] {
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{evil}");
        let joined = Origin::start(move |conn| {
            let first = conn.index == 0;
            while conn.request().is_some() {
                if first {
                    conn.send(&reply);
                    conn.reached("said it");
                } else {
                    conn.reply(200, "good");
                }
            }
        });
        let origin = if together { &joined } else { &origin };
        let proxy = Ringway::to(origin).io(io).start();
        assert_eq!(proxy.get("/").body_text(), "good");
        origin.wait_until_reached("said it");
        for _ in 0..5 {
            assert_eq!(proxy.get("/").body_text(), "good");
        }
        if together {
            break;
        }
    }
}

fn two_workers_lend_connections_to_each_other(io: Io) {
    if !matches!(io, Io::Uring | Io::Epoll) {
        return println!("SKIPPED: the experimental drivers do not lend");
    }
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).workers(2).start();
    let total = 1000;
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
    for number in 0..total {
        let client = &mut clients[number % 8];
        assert_eq!(client.get("/").status, 200);
    }
    let connections = origin.connections();
    assert!(connections * 1000 <= total * 5, "99.5 % reuse: {connections} connections for {total} requests");
}
