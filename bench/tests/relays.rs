//! The relays and the load tester together: every response is whole, whatever its size.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringway_loadtest::report::Report;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-bench");

/// Ends with its test, by its own id.
struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address whose port was free a moment ago: both processes have to be told it.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound")
}

fn check(relay: &[&str], body_bytes: u64, more: &[&str]) {
    let (listen, origin) = (free_address().to_string(), free_address().to_string());
    let child = Command::new(PROGRAM)
        .args(relay)
        .args(["--listen", &listen, "--origin", &origin])
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was built with the test");
    let mut relay_process = Relay(child);
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&listen).is_err() {
        if relay_process.0.try_wait().expect("its own child").is_some() {
            eprintln!("{relay:?} does not run on this machine");
            return;
        }
        assert!(Instant::now() < end, "{relay:?} does not listen");
        std::thread::yield_now();
    }
    let output = Command::new(PROGRAM)
        .args(["load", "both", "--json", "--listen", &origin, "--target", &listen, "--connections", "16"])
        .args(["--body-bytes", &body_bytes.to_string(), "--warmup", "0.1", "--seconds", "0.5"])
        .args(more)
        .output()
        .expect("the program was built with the test");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Report = serde_json::from_str(&text).expect("a report");
    assert!(report.requests > 0, "{relay:?}: {report:?}");
    assert_eq!(report.errors.total(), 0, "{relay:?}: {report:?}");
}

#[test]
fn every_relay_passes_every_size_whole() {
    for relay in [&["bare-relay"][..], &["relay", "--io", "uring"], &["relay", "--io", "epoll"]] {
        for body_bytes in [0, 64, 16 << 10, 1 << 20, 3 << 20] {
            check(relay, body_bytes, &[]);
        }
    }
}

#[test]
fn open_loop_reports_every_request() {
    check(&["relay", "--io", "epoll"], 64, &["--rate", "500"]);
}

#[test]
fn a_connection_for_each_request_ends_without_errors() {
    check(&["relay", "--io", "epoll"], 64, &["--new-connection"]);
    check(&["relay", "--io", "epoll"], 64 << 10, &["--new-connection"]);
}
