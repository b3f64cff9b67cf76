//! Workers share the work: connections even out, a worker without descriptors recovers, a panic costs one connection.

use std::time::Duration;

use ringway_tests::wait::eventually;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

each_driver! {
    sixteen_long_connections_on_two_workers_end_eight_each,
    running_out_of_descriptors_is_survived,
}

fn sixteen_long_connections_on_two_workers_end_eight_each(io: Io) {
    if !matches!(io, Io::Uring | Io::Epoll) {
        return println!("SKIPPED: the experimental drivers do not hand over");
    }
    let origin = Origin::ok();
    // Several times, because the kernel's own choice is even by chance often enough.
    for _ in 0..5 {
        let proxy = Ringway::to(&origin).io(io).workers(2).start();
        let mut clients: Vec<Client> = (0..16).map(|_| proxy.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/").status, 200);
        }
        let open = |worker: usize, stats: &ringway_tests::stats::Stats| {
            stats.sum_where("ringway_connections_open", &format!("worker=\"{worker}\""))
        };
        let stats =
            proxy.wait_for_stats("16 connections", |stats| stats.sum("ringway_connections_open") >= 16.0);
        let (first, second) = (open(0, &stats), open(1, &stats));
        assert!((first - 8.0).abs() <= 1.0 && (second - 8.0).abs() <= 1.0, "{first} and {second}");
        for client in &mut clients {
            assert_eq!(client.get("/").status, 200, "wherever it ended up");
        }
    }
}

fn running_out_of_descriptors_is_survived(io: Io) {
    // Threat row 47.
    if ringway_tests::peers::find("prlimit").is_none() {
        return;
    }
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).under(&["prlimit", "--nofile=64:64"]).start();
    assert_eq!(proxy.get("/").status, 200);
    let mut storm: Vec<Client> = (0..200).map(|_| proxy.connect()).collect();
    for client in &mut storm {
        client.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    let mut served = 0;
    for client in storm.iter_mut().take(20) {
        client.wire().set_patience(Duration::from_secs(5));
        served += usize::from(client.try_response("GET").is_ok());
    }
    assert!(served > 0, "those who got in are served");
    drop(storm);
    eventually("the proxy to serve as before", || {
        let mut client = proxy.connect();
        client.wire().set_patience(Duration::from_secs(5));
        client.try_send("GET /after HTTP/1.1\r\nHost: test\r\n\r\n");
        client.try_response("GET").ok().filter(|response| response.status == 200)
    });
    let before = ringway_tests::process::cpu_time(proxy.pid());
    ringway_tests::wait::pause(Duration::from_millis(500));
    let spent = ringway_tests::process::cpu_time(proxy.pid()) - before;
    assert!(spent < Duration::from_millis(200), "it spins: {spent:?} of CPU in 500 ms of nothing");
}
