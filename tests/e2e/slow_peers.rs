//! Peers that are slow, and peers that have stopped (threat row 58).

use std::time::{Duration, Instant};

use ringway_tests::http2::Http2Client;
use ringway_tests::wait::{PATIENCE, pause};
use ringway_tests::{Client, Io, Origin, Ringway, each_driver, process};

each_driver! {
    a_slow_reader_is_served_to_the_end,
    a_reader_that_stopped_is_cut_and_logged,
    a_stopped_reader_slows_its_origin_and_nobody_else,
    an_origin_that_reads_slowly_slows_its_client,
    a_thousand_half_heads_cost_little_and_end,
    what_an_origin_sent_before_it_closed_reaches_a_slow_reader,
}

fn endless(bytes: usize) -> Origin {
    Origin::start(move |conn| {
        while let Some(request) = conn.request() {
            if request.target == "/small" {
                conn.reply(200, "ok");
                continue;
            }
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n"));
            let part = vec![b'z'; 65_536];
            let mut left = bytes;
            while left > 0 && conn.send(&part[..left.min(part.len())]) {
                left -= left.min(part.len());
            }
            if left == 0 {
                conn.reached("sent all");
            }
        }
    })
}

fn a_slow_reader_is_served_to_the_end(io: Io) {
    // Progress is what the kernel delivers, not what a send of many kilobytes completes: the client reads a little at
    // a time, for longer than the deadline, through a small window.
    let total = 120_000;
    let origin = endless(total);
    let proxy = Ringway::to(&origin).io(io).set("response-body-timeout", "500ms").start();
    let mut client = Client::connect_with_buffer(2048, proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let start = Instant::now();
    let head = client.wire().head().expect("the head");
    assert!(head.starts_with(b"HTTP/1.1 200 "));
    let mut seen = client.wire().unread().len();
    // About 10 KB/s for three deadlines, then the rest at once.
    while start.elapsed() < Duration::from_millis(1500) {
        pause(Duration::from_millis(100));
        seen += client.wire().fill(1000).expect("the connection lives");
    }
    while seen < total {
        let count = client.wire().fill(usize::MAX).expect("the connection lives");
        assert!(count > 0, "cut after {seen} of {total}");
        seen += count;
    }
    assert_eq!(seen, total);
}

fn a_reader_that_stopped_is_cut_and_logged(io: Io) {
    let origin = endless(50_000_000);
    let proxy = Ringway::to(&origin)
        .io(io)
        .set("response-body-timeout", "500ms")
        .set("access-log", "stdout")
        .set("access-log-format", "json")
        .start();
    let mut client = Client::connect_with_buffer(65_536, proxy.address());
    client.send("GET /stopped HTTP/1.1\r\nHost: test\r\n\r\n");
    let line = proxy.wait_for_stdout("/stopped");
    assert!(line.contains("client_slow"), "{line}");
    origin.wait_for_end(0);
    let received = client.until_closed();
    assert!(received.len() < 50_000_000);
    proxy.wait_for_stats("no connection", |stats| stats.sum("ringway_connections_open") == 0.0);
}

fn a_stopped_reader_slows_its_origin_and_nobody_else(io: Io) {
    let origin = endless(100_000_000);
    let proxy = Ringway::to(&origin).io(io).start();
    let before = process::resident_bytes(proxy.pid());
    let mut stopped: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect_with_buffer(65_536, proxy.address());
            client.send("GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
            client
        })
        .collect();
    for client in &mut stopped {
        client.wire().fill(1).expect("it began");
    }
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(proxy.get("/small").status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "others are served: {:?}", start.elapsed());
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown < 24 << 20, "20 stopped readers cost {} KiB", grown >> 10);
}

fn an_origin_that_reads_slowly_slows_its_client(io: Io) {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |conn| {
        conn.reached("accepted");
        // Reads nothing until told to.
        let _ = wait.lock().expect("the gate").recv();
        if let Some(request) = conn.request() {
            conn.reply(200, request.body.len().to_string());
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let before = process::resident_bytes(proxy.pid());
    let total: usize = 64 << 20;
    let mut client = proxy.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {total}\r\n\r\n"));
    origin.wait_until_reached("accepted");
    client.wire().set_patience(Duration::from_millis(500));
    let part = vec![b'b'; 65_536];
    let mut sent = 0;
    while sent < total {
        match client.wire().write_some(&part[..part.len().min(total - sent)]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    assert!(sent < total, "the client was stopped");
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "meanwhile the proxy holds {} KiB", grown >> 10);
    go.send(()).expect("the script waits");
    client.wire().set_patience(PATIENCE);
    while sent < total {
        sent += client.wire().write_some(&part[..part.len().min(total - sent)]).expect("it flows again");
    }
    assert_eq!(client.response().body_text(), total.to_string());
}

fn a_thousand_half_heads_cost_little_and_end(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("header-timeout", "4s").start();
    assert_eq!(proxy.get("/").status, 200);
    let before = process::resident_bytes(proxy.pid());
    let mut slow: Vec<Client> = (0..1000).map(|_| proxy.connect()).collect();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ");
    }
    let start = Instant::now();
    assert_eq!(proxy.get("/other").status, 200);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for client in &mut slow {
        client.try_send("a");
    }
    proxy.wait_for_stats("all to be open", |stats| stats.sum("ringway_connections_open") >= 1000.0);
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "1000 half heads cost {} KiB", grown >> 10);
    for client in &mut slow {
        let rest = client.until_closed();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&rest));
    }
    origin.assert_unambiguous();
    assert_eq!(origin.requests().len(), 2);
}

/// Threat row 49 (CVE-2025-64763): the origin has closed while much of its response waits for a reader.
fn what_an_origin_sent_before_it_closed_reaches_a_slow_reader(io: Io) {
    let total = 10 << 20;
    for head in [format!("Content-Length: {total}"), "Connection: close".to_owned()] {
        let origin = Origin::start(move |conn| {
            if conn.request().is_some() {
                conn.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
                conn.send(vec![b'q'; total]);
            }
        });
        for splice in ["off", "256KiB"] {
            let proxy = Ringway::to(&origin).io(io).set("splice", splice).start();
            let mut client = Client::connect_with_buffer(65_536, proxy.address());
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            client.wire().head().expect("the head");
            let mut seen = client.wire().unread().len();
            let mut reads = 0;
            while seen < total {
                // Slow at first, so that everything on the way is full.
                if reads < 10 {
                    pause(Duration::from_millis(10));
                }
                reads += 1;
                let count = client.wire().fill(usize::MAX).expect("the connection lives");
                assert!(count > 0, "cut after {seen} of {total}");
                seen += count;
            }
            assert_eq!(seen, total);
            let mut client = Http2Client::connect(proxy.address());
            let id = client.get("/");
            assert_eq!(client.response(id).body.len(), total);
        }
    }
}
