//! Memory stays flat, whatever flows.

use ringway_tests::{Client, Io, Origin, Ringway, each_driver, process};

each_driver! {
    stays_flat_while_a_large_body_flows_to_a_slow_client,
    of_connections_that_went_away_comes_back,
    of_idle_connections_is_small,
}

fn stays_flat_while_a_large_body_flows_to_a_slow_client(io: Io) {
    let total: usize = 64 << 20;
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n"));
            let part = vec![b'm'; 1 << 20];
            for _ in 0..total >> 20 {
                if !conn.send(&part) {
                    return;
                }
            }
        }
    });
    for splice in ["off", "256KiB"] {
        let proxy = Ringway::to(&origin).io(io).set("splice", splice).start();
        let before = process::resident_bytes(proxy.pid());
        let mut client = Client::connect_with_buffer(65_536, proxy.address());
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut seen = 0;
        let mut largest = 0;
        while seen < total {
            // The client keeps what it got, so it takes a new connection's worth of bytes and no more.
            let count = client.wire().fill(16_384).expect("the body flows");
            assert!(count > 0, "cut after {seen}");
            seen += count;
            if seen % (4 << 20) < count {
                largest = largest.max(process::resident_bytes(proxy.pid()));
            }
        }
        let grown = largest.saturating_sub(before);
        assert!(
            grown < 6 << 20,
            "splice {splice}: {} KiB more while {} MiB flowed",
            grown >> 10,
            total >> 20
        );
    }
}

fn of_connections_that_went_away_comes_back(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let round = || {
        let mut clients: Vec<Client> = (0..300).map(|_| proxy.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/").status, 200);
        }
        drop(clients);
        proxy.wait_for_stats("all to be gone", |stats| stats.sum("ringway_connections_open") == 0.0);
        process::resident_bytes(proxy.pid())
    };
    let first = round();
    let rounds: Vec<u64> = (0..8).map(|_| round()).collect();
    let last = rounds[7];
    assert!(last < first + (2 << 20), "{} KiB after the first round, then {rounds:?}", first >> 10);
}

fn of_idle_connections_is_small(io: Io) {
    // The exact figure is measured by the load tester on a release build; this catches a buffer held by each.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut warm = proxy.connect();
    assert_eq!(warm.get("/").status, 200);
    let before = process::resident_bytes(proxy.pid());
    let mut clients: Vec<Client> = (0..2000).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    let each = process::resident_bytes(proxy.pid()).saturating_sub(before) / 2000;
    assert!(each < 8192, "{each} bytes for each idle connection");
}
