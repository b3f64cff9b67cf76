//! Copies of requests for another cluster: which are made, and that nothing that becomes of them is felt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ringway_tests::either::{EITHER, ask, get};
use ringway_tests::http2_origin::Http2Conn;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver, process, wait};

each_driver! {
    a_copy_is_what_was_sent,
    a_copy_over_http2_is_what_was_sent,
    copies_follow_the_share,
    several_mirrors_get_a_copy_each_by_shares_of_their_own,
    a_mirror_never_delays_or_breaks_a_request,
    only_so_many_copies_are_under_way,
    a_body_that_is_too_long_is_not_copied,
    the_answer_of_a_mirror_is_read_to_a_bound,
}

fn yaml(main: &str, mirror: &str, cluster: &str, more: &str) -> String {
    format!(
        "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  \
         - {{ name: main, endpoints: [\"{main}\"] }}\n  \
         - {{ name: shadow, endpoints: [\"{mirror}\"]{cluster} }}\nroutes:\n  \
         - name: all\n    to: main\n    mirror: {{ cluster: shadow{more} }}\n"
    )
}

fn start(io: Io, main: &Origin, mirror: &str, cluster: &str, more: &str) -> Proxy {
    Ringway::to(main).io(io).config(yaml(&main.address().to_string(), mirror, cluster, more)).start()
}

fn a_copy_is_what_was_sent(io: Io) {
    for speaks in EITHER {
        let (main, mirror) = (Origin::ok(), Origin::ok());
        let proxy = start(io, &main, &mirror.address().to_string(), "", "");
        assert_eq!(get(&proxy, speaks, "/x?y=z").status, 200);
        assert_eq!(ask(&proxy, speaks, "POST", "/form", &[("x-a", "b")], b"one=two").status, 200);
        let mut copies = mirror.wait_for_requests(2);
        // Each is a task of its own: they may overtake one another.
        copies.sort_by_key(|copy| copy.method.clone());
        for (copy, sent) in copies.iter().zip(main.requests()) {
            assert_eq!((&copy.method, &copy.target), (&sent.method, &sent.target), "{speaks:?}");
            assert_eq!(copy.body, sent.body, "{speaks:?}");
            for name in ["host", "x-a", "x-forwarded-for", "x-request-id", "content-length"] {
                assert_eq!(copy.fields_named(name), sent.fields_named(name), "{name} {speaks:?}");
            }
        }
        proxy.wait_for_stats("two copies", |stats| stats.sum("ringway_mirrored_requests_total") == 2.0);
        assert_eq!(proxy.stats().sum("ringway_mirror_failures_total"), 0.0);
    }
}

fn a_copy_over_http2_is_what_was_sent(io: Io) {
    let main = Origin::ok();
    let mirror = Origin::start(|conn| {
        let Some(mut conn) = Http2Conn::accept(conn, &[]) else { return };
        while let Some(request) = conn.request() {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let named = |name| request.field(name).unwrap_or_default();
            let seen = format!("{} {} {body}", named(":method"), named(":path"));
            conn.reply(request.id, 200, "ignored");
            conn.conn().reached(&seen);
        }
    });
    let proxy = start(io, &main, &mirror.address().to_string(), ", protocol: http2", "");
    for speaks in EITHER {
        let path = format!("/{speaks:?}");
        assert_eq!(ask(&proxy, speaks, "PUT", &path, &[], b"body").status, 200);
        mirror.wait_until_reached(&format!("PUT {path} body"));
        assert_eq!(get(&proxy, speaks, &path).status, 200);
        mirror.wait_until_reached(&format!("GET {path} "));
    }
}

fn copies_follow_the_share(io: Io) {
    let (main, mirror) = (Origin::ok(), Origin::ok());
    for (percent, least, most) in [("0", 0, 0), ("100%", 200, 200), ("50", 65, 135)] {
        // 50% of 200 within five standard deviations of 7.1 each.
        let more = format!(", percent: {percent}, requests: 1000");
        let proxy = start(io, &main, &mirror.address().to_string(), "", &more);
        let mut client = proxy.connect();
        for _ in 0..200 {
            assert_eq!(client.get("/").status, 200);
        }
        let copies = proxy.stats().sum("ringway_mirrored_requests_total") as usize;
        assert!((least..=most).contains(&copies), "{copies} of 200 at {percent}");
    }
}

fn several_mirrors_get_a_copy_each_by_shares_of_their_own(io: Io) {
    for speaks in EITHER {
        let (main, all, half, none) = (Origin::ok(), Origin::ok(), Origin::ok(), Origin::ok());
        let clusters = [("main", &main), ("all", &all), ("half", &half), ("none", &none)];
        let clusters: Vec<String> = clusters
            .iter()
            .map(|(name, origin)| format!("  - {{ name: {name}, endpoints: [\"{}\"] }}\n", origin.address()))
            .collect();
        let to = "[{ cluster: all }, { cluster: half, percent: 50 }, { cluster: none, percent: 0 }]";
        let proxy = Ringway::to(&main)
            .io(io)
            .config(format!(
                "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n{}routes:\n  - name: r\n    \
                 to: main\n    mirror: {{ to: {to}, requests: 1000 }}\n",
                clusters.concat()
            ))
            .start();
        for number in 0..200 {
            let body = if number % 2 == 0 { format!("body {number}") } else { String::new() };
            assert_eq!(ask(&proxy, speaks, "PUT", "/", &[], body.as_bytes()).status, 200);
        }
        let copies = all.wait_for_requests(200);
        let sent = |requests: &[ringway_tests::Request]| {
            let mut bodies: Vec<Vec<u8>> = requests.iter().map(|request| request.body.clone()).collect();
            bodies.sort();
            bodies
        };
        assert_eq!(sent(&copies), sent(&main.requests()), "{speaks:?}");
        let stats = proxy.wait_for_stats("all copies", |stats| {
            let made = stats.sum("ringway_mirrored_requests_total");
            made >= 200.0 && half.requests().len() as f64 == made - 200.0
        });
        // 200 draws of one half: outside of this range once in 10^12 runs.
        let of_half = stats.sum("ringway_mirrored_requests_total") - 200.0;
        assert!((50.0..=150.0).contains(&of_half), "{of_half}");
        none.assert_saw_nothing();
    }
}

fn a_mirror_never_delays_or_breaks_a_request(io: Io) {
    let hanging = Origin::start(|conn| {
        conn.request();
        conn.until_closed();
    });
    let never_reads = Origin::start(|conn| {
        conn.request_head();
        conn.until_closed();
    });
    let resetting = Origin::start(|conn| {
        conn.request();
        conn.reset_on_close();
    });
    let garbage = Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nno");
    let failing = Origin::replying("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let endless = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while conn.send("4\r\nmore\r\n") {}
        }
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let mut mirrors: Vec<String> = [&hanging, &never_reads, &resetting, &garbage, &failing, &endless]
        .map(|origin| origin.address().to_string())
        .into();
    mirrors.push(closed.expect("an address").to_string());
    let body = vec![b'x'; 60_000];
    for mirror in &mirrors {
        let main = Origin::echo();
        // Longer than any test waits: who waits for the mirror hangs.
        let proxy = start(io, &main, mirror, "", ", timeout: 1h, requests: 5");
        for speaks in EITHER {
            for _ in 0..8 {
                assert_eq!(get(&proxy, speaks, "/a").status, 200, "{mirror}");
                assert_eq!(ask(&proxy, speaks, "POST", "/b", &[], &body).status, 200, "{mirror}");
            }
        }
        assert_eq!(main.requests().len(), 32);
    }
}

fn only_so_many_copies_are_under_way(io: Io) {
    let main = Origin::ok();
    let mirror = Origin::start(|conn| {
        conn.request();
        conn.until_closed();
    });
    let proxy = start(io, &main, &mirror.address().to_string(), "", ", timeout: 1h, requests: 5");
    let mut client = proxy.connect();
    for _ in 0..30 {
        assert_eq!(client.get("/").status, 200);
    }
    mirror.wait_for_requests(5);
    let stats = proxy.stats();
    assert_eq!(stats.sum("ringway_mirrored_requests_total"), 5.0);
    assert_eq!(stats.sum("ringway_mirror_skipped_requests_total"), 25.0);
    assert_eq!(mirror.connections(), 5);
    // And their places are free again once their time is over.
    let proxy = start(io, &main, &mirror.address().to_string(), "", ", timeout: 50ms, requests: 1");
    let copies = |proxy: &Proxy| proxy.stats().sum("ringway_mirrored_requests_total");
    wait::eventually("further copies", || {
        assert_eq!(proxy.get("/").status, 200);
        (copies(&proxy) >= 3.0).then_some(())
    });
    proxy.wait_for_stats("failures", |stats| stats.sum("ringway_mirror_failures_total") >= 2.0);
}

fn a_body_that_is_too_long_is_not_copied(io: Io) {
    let (main, mirror) = (Origin::ok(), Origin::ok());
    let proxy = start(io, &main, &mirror.address().to_string(), "", ", body_bytes: 10KiB");
    for speaks in EITHER {
        assert_eq!(ask(&proxy, speaks, "POST", "/long", &[], &[b'x'; 10_241]).status, 200);
        assert_eq!(ask(&proxy, speaks, "POST", "/fits", &[], &[b'x'; 10_240]).status, 200);
    }
    let copies = mirror.wait_for_requests(2);
    assert!(copies.iter().all(|copy| copy.target == "/fits" && copy.body.len() == 10_240));
    proxy.wait_for_stats("two without", |stats| stats.sum("ringway_mirror_skipped_requests_total") == 2.0);
    let lengths: Vec<usize> = main.requests().iter().map(|request| request.body.len()).collect();
    assert_eq!(lengths, [10_241, 10_240, 10_241, 10_240], "the requests themselves are whole");
}

/// Threat row 52: a mirror that answers with a gigabyte costs neither memory nor the time to read it.
fn the_answer_of_a_mirror_is_read_to_a_bound(io: Io) {
    let main = Origin::ok();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let mirror = Origin::start(move |conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
            let part = vec![b'x'; 64 << 10];
            while conn.send(&part) {
                count.fetch_add(part.len(), Relaxed);
            }
            conn.reached(&format!("{} was given up", conn.index));
        }
    });
    let proxy = start(io, &main, &mirror.address().to_string(), "", ", timeout: 1h");
    assert_eq!(proxy.get("/warm").status, 200);
    mirror.wait_until_reached("0 was given up");
    let before = process::resident_bytes(proxy.pid());
    for (index, speaks) in EITHER.into_iter().enumerate() {
        assert_eq!(get(&proxy, speaks, "/").status, 200);
        mirror.wait_until_reached(&format!("{} was given up", index + 1));
    }
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown < 4 << 20, "{} KiB more", grown >> 10);
    // What is beyond the bound is what fits into sockets.
    assert!(sent.load(Relaxed) < 3 * (64 << 20), "{} bytes were taken", sent.load(Relaxed));
}
